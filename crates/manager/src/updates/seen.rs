//! What the box remembers of the channels it asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Key of [`Seen`] in the store.
pub(super) const KEY: &str = "updates.seen";

/// A server that answered is asked again after so long. The timer comes a few times a day at random, so this is about once
/// a day, and never at a time that all boxes share. Seconds.
const ANSWERED: u64 = 18 * 3600;
/// One that did not answer; seconds.
const SILENT: u64 = 3600;
/// What was tried by itself and failed is tried again in a later window; seconds.
const AGAIN: u64 = 20 * 3600;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seen {
    /// When the newest list that was believed was made, by the channel's name, seconds since 1970. Only rises.
    channels: BTreeMap<String, u64>,
    /// When the server was asked last, and when it last gave a list that was believed.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    /// What the box began to install by itself last, and when.
    tried: Option<(String, u64)>,
}

impl Seen {
    pub(crate) fn channel(&self, name: &str) -> u64 {
        self.channels.get(name).copied().unwrap_or_default()
    }

    /// A list of that channel was believed.
    pub(crate) fn take(&mut self, name: &str, made: u64) {
        let seen = self.channels.entry(name.to_owned()).or_default();
        *seen = made.max(*seen);
    }

    /// Whether it is time to ask. A clock that went back is no reason to wait for it.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let pause = if self.answered >= self.asked { ANSWERED } else { SILENT };
        now.checked_sub(self.asked).is_none_or(|since| since >= pause)
    }

    /// Whether the box may begin to install that version by itself.
    pub(crate) fn may_try(&self, version: &str, now: u64) -> bool {
        let tried = self.tried.as_ref().filter(|(tried, _)| tried == version);
        tried.is_none_or(|(_, at)| now.checked_sub(*at).is_none_or(|since| since >= AGAIN))
    }

    pub(crate) fn begin(&mut self, version: &str, now: u64) {
        self.tried = Some((version.to_owned(), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_channel_is_asked_about_once_a_day_and_sooner_where_it_was_silent() {
        let seen = |asked, answered| Seen { asked, answered, ..Seen::default() };
        assert!(Seen::default().is_due(NOW), "it was never asked");
        assert!(!seen(NOW, NOW).is_due(NOW) && !seen(NOW - ANSWERED + 1, NOW - ANSWERED + 1).is_due(NOW));
        assert!(seen(NOW - ANSWERED, NOW - ANSWERED).is_due(NOW));
        assert!(!seen(NOW - SILENT + 1, NOW - ANSWERED).is_due(NOW));
        assert!(seen(NOW - SILENT, NOW - ANSWERED).is_due(NOW));
        assert!(seen(NOW + 60, NOW + 60).is_due(NOW), "the clock went back");
    }

    #[test]
    fn with_a_timer_of_up_to_twelve_hours_it_is_asked_once_in_eighteen_to_thirty_hours() {
        // The timer comes each six hours, later by up to six.
        for jitter in [0, 1, 3 * 3600, 6 * 3600 - 1] {
            let seen = Seen { asked: NOW, answered: NOW, ..Seen::default() };
            let ticks = (1..10).map(|tick| NOW + tick * 6 * 3600 + jitter);
            let asked = ticks.into_iter().find(|tick| seen.is_due(*tick)).unwrap();
            assert!((18 * 3600..30 * 3600).contains(&(asked - NOW)), "{jitter}: {}", asked - NOW);
        }
    }

    #[test]
    fn what_was_seen_of_a_channel_only_rises_and_each_has_its_own() {
        let mut seen = Seen::default();
        for made in [5, 9, 7] {
            seen.take("stable", made);
        }
        assert_eq!((seen.channel("stable"), seen.channel("beta")), (9, 0));
        let kept: Seen = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
        assert_eq!(kept, seen);
    }

    #[test]
    fn what_failed_is_tried_again_on_another_day_and_another_version_at_once() {
        let mut seen = Seen::default();
        assert!(seen.may_try("1.1.0", NOW));
        seen.begin("1.1.0", NOW);
        assert!(!seen.may_try("1.1.0", NOW + AGAIN - 1) && seen.may_try("1.1.0", NOW + AGAIN));
        assert!(seen.may_try("1.2.0", NOW) && seen.may_try("1.1.0", NOW - 1));
    }
}
