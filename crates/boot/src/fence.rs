//! `homebolt-boot fence`: LND starts only if it is not older than the newest one that opened this box's wallet.
//!
//! The fence is a file on the data partition that names that newest version. It only ever rises, and it is on the disk
//! before the newer LND opens its database. An older LND is never started: channel state that goes back in time costs
//! the owner's money.

use std::{cmp::Ordering, fmt, io, path::Path};

use release::Release;
use serde::{Deserialize, Serialize};

use crate::{error::Error, files, slots::RELEASE, state};

/// Below the data partition's root.
const FENCE: &str = "system/fence.json";
/// Where LND keeps its databases, below the data partition's root.
const DATABASES: &str = "lnd/data";
const RESULT: &str = "/run/homebolt/fence.json";

/// A version of LND, in the order of its releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    numbers: [u32; 3],
    /// Of a release candidate; `None` for the release, which is newer than all of its candidates.
    candidate: Option<u32>,
}

impl Version {
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

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |version: &Self| (version.numbers, version.candidate.is_none(), version.candidate);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(formatter, "v{major}.{minor}.{patch}-beta")?;
        self.candidate.map_or(Ok(()), |candidate| write!(formatter, ".rc{candidate}"))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Fence {
    /// The least LND that may run.
    lnd_version: String,
}

/// What the pages show.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    message: String,
}

/// What to do before LND starts.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The fence stands where it should.
    Go,
    /// Raise the fence to the version carried, then go.
    Raise,
    /// A sentence for the owner.
    Refuse(String),
}

/// Decides by the text of the fence file (`None`: there is none), whether there are databases, and the version carried.
pub fn decide(fence: Option<&[u8]>, databases: bool, carried: &str) -> Decision {
    let refuse = |reason: String| Decision::Refuse(format!("Lightning paused: {reason}"));
    let Some(version) = Version::parse(carried) else {
        return refuse("this system does not know which Lightning version it carries.".into());
    };
    let text = match fence {
        Some(text) => text,
        None if databases => {
            let reason = "the record of the Lightning version that last opened your wallet is missing. Starting one that is \
                          too old could cost money, so nothing is started.";
            return refuse(reason.into());
        }
        None => return Decision::Raise,
    };
    let least = serde_json::from_slice(text).ok().and_then(|fence: Fence| Version::parse(&fence.lnd_version));
    match least {
        None => refuse(
            "the record of the Lightning version that last opened your wallet is damaged. Starting one that is too old could \
             cost money, so nothing is started."
                .into(),
        ),
        Some(least) if version < least => refuse(format!(
            "this system is older than your wallet. It carries LND {version}, the wallet needs {least} or newer. Update the system."
        )),
        Some(least) if version == least => Decision::Go,
        Some(_) => Decision::Raise,
    }
}

/// Runs before LND. An error or a refusal keeps it from starting.
pub fn run() -> Result<(), Error> {
    let result = if Path::new(state::DATA_OK).exists() {
        files::read_json(Path::new(RELEASE))
            .and_then(|release: Release| guard(Path::new("/data"), &release.lnd_version))
    } else {
        Err(Error::Refused("Lightning paused: the data partition is not usable.".into()))
    };
    let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
    files::write_json(Path::new(RESULT), &Report { ok: result.is_ok(), message })?;
    result
}

