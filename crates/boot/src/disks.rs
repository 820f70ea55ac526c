//! Finds the disk this system was started from, by its EFI partition's GUID, and its partitions.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::{
    error::{At, Error},
    files,
    gpt::{self, DATA_TYPE, Guid, Partition, Table},
};

/// Where the partitions of the booted disk are linked under their labels.
pub const LINKS: &str = "/dev/homebolt";

/// What tells udev of them.
const RULES: &str = "/run/udev/rules.d/60-homebolt.rules";

/// Labels of the partitions every disk has; `data` may be missing.
pub const LABELS: [&str; 5] = ["esp", "boot-a", "boot-b", "root-a", "root-b"];

/// sysfs counts in these whatever the disk's own sectors are, bytes.
const SYSFS_SECTOR: u64 = 512;

/// A disk with a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, for example `sda`.
    pub name: String,
    pub table: Table,
    /// Logical sector, bytes.
    pub sector: u64,
    /// Size in logical sectors.
    pub sectors: u64,
}

/// Who made the disk and which one it is, as it says itself; empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub serial: String,
    pub model: String,
}

impl Disk {
    /// Reads one disk; `None` when it holds no partition table or cannot be read.
    pub fn open(name: &str) -> Option<Self> {
        let folder = Path::new("/sys/block").join(name);
        let bytes = files::text(folder.join("size"))?.parse::<u64>().ok()?.checked_mul(SYSFS_SECTOR)?;
        let sector = files::text(folder.join("queue/logical_block_size"))?.parse().ok().filter(|&size| size > 0)?;
        let sectors = bytes / sector;
        let mut device = File::open(Path::new("/dev").join(name)).ok()?;
        let table = gpt::read(&mut device, sector, sectors).ok()?;
        Some(Self { name: name.to_owned(), table, sector, sectors })
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    pub fn partition(&self, label: &str) -> Option<&Partition> {
        self.table.partitions.iter().find(|partition| partition.label == label)
    }

    /// The data partition: by its type, which is ours alone, or by its label for a table made by hand.
    pub fn data(&self) -> Option<&Partition> {
        let ours = DATA_TYPE.parse().ok();
        let typed = self.table.partitions.iter().find(|partition| Some(partition.kind) == ours);
        typed.or_else(|| self.partition("data"))
    }

    /// The device of a partition, once the kernel has it.
    pub fn device(&self, number: u32) -> Option<PathBuf> {
        let entries = fs::read_dir(Path::new("/sys/block").join(&self.name)).ok()?;
        let mut found = entries
            .flatten()
            .filter(|entry| files::text(entry.path().join("partition")).is_some_and(|text| text.parse() == Ok(number)));
        found.next().map(|entry| Path::new("/dev").join(entry.file_name())).filter(|path| path.exists())
    }

    pub fn identity(&self) -> Identity {
        identity_of(&self.name)
    }

    /// Links all partitions under their labels in [`LINKS`], so that nothing later can take those of another disk.
    pub fn link(&self) -> Result<(), Error> {
        files::folder(LINKS)?;
        let mut links = Vec::new();
        for label in LABELS {
            let missing = || Error::NoPartition { disk: self.path(), label };
            let partition = self.partition(label).ok_or_else(missing)?;
            links.push((label, self.device(partition.number).ok_or_else(missing)?));
        }
        links.extend(self.data().and_then(|data| self.device(data.number)).map(|device| ("data", device)));
        for (label, device) in &links {
            link(label, device)?;
        }
        write_rules(&links)
    }

    /// The same, with the data partition of another disk.
    pub fn link_data(&self, device: &Path) -> Result<(), Error> {
        link("data", device)?;
        let own = LABELS.into_iter().filter_map(|label| {
            let partition = self.partition(label)?;
            Some((label, self.device(partition.number)?))
        });
        write_rules(&own.chain([("data", device.to_owned())]).collect::<Vec<_>>())
    }
}

fn write_rules(links: &[(&str, PathBuf)]) -> Result<(), Error> {
    files::folder(RULES.rsplit_once('/').map_or("/", |(folder, _)| folder))?;
    files::write_atomic(Path::new(RULES), rules(links).as_bytes(), 0o644)
}

/// All partitions of that GUID whose devices are there, each with its disk. More than one are copies of each other.
pub fn with_partition(guid: Guid) -> Vec<(Disk, PathBuf)> {
    let device = |disk: Disk| {
        let number = disk.table.partitions.iter().find(|partition| partition.guid == guid)?.number;
        let device = disk.device(number)?;
        Some((disk, device))
    };
    scan().into_iter().filter_map(device).collect()
}

/// The GUID of the partition with this device.
pub fn partition_of(device: &Path) -> Option<Guid> {
    scan().into_iter().find_map(|disk| {
        let partition = disk.table.partitions.iter().find(|one| disk.device(one.number).as_deref() == Some(device))?;
        Some(partition.guid)
    })
}

/// The same links as rules for udev: only what udev itself has named can be waited for by a mount unit.
fn rules(links: &[(&str, PathBuf)]) -> String {
    let rule = |(label, device): &(&str, PathBuf)| {
        let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("SUBSYSTEM==\"block\", KERNEL==\"{name}\", SYMLINK+=\"homebolt/{label}\"\n")
    };
    links.iter().map(rule).collect()
}

fn link(label: &str, device: &Path) -> Result<(), Error> {
    let path = Path::new(LINKS).join(label);
    // Left from an earlier look; a real failure shows in the next call.
    let _ = fs::remove_file(&path);
    std::os::unix::fs::symlink(device, &path).at("make the link", path)
}

/// All disks with a partition table, in the order of their names.
pub fn scan() -> Vec<Disk> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        !["loop", "ram", "zram", "dm-", "sr", "fd", "nbd", "md"].iter().any(|kind| name.starts_with(kind))
    });
    names.sort();
    names.iter().filter_map(|name| Disk::open(name)).collect()
}

