//! Cuts the power at every write of a log.
//!
//! ```text
//!  writes      w1  w2  FLUSH  w3  w4  w5 …
//!  in order    ├───┴──────────┴─┬─┘            all up to here, the last one whole, or torn at a sector, or,
//!                               │              in the boot state's own sectors, at any byte
//!  forgetful   ├──────────┤    w4              of what was not flushed only the last write that decides what starts,
//!                                              or all such writes and none of the others
//! ```
//! The disk is one file, and each write is done to it once. What is asked after each is cheap: see [`super::check`]. A closer
//! look, which reads whole partitions, is taken now and then.

use std::{
    fs::File,
    io::{self, BufReader},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    bytes::Over,
    check::{Known, Layout, Verdict, overlaps},
    content::{Contents, SECTOR, Version},
    log::{Action, Entry, Log},
    tally::{Kind, Tally},
};
use crate::report::{Fault, Outcome, fails};

/// How close it is looked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Every write is torn at each of its sectors, not only those that decide what starts.
    pub(crate) every_sector: bool,
    /// So many closer looks in each phase, every other one in the middle of a write.
    pub(crate) looks: u64,
}

/// What a sweep begins with.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) log: &'a Path,
    /// The disk as it was before the first write; it becomes what it is after the last.
    pub(crate) disk: &'a File,
    /// Another copy of it.
    pub(crate) forgetful: &'a File,
    pub(crate) versions: &'a [Version],
    /// Where in the log each phase begins, in order; the first with the log.
    pub(crate) phases: &'a [u64],
    pub(crate) plan: Plan,
}

/// A disk that is written to, and what is known of it.
pub(crate) struct Side<'a> {
    pub(crate) disk: &'a File,
    pub(crate) layout: &'a Layout,
    pub(crate) contents: Contents,
    pub(crate) known: Known,
}

impl<'a> Side<'a> {
    fn of(disk: &'a File, layout: &'a Layout, versions: &[Version]) -> io::Result<Self> {
        let contents = Contents::of(disk, layout.slots, versions)?;
        Ok(Self { disk, layout, contents, known: Known::of(disk, layout) })
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut old = vec![0; bytes.len()];
        self.disk.read_exact_at(&mut old, at)?;
        self.contents.change(at, &old, bytes)?;
        self.disk.write_all_at(bytes, at)?;
        self.known.renew(self.disk, self.layout, at, bytes.len() as u64);
        Ok(())
    }

    fn judge(&self) -> Verdict {
        self.known.judge(&self.contents)
    }

    /// The verdict on this disk with some more writes on it, none of them in a slot.
    fn judge_with(&self, writes: &[(u64, &[u8])]) -> Verdict {
        let over = Over { below: self.disk, writes };
        let mut known = self.known.clone();
        for (at, bytes) in writes {
            known.renew(&over, self.layout, *at, bytes.len() as u64);
        }
        known.judge(&self.contents)
    }

    /// A sector of the boot state is about to be written: it is cut at each byte, and once it cannot be read at all.
    fn tear(&self, at: u64, sector: &[u8], tally: &mut Tally) {
        let lost = vec![0; sector.len()];
        let parts = (1..sector.len()).map(|length| &sector[..length]).chain([lost.as_slice()]);
        for part in parts {
            tally.count(Kind::Byte, at + part.len() as u64, &self.judge_with(&[(at, part)]));
        }
    }
}

