//! What the boot loader says to this system on the kernel command line.

use twin::Slot;

use crate::{error::Error, gpt::Guid};

/// The `homebolt.*` words of the kernel command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    pub slot: Slot,
    /// Partition GUID of the EFI partition the boot loader was started from: it names the disk.
    pub esp: Guid,
    /// Root hash of the root slot, 64 lower-case hexadecimal digits.
    pub root_hash: String,
    /// Where in the root slot the verity tree begins, bytes.
    pub hash_offset: u64,
}

impl CommandLine {
    /// Reads the text of `/proc/cmdline`. Of a word said twice the last one counts, as in the kernel.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let word = |key| word(text, key);
        let slot = match word("homebolt.slot")? {
            "A" => Slot::A,
            "B" => Slot::B,
            _ => return Err(wrong("homebolt.slot", "it is neither A nor B")),
        };
        let esp = esp(text)?;
        let root_hash = word("homebolt.roothash")?.to_ascii_lowercase();
        if !is_root_hash(&root_hash) {
            return Err(wrong("homebolt.roothash", "it is not 64 hexadecimal digits"));
        }
        let offset = word("homebolt.hashoffset")?;
        let hash_offset = offset.parse().ok().filter(|&offset: &u64| offset > 0 && offset % 4096 == 0);
        let hash_offset = hash_offset.ok_or_else(|| wrong("homebolt.hashoffset", "it is not a multiple of 4096"))?;
        Ok(Self { slot, esp, root_hash, hash_offset })
    }
}

/// Whether the boot loader has given up both slots and started the recovery.
pub fn is_recovery(text: &str) -> bool {
    text.split_ascii_whitespace().any(|word| word == "homebolt.recovery")
}

/// Partition GUID of the EFI partition the boot loader was started from.
pub fn esp(text: &str) -> Result<Guid, Error> {
    word(text, "homebolt.esp")?.parse().map_err(|error| wrong("homebolt.esp", error))
}

fn word<'a>(text: &'a str, key: &'static str) -> Result<&'a str, Error> {
    let mut value = text.split_ascii_whitespace().filter_map(|word| word.split_once('=')).filter(|pair| pair.0 == key);
    value.next_back().map(|pair| pair.1).ok_or_else(|| wrong(key, "it is not there"))
}

/// Whether the text is a SHA-256 in lower-case hexadecimal digits.
pub fn is_root_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn wrong(key: &'static str, reason: impl ToString) -> Error {
    Error::CommandLine { key, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(root_hash: &str, offset: &str) -> String {
        format!(
            "BOOT_IMAGE=/vmlinuz quiet homebolt.slot=B homebolt.esp=11111111-2222-3333-4444-555555555555 \
             homebolt.roothash={root_hash} homebolt.hashoffset={offset} console=ttyS0,115200 panic=10\n"
        )
    }

    #[test]
    fn all_words_are_read_from_between_the_others() {
        let read = CommandLine::parse(&line(&"AB".repeat(32), "8192")).unwrap();
        assert_eq!(read.slot, Slot::B);
        assert_eq!(read.esp.to_string(), "11111111-2222-3333-4444-555555555555");
        assert_eq!(read.root_hash, "ab".repeat(32));
        assert_eq!(read.hash_offset, 8192);
    }

    #[test]
    fn the_last_of_two_words_counts() {
        let text = format!("homebolt.slot=A {}", line(&"ab".repeat(32), "4096"));
        assert_eq!(CommandLine::parse(&text).unwrap().slot, Slot::B);
    }

    #[test]
    fn the_recovery_is_told_only_its_disk() {
        let text = "homebolt.recovery homebolt.esp=11111111-2222-3333-4444-555555555555 ro gpt quiet";
        assert!(
            is_recovery(text) && !is_recovery(&line(&"ab".repeat(32), "4096")) && !is_recovery("homebolt.recovery=no")
        );
        assert_eq!(esp(text).unwrap().to_string(), "11111111-2222-3333-4444-555555555555");
        assert!(CommandLine::parse(text).is_err());
    }

    #[test]
    fn a_missing_or_impossible_word_is_named() {
        let message = |text: &str| CommandLine::parse(text).unwrap_err().to_string();
        assert_eq!(message("quiet"), "the kernel command line has no usable homebolt.slot: it is not there");
        assert!(message(&line("abc", "4096")).contains("homebolt.roothash"));
        for offset in ["0", "4097", "-4096", "4096k", ""] {
            assert!(message(&line(&"ab".repeat(32), offset)).contains("homebolt.hashoffset"), "{offset}");
        }
        assert!(message(&line(&"ab".repeat(32), "4096").replace("slot=B", "slot=C")).contains("neither A nor B"));
        assert!(message(&line(&"ab".repeat(32), "4096").replace("1111-2222", "1111")).contains("homebolt.esp"));
    }
}
