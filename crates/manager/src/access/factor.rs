//! The second factor of the sign-in: codes of an authenticator app (RFC 6238), and recovery codes for who lost it.
//!
//! A code is good for its own 30 seconds and those on either side, and for one use: the step of the last accepted one is
//! kept, and no code of that step or an earlier one is taken again. Wrong codes are only counted behind the right
//! password; five in a row make a pause, in which recovery codes, which nobody can guess, still work.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Audit, SECOND_FACTOR, Store, TokenHash};
use tokio::{sync, time::Instant};
use totp_rs::{Builder, Totp};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    error::{Error, now, random},
    secret::Secret,
};

/// As all apps expect it: SHA-1, six digits, 30 seconds. The secret has the 160 bits that RFC 4226 asks for.
const DIGITS: u8 = 6;
const SECRET: usize = 20;
/// Steps on either side whose codes are taken, for clocks that differ.
const DRIFT: u16 = 1;
/// Wrong codes in a row before a pause.
const TRIES: u8 = 5;
/// Five guesses at three codes of a million each quarter of an hour: 0.15 % a day, and each leaves a line in the log.
const PAUSE: Duration = Duration::from_secs(15 * 60);
/// How long a new secret waits for its first code.
const FRESH: Duration = Duration::from_secs(15 * 60);
pub(crate) const RECOVERY_CODES: usize = 10;
/// Letters of a recovery code, 5 bits each.
const LENGTH: usize = 16;
/// Without 0, O, 1 and I, which look alike.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// What the store keeps. It has no `Debug`: the secret is in it.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// Base32, as in the app.
    #[serde(with = "erased")]
    secret: Zeroizing<String>,
    /// The last step whose code was accepted.
    step: u64,
    /// SHA-256 of the recovery codes that are left, hexadecimal. 80 random bits need no slow hash.
    recovery: Vec<String>,
}

/// Text that is erased from memory, in JSON.
mod erased {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

/// How a check was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Code,
    /// By a recovery code, which is used up now; so many are left.
    Recovery {
        left: usize,
    },
}

/// Recovery codes, to be shown once.
pub(crate) type Codes = Secret<Vec<String>>;

pub(crate) struct Factor {
    store: Store,
    state: sync::Mutex<State>,
    /// For the pages, which must not wait for a check under way.
    on: AtomicBool,
    pending: Mutex<Option<Pending>>,
}

struct State {
    kept: Option<Kept>,
    wrong: u8,
    pause: Option<Instant>,
}

/// A secret that was shown and not confirmed by a code.
struct Pending {
    session: TokenHash,
    secret: Zeroizing<String>,
    made: Instant,
}

impl Factor {
    pub(crate) async fn open(store: Store) -> Result<Self, Error> {
        let kept: Option<Kept> = store.setting::<Option<Kept>>(SECOND_FACTOR).await?.flatten();
        let on = AtomicBool::new(kept.is_some());
        let state = sync::Mutex::new(State { kept, wrong: 0, pause: None });
        Ok(Self { store, state, on, pending: Mutex::default() })
    }

    /// Whether the sign-in asks for a code.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Recovery codes not used yet.
    pub(crate) async fn codes_left(&self) -> usize {
        self.state.lock().await.kept.as_ref().map_or(0, |kept| kept.recovery.len())
    }

    /// Makes a secret for the owner of that session. It counts for nothing until [`Self::confirm`].
    pub(crate) fn begin(&self, session: TokenHash) -> Result<Secret<String>, Error> {
        let bytes = Zeroizing::new(random::<SECRET>()?);
        let secret = Zeroizing::new(totp_rs::Secret::new(Box::new(*bytes)).to_base32());
        let shown = Secret::new(secret.to_string());
        *self.pending() = Some(Pending { session, secret, made: Instant::now() });
        Ok(shown)
    }

    /// The secret that waits for its first code from this session.
    pub(crate) fn waiting(&self, session: TokenHash) -> Option<Secret<String>> {
        let pending = self.pending();
        let pending = pending.as_ref().filter(|one| one.session == session && one.made.elapsed() < FRESH)?;
        Some(Secret::new(pending.secret.to_string()))
    }

    /// Turns it on when `code` is one of the secret that was shown; `None`: it is not.
    pub(crate) async fn confirm(
        &self,
        session: TokenHash,
        code: &Secret<String>,
        entry: Audit,
    ) -> Result<Option<Codes>, Error> {
        let mut state = self.state.lock().await;
        let Some(secret) = self.waiting(session) else { return Ok(None) };
        let Some(step) = step_of(secret.expose(), code.expose(), now()) else { return Ok(None) };
        let (codes, recovery) = new_codes()?;
        let kept = Kept { secret: Zeroizing::new(secret.expose().clone()), step, recovery };
        self.store.set(SECOND_FACTOR, &Some(&kept), Some(entry)).await?;
        *state = State { kept: Some(kept), wrong: 0, pause: None };
        self.on.store(true, Ordering::Release);
        *self.pending() = None;
        Ok(Some(codes))
    }

