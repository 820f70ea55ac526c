//! The fuzzers' corpus without a fuzzer: each file as it is, and changed in many places.

// In helpers of tests, a failure is a failed test.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use proptest::prelude::*;
use release::{Channel, Keyring, Update};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder().join("corpus").join(name)).unwrap().flatten();
    let files: Vec<_> = entries.map(|entry| fs::read(entry.path()).unwrap()).collect();
    assert!(!files.is_empty());
    files
}

fn keyring() -> Keyring {
    Keyring::parse(&fs::read(folder().join("keyring.pem")).unwrap()).unwrap()
}

#[test]
fn the_corpus_holds_what_is_read_and_believed() {
    let keyring = keyring();
    assert!(corpus("signed").iter().any(|file| Channel::open(file, &keyring).is_ok()));
    assert!(corpus("signed").iter().any(|file| Update::open(file, &keyring).is_ok()));
    assert!(corpus("channel").iter().any(|file| Channel::parse(file).is_ok()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_file_is_never_believed_to_say_something_else(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let keyring = keyring();
        for file in corpus("signed") {
            let mut changed = file.clone();
            for (at, byte) in &changes {
                let at = at.index(changed.len());
                changed[at] = *byte;
            }
            if let Ok(channel) = Channel::open(&changed, &keyring) {
                prop_assert_eq!(channel, Channel::open(&file, &keyring).unwrap());
            }
            if let Ok(update) = Update::open(&changed, &keyring) {
                prop_assert_eq!(update, Update::open(&file, &keyring).unwrap());
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let keyring = keyring();
        let _ = (Channel::open(&bytes, &keyring), Update::open(&bytes, &keyring));
        let _ = (Channel::parse(&bytes), Update::parse(&bytes), Keyring::parse(&bytes));
    }
}
