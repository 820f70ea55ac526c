//! The two copies as bytes: GRUB's environment blocks, with a guard against torn writes.
//!
//! Every value has one length, so a write changes bytes in place and moves none: whatever part of it reached the disk, `SEQ`
//! (the first line, changed by each write) and `CHECK` (the last one) tell whether that is all of it.

use crate::{Counter, RECOVERIES, ROUNDS, Slot, State, TRIES};

/// A copy's file has this length, always, bytes.
pub const LENGTH: usize = 1024;

/// All lines stand within the first sector, which a disk writes whole or not at all; the rest is filled up, bytes.
pub const TEXT: usize = 512;

/// Where the copies are on the EFI partition, in the words of [`crate::fat`].
pub const COPIES: [[&str; 2]; 2] = [["FIRST", "BOOTENV"], ["SECOND", "BOOTENV"]];

const HEADER: &[u8] = b"# GRUB Environment Block\n";

/// The numbers of writes: six digits, the first not zero, as GRUB would read that as octal.
const NUMBERS: std::ops::RangeInclusive<u32> = 100_000..=999_999;

/// A copy to be written to the file of this index in [`COPIES`].
pub type Write = (usize, [u8; LENGTH]);

/// What the copies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub state: State,
    /// Which copy says it; `None` when no copy is whole, and the state is [`State::LOST`].
    pub copy: Option<usize>,
    number: u32,
    /// Both copies say the same.
    agreed: bool,
}

