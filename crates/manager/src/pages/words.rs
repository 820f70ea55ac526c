//! Figures and states in plain words.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use rust_i18n::t;
use twin::LndState;

use crate::language;

/// `1.5 GB`: decimal units, as disks are sold.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // Also what would round to "1000 kB" is 1.0 MB.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// `2 days 3 hours`: the two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let mut rest = seconds;
    let mut words = Vec::new();
    for (size, name) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 && words.len() < 2 {
            let one = if count == 1 { "one" } else { "many" };
            words.push(t!(format!("words.{name}.{one}"), count = count).into_owned());
        } else if !words.is_empty() {
            break;
        }
    }
    if words.is_empty() { t!("words.moments").into() } else { words.join(" ") }
}

/// `2026-11-21 10:30 CET` in the reader's time zone, or `never` for 0.
pub(crate) fn moment(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    match time {
        Some(time) if seconds > 0 => time.to_zoned(language::zone()).strftime("%Y-%m-%d %H:%M %Z").to_string(),
        _ => t!("words.never").into(),
    }
}

/// A text in the reader's language, or else in English, and which of them it is.
pub(crate) fn in_own_language(texts: &BTreeMap<String, String>) -> (&'static str, &str) {
    let own = language::current().code();
    let text = texts.get(own).map(|text| (own, text)).or_else(|| texts.get("en").map(|text| ("en", text)));
    text.map_or((own, ""), |(language, text)| (language, text.as_str()))
}

/// An error as a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>());
    first.unwrap_or_default() + "."
}

/// How something is, for colour and sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Busy,
    Bad,
    Off,
}

impl Mood {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Bad => "bad",
            Self::Off => "off",
        }
    }
}

/// LND's state: mood, a few words, a sentence.
pub(crate) fn lnd(state: LndState) -> (Mood, Cow<'static, str>, Cow<'static, str>) {
    let (mood, key) = match state {
        LndState::Unreachable => (Mood::Off, "unreachable"),
        LndState::WaitingToStart => (Mood::Busy, "waiting"),
        LndState::NonExisting => (Mood::Good, "empty"),
        LndState::Locked => (Mood::Busy, "locked"),
        LndState::Unlocked => (Mood::Busy, "unlocked"),
        LndState::RpcActive => (Mood::Busy, "syncing"),
        LndState::ServerActive => (Mood::Good, "running"),
    };
    (mood, t!(format!("words.lnd.{key}.name")), t!(format!("words.lnd.{key}.what")))
}

/// A unit's state as systemd calls it.
pub(crate) fn unit(active: &str, sub: &str) -> (Mood, Cow<'static, str>) {
    match (active, sub) {
        ("active", "exited") => (Mood::Good, t!("words.unit.done")),
        ("active", "waiting" | "listening") => (Mood::Good, t!("words.unit.waiting")),
        ("active", _) => (Mood::Good, t!("words.unit.running")),
        ("activating", "auto-restart") => (Mood::Bad, t!("words.unit.failing")),
        ("activating" | "reloading" | "refreshing", _) => (Mood::Busy, t!("words.unit.starting")),
        ("deactivating", _) => (Mood::Busy, t!("words.unit.stopping")),
        ("failed", _) => (Mood::Bad, t!("words.unit.failed")),
        _ => (Mood::Off, t!("words.unit.off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_figures() {
        for (size, words) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_600, "1.0 MB"),
            (1_500_000_000, "1.5 GB"),
            (256_000_000_000, "256 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(size), words);
        }
    }

    #[test]
    fn times_have_their_two_largest_units() {
        for (seconds, words) in [
            (0, "less than a minute"),
            (59, "less than a minute"),
            (60, "1 minute"),
            (3_660, "1 hour 1 minute"),
            (86_400, "1 day"),
            (86_400 + 59 * 60, "1 day"),
            (2 * 86_400 + 3 * 3_600 + 60, "2 days 3 hours"),
        ] {
            assert_eq!(duration(seconds), words);
        }
    }

    #[test]
    fn moments_are_in_the_reader_s_zone() {
        let berlin = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        let manner = language::Manner::new(language::Language::German, berlin);
        let said = language::writing(manner, || (moment(1_750_000_000), moment(1_763_000_000), moment(0)));
        assert_eq!(said.0, "2025-06-15 17:06 CEST");
        assert_eq!(said.1, "2025-11-13 03:13 CET");
        assert_eq!(said.2, "nie");
    }

    #[test]
    fn moments_are_utc_where_nobody_chose_a_zone() {
        assert_eq!(moment(1_750_000_000), "2025-06-15 15:06 UTC");
        assert_eq!(moment(0), "never");
        assert_eq!(moment(u64::MAX), "never");
    }
}
