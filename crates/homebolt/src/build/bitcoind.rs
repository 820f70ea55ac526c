//! A real bitcoind for the tests, from Debian. No image carries it.
//!
//! Debian has no Bitcoin Core; Bitcoin Knots is built from the same sources, with wallet and ZMQ. It is taken with its
//! libraries from a newer suite than the host's and runs with the loader it came with, so nothing is installed. The
//! suite moves on and forgets old versions, hence there is no lock file: apt's signatures vouch for what is fetched, and
//! what is made once stays in the cache.

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

const STEP: &str = "bitcoind";
const SUITE: &str = "forky";
const PACKAGE: &str = "bitcoin-knots";
/// Its package wants a service manager; the program does not.
const DROP: [&str; 3] = ["systemd", "libsystemd-shared", "debconf"];
/// Exchanges itself for the program: whoever starts it has the program's process.
const WRAPPER: &str = r#"#!/bin/sh
here=$(dirname "$(readlink -f "$0")")/usr
lib=$here/lib/x86_64-linux-gnu
exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$here/bin/bitcoind" "$@"
"#;

/// The program, ready to run. What an earlier run made is taken without a look at the network or at other builds.
pub fn prepare() -> Result<PathBuf, Error> {
    match made(&Cache::folder()) {
        Some(program) => Ok(program),
        None => make(&Cache::open()?),
    }
}

/// The newest one in the cache.
fn made(cache: &Path) -> Option<PathBuf> {
    let steps = fs::read_dir(cache.join("steps")).ok()?.flatten();
    let done = steps.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{STEP}-")));
    let programs = done.map(|entry| entry.path().join("bitcoind")).filter(|path| path.is_file());
    programs.max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok())
}

fn make(cache: &Cache) -> Result<PathBuf, Error> {
    let wanted = WantedSet { packages: vec![PACKAGE.into()], drop: DROP.map(String::from).into(), exclude: vec![] };
    let folder = cache.subfolder("apt")?;
    let packages = lock::resolve_set(&wanted, SUITE, HOST_ARCH, &Mirrors::find()?, &folder)?;
    let key = packages.iter().fold(Key::new("bitcoind 1").text(WRAPPER), |key, package| key.text(&package.sha256));
    let done = cache.step(STEP, &key, |folder| {
        for deb in mirror::fetch(&packages, cache)? {
            command::output(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(folder))?;
        }
        let program = folder.join("bitcoind");
        fs::write(&program, WRAPPER).at("write", &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).at("make runnable", &program)
    })?;
    Ok(done.join("bitcoind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finished_step_with_a_program_is_taken() {
        let cache = tempfile::tempdir().unwrap();
        let step = |name: &str| {
            let folder = cache.path().join("steps").join(name);
            fs::create_dir_all(&folder).unwrap();
            folder.join("bitcoind")
        };
        fs::write(step("bitcoind.part"), "").unwrap();
        let program = step("bitcoind-0a1b");
        assert_eq!(made(cache.path()), None);
        fs::write(&program, "").unwrap();
        assert_eq!(made(cache.path()), Some(program));
    }
}
