//! Whom `connect` trusts, against TLS servers of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use lnd::{Config, Error, connect};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// As LND's own: signs itself and is an authority. Out of date and of another name besides, which does not matter.
fn certificate(key: &KeyPair) -> (String, CertificateDer<'static>) {
    let mut params = CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2001, 1, 1);
    let certificate = params.self_signed(key).unwrap();
    (certificate.pem(), certificate.der().clone())
}

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A server that shows `certificate` and signs with `key`; it speaks TLS and then keeps silent.
async fn server(certificate: CertificateDer<'static>, key: &KeyPair) -> SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let signer = provider.key_provider.load_private_key(PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(CertifiedKey::new(vec![certificate], signer)))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(tls) = acceptor.accept(tcp).await {
                kept.push(tls);
            }
        }
    });
    address
}

fn config(dir: &TempDir, pem: &str, address: SocketAddr) -> Config {
    let certificate = dir.path().join("tls.cert");
    fs::write(&certificate, pem).unwrap();
    Config { address, certificate }
}

#[tokio::test]
async fn the_very_certificate_is_trusted_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let (pem, der) = certificate(&key);
    let address = server(der, &key).await;
    connect(&config(&dir, &pem, address)).await.unwrap();
    let (other, _) = certificate(&key);
    assert_ne!(other, pem, "the same key and names, yet another certificate");
    let error = connect(&config(&dir, &other, address)).await.unwrap_err();
    assert!(matches!(error, Error::CertificateChanged { .. }), "{error:?}");
}

#[tokio::test]
async fn the_right_certificate_without_its_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (pem, der) = certificate(&KeyPair::generate().unwrap());
    let address = server(der, &KeyPair::generate().unwrap()).await;
    let error = connect(&config(&dir, &pem, address)).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn each_way_of_not_connecting_has_its_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let (pem, _) = certificate(&KeyPair::generate().unwrap());
    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    let error = connect(&config(&dir, &pem, closed)).await.unwrap_err();
    assert_eq!(error.to_string(), "LND does not answer on 127.0.0.1:1: connection refused");
    let error = connect(&config(&dir, "", closed)).await.unwrap_err();
    assert!(error.to_string().ends_with("is no PEM certificate: there is no certificate in it"), "{error}");
    fs::remove_file(dir.path().join("tls.cert")).unwrap();
    let absent = Config { address: closed, certificate: dir.path().join("tls.cert") };
    assert!(matches!(connect(&absent).await, Err(Error::NoCertificate { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_the_connection_and_says_nothing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (pem, _) = certificate(&KeyPair::generate().unwrap());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(&dir, &pem, silent.local_addr().unwrap());
    let error =
        tokio::time::timeout(Duration::from_secs(60), connect(&config)).await.expect("it waits for ever").unwrap_err();
    assert!(matches!(error, Error::Timeout { action: "finish the TLS handshake", .. }), "{error:?}");
}
