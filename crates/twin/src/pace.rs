//! How fast something goes on, and when it will be there.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// So many readings are kept.
const KEPT: usize = 20;
/// Readings closer together than this replace each other, seconds.
const APART: u64 = 15;
/// Over less time than this nothing is foretold, seconds.
const LEAST: u64 = 30;

/// Positions that were seen lately, each with its time. Only ever forward: a step back begins anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace(VecDeque<(UnixSeconds, u64)>);

impl Pace {
    pub fn add(&mut self, at: UnixSeconds, position: u64) {
        if self.0.back().is_some_and(|(when, was)| position < *was || at < *when) {
            self.0.clear();
        }
        let is_near = |readings: &VecDeque<(UnixSeconds, u64)>| {
            let last = readings.len().checked_sub(2).and_then(|before| readings.get(before));
            last.is_some_and(|(when, _)| at.saturating_sub(*when) < APART)
        };
        if is_near(&self.0) {
            self.0.pop_back();
        }
        self.0.push_back((at, position));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// Nothing goes on any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Seconds until `goal` at the pace of late; `None` where that cannot be told.
    pub fn left(&self, goal: u64) -> Option<u64> {
        let ((from, start), (to, end)) = (self.0.front()?, self.0.back()?);
        let (time, way) = (to.checked_sub(*from)?, end.checked_sub(*start)?);
        if time < LEAST || way == 0 {
            return None;
        }
        let seconds = u128::from(goal.saturating_sub(*end)) * u128::from(time) / u128::from(way);
        u64::try_from(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_done_lately() {
        let mut pace = Pace::default();
        assert_eq!(pace.left(100), None);
        pace.add(0, 0);
        pace.add(20, 10);
        assert_eq!(pace.left(100), None, "too early to tell");
        pace.add(40, 20);
        assert_eq!(pace.left(100), Some(160));
        pace.add(60, 5);
        assert_eq!(pace.left(100), None, "a step back begins anew");
    }

    #[test]
    fn a_stand_still_is_no_pace_and_many_readings_are_few() {
        let mut pace = Pace::default();
        (0..1000).for_each(|second| pace.add(second, 7));
        assert_eq!(pace.left(100), None);
        assert!(pace.0.len() <= KEPT);
        let mut pace = Pace::default();
        (0..1000).for_each(|second| pace.add(second, second));
        assert_eq!(pace.left(1099), Some(100));
    }

    proptest! {
        #[test]
        fn no_readings_make_it_fall_over(readings: Vec<(u64, u64)>, goal: u64) {
            let mut pace = Pace::default();
            readings.into_iter().for_each(|(at, position)| pace.add(at, position));
            let _ = pace.left(goal);
        }
    }
}
