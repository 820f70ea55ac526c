//! Disks as bytes at places: a file, and a file with something else laid over it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

/// Something that can be read anywhere.
pub(crate) trait Bytes {
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Bytes.
    fn length(&self) -> io::Result<u64>;
}

impl Bytes for File {
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// A disk on which some writes more than there were have arrived.
#[derive(Debug)]
pub(crate) struct Over<'a, B: ?Sized> {
    pub(crate) below: &'a B,
    /// Where, and what; of those that overlap the last one counts.
    pub(crate) writes: &'a [(u64, &'a [u8])],
}

impl<B: Bytes + ?Sized> Bytes for Over<'_, B> {
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.below.read(at, buffer)?;
        let end = at + buffer.len() as u64;
        for (start, bytes) in self.writes {
            let (from, to) = (at.max(*start), end.min(start + bytes.len() as u64));
            if from < to {
                let part = &bytes[(from - start) as usize..(to - start) as usize];
                buffer[(from - at) as usize..(to - at) as usize].copy_from_slice(part);
            }
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.below.length()
    }
}

/// Reads on from a place, for those who want a file.
#[derive(Debug)]
pub(crate) struct Cursor<'a, B: ?Sized> {
    bytes: &'a B,
    at: u64,
}

impl<'a, B: Bytes + ?Sized> Cursor<'a, B> {
    pub(crate) fn new(bytes: &'a B) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<B: Bytes + ?Sized> Read for Cursor<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.bytes.length()?.saturating_sub(self.at);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.bytes.read(self.at, &mut buffer[..length])?;
        self.at += length as u64;
        Ok(length)
    }
}

impl<B: Bytes + ?Sized> Seek for Cursor<'_, B> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a place before the disk");
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.bytes.length()?.checked_add_signed(by).ok_or_else(outside)?,
            SeekFrom::Current(by) => self.at.checked_add_signed(by).ok_or_else(outside)?,
        };
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn what_is_laid_over_is_read_as_if_it_had_been_written(
            writes in prop::collection::vec((0_usize..90, prop::collection::vec(any::<u8>(), 0..10)), 0..6),
            from in 0_usize..100,
            to in 0_usize..100,
        ) {
            let mut expected: Vec<u8> = (0..100).collect();
            let below = file(&expected);
            for (at, bytes) in &writes {
                expected[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            let writes: Vec<(u64, &[u8])> = writes.iter().map(|(at, bytes)| (*at as u64, bytes.as_slice())).collect();
            let over = Over { below: &below, writes: &writes };
            let (from, to) = (from.min(to), from.max(to));
            let mut read = vec![0; to - from];
            over.read(from as u64, &mut read).unwrap();
            prop_assert_eq!(read, &expected[from..to]);
            let mut rest = Vec::new();
            let mut cursor = Cursor::new(&over);
            cursor.seek(SeekFrom::End(-(100 - from as i64))).unwrap();
            cursor.read_to_end(&mut rest).unwrap();
            prop_assert_eq!(rest, &expected[from..]);
        }
    }

    #[test]
    fn beyond_the_end_there_is_nothing() {
        let disk = file(b"short");
        assert!(disk.read(3, &mut [0; 3]).is_err());
        let mut cursor = Cursor::new(&disk);
        assert_eq!(cursor.seek(SeekFrom::Start(9)).unwrap(), 9);
        assert_eq!(cursor.read(&mut [0; 3]).unwrap(), 0);
        assert!(cursor.seek(SeekFrom::Current(-10)).is_err());
    }
}
