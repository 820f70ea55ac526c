//! A damaged file system is refused, or its file is found somewhere; the search neither panics nor goes on for ever.
#![no_main]

use std::io::Cursor;

use bootstate::{COPIES, fat};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|disk: &[u8]| {
    for copy in COPIES {
        let _ = fat::find(&mut Cursor::new(disk), 0, &copy);
    }
});
