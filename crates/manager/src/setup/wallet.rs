//! The seed between the page that shows it and LND's `InitWallet`.
//!
//! ```text
//!  GenSeed ─► words shown ─► "written down" ─► four of them asked ─► ready ─► InitWallet
//!                 ▲                                    │ three wrong answers
//!                 └──────── a new seed ◄───────────────┘
//! ```

use lnd::{
    client::{NewWallet, Recovery},
    types::Seed as LndSeed,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, random},
    secret::Secret,
};

/// Words of an aezeed.
pub(crate) const WORDS: usize = 24;
/// How many of them are asked.
pub(crate) const ASKED: usize = 4;
const TRIES: u8 = 3;
/// How many addresses ahead LND looks for funds of a restored seed.
pub(crate) const RECOVERY_WINDOW: u16 = 2500;

/// The wallet that was made, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Seconds since 1970.
    pub(crate) at: u64,
    pub(crate) origin: Origin,
    /// What holds its password: the security chip, or a key on the disk.
    pub(crate) by_chip: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    New,
    /// From a seed. Afterwards the node only brings funds back: no channels are opened.
    Restored,
}

/// How far a seed is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The page may show the words.
    Shown,
    /// They were written down, says the owner, and are not shown again; these (from 0) are asked.
    Asked {
        positions: [usize; ASKED],
        wrong: u8,
    },
    Ready,
}

/// Words, and what is needed to make the wallet of them. Never on a disk, never in a log.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) words: Secret<Vec<String>>,
    /// Of the aezeed; empty for none.
    pub(crate) passphrase: Secret<String>,
    pub(crate) origin: Origin,
    /// A backup of all channels to restore.
    pub(crate) backup: Option<Vec<u8>>,
    /// The wallet's password, the same for every try of this seed.
    pub(crate) password: Secret<String>,
    pub(crate) stage: Stage,
}

/// What came of the owner's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong {
        left: u8,
    },
    /// Too often: these words are no longer used.
    Over,
}

impl Seed {
    /// A seed of LND's `GenSeed`, to be shown.
    pub(crate) fn new(words: Vec<String>, passphrase: Secret<String>) -> Result<Self, Error> {
        Self::with(words, passphrase, Origin::New, None, Stage::Shown)
    }

    /// A seed that the owner brought.
    pub(crate) fn restored(
        words: Vec<String>,
        passphrase: Secret<String>,
        backup: Option<Vec<u8>>,
    ) -> Result<Self, Error> {
        Self::with(words, passphrase, Origin::Restored, backup, Stage::Ready)
    }

    fn with(
        words: Vec<String>,
        passphrase: Secret<String>,
        origin: Origin,
        backup: Option<Vec<u8>>,
        stage: Stage,
    ) -> Result<Self, Error> {
        let password = Secret::new(new_password()?);
        Ok(Self { words: Secret::new(words), passphrase, origin, backup, password, stage })
    }

