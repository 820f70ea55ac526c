//! Why the manager could not do what was asked.

use std::{io, net::SocketAddr, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Gate(#[from] crate::gate::GateError),
    #[error("failed to {action} {path}: {source}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("failed to read the release from {path}: {source}")]
    Release { path: PathBuf, source: serde_json::Error },
    #[error("{path} does not hold a usable key and certificate: {detail}")]
    KeyFile { path: PathBuf, detail: String },
    #[error("failed to make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("failed to set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("failed to listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("failed to take over the socket {name:?} from systemd: {source}")]
    Socket { name: String, source: io::Error },
    #[error("there is no socket to listen on: neither systemd passed one (names http, https) nor --https was given")]
    NoSocket,
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    #[error("failed to hash a password: {0}")]
    Password(String),
    #[error("failed to {action}: {source}")]
    System { action: &'static str, source: io::Error },
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

/// Seconds since 1970 by the system clock, which may be wrong; see [`crate::tls`] for what rests on it.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
