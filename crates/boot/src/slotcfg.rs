//! `slot.cfg` in a boot partition: what GRUB sources before it starts the slot's kernel.

use crate::cmdline::is_root_hash;

/// Its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotCfg {
    pub root_hash: String,
    /// Where in the root slot the verity tree begins, bytes.
    pub root_size: u64,
    /// Bytes of the root slot that are in use, verity tree and all.
    pub image_size: Option<u64>,
    /// Version of the system; not in the slots of the first builds.
    pub version: Option<String>,
}

impl SlotCfg {
    /// Reads lines of the form `set name=value`; others are passed over, as a later system may add some.
    ///
    /// # Errors
    /// A phrase that names the setting which is missing or impossible.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let setting = |name: &str| {
            let settings = text.lines().filter_map(|line| line.trim().strip_prefix("set ")?.trim().split_once('='));
            settings.filter(|setting| setting.0 == name).map(|setting| setting.1.trim_matches(['"', '\''])).next_back()
        };
        let root_hash =
            setting("root_hash").filter(|hash| is_root_hash(hash)).ok_or("its slot.cfg has no root hash")?;
        let root_size = setting("root_size").and_then(|size| size.parse().ok());
        let root_size = root_size.filter(|size| size % 4096 == 0).ok_or("its slot.cfg has no root size")?;
        let image_size = setting("image_size").and_then(|size| size.parse().ok());
        let version = setting("version").filter(|version| is_version(version)).map(str::to_owned);
        Ok(Self { root_hash: root_hash.to_owned(), root_size, image_size, version })
    }
}

/// It is shown on a page: short and plain.
fn is_version(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_settings_are_read() {
        let hash = "ab".repeat(32);
        let text =
            format!("set root_hash={hash}\nset root_size=8192\nset image_size=12288\nset version=0.1.0\nset later=1\n");
        let cfg = SlotCfg { root_hash: hash, root_size: 8192, image_size: Some(12288), version: Some("0.1.0".into()) };
        assert_eq!(SlotCfg::parse(&text), Ok(cfg.clone()));
        let without = text.replace("set version=0.1.0\n", "");
        assert_eq!(SlotCfg::parse(&without), Ok(SlotCfg { version: None, ..cfg }));
    }

    #[test]
    fn what_is_missing_is_named_and_a_strange_version_not_shown() {
        assert_eq!(SlotCfg::parse(""), Err("its slot.cfg has no root hash"));
        let hash = "ab".repeat(32);
        assert_eq!(
            SlotCfg::parse(&format!("set root_hash={hash}\nset root_size=1\n")),
            Err("its slot.cfg has no root size")
        );
        let strange = format!("set root_hash={hash}\nset root_size=0\nset version=<b>1</b>\n");
        assert_eq!(SlotCfg::parse(&strange).unwrap().version, None);
    }
}
