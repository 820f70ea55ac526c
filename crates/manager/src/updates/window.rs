//! The time of day in which the box may update itself.

use jiff::{Span, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// Begins each day at a full hour by the clock on the wall, and lasts so many hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// 0 to 23.
    pub(crate) start: u8,
    /// 1 to 24.
    pub(crate) hours: u8,
}

impl Default for Window {
    /// When most people sleep.
    fn default() -> Self {
        Self { start: 3, hours: 2 }
    }
}

impl Window {
    pub(crate) fn new(start: u8, hours: u8) -> Option<Self> {
        ((0..24).contains(&start) && (1..=24).contains(&hours)).then_some(Self { start, hours })
    }

    /// Whether it is open at `now`, seconds since 1970, where the box stands.
    pub(crate) fn is_open(self, now: u64, zone: &TimeZone) -> bool {
        // One that began yesterday may still be open.
        (-1..=0).filter_map(|day| self.on(day, now, zone)).any(|(from, to)| (from..to).contains(&now))
    }

    /// When it opens next, seconds since 1970.
    pub(crate) fn next(self, now: u64, zone: &TimeZone) -> Option<u64> {
        (0..=2).filter_map(|day| self.on(day, now, zone)).map(|(from, _)| from).find(|from| *from > now)
    }

    /// From when to when it is open so many days after that of `now`. An hour that the clock leaves out begins when it is
    /// over, and of one that comes twice the first counts; how long the window lasts does not depend on the clock.
    fn on(self, day: i32, now: u64, zone: &TimeZone) -> Option<(u64, u64)> {
        let today = Timestamp::from_second(i64::try_from(now).ok()?).ok()?.to_zoned(zone.clone()).date();
        let date = today.checked_add(Span::new().days(day)).ok()?;
        let begin = date.at(i8::try_from(self.start).ok()?, 0, 0, 0).to_zoned(zone.clone()).ok()?;
        let from = u64::try_from(begin.timestamp().as_second()).ok()?;
        Some((from, from + u64::from(self.hours) * 3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970 of a moment in UTC.
    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_second() as u64
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn it_is_open_by_the_clock_of_the_place_and_not_by_utc() {
        let window = Window { start: 3, hours: 2 };
        // In winter an hour ahead, in summer two.
        for (moment, open) in [
            ("2026-01-10T01:59:59Z", false),
            ("2026-01-10T02:00:00Z", true),
            ("2026-01-10T03:59:59Z", true),
            ("2026-01-10T04:00:00Z", false),
            ("2026-07-10T00:59:59Z", false),
            ("2026-07-10T01:00:00Z", true),
            ("2026-07-10T03:00:00Z", false),
        ] {
            assert_eq!(window.is_open(at(moment), &berlin()), open, "{moment}");
        }
        assert!(window.is_open(at("2026-01-10T03:00:00Z"), &TimeZone::UTC));
        assert!(!window.is_open(at("2026-01-10T02:30:00Z"), &TimeZone::UTC));
    }

    #[test]
    fn one_over_midnight_is_still_open_on_the_next_day() {
        let window = Window { start: 23, hours: 3 };
        for (moment, open) in [
            ("2026-01-10T22:59:59Z", false),
            ("2026-01-10T23:00:00Z", true),
            ("2026-01-11T01:59:59Z", true),
            ("2026-01-11T02:00:00Z", false),
        ] {
            assert_eq!(window.is_open(at(moment), &TimeZone::UTC), open, "{moment}");
        }
    }

    #[test]
    fn an_hour_that_is_left_out_moves_it_and_one_that_comes_twice_does_not_open_it_twice() {
        let window = Window { start: 2, hours: 1 };
        // At 02:00 the clock goes to 03:00, which is 01:00 UTC.
        assert!(!window.is_open(at("2026-03-29T00:59:59Z"), &berlin()));
        assert!(window.is_open(at("2026-03-29T01:00:00Z"), &berlin()));
        assert!(!window.is_open(at("2026-03-29T02:00:00Z"), &berlin()));
        // At 03:00 it goes back to 02:00: 02:00 is 00:00 UTC, and again 01:00.
        assert!(window.is_open(at("2026-10-25T00:30:00Z"), &berlin()));
        assert!(!window.is_open(at("2026-10-25T01:30:00Z"), &berlin()));
    }

    #[test]
    fn the_next_one_is_today_or_tomorrow_and_never_now() {
        let window = Window { start: 3, hours: 2 };
        let next = |moment: &str| window.next(at(moment), &berlin());
        assert_eq!(next("2026-01-10T01:00:00Z"), Some(at("2026-01-10T02:00:00Z")));
        assert_eq!(next("2026-01-10T02:00:00Z"), Some(at("2026-01-11T02:00:00Z")));
        // The night in which summer begins is an hour shorter.
        assert_eq!(next("2026-03-28T12:00:00Z"), Some(at("2026-03-29T01:00:00Z")));
    }

    #[test]
    fn only_hours_of_a_day_make_one() {
        assert!(Window::new(23, 24).is_some() && Window::new(0, 1).is_some());
        assert!(Window::new(24, 1).is_none() && Window::new(3, 0).is_none() && Window::new(3, 25).is_none());
    }

    #[test]
    fn no_moment_makes_it_fall_over() {
        for now in [0, 1, u64::from(u32::MAX), 253_402_207_199, u64::MAX] {
            let _ = (Window::default().is_open(now, &berlin()), Window::default().next(now, &berlin()));
        }
    }
}
