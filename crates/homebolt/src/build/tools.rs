//! The tools root: the programs that make images, in the one version that makes them the same everywhere.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    cache::{Cache, Key},
    command,
    error::Error,
    lock::{Package, WantedSet},
    mirror, sandbox, tree,
};

/// A small Debian in a folder, whose programs run with the cache in sight and nothing of the host's.
#[derive(Debug)]
pub struct Tools {
    root: PathBuf,
    epoch: u64,
}

impl Tools {
    /// Unpacks the packages (once) and makes them runnable. `name` is the step's name; `shared` are the host's paths
    /// that the programs may see, besides the cache.
    pub fn prepare(
        name: &str,
        wanted: &WantedSet,
        packages: &[Package],
        shared: &[&Path],
        epoch: u64,
        cache: &Cache,
    ) -> Result<Self, Error> {
        let mut key = Key::new("tools 1");
        for word in packages.iter().map(|package| &package.sha256).chain(&wanted.exclude) {
            key = key.text(word);
        }
        let root = cache.step(name, &key, |folder| {
            tree::unpack(&mirror::fetch(packages, cache)?, &wanted.exclude, folder)?;
            for empty in ["proc", "dev", "tmp", "etc"] {
                std::fs::create_dir_all(folder.join(empty)).map_err(|source| Error::Io {
                    action: "create",
                    path: folder.join(empty),
                    source,
                })?;
            }
            command::output(Command::new("chroot").arg(folder).arg("/usr/sbin/ldconfig")).map(|_| ())
        })?;
        for path in [Path::new("/proc"), Path::new("/dev"), cache.root()].iter().chain(shared) {
            sandbox::share(path, &root)?;
        }
        Ok(Self { root, epoch })
    }

    /// `program` with a small, fixed environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(["/usr/bin/env", "-i", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/tmp"]);
        command.arg(format!("SOURCE_DATE_EPOCH={}", self.epoch));
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin").arg(program);
        command
    }
}
