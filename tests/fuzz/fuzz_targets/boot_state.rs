//! What stands on the EFI partition where the boot state should: torn copies, old ones, anything. What is taken for whole
//! says the same once it is written again.
#![no_main]

use bootstate::{LENGTH, choose, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (first, second) = bytes.split_at(bytes.len().min(LENGTH));
    for block in [first, second] {
        if let Some((state, number)) = decode(block) {
            assert_eq!(decode(&encode(&state, number)), Some((state, number)));
        }
    }
    let known = choose([Some(first), Some(second)]);
    let mut state = known.state;
    state.step();
    for (_, block) in known.writes(&state) {
        assert_eq!(decode(&block).map(|(written, _)| written), Some(state));
    }
});
