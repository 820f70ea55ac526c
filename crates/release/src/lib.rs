//! The release: what the builder writes and the box reads. Types and pure checks, no I/O. See README.md.

mod channel;
mod headers;
mod lnd;
mod offer;
mod signed;
mod update;

pub use channel::{Blocked, CHANNEL_FORMAT, Channel, Listed, Wave, channel_name, number};
pub use headers::{HEADERS_FOLDER, Headers, HeadersFault, Kind as HeadersKind, PREFIX as HEADERS_PREFIX};
pub use lnd::LndVersion;
pub use offer::{Answer, Facts, Offer, Refusal, bring, decide, judge};
pub use semver::Version;
pub use signed::{Keyring, MAX_LENGTH, Purpose, SIGNED_FORMAT, SignatureError, Signed};
pub use update::{OpenError, Texts, UPDATE_FORMAT, Update};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The form of [`Manifest`] this code writes and reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// What an image knows of itself: `/usr/lib/homebolt/release.json` on the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Of the product, for example `0.1.0`.
    pub version: String,
    /// Board name, for example `x86-64`.
    pub board: String,
    /// What the root file system was made of: `debian` or `buildroot`.
    pub base: String,
    /// Seconds since 1970 of the sources: the lower bound of the box's clock.
    pub built: u64,
    /// Version of the LND inside, for example `v0.21.2-beta`.
    pub lnd_version: String,
    /// It takes updates that are signed with keys of the machine that built it: for trying, never for money.
    #[serde(default)]
    pub development_keys: bool,
    /// The oldest EEPROM of the board that it was tried with, by when that was built, seconds since 1970; `None` for boards
    /// whose firmware does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eeprom: Option<u64>,
}

/// What stands beside an image: `homebolt-<version>-<board>.manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    #[serde(flatten)]
    pub release: Release,
    /// The slot images, `boot` and `root`.
    pub slots: Vec<Image>,
    /// Root hash of the root slot's dm-verity tree, lower-case hexadecimal.
    pub root_hash: String,
    /// Where in the root slot image the verity tree begins, bytes.
    pub hash_offset: u64,
    /// The whole disk, decompressed.
    pub disk: Image,
    /// The file a person flashes.
    pub compressed: Image,
}

/// One file with its size in bytes and its SHA-256, lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub name: String,
    pub size: u64,
    pub sha256: String,
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the document is not valid JSON of the expected shape: {0}")]
    Shape(String),
    #[error("the document has format {0}, which this program does not read: use a newer homebolt")]
    Format(u32),
    #[error("the field {field} is not {expected}: {value:?}")]
    Field { field: String, expected: &'static str, value: String },
    #[error("the manifest has no slot image named {0}")]
    NoSlot(&'static str),
}

/// A document of the format `wanted`. Another format is told apart by its number, before the shape of anything is judged.
pub(crate) fn document<T: DeserializeOwned>(json: &[u8], wanted: u32) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Probe {
        format: u32,
    }
    let shape = |error: serde_json::Error| Error::Shape(error.to_string());
    let probe: Probe = serde_json::from_slice(json).map_err(shape)?;
    if probe.format != wanted {
        return Err(Error::Format(probe.format));
    }
    serde_json::from_slice(json).map_err(shape)
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let manifest: Self = document(json, MANIFEST_FORMAT)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The slot image of that name.
    pub fn slot(&self, name: &'static str) -> Result<&Image, Error> {
        self.slots.iter().find(|image| image.name == name).ok_or(Error::NoSlot(name))
    }

    fn check(&self) -> Result<(), Error> {
        self.slot("boot")?;
        self.slot("root")?;
        digest("root_hash", &self.root_hash)?;
        for image in self.slots.iter().chain([&self.disk, &self.compressed]) {
            digest(&format!("sha256 of {}", image.name), &image.sha256)?;
            plain_name(&image.name)?;
        }
        Ok(())
    }
}

fn digest(field: &str, value: &str) -> Result<(), Error> {
    if value.len() == 64 && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(Error::Field { field: field.to_owned(), expected: "64 lower-case hexadecimal digits", value: value.to_owned() })
}

/// A name is joined to a folder by the reader: it must not lead out of it.
fn plain_name(name: &str) -> Result<(), Error> {
    if !name.is_empty() && name.len() <= 200 && !name.contains(['/', '\\', '\0', '\n']) && !name.starts_with('.') {
        return Ok(());
    }
    Err(Error::Field { field: "name".into(), expected: "a plain file name", value: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let image = |name: &str| Image { name: name.into(), size: 4096, sha256: "ab".repeat(32) };
        Manifest {
            format: MANIFEST_FORMAT,
            release: Release {
                version: "0.1.0".into(),
                board: "x86-64".into(),
                base: "debian".into(),
                built: 1_700_000_000,
                lnd_version: "v0.21.2-beta".into(),
                development_keys: false,
                eeprom: None,
            },
            slots: vec![image("boot"), image("root")],
            root_hash: "cd".repeat(32),
            hash_offset: 4096,
            disk: image("disk.img"),
            compressed: image("disk.img.zst"),
        }
    }

    #[test]
    fn a_manifest_survives_the_way_through_json() {
        let json = serde_json::to_vec(&manifest()).unwrap();
        assert_eq!(Manifest::parse(&json).unwrap(), manifest());
    }

    #[test]
    fn a_newer_format_is_named_even_when_its_shape_is_unknown() {
        assert_eq!(Manifest::parse(br#"{"format": 9}"#), Err(Error::Format(9)));
    }

    #[test]
    fn a_file_name_that_leaves_the_folder_is_refused() {
        let mut bad = manifest();
        bad.disk.name = "../disk.img".into();
        let json = serde_json::to_vec(&bad).unwrap();
        assert!(matches!(Manifest::parse(&json), Err(Error::Field { .. })));
    }

    #[test]
    fn a_short_hash_is_refused() {
        let mut bad = manifest();
        bad.root_hash.pop();
        assert!(Manifest::parse(&serde_json::to_vec(&bad).unwrap()).is_err());
    }
}
