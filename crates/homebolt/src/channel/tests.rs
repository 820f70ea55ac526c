use std::fs;

use release::{Channel, Image, Purpose, Release, Texts, UPDATE_FORMAT, Update};

use super::*;
use crate::{
    bundle::{json, now},
    keys::Keys,
};

struct Lab {
    home: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Keys::new(&home.path().join("keys"), "test").unwrap();
        let lab = Self { home };
        lab.folder().create().unwrap();
        lab
    }

    fn keys(&self) -> Keys {
        Keys::open(&self.home.path().join("keys")).unwrap()
    }

    fn public(&self) -> PathBuf {
        self.home.path().join("public")
    }

    fn folder(&self) -> Folder {
        Folder::new(&self.public(), "stable", 45, self.keys())
    }

    /// What `homebolt bundle` would write, with a bundle of a few bytes.
    fn update(&self, version: &str) -> PathBuf {
        let name = format!("homebolt-{version}-x86-64.raucb");
        let bundle = self.home.path().join(&name);
        fs::write(&bundle, format!("bundle of {version}")).unwrap();
        let sum = crate::image::sum(&bundle).unwrap();
        let release = Release {
            version: version.into(),
            board: "x86-64".into(),
            base: "debian".into(),
            built: 1,
            lnd_version: "v0.21.2-beta".into(),
            development_keys: false,
            eeprom: None,
        };
        let update = Update {
            format: UPDATE_FORMAT,
            release,
            bundle: Image { name, size: sum.size, sha256: sum.sha256 },
            root_hash: "ab".repeat(32),
            one_way: false,
            least_version: None,
            notes: Texts::from([("en".into(), "New.".into())]),
            made: now(),
            expires: now() + 86_400,
        };
        let signed = self.keys().signer().unwrap().sign(Purpose::Update, json(&update)).unwrap();
        let path = self.home.path().join(format!("homebolt-{version}-x86-64.update.json"));
        fs::write(&path, json(&signed)).unwrap();
        path
    }

    fn verify(&self) -> Vec<Result<String, String>> {
        folder::verify(&self.public(), &self.keys().keyring().unwrap().1, now()).unwrap()
    }
}

#[test]
fn a_release_is_published_with_bundle_description_and_waves() {
    let lab = Lab::new();
    lab.folder().add(&lab.update("1.0.0"), &from_now(&[(5, 0), (50, 3)])).unwrap();
    let lines = lab.verify();
    assert!(lines[0].as_ref().unwrap().starts_with("stable: 1 releases, valid for 4"));
    assert_eq!(lines[1], Ok("stable: 1.0.0 for x86-64: for 5 of 100 boxes, LND v0.21.2-beta".into()));
    lab.folder().set_waves(&"1.0.0".parse().unwrap(), &from_now(&[(100, 0)])).unwrap();
    assert!(lab.verify()[1].as_ref().unwrap().contains("100 of 100"));
    for name in ["homebolt-1.0.0-x86-64.raucb", "homebolt-1.0.0-x86-64.update.json"] {
        assert!(lab.public().join("files").join(name).is_file());
    }
}

#[test]
fn each_change_is_newer_than_the_one_before_even_with_a_clock_that_stands() {
    let lab = Lab::new();
    let mut last = lab.folder().read().unwrap().made;
    for _ in 0..3 {
        lab.folder().change(|_| Ok(())).unwrap();
        let made = lab.folder().read().unwrap().made;
        assert!(made > last);
        last = made;
    }
}

#[test]
fn what_is_published_never_changes_and_nothing_is_added_twice() {
    let lab = Lab::new();
    let description = lab.update("1.0.0");
    lab.folder().add(&description, &[]).unwrap();
    assert!(matches!(lab.folder().add(&description, &[]), Err(Error::Twice { .. })));
    let bundle = lab.public().join("files/homebolt-1.1.0-x86-64.raucb");
    let description = lab.update("1.1.0");
    fs::write(&bundle, "another").unwrap();
    assert!(matches!(lab.folder().add(&description, &[]), Err(Error::Changed(_))));
    fs::remove_file(&bundle).unwrap();
    // An addition that was interrupted after the copy is simply done again.
    fs::copy(lab.home.path().join("homebolt-1.1.0-x86-64.raucb"), &bundle).unwrap();
    lab.folder().add(&description, &[]).unwrap();
    lab.folder().block(&"1.2.0".parse().unwrap(), "It is bad.".into()).unwrap();
    assert!(matches!(lab.folder().add(&lab.update("1.2.0"), &[]), Err(Error::Blocked(_))));
}

#[test]
fn a_bundle_that_is_not_the_described_one_stays_out() {
    let lab = Lab::new();
    let description = lab.update("1.0.0");
    fs::write(lab.home.path().join("homebolt-1.0.0-x86-64.raucb"), "bundle of 1.0.1").unwrap();
    assert!(matches!(lab.folder().add(&description, &[]), Err(Error::Bundle { .. })));
    assert!(lab.folder().read().unwrap().releases.is_empty());
}

#[test]
fn a_list_signed_by_others_is_neither_believed_nor_signed_anew() {
    let lab = Lab::new();
    let others = Lab::new();
    fs::copy(others.folder().list(), lab.folder().list()).unwrap();
    assert!(matches!(lab.folder().change(|_| Ok(())), Err(Error::File { .. })));
    assert!(lab.verify()[0].is_err());
    let Err(Error::File { .. }) = lab.folder().add(&others.update("1.0.0"), &[]) else { panic!("it was added") };
}

#[test]
fn verify_names_what_is_missing_damaged_or_expired() {
    let lab = Lab::new();
    lab.folder().add(&lab.update("1.0.0"), &[]).unwrap();
    let bundle = lab.public().join("files/homebolt-1.0.0-x86-64.raucb");
    fs::write(&bundle, "bundle of 9.0.0").unwrap();
    assert!(lab.verify()[1].as_ref().unwrap_err().contains("sha256"));
    fs::remove_file(&bundle).unwrap();
    assert!(lab.verify()[1].as_ref().unwrap_err().contains("failed to read"));
    let keyring = lab.keys().keyring().unwrap().1;
    let later = folder::verify(&lab.public(), &keyring, now() + 46 * 86_400).unwrap();
    assert!(later[0].as_ref().unwrap_err().contains("channel renew"));
    fs::copy(lab.folder().list(), lab.public().join("beta.json")).unwrap();
    assert!(lab.verify()[0].as_ref().unwrap_err().contains("list of stable"));
}

/// Power goes at any moment: what lies beside the list is never taken for it.
#[test]
fn a_half_written_list_leaves_the_old_one() {
    let lab = Lab::new();
    let before = lab.folder().read().unwrap();
    let part = lab.public().join("stable.json.part");
    fs::write(&part, "{\"format\":").unwrap();
    assert_eq!(lab.folder().read().unwrap(), before);
    assert_eq!(lab.verify().len(), 1);
    lab.folder().change(|_| Ok(())).unwrap();
    assert!(!part.exists());
}

#[test]
fn waves_are_percent_and_days() {
    assert_eq!(wave("50:3"), Ok((50, 3)));
    for bad in ["", "50", "101:0", "-1:0", "5:x", "5:9999"] {
        assert!(wave(bad).is_err(), "{bad}");
    }
    assert!(Channel::new("Stable", 1, 2).check().is_err());
}
