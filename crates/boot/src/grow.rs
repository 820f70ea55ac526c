//! `homebolt-boot grow`: the data partition and its file system, up to the end of the disk.
//!
//! The partition first, then the file system, each by a tool whose steps survive a lost power; what a start did not finish
//! the next one does. Nothing happens when there is nothing to gain.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use twin::DataState;

use crate::{
    console::note,
    disks::Disk,
    error::{At, Error},
    files,
    gpt::{DATA_TYPE, Partition},
    marks::{self, Stage},
    program,
    state::Boot,
};

/// Less than this is not worth a write to the partition table, bytes.
const WORTH: u64 = 8 << 20;

/// The table's backup and its header at the disk's end, rounded up, bytes.
const TABLE: u64 = 1 << 20;

/// Bytes between the end of `data` and what comes next: another partition or the end of the disk.
pub fn room(disk: &Disk, data: &Partition) -> u64 {
    let next = disk.table.partitions.iter().map(|partition| partition.first).filter(|&first| first > data.last).min();
    let free = next.unwrap_or(disk.sectors).saturating_sub(data.last + 1).saturating_mul(disk.sector);
    if next.is_some() { free } else { free.saturating_sub(TABLE) }
}

pub fn run() -> Result<(), Error> {
    let boot = Boot::read()?;
    if boot.data.state != DataState::Ok {
        note("the data partition is not grown, as it is not usable");
        return Ok(());
    }
    if boot.data.elsewhere {
        // A partition that was made for moved data is as large as its disk.
        return Ok(());
    }
    let (disk, data) = find(&boot)?;
    let mut grown = false;
    if room(&disk, &data) >= WORTH {
        if Some(data.kind) != DATA_TYPE.parse().ok() {
            // systemd-repart goes by types: it would make a second partition.
            return Err(Error::Refused(
                "the data partition is not grown: it has another type than this box gives it".into(),
            ));
        }
        repart(Path::new(&boot.disk))?;
        grown = true;
    }
    let (disk, data) = find(&boot)?;
    let size = (data.last + 1 - data.first) * disk.sector;
    let device = disk.device(data.number).ok_or_else(|| Error::NoPartition { disk: disk.path(), label: "data" })?;
    if file_system_size(&device)? + WORTH <= size {
        program::must("/sbin/resize2fs", &[&device])?;
        grown = true;
    }
    if grown {
        let stage = Stage::Other(format!("grow:done {} MiB", size >> 20));
        note(&stage.to_string());
        marks::append(Path::new("/data"), boot.slot, &stage)?;
    }
    Ok(())
}

/// Lets `systemd-repart` grow the data partition or make a missing one. The definition names no other type, so it leaves
/// all other partitions alone. Nothing is discarded: what lay in the free space stays until it is written over.
///
/// The definition is not in `/usr/lib/repart.d`: there systemd's own service would find it, and would at each start make a
/// missing data partition anew before anybody was told.
pub fn repart(disk: &Path) -> Result<(), Error> {
    partition(disk, &[])
}

/// Gives the disk a new table with a data partition over all of it: what was on it is gone. Its GUID is random: by default
/// it would follow from the machine's id, and two disks would get the same.
pub fn repart_whole(disk: &Path) -> Result<(), Error> {
    partition(disk, &["--empty=force", "--seed=random"])
}

fn partition(disk: &Path, more: &[&str]) -> Result<(), Error> {
    let folder = files::folder("/run/homebolt/repart.d")?;
    let definition = format!("[Partition]\nType={DATA_TYPE}\nLabel=data\nSizeMinBytes=256M\n");
    files::write_atomic(&folder.join("60-data.conf"), definition.as_bytes(), 0o644)?;
    let options = ["--dry-run=no", "--discard=no", "--definitions", "/run/homebolt/repart.d"];
    let options = options.iter().chain(more).map(AsRef::as_ref);
    let arguments: Vec<&std::ffi::OsStr> = options.chain([disk.as_os_str()]).collect();
    program::must("/usr/bin/systemd-repart", &arguments).map(|_| ())
}

fn find(boot: &Boot) -> Result<(Disk, Partition), Error> {
    let missing = || Error::NoPartition { disk: (&boot.disk).into(), label: "data" };
    let disk = boot.disk.strip_prefix("/dev/").and_then(Disk::open).ok_or_else(missing)?;
    let data = disk.data().cloned().ok_or_else(missing)?;
    Ok((disk, data))
}

/// Size of the ext4 file system on the device, bytes, from its superblock.
fn file_system_size(device: &Path) -> Result<u64, Error> {
    let mut block = [0; 1024];
    let mut file = File::open(device).at("open", device)?;
    file.seek(SeekFrom::Start(1024)).and_then(|_| file.read_exact(&mut block)).at("read the superblock of", device)?;
    let number = |at: usize| u64::from(u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]));
    // s_blocks_count_hi counts only with the feature 64bit.
    let high = if number(0x60) & 0x80 != 0 { number(0x150) } else { 0 };
    Ok((high << 32 | number(0x04)).saturating_mul(1024 << number(0x18).min(6)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data, gpt::Table};

    fn disk(mebibytes: u64, ends: &[(u64, u64)]) -> Disk {
        let guid = DATA_TYPE.parse().unwrap();
        let partitions = (1..).zip(ends).map(|(number, &(first, last))| Partition {
            number,
            kind: guid,
            guid,
            first: first * 2048,
            last: last * 2048 - 1,
            label: String::new(),
        });
        Disk {
            name: "vda".into(),
            table: Table { partitions: partitions.collect(), from_backup: false },
            sector: 512,
            sectors: mebibytes * 2048,
        }
    }

    #[test]
    fn room_ends_at_the_next_partition_or_before_the_backup_table() {
        let grown = disk(100, &[(1, 10), (10, 99)]);
        assert_eq!(room(&grown, &grown.table.partitions[1]), 0);
        let fresh = disk(100, &[(1, 10), (10, 20)]);
        assert_eq!(room(&fresh, &fresh.table.partitions[1]), 79 << 20);
        let followed = disk(100, &[(10, 20), (30, 40)]);
        assert_eq!(room(&followed, &followed.table.partitions[0]), 10 << 20);
    }

    #[test]
    fn the_size_of_a_real_file_system_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.img");
        File::create(&path).unwrap().set_len(256 << 20).unwrap();
        let arguments: Vec<&str> = data::MKFS.into_iter().chain([data::LABEL, path.to_str().unwrap()]).collect();
        program::must("/sbin/mkfs.ext4", &arguments).unwrap();
        assert_eq!(file_system_size(&path).unwrap(), 256 << 20);
    }
}
