//! The boot state: what GRUB and the system tell each other about the two slots. No I/O.
//!
//! It stands in two files on the EFI partition, and a power cut leaves at least one of them whole:
//!
//! ```text
//!  first/bootenv   SEQ=100041 … CHECK=…   ◄─ 2nd write       a copy is whole when its last line repeats all before it;
//!  second/bootenv  SEQ=100041 … CHECK=…   ◄─ 1st write       the whole copy with the higher number counts
//! ```
//!
//! Both writers, GRUB (`image/grub/grub.cfg`) and this crate's callers, write the copy that does not count first, in place,
//! and the other one after it: what is read is the old state until the first write is complete, and then the new one.

mod copies;
pub mod fat;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use copies::{COPIES, Known, LENGTH, TEXT, Write, choose, decode, encode};

/// One of the two places for a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Reads the name that GRUB and RAUC know it by.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "A" => Some(Self::A),
            "B" => Some(Self::B),
            _ => None,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// After so many attempts GRUB takes the other slot.
pub const TRIES: u8 = 3;
/// So many rounds over both slots are made before the recovery is started.
pub const ROUNDS: u8 = 2;
/// So often the recovery is started before GRUB takes it for broken.
pub const RECOVERIES: u8 = 3;

/// What GRUB knows of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// It may be chosen.
    pub ok: bool,
    /// Attempts since it was last marked good, at most [`TRIES`].
    pub tries: u8,
}

impl Counter {
    fn is_bootable(self) -> bool {
        self.ok && self.tries < TRIES
    }

    /// One that may be chosen and was not tried yet.
    const FRESH: Self = Self { ok: true, tries: 0 };
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The slot that is tried first.
    pub first: Slot,
    pub a: Counter,
    pub b: Counter,
    /// The slot that a fresh box has still to fill with a copy of its system.
    pub fill: Option<Slot>,
    /// Rounds over both slots that ended without a good start, fewer than [`ROUNDS`].
    pub round: u8,
    /// Starts of the recovery since it last came up, at most [`RECOVERIES`].
    pub recovery: u8,
}

/// What GRUB does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It starts this slot.
    Start(Slot),
    /// It makes a short pause and goes round once more.
    Again,
    /// It starts the recovery.
    Recover,
    /// The recovery does not come up either: a long pause, and one more round.
    Broken,
}

impl State {
    /// An image's: slot A holds its system, B is still empty.
    pub const NEW: Self = Self {
        first: Slot::A,
        a: Counter::FRESH,
        b: Counter { ok: false, tries: 0 },
        fill: Some(Slot::B),
        round: 0,
        recovery: 0,
    };

    /// What is taken when no copy can be read: both slots may be tried.
    pub const LOST: Self = Self { b: Counter::FRESH, fill: None, ..Self::NEW };