/// Which of the disks is the one with this EFI partition.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    None,
    One(Disk),
    /// The names of all that claim to be it.
    Several(Vec<String>),
}

pub fn choose(disks: Vec<Disk>, esp: Guid) -> Choice {
    let mut found: Vec<Disk> =
        disks.into_iter().filter(|disk| disk.table.partitions.iter().any(|partition| partition.guid == esp)).collect();
    match found.len() {
        0 => Choice::None,
        1 => Choice::One(found.remove(0)),
        _ => Choice::Several(found.into_iter().map(|disk| disk.name).collect()),
    }
}

/// Serial number and model of the disk of that name.
pub fn identity_of(name: &str) -> Identity {
    identity(&Path::new("/sys/block").join(name))
}

/// Reads serial number and model from wherever the bus of this disk keeps them.
pub(crate) fn identity(folder: &Path) -> Identity {
    let read = |name: &str| files::text(folder.join(name)).map(|text| printable(&text)).filter(|text| !text.is_empty());
    let serial =
        read("serial").or_else(|| read("device/serial")).or_else(|| vpd_serial(folder)).or_else(|| usb_serial(folder));
    let model = read("device/model").or_else(|| read("device/name"));
    Identity { serial: serial.unwrap_or_default(), model: model.unwrap_or_default() }
}

/// SCSI and SATA: page 0x80 is a header of four bytes, the last two of them the length, and the serial number.
fn vpd_serial(folder: &Path) -> Option<String> {
    let page = files::read_limited(&folder.join("device/vpd_pg80"), 4096).ok()?;
    let serial = printable(&String::from_utf8_lossy(page.get(4..)?));
    Some(serial).filter(|serial| !serial.is_empty())
}

/// USB: the serial number stands in the folder of the USB device, some levels above that of the disk.
fn usb_serial(folder: &Path) -> Option<String> {
    let device = folder.join("device").canonicalize().ok()?;
    let serials = device.ancestors().take_while(|folder| folder.starts_with("/sys/devices") || cfg!(test)).take(8);
    serials
        .filter_map(|folder| files::text(folder.join("serial")))
        .map(|text| printable(&text))
        .find(|text| !text.is_empty())
}

/// What can be shown and typed: ASCII without control characters and without space around it.
fn printable(text: &str) -> String {
    text.chars().filter(|char| matches!(char, ' '..='~')).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESP: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER: &str = "99999999-2222-3333-4444-555555555555";

    fn partition(number: u32, kind: &str, guid: &str, label: &str) -> Partition {
        Partition {
            number,
            kind: kind.parse().unwrap(),
            guid: guid.parse().unwrap(),
            first: 1,
            last: 2,
            label: label.into(),
        }
    }

    fn disk(name: &str, partitions: Vec<Partition>) -> Disk {
        Disk { name: name.into(), table: Table { partitions, from_backup: false }, sector: 512, sectors: 4096 }
    }

    #[test]
    fn the_disk_is_chosen_by_the_guid_of_its_esp_and_never_guessed() {
        let ours = disk("sdb", vec![partition(1, OTHER, ESP, "esp")]);
        let other = disk("sda", vec![partition(1, OTHER, OTHER, "esp")]);
        let esp = ESP.parse().unwrap();
        assert_eq!(choose(vec![other.clone(), ours.clone()], esp), Choice::One(ours.clone()));
        assert_eq!(choose(vec![other], esp), Choice::None);
        let copy = Disk { name: "sdc".into(), ..ours.clone() };
        assert_eq!(choose(vec![ours, copy], esp), Choice::Several(vec!["sdb".into(), "sdc".into()]));
    }

    #[test]
    fn data_is_found_by_type_before_label() {
        let labelled = partition(5, OTHER, OTHER, "data");
        let typed = partition(6, DATA_TYPE, OTHER, "renamed");
        assert_eq!(disk("sda", vec![labelled.clone(), typed.clone()]).data(), Some(&typed));
        assert_eq!(disk("sda", vec![labelled.clone()]).data(), Some(&labelled));
        assert_eq!(disk("sda", vec![partition(5, OTHER, OTHER, "other")]).data(), None);
    }

    #[test]
    fn serial_and_model_come_from_where_each_bus_keeps_them() {
        let with = |files: &[(&str, &[u8])]| {
            let folder = tempfile::tempdir().unwrap();
            let block = folder.path().join("usb/1-1/host0/target0/block/sda");
            fs::create_dir_all(block.join("device")).unwrap();
            for (path, content) in files {
                fs::write(block.join(path), content).unwrap();
            }
            identity(&block)
        };
        let virtio = with(&[("serial", b"VIRTIO1\n")]);
        assert_eq!(virtio, Identity { serial: "VIRTIO1".into(), model: String::new() });
        let nvme = with(&[("device/serial", b"S4X  "), ("device/model", b"Samsung SSD 980   \n")]);
        assert_eq!(nvme, Identity { serial: "S4X".into(), model: "Samsung SSD 980".into() });
        let sata = with(&[("device/vpd_pg80", b"\0\x80\0\x08 WD-12\x07\n"), ("device/model", b"WDC")]);
        assert_eq!(sata.serial, "WD-12");
        let usb = with(&[("../../../../serial", b"0123ABC\n"), ("device/model", b"Ultra")]);
        assert_eq!(usb.serial, "0123ABC");
    }
}
