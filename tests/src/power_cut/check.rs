//! Whether a disk, as a power cut left it, still starts: its partition table, its boot state, and the slots that GRUB comes to.

use std::ops::Range;

use bootstate::State;
use homebolt_boot::gpt;
use twin::Slot;

use super::{
    boot_state,
    bytes::{Bytes, Cursor},
    content::{Contents, SECTOR, Starts},
};

/// Bytes at either end of a disk in which its partition table lies: head, entries, and the mark for old firmware.
const TABLE: u64 = 34 * SECTOR;

/// Where everything is on the disk, bytes.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) length: u64,
    pub(crate) esp: Range<u64>,
    pub(crate) slots: [Starts; 2],
    /// As small as an image has it.
    pub(crate) data: Range<u64>,
}

impl Layout {
    /// Of a new disk, by its partition table.
    pub(crate) fn of(disk: &impl Bytes) -> Result<Self, String> {
        let length = disk.length().map_err(|error| error.to_string())?;
        let table = gpt::read(&mut Cursor::new(disk), SECTOR, length / SECTOR).map_err(|error| error.to_string())?;
        let range = |label: &str| {
            let found = table.partitions.iter().find(|partition| partition.label == label);
            let found = found.ok_or_else(|| format!("there is no partition {label}"))?;
            Ok::<_, String>(found.first * SECTOR..(found.last + 1) * SECTOR)
        };
        let starts = |boot, root| Ok::<_, String>(Starts { boot: range(boot)?.start, root: range(root)?.start });
        let slots = [starts("boot-a", "root-a")?, starts("boot-b", "root-b")?];
        Ok(Self { length, esp: range("esp")?, slots, data: range("data")? })
    }

    /// Whether the partition table, or what GRUB reads before it knows the slot, lies there.
    pub(crate) fn decides(&self, at: u64, length: u64) -> bool {
        self.is_table(at, length) || overlaps(&self.esp, at, length)
    }

    fn is_table(&self, at: u64, length: u64) -> bool {
        overlaps(&(0..TABLE), at, length) || overlaps(&(self.length - TABLE..self.length), at, length)
    }

    /// The partitions are where they were; only the data partition may have grown.
    fn table(&self, disk: &impl Bytes) -> Result<(), String> {
        let now = Self::of(disk).map_err(|why| format!("the partition table cannot be used: {why}"))?;
        let same = |one: &Starts, other: &Starts| (one.boot, one.root) == (other.boot, other.root);
        let is_same = now.esp == self.esp
            && now.slots.iter().zip(&self.slots).all(|(now, then)| same(now, then))
            && now.data.start == self.data.start
            && now.data.end >= self.data.end;
        if is_same { Ok(()) } else { Err(format!("the partitions have moved: {now:?} instead of {self:?}")) }
    }
}

pub(crate) fn overlaps(range: &Range<u64>, at: u64, length: u64) -> bool {
    at < range.end && at + length > range.start
}

/// What was read of a disk. A write that does not touch it leaves it as it is.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    table: Result<(), String>,
    state: Result<State, String>,
    /// Where the boot state stands.
    pub(crate) places: Vec<Range<u64>>,
}

/// What becomes of a disk when the power comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The slot that GRUB takes first is whole.
    Starts,
    /// That slot is not, and after its tries comes one that is.
    FallsBack,
    /// The box stays dark, and why.
    Lost(String),
}

impl Known {
    pub(crate) fn of(disk: &impl Bytes, layout: &Layout) -> Self {
        Self {
            table: layout.table(disk),
            state: boot_state::read(disk, layout.esp.start),
            places: boot_state::places(disk, layout.esp.start),
        }
    }

    /// After a write there.
    pub(crate) fn renew(&mut self, disk: &impl Bytes, layout: &Layout, at: u64, length: u64) {
        if layout.is_table(at, length) {
            self.table = layout.table(disk);
        }
        if overlaps(&layout.esp, at, length) {
            self.state = boot_state::read(disk, layout.esp.start);
            self.places = boot_state::places(disk, layout.esp.start);
        }
    }

    pub(crate) fn judge(&self, contents: &Contents) -> Verdict {
        let state = match (&self.table, &self.state) {
            (Err(why), _) | (_, Err(why)) => return Verdict::Lost(why.clone()),
            (Ok(()), Ok(state)) => state,
        };
        let taken = boot_state::taken(state);
        match taken.iter().position(|slot| contents.whole(*slot).is_some()) {
            Some(0) => Verdict::Starts,
            Some(_) => Verdict::FallsBack,
            None => {
                let slots: Vec<_> =
                    taken.iter().map(|slot| format!("slot {slot:?}: {}", contents.describe(*slot))).collect();
                Verdict::Lost(format!("none of the slots that are taken is whole: {}", slots.join("; ")))
            }
        }
    }

    /// The slots that are taken, for a closer look.
    pub(crate) fn taken(&self) -> Vec<Slot> {
        self.state.as_ref().map(boot_state::taken).unwrap_or_default()
    }
}
