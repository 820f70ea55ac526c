//! `homebolt-boot disks`: what disks there are and what is on them, for the pages. Changes not a byte of any.
//!
//! A disk that somebody plugs in is not mounted for this: its data partitions are read by `debugfs`, in a process of its own.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, sys::statvfs::statvfs};
use twin::disks::{DataPart, Disks, Obstacle, Part, Standing};

use crate::{
    console::note,
    data,
    disks::{self, Disk, Identity},
    error::{At, Error},
    files,
    gpt::{DATA_TYPE, Partition},
    marker::{self, Marker, named},
    program, seal,
    state::Boot,
};

pub const REPORT: &str = "/run/homebolt/disks.json";

/// Where the data in use is mounted.
pub const DATA: &str = "/data";

const DEBUGFS: &str = "/sbin/debugfs";
const MACHINE_ID: &str = "system/machine-id";

/// Kernel names of what is no disk that data could lie on.
const NO_DISK: [&str; 9] = ["loop", "ram", "zram", "dm-", "sr", "fd", "nbd", "md", "mtd"];

/// A file system that holds the data and room to grow: never less than this, bytes.
const LEAST: u64 = 1 << 30;

pub fn run() -> Result<(), Error> {
    let boot = Boot::read()?;
    let report = look(&boot)?;
    note(&format!("{} disks", report.disks.len()));
    files::write_json(Path::new(REPORT), &report)
}

/// Looks at all disks.
pub fn look(boot: &Boot) -> Result<Disks, Error> {
    let used = used(Path::new(DATA))?;
    let own = files::text(Path::new(DATA).join(MACHINE_ID)).unwrap_or_default();
    let mut found: Vec<twin::disks::Disk> = names().iter().filter_map(|name| one(name, boot, used, &own)).collect();
    found.sort_by_key(|disk| (!disk.booted, disk.name.clone()));
    Ok(Disks { at: files::now(), used, wallet: has_wallet(Path::new(DATA)), disks: found })
}

/// Whether a wallet was made, or is being made, in the data mounted at `root`: its password is sealed before it is made.
pub fn has_wallet(root: &Path) -> bool {
    root.join(seal::SEALED).symlink_metadata().is_ok()
}

/// What the files of the mounted file system take, bytes.
pub fn used(mounted: &Path) -> Result<u64, Error> {
    let space = statvfs(mounted).at("ask for the space of", mounted)?;
    Ok((space.blocks() - space.blocks_free()).saturating_mul(space.fragment_size()))
}

/// So large must a disk be that is to take `used` bytes of data.
pub fn needed(used: u64) -> u64 {
    (used + used / 4 + (512 << 20)).max(LEAST)
}

fn names() -> Vec<String> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // The hardware partitions of an eMMC are no place for data either.
    names
        .filter(|name| !NO_DISK.iter().any(|kind| name.starts_with(kind)))
        .filter(|name| !name.contains("boot") && !name.contains("rpmb"))
        .collect()
}

/// One disk; `None` for an empty slot of a card reader.
fn one(name: &str, boot: &Boot, used: u64, own: &str) -> Option<twin::disks::Disk> {
    let size = size(name)?;
    let path = Path::new("/dev").join(name);
    let Identity { serial, model } = disks::identity_of(name);
    let booted = boot.disk == path.to_string_lossy();
    let table = Disk::open(name);
    let live_device = boot.data_device.as_deref().map(Path::new);
    let live = table.as_ref().is_some_and(|disk| {
        disk.table
            .partitions
            .iter()
            .any(|part| live_device.is_some() && disk.device(part.number).as_deref() == live_device)
    });
    let content = Content::of(&path);
    let parts = parts(name, table.as_ref(), &content, size, live_device, own);
    let obstacle = obstacle(name, &path, size, used, booted || live, &content);
    Some(twin::disks::Disk {
        empty: parts.is_empty() && content == Content::Nothing,
        name: name.to_owned(),
        model,
        serial,
        size,
        booted,
        live,
        parts,
        obstacle,
    })
}

