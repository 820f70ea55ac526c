//! Certificates, as RAUC (through OpenSSL's CMS, purpose `codesign`) and the box's own check of documents take them.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use super::Error;

const ROOT_YEARS: i64 = 30;
const SIGNING_YEARS: i64 = 2;
/// Clocks differ: a certificate is valid a little before it was made.
const BEFORE: Duration = Duration::hours(1);

/// P-256: what OpenSSL's CMS, ring and security tokens all know.
pub fn key() -> Result<KeyPair, Error> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// A root that vouches for itself.
pub fn root(name: &str, key: &KeyPair) -> Result<Certificate, Error> {
    Ok(root_params(name)?.self_signed(key)?)
}

/// The same root, by name and key, vouched for by the one before.
pub fn cross(name: &str, key: &KeyPair, before: &Issuer<'_, KeyPair>) -> Result<Certificate, Error> {
    let mut params = root_params(name)?;
    // The box asks it of every certificate between the key and the root.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    Ok(params.signed_by(key, before)?)
}

/// A signing key's certificate.
pub fn signing(name: &str, key: &KeyPair, root: &Issuer<'_, KeyPair>) -> Result<Certificate, Error> {
    let mut params = params(name, SIGNING_YEARS)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    Ok(params.signed_by(key, root)?)
}

fn root_params(name: &str) -> Result<CertificateParams, Error> {
    let mut params = params(name, ROOT_YEARS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(name: &str, years: i64) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - BEFORE;
    params.not_after = params.not_before + Duration::days(years * 365);
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| Error::Random)?;
    // Positive, and as long as it says.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}
