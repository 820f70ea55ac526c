//! The country a box stands in: what its radio may send, on which channels and how loud, is that country's law.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Code and name, in the country's own language, of those the rules are known for (Debian's `wireless-regdb`).
const COUNTRIES: &str = include_str!("countries.txt");
/// What iwd is told on every box.
const IWD: &str = include_str!("../../../overlays/common/etc/iwd/main.conf");

/// A country by its two letters (ISO 3166-1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

/// What was given is no country that radios know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is none of the countries whose rules for radios are known: two letters, such as DE")]
pub struct NoCountry;

impl Country {
    /// None: what every country allows. The kernel begins with it.
    pub const WORLD: Self = Self(*b"00");

    /// Takes small letters, too.
    pub fn new(text: &str) -> Result<Self, NoCountry> {
        let text = text.trim().to_ascii_uppercase();
        Self::all().map(|(country, _)| country).find(|country| country.as_str() == text).ok_or(NoCountry)
    }

    /// All of them by their letters, each with its name in its own language.
    pub fn all() -> impl Iterator<Item = (Self, &'static str)> {
        COUNTRIES.lines().filter_map(|line| {
            let (code, name) = line.split_once(' ')?;
            Some((Self(code.as_bytes().try_into().ok()?), name))
        })
    }

    pub fn as_str(&self) -> &str {
        // Only letters and digits of ASCII ever come in.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// In its own language; empty for [`Self::WORLD`].
    pub fn name(self) -> &'static str {
        Self::all().find(|(country, _)| *country == self).map_or("", |(_, name)| name)
    }

    /// iwd's configuration (iwd.config(5)) with the country, which it tells the kernel when it starts.
    pub fn to_iwd(self) -> String {
        IWD.replacen("[General]\n", &format!("[General]\nCountry={self}\n"), 1)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl TryFrom<String> for Country {
    type Error = NoCountry;

    fn try_from(text: String) -> Result<Self, NoCountry> {
        Self::new(&text)
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_two_letters_of_the_list() {
        assert_eq!(Country::new(" de ").map(|country| (country.as_str().to_owned(), country.name())), {
            Ok(("DE".to_owned(), "Deutschland"))
        });
        for bad in ["", "D", "DEU", "00", "98", "XX", "D\n", "d é", "UK"] {
            assert_eq!(Country::new(bad), Err(NoCountry), "{bad:?}");
        }
    }

    #[test]
    fn every_line_of_the_list_is_a_country_and_they_are_in_order() {
        let all: Vec<_> = Country::all().collect();
        assert_eq!(all.len(), COUNTRIES.lines().count());
        assert!(all.is_sorted_by(|one, other| one.0 < other.0) && all.len() > 150);
        for (country, name) in all {
            assert!(country.as_str().bytes().all(|byte| byte.is_ascii_uppercase()), "{country}");
            assert!(!name.is_empty() && name.trim() == name, "{country} {name:?}");
        }
    }

    #[test]
    fn iwd_is_told_the_country_beside_what_it_is_told_anyway() {
        let text = Country::new("BR").unwrap().to_iwd();
        assert!(text.contains("[General]\nCountry=BR\nEnableNetworkConfiguration=false\n"), "{text}");
        assert_eq!(text.replace("Country=BR\n", ""), IWD);
    }

    #[test]
    fn a_country_survives_its_file() {
        let country = Country::new("US").unwrap();
        assert_eq!(serde_json::from_str::<Country>(&serde_json::to_string(&country).unwrap()).unwrap(), country);
        assert!(serde_json::from_str::<Country>("\"00\"").is_err());
    }
}
