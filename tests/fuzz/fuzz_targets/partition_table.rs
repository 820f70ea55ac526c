//! The partition table of any disk that somebody plugs in: no table makes the initrd fall over, and each partition that is
//! found lies on the disk.
#![no_main]

use std::io::Cursor;

use homebolt_boot::gpt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|disk: &[u8]| {
    for size in [512, 4096] {
        let sectors = disk.len() as u64 / size;
        if let Ok(table) = gpt::read(&mut Cursor::new(disk), size, sectors) {
            for partition in table.partitions {
                assert!(partition.first <= partition.last && partition.last < sectors);
            }
        }
    }
});