    /// What LND makes the wallet of.
    pub(crate) fn wallet(&self) -> NewWallet {
        let passphrase = self.passphrase.expose();
        // The backup follows when LND is in step with the chain, see `copies::restore`.
        let recovery = Recovery { window: RECOVERY_WINDOW, backup: None };
        NewWallet {
            password: lnd::Secret::new(self.password.expose().as_bytes()),
            seed: LndSeed::new(self.words.expose().clone()),
            passphrase: (!passphrase.is_empty()).then(|| lnd::Secret::new(passphrase.as_bytes())),
            recovery: (self.origin == Origin::Restored).then_some(recovery),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// The owner has written the words down: from now on they are asked, not shown.
    pub(crate) fn written_down(&mut self) -> Result<(), Error> {
        if self.stage == Stage::Shown {
            self.stage = Stage::Asked { positions: positions(self.words.expose().len())?, wrong: 0 };
        }
        Ok(())
    }

    /// Compares the answers to the words that are asked; `None`: none are. Once they were right they stay so: a second
    /// click must not cost the seed.
    pub(crate) fn answer(&mut self, answers: &[String; ASKED]) -> Option<Verdict> {
        let (positions, wrong) = match &mut self.stage {
            Stage::Shown => return None,
            Stage::Ready => return Some(Verdict::Right),
            Stage::Asked { positions, wrong } => (positions, wrong),
        };
        let words = self.words.expose();
        let right = positions
            .iter()
            .zip(answers)
            .all(|(at, answer)| words.get(*at).is_some_and(|word| word.eq_ignore_ascii_case(answer.trim())));
        if right {
            self.stage = Stage::Ready;
            return Some(Verdict::Right);
        }
        *wrong += 1;
        Some(if *wrong >= TRIES { Verdict::Over } else { Verdict::Wrong { left: TRIES - *wrong } })
    }
}

/// 26 letters and digits in groups: 128 bits, and plain enough for a file that LND reads to its last byte.
fn new_password() -> Result<String, Error> {
    const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    let bytes = random::<26>()?;
    let text: Vec<u8> = bytes.iter().map(|byte| LETTERS[usize::from(byte % 32)]).collect();
    let groups: Vec<String> = text.chunks(5).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    Ok(groups.join("-"))
}

/// Four places in a list of that length, in order, each at most once.
fn positions(length: usize) -> Result<[usize; ASKED], Error> {
    let mut all: Vec<usize> = (0..length).collect();
    let mut chosen = [0; ASKED];
    for (place, byte) in chosen.iter_mut().zip(random::<ASKED>()?) {
        *place = all.remove(usize::from(byte) % all.len().max(1));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

/// The words of what was typed: lower case, numbers and punctuation between them do not matter. An error is a sentence.
pub(crate) fn typed_words(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = text
        .split(|letter: char| !letter.is_alphabetic())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let list = bip39::Language::English;
    if let Some(unknown) = words.iter().find(|word| list.find_word(word).is_none()) {
        return Err(rust_i18n::t!("setup.wallet.unknown_word", word = unknown).into_owned());
    }
    if words.len() != WORDS {
        return Err(rust_i18n::t!("setup.wallet.word_count", count = words.len()).into_owned());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        let words = (0..WORDS).map(|number| format!("word{number}")).collect();
        Seed::new(words, Secret::new(String::new())).unwrap()
    }

    #[test]
    fn four_different_words_are_asked_and_the_right_answers_make_it_ready() {
        let mut seed = seed();
        assert!(!seed.is_ready());
        seed.written_down().unwrap();
        let Stage::Asked { positions, .. } = seed.stage.clone() else { panic!() };
        assert!(positions.windows(2).all(|pair| pair[0] < pair[1]) && positions[3] < WORDS);
        assert_eq!(seed.answer(&positions.map(|at| format!(" WORD{at} "))), Some(Verdict::Right));
        assert!(seed.is_ready());
        // A second click.
        assert_eq!(seed.answer(&positions.map(|_| String::new())), Some(Verdict::Right));
        assert!(seed.is_ready());
    }

    #[test]
    fn the_third_wrong_answer_ends_it_and_writing_down_again_does_not_help() {
        let mut seed = seed();
        let wrong = std::array::from_fn(|_| "wrong".to_owned());
        assert_eq!(seed.answer(&wrong), None, "nothing is asked while the words are shown");
        seed.written_down().unwrap();
        assert_eq!(seed.answer(&wrong), Some(Verdict::Wrong { left: 2 }));
        seed.written_down().unwrap();
        assert_eq!(seed.answer(&wrong), Some(Verdict::Wrong { left: 1 }));
        assert_eq!(seed.answer(&wrong), Some(Verdict::Over));
    }

    #[test]
    fn words_are_read_as_people_paste_them() {
        let phrase = "1. Abandon 2. ability,\n3) able";
        let error = typed_words(phrase).unwrap_err();
        assert!(error.contains('3'), "{error}");
        assert!(typed_words("abandon abilty").unwrap_err().contains("abilty"));
        assert_eq!(typed_words(&"zoo ".repeat(24)).unwrap(), vec!["zoo"; 24]);
    }

    #[test]
    fn a_password_is_long_plain_and_never_the_same() {
        let (one, two) = (new_password().unwrap(), new_password().unwrap());
        assert_ne!(one, two);
        assert!(one.len() == 31 && one.bytes().all(|byte| byte.is_ascii_graphic()), "{one}");
    }

    #[test]
    fn nothing_secret_shows_in_debug_output() {
        assert!(!format!("{:?}", seed()).contains("word0"));
    }
}
