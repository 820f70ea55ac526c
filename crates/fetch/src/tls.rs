//! TLS that trusts the system's authorities and what the owner gave, and can say who issued what it does not trust.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::{parse_x509_certificate, prelude::GeneralName, time::ASN1Time};

use crate::{
    Error,
    net::{CONNECT_LIMIT, within},
};

/// The system's certificate authorities, PEM: Debian's and Buildroot's `ca-certificates` put them here.
pub const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Which servers are trusted; read anew for each connection, so that an update of the system's list counts at once.
#[derive(Debug)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    /// The owner's own: authorities, or the very certificates of servers.
    own: Vec<CertificateDer<'static>>,
}

impl Trust {
    pub fn new(own: Option<&str>) -> Result<Self, Error> {
        Self::from(Path::new(AUTHORITIES), own)
    }

    fn from(path: &Path, own: Option<&str>) -> Result<Self, Error> {
        let own = own.map(str::trim).filter(|pem| !pem.is_empty()).map(parse).transpose()?.unwrap_or_default();
        let mut roots = RootCertStore::empty();
        if let Ok(certificates) = CertificateDer::pem_file_iter(path) {
            roots.add_parsable_certificates(certificates.flatten());
        }
        roots.add_parsable_certificates(own.iter().cloned());
        if roots.is_empty() {
            return Err(Error::NoAuthorities { path: path.to_owned() });
        }
        Ok(Self { roots: Arc::new(roots), own })
    }

    /// Shakes hands with `host` over `tcp`.
    pub async fn connect(self, host: &str, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
        let failed = |what: String| Error::Tls { host: host.to_owned(), what };
        let provider = Arc::new(ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(self.roots, provider.clone()).build();
        let inner = inner.map_err(|error| failed(error.to_string()))?;
        let refused = Arc::new(Mutex::new(None));
        let verifier = Arc::new(Verifier { inner, own: self.own, refused: refused.clone() });
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| failed(error.to_string()))?;
        let config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(plain.to_owned());
        let name = name.map_err(|_| Error::BadHost { host: host.to_owned() })?;
        let shake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        let shaken = within(CONNECT_LIMIT, host, "finish the TLS handshake", shake).await?;
        shaken.map_err(|error| {
            match refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some((certificate, why)) => explain(host, &certificate, &why),
                // Someone who does not speak TLS is met as garbage.
                None => failed(twin::source::sentence(&error)),
            }
        })
    }
}

fn parse(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let parsed = parsed.map_err(|error| Error::BadCa { what: error.to_string() })?;
    if parsed.is_empty() {
        return Err(Error::BadCa { what: "there is no certificate in it".to_owned() });
    }
    match parsed.iter().find_map(|der| parse_x509_certificate(der).err()) {
        Some(error) => Err(Error::BadCa { what: error.to_string() }),
        None => Ok(parsed),
    }
}

/// Why the certificate was refused, with what the owner needs to act.
fn explain(host: &str, der: &CertificateDer<'_>, why: &rustls::Error) -> Error {
    let host = host.to_owned();
    let Ok((_, certificate)) = parse_x509_certificate(der) else {
        return Error::Tls { host, what: "the server's certificate cannot be parsed".to_owned() };
    };
    let until = || day(certificate.validity().not_after);
    let from = || day(certificate.validity().not_before);
    match why {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Error::Expired { host, until: until() }
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Error::NotYetValid { host, from: from() },
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Error::WrongName { host, names: names(&certificate) },
        // A self-signed one that is marked as an authority is refused with words of its own.
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)) => {
            let issuer = match certificate.issuer() == certificate.subject() {
                true => "itself".to_owned(),
                false => format!("\u{201c}{}\u{201d}", printable(&certificate.issuer().to_string())),
            };
            Error::Untrusted { host, issuer }
        }
        why => Error::Tls { host, what: why.to_string() },
    }
}

fn day(time: ASN1Time) -> String {
    let time = time.to_datetime();
    format!("{:04}-{:02}-{:02}", time.year(), u8::from(time.month()), time.day())
}

