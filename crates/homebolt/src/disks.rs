//! The disks of this computer, as `lsblk` sees them, and which of them an image may be written to.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::progress::size;

const COLUMNS: &str =
    "NAME,PATH,MAJ:MIN,TYPE,SIZE,LOG-SEC,MODEL,SERIAL,TRAN,RM,RO,MOUNTPOINTS,FSTYPE,LABEL,PTTYPE,PARTLABEL";
/// Our partition table names its sectors by 512 bytes; a disk with larger ones would look for it elsewhere.
const SECTOR: u64 = 512;

/// A block device with everything that stands on it: partitions, and what device-mapper or md makes of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Disk {
    /// As the kernel calls it, for example `sdb`.
    pub name: String,
    pub path: PathBuf,
    #[serde(rename = "maj:min")]
    pub number: String,
    /// `disk`, `part`, `loop`, `crypt`, `lvm`, `raid1`, `rom` ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes; 0 for a reader without a card.
    pub size: u64,
    #[serde(rename = "log-sec")]
    pub sector: u64,
    pub model: Option<String>,
    pub serial: Option<String>,
    /// `usb`, `sata`, `nvme`, `mmc` ...
    #[serde(rename = "tran")]
    pub transport: Option<String>,
    #[serde(rename = "rm")]
    pub removable: bool,
    #[serde(rename = "ro")]
    pub read_only: bool,
    #[serde(default)]
    pub mountpoints: Vec<Option<String>>,
    pub fstype: Option<String>,
    pub label: Option<String>,
    #[serde(rename = "pttype")]
    pub table: Option<String>,
    #[serde(rename = "partlabel")]
    pub partition: Option<String>,
    #[serde(default)]
    pub children: Vec<Disk>,
}

/// Why the disks cannot be listed, or there is none of that name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to run lsblk (it belongs to the package util-linux)")]
    Run(#[source] std::io::Error),
    #[error("lsblk failed: {0}")]
    Lsblk(String),
    #[error("failed to understand what lsblk printed")]
    Shape(#[from] serde_json::Error),
    #[error("there is no {}: plug it in, and see the list with 'homebolt flash <image>'", path.display())]
    NoDevice { path: PathBuf, source: std::io::Error },
    #[error("{} is not a disk: see the list with 'homebolt flash <image>'", .0.display())]
    NotADisk(PathBuf),
    #[error("{} is only a part of {}: name the whole disk", part.display(), disk.display())]
    Part { part: PathBuf, disk: PathBuf },
}

/// Why nothing is written to a disk, whatever is typed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this computer runs from it ({0})")]
    System(String),
    #[error("{} is mounted at {at}: run 'umount {}' first", .device.display(), .device.display())]
    Mounted { device: PathBuf, at: String },
    #[error("{} is in use as {kind}: close that first", .device.display())]
    Held { device: PathBuf, kind: String },
    #[error("it is write-protected")]
    ReadOnly,
    #[error("it has {} and the image needs {}", size(*.0), size(*.1))]
    TooSmall(u64, u64),
    #[error("its sectors have {0} bytes, the image is made for {SECTOR}")]
    Sectors(u64),
}

