//! Reads a log of writes to a disk, in the format of Linux' dm-log-writes, as QEMU's filter `blklogwrites` makes it.
//!
//! ```text
//!  one sector       magic, version, number of entries, bytes of a sector
//!  for each entry   one sector: where, how many sectors, flags
//!                   the data: so many sectors; none for what was discarded
//! ```
//! All numbers are little-endian (Linux' Documentation/admin-guide/device-mapper/log-writes.rst). QEMU makes an entry when its
//! write is done, so the order is that in which the guest could see them done.

use std::io::{self, Read, Seek, SeekFrom};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

const FLUSH: u64 = 1;
const FORCED: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// Sectors of disks, bytes.
const SECTORS: std::ops::RangeInclusive<u32> = 512..=4096;

/// What the guest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The data stands at this place in the log, bytes.
    Write {
        data: u64,
    },
    Discard,
    /// All that was written before is on the disk.
    Flush,
    /// A word of who made the log.
    Mark,
}

/// One thing that the guest did, in bytes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) action: Action,
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// Where the entry begins in the log, bytes: what was logged before has a smaller one.
    pub(crate) place: u64,
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("it is no log of writes")]
    Magic,
    #[error("it is a log of version {0}, not {VERSION}")]
    Version(u64),
    #[error("its sectors have {0} bytes")]
    Sector(u32),
    #[error("entry {number} has the unknown flags {flags:#x}")]
    Flags { number: u64, flags: u64 },
    #[error("entry {0} lies outside of any disk")]
    Outside(u64),
    #[error("it ends within entry {0}")]
    Short(u64),
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}

/// An open log. As an iterator it gives its entries in their order, and nothing after the first fault.
#[derive(Debug)]
pub(crate) struct Log<R> {
    reader: R,
    /// Bytes.
    sector: u64,
    length: u64,
    entries: u64,
    /// Of the next entry.
    number: u64,
    place: u64,
}

impl<R: Read + Seek> Log<R> {
    pub(crate) fn open(mut reader: R) -> Result<Self, Error> {
        let length = reader.seek(SeekFrom::End(0))?;
        let mut head = [0; 28];
        reader.rewind()?;
        reader.read_exact(&mut head).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Magic,
            _ => Error::Read(error),
        })?;
        if number(&head, 0) != MAGIC {
            return Err(Error::Magic);
        }
        if number(&head, 8) != VERSION {
            return Err(Error::Version(number(&head, 8)));
        }
        let sector = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
        if !SECTORS.contains(&sector) || !sector.is_power_of_two() {
            return Err(Error::Sector(sector));
        }
        let sector = u64::from(sector);
        Ok(Self { reader, sector, length, entries: number(&head, 16), number: 0, place: sector })
    }

    /// Reads the data of a write into `buffer`, from `offset` bytes on within it.
    pub(crate) fn read(&mut self, data: u64, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.reader.seek(SeekFrom::Start(data + offset))?;
        Ok(self.reader.read_exact(buffer)?)
    }

    fn entry(&mut self) -> Result<Entry, Error> {
        let (number_of, place) = (self.number, self.place);
        let data = place + self.sector;
        if data > self.length {
            return Err(Error::Short(number_of));
        }
        let mut head = [0; 32];
        self.reader.seek(SeekFrom::Start(place))?;
        self.reader.read_exact(&mut head)?;
        let bytes = |at: usize| number(&head, at).checked_mul(self.sector).ok_or(Error::Outside(number_of));
        let (start, length, flags) = (bytes(0)?, bytes(8)?, number(&head, 16));
        start.checked_add(length).ok_or(Error::Outside(number_of))?;
        if flags & !(FLUSH | FORCED | DISCARD | MARK) != 0 {
            return Err(Error::Flags { number: number_of, flags });
        }
        // Of these, each has a kind of its own; a write that was forced to the disk is a write.
        let action = match flags & !FORCED {
            0 => Action::Write { data },
            FLUSH if length == 0 => Action::Flush,
            DISCARD => Action::Discard,
            MARK => Action::Mark,
            _ => return Err(Error::Flags { number: number_of, flags }),
        };
        let stored = match action {
            Action::Write { .. } => length,
            // Linux keeps the mark's text in the entry's own sector.
            Action::Discard | Action::Flush | Action::Mark => 0,
        };
        let next = data.checked_add(stored).filter(|next| *next <= self.length).ok_or(Error::Short(number_of))?;
        (self.number, self.place) = (number_of + 1, next);
        Ok(Entry { action, start, length, place })
    }
}

impl<R: Read + Seek> Iterator for Log<R> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.number >= self.entries {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.entries = 0;
        }
        Some(entry)
    }
}

