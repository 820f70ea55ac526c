//! RAUC by its own program, which asks RAUC's service over D-Bus.
//!
//! Every try begins with a new service: what one left behind that was cut off in the middle ends with it.

use std::{
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::work::{Fault, Rauc};
use crate::program;

/// A line of RAUC's is never longer, bytes; the rest of one that is comes as a further line.
const LONGEST: u64 = 4096;

/// What RAUC says of a bundle before it has written anything, and says again whenever it is asked.
const REFUSED: [&str; 7] =
    ["signature", "x509", "bundle format", "compatible", "version mismatch", "payload size", "bundle size"];
/// What it says in the middle, and no further try helps.
const FINAL: [&str; 3] = ["not fit to slot", "too small for image", "no space left"];
/// What is the line's fault, whatever else stands in the sentence.
const LINE: [&str; 2] = ["failed to read", "failed to stream"];

/// The programs.
#[derive(Debug, Clone)]
pub struct Cli {
    pub rauc: String,
    pub systemctl: String,
}

/// A line of `rauc install`.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Progress(u8, String),
    Error(String),
    Other,
}

impl Cli {
    pub fn of_box() -> Self {
        Self { rauc: "/usr/bin/rauc".into(), systemctl: "/usr/bin/systemctl".into() }
    }

    /// Ends whatever RAUC is doing.
    pub fn stop(&self) -> Result<(), String> {
        self.must(&self.systemctl, &["stop", "rauc.service"])
    }

    fn must(&self, program: &str, words: &[&str]) -> Result<(), String> {
        program::must(program, words).map(drop).map_err(|error| format!("{error}."))
    }

    fn start(&self, bundle: &str) -> io::Result<(Child, io::PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&self.rauc);
        command.args(["install", bundle]).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        Ok((command.spawn()?, reader))
    }
}

impl Rauc for Cli {
    fn install(&mut self, bundle: &str, limit: Duration, tell: &mut dyn FnMut(u8, &str)) -> Result<(), Fault> {
        let until = Instant::now() + limit;
        self.must(&self.systemctl, &["restart", "rauc.service"]).map_err(Fault::Cut)?;
        let started = self.start(bundle);
        let (mut child, reader) = started.map_err(|error| Fault::Failed(format!("RAUC does not start: {error}.")))?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            // Ends with the program, or when nobody listens any more.
            while let Some(line) = line(&mut reader) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut why = String::new();
        let is_late = loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => match parse(&line) {
                    Said::Progress(percent, text) => tell(percent, &text),
                    Said::Error(text) => why = text,
                    Said::Other => {}
                },
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => break true,
            }
        };
        if is_late {
            let _ = child.kill();
            let _ = self.stop();
        }
        match (child.wait().map(|status| status.code()), is_late) {
            (_, true) => Err(Fault::Cut("RAUC did not end in time.".into())),
            (Ok(Some(0)), _) => Ok(()),
            _ if why.is_empty() => Err(Fault::Cut("RAUC ended without saying why.".into())),
            _ => Err(judge(&why)),
        }
    }

    fn activate(&mut self) -> Result<(), String> {
        self.must(&self.rauc, &["status", "mark-active", "other"])
    }

    fn spoil(&mut self) -> Result<(), String> {
        self.must(&self.rauc, &["status", "mark-bad", "other"])
    }

    fn stay(&mut self) -> Result<(), String> {
        self.must(&self.rauc, &["status", "mark-active", "booted"])
    }
}

/// The next line, without its end.
fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    match reader.take(LONGEST).read_until(b'\n', &mut bytes) {
        Ok(length) if length > 0 => Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
        _ => None,
    }
}

fn parse(line: &str) -> Said {
    if let Some(error) = line.trim_start().strip_prefix("LastError:") {
        return Said::Error(plain(error));
    }
    let progress = line.trim_start().split_once("% ");
    match progress.and_then(|(percent, text)| Some((percent.parse::<u8>().ok().filter(|one| *one <= 100)?, text))) {
        Some((percent, text)) => Said::Progress(percent, plain(text)),
        None => Said::Other,
    }
}

/// It is shown on a page.
fn plain(text: &str) -> String {
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(400).collect()
}

