//! A root shell in the machine, for tests, without a change to the image: systemd takes units as credentials that the
//! virtual machine's firmware tables carry (`systemd.extra-unit.*` and `systemd.unit-dropin.*`, see
//! systemd.system-credentials(7)). The shell sits on the second serial line.
//!
//! ```text
//!  host:  :<number> <command in base64>\n
//!  guest: @<number> <exit code> <output in base64>@\n
//! ```

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
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

/// The strings for the machine's SMBIOS table, type 11.
pub(super) fn credentials() -> [String; 2] {
    // Before everything else, so that a test can look into a box that does not come up.
    let unit = format!(
        "[Unit]\n\
         Description=Root shell of a test\n\
         DefaultDependencies=no\n\
         After=systemd-tmpfiles-setup-dev.service\n\
         Conflicts=shutdown.target\n\
         Before=shutdown.target\n\
         StartLimitIntervalSec=0\n\
         [Service]\n\
         ExecStart=/bin/sh -c \"echo {} | base64 -d >/run/homebolt-test-loop; exec sh /run/homebolt-test-loop\"\n\
         StandardInput=tty-force\n\
         StandardOutput=tty\n\
         StandardError=null\n\
         TTYPath=/dev/ttyS1\n\
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
    number: u64,
    received: Vec<u8>,
}

impl Guest {
    /// Connects to the machine's second serial line.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).map_err(Error::io("connect to", path))?;
        stream.set_read_timeout(Some(Duration::from_millis(200))).map_err(Error::io("set up", path))?;
        stream.set_write_timeout(Some(Duration::from_secs(5))).map_err(Error::io("set up", path))?;
        // Numbers of an earlier connection must not be taken for ours.
        let number = u64::from(std::process::id()) * 1_000_000;
        Ok(Self { stream, number, received: Vec::new() })
    }

    /// Runs a command with `sh`, for at most `limit`. A command that is late goes on in the guest.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Output, Error> {
        let failed = |reason: String| Error::Shell { command: command.to_owned(), reason };
        self.number += 1;
        // The line break in front ends what noise may have begun.
        let line = format!("\n:{} {}\n", self.number, STANDARD.encode(command));
        self.stream.write_all(line.as_bytes()).map_err(|error| failed(error.to_string()))?;
        let end = Instant::now() + limit;
        let mut piece = [0; 4096];
        loop {
            if let Some(output) = answer(&self.received, self.number) {
                self.received.clear();
                return Ok(output);
            }
            if Instant::now() > end {
                return Err(failed(format!("nothing after {} s", limit.as_secs())));
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(failed("the machine is gone".into())),
                Ok(length) => self.received.extend_from_slice(&piece[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(failed(error.to_string())),
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
        host.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut guest = Guest { stream: host, number: 0, received: Vec::new() };
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
}
