//! What can be done about a data partition that is not usable: repair it, or set up a new one.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{fcntl::OFlag, mount::umount};

use crate::{
    data,
    disks::Disk,
    error::{At, Error},
    files, grow, program,
    state::Boot,
};

/// What `e2fsck` said, for a person who looks into it later.
const LOG: &str = "/run/homebolt/repair.log";

/// A first pass that had to begin with the copy of the first block puts that back, and leaves the rest to a second one.
const PASSES: usize = 3;

/// Checks the unmounted data partition and repairs all that can be repaired. Returns what to say.
pub fn repair(boot: &Boot) -> Result<String, Error> {
    let device = device(boot)?.ok_or_else(|| Error::Refused("The disk has no data partition.".into()))?;
    not_in_use(&device)?;
    let mut log = String::new();
    let mut said = String::new();
    for _ in 0..PASSES {
        let outcome = program::run("/sbin/e2fsck", &["-f".as_ref(), "-y".as_ref(), device.as_os_str()])?;
        log.push_str(&outcome.output);
        files::write_atomic(Path::new(LOG), log.as_bytes(), 0o644)?;
        if let Some(0..=3) = outcome.code {
            return Ok("The data partition is repaired, the box restarts.".into());
        }
        said = outcome.summary();
    }
    Err(Error::Refused(format!("The data partition could not be repaired: {said}")))
}

/// Makes a new, empty data partition in the place of the old one, or where there is none. Returns what to say.
pub fn format(boot: &Boot) -> Result<String, Error> {
    let device = match device(boot)? {
        Some(device) => device,
        None => create(boot)?,
    };
    not_in_use(&device)?;
    let arguments: Vec<&std::ffi::OsStr> =
        data::MKFS.into_iter().chain([data::LABEL]).map(AsRef::as_ref).chain([device.as_os_str()]).collect();
    program::must("/sbin/mkfs.ext4", &arguments)?;
    let target = files::folder("/run/homebolt/new-data")?;
    data::mount_at(&device, &target).at("mount the new data partition on", &target)?;
    let made = data::set_up(&target);
    nix::unistd::sync();
    umount(&target).at("unmount", target)?;
    made.map(|()| "The data partition is new and empty, the box restarts.".into())
}

fn disk(boot: &Boot) -> Result<Disk, Error> {
    let unreadable = || Error::Refused(format!("The partition table of {} cannot be read.", boot.disk));
    boot.disk.strip_prefix("/dev/").and_then(Disk::open).ok_or_else(unreadable)
}

/// The partition that the start found at fault. Where the data was moved and its disk is not there, that is the old copy.
fn device(boot: &Boot) -> Result<Option<PathBuf>, Error> {
    if boot.data.elsewhere {
        return Ok(boot.data_device.as_ref().map(PathBuf::from));
    }
    let disk = disk(boot)?;
    Ok(disk.data().and_then(|partition| disk.device(partition.number)))
}

fn create(boot: &Boot) -> Result<PathBuf, Error> {
    grow::repart(Path::new(&boot.disk))?;
    for _ in 0..50 {
        if let Some(device) = device(boot)? {
            return Ok(device);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(Error::NoPartition { disk: (&boot.disk).into(), label: "data" })
}

/// Fails when the device is mounted or held in any other way: the kernel gives an exclusive hold of it only once.
fn not_in_use(device: &Path) -> Result<(), Error> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(device);
    match opened {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            Err(Error::Refused("The data partition is in use.".into()))
        }
        Err(error) => Err(error).at("open", device),
    }
}
