//! The disk that the data goes to: whether it may be used, its new partition, and that it is still there.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    mount::{MntFlags, umount, umount2},
    sys::statvfs::statvfs,
};
use twin::disks::Obstacle;

use super::{
    job::{Job, Wish, new_id},
    start_again, stop_lnd, tree,
};
use crate::{
    data,
    disks::{self, Disk},
    error::{At, Error},
    files, grow,
    marker::{Marker, Moved, named},
    program,
    state::Boot,
    survey::{self, DATA, needed},
};

/// Where the new partition is mounted while it is filled.
const MOUNT: &str = "/run/homebolt/new-data";

/// Less than this must not be left when all is copied, bytes.
const SPARE: u64 = 64 << 20;

/// Finds the disk that is meant, and refuses it when it is another by now, must not be used, or was not confirmed.
pub fn check(wish: &Wish, boot: &Boot) -> Result<twin::disks::Disk, Error> {
    let disks = survey::look(boot)?;
    let disk = same(wish, disks.disks)?;
    decide(&disk, &wish.confirm, disks.used).map_err(Error::Refused)?;
    Ok(disk)
}

fn same(wish: &Wish, disks: Vec<twin::disks::Disk>) -> Result<twin::disks::Disk, Error> {
    let found = disks.into_iter().find(|disk| {
        disk.name == wish.disk && disk.serial == wish.serial && (wish.size == 0 || disk.size == wish.size)
    });
    found.ok_or_else(|| Error::Refused("That disk is not there any more. Look at the list of disks again.".into()))
}

/// Whether the data may be moved to the disk; the error is a sentence for the owner.
fn decide(disk: &twin::disks::Disk, confirm: &str, used: u64) -> Result<(), String> {
    if disk.live {
        return Err("The data lies on that disk already.".into());
    }
    match disk.obstacle {
        Some(Obstacle::Busy) => return Err("Something on that disk is in use.".into()),
        Some(Obstacle::ReadOnly) => return Err("That disk can only be read.".into()),
        Some(Obstacle::Unreadable) => return Err("That disk cannot be read.".into()),
        Some(Obstacle::Small(bytes)) => {
            return Err(format!("That disk is too small: the data needs {} MB.", bytes / 1_000_000));
        }
        None => {}
    }
    if disk.booted {
        // Back to the partition that it came from. Nothing but the old copy is overwritten.
        let room = disk.parts.iter().find(|part| part.data.is_some()).map_or(0, |part| part.size);
        return if room >= needed(used) { Ok(()) } else { Err("There is not enough room on that disk.".into()) };
    }
    let word = disk.erase_word();
    if disk.empty || confirm.trim() == word {
        return Ok(());
    }
    Err(format!("Nothing was erased: what was typed is not {word:?}."))
}

/// The new partition, mounted.
pub struct Target {
    /// The kernel's name of its disk.
    disk: String,
    device: PathBuf,
    /// GUID of the partition.
    pub partition: String,
    named: String,
}

impl Target {
    pub fn root(&self) -> &Path {
        Path::new(MOUNT)
    }

    /// Unmounts and mounts again, so that what is read afterwards comes from the disk.
    pub fn reopen(&self) -> Result<(), Error> {
        self.close()?;
        data::mount_at(&self.device, self.root()).at("mount the new data partition on", MOUNT)
    }

    pub fn close(&self) -> Result<(), Error> {
        umount(MOUNT).at("unmount", MOUNT)
    }

    pub fn has_room(&self, used: u64) -> Result<(), Error> {
        let space = statvfs(MOUNT).at("ask for the space of", MOUNT)?;
        let free = space.blocks_available().saturating_mul(space.fragment_size());
        if free > used.saturating_add(SPARE) {
            return Ok(());
        }
        Err(Error::Refused(format!("The disk {} has not enough room for the data.", self.named)))
    }

    /// Says so when the disk is not there any more: that explains all other errors.
    pub fn explain(&self, error: Error) -> Error {
        if survey::size(&self.disk).is_none() || !self.device.exists() {
            return Error::Refused(format!("The disk {} was unplugged, or does not answer any more.", self.named));
        }
        error
    }
}

