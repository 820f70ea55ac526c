//! The update: what one bundle is, and who may take it. Signed, beside the bundle and in the channel.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Image, LndVersion, Release, digest, plain_name,
    signed::{Keyring, Purpose, SignatureError, Signed},
};

/// The form of [`Update`] this code writes and reads.
pub const UPDATE_FORMAT: u32 = 1;

/// Text in several languages: `en`, `de`, …; English is always there.
pub type Texts = BTreeMap<String, String>;

/// One bundle. `homebolt-<version>-<board>.update.json` holds it, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// [`UPDATE_FORMAT`].
    pub format: u32,
    /// What is inside. The newest LND database it can open is that of its own LND: the fence on the box goes by that version.
    #[serde(flatten)]
    pub release: Release,
    /// The bundle beside this file.
    pub bundle: Image,
    /// Of the root slot inside, lower-case hexadecimal: what the box runs once it is installed.
    pub root_hash: String,
    /// No way back from it, even if its LND is the same: something else it stores cannot be read by older ones.
    #[serde(default)]
    pub one_way: bool,
    /// A box must have at least this version to take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_version: Option<Version>,
    /// What is new.
    pub notes: Texts,
    /// When it was signed, seconds since 1970.
    pub made: u64,
    /// After this it is no longer offered, seconds since 1970.
    pub expires: u64,
}

impl Update {
    /// Reads and checks the document of an update.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let update: Self = crate::document(json, UPDATE_FORMAT)?;
        update.check()?;
        Ok(update)
    }

    /// Reads the file of an update and believes it only if it leads back to `keyring`.
    pub fn open(file: &[u8], keyring: &Keyring) -> Result<Self, OpenError> {
        let signed = Signed::parse(file)?;
        let update = Self::parse(signed.document.as_bytes())?;
        signed.verify(Purpose::Update, update.made, keyring)?;
        Ok(update)
    }

    /// Its version.
    pub fn version(&self) -> Result<Version, Error> {
        version("version", &self.release.version)
    }

    /// The LND inside.
    pub fn lnd(&self) -> Result<LndVersion, Error> {
        let value = &self.release.lnd_version;
        let error = || Error::Field { field: "lnd_version".into(), expected: "a version of LND", value: value.clone() };
        LndVersion::parse(value).ok_or_else(error)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.version()?;
        self.lnd()?;
        plain_name(&self.bundle.name)?;
        digest(&format!("sha256 of {}", self.bundle.name), &self.bundle.sha256)?;
        digest("root_hash", &self.root_hash)?;
        texts("notes", &self.notes)?;
        times(self.made, self.expires)
    }
}

/// Why a signed file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Content(#[from] Error),
}

/// A version of the product in a field.
pub(crate) fn version(field: &str, value: &str) -> Result<Version, Error> {
    let error = |_| Error::Field { field: field.into(), expected: "a version like 1.2.3", value: value.into() };
    Version::parse(value).map_err(error)
}

/// Notes are shown to a person: English is there for everyone, and each is of a length that can be read.
pub(crate) fn texts(field: &str, texts: &Texts) -> Result<(), Error> {
    let wrong = |expected, value: &str| Err(Error::Field { field: field.into(), expected, value: value.into() });
    if !texts.contains_key("en") {
        return wrong("a text with at least English", "no en");
    }
    match texts.iter().find(|(_, text)| text.len() > 10_000) {
        Some((language, _)) => wrong("at most 10,000 bytes in each language", language),
        None => Ok(()),
    }
}

pub(crate) fn times(made: u64, expires: u64) -> Result<(), Error> {
    if made < expires {
        return Ok(());
    }
    Err(Error::Field { field: "expires".into(), expected: "later than made", value: expires.to_string() })
}
