//! A root shell in the machine, for tests, without a change to the image: systemd takes units as credentials that the
//! virtual machine's firmware tables carry (`systemd.extra-unit.*` and `systemd.unit-dropin.*`, see
//! systemd.system-credentials(7)). The shell sits on the second serial line.
//!
//! ```text
//!  host:  :<number> <command in base64>\n
//!  guest: @<number> <exit code> <output in base64>@\n
//! ```

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Error;

/// Its name shows up in the guest's list of units.
pub const UNIT: &str = "homebolt-test-shell.service";

/// Reads commands for ever. The file names are fixed: there is one shell.
const LOOP: &str = r#"stty raw -echo
while read -r number code; do
  case $number in
    :*) ;;
    *) continue ;;
  esac
  echo "$code" | base64 -d >/run/homebolt-test-command
  sh /run/homebolt-test-command >/run/homebolt-test-output 2>&1 </dev/null
  result=$?
  echo "@${number#?} $result $(base64 </run/homebolt-test-output | tr -d '\n')@"
done"#;

/// The strings for the machine's SMBIOS table, type 11; `line` is the guest's name of its second serial line.
pub(super) fn credentials(line: &str) -> [String; 2] {
    // Before everything else, and until all else has ended: a test can look into a box that does not come up, or that
    // does not go down.
    let unit = format!(
        "[Unit]\n\
         Description=Root shell of a test\n\
         DefaultDependencies=no\n\
         After=systemd-tmpfiles-setup-dev.service\n\
         StartLimitIntervalSec=0\n\
         [Service]\n\
         ExecStart=/bin/sh -c \"echo {} | base64 -d >/run/homebolt-test-loop; exec sh /run/homebolt-test-loop\"\n\
         StandardInput=tty-force\n\
         StandardOutput=tty\n\
         StandardError=null\n\
         TTYPath=/dev/{line}\n\
         Restart=always\n\
         KillSignal=SIGKILL\n",
        STANDARD.encode(LOOP)
    );
    let credential = |name: &str, text: &str| format!("io.systemd.credential.binary:{name}={}", STANDARD.encode(text));
    [
        credential(&format!("systemd.extra-unit.{UNIT}"), &unit),
        credential("systemd.unit-dropin.basic.target", &format!("[Unit]\nWants={UNIT}\n")),
    ]
}

/// What a command in the guest left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output and standard error as they came.
    pub text: String,
}

/// The host's end of the shell.
#[derive(Debug)]
pub struct Guest {
    stream: UnixStream,
    pieces: Receiver<Vec<u8>>,
    number: u64,
    received: Vec<u8>,
}

