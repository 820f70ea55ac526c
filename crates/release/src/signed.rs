//! Signed documents: one JSON file that carries a document as text, a signature over it, and the certificates of the
//! key that made it.
//!
//! ```text
//!  root (offline) ──certifies──► signing key ──signs──► "homebolt <purpose> 1\n" + document
//!  └─ in the image: /etc/rauc/keyring.pem     └─ its certificate travels in the file
//! ```
//!
//! The key, the certificates and the keyring are the same as those of RAUC's bundles. One file, not two: a box never sees a
//! new document with an old signature. The purpose is signed too, so that no document passes for one of another kind.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring::ECDSA_P256_SHA256};

/// The form of [`Signed`] this code writes and reads.
pub const SIGNED_FORMAT: u32 = 1;
/// No document comes near it, and a box reads no more than this, bytes.
pub const MAX_LENGTH: usize = 4 << 20;
/// A signing key, and at most a few roots that vouch for each other.
const MAX_CHAIN: usize = 5;
/// Extended key usage 'code signing' (1.3.6.1.5.5.7.3.3), which RAUC asks for as well.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// What kind of document it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// [`crate::Update`]
    Update,
    /// [`crate::Channel`]
    Channel,
}

impl Purpose {
    /// What is signed for that document.
    pub fn message(self, document: &str) -> Vec<u8> {
        let name = match self {
            Self::Update => "update",
            Self::Channel => "channel",
        };
        format!("homebolt {name} {SIGNED_FORMAT}\n{document}").into_bytes()
    }
}

/// A document on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// [`SIGNED_FORMAT`].
    pub format: u32,
    /// JSON, as it was signed: byte for byte.
    pub document: String,
    /// ECDSA P-256 with SHA-256 in ASN.1, base64.
    pub signature: String,
    /// Certificates, DER in base64: the signing key's first, then what leads from it to a root.
    pub chain: Vec<String>,
}

/// Why a document is not believed. Each sentence says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the file is {0} bytes long, more than any signed document: it is not one of ours")]
    Long(usize),
    #[error("the file is not a signed document ({0}): fetch it again")]
    Shape(String),
    #[error("the signed document has format {0}, this program reads format {SIGNED_FORMAT}: it needs a newer version")]
    Format(u32),
    #[error("the keyring holds no certificate that can be read ({0}): no update can be trusted with it")]
    Keyring(String),
    #[error("the document is signed with a key that this system does not trust ({0}): do not use it")]
    Untrusted(String),
    #[error("the signature does not fit the document: it was changed or damaged on its way; fetch it again")]
    Signature,
}

/// The roots that documents and bundles lead back to.
#[derive(Debug, Clone)]
pub struct Keyring(Vec<CertificateDer<'static>>);

impl Keyring {
    /// Reads PEM, any number of certificates.
    pub fn parse(pem: &[u8]) -> Result<Self, SignatureError> {
        let wrong = |error: &dyn std::fmt::Display| SignatureError::Keyring(error.to_string());
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| wrong(&error))?;
        for certificate in &certificates {
            anchor_from_trusted_cert(certificate).map_err(|error| wrong(&error))?;
        }
        if certificates.is_empty() { Err(wrong(&"it is empty")) } else { Ok(Self(certificates)) }
    }

    fn anchors(&self) -> Vec<TrustAnchor<'_>> {
        self.0.iter().filter_map(|certificate| anchor_from_trusted_cert(certificate).ok()).collect()
    }
}

impl Signed {
    /// Reads the file, and believes nothing yet.
    pub fn parse(file: &[u8]) -> Result<Self, SignatureError> {
        if file.len() > MAX_LENGTH {
            return Err(SignatureError::Long(file.len()));
        }
        #[derive(Deserialize)]
        struct Probe {
            format: u32,
        }
        let shape = |error: serde_json::Error| SignatureError::Shape(error.to_string());
        let probe: Probe = serde_json::from_slice(file).map_err(shape)?;
        if probe.format != SIGNED_FORMAT {
            return Err(SignatureError::Format(probe.format));
        }
        let signed: Self = serde_json::from_slice(file).map_err(shape)?;
        if signed.chain.is_empty() || signed.chain.len() > MAX_CHAIN {
            return Err(SignatureError::Shape(format!("{} certificates", signed.chain.len())));
        }
        Ok(signed)
    }

    /// The document, if a key made it that leads back to the keyring and was valid at `made` (seconds since 1970).
    ///
    /// The moment is the document's own, not the box's: a box without a clock can still tell right from wrong, and a document
    /// does not lose its signature when the key's time is over. That an old key makes no new documents is for
    /// the caller to see to: it takes none that is older than the last one it took.
    pub fn verify(&self, purpose: Purpose, made: u64, keyring: &Keyring) -> Result<&str, SignatureError> {
        let bytes = |text: &String| BASE64.decode(text).map_err(|error| SignatureError::Shape(error.to_string()));
        let chain = self.chain.iter().map(bytes).collect::<Result<Vec<_>, _>>()?;
        let chain: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let untrusted = |error: webpki::Error| SignatureError::Untrusted(error.to_string());
        let (leaf, between) = chain.split_first().ok_or(SignatureError::Signature)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(untrusted)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(made));
        let usage = KeyUsage::required(CODE_SIGNING);
        leaf.verify_for_usage(&[ECDSA_P256_SHA256], &keyring.anchors(), between, time, usage, None, None)
            .map_err(untrusted)?;
        let signature = bytes(&self.signature)?;
        leaf.verify_signature(ECDSA_P256_SHA256, &purpose.message(&self.document), &signature)
            .map_err(|_| SignatureError::Signature)?;
        Ok(&self.document)
    }
}
