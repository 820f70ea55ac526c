//! Hardware addresses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The address a network card was made with: `52:54:00:68:62:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// What was given is not the address of one card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the hardware address of a network card")]
pub struct NoMac;

impl Mac {
    /// `525400686201`: for names of files.
    pub fn plain(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = NoMac;

    fn from_str(text: &str) -> Result<Self, NoMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or(NoMac)?;
        }
        // The lowest bit of the first byte marks an address of many; nothing but zeros is no address.
        let is_card = parts.next().is_none() && bytes[0] & 1 == 0 && bytes != [0; 6];
        if is_card { Ok(Self(bytes)) } else { Err(NoMac) }
    }
}

impl TryFrom<String> for Mac {
    type Error = NoMac;

    fn try_from(text: String) -> Result<Self, NoMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_address_of_one_card_is_one() {
        let mac: Mac = "52:54:00:AB:62:01".parse().unwrap();
        assert_eq!((mac.to_string(), mac.plain()), ("52:54:00:ab:62:01".into(), "525400ab6201".into()));
        for bad in [
            "",
            "52:54:00:68:62",
            "52:54:00:68:62:01:02",
            "52:54:00:68:62:0g",
            "01:00:5e:00:00:01",
            "+5:54:00:68:62:01",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(NoMac), "{bad}");
        }
        assert_eq!("00:00:00:00:00:00".parse::<Mac>(), Err(NoMac));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fall_over(text in "\\PC*|([0-9a-f]{2}:){0,7}[0-9a-f]{2}") {
            if let Ok(mac) = text.parse::<Mac>() {
                prop_assert_eq!(mac.to_string(), text.to_lowercase());
            }
        }
    }
}
