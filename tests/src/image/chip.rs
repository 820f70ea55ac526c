//! A security chip (TPM2): swtpm, a real one in software, which keeps its keys in a folder as the chip does in itself.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::report::{Outcome, ensure, program, skip, until};

/// A chip of its own, with keys that no other has.
#[derive(Debug)]
pub(crate) struct Chip {
    keys: tempfile::TempDir,
}

/// A chip in a machine. Loses its power with this value.
#[derive(Debug)]
pub(crate) struct Powered {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Chip {
    pub(crate) fn new() -> Outcome<Self> {
        if program("swtpm").is_none() {
            return skip("swtpm is not installed: scripts/setup test");
        }
        Ok(Self { keys: tempfile::Builder::new().prefix("homebolt-chip-").tempdir()? })
    }

    /// Puts it into the machine whose folder this is.
    pub(crate) fn power_on(&self, folder: &Path) -> Outcome<Powered> {
        let socket = folder.join("chip");
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate"]);
        command.arg(format!("dir={}", self.keys.path().display()));
        command.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut powered = Powered { child, socket };
        until(Duration::from_secs(10), || {
            if let Some(status) = powered.child.try_wait()? {
                return crate::report::fails(format!("swtpm ended with {status}"));
            }
            ensure!(powered.socket.exists(), "swtpm opens no socket");
            Ok(())
        })?;
        Ok(powered)
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