    /// Checks what was typed and uses it up. Only to be asked behind the right password.
    pub(crate) async fn check(&self, typed: &Secret<String>) -> Result<Option<Passed>, Error> {
        self.check_at(typed.expose(), now()).await
    }

    async fn check_at(&self, typed: &str, at: u64) -> Result<Option<Passed>, Error> {
        let mut state = self.state.lock().await;
        let is_paused = state.pause.is_some_and(|until| Instant::now() < until);
        let Some(kept) = state.kept.as_mut() else { return Ok(None) };
        let passed = if let Some(place) = recovery_place(kept, typed) {
            kept.recovery.remove(place);
            Some(Passed::Recovery { left: kept.recovery.len() })
        } else {
            let step = step_of(&kept.secret, typed, at).filter(|step| !is_paused && *step > kept.step);
            step.map(|step| {
                kept.step = step;
                Passed::Code
            })
        };
        if passed.is_none() {
            state.wrong = state.wrong.saturating_add(1);
            if state.wrong >= TRIES && !is_paused {
                (state.wrong, state.pause) = (0, Some(Instant::now() + PAUSE));
            }
            return Ok(None);
        }
        // Before anybody is let in: after a power cut the same code must not work again.
        match self.store.set(SECOND_FACTOR, &state.kept, None).await {
            Err(store::Error::Full) => tracing::warn!("the data disk is full: that a code was used is not saved"),
            outcome => outcome?,
        }
        (state.wrong, state.pause) = (0, None);
        Ok(passed)
    }

    /// Other recovery codes instead of all that are left; `None`: the second factor is off.
    pub(crate) async fn renew(&self, entry: Audit) -> Result<Option<Codes>, Error> {
        let mut state = self.state.lock().await;
        let Some(kept) = &state.kept else { return Ok(None) };
        let (codes, recovery) = new_codes()?;
        let kept = Kept { recovery, ..kept.clone() };
        self.store.set(SECOND_FACTOR, &Some(&kept), Some(entry)).await?;
        state.kept = Some(kept);
        Ok(Some(codes))
    }

    pub(crate) async fn turn_off(&self, entry: Audit) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        self.store.set(SECOND_FACTOR, &None::<Kept>, Some(entry)).await?;
        self.forget(&mut state);
        Ok(())
    }

    /// The store has forgotten it: so must the memory.
    pub(crate) async fn was_dropped(&self) {
        self.forget(&mut *self.state.lock().await);
    }

    fn forget(&self, state: &mut State) {
        *state = State { kept: None, wrong: 0, pause: None };
        self.on.store(false, Ordering::Release);
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Option<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an authenticator app reads from the QR code.
pub(crate) fn otpauth(secret: &Secret<String>, host: &str) -> Secret<String> {
    let host: String = host.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
    Secret::new(format!("otpauth://totp/Homebolt:{host}?secret={}&issuer=Homebolt", secret.expose()))
}

/// The step that `code` belongs to, if it is one of those around `at`.
fn step_of(secret: &str, code: &str, at: u64) -> Option<u64> {
    let code = Zeroizing::new(code.chars().filter(|letter| !letter.is_whitespace()).collect::<String>());
    if code.len() != usize::from(DIGITS) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    totp(secret)?.check(&code, at)
}

fn totp(secret: &str) -> Option<Totp> {
    let secret = totp_rs::Secret::try_from_base32(secret).ok()?;
    Builder::new().with_secret(secret).with_digits(DIGITS).with_skew(DRIFT).build().ok()
}

/// Which of the recovery codes that was.
fn recovery_place(kept: &Kept, typed: &str) -> Option<usize> {
    let mut plain: String =
        typed.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).take(64).collect();
    let hash = hashed(&plain);
    let is_whole = plain.len() == LENGTH;
    plain.zeroize();
    // Hashes are compared, of which nothing can be learned by the time it takes.
    kept.recovery.iter().position(|one| *one == hash).filter(|_| is_whole)
}

fn hashed(code: &str) -> String {
    hex::encode(Sha256::digest(code))
}