impl Sweep<'_> {
    /// Goes through the log. `look` takes a closer look, and says what it found wrong; it is given the place in the log.
    pub(crate) fn run(&self, tally: &mut Tally, mut look: impl FnMut(&Side<'_>, u64) -> Result<(), String>) -> Outcome {
        let layout = Layout::of(self.disk).map_err(Fault::Fails)?;
        let mut side = Side::of(self.disk, &layout, self.versions)?;
        let mut kept = Side::of(self.forgetful, &layout, self.versions)?;
        let entries = self.open()?.collect::<Result<Vec<_>, _>>()?;
        let phase = |place: u64| self.phases.iter().rposition(|start| *start <= place).unwrap_or_default();
        // Writes of each phase, all and done.
        let mut writes = vec![(0_u64, 0_u64); self.phases.len().max(1)];
        for entry in entries.iter().filter(|entry| matches!(entry.action, Action::Write { .. })) {
            writes[phase(entry.place)].0 += 1;
        }
        let mut log = self.open()?;
        let mut data = |entry: &Entry, place: u64| -> Outcome<Vec<u8>> {
            let mut bytes = vec![0; usize::try_from(entry.length)?];
            log.read(place, 0, &mut bytes)?;
            Ok(bytes)
        };
        let mut unflushed = Vec::<(Entry, u64)>::new();
        for entry in &entries {
            tally.at(entry.place);
            match entry.action {
                Action::Mark => {}
                Action::Discard => return fails("something was discarded: a recorded disk must not offer that"),
                Action::Flush => {
                    for (entry, place) in unflushed.drain(..) {
                        kept.write(entry.start, &data(&entry, place)?)?;
                    }
                }
                Action::Write { data: place } => {
                    let bytes = data(entry, place)?;
                    let (all, done) = &mut writes[phase(entry.place)];
                    let looks = |done: u64| done * self.plan.looks / *all;
                    let is_look = looks(*done + 1) != looks(*done);
                    let mut within = (is_look && *done % 2 == 1).then_some(&mut look);
                    self.write(&mut side, entry, &bytes, tally, |side| {
                        within.take().map(|look| look(side, entry.place))
                    })?;
                    if is_look && *done % 2 == 0 {
                        tally.look(look(&side, entry.place));
                    }
                    unflushed.push((*entry, place));
                    if layout.decides(entry.start, entry.length) {
                        let deciding = unflushed.iter().filter(|(entry, _)| layout.decides(entry.start, entry.length));
                        let deciding = deciding.map(|(entry, place)| Ok((entry.start, data(entry, *place)?)));
                        forget(&kept, &deciding.collect::<Outcome<Vec<_>>>()?, tally);
                    }
                    *done += 1;
                }
            }
        }
        Ok(())
    }

    fn open(&self) -> Outcome<Log<BufReader<File>>> {
        Ok(Log::open(BufReader::new(File::open(self.log)?))?)
    }

    /// Does one write, piece by piece, with a cut behind each. `within` is asked in its middle.
    fn write(
        &self,
        side: &mut Side<'_>,
        entry: &Entry,
        bytes: &[u8],
        tally: &mut Tally,
        mut within: impl FnMut(&Side<'_>) -> Option<Result<(), String>>,
    ) -> Outcome {
        let half = (bytes.len() / 2).next_multiple_of(SECTOR as usize);
        let is_fine = self.plan.every_sector || side.layout.decides(entry.start, entry.length);
        let piece = if is_fine { SECTOR as usize } else { half };
        let mut end = 0;
        for part in bytes.chunks(piece.max(1)) {
            let at = entry.start + end as u64;
            if side.known.places.iter().any(|place| overlaps(place, at, part.len() as u64)) {
                side.tear(at, part, tally);
            }
            side.write(at, part)?;
            end += part.len();
            let is_last = end == bytes.len();
            tally.count(if is_last { Kind::Behind } else { Kind::Sector }, entry.start + end as u64, &side.judge());
            if end >= half
                && !is_last
                && let Some(found) = within(side)
            {
                tally.look(found);
            }
        }
        Ok(())
    }
}

/// Of what was not flushed only the last of these writes is on the disk, or all of them and nothing else.
fn forget(kept: &Side<'_>, deciding: &[(u64, Vec<u8>)], tally: &mut Tally) {
    let all: Vec<(u64, &[u8])> = deciding.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
    let Some(last) = all.last() else { return };
    tally.count(Kind::Forgotten, last.0, &kept.judge_with(&[*last]));
    if all.len() > 1 {
        tally.count(Kind::Forgotten, last.0, &kept.judge_with(&all));
    }
}
