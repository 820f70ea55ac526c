//! The log of writes that the power cuts are replayed from: each write that is read of it has its data.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../src/power_cut/log.rs"]
mod log;

use log::{Action, Log};

fuzz_target!(|bytes: &[u8]| {
    let Ok(entries) = Log::open(Cursor::new(bytes)) else { return };
    let entries: Vec<_> = entries.map_while(Result::ok).collect();
    let Ok(mut log) = Log::open(Cursor::new(bytes)) else { return };
    for entry in entries {
        if let Action::Write { data } = entry.action {
            let length = usize::try_from(entry.length).unwrap_or(usize::MAX);
            assert!(log.read(data, 0, &mut vec![0; length]).is_ok(), "{entry:?}");
        }
    }
});
