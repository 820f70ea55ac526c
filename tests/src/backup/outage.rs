//! Servers that go away, and power cuts: nothing is lost.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ::backup::{Pusher, Saved, Scb, Spool, Target, pusher::Handle, sftp::generate_key};
use tokio::sync::watch;

use super::{
    Lab, random,
    s3::target,
    servers::{s3, s3_gateway, sshd},
    sftp::confirmed,
    status,
};
use crate::report::{Outcome, Report, ensure, fails};

/// From LND's word to a copy that was read back.
const PUSHED: Duration = Duration::from_secs(10);

pub(super) fn run(report: &mut Report, lab: &Lab) -> Outcome {
    let log = report.log("sshd-outage.log");
    let public = generate_key()?.1;
    if let Some(mut server) = report.need("OpenSSH's server starts again", || sshd(&log, &public)) {
        let target = confirmed(lab, &server, "")?;
        report.test("a change is saved at an SFTP server within 10 s", || {
            let pusher = Running::start(lab, &target)?;
            let start = Instant::now();
            pusher.send(&random(400)?, 1);
            pusher.saved(lab, 1)?;
            ensure!(start.elapsed() < PUSHED, "it took {:?}", start.elapsed());
            Ok(())
        });
        let back = report.test("a server that was off gets the newest copy within 10 s after it is back", || {
            let pusher = Running::start(lab, &target)?;
            server.kill();
            pusher.send(b"two", 2);
            status(lab, &pusher.handle, "refused", |status| status.error.is_some())?;
            let newest = random(400)?;
            pusher.send(&newest, 3);
            let waits =
                |status: &::backup::Status| status.pending.as_ref().is_some_and(|waiting| waiting.superseded == 1);
            status(lab, &pusher.handle, "waiting with the newest", waits)?;
            server.start()?;
            let start = Instant::now();
            let saved = pusher.saved(lab, 3)?;
            ensure!(start.elapsed() < PUSHED, "it took {:?}", start.elapsed());
            ensure!(lab.wait(target.fetch(&saved.name))? == newest, "the copy differs");
            Ok(start.elapsed())
        });
        if let Some(back) = back {
            report.note(&format!("saved {:.1} s after the server was back", back.as_secs_f64()));
        }
        report.test("a blob that was pending when the power went is saved after the restart, without LND", || {
            server.kill();
            let spool = tempfile::tempdir()?;
            let blob = "pending when the power went";
            kill_when_pending(&target, spool.path(), blob)?;
            server.start()?;
            ensure!(!lab.list(&target)?.iter().any(|name| name.channels() == 7), "it was saved before the cut");
            let words = helper(&target, spool.path(), None)?.wait_with_output()?;
            ensure!(words.status.success(), "{}", String::from_utf8_lossy(&words.stderr));
            let latest = lab.wait(target.latest())?;
            let is_it = latest.as_ref().is_some_and(|(name, bytes)| bytes == blob.as_bytes() && name.channels() == 7);
            ensure!(is_it, "the newest copy is {latest:?}");
            Ok(())
        });
    }
    let s3_log = report.log("s3-outage.log");
    let Some(gateway) = report.need("the S3 server is built", s3_gateway) else { return Ok(()) };
    report.test("a server that freezes in the middle of a push and dies gets the copy when it is back", || {
        let mut server = s3(&s3_log, &gateway, None, &[])?;
        let target = target(&server, |_| {});
        let pusher = Running::start(lab, &target)?;
        pusher.send(b"one", 1);
        pusher.saved(lab, 1)?;
        server.freeze()?;
        let newest = random(400)?;
        pusher.send(&newest, 2);
        status(lab, &pusher.handle, "pending", |status| status.pending.is_some())?;
        // The connection stands and the question is out: nobody answers.
        std::thread::sleep(Duration::from_secs(1));
        let now = pusher.handle.status().borrow().clone();
        ensure!(now.pending.is_some() && now.error.is_none(), "{now:?}");
        server.kill();
        status(lab, &pusher.handle, "told", |status| status.error.is_some())?;
        server.start()?;
        let saved = pusher.saved(lab, 2)?;
        ensure!(lab.wait(target.fetch(&saved.name))? == newest, "the copy differs");
        Ok(())
    });
    Ok(())
}

/// A pusher in this process.
struct Running {
    scbs: watch::Sender<Option<Scb>>,
    handle: Handle,
    _targets: watch::Sender<Option<Target>>,
    _spool: tempfile::TempDir,
}

impl Running {
    fn start(lab: &Lab, target: &Target) -> Outcome<Self> {
        let spool = tempfile::tempdir()?;
        let (scbs, targets) = (watch::Sender::new(None), watch::Sender::new(Some(target.clone())));
        let (pusher, handle) = Pusher::new(Spool::open(spool.path())?, scbs.subscribe(), targets.subscribe());
        lab.runtime.spawn(pusher.run());
        Ok(Self { scbs, handle, _targets: targets, _spool: spool })
    }

    fn send(&self, bytes: &[u8], channels: u32) {
        self.scbs.send_replace(Some(Scb::new(bytes.to_vec(), channels, None)));
    }

    fn saved(&self, lab: &Lab, channels: u32) -> Outcome<Saved> {
        let is_saved = |status: &::backup::Status| {
            status.pending.is_none() && status.saved.as_ref().is_some_and(|saved| saved.channels() == channels)
        };
        let status = status(lab, &self.handle, "saved", is_saved)?;
        status.saved.map_or_else(|| fails("nothing is saved"), Ok)
    }
}

/// This program as a process that keeps the target up to date.
fn helper(target: &Target, spool: &Path, blob: Option<&str>) -> Outcome<std::process::Child> {
    let file = spool.join("target.json");
    fs::write(&file, serde_json::to_vec(target)?)?;
    let mut helper = Command::new(std::env::current_exe()?);
    helper.arg("backup-helper").arg("--target").arg(&file).arg("--spool").arg(spool.join("spool"));
    if let Some(blob) = blob {
        helper.args(["--blob", blob]);
    }
    Ok(helper.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Starts it, and takes its processor away as soon as it says that the blob waits for a target that is off.
fn kill_when_pending(target: &Target, spool: &Path, blob: &str) -> Outcome {
    let mut child = helper(target, spool, Some(blob))?;
    let Some(output) = child.stdout.take() else { return fails("the helper has no output") };
    let mut lines = BufReader::new(output).lines();
    let pending = lines.find_map(|line| line.ok().filter(|line| line.contains("\"pending\":{")));
    child.kill()?;
    child.wait()?;
    ensure!(pending.is_some(), "the helper never said that something is pending");
    let names: Vec<_> = fs::read_dir(spool.join("spool"))?.flatten().map(|entry| entry.file_name()).collect();
    let blob_file = names.iter().find(|name| name.to_string_lossy().starts_with("scb-"));
    let Some(blob_file) = blob_file else { return fails(format!("the spool holds {names:?}")) };
    use std::os::unix::fs::PermissionsExt;
    let mode = File::open(spool.join("spool").join(blob_file))?.metadata()?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "the blob has the permissions {mode:o}");
    Ok(())
}
