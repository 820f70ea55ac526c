//! The way of an image onto a medium:
//!
//! ```text
//! clear   the first megabytes and the end are zeroed: no old partition table or RAID label stays behind; the medium is
//!         asked to zero the rest by itself, if it can
//! write   the mapped blocks, except the first megabytes
//! prove   all is read back past every cache: mapped blocks by their checksum; old data in a hole is zeroed now, and read
//!         again
//! seal    the first megabytes with the partition table, and their read-back
//! ```
//!
//! A medium that got no further than 'prove' has no partition table: it neither boots nor looks like a disk with data.
//! Holes are never skipped blindly: what looks unused to a map may have to be zero (verity, file system tables), and an
//! old slot must not come back to life. Reading is many times quicker than writing on the sticks where this matters.

use std::io::{self, Read, Write};
use std::ops::Range;

use super::medium::{Aligned, Medium};
use crate::bmap::{Bmap, Mapper};
use crate::image::fill;
use crate::progress::Progress;

/// How much is written at once: sticks are slow with less.
pub(super) const STEP: usize = 4 << 20;
/// How much is wiped at the end of the medium: a backup partition table, labels of RAID and ZFS.
const TAIL: u64 = 1 << 20;
/// The smallest piece a medium takes.
const SECTOR: usize = 512;

/// What went wrong, and where.
#[derive(Debug)]
pub(super) enum Fault {
    /// The image cannot be read any more, or is not the one that was checked.
    Source(io::Error),
    /// A read or write failed at byte `at`; the medium may be gone.
    Medium {
        doing: Doing,
        at: u64,
        source: io::Error,
        gone: bool,
    },
    /// What was read back is not what was written.
    Differs(Range<u64>),
    Interrupted {
        doing: Doing,
        at: u64,
    },
}

/// Which part of the work a fault belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Writing,
    ReadingBack,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) written: String,
    pub(super) read_back: String,
    /// Bytes of old data found in holes and zeroed.
    pub(super) swept: u64,
}

/// One flashing. `stopped` is asked before every step.
pub(super) struct Copy<'a> {
    pub(super) medium: &'a mut dyn Medium,
    /// Bytes of the medium.
    pub(super) size: u64,
    pub(super) map: &'a Bmap,
    pub(super) stopped: &'a mut dyn FnMut() -> bool,
}

