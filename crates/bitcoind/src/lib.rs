//! The owner's own bitcoind: JSON-RPC and ZMQ, a live test of its configuration, and the source that feeds the twin.
//!
//! ```text
//!  config ─► rpc  (one HTTP connection, typed calls)  ─┬─► probe  the wizard's test: a list of checks, live
//!         └► zmq  (ZMTP subscriber, sequence numbers) ─┴─► watch  the twin's source "bitcoind"
//! ```

pub mod config;
mod error;
pub mod probe;
pub mod rpc;
pub mod watch;
pub mod zmq;

pub use config::{Auth, Config, Endpoint, Network, Zmq};
pub use error::Error;
pub use probe::{Probe, probe};
