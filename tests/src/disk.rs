//! The box's disk seen from the host: its partitions, and damage that can be undone.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use gpt::{GptConfig, disk::LogicalBlockSize};

use crate::report::{Fault, Outcome};

/// Where a partition lies on the disk, bytes.
pub(crate) fn partition(disk: &Path, name: &str) -> Outcome<Range<u64>> {
    let table = GptConfig::new().writable(false).only_valid_headers(false).open(disk)?;
    let found = table.partitions().values().find(|partition| partition.name == name);
    let found = found.ok_or_else(|| Fault::Fails(format!("the disk has no partition {name}")))?;
    let size = LogicalBlockSize::Lb512;
    let (start, length) = (found.bytes_start(size)?, found.bytes_len(size)?);
    Ok(start..start + length)
}

/// Takes a partition out of both tables.
pub(crate) fn remove_partition(disk: &Path, name: &str) -> Outcome {
    let mut table = GptConfig::new().writable(true).open(disk)?;
    let found = table.partitions().iter().find(|(_, partition)| partition.name == name).map(|(id, _)| *id);
    let id = found.ok_or_else(|| Fault::Fails(format!("the disk has no partition {name}")))?;
    table.remove_partition(id);
    table.write()?;
    Ok(())
}

/// Changes to a disk that are undone when this goes.
#[derive(Debug)]
pub(crate) struct Damage {
    disk: PathBuf,
    /// Offset and bytes that were there.
    undo: Vec<(u64, Vec<u8>)>,
}

impl Damage {
    pub(crate) fn new(disk: &Path) -> Self {
        Self { disk: disk.to_owned(), undo: Vec::new() }
    }

    /// Overwrites bytes.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> Outcome {
        self.protect(at, bytes.len())?;
        put(&self.disk, at, bytes)
    }

    /// Turns each bit of some bytes around.
    pub(crate) fn flip(&mut self, at: u64, length: usize) -> Outcome {
        let bytes: Vec<u8> = get(&self.disk, at, length)?.iter().map(|byte| !byte).collect();
        self.write(at, &bytes)
    }

    /// Remembers bytes that something else is about to change.
    pub(crate) fn protect(&mut self, at: u64, length: usize) -> Outcome {
        let bytes = get(&self.disk, at, length)?;
        self.undo.push((at, bytes));
        Ok(())
    }
}

impl Drop for Damage {
    fn drop(&mut self) {
        for (at, bytes) in self.undo.iter().rev() {
            if let Err(Fault::Fails(error) | Fault::Skip(error)) = put(&self.disk, *at, bytes) {
                eprintln!("homebolt-tests: the disk stays damaged: {error}");
            }
        }
    }
}

/// Bytes of a file.
pub(crate) fn get(path: &Path, at: u64, length: usize) -> Outcome<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn put(path: &Path, at: u64, bytes: &[u8]) -> Outcome {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.write_all(bytes)?)
}

/// Where a file of a FAT32 file system begins, bytes from the start of the disk. `path` as in [`bootstate::fat`].
pub(crate) fn file_in_fat(disk: &Path, start: u64, path: &[&str]) -> Outcome<u64> {
    find_in_fat(&mut File::open(disk)?, start, path)
}

/// The same for whatever can be read as a disk.
pub(crate) fn find_in_fat(disk: &mut (impl Read + Seek), start: u64, path: &[&str]) -> Outcome<u64> {
    Ok(bootstate::fat::find(disk, start, path)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_undone_in_reverse() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk.img");
        fs::write(&disk, (0..100).collect::<Vec<u8>>()).unwrap();
        let mut damage = Damage::new(&disk);
        damage.write(10, &[0; 20]).unwrap();
        damage.flip(15, 10).unwrap();
        assert_eq!(fs::read(&disk).unwrap()[10..30], [[0; 5].as_slice(), &[255; 10], &[0; 5]].concat());
        assert!(damage.write(95, &[0; 10]).is_err(), "beyond the end");
        drop(damage);
        assert_eq!(fs::read(&disk).unwrap(), (0..100).collect::<Vec<u8>>());
    }
}