fn names(certificate: &x509_parser::certificate::X509Certificate<'_>) -> String {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return "none".to_owned() };
    let names = alternative.value.general_names.iter().take(5).map(|name| match name {
        GeneralName::DNSName(name) => printable(name),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(four) => std::net::Ipv4Addr::from(four).to_string(),
            Err(_) => "an IPv6 address".to_owned(),
        },
        _ => "another kind of name".to_owned(),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Foreign text for a sentence: short, without control characters.
fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(120).collect()
}

type Refused = Arc<Mutex<Option<(CertificateDer<'static>, rustls::Error)>>>;

/// The usual verification; it keeps what it refused. A certificate that the owner gave is accepted as it is, also when
/// it signs itself and names no host, as those of home servers do.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
    refused: Refused,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.own.iter().any(|own| own == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.inspect_err(|error| {
            let refused = (end_entity.clone().into_owned(), error.clone());
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    struct Made {
        pem: String,
        chain: Vec<CertificateDer<'static>>,
        key: Vec<u8>,
    }

    fn key() -> KeyPair {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
    }

    /// A server's certificate from an authority of our own; `pem` is the authority's.
    fn issued(change: impl FnOnce(&mut CertificateParams)) -> Made {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Ann's own CA");
        let ca_key = key();
        let ca = params.self_signed(&ca_key).unwrap();
        let leaf_key = key();
        let mut leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut leaf);
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(params, ca_key)).unwrap();
        Made { pem: ca.pem(), chain: vec![leaf.der().clone()], key: leaf_key.serialize_der() }
    }

    /// Shakes hands with a server that has this certificate.
    async fn shake(made: &Made, own: Option<&str>) -> Result<(), Error> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.key.clone()));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = Arc::new(config.with_single_cert(made.chain.clone(), key).unwrap());
        let server = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let _ = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await;
        });
        let tcp = TcpStream::connect(address).await.unwrap();
        let shaken = Trust::new(own).unwrap().connect("localhost", tcp).await;
        server.await.unwrap();
        shaken.map(drop)
    }

    #[tokio::test]
    async fn an_own_authority_is_trusted_once_it_is_given() {
        let made = issued(|_| {});
        let error = shake(&made, None).await.unwrap_err();
        assert!(matches!(&error, Error::Untrusted { issuer, .. } if issuer.contains("Ann's own CA")), "{error}");
        shake(&made, Some(&made.pem)).await.unwrap();
    }

    #[tokio::test]
    async fn a_self_signed_server_is_trusted_once_its_certificate_is_given() {
        let own = key();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signed = params.self_signed(&own).unwrap();
        let made = Made { pem: signed.pem(), chain: vec![signed.der().clone()], key: own.serialize_der() };
        let error = shake(&made, None).await.unwrap_err();
        assert!(matches!(&error, Error::Untrusted { issuer, .. } if issuer == "itself"), "{error}");
        shake(&made, Some(&made.pem)).await.unwrap();
    }

    #[tokio::test]
    async fn other_names_and_other_times_are_told_apart() {
        let other = issued(|leaf| {
            leaf.subject_alt_names = CertificateParams::new(["nas".to_owned()]).unwrap().subject_alt_names
        });
        let error = shake(&other, Some(&other.pem)).await.unwrap_err();
        assert!(matches!(&error, Error::WrongName { names, .. } if names == "nas"), "{error}");
        let old = issued(|leaf| leaf.not_after = rcgen::date_time_ymd(2020, 2, 3));
        let error = shake(&old, Some(&old.pem)).await.unwrap_err();
        assert!(matches!(&error, Error::Expired { until, .. } if until == "2020-02-03"), "{error}");
        let new = issued(|leaf| leaf.not_before = rcgen::date_time_ymd(2090, 2, 3));
        let error = shake(&new, Some(&new.pem)).await.unwrap_err();
        assert!(matches!(&error, Error::NotYetValid { from, .. } if from == "2090-02-03"), "{error}");
    }

    #[test]
    fn without_any_authority_nothing_is_trusted() {
        let error = Trust::from(Path::new("/nonexistent"), None).unwrap_err();
        assert!(matches!(error, Error::NoAuthorities { .. }), "{error}");
        let error = Trust::from(Path::new("/nonexistent"), Some("hello")).unwrap_err();
        assert!(matches!(error, Error::BadCa { .. }), "{error}");
    }
}