fn judge(error: &str) -> Fault {
    let words = error.to_ascii_lowercase();
    let has = |list: &[&str]| list.iter().any(|phrase| words.contains(phrase));
    let said = format!("RAUC: {error}");
    if has(&FINAL) {
        Fault::Failed(said)
    } else if has(&REFUSED) && !has(&LINE) {
        Fault::Refused(said)
    } else {
        Fault::Cut(said)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    #[test]
    fn progress_and_the_last_error_are_read_and_the_rest_is_passed_over() {
        assert_eq!(parse(" 40% Copying image to rootfs.1"), Said::Progress(40, "Copying image to rootfs.1".into()));
        assert_eq!(parse("100% Installing done."), Said::Progress(100, "Installing done.".into()));
        assert_eq!(parse("LastError: Failed\u{1b}[1m"), Said::Error("Failed [1m".into()));
        for other in ["installing", "idle", "Installing `/x` failed", "200% x", "x% y", "", "%"] {
            assert_eq!(parse(other), Said::Other, "{other}");
        }
    }

    #[test]
    fn what_rauc_says_of_a_bundle_is_told_from_what_it_says_of_a_line() {
        for refused in [
            "signature verification failed: Verify error: unable to get local issuer certificate",
            "Signature size (1234567) exceeds bundle size",
            "Compatible mismatch: Expected 'homebolt-x86-64' but bundle manifest has 'homebolt-arm64'",
            "Invalid bundle format: unknown",
        ] {
            assert!(matches!(judge(refused), Fault::Refused(_)), "{refused}");
        }
        for cut in [
            "Failed to stream bundle http://a/b: failed to configure streaming: Couldn't connect to server",
            "Failed to stream bundle http://a/b: not found: The requested URL returned error: 404",
            "Failed to read signature from bundle: Input/output error",
            "Installation error: Failed updating slot rootfs.1: Input/output error",
        ] {
            assert!(matches!(judge(cut), Fault::Cut(_)), "{cut}");
        }
        let small = "Installation error: Slot (1 bytes) is too small for image (2 bytes).";
        assert!(matches!(judge(small), Fault::Failed(_)));
    }

    /// Programs that say what a test wants, and write down what they were asked.
    fn stand_in(folder: &Path, says: &str) -> Cli {
        let program = |name: &str, text: &str| {
            let path = folder.join(name);
            let log = folder.join("log");
            fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >>{}\n{text}\n", log.display())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.to_string_lossy().into_owned()
        };
        Cli { rauc: program("rauc", says), systemctl: program("systemctl", "") }
    }

    fn install(says: &str, limit: Duration) -> (Result<(), Fault>, Vec<(u8, String)>, String) {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        let mut cli = stand_in(folder.path(), says);
        let result = cli.install("/x.raucb", limit, &mut |percent, said| told.push((percent, said.to_owned())));
        (result, told, fs::read_to_string(folder.path().join("log")).unwrap())
    }

    #[test]
    fn an_installation_is_told_as_it_goes() {
        let says = "echo installing; echo '  0% Installing'; echo ' 60% Copying'; echo 'Installing `x` succeeded'";
        let (result, told, log) = install(says, Duration::from_secs(60));
        assert_eq!(result, Ok(()));
        assert_eq!(told, [(0, "Installing".to_owned()), (60, "Copying".to_owned())]);
        assert_eq!(log, "systemctl restart rauc.service\nrauc install /x.raucb\n");
    }

    #[test]
    fn a_failure_gives_raucs_last_error() {
        let says = "echo 'LastError: signature verification failed'; echo 'Installing failed' >&2; exit 1";
        let (result, ..) = install(says, Duration::from_secs(60));
        assert_eq!(result, Err(Fault::Refused("RAUC: signature verification failed".into())));
        let (result, ..) = install("echo 'RAUC service disappeared' >&2; exit 2", Duration::from_secs(60));
        assert_eq!(result, Err(Fault::Cut("RAUC ended without saying why.".into())));
    }

    #[test]
    fn one_that_hangs_ends_at_its_limit_and_its_service_is_stopped() {
        let (result, _, log) = install("exec sleep 60", Duration::from_millis(300));
        assert_eq!(result, Err(Fault::Cut("RAUC did not end in time.".into())));
        assert!(log.ends_with("systemctl stop rauc.service\n"), "{log}");
    }

    #[test]
    fn the_boot_loader_is_told_through_rauc() {
        let folder = tempfile::tempdir().unwrap();
        let mut cli = stand_in(folder.path(), "");
        cli.activate().unwrap();
        cli.spoil().unwrap();
        cli.stay().unwrap();
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(log, "rauc status mark-active other\nrauc status mark-bad other\nrauc status mark-active booted\n");
        let mut cli = stand_in(folder.path(), "echo no such slot; exit 1");
        assert!(cli.activate().unwrap_err().contains("no such slot"));
    }
}
