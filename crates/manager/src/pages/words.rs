//! Figures and states in plain words.

use time::{OffsetDateTime, macros::format_description};
use twin::LndState;

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
            words.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        } else if !words.is_empty() {
            break;
        }
    }
    if words.is_empty() { "less than a minute".into() } else { words.join(" ") }
}

/// `2026-11-21 09:30 UTC`, or `never` for 0.
pub(crate) fn moment(seconds: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    match time.and_then(|time| time.format(format).ok()) {
        Some(text) if seconds > 0 => text,
        _ => "never".into(),
    }
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
pub(crate) fn lnd(state: LndState) -> (Mood, &'static str, &'static str) {
    match state {
        LndState::Unreachable => {
            (Mood::Off, "Not running", "LND does not answer. After a start of the box it takes a minute or two.")
        }
        LndState::WaitingToStart => {
            (Mood::Busy, "Starting", "LND opens its database; after an update this may take a while.")
        }
        LndState::NonExisting => {
            (Mood::Good, "Ready, no wallet yet", "LND runs. There is no wallet yet, so it holds no money.")
        }
        LndState::Locked => {
            (Mood::Busy, "Wallet locked", "LND runs, but cannot do anything until the wallet is unlocked.")
        }
        LndState::Unlocked => (Mood::Busy, "Starting", "The wallet is unlocked; LND is getting ready."),
        LndState::RpcActive => (Mood::Busy, "Catching up", "LND runs and catches up with the Bitcoin network."),
        LndState::ServerActive => (Mood::Good, "Running", "LND runs and takes part in the Lightning network."),
    }
}

/// A unit's state as systemd calls it.
pub(crate) fn unit(active: &str, sub: &str) -> (Mood, &'static str) {
    match (active, sub) {
        ("active", "exited") => (Mood::Good, "Done"),
        ("active", "waiting" | "listening") => (Mood::Good, "Waiting"),
        ("active", _) => (Mood::Good, "Running"),
        ("activating", "auto-restart") => (Mood::Bad, "Failing, tried again"),
        ("activating" | "reloading" | "refreshing", _) => (Mood::Busy, "Starting"),
        ("deactivating", _) => (Mood::Busy, "Stopping"),
        ("failed", _) => (Mood::Bad, "Failed"),
        _ => (Mood::Off, "Not running"),
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
    fn moments_are_utc() {
        assert_eq!(moment(1_750_000_000), "2025-06-15 15:06 UTC");
        assert_eq!(moment(0), "never");
        assert_eq!(moment(u64::MAX), "never");
    }
}
