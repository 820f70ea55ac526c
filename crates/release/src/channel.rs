//! The channel: what is published, for whom, and since when. One signed file that any static web server can serve.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    signed::{Keyring, Purpose, Signed},
    update::{OpenError, Texts, Update, texts, times},
};

/// The form of [`Channel`] this code writes and reads.
pub const CHANNEL_FORMAT: u32 = 1;

/// `<name>.json` in the channel's folder holds it, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// [`CHANNEL_FORMAT`].
    pub format: u32,
    /// `stable` or `beta`, or a name of one's own. Signed, so that a server cannot pass one for the other.
    pub name: String,
    /// When it was signed, seconds since 1970. Rises with each change: a box takes none older than the last one it took.
    pub made: u64,
    /// After this a box believes that somebody keeps news from it, seconds since 1970. Signing it anew moves it.
    pub expires: u64,
    /// Boxes below it are told that their version is no longer looked after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_version: Option<Version>,
    /// In no order.
    pub releases: Vec<Listed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
}

/// An update, and who gets it when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub update: Update,
    /// Path of the folder of the bundle, relative to the channel's own, without slashes: `files`.
    pub folder: String,
    /// Empty: all boxes, at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
}

/// From a moment on, so many of a hundred boxes are offered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Seconds since 1970.
    pub from: u64,
    /// Of all boxes, 0 to 100.
    pub percent: u8,
}

/// A version that nobody shall install any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    pub version: Version,
    /// Shown to those who have it.
    pub why: Texts,
}

impl Channel {
    /// An empty one.
    pub fn new(name: &str, made: u64, expires: u64) -> Self {
        let name = name.to_owned();
        Self { format: CHANNEL_FORMAT, name, made, expires, least_version: None, releases: vec![], blocked: vec![] }
    }

    /// Reads and checks the document of a channel.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let channel: Self = crate::document(json, CHANNEL_FORMAT)?;
        channel.check()?;
        Ok(channel)
    }

    /// Reads the file of a channel and believes it only if it leads back to `keyring`.
    pub fn open(file: &[u8], keyring: &Keyring) -> Result<Self, OpenError> {
        let signed = Signed::parse(file)?;
        let channel = Self::parse(signed.document.as_bytes())?;
        signed.verify(Purpose::Channel, channel.made, keyring)?;
        Ok(channel)
    }

    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), Error> {
        channel_name(&self.name)?;
        times(self.made, self.expires)?;
        for (number, listed) in self.releases.iter().enumerate() {
            listed.update.check()?;
            crate::plain_name(&listed.folder)?;
            if let Some(wave) = listed.waves.iter().find(|wave| wave.percent > 100) {
                let value = wave.percent.to_string();
                return Err(Error::Field { field: "percent".into(), expected: "0 to 100", value });
            }
            let same = |other: &Listed| {
                let key = |listed: &Listed| {
                    let release = &listed.update.release;
                    (release.version.clone(), release.board.clone(), release.base.clone())
                };
                key(other) == key(listed)
            };
            if self.releases[..number].iter().any(same) {
                let value = listed.update.release.version.clone();
                return Err(Error::Field { field: "releases".into(), expected: "each version once a board", value });
            }
        }
        self.blocked.iter().try_for_each(|blocked| texts("why", &blocked.why))
    }
}

/// A channel's name is a file's name, and stands in addresses.
pub fn channel_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-') {
        return Ok(());
    }
    let expected = "up to 32 lower-case letters, digits and dashes";
    Err(Error::Field { field: "name".into(), expected, value: name.to_owned() })
}

impl Listed {
    /// Share of boxes, of a hundred, that get it at `now`; and the next moment it grows.
    pub fn share(&self, now: u64) -> (u8, Option<u64>) {
        if self.waves.is_empty() {
            return (100, None);
        }
        let open = self.waves.iter().filter(|wave| wave.from <= now).map(|wave| wave.percent).max().unwrap_or(0);
        let next = self.waves.iter().filter(|wave| wave.from > now && wave.percent > open).map(|wave| wave.from).min();
        (open, next)
    }

    /// When a box with this number, 0 to 99, gets it; `None`: never, as things are.
    pub fn turn(&self, number: u8) -> Option<u64> {
        if self.waves.is_empty() {
            return Some(0);
        }
        self.waves.iter().filter(|wave| number < wave.percent).map(|wave| wave.from).min()
    }
}

/// The number of a box in the roll-out of a version, 0 to 99: the same each time it asks, and another one for the next
/// version, so that it is not always the same people who go first. `id` is the box's own random one, which it tells nobody.
pub fn number(id: &[u8], version: &Version) -> u8 {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update((id.len() as u64).to_le_bytes());
    hash.update(id);
    hash.update(version.to_string());
    let digest = hash.finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    (u64::from_le_bytes(head) % 100) as u8
}