/// All disks and loop devices, in the kernel's order.
pub fn list() -> Result<Vec<Disk>, Error> {
    let output = Command::new("lsblk").args(["--json", "--bytes", "--output", COLUMNS]).output().map_err(Error::Run)?;
    if !output.status.success() {
        return Err(Error::Lsblk(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    parse(&output.stdout)
}

fn parse(json: &[u8]) -> Result<Vec<Disk>, Error> {
    #[derive(Deserialize)]
    struct Lsblk {
        blockdevices: Vec<Disk>,
    }
    let lsblk: Lsblk = serde_json::from_slice(json)?;
    let real = |disk: &Disk| matches!(disk.kind.as_str(), "disk" | "loop") && !disk.name.starts_with("zram");
    Ok(lsblk.blockdevices.into_iter().filter(|disk| real(disk) && disk.size > 0).collect())
}

/// The whole disk that `path` names, also by a link such as /dev/disk/by-id/...
pub fn find(path: &Path) -> Result<Disk, Error> {
    let device = path.canonicalize().map_err(|source| Error::NoDevice { path: path.into(), source })?;
    pick(list()?, &device)
}

fn pick(disks: Vec<Disk>, device: &Path) -> Result<Disk, Error> {
    for disk in disks {
        if disk.path == device {
            return Ok(disk);
        }
        // A device-mapper device goes by /dev/mapper/x in lsblk and by /dev/dm-0 in the kernel.
        if disk.below().iter().any(|child| child.path == device || child.path.canonicalize().is_ok_and(|p| p == device))
        {
            return Err(Error::Part { part: device.into(), disk: disk.path });
        }
    }
    Err(Error::NotADisk(device.into()))
}

impl Disk {
    /// Everything that stands on the disk, whatever the depth.
    fn below(&self) -> Vec<&Disk> {
        self.children.iter().flat_map(|child| [vec![child], child.below()].concat()).collect()
    }

    /// Why an image of `needed` bytes must not be written here.
    pub fn refusal(&self, needed: u64) -> Option<Refusal> {
        let all = [vec![self], self.below()].concat();
        let mounts = all.iter().flat_map(|part| part.mountpoints.iter().flatten().map(|at| (&part.path, at.as_str())));
        let mut mounts: Vec<(&PathBuf, &str)> = mounts.collect();
        mounts.sort_by_key(|(_, at)| !is_system(at));
        if let Some((device, at)) = mounts.first() {
            let (device, at) = ((*device).clone(), (*at).to_owned());
            return Some(if is_system(&at) { Refusal::System(at) } else { Refusal::Mounted { device, at } });
        }
        if let Some(held) = self.below().into_iter().find(|part| part.kind != "part") {
            return Some(Refusal::Held { device: held.path.clone(), kind: held.kind.clone() });
        }
        if self.read_only {
            return Some(Refusal::ReadOnly);
        }
        if self.sector != SECTOR {
            return Some(Refusal::Sectors(self.sector));
        }
        (self.size < needed).then_some(Refusal::TooSmall(self.size, needed))
    }

    /// What a person types to mean this disk and no other: its serial number, or, where it has none, its name.
    pub fn token(&self) -> &str {
        match self.serial.as_deref().map(str::trim) {
            None | Some("") => &self.name,
            Some(serial) => serial,
        }
    }

    /// What stands on the disk, as far as lsblk says; nothing on an empty one.
    pub fn holdings(&self) -> Option<String> {
        if self.is_ours() {
            return Some("a Homebolt box, with its data".into());
        }
        let name = |part: &Disk| {
            let kind = part.fstype.as_deref().unwrap_or("unknown");
            let label = part.label.as_deref().or(part.partition.as_deref());
            label.map_or(format!("{} {kind}", part.name), |label| format!("{} {kind} {label:?}", part.name))
        };
        let parts: Vec<String> = match (&self.fstype, &self.table, self.children.is_empty()) {
            (_, _, false) => self.children.iter().map(name).collect(),
            (Some(_), _, _) => vec![name(self)],
            (None, Some(table), _) => vec![format!("an empty {table} partition table")],
            (None, None, true) => return None,
        };
        Some(parts.join(", "))
    }

    /// Whether it has our partitions: then a wallet and its channels may be on it.
    pub fn is_ours(&self) -> bool {
        let has = |label: &str| self.children.iter().any(|part| part.partition.as_deref() == Some(label));
        has("boot-a") && has("root-a") && has("data")
    }

    /// One line: device, size, model, serial number, bus, what is on it.
    pub fn line(&self) -> String {
        let or =
            |text: &Option<String>| text.as_deref().map(str::trim).filter(|t| !t.is_empty()).unwrap_or("-").to_owned();
        let stick = if self.removable { " removable" } else { "" };
        format!(
            "{:<14} {:>8}  {:<20}  serial {:<20}  {}{stick}  {}",
            self.path.display().to_string(),
            size(self.size),
            or(&self.model),
            or(&self.serial),
            or(&self.transport),
            self.holdings().unwrap_or_else(|| "no partitions seen".into())
        )
    }
}

/// Places whose disk this computer cannot do without.
fn is_system(at: &str) -> bool {
    let top = at.split('/').nth(1);
    at == "/" || at == "[SWAP]" || matches!(top, Some("boot" | "efi" | "usr" | "var" | "etc" | "home" | "nix"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn laptop() -> Vec<Disk> {
        parse(include_bytes!("../tests/lsblk.json")).unwrap()
    }

    fn disk(name: &str) -> Disk {
        laptop().into_iter().find(|disk| disk.name == name).unwrap()
    }

    #[test]
    fn compressed_memory_optical_drives_and_empty_card_readers_are_no_disks() {
        let names: Vec<String> = laptop().into_iter().map(|disk| disk.name).collect();
        assert_eq!(names, ["nvme0n1", "sda", "sdb", "sdc", "sdd", "sdf", "mmcblk0", "loop3"]);
    }

    #[test]
    fn the_system_disk_is_refused_through_encryption_and_lvm() {
        assert_eq!(disk("nvme0n1").refusal(GB), Some(Refusal::System("/boot/efi".into())));
        let mut no_boot = disk("nvme0n1");
        no_boot.children.retain(|part| part.name == "nvme0n1p3");
        assert_eq!(no_boot.refusal(GB), Some(Refusal::System("/".into())));
        let crypt = &mut no_boot.children[0].children[0];
        crypt.children.retain(|volume| volume.name == "vg-swap");
        assert_eq!(no_boot.refusal(GB), Some(Refusal::System("[SWAP]".into())));
    }

    #[test]
    fn a_mounted_stick_is_refused_with_the_command_that_helps() {
        let refusal = disk("sdb").refusal(GB).unwrap();
        assert_eq!(refusal.to_string(), "/dev/sdb1 is mounted at /media/anna/STICK: run 'umount /dev/sdb1' first");
    }

    #[test]
    fn a_member_of_a_raid_is_refused_although_nothing_is_mounted() {
        let held = Refusal::Held { device: "/dev/md1".into(), kind: "raid1".into() };
        assert_eq!(disk("sdf").refusal(GB), Some(held));
    }

    #[test]
    fn a_disk_too_small_write_protected_or_with_large_sectors_is_refused_and_a_fit_one_is_not() {
        let fit = disk("sda");
        assert_eq!(fit.refusal(GB), None);
        assert_eq!(fit.refusal(fit.size), None);
        assert_eq!(fit.refusal(fit.size + 1), Some(Refusal::TooSmall(fit.size, fit.size + 1)));
        assert_eq!(disk("mmcblk0").refusal(GB), Some(Refusal::ReadOnly));
        let large = Disk { sector: 4096, ..fit };
        assert_eq!(large.refusal(GB), Some(Refusal::Sectors(4096)));
    }

    #[test]
    fn a_disk_without_a_serial_number_goes_by_its_name() {
        assert_eq!(disk("sda").token(), "4C530001230922107141");
        assert_eq!(disk("loop3").token(), "loop3");
        let blank = Disk { serial: Some("  ".into()), ..disk("sda") };
        assert_eq!(blank.token(), "sda");
    }

    #[test]
    fn what_stands_on_a_disk_is_said_and_a_box_of_ours_is_known() {
        assert_eq!(disk("sda").holdings(), None);
        assert_eq!(disk("sdb").holdings().unwrap(), r#"sdb1 vfat "STICK""#);
        assert_eq!(disk("sdd").holdings().unwrap(), "an empty dos partition table");
        assert!(disk("sdc").is_ours());
        assert!(disk("sdc").line().ends_with("usb removable  a Homebolt box, with its data"), "{}", disk("sdc").line());
    }

    #[test]
    fn a_partition_or_a_mapped_volume_is_not_taken_for_a_disk() {
        for (path, whole) in [("/dev/sdb1", "/dev/sdb"), ("/dev/mapper/vg-root", "/dev/nvme0n1")] {
            match pick(laptop(), Path::new(path)) {
                Err(Error::Part { disk, .. }) => assert_eq!(disk, Path::new(whole)),
                other => panic!("{path}: {other:?}"),
            }
        }
        assert!(matches!(pick(laptop(), Path::new("/dev/null")), Err(Error::NotADisk(_))));
        assert_eq!(pick(laptop(), Path::new("/dev/sda")).unwrap().name, "sda");
    }

    #[test]
    fn the_real_lsblk_is_understood_and_what_is_no_disk_is_said_to_be_none() {
        assert!(matches!(find(Path::new("/dev/null")), Err(Error::NotADisk(_))));
        assert!(matches!(find(Path::new("/dev/no-such-disk")), Err(Error::NoDevice { .. })));
    }
}
