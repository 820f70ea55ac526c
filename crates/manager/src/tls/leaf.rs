//! The certificate with which the box answers.

use std::{fs, net::IpAddr, path::Path, sync::Arc};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::{crypto::ring::sign::any_ecdsa_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::{Authority, DAY, Names, authority, date};
use crate::{atomic, error::Error};

/// Apple refuses server certificates of more than 825 days, also those of an authority the user installed.
const LIFETIME: u64 = 820 * DAY;
/// It is issued anew when less than this is left.
const MARGIN: u64 = 60 * DAY;

pub(super) struct Leaf {
    pub(super) key: Arc<CertifiedKey>,
    names: Names,
    not_before: u64,
    not_after: u64,
}

impl Leaf {
    /// Takes over the leaf in `file` when it still serves: browsers remember an accepted exception for exactly this
    /// certificate, so a restart must not cost the owner another warning.
    pub(super) fn read(file: &Path, authority: &Authority) -> Option<Self> {
        let text = fs::read(file).ok()?;
        Self::parse(&text, authority)
    }

    fn parse(text: &[u8], authority: &Authority) -> Option<Self> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().ok()?;
        // The chain names the authority that signed: after a change of the authority the leaf is of no use.
        let [leaf, issuer] = chain.as_slice() else { return None };
        if issuer != authority.der() {
            return None;
        }
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let names = Names::from_certificate(&parsed)?;
        let not_before = u64::try_from(parsed.validity().not_before.timestamp()).ok()?;
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        let key = any_ecdsa_type(&PrivateKeyDer::from_pem_slice(text).ok()?).ok()?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().ok()?;
        Some(Self { key: Arc::new(key), names, not_before, not_after })
    }

    /// Issues a leaf for `names` and keeps it in `file`. A disk that cannot take it is no reason to stay without one.
    pub(super) fn issue(
        file: &Path,
        authority: &Authority,
        names: &Names,
        built: u64,
        now: u64,
    ) -> Result<Self, Error> {
        let begin = built.max(now).saturating_sub(DAY);
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.dns.iter().cloned().collect::<Vec<_>>())?;
        params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name.push(DnType::CommonName, "homelab.local");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(authority::serial()?);
        params.not_before = date(begin);
        params.not_after = date(begin + LIFETIME);
        let certificate = params.signed_by(&pair, authority.issuer())?;
        let text = pair.serialize_pem() + &certificate.pem() + authority.pem();
        let unusable =
            || Error::KeyFile { path: file.into(), detail: "the certificate just issued cannot be read".into() };
        let leaf = Self::parse(text.as_bytes(), authority).ok_or_else(unusable)?;
        if let Err(error) = atomic::write(file, text.as_bytes(), 0o600) {
            tracing::warn!(%error, "the new certificate is used but will not survive a restart");
        }
        Ok(leaf)
    }

    /// Whether it is good for all these names at this time. That it names more is no reason for another one: at the
    /// start of the box its addresses are not there yet, and the leaf of the last run must not be given up for that.
    pub(super) fn serves(&self, names: &Names, built: u64, now: u64) -> bool {
        let now = now.max(built);
        self.names.cover(names) && self.not_before <= now && now.saturating_add(MARGIN) < self.not_after
    }
}

impl Names {
    fn cover(&self, other: &Self) -> bool {
        self.dns.is_superset(&other.dns) && self.addresses.is_superset(&other.addresses)
    }

    fn from_certificate(certificate: &X509Certificate<'_>) -> Option<Self> {
        let mut names = Self::default();
        for name in &certificate.subject_alternative_name().ok()??.value.general_names {
            match name {
                GeneralName::DNSName(name) => {
                    names.dns.insert((*name).to_owned());
                }
                GeneralName::IPAddress(bytes) => {
                    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    names.addresses.insert(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok()?);
                }
                _ => return None,
            }
        }
        Some(names)
    }
}
