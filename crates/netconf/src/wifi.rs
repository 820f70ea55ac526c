//! A Wi-Fi network as an owner names it, and the file iwd knows it by (iwd.network(5)).
//!
//! Only networks with one password for all (WPA2 and WPA3 Personal; iwd takes the better one that the access point has).
//! Open networks are refused: whoever is near could read and change what the box sends, and reach its pages.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// The network a radio joins. Its password is not here: plans are shown on pages and stand in files for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wifi {
    pub ssid: Ssid,
    /// The access point does not send its name: the radio has to ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// The name of a network: 1 to 32 bytes of UTF-8 (iwd joins no others). May hold what no page should print as it is: see
/// [`Ssid::shown`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ssid(String);

/// What was typed is no name of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a Wi-Fi network has 1 to 32 bytes")]
pub struct NoSsid;

impl Ssid {
    pub const LONGEST: usize = 32;

    pub fn new(text: impl Into<String>) -> Result<Self, NoSsid> {
        let text = text.into();
        let is_one = (1..=Self::LONGEST).contains(&text.len()) && !text.contains('\0');
        if is_one { Ok(Self(text)) } else { Err(NoSsid) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For pages and logs: what turns the direction of writing, ends a line or cannot be seen is escaped.
    pub fn shown(&self) -> String {
        let plain = |letter: char| letter == '\'' || letter == '"' || letter == '\\';
        let escaped = |letter: char| if plain(letter) { letter.to_string() } else { letter.escape_debug().to_string() };
        self.0.chars().map(escaped).collect()
    }

    /// In iwd's paths of D-Bus: `486f6d65`.
    pub fn hex(&self) -> String {
        self.0.bytes().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// iwd's file for it: the name itself where it is plain, else its bytes behind an equals sign.
    pub fn file_name(&self) -> String {
        let is_plain = self.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -_".contains(&byte));
        if is_plain { format!("{}.psk", self.0) } else { format!("={}.psk", self.hex()) }
    }
}

impl TryFrom<String> for Ssid {
    type Error = NoSsid;

    fn try_from(text: String) -> Result<Self, NoSsid> {
        Self::new(text)
    }
}

impl From<Ssid> for String {
    fn from(ssid: Ssid) -> Self {
        ssid.0
    }
}

/// The password of a network, in one of the two forms that WPA knows. For no log, page or report.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Passphrase(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// 8 to 63 printable letters of ASCII.
    Words(String),
    /// The key itself, 64 hexadecimal digits.
    Key(String),
}

/// What was typed is no password of a Wi-Fi network. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPassphrase {
    #[error("the password of a Wi-Fi network has 8 to 63 characters, or is a key of 64 hexadecimal digits")]
    Length,
    #[error("the password of a Wi-Fi network has only letters without accents, digits and signs of ASCII")]
    Letters,
}

impl Passphrase {
    pub fn new(text: &str) -> Result<Self, NoPassphrase> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(Kind::Key(text.to_ascii_lowercase())));
        }
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(NoPassphrase::Letters);
        }
        if (8..=63).contains(&text.len()) { Ok(Self(Kind::Words(text.to_owned()))) } else { Err(NoPassphrase::Length) }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(..)")
    }
}

impl TryFrom<String> for Passphrase {
    type Error = NoPassphrase;

    fn try_from(text: String) -> Result<Self, NoPassphrase> {
        Self::new(&text)
    }
}

impl From<Passphrase> for String {
    fn from(passphrase: Passphrase) -> Self {
        match passphrase.0 {
            Kind::Words(text) | Kind::Key(text) => text,
        }
    }
}

impl Wifi {
    /// iwd's file for the network: for root alone.
    pub fn to_iwd(&self, passphrase: &Passphrase) -> String {
        let mut text = String::from("# Made of the owner's choice; changes in this file are lost.\n[Security]\n");
        match &passphrase.0 {
            // Blanks at the ends would be lost, and a backslash begins something else.
            Kind::Words(words) => {
                let escaped = words.replace('\\', "\\\\").replace(' ', "\\s");
                text.push_str(&format!("Passphrase={escaped}\n"));
            }
            Kind::Key(key) => text.push_str(&format!("PreSharedKey={key}\n")),
        }
        text.push_str("\n[Settings]\nAutoConnect=true\n");
        if self.hidden {
            text.push_str("Hidden=true\n");
        }
        text
    }
}

