//! Documents whose signature is right may still be nonsense: no reader panics, and what is read survives being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use release::{Channel, Update};

fuzz_target!(|document: &[u8]| {
    let _ = Update::parse(document);
    if let Ok(channel) = Channel::parse(document) {
        let json = serde_json_of(&channel);
        assert_eq!(Channel::parse(json.as_bytes()), Ok(channel));
    }
});

fn serde_json_of(channel: &Channel) -> String {
    serde_json::to_string(channel).unwrap_or_default()
}
