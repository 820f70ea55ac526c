//! The manager on this computer, without a box: own folders, own ports.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    bench::memory,
    http::Client,
    report::{Outcome, ensure, fails, tail, until},
    screen::Screen,
};

/// A manager that runs. Ends with this value.
#[derive(Debug)]
pub(crate) struct Manager {
    child: Option<Child>,
    program: PathBuf,
    folder: tempfile::TempDir,
    log: PathBuf,
    http: u16,
    https: u16,
    /// Where LND is expected.
    lnd: u16,
    /// And its REST.
    rest: u16,
}

/// What the initrd reports of a sound box.
pub(crate) fn sound() -> Value {
    json!({
        "slot": "A", "disk": "/dev/vda", "root_hash": "5f".repeat(32),
        "data": { "state": "ok", "detail": "", "serial": "TEST-1", "model": "Test disk" },
    })
}

/// Both slots, with or without a reason why B failed.
pub(crate) fn slots(problem: Option<&str>) -> Value {
    json!([
        { "slot": "A", "booted": true, "ok": true, "tries": 0, "version": "0.1.0", "problem": null },
        { "slot": "B", "booted": false, "ok": problem.is_none(), "tries": if problem.is_some() { 3 } else { 0 },
          "version": "0.1.0", "problem": problem },
    ])
}

impl Manager {
    /// Starts one in new folders. `log` gets its own words.
    pub(crate) fn start(program: &Path, log: &Path, boot: &Value) -> Outcome<Self> {
        Self::start_on(program, log, boot, |_| Ok(()))
    }

    /// The same; `prepare` is given the folders before the program starts.
    pub(crate) fn start_on(
        program: &Path,
        log: &Path,
        boot: &Value,
        prepare: impl FnOnce(&Path) -> Outcome,
    ) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("homebolt-manager-").tempdir()?;
        let path = folder.path();
        for name in ["data", "run/manager/request", "lnd", "config"] {
            fs::create_dir_all(path.join(name))?;
        }
        let release = release::Release {
            version: "0.1.0".into(),
            board: "x86-64".into(),
            base: "debian".into(),
            built: 1_700_000_000,
            lnd_version: "v0.21.2-beta".into(),
            development_keys: false,
            eeprom: None,
        };
        fs::write(path.join("release.json"), serde_json::to_vec(&release)?)?;
        fs::write(path.join("run/boot.json"), boot.to_string())?;
        fs::write(path.join("run/slots.json"), slots(None).to_string())?;
        prepare(path)?;
        let (http, https) = (homebolt::qemu::free_port()?, homebolt::qemu::free_port()?);
        // Nobody listens there unless a test sees to it.
        let (lnd, rest) = (homebolt::qemu::free_port()?, homebolt::qemu::free_port()?);
        let (program, log) = (program.to_owned(), log.to_owned());
        let mut manager = Self { child: None, program, folder, log, http, https, lnd, rest };
        manager.run()?;
        Ok(manager)
    }

    fn run(&mut self) -> Outcome {
        let path = self.folder.path().to_owned();
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--state-dir").arg(path.join("data")).arg("--run-dir").arg(path.join("run"));
        command.arg("--release").arg(path.join("release.json"));
        command.arg("--http").arg(format!("127.0.0.1:{}", self.http));
        command.arg("--https").arg(format!("127.0.0.1:{}", self.https));
        command.arg("--lnd-rpc").arg(format!("127.0.0.1:{}", self.lnd));
        command.arg("--lnd-rest").arg(format!("127.0.0.1:{}", self.rest));
        command.arg("--lnd-dir").arg(path.join("lnd")).arg("--config-dir").arg(path.join("config"));
        // None, unless a test puts some there.
        command.arg("--headers-dir").arg(path.join("headers"));
        command.arg("--keyring").arg(path.join("keyring.pem")).arg("--channel").arg(path.join("channel.json"));
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        until(Duration::from_secs(20), || {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                return crate::report::fails(format!("the manager ended ({status}): {}", tail(&self.words(), 5)));
            }
            let answer = Client::tls(self.https).get("/healthz")?;
            ensure!(answer.status == 200, "/healthz answers {}", answer.status);
            Ok(())
        })
    }

    /// Takes its processor away between two instructions, as a power cut does, and starts it again.
    pub(crate) fn cut_and_restart(&mut self) -> Outcome {
        self.kill();
        self.run()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All folders of this box.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn tls(&self) -> Client {
        Client::tls(self.https)
    }

    pub(crate) fn plain(&self) -> Client {
        Client::plain(self.http)
    }

    pub(crate) fn https(&self) -> u16 {
        self.https
    }

    /// Where LND is expected.
    pub(crate) fn lnd(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.lnd).into()
    }

    /// Process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Does the work; gives by how much the manager's own memory was at most greater meanwhile than before, kB.
    pub(crate) fn growth(&self, work: impl FnOnce() -> Outcome) -> Outcome<u64> {
        let pid = self.pid().unwrap_or_default();
        let own = || memory(pid, "RssAnon");
        let (before, done) = (own()?, AtomicBool::new(false));
        thread::scope(|scope| {
            let most = scope.spawn(|| -> Outcome<u64> {
                let mut most = before;
                while !done.load(Ordering::Acquire) {
                    most = most.max(own()?);
                    thread::sleep(Duration::from_millis(2));
                }
                Ok(most)
            });
            let worked = work();
            done.store(true, Ordering::Release);
            let most = most.join().unwrap_or_else(|_| fails("the manager's memory could not be watched"))?;
            worked.map(|()| most - before)
        })
    }

    /// A file in the folder that stands for `/run/homebolt`.
    pub(crate) fn run_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    /// Replaces a file there as the box's programs do: at once or not at all.
    pub(crate) fn replace(&self, name: &str, content: &Value) -> Outcome {
        let (path, new) = (self.run_file(name), self.run_file("new"));
        fs::write(&new, content.to_string())?;
        Ok(fs::rename(new, path)?)
    }

    /// What the console would show.
    pub(crate) fn screen(&self) -> Outcome<Screen> {
        until(Duration::from_secs(10), || {
            let screen = Screen::of(&fs::read_to_string(self.run_file("manager/console.txt"))?);
            ensure!(screen.words().len() == 6, "the console shows no fingerprint:\n{}", screen.0);
            Ok(screen)
        })
    }

    /// The claim code on the console.
    pub(crate) fn code(&self) -> Outcome<String> {
        let screen = self.screen()?;
        match screen.code() {
            Some(code) => Ok(code.to_owned()),
            None => crate::report::fails(format!("the console shows no claim code:\n{}", screen.0)),
        }
    }

    fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The routes and who may use them.
    pub(crate) fn routes(&self) -> Outcome<String> {
        let output = Command::new(&self.program).arg("routes").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.kill();
    }
}
