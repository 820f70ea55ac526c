//! USB sticks for copies of the channel backup: found by what the kernel knows, mounted by systemd in one fixed place.
//!
//! The manager names a serial number and nothing else. Never mounted: the disk the system runs from, anything that is in
//! use, a data partition of a box like this. What is mounted can start no program and make nobody root.

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, mkdirat},
    unistd::{Gid, Uid, fchown},
};
use serde::Serialize;

use crate::{
    data,
    disks::{self, Identity},
    error::{At, Error},
    files, program,
};

/// Where a stick is mounted; the manager's unit may write here.
const MOUNT: &str = "/run/homebolt/stick";
/// The copies' folder on it.
const FOLDER: &str = "homebolt";
/// The manager's user and group.
const MANAGER: u32 = 800;
/// sysfs counts in these, bytes.
const SECTOR: u64 = 512;

/// A stick as the pages show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stick {
    serial: String,
    model: String,
    bytes: u64,
    label: String,
    /// Why it cannot be used, a sentence; empty when it can.
    fault: String,
    #[serde(skip)]
    device: PathBuf,
    #[serde(skip)]
    system: String,
}

/// What `blkid` says of a device.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    system: String,
    label: String,
}

/// All disks on USB but the one this system runs from (`boot`, for example `/dev/sda`).
pub fn list(boot: &str) -> Vec<Stick> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut names: Vec<String> = usb_disks(Path::new("/sys/block"));
    names.retain(|name| Path::new("/dev").join(name) != Path::new(boot));
    names.iter().map(|name| stick(name, &mounts)).collect()
}

fn usb_disks(block: &Path) -> Vec<String> {
    let entries = fs::read_dir(block).into_iter().flatten().flatten();
    let is_usb = |path: &Path| {
        let real = path.canonicalize().unwrap_or_default();
        real.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"))
    };
    let mut names: Vec<String> = entries
        .filter(|entry| is_usb(&entry.path()))
        .filter(|entry| files::text(entry.path().join("size")).is_some_and(|size| size != "0"))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn stick(name: &str, mounts: &str) -> Stick {
    let folder = Path::new("/sys/block").join(name);
    let Identity { serial, model } = disks::identity(&folder);
    let sectors = files::text(folder.join("size")).and_then(|size| size.parse::<u64>().ok()).unwrap_or_default();
    let devices = devices(&folder, name);
    let found = devices.iter().map(|device| (device, content(device))).find(|(_, content)| is_usable(content));
    let is_used = devices.iter().any(|device| mounted_at(mounts, device).is_some_and(|at| at != MOUNT));
    let fault = if serial.is_empty() {
        "It has no serial number by which it could be known again."
    } else if is_used {
        "It is in use by this box."
    } else if found.is_none() {
        "It has no file system that can be used: format it as FAT32 or exFAT on a computer."
    } else {
        ""
    };
    let (device, Content { system, label }) =
        found.map(|(device, content)| (device.clone(), content)).unwrap_or_default();
    let bytes = sectors.saturating_mul(SECTOR);
    Stick { serial, model, bytes, label, fault: fault.into(), device, system }
}

/// Its partitions in order, or the whole of it where there are none.
fn devices(folder: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut parts: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let number = files::text(entry.path().join("partition"))?.parse().ok()?;
            Some((number, Path::new("/dev").join(entry.file_name())))
        })
        .collect();
    parts.sort();
    if parts.is_empty() {
        return vec![Path::new("/dev").join(name)];
    }
    parts.into_iter().map(|(_, device)| device).collect()
}

fn content(device: &Path) -> Content {
    let arguments = ["-p".as_ref(), "-o".as_ref(), "export".as_ref(), device.as_os_str()];
    program::run("/sbin/blkid", &arguments).map_or_else(|_| Content::default(), |outcome| parse(&outcome.output))
}

fn parse(output: &str) -> Content {
    let value = |key: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default().chars().filter(|letter| !letter.is_control()).take(40).collect()
    };
    Content { system: value("TYPE="), label: value("LABEL=") }
}

fn is_usable(content: &Content) -> bool {
    matches!(content.system.as_str(), "vfat" | "exfat" | "ext4") && content.label != data::LABEL
}

/// Where this device is mounted. Also what the kernel writes with escapes is no plain device of ours.
fn mounted_at<'a>(mounts: &'a str, device: &Path) -> Option<&'a str> {
    let mut lines = mounts.lines().map(|line| line.split(' '));
    lines.find_map(|mut words| (Path::new(words.next()?) == device).then(|| words.next()).flatten())
}

