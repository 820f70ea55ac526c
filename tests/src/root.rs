//! The fake root program: on a box `homebolt-boot request` does this with systemd. Here it starts LND as a child.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;

use crate::report::{Fault, Outcome, ensure, fails, until};

/// Serial number of the stick that is plugged in.
pub(crate) const STICK: &str = "TEST-STICK-1";

/// What the manager asks for and gets without saying what for.
const FOR_LND: [&str; 2] = ["lnd-restart", "wallet-seal"];
/// What a willing one does besides.
const WILLING: [&str; 4] = ["place", "unit-restart", "stick-list", "stick-mount"];

/// Does what the manager asks for, for as long as this value lives.
pub(crate) struct FakeRoot {
    inner: Arc<Inner>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Inner {
    folder: PathBuf,
    lnd: PathBuf,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    /// Says no to all that is not for LND.
    grudging: bool,
    /// And to that, too.
    stubborn: AtomicBool,
}

impl FakeRoot {
    /// `folder`: the manager's, with `run`, `config` and `lnd` in it.
    pub(crate) fn start(folder: &Path, lnd: &Path, log: &Path) -> Self {
        Self::begin(folder, lnd, log, false)
    }

    /// One that does what LND needs, and says no to all else at once.
    pub(crate) fn grudging(folder: &Path, lnd: &Path, log: &Path) -> Self {
        Self::begin(folder, lnd, log, true)
    }

    fn begin(folder: &Path, lnd: &Path, log: &Path, grudging: bool) -> Self {
        let (folder, lnd, log) = (folder.to_owned(), lnd.to_owned(), log.to_owned());
        let inner =
            Arc::new(Inner { folder, lnd, log, child: Mutex::default(), grudging, stubborn: AtomicBool::new(false) });
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (inner, stop) = (inner.clone(), stop.clone());
            move || {
                let mut number = 0_u64;
                while !stop.load(Ordering::Acquire) {
                    inner.look(&mut number);
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { inner, stop, thread: Some(thread) }
    }

    /// From now on it says no to everything.
    pub(crate) fn say_no(&self) {
        self.inner.stubborn.store(true, Ordering::Release);
    }

    /// As after a restart of the box: LND ends in order and starts again, with nobody asking.
    pub(crate) fn restart_lnd(&self) -> Outcome {
        self.inner.restart()
    }

    /// LND is away, as by a power cut.
    pub(crate) fn kill_lnd(&self) -> Outcome {
        let mut child = self.inner.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn sealed(&self) -> PathBuf {
        self.inner.sealed()
    }
}

impl Drop for FakeRoot {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.kill_lnd();
        for stick in ["run/stick", "stick"].map(|name| self.inner.folder.join(name)) {
            if stick.is_dir() {
                let _ = Command::new("umount").arg(stick).stderr(Stdio::null()).status();
            }
        }
    }
}

impl Inner {
    fn sealed(&self) -> PathBuf {
        self.folder.join("sealed-password")
    }

    fn look(&self, number: &mut u64) {
        for request in fs::read_dir(self.folder.join("run/manager/request")).into_iter().flatten().flatten() {
            let name = request.file_name().to_string_lossy().into_owned();
            let is_known = FOR_LND.contains(&name.as_str()) || WILLING.contains(&name.as_str());
            if !is_known && !self.grudging {
                continue;
            }
            let Ok(content) = fs::read(request.path()) else { continue };
            let _ = fs::remove_file(request.path());
            *number += 1;
            let done: Outcome<String> = match name.as_str() {
                _ if self.stubborn.load(Ordering::Acquire) => fails("root says no"),
                "lnd-restart" => self.restart().map(|()| "lnd.service is being restarted.".into()),
                "wallet-seal" => fs::write(self.sealed(), &content).map(|()| "sealed-by-disk".into()).map_err(Into::into),
                _ if self.grudging => fails("root says no"),
                "stick-list" => Ok(json!([
                    { "serial": STICK, "model": "Test stick", "bytes": 8_000_000_000_u64, "label": "PHOTOS", "fault": "" },
                ])
                .to_string()),
                "stick-mount" => self.mount_stick(),
                // The test's own computer keeps its name.
                "place" => Ok("The box is called as it was.".into()),
                _ => Ok("is being restarted.".into()),
            };
            let (ok, message) = match done {
                Ok(message) => (true, message),
                Err(Fault::Fails(why) | Fault::Skip(why)) => (false, why),
            };
            let answer = json!({ "name": name, "ok": ok, "message": message, "at": 0, "done": true, "number": number });
            let new = self.folder.join("run/.result.new");
            let _ = fs::write(&new, answer.to_string())
                .and_then(|()| fs::rename(&new, self.folder.join("run/request-result.json")));
        }
    }

    /// A file system of its own stands for the stick; what is on it stays when it is pulled.
    fn mount_stick(&self) -> Outcome<String> {
        let (stick, mount) = (self.folder.join("stick"), self.folder.join("run/stick"));
        let made = |command: &mut Command| -> Outcome {
            let ended = command.status()?;
            ensure!(ended.success(), "mount ended with {ended}");
            Ok(())
        };
        if !stick.exists() {
            fs::create_dir_all(&stick)?;
            let options = ["-t", "tmpfs", "-o", "size=1m,nosuid,nodev,noexec", "none"];
            made(Command::new("mount").args(options).arg(&stick))?;
            fs::create_dir_all(stick.join("homebolt"))?;
        }
        fs::create_dir_all(&mount)?;
        made(Command::new("mount").arg("--bind").arg(&stick).arg(&mount))?;
        Ok("The stick is mounted.".into())
    }

    fn restart(&self) -> Outcome {
        let mut running = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = running.take() {
            Command::new("kill").arg(child.id().to_string()).status()?;
            until(Duration::from_secs(120), || {
                ensure!(child.try_wait()?.is_some(), "LND does not stop");
                Ok(())
            })?;
        }
        let conf = self.folder.join("config/lnd.conf");
        let text = fs::read_to_string(&conf)?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.lnd);
        command.arg(format!("--configfile={}", conf.display()));
        // systemd would have opened the credential at the path that the file names.
        if text.contains("wallet-unlock-password-file=") {
            command.arg(format!("--wallet-unlock-password-file={}", self.sealed().display()));
        }
        *running = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }
}
