//! Whatever a server sends: nothing panics, and nothing is believed that the root did not have signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use release::{Channel, Keyring, Update};

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse(include_bytes!("../keyring.pem")).expect("the keyring of the corpus can be read")
});

fuzz_target!(|file: &[u8]| {
    let _ = Update::open(file, &KEYRING);
    // The root's key was thrown away when the corpus was made: there is one signed document, and no second one.
    if let Ok(channel) = Channel::open(file, &KEYRING) {
        assert_eq!(channel.name, "stable");
    }
});
