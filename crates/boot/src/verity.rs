//! dm-verity by `veritysetup`: opening a root slot, and checking one that is not in use.

use std::path::Path;

use crate::{
    error::Error,
    program::{self, Outcome},
};

const VERITYSETUP: &str = "/sbin/veritysetup";

/// The verified root.
pub const DEVICE: &str = "/dev/mapper/root";

/// What a check of a whole slot found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    Sound,
    Damaged,
    /// It could not be checked, for this reason.
    Unknown(String),
}

/// Opens the slot as [`DEVICE`]. From then on a block that is not the one that was signed restarts the machine at once,
/// and the boot loader counts the attempt.
pub fn open(device: &Path, root_hash: &str, hash_offset: u64) -> Result<(), Error> {
    let offset = format!("--hash-offset={hash_offset}");
    let device = device.to_string_lossy();
    let arguments = ["open", "--restart-on-corruption", &offset, &*device, "root", &*device, root_hash];
    program::must(VERITYSETUP, &arguments).map(|_| ())
}

/// Reads the whole slot and compares it with its root hash. Takes as long as reading it does.
pub fn check(device: &Path, root_hash: &str, hash_offset: u64) -> Check {
    let offset = format!("--hash-offset={hash_offset}");
    let device = device.to_string_lossy();
    match program::run(VERITYSETUP, &["verify", &*offset, &*device, &*device, root_hash]) {
        Ok(outcome) => judge(&outcome),
        Err(error) => Check::Unknown(error.to_string()),
    }
}

/// `veritysetup` ends with 2 for a wrong block and with 1 for a superblock that is none (seen with 2.6.1): both are damage
/// of the slot. 3 is no memory, 4 a missing device, 5 one in use.
fn judge(outcome: &Outcome) -> Check {
    match outcome.code {
        Some(0) => Check::Sound,
        Some(1 | 2) => Check::Damaged,
        _ => Check::Unknown(outcome.summary()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finished_check_says_damaged() {
        let judged = |code| judge(&Outcome { code, output: "said\n".into() });
        assert_eq!(judged(Some(0)), Check::Sound);
        assert_eq!(judged(Some(1)), Check::Damaged);
        assert_eq!(judged(Some(2)), Check::Damaged);
        assert_eq!(judged(Some(4)), Check::Unknown("said".into()));
        assert_eq!(judged(None), Check::Unknown("said".into()));
    }
}
