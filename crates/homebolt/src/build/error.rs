use std::{io, path::PathBuf};

/// Why an image could not be made. Each sentence says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "no space left on the disk of {path}: a first build needs about 8 GB for its cache; free some, or name a folder on another disk with HOMEBOLT_CACHE, and run the same command again: it goes on from here"
    )]
    DiskFull { path: PathBuf },
    #[error("{path} is not what was expected: {why}")]
    File { path: PathBuf, why: String },
    #[error("there is no board {0:?}; there are: {1}")]
    NoBoard(String, String),
    #[error("there is no base {0:?}; there are: debian, buildroot")]
    NoBase(String),
    #[error("{program} is missing: {advice}")]
    Missing { program: String, advice: String },
    #[error("{program} failed ({status}); its last lines:\n{tail}")]
    Failed { program: String, status: String, tail: String },
    #[error(
        "{package} {version} is no longer on the mirror {mirror}: Debian has replaced it; run `homebolt lock` to take what is there now, and commit the new lock file"
    )]
    Vanished { package: String, version: String, mirror: String },
    #[error(
        "{file} has the SHA-256 {found}, the lock file says {expected}: the file was deleted, so run the same command again; if it happens twice, do not trust the mirror"
    )]
    Mismatch { file: String, expected: String, found: String },
    #[error(
        "the mirror {mirror} does not deliver ({reason}): {missing} of {all} packages are missing, the first is {first}; check the network, or name another mirror with HOMEBOLT_MIRROR, and run the same command again: it goes on from here"
    )]
    Unreachable { mirror: String, reason: String, missing: usize, all: usize, first: String },
    #[error(
        "{program} could not ask the mirror ({reason}): check the network, or name another mirror with HOMEBOLT_MIRROR, and run `homebolt lock` again; the lock file is as it was"
    )]
    NoIndex { program: String, reason: String },
    #[error(
        "this machine gives no private name space ({said}): run it as root, or give yourself a range of user ids with `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`"
    )]
    NoNamespace { said: String },
    #[error("no Debian mirror found in this machine's apt configuration: name one with HOMEBOLT_MIRROR")]
    NoMirror,
    #[error(
        "Buildroot stopped at {package} ({step}); its last lines:\n{tail}\nThe whole log is {log}; the same command goes on from here"
    )]
    Buildroot { package: String, step: String, log: PathBuf, tail: String },
    #[error(
        "Buildroot {version} cannot be fetched from {archive} ({reason}): check the network, or name an unpacked tree with --buildroot"
    )]
    NoBuildroot { archive: String, reason: String, version: String },
    #[error(
        "the tar in {archive} has the SHA-256 {found}, buildroot/release.toml says {expected}: run the same command again; if it happens twice, do not trust the server"
    )]
    BuildrootMismatch { archive: String, expected: String, found: String },
    #[error(transparent)]
    Keys(#[from] crate::keys::Error),
    #[error(transparent)]
    Sbom(#[from] crate::sbom::Error),
    #[error("{path} is {size} bytes, its partition {partition} holds {room}: leave something out")]
    TooLarge { path: PathBuf, partition: String, size: u64, room: u64 },
}

/// Attaches the path and the action to an I/O error.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { path: path.into() },
            _ => Error::Io { action, path: path.into(), source },
        })
    }
}

/// What is wrong in a TOML file, in one line.
pub(crate) fn in_toml(path: &std::path::Path, text: &str, error: &toml::de::Error) -> Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Error::File { path: path.into(), why: format!("line {line}: {}", error.message().replace('\n', " ")) }
}
