//! The claim code: proof that a person stands in front of the box (or reads its serial line).
//!
//! It is new at every boot, kept in the run folder so that a restart of the manager neither changes it nor gives an
//! attacker fresh tries. Five wrong codes in a row, from whatever address, lead to a pause of a minute: 40 bits at five
//! tries a minute are out of reach, and nobody can lock the owner out for longer than that minute.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::{
    atomic,
    error::{Error, random},
};

/// No 0/O and no 1/I: what is read from a screen and typed on a phone must not be a guess. 32 letters, 5 bits each.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
const LENGTH: usize = 8;
const TRIES: u8 = 5;
const PAUSE: Duration = Duration::from_secs(60);

fn new_letters() -> Result<[u8; LENGTH], Error> {
    Ok(random::<LENGTH>()?.map(|byte| ALPHABET[usize::from(byte % 32)]))
}

/// A code of the same form for something else.
pub(crate) fn new_code() -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&new_letters()?).into_owned())
}

/// What was typed, as codes are compared: case, spaces and dashes do not matter.
pub(crate) fn letters(typed: &str) -> Vec<u8> {
    typed.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase()).take(64).collect()
}

/// Why a code was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not the code; that many tries are left before the pause.
    Wrong { left: u8 },
    /// Too many wrong codes; nothing was compared.
    Wait(Duration),
}

pub(crate) struct Claim {
    code: [u8; LENGTH],
    tries: Mutex<Tries>,
    file: PathBuf,
}

#[derive(Default)]
struct Tries {
    failed: u8,
    locked_until: Option<Instant>,
}

/// What the run folder keeps.
#[derive(Serialize, Deserialize)]
struct Kept {
    code: String,
    failed: u8,
}

impl Claim {
    /// Takes over the code of this boot from `file`, or makes one.
    pub(crate) fn open(file: &Path) -> Result<Self, Error> {
        let kept = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = kept.and_then(|kept| Some((<[u8; LENGTH]>::try_from(kept.code.as_bytes()).ok()?, kept.failed)));
        let (code, failed) = match kept {
            Some(kept) => kept,
            None => (new_letters()?, 0),
        };
        // Restarted during a pause: the pause begins anew, as how much of it is left is not known.
        let locked_until = (failed >= TRIES).then(|| Instant::now() + PAUSE);
        let claim = Self { code, tries: Mutex::new(Tries { failed, locked_until }), file: file.into() };
        claim.keep(failed)?;
        Ok(claim)
    }

    /// As the console shows it: `ABCD-EFGH`.
    pub(crate) fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.code);
        let (left, right) = text.split_at(LENGTH / 2);
        format!("{left}-{right}")
    }

    /// Compares what was typed, in constant time; case, spaces and dashes do not matter.
    pub(crate) fn check(&self, typed: &str) -> Result<(), Refusal> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = tries.locked_until {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(Refusal::Wait(left));
            }
            *tries = Tries::default();
        }
        let typed = letters(typed);
        // Slices of unequal length are unequal at once; the length of the code is no secret.
        let right = bool::from(typed.as_slice().ct_eq(&self.code));
        tries.failed = if right { 0 } else { tries.failed + 1 };
        let verdict = if right {
            Ok(())
        } else if tries.failed >= TRIES {
            tries.locked_until = Some(Instant::now() + PAUSE);
            Err(Refusal::Wait(PAUSE))
        } else {
            Err(Refusal::Wrong { left: TRIES - tries.failed })
        };
        if let Err(error) = self.keep(tries.failed) {
            tracing::warn!(%error, "the count of wrong claim codes would not survive a restart of the manager");
        }
        verdict
    }

    fn keep(&self, failed: u8) -> Result<(), Error> {
        let kept = Kept { code: String::from_utf8_lossy(&self.code).into_owned(), failed };
        let json = serde_json::to_vec(&kept)
            .map_err(|source| Error::System { action: "write down the claim code", source: source.into() })?;
        atomic::write(&self.file, &json, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> (tempfile::TempDir, Claim) {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::open(&folder.path().join("claim.json")).unwrap();
        (folder, claim)
    }

    #[tokio::test]
    async fn case_dashes_and_spaces_do_not_matter() {
        let (_folder, claim) = claim();
        let shown = claim.shown();
        assert_eq!(shown.len(), 9);
        assert!(claim.check(&shown.to_lowercase()).is_ok());
        assert!(claim.check(&format!("  {} ", shown.replace('-', " \u{2013} "))).is_ok());
        assert!(claim.check("").is_err());
        assert!(claim.check(&shown[..8]).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn after_five_wrong_codes_even_the_right_one_waits_a_minute() {
        let (_folder, claim) = claim();
        for left in (1..5).rev() {
            assert_eq!(claim.check("WRONG"), Err(Refusal::Wrong { left }));
        }
        assert_eq!(claim.check("WRONG"), Err(Refusal::Wait(PAUSE)));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(claim.check(&claim.shown()), Err(Refusal::Wait(Duration::from_secs(1))));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(claim.check("WRONG"), Err(Refusal::Wrong { left: 4 }), "the pause gives five new tries");
        assert!(claim.check(&claim.shown()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_keeps_the_code_and_gives_no_new_tries() {
        let (folder, claim) = claim();
        for _ in 0..4 {
            claim.check("WRONG").unwrap_err();
        }
        let again = Claim::open(&folder.path().join("claim.json")).unwrap();
        assert_eq!(again.shown(), claim.shown());
        assert_eq!(again.check("WRONG"), Err(Refusal::Wait(PAUSE)));
        let third = Claim::open(&folder.path().join("claim.json")).unwrap();
        assert!(matches!(third.check(&claim.shown()), Err(Refusal::Wait(_))));
    }

    #[tokio::test]
    async fn another_boot_has_another_code() {
        assert_ne!(claim().1.shown(), claim().1.shown());
    }
}
