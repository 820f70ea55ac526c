//! What an image is written to: a whole disk, opened so that nobody else uses it and that every read comes from it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use crate::disks::Disk;

/// A place for a disk image. Offsets and lengths are multiples of 512 bytes; the memory comes from [`Aligned`].
pub(super) trait Medium {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Asks the medium to make a region zero by itself. It may not be able to, and it may lie: the read-back decides.
    fn discard(&mut self, offset: u64, length: u64);
    /// Returns when all that was written would survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// Whether it is still plugged in.
    fn present(&self) -> bool;
}

/// A block device.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    /// The kernel's entry for its size: gone with the stick, 0 without a card.
    size: PathBuf,
}

impl Device {
    /// Opens a disk for this program alone (the kernel refuses while any of it is mounted or held) and without cache.
    pub(super) fn open(disk: &Disk) -> io::Result<Self> {
        let flags = (OFlag::O_EXCL | OFlag::O_DIRECT).bits();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&disk.path)?;
        Ok(Self { file, size: PathBuf::from(format!("/sys/dev/block/{}/size", disk.number)) })
    }
}

impl Medium for Device {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn discard(&mut self, offset: u64, length: u64) {
        // On a block device this zeroes if the disk can do that by itself, and fails otherwise.
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) {
            let _ = fallocate(&self.file, flags, offset, length);
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn present(&self) -> bool {
        std::fs::read_to_string(&self.size).is_ok_and(|size| size.trim() != "0")
    }
}

/// Memory at a multiple of 4096 bytes, as O_DIRECT asks for.
#[derive(Debug)]
pub(super) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(super) fn zeroed(length: usize) -> Self {
        let bytes = vec![0; length + 4096];
        let start = bytes.as_ptr().align_offset(4096);
        Self { bytes, start, length }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}