/// New recovery codes as they are shown, `ABCD-EFGH-JKLM-NPQR`, and their hashes.
fn new_codes() -> Result<(Codes, Vec<String>), Error> {
    let mut shown = Vec::with_capacity(RECOVERY_CODES);
    let mut hashes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let letters = random::<LENGTH>()?.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        let code = Zeroizing::new(letters.iter().collect::<String>());
        hashes.push(hashed(&code));
        let parts: Vec<String> = letters.chunks(4).map(|part| part.iter().collect()).collect();
        shown.push(parts.join("-"));
    }
    Ok((Secret::new(shown), hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Audit {
        Audit { at: now(), actor: "owner@::1".into(), action: "test", detail: String::new() }
    }

    fn code(secret: &str, at: u64) -> String {
        totp(secret).unwrap().generate(at).to_string()
    }

    async fn on() -> (tempfile::TempDir, Factor, String, Codes) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("manager.db")).unwrap();
        let factor = Factor::open(store).await.unwrap();
        let secret = factor.begin([1; 32]).unwrap().expose().clone();
        let first = Secret::new(code(&secret, now()));
        assert!(factor.confirm([2; 32], &first, entry()).await.unwrap().is_none(), "it was shown to another session");
        assert!(!factor.is_on());
        let codes = factor.confirm([1; 32], &first, entry()).await.unwrap().unwrap();
        (folder, factor, secret, codes)
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1, the last six of its eight digits.
        let secret = totp_rs::Secret::new(Box::new(*b"12345678901234567890")).to_base32();
        for (at, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(step_of(&secret, code, at), Some(at / 30), "{at}");
            assert_eq!(step_of(&secret, &format!(" {} {} ", &code[..3], &code[3..]), at), Some(at / 30));
        }
    }

    #[tokio::test]
    async fn a_code_is_accepted_once_and_with_a_drift_of_one_step() {
        let (_folder, factor, secret, _) = on().await;
        let later = now() + 600;
        let this = code(&secret, later);
        assert_eq!(factor.check_at(&code(&secret, later - 60), later).await.unwrap(), None, "two steps old");
        assert_eq!(factor.check_at(&code(&secret, later - 30), later).await.unwrap(), Some(Passed::Code));
        assert_eq!(factor.check_at(&this, later).await.unwrap(), Some(Passed::Code));
        assert_eq!(factor.check_at(&this, later).await.unwrap(), None, "the same code again");
        assert_eq!(factor.check_at(&code(&secret, later - 30), later).await.unwrap(), None, "an older one");
        assert_eq!(factor.check_at(&code(&secret, later + 30), later).await.unwrap(), Some(Passed::Code));
    }

    #[tokio::test]
    async fn the_code_that_turned_it_on_signs_nobody_in_and_a_restart_forgets_no_use() {
        let (folder, factor, secret, _) = on().await;
        let at = now();
        assert_eq!(factor.check_at(&code(&secret, at), at).await.unwrap(), None);
        let later = at + 600;
        let next = code(&secret, later);
        assert_eq!(factor.check_at(&next, later).await.unwrap(), Some(Passed::Code));
        drop(factor);
        let copy = tempfile::tempdir().unwrap();
        for file in ["manager.db", "manager.db-wal"] {
            let _ = std::fs::copy(folder.path().join(file), copy.path().join(file));
        }
        let again = Factor::open(Store::open(&copy.path().join("manager.db")).unwrap()).await.unwrap();
        assert!(again.is_on());
        assert_eq!(again.check_at(&next, later).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_recovery_code_works_once_and_new_ones_end_the_old() {
        let (_folder, factor, _, codes) = on().await;
        let first = codes.expose()[0].clone();
        assert_eq!(codes.expose().len(), RECOVERY_CODES);
        let typed = first.to_lowercase().replace('-', " ");
        assert_eq!(factor.check_at(&typed, now()).await.unwrap(), Some(Passed::Recovery { left: 9 }));
        assert_eq!(factor.check_at(&first, now()).await.unwrap(), None);
        let others = factor.renew(entry()).await.unwrap().unwrap();
        assert_eq!(factor.check_at(&codes.expose()[1], now()).await.unwrap(), None);
        assert!(factor.check_at(&others.expose()[9], now()).await.unwrap().is_some());
        assert_eq!(factor.check_at("", now()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn after_five_wrong_codes_there_is_a_pause_for_codes_and_none_for_recovery_codes() {
        let (_folder, factor, secret, codes) = on().await;
        let later = now() + 600;
        for _ in 0..TRIES {
            assert_eq!(factor.check_at("nonsense", later).await.unwrap(), None);
        }
        assert_eq!(factor.check_at(&code(&secret, later), later).await.unwrap(), None, "in the pause");
        assert!(factor.check_at(&codes.expose()[3], later).await.unwrap().is_some());
        assert_eq!(
            factor.check_at(&code(&secret, later), later).await.unwrap(),
            Some(Passed::Code),
            "the pause is over"
        );
    }

    #[tokio::test]
    async fn the_database_holds_no_recovery_code_and_off_is_off() {
        let (folder, factor, secret, codes) = on().await;
        let mut bytes = std::fs::read(folder.path().join("manager.db")).unwrap();
        bytes.extend(std::fs::read(folder.path().join("manager.db-wal")).unwrap_or_default());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains(&secret), "the search finds what is there");
        assert!(codes.expose().iter().all(|code| !text.contains(code) && !text.contains(&code.replace('-', ""))));
        factor.turn_off(entry()).await.unwrap();
        assert!(!factor.is_on());
        let later = now() + 600;
        assert_eq!(factor.check_at(&code(&secret, later), later).await.unwrap(), None);
    }
}