/// A number of eight bytes.
fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// A log with sectors of 512 bytes: (sector, data) written, `None` for a flush.
    pub(crate) fn log(entries: &[Option<(u64, Vec<u8>)>]) -> Vec<u8> {
        let mut log = Vec::new();
        let sector = |numbers: &[u64], last: Option<u32>| {
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            bytes.extend(last.into_iter().flat_map(u32::to_le_bytes));
            bytes.resize(512, 0);
            bytes
        };
        log.extend(sector(&[MAGIC, VERSION, entries.len() as u64], Some(512)));
        for entry in entries {
            match entry {
                None => log.extend(sector(&[0, 0, FLUSH, 0], None)),
                Some((start, data)) => {
                    log.extend(sector(&[*start, data.len() as u64 / 512, 0, 0], None));
                    log.extend(data);
                }
            }
        }
        log
    }

    fn all(bytes: &[u8]) -> Result<Vec<Entry>, Error> {
        Log::open(Cursor::new(bytes))?.collect()
    }

    #[test]
    fn writes_and_flushes_come_in_their_order_with_their_data() {
        let bytes = log(&[Some((7, vec![1; 1024])), None, Some((2, vec![3; 512]))]);
        let entries = all(&bytes).unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.start, entry.length, entry.place)).collect();
        assert_eq!(seen, [(7 * 512, 1024, 512), (0, 0, 2048), (2 * 512, 512, 2560)]);
        assert_eq!(entries[1].action, Action::Flush);
        let Action::Write { data } = entries[2].action else { panic!("{entries:?}") };
        let mut read = [0; 100];
        Log::open(Cursor::new(&bytes)).unwrap().read(data, 412, &mut read).unwrap();
        assert_eq!(read, [3; 100]);
    }

    #[test]
    fn a_log_that_qemu_was_writing_ends_with_its_last_flush() {
        let mut bytes = log(&[Some((7, vec![1; 512])), None]);
        let whole = all(&bytes).unwrap();
        bytes.extend([9; 700]);
        assert_eq!(all(&bytes).unwrap(), whole);
    }

    #[test]
    fn what_was_discarded_and_what_was_marked_has_no_data() {
        let mut bytes = log(&[None, None, Some((7, vec![1; 512]))]);
        // Both flushes become something else: eight sectors discarded, and a mark.
        bytes[512 + 8] = 8;
        bytes[512 + 16] = DISCARD as u8;
        bytes[1024 + 16] = MARK as u8;
        let actions: Vec<_> = all(&bytes).unwrap().into_iter().map(|entry| entry.action).collect();
        assert_eq!(actions, [Action::Discard, Action::Mark, Action::Write { data: 2048 }]);
    }

    #[test]
    fn each_fault_has_its_name() {
        let good = log(&[Some((7, vec![1; 512])), None]);
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            all(&bad).unwrap_err().to_string()
        };
        assert_eq!(all(b"").unwrap_err().to_string(), "it is no log of writes");
        assert_eq!(with(0, b"x"), "it is no log of writes");
        assert_eq!(with(8, &[2]), "it is a log of version 2, not 1");
        assert_eq!(with(24, &[1, 2]), "its sectors have 513 bytes");
        assert_eq!(with(512 + 16, &[16]), "entry 0 has the unknown flags 0x10");
        assert_eq!(with(512 + 16, &[FLUSH as u8]), "entry 0 has the unknown flags 0x1");
        assert_eq!(with(512, &[0xff; 8]), "entry 0 lies outside of any disk");
        assert_eq!(with(512 + 8, &[0xff; 4]), "it ends within entry 0");
        assert_eq!(with(16, &[3]), "it ends within entry 2");
        assert_eq!(all(&good[..good.len() - 1]).unwrap_err().to_string(), "it ends within entry 1");
    }

    proptest! {
        #[test]
        fn no_log_makes_the_reader_panic_or_go_in_circles(
            head in prop::collection::vec(any::<u8>(), 0..64),
            body in prop::collection::vec(any::<u8>(), 0..4096),
            is_log: bool,
            sector in prop::sample::select(&[512_u32, 1024, 4096, 0, 3][..]),
        ) {
            let mut bytes = head;
            if is_log {
                bytes = [MAGIC, VERSION, u64::MAX].iter().flat_map(|number| number.to_le_bytes()).collect();
                bytes.extend(sector.to_le_bytes());
                bytes.resize(512, 0);
            }
            bytes.extend(body);
            if let Ok(log) = Log::open(Cursor::new(&bytes)) {
                let read: Vec<_> = log.collect();
                prop_assert!(read.len() <= bytes.len() / 512 + 1);
                for entry in read.into_iter().flatten() {
                    if let Action::Write { data } = entry.action {
                        prop_assert!(data + entry.length <= bytes.len() as u64);
                    }
                }
            }
        }

        #[test]
        fn a_damaged_entry_spoils_none_before_it(cut in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = log(&[Some((7, vec![1; 512])), None, Some((9, vec![2; 1024])), Some((1, vec![3; 512]))]);
            let whole = all(&bytes).unwrap();
            let at = 512 + cut.index(bytes.len() - 512);
            bytes[at] = byte;
            let log = Log::open(Cursor::new(&bytes)).unwrap();
            let before = whole.iter().filter(|entry| entry.place + 512 <= at as u64).count();
            let read: Vec<_> = log.take(before).map(Result::unwrap).collect();
            prop_assert_eq!(&read[..], &whole[..before]);
        }
    }
}
