//! LND over gRPC: a connection that trusts one certificate, and the watchers that feed the twin.

pub mod connect;
pub mod state;

use std::{net::SocketAddr, path::PathBuf};

use twin::source::TwinGone;

/// Messages and clients, made at build time from `proto/`.
#[allow(unreachable_pub, reason = "generated code")]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto/lnrpc.rs"));
}

pub use connect::connect;

/// Where LND answers and by what it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its gRPC listener, on loopback.
    pub address: SocketAddr,
    /// Its own TLS certificate, PEM. Read again on each connection.
    pub certificate: PathBuf,
}

/// Why LND cannot be read. Each is a sentence for the owner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("LND has not written its certificate {path} yet")]
    NoCertificate { path: PathBuf },
    #[error("failed to read LND's certificate {path}")]
    ReadCertificate { path: PathBuf, source: std::io::Error },
    #[error("{path} is no PEM certificate: {what}")]
    BadCertificate { path: PathBuf, what: String },
    #[error("LND does not answer on {address}: {what}")]
    Unreachable { address: SocketAddr, what: String },
    #[error("who answers on {address} has another certificate than the one in {path}: LND's certificate changed")]
    CertificateChanged { address: SocketAddr, path: PathBuf },
    #[error("no TLS connection to LND on {address}")]
    Tls { address: SocketAddr, source: std::io::Error },
    #[error("LND on {address} did not {action} within {seconds} seconds")]
    Timeout { address: SocketAddr, action: &'static str, seconds: u64 },
    #[error("LND on {address} failed to {action}: {what}")]
    Call { address: SocketAddr, action: &'static str, what: String },
    #[error("LND on {address} ended the connection")]
    Ended { address: SocketAddr },
    #[error("LND on {address} reports the state {number}, which this version does not know")]
    UnknownState { address: SocketAddr, number: i32 },
    #[error("the twin is gone")]
    TwinGone,
}

impl From<TwinGone> for Error {
    fn from(_: TwinGone) -> Self {
        Self::TwinGone
    }
}
