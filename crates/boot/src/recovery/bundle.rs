//! A bundle, by what RAUC says of it once its signature is verified, and whether it may be installed here. No I/O.

use release::{Facts, LndVersion, Refusal, Release, UPDATE_FORMAT, Update, Version};
use serde::Deserialize;

/// What `rauc info --output-format=json-2` prints, as far as it matters.
#[derive(Debug, Deserialize)]
struct Info {
    update: About,
    images: Vec<Image>,
    meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
struct About {
    version: String,
    compatible: String,
    #[serde(default)]
    build: String,
}

#[derive(Debug, Deserialize)]
struct Meta {
    homebolt: Option<Ours>,
}

/// What `homebolt bundle` writes down for a bundle that comes without its description.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ours {
    board: String,
    base: String,
    lnd: String,
    root_hash: String,
    #[serde(default)]
    one_way: String,
    #[serde(default)]
    development_keys: String,
    least_version: Option<Version>,
}

/// One image in it, for the partition of a slot with that name (`rootfs` or `boot`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Image {
    #[serde(rename = "slot-class")]
    pub class: String,
    pub filename: String,
    /// SHA-256, lower-case hexadecimal.
    pub checksum: String,
    pub size: u64,
}

/// A bundle whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pub update: Update,
    pub root: Image,
    pub boot: Image,
}

impl Bundle {
    /// # Errors
    /// A sentence.
    pub fn parse(info: &[u8]) -> Result<Self, String> {
        let strange = |what: &str| format!("The bundle is signed, but it is none for this product: {what}.");
        let info: Info = serde_json::from_slice(info).map_err(|error| strange(&error.to_string()))?;
        let ours = info.meta.and_then(|meta| meta.homebolt).ok_or_else(|| strange("it does not say what is inside"))?;
        if info.update.compatible != format!("homebolt-{}", ours.board) {
            return Err(strange("it contradicts itself about the board"));
        }
        let image = |class: &str| {
            let found = info.images.iter().find(|image| image.class == class).cloned();
            found.ok_or_else(|| strange(&format!("it has no image for {class}")))
        };
        let (root, boot) = (image("rootfs")?, image("boot")?);
        let built = info.update.build.parse().unwrap_or_default();
        let update = Update {
            format: UPDATE_FORMAT,
            release: Release {
                version: info.update.version,
                board: ours.board,
                base: ours.base,
                built,
                lnd_version: ours.lnd,
                development_keys: ours.development_keys == "true",
                eeprom: None,
            },
            bundle: release::Image { name: root.filename.clone(), size: root.size, sha256: root.checksum.clone() },
            root_hash: ours.root_hash,
            one_way: ours.one_way == "true",
            least_version: ours.least_version,
            notes: release::Texts::from([("en".to_owned(), String::new())]),
            made: built,
            // A box that does not start takes what it is given.
            expires: u64::MAX,
        };
        let json = serde_json::to_vec(&update).map_err(|error| strange(&error.to_string()))?;
        let update = Update::parse(&json).map_err(|error| strange(&error.to_string()))?;
        Ok(Self { update, root, boot })
    }
}

/// What the recovery knows of the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Of the image that the box was made with, which the recovery is part of.
    pub release: Release,
    /// Versions of the systems in the slots, as far as they can be read.
    pub versions: Vec<Version>,
    /// The least LND that may run; `None` when there is no wallet, or its partition cannot be read. Then the fence stands all
    /// the same: it is looked at again before LND starts.
    pub fence: Option<LndVersion>,
    /// Seconds since 1970.
    pub now: u64,
}