/// Checks and raises the fence on the data partition mounted at `data`.
fn guard(data: &Path, carried: &str) -> Result<(), Error> {
    let path = data.join(FENCE);
    let fence = match files::read_limited(&path, 4096) {
        Ok(text) => Some(text),
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(Error::Content { .. }) => Some(Vec::new()),
        Err(error) => return Err(Error::Refused(format!("Lightning paused: {error}."))),
    };
    match decide(fence.as_deref(), data.join(DATABASES).symlink_metadata().is_ok(), carried) {
        Decision::Go => Ok(()),
        Decision::Raise => files::write_json(&path, &Fence { lnd_version: carried.to_owned() })
            .map_err(|error| Error::Refused(format!("Lightning paused: {error}."))),
        Decision::Refuse(sentence) => Err(Error::Refused(sentence)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_stand_in_the_order_of_their_releases() {
        let ordered = [
            "v0.9.3-beta",
            "v0.20.1-beta",
            "v0.21.0-beta.rc1",
            "v0.21.0-beta.rc2",
            "v0.21.0-beta.rc10",
            "v0.21.0-beta",
            "v0.21.2-beta.rc1",
            "v0.21.2-beta",
            "v1.0.0-beta",
        ];
        let parsed: Vec<Version> = ordered.iter().map(|text| Version::parse(text).unwrap()).collect();
        assert!(parsed.is_sorted_by(|one, other| one < other));
        for (text, version) in ordered.iter().zip(parsed) {
            assert_eq!(version.to_string(), *text);
        }
    }

    #[test]
    fn what_is_not_quite_a_version_is_none() {
        for bad in [
            "",
            "0.21.2-beta",
            "v0.21-beta",
            "v0.21.2",
            "v0.21.2.1-beta",
            "v0.21.2-beta.rc",
            "v0.21.2-beta.rc1x",
            "v0.21.2-beta1",
            "v+0.21.2-beta",
            "v0.21.2-beta.rc+1",
            "v0.21.99999999999-beta",
            "v0..2-beta",
            "v0.21.2-alpha",
            " v0.21.2-beta",
        ] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    fn fence(version: &str) -> Vec<u8> {
        format!(r#"{{"lnd_version":"{version}"}}"#).into_bytes()
    }

    #[test]
    fn an_older_system_never_starts_lightning() {
        let Decision::Refuse(sentence) = decide(Some(&fence("v0.21.2-beta")), true, "v0.20.1-beta") else {
            panic!("an older LND was let through");
        };
        assert!(sentence.starts_with("Lightning paused: this system is older than your wallet"), "{sentence}");
        assert!(sentence.contains("v0.20.1-beta") && sentence.contains("v0.21.2-beta"));
    }

    #[test]
    fn the_same_goes_and_a_newer_raises() {
        assert_eq!(decide(Some(&fence("v0.21.2-beta")), true, "v0.21.2-beta"), Decision::Go);
        assert_eq!(decide(Some(&fence("v0.21.2-beta")), true, "v0.22.0-beta.rc1"), Decision::Raise);
        assert_eq!(decide(None, false, "v0.21.2-beta"), Decision::Raise);
    }

    #[test]
    fn every_doubt_refuses() {
        let refused = |fence: Option<&[u8]>, carried| matches!(decide(fence, true, carried), Decision::Refuse(_));
        assert!(refused(None, "v0.21.2-beta"), "databases without a fence");
        for damaged in [&b""[..], b"{}", b"\0\0\0", b"{\"lnd_version\":\"v0.21", b"{\"lnd_version\":\"latest\"}"] {
            assert!(refused(Some(damaged), "v0.21.2-beta"));
        }
        assert!(refused(Some(&fence("v0.21.2-beta")), "unknown"));
    }

    #[test]
    fn the_fence_is_raised_on_the_disk_and_never_lowered() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("system")).unwrap();
        let stands = || -> Fence { files::read_json(&folder.path().join(FENCE)).unwrap() };
        guard(folder.path(), "v0.20.1-beta").unwrap();
        guard(folder.path(), "v0.21.2-beta").unwrap();
        assert_eq!(stands().lnd_version, "v0.21.2-beta");
        assert!(guard(folder.path(), "v0.20.1-beta").is_err());
        assert_eq!(stands().lnd_version, "v0.21.2-beta");
        // A fence nobody can write is one nobody can trust.
        std::fs::remove_file(folder.path().join(FENCE)).unwrap();
        std::fs::create_dir(folder.path().join(FENCE)).unwrap();
        assert!(guard(folder.path(), "v0.21.2-beta").is_err());
    }

    proptest! {
        #[test]
        fn no_file_lets_an_older_version_through(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let decision = decide(Some(&text), true, "v0.0.0-beta.rc0");
            prop_assert!(matches!(decision, Decision::Refuse(_)));
        }
    }
}
