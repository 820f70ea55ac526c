//! The certificate authority of this box.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer, X509Certificate},
};

use super::{DAY, date, fingerprint};
use crate::{
    atomic,
    error::{Error, random},
};

/// A certificate that people installed on their phones cannot be replaced silently, so it lasts.
const LIFETIME: u64 = 30 * 365 * DAY;

/// What the authority may sign addresses of: private, shared (tailnets), loopback and link-local ranges; never a public
/// address, so that a stolen key cannot stand in for a site on the Internet.
const RANGES: &[(&str, u8)] = &[
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("100.64.0.0", 10),
    ("169.254.0.0", 16),
    ("127.0.0.0", 8),
    ("fc00::", 7),
    ("fe80::", 10),
    ("::1", 128),
];

pub(crate) struct Authority {
    file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
    words: [&'static str; fingerprint::WORDS],
    /// DNS names it may sign, from the certificate itself.
    permitted: Vec<String>,
    /// Lives in the run folder only: the data partition could not be used.
    ephemeral: bool,
}

impl Authority {
    /// Reads the authority from `folder`, or makes it when there is none yet. One that is there but cannot be used is
    /// an error: the owner may have trusted it, so it is never replaced behind their back.
    ///
    /// `built` is the time of the release, seconds since 1970; `ephemeral` is only remembered.
    pub(crate) fn open(folder: &Path, host: &str, built: u64, ephemeral: bool) -> Result<Self, Error> {
        let path = folder.join("authority.pem");
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text, ephemeral),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                let text = make(host, built)?;
                make_folder(folder)?;
                atomic::write(&path, text.as_bytes(), 0o600)?;
                Self::parse(&path, &text, ephemeral)
            }
            Err(source) => Err(Error::file("read", path)(source)),
        }
    }

    fn parse(path: &Path, text: &str, ephemeral: bool) -> Result<Self, Error> {
        let unusable = |detail: String| Error::KeyFile { path: PathBuf::from(path), detail };
        let key = KeyPair::from_pem(text).map_err(|error| unusable(error.to_string()))?;
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| unusable(error.to_string()))?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| unusable(error.to_string()))?;
        if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(unusable("key and certificate do not belong together".into()));
        }
        let permitted = permitted_names(&certificate);
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| unusable(error.to_string()))?;
        let pem = certificate_pem(&der);
        let words = fingerprint::words(&der);
        Ok(Self { file: path.to_owned(), issuer, der, pem, words, permitted, ephemeral })
    }

    /// Where it is kept.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate alone, for the owner to install.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn words(&self) -> &[&'static str; fingerprint::WORDS] {
        &self.words
    }

    pub(crate) fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// Whether a certificate for this name passes the name constraints.
    pub(crate) fn permits_name(&self, name: &str) -> bool {
        self.permitted
            .iter()
            .any(|base| name == base || name.strip_suffix(base.as_str()).is_some_and(|prefix| prefix.ends_with('.')))
    }

    /// Whether a certificate for this address passes the name constraints.
    pub(crate) fn permits_address(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                v4.is_private() || v4.is_loopback() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
            }
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
        }
    }
}

/// Key and certificate of a new authority in one PEM text: one file cannot hold halves of two pairs.
fn make(host: &str, built: u64) -> Result<String, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date(built.saturating_sub(DAY));
    params.not_after = date(built.saturating_add(LIFETIME));
    params.serial_number = Some(serial()?);
    // Two boxes, or one box flashed twice, must not have authorities of one name: browsers mix them up.
    let tag = hex::encode(random::<4>()?);
    params.distinguished_name.push(DnType::CommonName, format!("Homebolt {host} {tag}"));
    params.distinguished_name.push(DnType::OrganizationName, "Homebolt");
    let mut permitted_subtrees: Vec<_> = names_of(host).into_iter().map(GeneralSubtree::DnsName).collect();
    for (base, prefix) in RANGES {
        if let Ok(base) = base.parse() {
            permitted_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(base, *prefix)));
        }
    }
    params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    let certificate = params.self_signed(&key)?;
    Ok(key.serialize_pem() + &certificate.pem())
}

/// The DNS names of a box called `host`.
pub(super) fn names_of(host: &str) -> Vec<String> {
    let mut names = vec!["homelab.local".to_owned(), "localhost".to_owned()];
    let host = host.trim().to_ascii_lowercase();
    let plain = |name: &str| {
        !name.is_empty() && name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if plain(&host) && host != "localhost" {
        names.push(format!("{host}.local"));
        names.push(host);
    }
    names.sort();
    names.dedup();
    names
}

/// A random serial number. rcgen's own is taken from the key; an issuer that uses one number twice is refused by
/// Firefox until the user deletes the old certificate by hand.
pub(super) fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x7f | 0x40; // Positive, and of constant length.
    Ok(SerialNumber::from_slice(&bytes))
}

pub(super) fn make_folder(folder: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::file("create", folder)(source)),
        _ => Ok(()),
    }
}

fn permitted_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let constraints = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::NameConstraints(constraints) => constraints.permitted_subtrees.as_ref(),
        _ => None,
    });
    let names = constraints.into_iter().flatten().filter_map(|subtree| match subtree.base {
        GeneralName::DNSName(name) => Some(name.to_owned()),
        _ => None,
    });
    names.collect()
}

fn certificate_pem(der: &CertificateDer<'_>) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let body = STANDARD.encode(der);
    let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}
