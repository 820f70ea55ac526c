//! Waits for the disks that a start needs, and refuses to guess between copies.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    console::{alarm, note},
    disks::{self, Choice, Disk},
    error::Error,
    gpt,
    modules::Modules,
};

/// So long a disk may take to appear.
const DISK_TIMEOUT: Duration = Duration::from_secs(30);

/// The disk with this EFI partition, and all devices of its partitions.
pub fn wait_for_disk(modules: &mut Modules, esp: gpt::Guid) -> Result<Disk, Error> {
    let start = Instant::now();
    loop {
        // A controller's module finds devices that need further modules.
        while modules.load_for_devices(Path::new("/sys/devices"))? {}
        match disks::choose(disks::scan(), esp) {
            Choice::One(disk) if complete(&disk) => return Ok(disk),
            Choice::Several(names) => refuse_twins(&names),
            Choice::One(disk) if start.elapsed() > DISK_TIMEOUT => return Ok(disk),
            Choice::None if start.elapsed() > DISK_TIMEOUT => {
                return Err(Error::NoDisk { esp: esp.to_string(), seconds: DISK_TIMEOUT.as_secs() });
            }
            Choice::None | Choice::One(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// The partition to which the data was moved, and its disk. A disk by USB may take its time.
pub fn wait_for_partition(modules: &mut Modules, partition: gpt::Guid) -> Option<(Disk, PathBuf)> {
    note(&format!("the data was moved to the partition {partition}"));
    let start = Instant::now();
    loop {
        while modules.load_for_devices(Path::new("/sys/devices")).is_ok_and(|loaded| loaded) {}
        match only(disks::with_partition(partition)) {
            Some(found) => return Some(found),
            None if start.elapsed() > DISK_TIMEOUT => return None,
            None => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// The one disk of these; several are copies of each other.
pub fn only(mut found: Vec<(Disk, PathBuf)>) -> Option<(Disk, PathBuf)> {
    if found.len() > 1 {
        refuse_twins(&found.iter().map(|(disk, _)| disk.name.clone()).collect::<Vec<_>>());
    }
    found.pop()
}

/// Whether the kernel has made the devices of all partitions.
fn complete(disk: &Disk) -> bool {
    disk.table.partitions.iter().all(|partition| disk.device(partition.number).is_some())
}

/// Two disks claim to be the booted one, for example a disk and its copy. Which of them holds the wallet of today is not
/// for a program to guess: an old copy of a wallet loses money. Waits until a person has switched the box off.
pub fn refuse_twins(names: &[String]) -> ! {
    loop {
        alarm(&format!(
            "THE BOX WAITS. The disks {} are copies of each other, and it cannot know which one is yours.\n\
             Switch it off, remove the copy and switch it on again.",
            names.join(" and ")
        ));
        thread::sleep(Duration::from_secs(60));
    }
}