/// Bytes, without opening the disk.
pub fn size(name: &str) -> Option<u64> {
    let sectors: u64 = files::text(Path::new("/sys/block").join(name).join("size"))?.parse().ok()?;
    sectors.checked_mul(512).filter(|&size| size > 0)
}

fn obstacle(name: &str, path: &Path, size: u64, used: u64, ours: bool, content: &Content) -> Option<Obstacle> {
    if ours {
        return None;
    }
    let read_only = files::text(Path::new("/sys/block").join(name).join("ro")).is_some_and(|text| text != "0");
    match content {
        _ if read_only => Some(Obstacle::ReadOnly),
        Content::Unreadable => Some(Obstacle::Unreadable),
        _ if is_busy(path) => Some(Obstacle::Busy),
        _ if size < needed(used) => Some(Obstacle::Small(needed(used))),
        _ => None,
    }
}

/// Whether the disk or a part of it is mounted or held: the kernel gives an exclusive hold only once.
pub fn is_busy(path: &Path) -> bool {
    OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(path).is_err()
}

/// What `blkid` finds at the beginning of a disk or a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing that it knows.
    Nothing,
    Known(String),
    Unreadable,
}

impl Content {
    pub fn of(path: &Path) -> Self {
        let arguments = ["-p", "-o", "export"].map(std::ffi::OsStr::new);
        let asked = program::run("/sbin/blkid", &[&arguments[..], &[path.as_os_str()]].concat());
        match asked {
            Ok(outcome) => Self::judge(outcome.code, &outcome.output),
            Err(_) => Self::Unreadable,
        }
    }

