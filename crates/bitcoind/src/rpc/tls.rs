//! Whether somebody speaks TLS: a greeting of TLS is answered by TLS, be it only by an alert.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::Endpoint;

/// First byte of a record: alert or handshake.
const RECORDS: [u8; 2] = [0x15, 0x16];
/// Second byte: the major version of all of TLS.
const MAJOR: u8 = 3;

/// Asks on a connection of its own. Nothing is verified or sent: it ends with the first bytes of the answer.
pub(super) async fn speaks(at: &Endpoint, limit: Duration) -> bool {
    let Some(hello) = hello(at.host()) else { return false };
    let ask = async {
        let mut stream = super::connect(at, limit).await.ok()?;
        stream.write_all(&hello).await.ok()?;
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.ok()?;
        Some(head)
    };
    matches!(timeout(limit, ask).await, Ok(Some([record, MAJOR])) if RECORDS.contains(&record))
}

/// A `ClientHello`.
fn hello(host: &str) -> Option<Vec<u8>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), name).ok()?.write_tls(&mut bytes).ok()?;
    Some(bytes)
}
