//! LND over gRPC.
//!
//! ```text
//!  connect   TLS to the one certificate in a file
//!     ▲
//!  Client    one shared connection, made again when it is gone; macaroon, deadlines, errors as sentences
//!     ▲
//!  watch     tasks that follow LND and feed the twin; streams are hints, the truth is read whole
//! ```
//!
//! Money is `twin::Sat` or `twin::MilliSat`; what LND would take as bare numbers and bytes has a type in [`types`].

mod alive;
pub mod client;
pub mod connect;
mod error;
pub mod macaroon;
pub mod passage;
pub mod types;
pub mod watch;

use std::{net::SocketAddr, path::PathBuf};

pub use client::Client;
pub use connect::connect;
pub use error::{Error, SeedFault};
pub use types::{ChannelPoint, Hash, NodeId, Preimage, Secret};
pub use watch::state;

/// Messages and clients, made at build time from `proto/`. For tests that stand in for LND; all else uses [`Client`].
#[allow(unreachable_pub, clippy::all, missing_debug_implementations, reason = "generated code")]
pub mod proto {
    pub mod lnrpc {
        include!(concat!(env!("OUT_DIR"), "/lnrpc.rs"));
    }
    pub mod routerrpc {
        include!(concat!(env!("OUT_DIR"), "/routerrpc.rs"));
    }
    pub mod invoicesrpc {
        include!(concat!(env!("OUT_DIR"), "/invoicesrpc.rs"));
    }
    pub mod chainrpc {
        include!(concat!(env!("OUT_DIR"), "/chainrpc.rs"));
    }
}

/// Where LND answers and by what it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its gRPC listener, on loopback.
    pub address: SocketAddr,
    /// Its own TLS certificate, PEM. Read again on each connection.
    pub certificate: PathBuf,
}
