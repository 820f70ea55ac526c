//! What a board needs that is of another architecture than the machine that builds.
//!
//! A build asks few programs of the root tree something: busybox for its list, the loader for libraries. They run by an emulator that is called by its name. The kernel of the host is never told about it (binfmt), so a
//! build leaves nothing behind on the machine, and needs no right to.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    board::Board,
    cache::{Cache, Key},
    error::{At, Error},
    lock::{Lock, Package},
    mirror, tree,
};

/// Runs programs of a root tree.
#[derive(Debug)]
pub struct Runner {
    /// None: they are of the host's architecture.
    emulator: Option<PathBuf>,
}

impl Runner {
    pub fn prepare(board: &Board, lock: &Lock, cache: &Cache) -> Result<Self, Error> {
        let Some(emulator) = &board.debian.emulator else { return Ok(Self { emulator: None }) };
        let key = key("emulator 1", &lock.emulator).text(&emulator.program);
        let done = cache.step("emulator", &key, |folder| {
            let all = folder.join("all");
            let exclude = ["./usr/share".to_owned(), "./usr/libexec".to_owned()];
            tree::unpack(&mirror::fetch(&lock.emulator, cache)?, &exclude, &all)?;
            // The package has one for each of thirty architectures.
            let (from, to) = (all.join("usr/bin").join(&emulator.program), folder.join(&emulator.program));
            fs::rename(&from, &to).at("take", &from)?;
            super::cache::remove(&all)
        })?;
        Ok(Self { emulator: Some(done.join(&emulator.program)) })
    }

    /// `program` (a path below the tree), which sees the tree as its root: by chroot, or by an emulator that looks for
    /// each file in the tree first.
    pub fn command(&self, tree: &Path, program: &str) -> Command {
        let program = program.trim_start_matches('/');
        match &self.emulator {
            None => {
                let mut command = Command::new("chroot");
                command.arg(tree).arg(format!("/{program}"));
                command
            }
            Some(emulator) => {
                let mut command = Command::new(emulator);
                command.arg("-L").arg(tree).arg(tree.join(program));
                command
            }
        }
    }

    pub fn is_foreign(&self) -> bool {
        self.emulator.is_some()
    }
}

/// Where GRUB's modules for the board are, if the tools have none.
pub fn grub_modules(board: &Board, lock: &Lock, cache: &Cache) -> Result<Option<PathBuf>, Error> {
    if board.debian.grub.is_none() {
        return Ok(None);
    }
    let done = cache.step("grub", &key("grub 1", &lock.grub), |folder| {
        tree::unpack(&mirror::fetch(&lock.grub, cache)?, &["./usr/share".to_owned()], folder)
    })?;
    Ok(Some(done.join("usr/lib/grub").join(&board.grub.format)))
}

/// What the board's firmware starts, and the firmware itself, where it comes from packages.
pub fn loader(lock: &Lock, cache: &Cache) -> Result<Option<PathBuf>, Error> {
    if lock.loader.is_empty() {
        return Ok(None);
    }
    let done = cache.step("loader", &key("loader 1", &lock.loader), |folder| {
        tree::unpack(&mirror::fetch(&lock.loader, cache)?, &["./usr/share".to_owned(), "./etc".to_owned()], folder)
    })?;
    Ok(Some(done))
}

fn key(step: &str, packages: &[Package]) -> Key {
    packages.iter().fold(Key::new(step), |key, package| key.text(&package.sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_program_of_the_hosts_kind_runs_in_the_tree() {
        let runner = Runner { emulator: None };
        assert_eq!(words(&runner.command(Path::new("/t"), "usr/bin/busybox")), ["chroot", "/t", "/usr/bin/busybox"]);
    }

    #[test]
    fn a_foreign_one_is_given_to_the_emulator_by_name() {
        let runner = Runner { emulator: Some("/c/qemu-aarch64".into()) };
        let expected = ["/c/qemu-aarch64", "-L", "/t", "/t/usr/bin/busybox"];
        assert_eq!(words(&runner.command(Path::new("/t"), "/usr/bin/busybox")), expected);
    }
}
