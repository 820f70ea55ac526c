//! The code that keeps a change of the network.
//!
//! A session's cookie is for one address, and after a change the box may have another. So the page that begins a change
//! shows a code, and who types it under the new address confirms: they are the ones who saw that page, and they reach the
//! box. It is good for one change of a minute, five wrong tries spoil it, and all it can do is to keep what the owner,
//! signed in, has asked for. It lives in the run folder, so that a restart of the manager does not spoil a change.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use crate::{atomic, claim, error::Error, secret::Secret};

const TRIES: u8 = 5;

/// One look at the file at a time.
#[derive(Debug, Default)]
pub(crate) struct Codes(Mutex<()>);

#[derive(Serialize, Deserialize)]
struct Kept {
    code: String,
    failed: u8,
}

/// Why a code does not confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Wrong {
        left: u8,
    },
    /// Too many wrong ones, or there is none: nothing was compared.
    Over,
}

/// As the page shows it: `ABCD-EFGH`.
pub(crate) fn shown(code: &Secret<String>) -> String {
    let (left, right) = code.expose().split_at(code.expose().len() / 2);
    format!("{left}-{right}")
}

impl Codes {
    /// A new code; an older one is good no more.
    pub(crate) async fn make(&self, run_dir: &Path) -> Result<Secret<String>, Error> {
        let _turn = self.0.lock().await;
        let code = claim::new_code()?;
        keep(run_dir, &Kept { code: code.clone(), failed: 0 })?;
        Ok(Secret::new(code))
    }

    /// The code of the change under way, for who is signed in.
    pub(crate) async fn newest(&self, run_dir: &Path) -> Option<Secret<String>> {
        let _turn = self.0.lock().await;
        read(run_dir).map(|kept| Secret::new(kept.code))
    }

    /// Compares what was typed, in constant time; gives the code as root knows it. A visitor without a session has
    /// `is_limited` tries.
    pub(crate) async fn check(
        &self,
        run_dir: &Path,
        typed: &Secret<String>,
        is_limited: bool,
    ) -> Result<Secret<String>, Refusal> {
        let _turn = self.0.lock().await;
        let Some(mut kept) = read(run_dir).filter(|kept| !is_limited || kept.failed < TRIES) else {
            return Err(Refusal::Over);
        };
        if claim::letters(typed.expose()).ct_eq(kept.code.as_bytes()).into() {
            return Ok(Secret::new(kept.code));
        }
        kept.failed = kept.failed.saturating_add(1);
        if let Err(error) = keep(run_dir, &kept) {
            tracing::warn!(%error, "the count of wrong codes cannot be kept: the code is good no more");
            let _ = std::fs::remove_file(file(run_dir));
            return Err(Refusal::Over);
        }
        if kept.failed >= TRIES { Err(Refusal::Over) } else { Err(Refusal::Wrong { left: TRIES - kept.failed }) }
    }
}

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("manager/network-code.json")
}

fn read(run_dir: &Path) -> Option<Kept> {
    serde_json::from_slice(&std::fs::read(file(run_dir)).ok()?).ok()
}

fn keep(run_dir: &Path, kept: &Kept) -> Result<(), Error> {
    let json = serde_json::to_vec(kept)
        .map_err(|source| Error::System { action: "write down the code of a change", source: source.into() })?;
    atomic::write(&file(run_dir), &json, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> tempfile::TempDir {
        let run = tempfile::tempdir().unwrap();
        std::fs::create_dir(run.path().join("manager")).unwrap();
        run
    }

    fn typed(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_code_is_good_as_shown_and_after_a_restart_of_the_manager() {
        let run = run();
        let code = Codes::default().make(run.path()).await.unwrap();
        let again = Codes::default();
        let right = again.check(run.path(), &typed(&format!(" {} ", shown(&code).to_lowercase())), true).await.unwrap();
        assert_eq!(right.expose(), code.expose());
    }

    #[tokio::test]
    async fn five_wrong_codes_spoil_it_for_all_but_the_owner() {
        let run = run();
        let codes = Codes::default();
        let code = codes.make(run.path()).await.unwrap();
        for left in (1..5).rev() {
            assert_eq!(codes.check(run.path(), &typed("WRONG"), true).await.unwrap_err(), Refusal::Wrong { left });
        }
        assert_eq!(codes.check(run.path(), &typed("WRONG"), true).await.unwrap_err(), Refusal::Over);
        assert_eq!(codes.check(run.path(), &code, true).await.unwrap_err(), Refusal::Over);
        assert!(codes.check(run.path(), &code, false).await.is_ok());
        let next = codes.make(run.path()).await.unwrap();
        assert!(codes.check(run.path(), &next, true).await.is_ok(), "the next change has a new one");
        assert!(codes.check(run.path(), &code, true).await.is_err());
    }

    #[tokio::test]
    async fn without_a_change_there_is_nothing_to_guess() {
        let run = run();
        assert_eq!(Codes::default().check(run.path(), &typed(""), false).await.unwrap_err(), Refusal::Over);
    }
}
