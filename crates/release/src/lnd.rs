//! Versions of LND. Which of two is newer decides whether LND may start: see `LND.md`, rule 2.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A version of LND, in the order of its releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LndVersion {
    numbers: [u32; 3],
    /// Of a release candidate; `None` for the release, which is newer than all of its candidates.
    candidate: Option<u32>,
}

impl LndVersion {
    /// Reads LND's tags: `v0.21.2-beta`, `v0.21.0-beta.rc1`. Anything else is no version: nothing may be guessed here.
    pub fn parse(text: &str) -> Option<Self> {
        let (numbers, rest) = text.strip_prefix('v')?.split_once("-beta")?;
        let candidate = match rest {
            "" => None,
            rest => Some(number(rest.strip_prefix(".rc")?)?),
        };
        let mut parts = numbers.split('.').map(number);
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Self { numbers, candidate })
    }
}

/// Digits only: the library's own reading also takes a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl Ord for LndVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |version: &Self| (version.numbers, version.candidate.is_none(), version.candidate);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for LndVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for LndVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(formatter, "v{major}.{minor}.{patch}-beta")?;
        self.candidate.map_or(Ok(()), |candidate| write!(formatter, ".rc{candidate}"))
    }
}

impl Serialize for LndVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LndVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no version of LND")))
    }
}
