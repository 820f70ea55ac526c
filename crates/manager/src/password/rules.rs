//! Passwords that may not be chosen.
//!
//! A list of the most common passwords of twelve letters and more would be long and full of variants of a few words.
//! Instead the words themselves are listed, and a password that is nothing but such words, dressed with digits, signs
//! and the usual substitutions ("P4ssw0rd!2024"), is refused.

use std::fmt;

use rust_i18n::t;

/// In characters.
pub(crate) const MINIMUM: usize = 12;
/// In bytes: a bound for what is hashed.
pub(crate) const MAXIMUM: usize = 512;
/// So many different characters there must be at least.
const VARIETY: usize = 5;
/// So many letters beyond the common words make a password one's own.
const OWN_LETTERS: usize = 4;

static COMMON: &str = include_str!("common.txt");
/// Rows of keyboards and of the alphabet, along which people slide their fingers.
const ROWS: &[&str] = &[
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "yxcvbnm",
    "azertyuiop",
    "!@#$%^&*()",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
];

/// What is wrong with a password, in a sentence for the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weakness {
    Short,
    Long,
    Repetitive,
    Sequence,
    Common,
}

impl fmt::Display for Weakness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => formatter.write_str(&t!("password.short", least = MINIMUM)),
            Self::Long => formatter.write_str(&t!("password.long", most = MAXIMUM)),
            Self::Repetitive => formatter.write_str(&t!("password.repetitive")),
            Self::Sequence => formatter.write_str(&t!("password.sequence")),
            Self::Common => formatter.write_str(&t!("password.common")),
        }
    }
}

/// Refuses `password` when it is easy to guess for the box called `host`.
pub(crate) fn check(password: &str, host: &str) -> Result<(), Weakness> {
    let characters: Vec<char> = password.chars().flat_map(char::to_lowercase).collect();
    if password.chars().count() < MINIMUM {
        return Err(Weakness::Short);
    }
    if password.len() > MAXIMUM {
        return Err(Weakness::Long);
    }
    if is_repetitive(&characters) {
        return Err(Weakness::Repetitive);
    }
    if is_sequence(&characters) {
        return Err(Weakness::Sequence);
    }
    if is_common(&characters, host) {
        return Err(Weakness::Common);
    }
    Ok(())
}

fn is_repetitive(characters: &[char]) -> bool {
    let mut different = characters.to_vec();
    different.sort_unstable();
    different.dedup();
    // A short piece over and over: "abc!2abc!2abc!2".
    let period = (1..=characters.len() / 2)
        .find(|period| characters[*period..].iter().eq(&characters[..characters.len() - period]));
    different.len() < VARIETY || period.is_some_and(|period| period < 8)
}

/// Most steps from one character to the next go along a row, in either direction.
fn is_sequence(characters: &[char]) -> bool {
    let along = |pair: &[char]| {
        let is_step = |row: &str, one: char, two: char| {
            row.char_indices().any(|(at, letter)| letter == one && row[at + 1..].starts_with(two))
        };
        pair[0] == pair[1] || ROWS.iter().any(|row| is_step(row, pair[0], pair[1]) || is_step(row, pair[1], pair[0]))
    };
    let steps = characters.windows(2).filter(|pair| along(pair)).count();
    steps * 4 >= (characters.len() - 1) * 3
}

/// What is left after the common words are taken out is not enough to be one's own.
fn is_common(characters: &[char], host: &str) -> bool {
    let host = host.to_lowercase();
    let mut words: Vec<&str> = COMMON.lines().chain([host.as_str()]).filter(|word| word.len() > 1).collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    // Read once as it stands and once with the usual substitutions undone: the second must not hide digits of the first.
    let plain: String = characters.iter().collect();
    let undone: String = characters.iter().map(|letter| undo(*letter)).collect();
    [plain, undone].into_iter().any(|mut text| {
        let mut found = false;
        for word in &words {
            if text.contains(word) {
                found = true;
                text = text.replace(word, " ");
            }
        }
        let mut own: Vec<char> = text.chars().filter(|letter| letter.is_alphabetic()).collect();
        own.sort_unstable();
        own.dedup();
        found && own.len() < OWN_LETTERS
    })
}

fn undo(letter: char) -> char {
    match letter {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        '8' => 'b',
        letter => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_passwords_are_taken() {
        for password in [
            "correct horse battery staple",
            "tiny-otter-plays-9-drums",
            "xK9#mQ2$vL7pRw",
            "wer schläft, sündigt nicht",
            "пароль для коробки",
            "mypasswordisverylongandunusual",
            "831946205577013946",
        ] {
            assert_eq!(check(password, "homelab"), Ok(()), "{password}");
        }
    }

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        for (password, weakness) in [
            ("short", Weakness::Short),
            ("elevenchars", Weakness::Short),
            ("aaaaaaaaaaaaaa", Weakness::Repetitive),
            ("xq7!xq7!xq7!xq7!", Weakness::Repetitive),
            ("abcdefghijklmnop", Weakness::Sequence),
            ("qwertyuiop123456", Weakness::Sequence),
            ("098765432109876", Weakness::Sequence),
            ("1qaz2wsx3edc4rfv", Weakness::Sequence),
            ("Password1234!", Weakness::Common),
            ("P4ssw0rd!2024", Weakness::Common),
            ("homebolt-homebolt-1", Weakness::Common),
            ("Bitcoin2024!!", Weakness::Common),
            ("iloveyou123456", Weakness::Common),
            ("LightningNetwork1", Weakness::Common),
            ("attic-attic-2026", Weakness::Common),
        ] {
            assert_eq!(check(password, "attic"), Err(weakness), "{password}");
        }
        assert_eq!(check(&"ab3$x".repeat(200), "attic"), Err(Weakness::Long));
    }

    #[test]
    fn the_minimum_counts_characters_and_not_bytes() {
        assert_eq!(check("äöüßäöüßäöü", "attic"), Err(Weakness::Short));
    }
}
