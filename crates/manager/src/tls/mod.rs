//! The box's own certificates.
//!
//! Every box has a certificate authority of its own, limited by name constraints to the box's names and to private
//! addresses: who trusts it trusts it for nothing else. It signs the one leaf with which the box answers; the leaf is
//! issued anew, without restart, when an address changes or its time comes.
//!
//! The clock of a box without a battery is wrong until the network has told it better. Nothing here is therefore
//! dated by the clock alone: the authority is valid from a day before the release was built, and the leaf from a day
//! before the later of that time and the clock.

mod authority;
mod fingerprint;
mod keeper;
mod leaf;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

pub(crate) use authority::Authority;
pub(crate) use keeper::{Keeper, Names};
use rustls::ServerConfig;
use time::OffsetDateTime;

use crate::error::Error;

/// One day in seconds: the slack for clocks that are a little behind ours.
const DAY: u64 = 86_400;

/// The server's side of TLS 1.2 and 1.3 with the certificate `keeper` has at the moment of each handshake.
pub(crate) fn server_config(keeper: &Keeper) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(keeper.resolver());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// `seconds` since 1970 as rcgen wants it; what lies out of range becomes 1970.
fn date(seconds: u64) -> OffsetDateTime {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
