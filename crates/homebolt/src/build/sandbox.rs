//! A private view of the file system for a build: root inside, whoever runs it outside.
//!
//! The program starts itself again in a mount namespace (and, without root, a user namespace). In it the checkout and
//! cargo's folders stand at fixed paths, so no path of this machine can find its way into an image.

use std::{
    fs,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use nix::mount::{MsFlags, mount};

use super::error::{At, Error};

const MARK: &str = "HOMEBOLT_SANDBOX";
const FIXED: &str = "/mnt";

/// Where the checkout, cargo's home and the build folder stand inside.
#[derive(Debug)]
pub struct Fixed {
    pub source: PathBuf,
    pub cargo_home: PathBuf,
    pub target: PathBuf,
}

/// Comes back only inside the namespace: outside it replaces this process by its like within.
pub fn enter() -> Result<(), Error> {
    if std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user", "--map-auto"]);
        }
        command
    };
    let missing = |error| Error::Missing {
        program: "unshare".into(),
        advice: format!("{error}; run ./scripts/setup once (packages util-linux and uidmap)"),
    };
    // Tried first: behind exec nobody is left to explain a failure.
    let tried = unshare().arg("true").output().map_err(missing)?;
    if !tried.status.success() {
        let said = String::from_utf8_lossy(&tried.stderr).lines().next().unwrap_or("no reason given").to_owned();
        return Err(Error::NoNamespace { said });
    }
    // The modes of what is made here end up in the image: they are not a matter of the user's taste.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let program = std::env::current_exe().at("find", "this program")?;
    Err(missing(unshare().arg("--").arg(program).args(std::env::args_os().skip(1)).env(MARK, "1").exec()))
}

/// Lays the checkout, cargo's home and a build folder at their fixed places.
pub fn fix(source: &Path, target: &Path) -> Result<Fixed, Error> {
    let none: Option<&str> = None;
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| "/root".into());
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).unwrap_or_else(|| home.join(".cargo"));
    let mut folders = Vec::new();
    for (name, from) in [("source", source), ("cargo", cargo_home.as_path()), ("target", target)] {
        fs::create_dir_all(from).at("create", from)?;
        folders.push((Path::new(FIXED).join(name), fs::File::open(from).at("open", from)?));
    }
    // What this machine has mounted there stays in sight: a checkout, the cache or --out can lie on it.
    for entry in fs::read_dir(FIXED).at("list", FIXED)?.flatten() {
        let path = entry.path();
        if folders.iter().any(|(taken, _)| *taken == path) {
            let why = "a build needs this name for itself: rename it, or build elsewhere".into();
            return Err(Error::File { path, why });
        }
        if let (true, Ok(folder)) = (path.is_dir(), fs::File::open(&path)) {
            folders.push((path, folder));
        }
    }
    // All are open before this mount, which may hide them.
    mount(Some("tmpfs"), FIXED, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(into_io)
        .at("mount", FIXED)?;
    for (to, folder) in &folders {
        fs::create_dir_all(to).at("create", to)?;
        let from = format!("/proc/self/fd/{}", folder.as_raw_fd());
        mount(Some(from.as_str()), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .map_err(into_io)
            .at("mount", to)?;
    }
    let at = |name| Path::new(FIXED).join(name);
    Ok(Fixed { source: at("source"), cargo_home: at("cargo"), target: at("target") })
}

/// Lays a folder at a fixed place of that name, beside the checkout; gives the place.
pub fn place(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let none: Option<&str> = None;
    let to = Path::new(FIXED).join(name);
    fs::create_dir_all(&to).at("create", &to)?;
    mount(Some(folder), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(into_io).at("mount", &to)?;
    Ok(to)
}

/// Makes `path` appear at the same place inside `root`.
pub fn share(path: &Path, root: &Path) -> Result<(), Error> {
    let inside = root.join(path.strip_prefix("/").unwrap_or(path));
    if path.is_dir() {
        fs::create_dir_all(&inside).at("create", &inside)?;
    } else {
        if let Some(parent) = inside.parent() {
            fs::create_dir_all(parent).at("create", parent)?;
        }
        fs::OpenOptions::new().create(true).append(true).open(&inside).at("create", &inside)?;
    }
    let none: Option<&str> = None;
    mount(Some(path), &inside, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(into_io).at("mount", path)
}

fn into_io(error: nix::errno::Errno) -> std::io::Error {
    error.into()
}