impl State {
    pub(crate) fn settings(&self) -> [(&'static str, String); 8] {
        let digit = |value: bool| u8::from(value).to_string();
        [
            ("ORDER", format!("{} {}", self.first, self.first.other())),
            ("A_OK", digit(self.a.ok)),
            ("A_TRY", self.a.tries.to_string()),
            ("B_OK", digit(self.b.ok)),
            ("B_TRY", self.b.tries.to_string()),
            ("FILL", self.fill.map_or("-".to_owned(), |slot| slot.to_string())),
            ("ROUND", self.round.to_string()),
            ("RECOVERY", self.recovery.to_string()),
        ]
    }
}

/// One copy, as the write of that number makes it.
pub fn encode(state: &State, number: u32) -> [u8; LENGTH] {
    let settings = state.settings();
    let lines = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>();
    let values = settings.map(|(_, value)| value).join(":");
    let text = format!("SEQ={number}\n{lines}CHECK={number}:{values}\n");
    let mut block = [b'#'; LENGTH];
    for (place, byte) in block.iter_mut().zip(HEADER.iter().chain(text.as_bytes())) {
        *place = *byte;
    }
    block
}

/// Reads a copy; `None` when it is torn, damaged or none. A block of [`TEXT`] bytes is enough.
pub fn decode(block: &[u8]) -> Option<(State, u32)> {
    let text = str::from_utf8(block.strip_prefix(HEADER)?).ok()?;
    let value = |name: &str| {
        // As in GRUB, lines that begin with '#' are remarks, and of a name set twice the last value counts.
        let mut settings =
            text.split('\n').filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        settings.rfind(|setting| setting.0 == name).map(|setting| setting.1)
    };
    let number: u32 = value("SEQ").filter(|digits| digits.len() == 6).and_then(|digits| digits.parse().ok())?;
    let digit = |name: &str, most: u8| {
        let value = value(name).filter(|value| value.len() == 1)?;
        value.parse().ok().filter(|digit: &u8| *digit <= most)
    };
    let counter = |ok: &str, tries: &str| Some(Counter { ok: digit(ok, 1)? == 1, tries: digit(tries, TRIES)? });
    let state = State {
        first: match value("ORDER")? {
            "A B" => Slot::A,
            "B A" => Slot::B,
            _ => return None,
        },
        a: counter("A_OK", "A_TRY")?,
        b: counter("B_OK", "B_TRY")?,
        fill: match value("FILL")? {
            "-" => None,
            name => Some(Slot::from_name(name)?),
        },
        round: digit("ROUND", ROUNDS - 1)?,
        recovery: digit("RECOVERY", RECOVERIES)?,
    };
    let values = state.settings().map(|(_, value)| value).join(":");
    let is_whole = NUMBERS.contains(&number) && value("CHECK")? == format!("{number}:{values}");
    is_whole.then_some((state, number))
}

/// Of both copies as they were read, the newest whole one.
pub fn choose(blocks: [Option<&[u8]>; 2]) -> Known {
    let [first, second] = blocks.map(|block| block.and_then(decode));
    let known = |copy, (state, number)| Known { state, copy: Some(copy), number, agreed: first == second };
    match (first, second) {
        (Some(first), Some(second)) if second.1 > first.1 => known(1, second),
        (Some(first), _) => known(0, first),
        (None, Some(second)) => known(1, second),
        (None, None) => Known { state: State::LOST, copy: None, number: *NUMBERS.end(), agreed: false },
    }
}

impl Known {
    /// What has to be written so that both copies say `state`, in this order, each on the disk before the next: the one that
    /// counts is the last. Nothing when they say it already.
    pub fn writes(&self, state: &State) -> Vec<Write> {
        if self.agreed && self.state == *state {
            return Vec::new();
        }
        let number = if self.number < *NUMBERS.end() { self.number + 1 } else { *NUMBERS.start() };
        let block = encode(state, number);
        let last = self.copy.unwrap_or(0);
        vec![(1 - last, block), (last, block)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Step;

    fn counters() -> impl Strategy<Value = Counter> {
        (any::<bool>(), 0..=TRIES).prop_map(|(ok, tries)| Counter { ok, tries })
    }

    fn slots() -> impl Strategy<Value = Slot> {
        prop_oneof![Just(Slot::A), Just(Slot::B)]
    }

    prop_compose! {
        fn states()(first in slots(), a in counters(), b in counters(), fill in prop::option::of(slots()),
                    round in 0..ROUNDS, recovery in 0..=RECOVERIES) -> State {
            State { first, a, b, fill, round, recovery }
        }
    }

    /// Everything that writes the boot state.
    const OPERATIONS: [fn(&mut State); 10] = [
        |state| {
            state.step();
        },
        |state| state.mark_good(Slot::A),
        |state| state.mark_good(Slot::B),
        |state| state.mark_bad(Slot::A),
        |state| state.mark_bad(Slot::B),
        |state| state.activate(Slot::A),
        |state| state.activate(Slot::B),
        |state| state.filled(Slot::B),
        State::try_again,
        State::recovered,
    ];

    fn operations() -> impl Strategy<Value = fn(&mut State)> {
        prop::sample::select(&OPERATIONS)
    }

    fn read(disk: &[[u8; LENGTH]; 2]) -> Known {
        choose([Some(&disk[0]), Some(&disk[1])])
    }

    /// Every disk that a power cut can leave of these writes: each prefix of their bytes, and each set of sectors of the one
    /// that was cut.
    fn cuts(disk: [[u8; LENGTH]; 2], writes: &[Write]) -> Vec<[[u8; LENGTH]; 2]> {
        let mut found = vec![disk];
        let mut done = disk;
        for (copy, block) in writes {
            // Behind the lines nothing changes.
            for length in (0..200).chain([TEXT, LENGTH - 1]) {
                let mut torn = done;
                torn[*copy][..length].copy_from_slice(&block[..length]);
                found.push(torn);
            }
            let mut torn = done;
            torn[*copy][TEXT..].copy_from_slice(&block[TEXT..]);
            found.push(torn);
            done[*copy] = *block;
            found.push(done);
        }
        found
    }

    #[test]
    fn a_copy_is_what_grub_reads() {
        let block = encode(&State::NEW, 100_000);
        let text = "# GRUB Environment Block\nSEQ=100000\nORDER=A B\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=0\nFILL=B\nROUND=0\n\
                    RECOVERY=0\nCHECK=100000:A B:1:0:0:0:B:0:0\n##";
        assert!(block.starts_with(text.as_bytes()), "{}", String::from_utf8_lossy(&block));
        assert_eq!(block, *include_bytes!("../../../tests/fuzz/corpus/boot_state/new"));
    }

    #[test]
    fn a_damaged_or_missing_copy_is_passed_over() {
        let good = encode(&State::NEW, 100_007);
        let newer = encode(&State::LOST, 100_008);
        assert_eq!(choose([Some(&good), Some(&newer)]).state, State::LOST);
        assert_eq!(choose([Some(&newer), Some(&good)]).copy, Some(0));
        for bad in [None, Some(&b""[..]), Some(&[0; LENGTH]), Some(&[0xff; LENGTH]), Some(&good[..100])] {
            assert_eq!(choose([bad, Some(&good)]).state, State::NEW);
            assert_eq!(choose([Some(&good), bad]).state, State::NEW);
            assert_eq!(choose([bad, bad]).state, State::LOST);
        }
    }

    #[test]
    fn what_both_copies_say_already_is_not_written_again() {
        let disk = [encode(&State::NEW, 100_007); 2];
        assert_eq!(read(&disk).writes(&State::NEW), []);
        assert_eq!(read(&[disk[0], [0; LENGTH]]).writes(&State::NEW).len(), 2, "a torn copy is made whole");
        assert_eq!(read(&[[0; LENGTH]; 2]).writes(&State::LOST).len(), 2);
    }

    #[test]
    fn after_the_last_number_the_first_follows() {
        let mut disk = [encode(&State::NEW, 999_999); 2];
        for (copy, block) in read(&disk).writes(&State::LOST) {
            disk[copy] = block;
        }
        assert_eq!(decode(&disk[0]), Some((State::LOST, 100_000)));
        assert_eq!(disk[0], disk[1]);
    }

    proptest! {
        #[test]
        fn every_state_survives_the_way_through_a_copy(state in states(), number in NUMBERS) {
            let block = encode(&state, number);
            prop_assert_eq!(decode(&block), Some((state, number)));
            prop_assert_eq!(decode(&block[..TEXT]), Some((state, number)));
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(state in states(), at in 25_usize..180, bit in 0..8_u8) {
            let mut block = encode(&state, 123_456);
            block[at] ^= 1_u8 << bit;
            if let Some(read) = decode(&block) {
                prop_assert_eq!(read, (state, 123_456), "only a remark may have changed");
            }
        }

        #[test]
        fn no_block_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..1100), headed: bool) {
            let head = if headed { HEADER } else { b"" };
            decode(&[head, &body].concat());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The promise of this crate: over any run of operations, each cut at every byte, torn by sectors, the state that is
        /// read is the one before or the one after, and the next operation stands on it as on any other.
        #[test]
        fn a_cut_at_any_byte_leaves_the_old_state_or_the_new_one(
            start in states(),
            run in prop::collection::vec((operations(), any::<prop::sample::Index>()), 1..6),
        ) {
            let mut disk = [encode(&start, 100_099); 2];
            for (operation, cut) in run {
                let known = read(&disk);
                let (old, mut new) = (known.state, known.state);
                operation(&mut new);
                let cuts = cuts(disk, &known.writes(&new));
                for torn in &cuts {
                    let found = read(torn).state;
                    prop_assert!(found == old || found == new, "{} instead of {} or {}", found, old, new);
                }
                prop_assert_eq!(read(&cuts[cuts.len() - 1]).state, new);
                // The next one begins where this one was cut.
                disk = *cut.get(&cuts);
            }
        }

        /// From what an image begins with: whatever happens, GRUB has something to start.
        #[test]
        fn something_can_be_started_after_any_run(run in prop::collection::vec(operations(), 0..40)) {
            let mut state = State::NEW;
            for operation in run {
                operation(&mut state);
                let mut next = state;
                let step = next.step();
                let starts = match step {
                    Step::Start(slot) => state.slot(slot).ok && next.slot(slot).tries <= TRIES,
                    Step::Again | Step::Broken => matches!(next.step(), Step::Start(_)),
                    Step::Recover => next.recovery <= RECOVERIES,
                };
                prop_assert!(starts, "{} after {}", next, state);
            }
        }
    }
}