/// Why a radio did not join. Names it for translations, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotJoined {
    /// The radio is gone, or switched off.
    NoRadio,
    /// iwd does not answer.
    NoService,
    /// No access point of that name answers.
    NotInReach,
    /// There is one, but it wants no password or one for each person.
    OtherSecurity,
    /// The access point did not accept the password (or it broke off while that was checked).
    Passphrase,
    /// Joined, but no router gave an address.
    NoAddress,
    /// This system's kernel does not take the rules of that country.
    Country,
    /// By the rules of that country the radio does not reach the network that it reached before.
    Rules,
    /// Something else; the journal of the unit `iwd` has more.
    Other,
}

impl NotJoined {
    /// Its name in the texts.
    pub fn key(self) -> &'static str {
        match self {
            Self::NoRadio => "no_radio",
            Self::NoService => "no_service",
            Self::NotInReach => "not_in_reach",
            Self::OtherSecurity => "other_security",
            Self::Passphrase => "passphrase",
            Self::NoAddress => "no_address",
            Self::Country => "country",
            Self::Rules => "rules",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wifi(ssid: &str) -> Wifi {
        Wifi { ssid: Ssid::new(ssid).unwrap(), hidden: false }
    }

    #[test]
    fn a_name_has_1_to_32_bytes() {
        assert!(Ssid::new("").is_err() && Ssid::new("é".repeat(17)).is_err() && Ssid::new("a\0b").is_err());
        assert!(Ssid::new("é".repeat(16)).is_ok());
    }

    #[test]
    fn the_file_of_a_network_is_named_as_iwd_looks_for_it() {
        assert_eq!(wifi("Home Net_5-G").ssid.file_name(), "Home Net_5-G.psk");
        assert_eq!(wifi("Café").ssid.file_name(), "=436166c3a9.psk");
        assert_eq!(wifi("../../etc/x").ssid.file_name(), "=2e2e2f2e2e2f6574632f78.psk");
        assert_eq!(wifi(".hidden").ssid.file_name(), "=2e68696464656e.psk");
    }

    #[test]
    fn what_a_name_may_hide_is_shown_escaped() {
        assert_eq!(wifi("Bob's \"net\"").ssid.shown(), "Bob's \"net\"");
        assert_eq!(wifi("a\nb\u{202e}c").ssid.shown(), "a\\nb\\u{202e}c");
    }

    #[test]
    fn a_password_is_8_to_63_letters_or_a_key() {
        assert_eq!(Passphrase::new("1234567"), Err(NoPassphrase::Length));
        assert_eq!(Passphrase::new(&"a".repeat(64)).map(String::from), Ok("a".repeat(64)));
        assert_eq!(Passphrase::new(&"z".repeat(64)), Err(NoPassphrase::Length));
        assert_eq!(Passphrase::new("passwört"), Err(NoPassphrase::Letters));
        assert_eq!(Passphrase::new("two\nlines"), Err(NoPassphrase::Letters));
        assert!(Passphrase::new("12345678").is_ok() && Passphrase::new(&"~".repeat(63)).is_ok());
    }

    #[test]
    fn a_password_is_in_no_debug_output() {
        assert_eq!(format!("{:?}", Passphrase::new("secret secret").unwrap()), "Passphrase(..)");
    }

    #[test]
    fn the_file_keeps_blanks_and_backslashes_of_a_password() {
        let text = wifi("Home").to_iwd(&Passphrase::new(" a\\b c==# ").unwrap());
        assert!(text.contains("\nPassphrase=\\sa\\\\b\\sc==#\\s\n"), "{text}");
        let text = Wifi { hidden: true, ..wifi("Home") }.to_iwd(&Passphrase::new(&"AB".repeat(32)).unwrap());
        assert!(text.contains(&format!("\nPreSharedKey={}\n", "ab".repeat(32))) && text.contains("Hidden=true"));
    }

    proptest! {
        #[test]
        fn nothing_typed_adds_a_line_or_leaves_the_folder(name in "\\PC{1,32}", password in "\\PC{0,70}") {
            if let Ok(ssid) = Ssid::new(name) {
                let file = ssid.file_name();
                prop_assert!(!file.contains('/') && !file.starts_with('.'));
                prop_assert!(!ssid.shown().chars().any(char::is_control));
                if let Ok(passphrase) = Passphrase::new(&password) {
                    let text = Wifi { ssid, hidden: false }.to_iwd(&passphrase);
                    prop_assert_eq!(text.lines().count(), 6);
                }
            }
        }
    }
}
