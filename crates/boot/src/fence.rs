//! `homebolt-boot fence`: LND starts only if it is not older than the newest one that opened this box's wallet.
//!
//! The fence is a file on the data partition that names that newest version. It only ever rises, and it is on the disk
//! before the newer LND opens its database. An older LND is never started: channel state that goes back in time costs
//! the owner's money.

use std::{io, path::Path};

use release::{LndVersion as Version, Release};
use serde::{Deserialize, Serialize};

use crate::{error::Error, files, marker::Marker, relocate::JOB, reset, slots::RELEASE, state};

/// Below the data partition's root.
const FENCE: &str = "system/fence.json";
/// Where LND keeps its databases, below the data partition's root.
const DATABASES: &str = "lnd/data";
const RESULT: &str = "/run/homebolt/fence.json";

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

/// The least LND that may run on the data partition mounted at `data`; `None` before one ran.
///
/// # Errors
/// The fence is there and cannot be read: then nobody knows.
pub fn least(data: &Path) -> Result<Option<Version>, Error> {
    let path = data.join(FENCE);
    let fence: Fence = match files::read_json(&path) {
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        fence => fence?,
    };
    let reason = "the record of the Lightning version that last opened your wallet is damaged";
    let version = Version::parse(&fence.lnd_version);
    version.map(Some).ok_or_else(|| Error::Content { path, reason: reason.into() })
}

/// Runs before LND. An error or a refusal keeps it from starting.
pub fn run() -> Result<(), Error> {
    let result = if Path::new(state::DATA_OK).exists() {
        admit(Path::new("/data"), Path::new(RELEASE))
    } else {
        Err(Error::Refused("Lightning paused: the data partition is not usable.".into()))
    };
    let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
    files::write_json(Path::new(RESULT), &Report { ok: result.is_ok(), message })?;
    // It tells the fence, which may have risen.
    crate::update::publish(Path::new("/data"));
    result
}

/// Lets the LND of the system that the file `release` describes start on the data partition mounted at `data`: raises the
/// fence where it must, and comes back once that is on the disk. An error or a refusal keeps LND from starting.
pub fn admit(data: &Path, release: &Path) -> Result<(), Error> {
    in_place(data)?;
    let release: Release = files::read_json(release)?;
    guard(data, &release.lnd_version)
}

/// LND runs on live data only, and not while that is being moved: two live copies of channels cost money. Nor on what is
/// left of data that was to be erased.
fn in_place(data: &Path) -> Result<(), Error> {
    let refused = |reason: &str| Err(Error::Refused(format!("Lightning paused: {reason}")));
    match Marker::read(data) {
        Ok(_) if reset::is_pending(data) => refused("the box is being set back to its first start. Restart the box."),
        Ok(Marker::Live) if data.join(JOB).symlink_metadata().is_ok() => {
            refused("the data is being moved to another disk.")
        }
        Ok(Marker::Live) => Ok(()),
        Ok(_) => refused("the data was moved to another disk. Restart the box."),
        Err((_, sentence)) => refused(&sentence),
    }
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
    fn lightning_never_starts_on_a_copy_or_while_the_data_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        std::fs::create_dir(data.join("system")).unwrap();
        assert!(in_place(data).is_err(), "no marker");
        Marker::Arriving("7".into()).write(data).unwrap();
        assert!(in_place(data).is_err());
        Marker::Live.write(data).unwrap();
        in_place(data).unwrap();
        std::fs::write(data.join(JOB), "").unwrap();
        assert!(in_place(data).unwrap_err().to_string().contains("being moved"));
        std::fs::remove_file(data.join(JOB)).unwrap();
        std::fs::write(data.join(reset::WISH), "").unwrap();
        assert!(in_place(data).unwrap_err().to_string().contains("set back"));
    }

    #[test]
    fn where_the_fence_stands_is_told_and_a_damaged_one_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("system")).unwrap();
        assert_eq!(least(folder.path()).unwrap(), None);
        guard(folder.path(), "v0.21.2-beta").unwrap();
        assert_eq!(least(folder.path()).unwrap(), Version::parse("v0.21.2-beta"));
        for damaged in ["", r#"{"lnd_version":"latest"}"#] {
            std::fs::write(folder.path().join(FENCE), damaged).unwrap();
            assert!(least(folder.path()).is_err(), "{damaged:?}");
        }
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