/// Makes the partition and its file system anew and marks it as one that waits for its data.
pub fn prepare(job: &Job, boot: &Boot) -> Result<Target, Error> {
    // A move that was cut off has left its own beginnings there: what the owner typed still stands for them.
    let disk = check(&job.wish, boot)?;
    leave();
    if job.home {
        return prepare_home(job, boot);
    }
    let path = Path::new("/dev").join(&disk.name);
    grow::repart_whole(&path)?;
    let (partition, device) = wait_for_data(&disk.name)?;
    let arguments: Vec<&std::ffi::OsStr> =
        data::MKFS.into_iter().chain([data::LABEL]).map(AsRef::as_ref).chain([device.as_os_str()]).collect();
    program::must("/sbin/mkfs.ext4", &arguments)?;
    files::folder(MOUNT)?;
    data::mount_at(&device, Path::new(MOUNT)).at("mount the new data partition on", MOUNT)?;
    data::make_folders(Path::new(MOUNT))?;
    Marker::Arriving(job.id.clone()).write(Path::new(MOUNT))?;
    Ok(Target { disk: disk.name, device, partition, named: named(&disk.model, &disk.serial) })
}

/// The old copy on the booted disk gives way. Its marker stays the whole time: the box finds its data by it.
fn prepare_home(job: &Job, boot: &Boot) -> Result<Target, Error> {
    let missing = || Error::NoPartition { disk: (&boot.disk).into(), label: "data" };
    let disk = boot.disk.strip_prefix("/dev/").and_then(Disk::open).ok_or_else(missing)?;
    let data = disk.data().ok_or_else(missing)?;
    let device = disk.device(data.number).ok_or_else(missing)?;
    let root = Path::new(MOUNT);
    let to = match data::open(&device, root)? {
        Ok(Marker::Moved { to, .. }) => to,
        Ok(_) => return Err(Error::Refused("The partition on the box's own disk is no old copy of this data.".into())),
        Err((_, sentence)) => return Err(Error::Refused(sentence)),
    };
    Marker::Moved { to, arriving: Some(job.id.clone()) }.write(root)?;
    for path in tree::rest(root)?.into_iter().chain([tree::BULK.into(), "MOVED.txt".into()]) {
        tree::remove(&root.join(path))?;
    }
    data::make_folders(root)?;
    let identity = disk.identity();
    let named = named(&identity.model, &identity.serial);
    Ok(Target { partition: data.guid.to_string(), disk: disk.name.clone(), device, named })
}