    /// By the exit code and what it says: 2 is 'nothing found' and, too, 'cannot be opened', 8 'several things at once'.
    fn judge(code: Option<i32>, said: &str) -> Self {
        let value = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        match code {
            Some(0) => {
                let label = value("LABEL=").map(|label| format!(" \u{201c}{}\u{201d}", printable(&label)));
                let kind = value("TYPE=").map(|kind| kind + &label.unwrap_or_default());
                Self::Known(kind.or_else(|| value("PTTYPE=")).unwrap_or_else(|| "?".into()))
            }
            Some(2) if said.trim().is_empty() => Self::Nothing,
            Some(8) => Self::Known("?".into()),
            _ => Self::Unreadable,
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(40).collect()
}

fn parts(name: &str, table: Option<&Disk>, content: &Content, size: u64, live: Option<&Path>, own: &str) -> Vec<Part> {
    let kernel = kernel_parts(name);
    if kernel.is_empty() && table.is_none_or(|disk| disk.table.partitions.is_empty()) {
        return match content {
            Content::Known(kind) => vec![Part { size, content: kind.clone(), ..Part::default() }],
            _ => Vec::new(),
        };
    }
    kernel
        .into_iter()
        .map(|(number, device, size)| {
            let entry = table.and_then(|disk| disk.table.partitions.iter().find(|part| part.number == number));
            let content = match Content::of(&device) {
                Content::Known(kind) => kind,
                _ => String::new(),
            };
            let data = entry.filter(|entry| is_data(entry)).map(|entry| data_part(entry, &device, live, own));
            Part { label: entry.map(|entry| printable(&entry.label)).unwrap_or_default(), size, content, data }
        })
        .collect()
}

/// The partitions that the kernel knows, whatever the kind of their table: number, device, bytes.
fn kernel_parts(name: &str) -> Vec<(u32, PathBuf, u64)> {
    let entries = fs::read_dir(Path::new("/sys/block").join(name)).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf, u64)> = entries
        .filter_map(|entry| {
            let number = files::text(entry.path().join("partition"))?.parse().ok()?;
            let sectors: u64 = files::text(entry.path().join("size"))?.parse().ok()?;
            Some((number, Path::new("/dev").join(entry.file_name()), sectors.saturating_mul(512)))
        })
        .collect();
    found.sort();
    found
}

fn is_data(partition: &Partition) -> bool {
    Some(partition.kind) == DATA_TYPE.parse().ok()
}

fn data_part(entry: &Partition, device: &Path, live: Option<&Path>, own: &str) -> DataPart {
    let partition = entry.guid.to_string();
    if live == Some(device) {
        let root = Path::new(DATA);
        let host = files::text(root.join("system/hostname")).unwrap_or_default();
        let wallet = has_wallet(root);
        return DataPart { partition, standing: Standing::Live, own: true, host, wallet, ..DataPart::default() };
    }
    let read = |path: &str| peek(device, path);
    let marker = read(marker::PATH).and_then(|content| Marker::parse(&content).ok());
    let text = |path: &str| read(path).map(|content| printable(String::from_utf8_lossy(&content).trim()));
    let (standing, moved) = match marker {
        Some(Marker::Live) => (Standing::Live, None),
        Some(Marker::Moved { to, .. }) => (Standing::Moved, Some(to)),
        Some(Marker::Arriving(_)) => (Standing::Arriving, None),
        None => (Standing::Unknown, None),
    };
    DataPart {
        partition,
        standing,
        own: !own.is_empty() && text(MACHINE_ID).as_deref() == Some(own),
        host: text("system/hostname").unwrap_or_default(),
        wallet: read(seal::SEALED).is_some(),
        moved_at: moved.as_ref().map(|moved| moved.at),
        moved_to: moved.map(|moved| named(&moved.model, &moved.serial)).unwrap_or_default(),
    }
}

/// A small file of an unmounted ext4 file system of ours; `None` where it is not there.
fn peek(device: &Path, path: &str) -> Option<Vec<u8>> {
    if !data::is_ours(device) {
        return None;
    }
    let command = format!("cat /{path}");
    let arguments = ["-R".as_ref(), command.as_ref(), device.as_os_str()];
    // It says 'File not found' and ends well.
    program::answer(DEBUGFS, &arguments, b"").ok().filter(|content| !content.is_empty() && content.len() <= 64 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_blkid_says_is_told_apart() {
        let judge = |code, said| Content::judge(Some(code), said);
        assert_eq!(judge(2, ""), Content::Nothing);
        assert_eq!(judge(2, "blkid: error: /dev/sdb: No medium found\n"), Content::Unreadable);
        assert_eq!(
            judge(0, "DEVNAME=/dev/sdb1\nLABEL=films\nTYPE=ntfs\n"),
            Content::Known("ntfs \u{201c}films\u{201d}".into())
        );
        assert_eq!(judge(0, "DEVNAME=/dev/sdb\nPTTYPE=dos\n"), Content::Known("dos".into()));
        assert_eq!(judge(8, ""), Content::Known("?".into()), "several signatures are not none");
    }

    #[test]
    fn a_real_file_is_read_out_of_an_unmounted_file_system_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (image, tree) = (folder.path().join("data.img"), folder.path().join("tree"));
        fs::create_dir_all(tree.join("system")).unwrap();
        Marker::Live.write(&tree).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let arguments = ["-q", "-F", "-L", data::LABEL, "-d", tree.to_str().unwrap(), image.to_str().unwrap()];
        program::must("/sbin/mkfs.ext4", &arguments).unwrap();
        let before = fs::read(&image).unwrap();
        assert_eq!(Marker::parse(&peek(&image, marker::PATH).unwrap()), Ok(Marker::Live));
        assert_eq!(peek(&image, "system/machine-id"), None);
        assert!(fs::read(&image).unwrap() == before);
        fs::write(&image, vec![0; 1 << 20]).unwrap();
        assert_eq!(peek(&image, marker::PATH), None);
    }

    #[test]
    fn a_disk_needs_more_than_the_data_takes() {
        assert_eq!(needed(0), LEAST);
        assert!(needed(40 << 30) > 50 << 30);
    }
}