/// Whether the bundle may be installed. Nobody can sign in here, so what was never on this box and is older than what was is
/// refused: a neighbour must not bring back an old weakness.
///
/// # Errors
/// A sentence.
pub fn judge(bundle: &Bundle, known: &Known) -> Result<(), String> {
    let sentence = |text: String| format!("The bundle is not for this box: {text}.");
    let parsed = |version: &str| Version::parse(version).map_err(|error| sentence(error.to_string()));
    let own = parsed(&known.release.version)?;
    let least = known.versions.iter().min().cloned().unwrap_or(own);
    let lnd = LndVersion::parse(&known.release.lnd_version);
    let facts = Facts {
        version: least.clone(),
        board: known.release.board.clone(),
        base: known.release.base.clone(),
        lnd: lnd.ok_or_else(|| sentence("this box does not know its own Lightning version".into()))?,
        fence: known.fence,
        now: known.now,
        // Nobody sets a clock here.
        clock_floor: 0,
        clock_set: false,
        channel: String::new(),
        channel_seen: 0,
        id: Vec::new(),
        failed: Vec::new(),
        kept: false,
        by_hand: true,
    };
    let is_same = parsed(&bundle.update.release.version)? == least;
    release::bring(&bundle.update, &facts, is_same).map(drop).map_err(|refusal| match refusal {
        Refusal::Older { version, own } => sentence(format!("version {version} is older than {own}, which was on it")),
        other => sentence(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RAUC 1.13 prints it.
    const INFO: &str = r#"{
      "update": {"version": "0.2.0", "compatible": "homebolt-x86-64", "build": "1700000000"},
      "images": [
        {"slot-class": "rootfs", "filename": "root.img", "checksum": "CHECK", "size": 8192, "hooks": [],
         "adaptive": ["block-hash-index"]},
        {"slot-class": "boot", "filename": "boot.img", "checksum": "CHECK", "size": 4096, "hooks": [],
         "adaptive": ["block-hash-index"]}],
      "manifest-hash": "7aa4",
      "bundle": {"format": "verity", "verity-size": 4096, "verity-salt": "17b4", "verity-hash": "a7bc"},
      "meta": {"homebolt": {"board": "x86-64", "root-hash": "HASH", "lnd": "v0.21.2-beta", "base": "debian",
        "development-keys": "true", "one-way": "false"}}}"#;

    fn info() -> String {
        INFO.replace("CHECK", &"cd".repeat(32)).replace("HASH", &"ab".repeat(32))
    }

    fn bundle(changes: &[(&str, &str)]) -> Result<Bundle, String> {
        let text = changes.iter().fold(info(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        Bundle::parse(text.as_bytes())
    }

    fn known(versions: &[&str], fence: Option<&str>) -> Known {
        Known {
            release: Release {
                version: "0.1.0".into(),
                board: "x86-64".into(),
                base: "debian".into(),
                built: 1_600_000_000,
                lnd_version: "v0.20.1-beta".into(),
                development_keys: true,
                eeprom: None,
            },
            versions: versions.iter().map(|version| Version::parse(version).unwrap()).collect(),
            fence: fence.map(|fence| LndVersion::parse(fence).unwrap()),
            now: 1_650_000_000,
        }
    }

    fn judged(changes: &[(&str, &str)], known: &Known) -> Result<(), String> {
        judge(&bundle(changes).unwrap(), known)
    }

    #[test]
    fn what_rauc_says_becomes_an_update_with_its_images() {
        let bundle = bundle(&[]).unwrap();
        assert_eq!(
            (bundle.update.release.version.as_str(), bundle.update.release.lnd_version.as_str()),
            ("0.2.0", "v0.21.2-beta")
        );
        assert_eq!((bundle.root.filename.as_str(), bundle.root.size), ("root.img", 8192));
        assert_eq!((bundle.boot.filename.as_str(), bundle.boot.size), ("boot.img", 4096));
        assert_eq!(bundle.update.root_hash, "ab".repeat(32));
    }

    #[test]
    fn a_signed_bundle_of_something_else_is_refused() {
        assert!(Bundle::parse(b"{}").is_err() && Bundle::parse(b"").is_err());
        for change in [
            ("homebolt-x86-64", "homebolt-other"),
            ("\"homebolt\":", "\"other\":"),
            ("\"rootfs\"", "\"appfs\""),
            ("abababab", "xyxyxyxy"),
            ("v0.21.2-beta", "newest"),
        ] {
            assert!(bundle(&[change]).is_err(), "{change:?}");
        }
    }

    #[test]
    fn the_same_or_a_newer_version_is_taken_and_an_older_one_refused() {
        for versions in [&[][..], &["0.2.0"], &["0.1.0", "0.3.0"], &["0.2.0", "0.3.0"]] {
            assert_eq!(judged(&[], &known(versions, None)), Ok(()), "{versions:?}");
        }
        let refusal = judged(&[], &known(&["0.3.0", "0.4.0"], None)).unwrap_err();
        assert!(refusal.contains("version 0.2.0 is older than 0.3.0"), "{refusal}");
        assert!(judged(&[("\"0.2.0\"", "\"0.0.9\"")], &known(&[], None)).is_err(), "older than the image");
    }

    #[test]
    fn what_is_below_the_fence_or_for_another_box_is_never_taken() {
        let fence = known(&["0.2.0"], Some("v0.21.3-beta"));
        assert!(judged(&[], &fence).unwrap_err().contains("never installed"));
        assert_eq!(judged(&[], &known(&["0.2.0"], Some("v0.21.2-beta"))), Ok(()));
        assert!(judged(&[("x86-64", "pi-5")], &known(&[], None)).unwrap_err().contains("is for pi-5"));
        assert!(judged(&[("debian", "buildroot")], &known(&[], None)).is_err());
        let least = [("\"one-way\"", "\"least-version\": \"0.2.0\", \"one-way\"")];
        assert!(judged(&least, &known(&["0.1.5"], None)).unwrap_err().contains("needs at least"));
    }
}
