//! The way to a wallet, for the pages and the API alike: whether one can be made, and the seed that is to become it.

use std::sync::PoisonError;

use base64::{Engine, engine::general_purpose::STANDARD};
use rust_i18n::t;
use store::Audit;
use twin::LndState;

use super::wallet::{ASKED, Seed, Verdict, typed_words};
use crate::{
    copies::restore::{LONGEST, SHORTEST},
    error::Error,
    pages::words::sentence,
    secret::Secret,
    shared::House,
};

/// What can be done here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Situation {
    /// LND is not up yet, or is busy with its first start.
    NotYet,
    /// It waits for a wallet.
    Empty,
    /// There is a wallet already: made here, or found.
    Exists,
}

pub(crate) fn situation(house: &House) -> Situation {
    match house.shared.twin.state().lnd.state {
        _ if house.setup.choices().wallet.is_some() => Situation::Exists,
        LndState::Unreachable | LndState::WaitingToStart => Situation::NotYet,
        LndState::NonExisting => Situation::Empty,
        LndState::Locked | LndState::Unlocked | LndState::RpcActive | LndState::ServerActive => Situation::Exists,
    }
}

/// Reads or changes the seed that is on its way; `None`: there is none.
pub(crate) fn with<T>(house: &House, work: impl FnOnce(&mut Seed) -> T) -> Option<T> {
    house.setup.seed.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(work)
}

/// Another seed than the one that was on its way, but never while the setup is applied: the password of one seed is
/// sealed there, and the wallet made of what then is the seed. An error is a sentence.
fn replace(house: &House, seed: Seed) -> Result<(), String> {
    // Looked at under the lock: who applies reads the seed after having said so.
    let mut place = house.setup.seed.lock().unwrap_or_else(PoisonError::into_inner);
    if house.setup.apply.is_running() {
        return Err(t!("setup.wallet.being_applied").into_owned());
    }
    *place = Some(seed);
    Ok(())
}

/// What an owner has to write down.
pub(crate) struct Shown {
    pub(crate) words: Secret<Vec<String>>,
    /// Of the wallet.
    pub(crate) password: Secret<String>,
}

/// A seed of LND's `GenSeed`, instead of one that was on its way. An inner error is a sentence.
pub(crate) async fn begin(
    house: &House,
    passphrase: Secret<String>,
    entry: Audit,
) -> Result<Result<Shown, String>, Error> {
    let given = passphrase.expose();
    let given = (!given.is_empty()).then(|| lnd::Secret::new(given.as_bytes()));
    let words = match house.node.bare.new_seed(given.as_ref()).await {
        Ok(seed) => seed.expose().to_vec(),
        Err(error) => return Ok(Err(sentence(&twin::source::sentence(&error)))),
    };
    let seed = Seed::new(words, passphrase)?;
    // Not read back later: by then another program may have asked for a seed of its own.
    let shown = Shown { words: seed.words.clone(), password: seed.password.clone() };
    Ok(keep(house, seed, entry).await?.map(|()| shown))
}

/// What an owner brings to restore a wallet.
pub(crate) struct Given {
    pub(crate) words: Secret<String>,
    pub(crate) passphrase: Secret<String>,
    /// A backup of all channels.
    pub(crate) backup: Option<Vec<u8>>,
    /// They say that the old box is switched off for good (`LND.md`, rule 6).
    pub(crate) is_off: bool,
}

/// Keeps a given seed in memory; applying the setup is what makes it real. An inner error is a sentence.
pub(crate) async fn give(house: &House, given: Given, entry: Audit) -> Result<Result<(), String>, Error> {
    let words = match typed_words(given.words.expose()) {
        Ok(words) => words,
        Err(sentence) => return Ok(Err(sentence)),
    };
    if !given.is_off {
        return Ok(Err(t!("setup.wallet.restore_confirm_missing").into_owned()));
    }
    keep(house, Seed::restored(words, given.passphrase, given.backup)?, entry).await
}

async fn keep(house: &House, seed: Seed, entry: Audit) -> Result<Result<(), String>, Error> {
    if let Err(sentence) = replace(house, seed) {
        return Ok(Err(sentence));
    }
    house.store.audit(entry).await?;
    Ok(Ok(()))
}

/// Compares the answers to the words that are asked; `None`: none are. After too many wrong ones the seed is forgotten.
pub(crate) async fn answer(house: &House, answers: &[String; ASKED], entry: Audit) -> Result<Option<Verdict>, Error> {
    let verdict = with(house, |seed| seed.answer(answers)).flatten();
    match verdict {
        Some(Verdict::Right) => house.store.audit(entry).await?,
        Some(Verdict::Over) => *house.setup.seed.lock().unwrap_or_else(PoisonError::into_inner) = None,
        Some(Verdict::Wrong { .. }) | None => {}
    }
    Ok(verdict)
}

/// A channel backup as text: base64 or hexadecimal, as LND's tools print it. An error is a sentence.
pub(crate) fn backup(text: &str) -> Result<Option<Vec<u8>>, String> {
    let plain: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    if plain.is_empty() {
        return Ok(None);
    }
    let bytes = hex::decode(&plain).ok().or_else(|| STANDARD.decode(&plain).ok());
    of_size(bytes.unwrap_or_default()).map(Some)
}

/// What LND can make sense of at least. Whether it is this seed's only LND can tell, once it has the seed.
pub(crate) fn of_size(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let fits = (SHORTEST..=LONGEST).contains(&bytes.len());
    fits.then_some(bytes).ok_or_else(|| t!("setup.wallet.restore_backup_bad").into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_backup_is_read_as_base64_and_as_hexadecimal() {
        let bytes = vec![7_u8; 100];
        assert_eq!(backup(&STANDARD.encode(&bytes)).unwrap(), Some(bytes.clone()));
        assert_eq!(
            backup(&format!(" {}\n{} ", &hex::encode(&bytes)[..50], &hex::encode(&bytes)[50..])).unwrap(),
            Some(bytes)
        );
        assert_eq!(backup(" \n").unwrap(), None);
        assert!(backup("not a backup!").is_err() && backup("abcd").is_err());
    }
}