    pub fn slot(&self, slot: Slot) -> Counter {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    fn slot_mut(&mut self, slot: Slot) -> &mut Counter {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// Both slots in the order in which they are tried.
    pub fn order(&self) -> [Slot; 2] {
        [self.first, self.first.other()]
    }

    /// The slot that GRUB would try next. When all tries are used up, the one with which it begins anew.
    pub fn next(&self) -> Slot {
        self.order().into_iter().find(|slot| self.slot(*slot).is_bootable()).unwrap_or(self.first)
    }

    /// It was found healthy: nothing counts against it, and the rounds begin anew.
    pub fn mark_good(&mut self, slot: Slot) {
        *self.slot_mut(slot) = Counter::FRESH;
        (self.round, self.recovery) = (0, 0);
    }

    /// It is not to be tried: it failed, or is about to be written over.
    pub fn mark_bad(&mut self, slot: Slot) {
        *self.slot_mut(slot) = Counter { ok: false, tries: 0 };
    }

    /// It was installed and is the next to be tried.
    pub fn activate(&mut self, slot: Slot) {
        self.first = slot;
        self.mark_good(slot);
        self.fill = self.fill.filter(|fill| *fill != slot);
    }

    /// It holds a copy of the running system now.
    pub fn filled(&mut self, slot: Slot) {
        *self.slot_mut(slot) = Counter::FRESH;
        self.fill = None;
    }

    /// A person wants both tried again, but for one that is empty.
    pub fn try_again(&mut self) {
        let empty = self.fill;
        for slot in Slot::ALL.into_iter().filter(|slot| empty != Some(*slot)) {
            self.mark_good(slot);
        }
    }

    /// The recovery is up.
    pub fn recovered(&mut self) {
        self.recovery = 0;
    }

    /// What GRUB does next, and the state as it saves it before it does. `image/grub/grub.cfg` does the same; a test
    /// compares them.
    pub fn step(&mut self) -> Step {
        if let Some(slot) = self.order().into_iter().find(|slot| self.slot(*slot).is_bootable()) {
            self.slot_mut(slot).tries += 1;
            return Step::Start(slot);
        }
        let step = if self.round + 1 < ROUNDS {
            Step::Again
        } else if self.recovery < RECOVERIES {
            self.recovery += 1;
            return Step::Recover;
        } else {
            self.recovery = 0;
            Step::Broken
        };
        self.round = ROUNDS - 1;
        (self.a.tries, self.b.tries) = (0, 0);
        if !self.a.ok && !self.b.ok {
            (self.a.ok, self.b.ok) = (true, true);
        }
        step
    }
}

impl fmt::Display for State {
    /// The lines of a copy, without those that guard it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings().iter().try_for_each(|(name, value)| writeln!(formatter, "{name}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED_UP: Counter = Counter { ok: true, tries: TRIES };

    fn steps(state: &mut State, count: usize) -> Vec<Step> {
        (0..count).map(|_| state.step()).collect()
    }

    #[test]
    fn each_slot_has_three_tries_then_comes_one_more_round_and_then_the_recovery() {
        let mut state = State { first: Slot::B, ..State::LOST };
        let round = [[Step::Start(Slot::B); 3], [Step::Start(Slot::A); 3]].concat();
        assert_eq!(steps(&mut state, 6), round);
        assert_eq!(state.step(), Step::Again);
        assert_eq!(steps(&mut state, 6), round);
        assert_eq!(steps(&mut state, 3), [Step::Recover; 3]);
        assert_eq!(state.step(), Step::Broken);
        assert_eq!(steps(&mut state, 7), [round, vec![Step::Recover]].concat());
    }

    #[test]
    fn a_recovery_that_came_up_is_never_given_up() {
        let mut state = State { a: USED_UP, b: USED_UP, round: 1, ..State::LOST };
        for _ in 0..10 {
            assert_eq!(state.step(), Step::Recover);
            state.recovered();
        }
    }

    #[test]
    fn a_slot_that_is_switched_off_is_tried_only_when_both_are() {
        let mut state = State { a: USED_UP, b: Counter { ok: false, tries: 0 }, ..State::LOST };
        assert_eq!(
            steps(&mut state, 5),
            [vec![Step::Again], vec![Step::Start(Slot::A); 3], vec![Step::Recover]].concat()
        );
        state.mark_bad(Slot::A);
        state.round = 0;
        assert_eq!(steps(&mut state, 5)[4], Step::Start(Slot::B));
    }

    #[test]
    fn a_good_start_ends_the_rounds() {
        let mut state = State { a: USED_UP, b: Counter { ok: true, tries: 1 }, round: 1, ..State::LOST };
        state.mark_good(Slot::B);
        assert_eq!(state, State { a: USED_UP, ..State::LOST });
    }

    #[test]
    fn an_installed_slot_is_the_next_and_one_being_written_is_not() {
        let mut state = State::LOST;
        state.mark_bad(Slot::B);
        assert_eq!(state.next(), Slot::A);
        state.activate(Slot::B);
        assert_eq!((state.next(), state.order()), (Slot::B, [Slot::B, Slot::A]));
        state.b.tries = TRIES;
        assert_eq!(state.next(), Slot::A);
        state.a.ok = false;
        assert_eq!(state.next(), Slot::B, "with none left it begins with the first");
    }

    #[test]
    fn an_empty_slot_is_filled_once() {
        let mut state = State::NEW;
        assert_eq!(state.fill, Some(Slot::B));
        state.try_again();
        assert!(!state.b.ok, "an empty slot is not worth a try");
        state.filled(Slot::B);
        assert_eq!(state, State::LOST);
        let mut installed = State::NEW;
        installed.activate(Slot::B);
        assert_eq!(installed.fill, None, "what is installed is not to be written over");
    }
}