/// Mounts the stick with that serial number; does nothing when it is mounted already.
pub fn mount(serial: &str, boot: &str) -> Result<String, Error> {
    let mut found: Vec<Stick> = list(boot).into_iter().filter(|stick| stick.serial == serial.trim()).collect();
    let stick = match (found.pop(), found.is_empty()) {
        (Some(stick), true) => stick,
        (Some(_), false) => return Err(Error::Refused("Two sticks have this serial number: unplug one.".into())),
        (None, _) => return Err(Error::Refused("This USB stick is not plugged in.".into())),
    };
    if !stick.fault.is_empty() {
        return Err(Error::Refused(stick.fault));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").at("read", "/proc/self/mounts")?;
    if mounted_at(&mounts, &stick.device) != Some(MOUNT) {
        if mounts.lines().any(|line| line.split(' ').nth(1) == Some(MOUNT)) {
            program::must("/usr/bin/systemctl", &["stop", "run-homebolt-stick.mount"])?;
        }
        files::folder(MOUNT)?;
        // Done by process 1: what this program mounts itself nobody else would see.
        let device = stick.device.display().to_string();
        let (kind, options) = (format!("--type={}", stick.system), format!("--options={}", options(&stick.system)));
        let words = ["--collect", "--no-ask-password", "--fsck=no", &kind, &options, &device, MOUNT];
        program::must("/usr/bin/systemd-mount", &words)?;
    }
    make_folder(Path::new(MOUNT), Uid::from_raw(MANAGER), Gid::from_raw(MANAGER))?;
    Ok("The stick is mounted.".into())
}

fn options(system: &str) -> String {
    let plain = "rw,nosuid,nodev,noexec,noatime";
    match system {
        "ext4" => plain.into(),
        // These know no owners: all is the manager's.
        _ => format!("{plain},uid={MANAGER},gid={MANAGER},umask=0077"),
    }
}

/// The manager's folder on the stick. Step by step and without following links: a stick may come from anyone.
fn make_folder(mount: &Path, user: Uid, group: Gid) -> Result<(), Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let path = mount.join(FOLDER);
    let root = open(mount, flags, Mode::empty()).at("open", mount)?;
    match mkdirat(root.as_fd(), FOLDER, Mode::S_IRWXU) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(error) => return Err(error).at("make the folder", path),
    }
    let folder = openat(root.as_fd(), FOLDER, flags, Mode::empty()).at("open", &path)?;
    match fchown(folder.as_fd(), Some(user), Some(group)) {
        // File systems without owners say so; there the mount's options have seen to it.
        Ok(()) | Err(nix::Error::EPERM) => Ok(()),
        Err(error) => Err(error).at("set the owner of", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disks_on_usb_with_something_in_them_are_found() {
        let sys = tempfile::tempdir().unwrap();
        let block = sys.path().join("block");
        fs::create_dir_all(&block).unwrap();
        for (name, bus, size) in [
            ("sda", "pci0/ata1/host0", "100"),
            ("sdb", "pci0/usb1/1-2/host6", "100"),
            ("sdc", "pci0/usb1/1-3/host7", "0"),
        ] {
            let device = sys.path().join("devices").join(bus).join("block").join(name);
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("size"), size).unwrap();
            std::os::unix::fs::symlink(&device, block.join(name)).unwrap();
        }
        assert_eq!(usb_disks(&block), ["sdb"]);
    }

    #[test]
    fn partitions_come_in_order_and_a_stick_without_any_is_one_itself() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(devices(folder.path(), "sdb"), [PathBuf::from("/dev/sdb")]);
        for number in [10, 2] {
            let part = folder.path().join(format!("sdb{number}"));
            fs::create_dir(&part).unwrap();
            fs::write(part.join("partition"), format!("{number}\n")).unwrap();
        }
        assert_eq!(devices(folder.path(), "sdb"), [PathBuf::from("/dev/sdb2"), PathBuf::from("/dev/sdb10")]);
    }

    #[test]
    fn a_data_partition_and_what_cannot_be_written_are_left_alone() {
        let of = |text: &str| parse(text);
        assert_eq!(
            of("DEVNAME=/dev/sdb1\nLABEL=PHOTOS\nTYPE=vfat\n"),
            Content { system: "vfat".into(), label: "PHOTOS".into() }
        );
        assert!(is_usable(&of("TYPE=exfat\n")) && is_usable(&of("TYPE=ext4\nLABEL=mine\n")));
        assert!(!is_usable(&of("TYPE=ext4\nLABEL=homebolt-data\n")));
        assert!(!is_usable(&of("TYPE=ntfs\n")) && !is_usable(&of("")));
    }

    #[test]
    fn a_mounted_device_is_known_by_its_own_name() {
        let mounts = "/dev/sda3 /data ext4 rw 0 0\n/dev/sdb1 /run/homebolt/stick vfat rw 0 0\n";
        assert_eq!(mounted_at(mounts, Path::new("/dev/sdb1")), Some(MOUNT));
        assert_eq!(mounted_at(mounts, Path::new("/dev/sdb")), None);
    }

    #[test]
    fn a_link_on_the_stick_is_not_followed() {
        let (stick, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let me = (nix::unistd::getuid(), nix::unistd::getgid());
        make_folder(stick.path(), me.0, me.1).unwrap();
        make_folder(stick.path(), me.0, me.1).unwrap();
        fs::remove_dir(stick.path().join(FOLDER)).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), stick.path().join(FOLDER)).unwrap();
        assert!(make_folder(stick.path(), me.0, me.1).is_err());
    }

    #[test]
    fn nothing_on_a_stick_starts_or_gains_rights() {
        for system in ["vfat", "exfat", "ext4"] {
            let options = options(system);
            assert!(["nosuid", "nodev", "noexec"].iter().all(|option| options.split(',').any(|word| word == *option)));
        }
    }
}
