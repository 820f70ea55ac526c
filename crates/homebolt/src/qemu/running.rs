//! A machine that runs, seen from the host.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Error, Guest, Machine, Monitor};

/// So long QEMU may take to open its sockets.
const START: Duration = Duration::from_secs(30);

/// A started machine. Dropped, it loses its power.
#[derive(Debug)]
pub struct Running {
    child: Child,
    monitor: Monitor,
    log: PathBuf,
    shell: Option<PathBuf>,
    errors: PathBuf,
    started: Instant,
}

impl Running {
    pub(super) fn start(machine: &Machine) -> Result<Self, Error> {
        let (errors, socket) = (machine.file("errors"), machine.file("monitor"));
        let mut command = machine.command()?;
        // Sockets of an earlier run would be taken for the new ones.
        for name in ["monitor", "shell", "console"] {
            let _ = fs::remove_file(machine.file(name));
        }
        if let Some(wire) = &machine.wire {
            let _ = fs::remove_file(&wire.machine);
        }
        let file = fs::File::create(&errors).map_err(Error::io("create", &errors))?;
        let started = Instant::now();
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        let mut child = spawned.map_err(|source| machine.not_started(source))?;
        let monitor = loop {
            match Monitor::connect(&socket) {
                Ok(monitor) => break monitor,
                Err(error) => {
                    let ended = child.try_wait().map_err(Error::io("watch", "QEMU"))?.is_some();
                    if ended || started.elapsed() > START {
                        let _ = child.kill();
                        let _ = child.wait();
                        return Err(if ended { Error::Ended(read(&errors)) } else { error });
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            }
        };
        let (log, shell) = (machine.file("console.log"), machine.shell.then(|| machine.file("shell")));
        Ok(Self { child, monitor, log, shell, errors, started })
    }

    /// Since QEMU was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    /// All that the console has shown, those of earlier runs with the same folder included.
    pub fn console(&self) -> String {
        read(&self.log)
    }

    /// The root shell, when the machine has one.
    pub fn guest(&self) -> Result<Guest, Error> {
        let path = self.shell.as_deref().unwrap_or(Path::new("shell"));
        Guest::connect(path)
    }

    /// Fails, with QEMU's own words, when the machine is gone.
    pub fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait().map_err(Error::io("watch", "QEMU"))? {
            None => Ok(()),
            Some(status) => Err(Error::Ended(format!("{status} {}", read(&self.errors)))),
        }
    }

    /// Pulls the plug: what the guest had not written is lost.
    pub fn cut_power(mut self) {
        self.kill();
    }

    /// Presses the power button and waits until the guest has switched itself off.
    pub fn shut_down(mut self, limit: Duration) -> Result<ExitStatus, Error> {
        self.monitor.press_power()?;
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().map_err(Error::io("watch", "QEMU"))? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(Error::Late("shut down"))
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A terminal's bytes: not always text.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = fs::File::open(path) {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
