//! What came of the cuts, by what the box was doing.

use super::check::Verdict;

/// How a write was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Right behind it.
    Behind,
    /// Between two of its sectors.
    Sector,
    /// Within a sector of the boot state.
    Byte,
    /// The disk has forgotten others that it had not flushed.
    Forgotten,
}

/// So many faults are told in full.
const TOLD: usize = 8;

/// Something that the box did, from a place in the log on.
#[derive(Debug)]
struct Phase {
    name: String,
    from: u64,
    cuts: u64,
    lost: u64,
}

/// Counts.
#[derive(Debug)]
pub(crate) struct Tally {
    phases: Vec<Phase>,
    now: usize,
    kinds: [u64; 4],
    fall_backs: u64,
    looks: u64,
    faults: Vec<String>,
}

impl Tally {
    /// The phases with the place of the log where each begins.
    pub(crate) fn new(phases: &[(String, u64)]) -> Self {
        let phase = |(name, from): &(String, u64)| Phase { name: name.clone(), from: *from, cuts: 0, lost: 0 };
        Self {
            phases: phases.iter().map(phase).collect(),
            now: 0,
            kinds: [0; 4],
            fall_backs: 0,
            looks: 0,
            faults: Vec::new(),
        }
    }

    /// The log has come to that place.
    pub(crate) fn at(&mut self, place: u64) {
        while self.phases.get(self.now + 1).is_some_and(|next| next.from <= place) {
            self.now += 1;
        }
    }

    pub(crate) fn count(&mut self, kind: Kind, at: u64, verdict: &Verdict) {
        self.kinds[kind as usize] += 1;
        match verdict {
            Verdict::Starts => self.cut(Ok(())),
            Verdict::FallsBack => {
                self.fall_backs += 1;
                self.cut(Ok(()));
            }
            Verdict::Lost(why) => self.cut(Err(format!("{kind:?}, at {at} of the disk: {why}"))),
        }
    }

    /// A closer look was taken.
    pub(crate) fn look(&mut self, found: Result<(), String>) {
        self.looks += 1;
        self.cut(found.map_err(|why| format!("looked at closely: {why}")));
    }

    fn cut(&mut self, found: Result<(), String>) {
        let Some(phase) = self.phases.get_mut(self.now) else { return };
        phase.cuts += 1;
        if let Err(why) = found {
            phase.lost += 1;
            if self.faults.len() < TOLD {
                self.faults.push(format!("{}: {why}", phase.name));
            }
        }
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.phases.iter().map(|phase| phase.cuts).sum()
    }

    pub(crate) fn survived(&self) -> u64 {
        self.cuts() - self.phases.iter().map(|phase| phase.lost).sum::<u64>()
    }

    /// The first sentences of those that were not survived.
    pub(crate) fn faults(&self) -> String {
        self.faults.join("\n")
    }

    /// A line for each phase, and one with the sums.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |phase: &Phase| format!("{:>9} of {:<9} {}", phase.cuts - phase.lost, phase.cuts, phase.name);
        let mut lines: Vec<_> = self.phases.iter().map(line).collect();
        let [behind, sector, byte, forgotten] = self.kinds;
        lines.push(format!(
            "{behind} behind a write, {sector} between its sectors, {byte} within the boot state's, {forgotten} with what was \
             not flushed forgotten; {} looked at closely; {} start by way of the other slot",
            self.looks, self.fall_backs
        ));
        lines.push(format!("{} of {} cut points survived", self.survived(), self.cuts()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_belong_to_the_phase_of_their_place() {
        let mut tally = Tally::new(&[("fill".into(), 0), ("install".into(), 100), ("restart".into(), 200)]);
        for (place, verdict) in [
            (0, Verdict::Starts),
            (99, Verdict::FallsBack),
            (100, Verdict::Lost("dark".into())),
            (250, Verdict::Starts),
        ] {
            tally.at(place);
            tally.count(Kind::Behind, 7, &verdict);
        }
        tally.look(Err("damaged".into()));
        let lines = tally.lines();
        assert_eq!(lines[0].trim(), "2 of 2         fill");
        assert_eq!(lines[1].trim(), "0 of 1         install");
        assert_eq!(lines[2].trim(), "1 of 2         restart");
        assert!(lines[3].starts_with("4 behind a write") && lines[3].ends_with("1 start by way of the other slot"));
        assert_eq!(lines[4], "3 of 5 cut points survived");
        assert_eq!(tally.faults(), "install: Behind, at 7 of the disk: dark\nrestart: looked at closely: damaged");
    }
}
