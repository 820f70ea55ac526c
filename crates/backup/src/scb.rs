//! A static channel backup, and the name under which a copy of it is kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime, PrimitiveDateTime, format_description::StaticFormatDescription};

/// Larger than any backup that LND writes (some 300 bytes per channel); what is larger is not read.
pub const MAX_BYTES: usize = 8 << 20;

/// LND's backup of all channels, encrypted by LND.
#[derive(Clone, PartialEq, Eq)]
pub struct Scb {
    pub bytes: Vec<u8>,
    /// How many channels it holds.
    pub channels: u32,
    /// How many channels LND lists now, waiting ones included, where the caller knows: a blob that holds fewer than the
    /// one before is then expected as long as it holds these.
    pub known: Option<u32>,
    /// When LND made it, UTC.
    pub taken: OffsetDateTime,
}

impl Scb {
    /// A backup taken now.
    pub fn new(bytes: Vec<u8>, channels: u32, known: Option<u32>) -> Self {
        Self { bytes, channels, known, taken: OffsetDateTime::now_utc() }
    }

    pub fn hash(&self) -> Hash {
        Hash::of(&self.bytes)
    }
}

/// Shows sizes, never the bytes.
impl fmt::Debug for Scb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Scb({} bytes, {} channels, {})", self.bytes.len(), self.channels, self.taken)
    }
}

/// SHA-256 of a backup; text is hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The part that stands in a [`Name`].
    pub fn start(&self) -> [u8; 4] {
        [self.0[0], self.0[1], self.0[2], self.0[3]]
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// The name of a copy: `scb-20261121T141740.123Z-12-1a2b3c4d.bin`, that is UTC time, channels, start of the SHA-256.
/// Its letters are allowed by every file system and need no escape in a URL. Names sort by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    taken: OffsetDateTime,
    channels: u32,
    hash: [u8; 4],
}

const TIME: StaticFormatDescription =
    time::macros::format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:3]Z");

/// A file name that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a channel backup")]
pub struct BadName(pub String);

impl Name {
    pub fn of(scb: &Scb) -> Self {
        // What four digits cannot say, and what lies before, is a clock gone mad: such a backup counts as the oldest.
        let taken = if (1970..=9999).contains(&scb.taken.year()) { scb.taken } else { OffsetDateTime::UNIX_EPOCH };
        let taken = taken.to_offset(time::UtcOffset::UTC);
        let taken = taken - Duration::nanoseconds(i64::from(taken.nanosecond() % 1_000_000));
        Self { taken, channels: scb.channels, hash: scb.hash().start() }
    }

    /// The same, later than `newest`: a clock that was set back must not make a new copy look like an old one.
    #[must_use]
    pub fn after(self, newest: Option<&Name>) -> Self {
        let least = newest.and_then(|newest| newest.taken.checked_add(Duration::milliseconds(1)));
        Self { taken: least.map_or(self.taken, |least| self.taken.max(least)), ..self }
    }

    /// When the backup was taken, UTC, milliseconds.
    pub fn taken(&self) -> OffsetDateTime {
        self.taken
    }

    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// Whether content of this hash may stand under this name.
    pub fn fits(&self, hash: &Hash) -> bool {
        self.hash == hash.start()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.taken.format(TIME).map_err(|_| fmt::Error)?;
        write!(formatter, "scb-{time}-{}-{}.bin", self.channels, hex::encode(self.hash))
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let parse = || {
            let inner = text.strip_prefix("scb-")?.strip_suffix(".bin")?;
            let mut parts = inner.split('-');
            let (time, channels, start) = (parts.next()?, parts.next()?, parts.next()?);
            let taken = PrimitiveDateTime::parse(time, TIME).ok()?.assume_utc();
            let mut hash = [0; 4];
            hex::decode_to_slice(start, &mut hash).ok()?;
            let name = Self { taken, channels: channels.parse().ok()?, hash };
            // One content, one spelling: leading zeros or capitals are not ours.
            (parts.next().is_none() && name.to_string() == text).then_some(name)
        };
        parse().ok_or_else(|| BadName(text.chars().take(100).collect()))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn scb(taken: OffsetDateTime) -> Scb {
        Scb { bytes: b"abc".to_vec(), channels: 12, known: None, taken }
    }

    #[test]
    fn a_name_says_when_how_many_and_what() {
        let name = Name::of(&scb(datetime!(2026-11-21 14:17:40.123456 UTC)));
        assert_eq!(name.to_string(), "scb-20261121T141740.123Z-12-ba7816bf.bin");
        assert!(name.fits(&Hash::of(b"abc")));
        assert!(!name.fits(&Hash::of(b"abd")));
    }

    #[test]
    fn a_clock_set_back_does_not_make_a_copy_old() {
        let newest = Name::of(&scb(datetime!(2026-11-21 14:17:40.123 UTC)));
        let name = Name::of(&scb(datetime!(1970-01-01 00:00 UTC))).after(Some(&newest));
        assert_eq!(name.to_string(), "scb-20261121T141740.124Z-12-ba7816bf.bin");
        let later = Name::of(&scb(datetime!(2027-01-01 00:00 UTC)));
        assert_eq!(later.after(Some(&newest)), later);
    }

    #[test]
    fn other_spellings_and_other_files_are_not_ours() {
        for text in [
            "",
            "channel.backup",
            "scb-20261121T141740.123Z-12-BA7816BF.bin",
            "scb-20261121T141740.123Z-012-ba7816bf.bin",
            "scb-20261121T141740.123Z--1-ba7816bf.bin",
            "scb-20261121T141740.123Z-12-ba7816bf-1.bin",
            "scb-20261321T141740.123Z-12-ba7816bf.bin",
            ".scb-20261121T141740.123Z-12-ba7816bf.bin.new",
        ] {
            assert_eq!(text.parse::<Name>(), Err(BadName(text.to_owned())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_reads_back_and_sorts_by_time(
            one in 0i64..253_402_300_799, two in 0i64..253_402_300_799, channels: u32, bytes: Vec<u8>
        ) {
            let name = |seconds| {
                let taken = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
                Name::of(&Scb { bytes: bytes.clone(), channels, known: None, taken })
            };
            let (first, second) = (name(one), name(two));
            prop_assert_eq!(first.to_string().parse::<Name>(), Ok(first));
            prop_assert_eq!(first.to_string().cmp(&second.to_string()), first.cmp(&second));
        }

        #[test]
        fn no_file_name_breaks_the_parser(text in "(scb-)?[0-9TZ.-]{0,40}.{0,10}(\\.bin)?") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
