//! The settings of a slot's boot partition: what is read of them goes into command lines and onto a page.
#![no_main]

use homebolt_boot::slotcfg::SlotCfg;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(cfg) = SlotCfg::parse(text) {
        assert!(cfg.root_hash.len() == 64 && cfg.root_hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(cfg.root_size % 4096, 0);
        assert!(cfg.version.is_none_or(|version| version.len() <= 40 && !version.contains(['<', '&', '"'])));
    }
});
