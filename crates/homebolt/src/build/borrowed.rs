//! What tests need of Debian and nobody wants installed: a real bitcoind, a real Postgres, an access point, firmware. No
//! image carries them.
//!
//! Each is taken with its libraries from a newer suite than the host's and runs with the loader it came with, so nothing is
//! installed and no service starts. The suite moves on and forgets old versions, hence there is no lock file: apt's
//! signatures vouch for what is fetched, and what is made once stays in the cache.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    HOST_ARCH,
    cache::{Cache, Key},
    command,
    error::{At, Error},
    lock::{self, WantedSet},
    mirror::{self, Mirrors},
};

const SUITE: &str = "forky";
/// Where a package's programs may be; a last part of `*` stands for the only folder there.
const FOLDERS: [&str; 4] = ["usr/bin", "usr/sbin", "usr/lib/postgresql/*/bin", "usr/share/OVMF"];

/// What is taken.
#[derive(Debug)]
pub struct Borrowed {
    name: &'static str,
    packages: &'static [&'static str],
    /// Drawn in by dependencies and not needed to run it.
    drop: &'static [&'static str],
    /// The first is the one that is asked for; the others stand beside it. A file that cannot be run stays as it is.
    programs: &'static [&'static str],
}

/// Debian has no Bitcoin Core; Bitcoin Knots is built from the same sources, with wallet and ZMQ.
pub const BITCOIND: Borrowed = Borrowed {
    name: "bitcoind",
    packages: &["bitcoin-knots"],
    drop: &["systemd", "libsystemd-shared", "debconf"],
    programs: &["bitcoind"],
};

pub const POSTGRES: Borrowed = Borrowed {
    name: "postgres",
    packages: &["postgresql"],
    drop: &[
        "postgresql-common",
        "postgresql-client-common",
        "perl",
        "perl-base",
        "debconf",
        "systemd",
        "libsystemd-shared",
    ],
    programs: &["postgres", "initdb"],
};

/// An access point, and what asks the kernel about its radios. They run in the image under test, from a disk of their own.
pub const HOSTAPD: Borrowed = Borrowed {
    name: "hostapd",
    packages: &["hostapd", "iw"],
    drop: &["systemd", "libsystemd-shared", "debconf"],
    programs: &["hostapd", "iw"],
};

/// UEFI firmware for PCs. With Debian 12's, of November 2022, a machine was seen to stop for ever in GRUB on a busy computer;
/// a likely reason, timer interrupts within timer interrupts without a bound, is mended in edk2 since.
pub const OVMF: Borrowed = Borrowed {
    name: "ovmf",
    packages: &["ovmf-generic"],
    drop: &[],
    programs: &["OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"],
};

/// Puts itself in the program's place: whoever starts it has the program's process. Programs of Postgres find their
/// folders, and each other, by the name they are called by.
fn wrapper(name: &str, depth: usize) -> String {
    let up = vec![".."; depth].join("/");
    format!(
        "#!/bin/sh\n\
         here=$(dirname \"$(readlink -f \"$0\")\")\n\
         lib=$here/{up}/usr/lib/x86_64-linux-gnu\n\
         exec \"$lib/ld-linux-x86-64.so.2\" --library-path \"$lib\" --argv0 \"$here/{name}\" \"$here/{name}.elf\" \"$@\"\n"
    )
}

impl Borrowed {
    /// The program, ready to run. What an earlier run made is taken without a look at the network or at other builds.
    pub fn prepare(&self) -> Result<PathBuf, Error> {
        match self.made(&Cache::folder()) {
            Some(program) => Ok(program),
            None => self.make(&Cache::open()?),
        }
    }

    /// The newest one in the cache.
    fn made(&self, cache: &Path) -> Option<PathBuf> {
        let steps = fs::read_dir(cache.join("steps")).ok()?.flatten();
        let prefix = format!("{}-", self.step());
        let done = steps.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        let programs = done.filter_map(|entry| find(&entry.path(), self.programs[0]));
        programs.max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok())
    }

    /// The name of its step in the cache.
    fn step(&self) -> String {
        format!("borrowed.{}", self.name)
    }

    fn make(&self, cache: &Cache) -> Result<PathBuf, Error> {
        let wanted = WantedSet {
            packages: self.packages.iter().map(ToString::to_string).collect(),
            drop: self.drop.iter().map(ToString::to_string).collect(),
            exclude: vec![],
        };
        let folder = cache.subfolder("apt")?;
        let packages = lock::resolve_set(&wanted, SUITE, HOST_ARCH, &Mirrors::find()?, &folder)?;
        let key = Key::new("borrowed 1").text(&wrapper(self.name, 0));
        let key = packages.iter().fold(key, |key, package| key.text(&package.sha256));
        let done = cache.step(&self.step(), &key, |folder| {
            for deb in mirror::fetch(&packages, cache)? {
                command::output(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(folder))?;
            }
            self.programs.iter().try_for_each(|name| wrap(folder, name))
        })?;
        find(&done, self.programs[0]).ok_or_else(|| missing(&done, self.programs[0]))
    }
}

fn missing(root: &Path, name: &str) -> Error {
    Error::File { path: root.to_owned(), why: format!("there is no {name} in {}", FOLDERS.join(" or ")) }
}

/// The program in an unpacked package.
fn find(root: &Path, name: &str) -> Option<PathBuf> {
    FOLDERS.iter().find_map(|folder| {
        let folders = match folder.split_once("/*/") {
            None => vec![root.join(folder)],
            Some((before, after)) => {
                fs::read_dir(root.join(before)).ok()?.flatten().map(|entry| entry.path().join(after)).collect()
            }
        };
        folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    })
}

/// Exchanges the program, if it is one, for one that calls it with its own loader.
fn wrap(root: &Path, name: &str) -> Result<(), Error> {
    let program = find(root, name).ok_or_else(|| missing(root, name))?;
    if fs::metadata(&program).at("look at", &program)?.permissions().mode() & 0o111 == 0 {
        return Ok(());
    }
    let depth = program.strip_prefix(root).map_or(0, |inside| inside.components().count() - 1);
    fs::rename(&program, program.with_extension("elf")).at("rename", &program)?;
    fs::write(&program, wrapper(name, depth)).at("write", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).at("make runnable", &program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finished_step_with_a_program_is_taken() {
        let cache = tempfile::tempdir().unwrap();
        let step = |name: &str| {
            let folder = cache.path().join("steps").join(name).join("usr/bin");
            fs::create_dir_all(&folder).unwrap();
            folder.join("bitcoind")
        };
        fs::write(step("borrowed.bitcoind.part"), "").unwrap();
        let program = step("borrowed.bitcoind-0a1b");
        assert_eq!(BITCOIND.made(cache.path()), None);
        fs::write(&program, "").unwrap();
        assert_eq!(BITCOIND.made(cache.path()), Some(program));
    }

    #[test]
    fn a_program_in_a_folder_of_its_version_is_found_and_finds_the_libraries() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/postgresql/18/bin");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("postgres"), "elf").unwrap();
        wrap(root.path(), "postgres").unwrap();
        assert_eq!(fs::read_to_string(folder.join("postgres")).unwrap(), "elf", "what cannot be run stays as it is");
        fs::set_permissions(folder.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
        wrap(root.path(), "postgres").unwrap();
        let text = fs::read_to_string(folder.join("postgres")).unwrap();
        assert!(text.contains("lib=$here/../../../../../usr/lib/x86_64-linux-gnu"), "{text}");
        assert_eq!(fs::read_to_string(folder.join("postgres.elf")).unwrap(), "elf");
    }
}
