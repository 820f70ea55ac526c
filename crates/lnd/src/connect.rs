//! A gRPC channel to LND over TLS that trusts the one certificate LND wrote to a file.
//!
//! That certificate signs itself and is marked as an authority, which the usual verification refuses
//! (`CaUsedAsEndEntity`). Nothing needs to be built on it either: LND and this program share a machine and a file, so
//! the certificate shown must be the very one in the file. Its names and dates do not matter then.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use crate::{
    Config, Error,
    alive::{Alive, Watched},
};

/// Limit for the TCP connection, and again for the TLS handshake.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// While calls are open, a peer silent for so long is asked whether it lives, and given up after [`PING_LIMIT`].
pub const IDLE_LIMIT: Duration = Duration::from_secs(30);
pub const PING_LIMIT: Duration = Duration::from_secs(10);

/// Bytes that may be under way unread: on one stream, and on all of a connection. The first is small beside the second,
/// so that streams nobody reads for a moment do not hold up the others.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// Connects to LND. The channel serves for one connection: when that ends, its calls fail and a new one is to be made,
/// so that the certificate file is read again.
pub async fn connect(config: &Config) -> Result<Channel, Error> {
    connect_watched(config).await.map(|(channel, _)| channel)
}

/// The same with a mark that tells when the connection has ended.
pub(crate) async fn connect_watched(config: &Config) -> Result<(Channel, Alive), Error> {
    let address = config.address;
    let (stream, alive) = Watched::new(tls(config).await?);
    // tonic asks for a connection through a connector; it gets the one made above, and no second.
    let once = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    let connector = tower::service_fn(move |_| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    let endpoint = Endpoint::from_static("https://localhost")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(IDLE_LIMIT)
        .keep_alive_timeout(PING_LIMIT);
    let channel = timeout(CONNECT_LIMIT, endpoint.connect_with_connector(connector)).await;
    let channel = channel.map_err(|_| late(config, "begin HTTP/2"))?;
    let channel = channel.map_err(|error| Error::Unreachable { address, what: twin::source::sentence(&error) })?;
    Ok((channel, alive))
}

fn late(config: &Config, action: &'static str) -> Error {
    Error::Timeout { address: config.address, action, seconds: CONNECT_LIMIT.as_secs() }
}

async fn tls(config: &Config) -> Result<TlsStream<TcpStream>, Error> {
    tls_for(config, b"h2").await
}

/// The same for HTTP/1.1, at another of LND's addresses: its REST listener shows the same certificate.
pub async fn connect_rest(config: &Config) -> Result<TlsStream<TcpStream>, Error> {
    tls_for(config, b"http/1.1").await
}

async fn tls_for(config: &Config, protocol: &[u8]) -> Result<TlsStream<TcpStream>, Error> {
    let address = config.address;
    let pinned = certificate(&config.certificate)?;
    let tcp = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await.map_err(|_| late(config, "answer"))?;
    // The kind alone: the owner needs no error number.
    let tcp = tcp.map_err(|error| Error::Unreachable { address, what: error.kind().to_string() })?;
    let connector = TlsConnector::from(Arc::new(client(pinned, protocol)));
    let name = ServerName::IpAddress(address.ip().into());
    let handshake = timeout(CONNECT_LIMIT, connector.connect(name, tcp)).await;
    handshake.map_err(|_| late(config, "finish the TLS handshake"))?.map_err(|source| {
        let cause = source.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                Error::CertificateChanged { address, path: config.certificate.clone() }
            }
            _ => Error::Tls { address, source },
        }
    })
}

/// The first certificate in the file.
fn certificate(path: &Path) -> Result<CertificateDer<'static>, Error> {
    let path = path.to_owned();
    let pem = std::fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoCertificate { path: path.clone() },
        _ => Error::ReadCertificate { path: path.clone(), source },
    })?;
    CertificateDer::from_pem_slice(&pem).map_err(|error: pem::Error| {
        let what = match error {
            pem::Error::NoItemsFound => "there is no certificate in it".to_owned(),
            error => error.to_string(),
        };
        Error::BadCertificate { path, what }
    })
}

fn client(pinned: CertificateDer<'static>, protocol: &[u8]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Pinned { certificate: pinned, provider: provider.clone() });
    // The provider is given and the versions are the safe ones, hence nothing can be missing here.
    #[expect(clippy::expect_used, reason = "the ring provider speaks the default versions of TLS")]
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("ring");
    let mut client = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    client.alpn_protocols = vec![protocol.to_vec()];
    client
}

/// Accepts exactly one certificate, and only from who holds its key.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