/// The data partition of a disk that has just got one.
fn wait_for_data(name: &str) -> Result<(String, PathBuf), Error> {
    for _ in 0..100 {
        let found = Disk::open(name).and_then(|disk| {
            let data = disk.data()?;
            Some((data.guid.to_string(), disk.device(data.number)?))
        });
        if let Some(found) = found {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(Error::NoPartition { disk: Path::new("/dev").join(name), label: "data" })
}

/// Nothing of an earlier try stays mounted. A disk that was pulled does not hold it up.
pub fn leave() {
    while umount2(MOUNT, MntFlags::MNT_DETACH).is_ok() {}
}

/// Takes the data of another partition for that of this box, which has no wallet yet. Returns what to say.
pub fn adopt(text: &str, boot: &Boot) -> Result<String, Error> {
    let wish = Wish::parse(text)?;
    let disks = survey::look(boot)?;
    let wallet = disks.wallet;
    let disk = same(&wish, disks.disks)?;
    let found = disks::with_partition(wish.partition.parse().map_err(|_| gone())?);
    let [(holder, device)] = &found[..] else { return Err(gone()) };
    if holder.name != disk.name || wallet || survey::is_busy(device) {
        return Err(Error::Refused(refusal(wallet)));
    }
    files::folder(MOUNT)?;
    // For good this time: checked, and what its last user did not finish writing is finished.
    let marker = match data::open(device, Path::new(MOUNT))? {
        Ok(marker) => marker,
        Err((_, sentence)) => return Err(Error::Refused(sentence)),
    };
    let id = |root: &str| files::text(Path::new(root).join("system/machine-id")).filter(|id| !id.is_empty());
    let own = id(MOUNT).is_some() && id(MOUNT) == id(DATA);
    umount(MOUNT).at("unmount", MOUNT)?;
    usable(&marker, own).map_err(Error::Refused)?;
    // No wallet has been made so far, and from here on none can be.
    stop_lnd()?;
    if survey::has_wallet(Path::new(DATA)) {
        start_again()?;
        return Err(Error::Refused(refusal(true)));
    }
    let (at, id) = (files::now(), new_id()?);
    let to = Moved { id, at, to: wish.partition, model: disk.model, serial: disk.serial };
    // After this write the fence lets no LND start before the restart.
    Marker::Moved { to, arriving: None }.write(Path::new(DATA))?;
    Ok("The box restarts and uses the data of that disk.".into())
}

fn gone() -> Error {
    Error::Refused("That data partition is not there any more, or there are two of it. Look at the list again.".into())
}

fn refusal(wallet: bool) -> String {
    match wallet {
        true => "This box has a wallet already. Two wallets cannot be put together: nothing was changed.".into(),
        false => "That data partition is in use.".into(),
    }
}

/// Whether the data of a partition with this marker may become that of this box. `own`: it has this box's machine id.
fn usable(marker: &Marker, own: bool) -> Result<(), String> {
    match marker {
        Marker::Live if own => {
            Err("That is another copy of the data that this box uses now. Which one is newer cannot be \
                                    known, and an old state of channels loses money: it is not used."
                .into())
        }
        Marker::Live => Ok(()),
        Marker::Moved { to, .. } => Err(format!(
            "That is an old copy: its data was moved to the disk {} and lives on there. An old state of channels loses \
             money: it is not used.",
            to.disk()
        )),
        Marker::Arriving(_) => Err("That is a copy that was never finished. It is not used.".into()),
    }
}

#[cfg(test)]
mod tests {
    use twin::disks::{DataPart, Part};

    use super::*;

    fn disk() -> twin::disks::Disk {
        twin::disks::Disk { name: "sdb".into(), serial: "S1".into(), size: 64 << 30, ..Default::default() }
    }

    #[test]
    fn what_is_not_empty_is_erased_only_after_its_serial_number_was_typed() {
        let empty = twin::disks::Disk { empty: true, ..disk() };
        assert_eq!(decide(&empty, "", 0), Ok(()));
        for wrong in ["", "s1", "ERASE", "S2"] {
            assert!(decide(&disk(), wrong, 0).is_err(), "{wrong}");
        }
        assert_eq!(decide(&disk(), " S1\n", 0), Ok(()));
        let nameless = twin::disks::Disk { serial: String::new(), ..disk() };
        assert_eq!(decide(&nameless, "ERASE", 0), Ok(()));
        assert!(decide(&nameless, "", 0).is_err());
    }

    #[test]
    fn a_disk_that_must_not_be_used_is_refused_whatever_is_typed() {
        for obstacle in [Obstacle::Busy, Obstacle::ReadOnly, Obstacle::Small(1), Obstacle::Unreadable] {
            let disk = twin::disks::Disk { obstacle: Some(obstacle), empty: true, ..disk() };
            assert!(decide(&disk, "S1", 0).is_err(), "{obstacle:?}");
        }
        assert!(decide(&twin::disks::Disk { live: true, empty: true, ..disk() }, "S1", 0).is_err());
    }

    #[test]
    fn the_booted_disk_is_never_erased_only_its_old_copy() {
        let part = Part { size: 16 << 30, data: Some(DataPart::default()), ..Part::default() };
        let home = twin::disks::Disk { booted: true, parts: vec![part], ..disk() };
        assert_eq!(decide(&home, "", 1 << 30), Ok(()));
        assert!(decide(&home, "S1", 40 << 30).is_err(), "no room");
        assert!(decide(&twin::disks::Disk { parts: Vec::new(), ..home }, "S1", 0).is_err());
    }

    #[test]
    fn a_disk_that_was_exchanged_in_the_meantime_is_not_taken() {
        let wish = Wish { disk: "sdb".into(), serial: "S1".into(), size: 64 << 30, ..Wish::default() };
        assert!(same(&wish, vec![disk()]).is_ok());
        assert!(same(&wish, vec![twin::disks::Disk { serial: "S2".into(), ..disk() }]).is_err());
        assert!(same(&wish, vec![twin::disks::Disk { size: 1, ..disk() }]).is_err());
    }

    #[test]
    fn only_live_data_of_another_box_is_adopted() {
        let moved = Moved { id: "1".into(), at: 1, to: String::new(), model: "SSD".into(), serial: String::new() };
        assert_eq!(usable(&Marker::Live, false), Ok(()));
        assert!(usable(&Marker::Live, true).is_err());
        assert!(usable(&Marker::Moved { to: moved, arriving: None }, false).unwrap_err().contains("SSD"));
        assert!(usable(&Marker::Arriving("1".into()), false).is_err());
    }
}