impl Guest {
    /// Connects to the machine's second serial line.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).map_err(Error::io("connect to", path))?;
        // Numbers of an earlier connection must not be taken for ours.
        let number = u64::from(std::process::id()) * 1_000_000;
        Self::new(stream, number).map_err(Error::io("set up", path))
    }

    fn new(stream: UnixStream, number: u64) -> std::io::Result<Self> {
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let (reader, (sender, pieces)) = (stream.try_clone()?, channel());
        thread::spawn(move || read(reader, &sender));
        Ok(Self { stream, pieces, number, received: Vec::new() })
    }

    /// Runs a command with `sh`, for at most `limit`. A command that is late goes on in the guest.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Output, Error> {
        let failed = |reason: String| Error::Shell { command: command.to_owned(), reason };
        self.number += 1;
        // The line break in front ends what noise may have begun.
        let line = format!("\n:{} {}\n", self.number, STANDARD.encode(command));
        self.stream.write_all(line.as_bytes()).map_err(|error| failed(error.to_string()))?;
        let end = Instant::now() + limit;
        loop {
            if let Some(output) = answer(&self.received, self.number) {
                self.received.clear();
                return Ok(output);
            }
            match self.pieces.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.received.extend(piece),
                Err(RecvTimeoutError::Timeout) => return Err(failed(format!("nothing after {} s", limit.as_secs()))),
                Err(RecvTimeoutError::Disconnected) => return Err(failed("the machine is gone".into())),
            }
        }
    }

    /// Waits until the shell answers: a boot may be under way.
    pub fn wait(&mut self, limit: Duration) -> Result<(), Error> {
        let end = Instant::now() + limit;
        loop {
            match self.run("true", Duration::from_secs(3)) {
                Ok(_) => return Ok(()),
                // Before the line is open in the guest, the socket fills up.
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(500)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads whether or not somebody waits for an answer. Firmware and boot loader write to this line, too: when a few hundred
/// bytes lie unread, they wait for each further one before they give it up.
fn read(mut stream: UnixStream, pieces: &Sender<Vec<u8>>) {
    let mut piece = [0; 4096];
    while let Ok(length) = stream.read(&mut piece) {
        if length == 0 || pieces.send(piece[..length].to_vec()).is_err() {
            break;
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Ends the reader.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Finds the answer with that number among all that came.
fn answer(received: &[u8], number: u64) -> Option<Output> {
    let text = String::from_utf8_lossy(received);
    let (_, rest) = text.split_once(&format!("@{number} "))?;
    let (body, _) = rest.split_once('@')?;
    let (code, output) = body.split_once(' ')?;
    let text = STANDARD.decode(output.trim()).ok()?;
    Some(Output { code: code.parse().ok()?, text: String::from_utf8_lossy(&text).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_noise_and_only_when_complete() {
        let noise = b"kernel: @4 0 eA==@\r\n@5 3 aGVsbG8K";
        assert_eq!(answer(noise, 5), None, "its end has not come");
        let whole = [noise.as_slice(), b"@\r\n"].concat();
        assert_eq!(answer(&whole, 5), Some(Output { code: 3, text: "hello\n".into() }));
        assert_eq!(answer(&whole, 4), Some(Output { code: 0, text: "x".into() }));
        assert_eq!(answer(&whole, 6), None);
        assert_eq!(answer(b"@7 0 @", 7), Some(Output { code: 0, text: String::new() }));
    }

    #[test]
    fn the_loop_answers_a_real_shell() {
        let (host, guest) = UnixStream::pair().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let script = LOOP.replace("/run/", &format!("{}/", folder.path().display()));
        let mut shell = std::process::Command::new("sh")
            .args(["-c", &script])
            .stdin(std::os::fd::OwnedFd::from(guest.try_clone().unwrap()))
            .stdout(std::os::fd::OwnedFd::from(guest))
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut guest = Guest::new(host, 0).unwrap();
        let limit = Duration::from_secs(20);
        let output = guest.run("echo 'a  b'; echo error >&2; exit 7", limit).unwrap();
        assert_eq!(output, Output { code: 7, text: "a  b\nerror\n".into() });
        let output = guest.run("seq 1 20000 | tail -n 1; cat", limit).unwrap();
        assert_eq!(output, Output { code: 0, text: "20000\n".into() }, "a command that reads gets nothing");
        let late = guest.run("sleep 2", Duration::from_millis(100)).unwrap_err().to_string();
        assert!(late.contains("sleep 2"), "{late}");
        assert_eq!(guest.run("echo next", limit).unwrap().text, "next\n");
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn whoever_writes_to_the_line_is_never_held_up() {
        let (host, mut machine) = UnixStream::pair().unwrap();
        let mut guest = Guest::new(host, 4).unwrap();
        machine.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        // A byte at a time, as QEMU's serial line: the kernel takes fewer than three hundred of them.
        for byte in b"homebolt: boot loader\r\n".iter().cycle().take(5000) {
            machine.write_all(&[*byte]).unwrap();
        }
        machine.write_all(b"@5 0 eA==@\n").unwrap();
        assert_eq!(guest.run("true", Duration::from_secs(20)).unwrap().text, "x");
        drop(machine);
        let gone = guest.run("true", Duration::from_secs(20)).unwrap_err().to_string();
        assert!(gone.contains("the machine is gone") || gone.contains("Broken pipe"), "{gone}");
    }
}