impl Copy<'_> {
    /// Writes the image whose disk is `source`, and proves that it is there.
    pub(super) fn run(mut self, source: &mut impl Read) -> Result<Done, Fault> {
        self.clear()?;
        let (head, written) = self.write(source)?;
        let (swept, read_back) = self.prove(&head)?;
        self.seal(&head)?;
        Ok(Done { written, read_back, swept })
    }

    fn clear(&mut self) -> Result<(), Fault> {
        let size = self.map.image_size;
        let zeroes = Aligned::zeroed(STEP);
        let head = rounded(size.min(STEP as u64) as usize);
        self.put(0, &zeroes[..head])?;
        let tail = (self.size.min(TAIL) / SECTOR as u64) as usize * SECTOR;
        self.put((self.size / SECTOR as u64 * SECTOR as u64) - tail as u64, &zeroes[..tail])?;
        self.sync(0)?;
        self.medium.discard(0, rounded(size as usize) as u64);
        Ok(())
    }

    /// Gives back what must stand in the first step, which is not written yet.
    fn write(&mut self, source: &mut impl Read) -> Result<(Aligned, String), Fault> {
        let mut progress = Progress::new("writing", self.map.mapped_bytes());
        let mut head = Aligned::zeroed(STEP);
        let mut buffer = Aligned::zeroed(STEP);
        let (mut offset, mut written) = (0, 0);
        while offset < self.map.image_size {
            self.ask(Doing::Writing, offset)?;
            let wanted = (self.map.image_size - offset).min(STEP as u64) as usize;
            if fill(source, &mut buffer[..wanted]).map_err(Fault::Source)? < wanted {
                return Err(Fault::Source(io::ErrorKind::UnexpectedEof.into()));
            }
            buffer[wanted..].fill(0);
            for part in self.mapped(offset) {
                if offset == 0 {
                    head[part.clone()].copy_from_slice(&buffer[part.clone()]);
                } else {
                    self.put(offset + part.start as u64, &buffer[part.start..rounded(part.end)])?;
                }
                written += part.len() as u64;
                progress.at(written);
            }
            offset += wanted as u64;
        }
        self.sync(offset)?;
        Ok((head, progress.finish()))
    }

    /// Reads all but the head back. Gives the bytes of old data found in holes.
    fn prove(&mut self, head: &[u8]) -> Result<(u64, String), Fault> {
        let size = self.map.image_size;
        let mut progress = Progress::new("reading", size);
        // With the map's ranges as solid, what comes back gives the same map exactly if every checksum is right.
        let solid = self.map.ranges.iter().map(|range| range.bytes(size)).collect();
        let mut mapper = Mapper::new(solid);
        let mut buffer = Aligned::zeroed(STEP);
        let zeroes = Aligned::zeroed(STEP);
        let (mut offset, mut swept) = (0, Vec::new());
        while offset < size {
            self.ask(Doing::ReadingBack, offset)?;
            let length = (size - offset).min(STEP as u64) as usize;
            if offset == 0 {
                buffer.copy_from_slice(head);
            } else {
                self.get(offset, &mut buffer[..rounded(length)])?;
                for hole in holes(&self.mapped(offset), length) {
                    if buffer[hole.clone()] != zeroes[..hole.len()] {
                        self.put(offset + hole.start as u64, &zeroes[..rounded(hole.len())])?;
                        swept.push(offset + hole.start as u64..offset + hole.end as u64);
                        buffer[hole].fill(0);
                    }
                }
            }
            // A mapper takes everything.
            let _ = mapper.write_all(&buffer[..length]);
            offset += length as u64;
            progress.at(offset);
        }
        self.check(&mapper.finish())?;
        self.sync(offset)?;
        for hole in &swept {
            let length = (hole.end - hole.start) as usize;
            self.get(hole.start, &mut buffer[..rounded(length)])?;
            if buffer[..length] != zeroes[..length] {
                return Err(Fault::Differs(hole.clone()));
            }
        }
        Ok((swept.iter().map(|hole| hole.end - hole.start).sum(), progress.finish()))
    }

    fn check(&self, found: &Bmap) -> Result<(), Fault> {
        let size = self.map.image_size;
        let mut pairs = self.map.ranges.iter().zip(&found.ranges);
        match pairs.find(|(expected, found)| expected != found) {
            Some((expected, _)) => Err(Fault::Differs(expected.bytes(size))),
            None if *found != *self.map => Err(Fault::Differs(0..size)),
            None => Ok(()),
        }
    }

    fn seal(&mut self, head: &[u8]) -> Result<(), Fault> {
        let length = rounded(self.map.image_size.min(STEP as u64) as usize);
        self.put(0, &head[..length])?;
        self.sync(0)?;
        let mut back = Aligned::zeroed(STEP);
        self.get(0, &mut back[..length])?;
        if back[..length] == head[..length] { Ok(()) } else { Err(Fault::Differs(0..length as u64)) }
    }

    /// The parts of the step at `offset` that are mapped, relative to it.
    fn mapped(&self, offset: u64) -> Vec<Range<usize>> {
        let size = self.map.image_size;
        let end = (offset + STEP as u64).min(size);
        let first = self.map.ranges.partition_point(|range| range.bytes(size).end <= offset);
        let ranges = self.map.ranges[first..].iter().map(|range| range.bytes(size));
        let ranges = ranges.take_while(|range| range.start < end);
        ranges
            .map(|range| (range.start.max(offset) - offset) as usize..(range.end.min(end) - offset) as usize)
            .collect()
    }

    fn ask(&mut self, doing: Doing, at: u64) -> Result<(), Fault> {
        if (self.stopped)() { Err(Fault::Interrupted { doing, at }) } else { Ok(()) }
    }

    fn put(&mut self, at: u64, data: &[u8]) -> Result<(), Fault> {
        let result = self.medium.write_at(at, data);
        self.judge(Doing::Writing, at, result)
    }

    fn get(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let result = self.medium.read_at(at, buffer);
        self.judge(Doing::ReadingBack, at, result)
    }

    fn sync(&mut self, at: u64) -> Result<(), Fault> {
        let result = self.medium.sync();
        self.judge(Doing::Writing, at, result)
    }

    fn judge(&self, doing: Doing, at: u64, result: io::Result<()>) -> Result<(), Fault> {
        result.map_err(|source| Fault::Medium { doing, at, gone: !self.medium.present(), source })
    }
}

/// Up to the next whole sector: the last one may be cut short by the image's end.
fn rounded(length: usize) -> usize {
    length.next_multiple_of(SECTOR)
}

/// What `parts` leave of `0..length`.
fn holes(parts: &[Range<usize>], length: usize) -> Vec<Range<usize>> {
    let starts = std::iter::once(0).chain(parts.iter().map(|part| part.end));
    let ends = parts.iter().map(|part| part.start).chain(std::iter::once(length));
    starts.zip(ends).map(|(start, end)| start..end).filter(|hole| !hole.is_empty()).collect()
}
