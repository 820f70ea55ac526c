//! What stands in the API's JSON: amounts, times, pages.
//!
//! Amounts are strings of digits and their field says the unit. All bitcoin there is are 2.1e18 millisatoshis, and many
//! JSON parsers keep numbers above 2^53 (9.0e15) only roughly: an amount must never be a rough one.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use twin::{MilliSat, Sat};

use crate::secret::Secret;

/// What a list gives at once unless it is asked for more or less, and at most.
const USUAL: u32 = 50;
const MOST: u32 = 100;

/// An amount in an answer, whatever its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amount(u64);

impl Amount {
    /// Of another unit than satoshis and millisatoshis.
    pub(crate) fn whole(number: u64) -> Self {
        Self(number)
    }
}

impl From<MilliSat> for Amount {
    fn from(amount: MilliSat) -> Self {
        Self(amount.get())
    }
}

impl From<Sat> for Amount {
    fn from(amount: Sat) -> Self {
        Self(amount.get())
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]{1,20}$",
            "description": "An exact whole number as a string of digits; the name of the field says the unit.",
        })
    }
}

/// An amount in a request: at least 1, and below all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted(u64);

impl Wanted {
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        let is_plain = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = is_plain.then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or_else(|| D::Error::custom("an amount is a string of 1 to 18 digits, such as \"21000\""))
    }
}

impl JsonSchema for Wanted {
    fn schema_name() -> Cow<'static, str> {
        "WantedAmount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[1-9][0-9]{0,17}$",
            "description": "An exact whole number, at least 1, as a string of digits; the name of the field says the unit.",
            "examples": ["21000"],
        })
    }
}

/// Text of at most so many characters; more is refused, as the document says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Short<const MOST: usize>(pub(crate) String);

impl<'de, const MOST: usize> Deserialize<'de> for Short<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.chars().nth(MOST) {
            None => Ok(Self(text)),
            Some(_) => Err(D::Error::custom(format!("a text has more than {MOST} characters"))),
        }
    }
}

impl<const MOST: usize> JsonSchema for Short<MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Short{MOST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MOST })
    }
}

/// A secret in a request, of at most so many characters. It shows in no debug output and is erased after use.
#[derive(Debug)]
pub(crate) struct Hidden<const MOST: usize>(pub(crate) Secret<String>);

impl<const MOST: usize> Default for Hidden<MOST> {
    fn default() -> Self {
        Self(Secret::new(String::new()))
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Hidden<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Short::<MOST>::deserialize(deserializer).map(|text| Self(Secret::new(text.0)))
    }
}

impl<const MOST: usize> JsonSchema for Hidden<MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Hidden{MOST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MOST, "format": "password" })
    }
}

/// A moment, in RFC 3339 and UTC. Inside: seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    /// Of a field in which 0 stands for never.
    pub(crate) fn unless_never(seconds: u64) -> Option<Self> {
        (seconds > 0).then_some(Self(seconds))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let moment = i64::try_from(self.0).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        // What is no moment of this calendar's four-digit years came from a clock that knew nothing.
        let moment = moment.filter(|moment| moment.year() <= 9999).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        serializer.serialize_str(&moment.format(&Rfc3339).unwrap_or_default())
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "description": "RFC 3339, always UTC." })
    }
}

/// Some of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// What to give as `cursor` for those that follow; null after the last.
    pub(crate) next: Option<String>,
    /// When this was last read from the node; null where it was read just now.
    pub(crate) as_of: Option<Time>,
}

impl<T> Page<T> {
    pub(crate) fn read_at(self, since: Option<u64>) -> Self {
        Self { as_of: since.map(Time), ..self }
    }
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    /// How many at most [default: 50].
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
    /// The `next` of the page before; none: from the beginning.
    #[schemars(regex(pattern = r"^[0-9]{1,15}$"))]
    cursor: Option<String>,
}

impl Part {
    /// At least 1.
    pub(crate) fn limit(&self) -> Result<u32, String> {
        match self.limit {
            None => Ok(USUAL),
            Some(limit) if (1..=MOST).contains(&limit) => Ok(limit),
            Some(limit) => Err(format!("the limit {limit} is not between 1 and {MOST}")),
        }
    }

    pub(crate) fn cursor(&self) -> Result<Option<u64>, String> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let is_plain = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        match is_plain.then(|| text.parse().ok()).flatten() {
            Some(number) => Ok(Some(number)),
            None => Err("this is no cursor: give the 'next' of the page before, or none".into()),
        }
    }

    /// Of a list that is at hand as a whole: the cursor is how many to leave out.
    pub(crate) fn of<T, U>(&self, all: &[T], show: impl Fn(&T) -> U) -> Result<Page<U>, String> {
        let (limit, from) = (self.limit()? as usize, self.cursor()?.unwrap_or_default());
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(all.len());
        let items: Vec<U> = all.iter().skip(from).take(limit).map(show).collect();
        let next = from + items.len();
        Ok(Page { items, next: (next < all.len()).then(|| next.to_string()), as_of: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_strings_both_ways() {
        assert_eq!(serde_json::to_string(&Amount(2_100_000_000_000_000_001)).unwrap(), "\"2100000000000000001\"");
        assert_eq!(serde_json::from_str::<Wanted>("\"21000\"").unwrap().get(), 21_000);
        for bad in [
            "21000",
            "\"0\"",
            "\"\"",
            "\"-1\"",
            "\"+1\"",
            "\"1.5\"",
            "\"01\"",
            "\"1000000000000000000\"",
            "1e3",
            "null",
        ] {
            assert!(serde_json::from_str::<Wanted>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_refused() {
        assert_eq!(serde_json::from_str::<Short<2>>("\"\u{e9}b\"").unwrap().0, "\u{e9}b");
        assert!(serde_json::from_str::<Short<2>>("\"abc\"").is_err());
    }

    #[test]
    fn times_are_rfc_3339_and_a_mad_clock_breaks_nothing() {
        assert_eq!(serde_json::to_string(&Time(1_750_000_000)).unwrap(), "\"2025-06-15T15:06:40Z\"");
        assert_eq!(serde_json::to_string(&Time(u64::MAX)).unwrap(), "\"1970-01-01T00:00:00Z\"");
    }

    #[test]
    fn a_list_is_paged_without_a_gap() {
        let all: Vec<u32> = (0..120).collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = Part { limit: Some(50), cursor }.of(&all, |number| *number).unwrap();
            seen.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        assert!(Part { limit: Some(0), cursor: None }.of(&all, |number| *number).is_err());
        assert!(Part { limit: Some(101), cursor: None }.limit().is_err());
        for bad in ["", "x", "-1", "1e3", "9999999999999999"] {
            assert!(Part { limit: None, cursor: Some(bad.into()) }.cursor().is_err(), "{bad}");
        }
        let past = Part { limit: None, cursor: Some("999".into()) }.of(&all, |number| *number).unwrap();
        assert!(past.items.is_empty() && past.next.is_none());
    }
}
