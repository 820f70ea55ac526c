//! The early part of a start: is a new version on trial? Then what it says is kept until it has proved itself.

use std::{path::Path, thread, time::Duration};

use twin::updates::Stage;

use super::{
    device::{Device, other},
    evidence::{self, Gate},
    report::Places,
    work,
};
use crate::{console::note, error::Error, marks, state::Boot};

/// A crash loses no more than this.
const EVERY: Duration = Duration::from_secs(10);
/// What the firmware kept of a kernel that stopped.
const PSTORE: &str = "/sys/fs/pstore";

/// `homebolt-boot update-settle`, before the health gate: the job comes to Trying if its system runs, the last words of a
/// kernel that stopped are saved, and everybody may read how the last update ended.
pub fn settle() -> Result<(), Error> {
    let boot = Boot::read()?;
    let places = Places::of_box();
    let mut job = places.job()?;
    let tried = job.as_ref().filter(|record| !record.job.stage.has_ended()).and_then(|record| record.job.slot);
    let saved =
        evidence::rescue(Path::new(PSTORE), &places.data, &marks::boot_id()?, tried.unwrap_or(other(boot.slot)));
    if let Err(error) = saved {
        note(&format!("what the kernel left is not saved: {error}"));
    }
    if let Some(record) = &mut job {
        work::settle(&mut Device::early(boot), record)?;
    }
    places.measure(job.as_ref())
}

/// `homebolt-boot update-watch`: saves what a new version says, again and again, until its health gate has passed.
pub fn watch() -> Result<(), Error> {
    let (boot, places) = (Boot::read()?, Places::of_box());
    let Some(record) = places.job()?.filter(|record| record.job.stage == Stage::Trying) else { return Ok(()) };
    let version = &record.job.version;
    let mut seconds = 0;
    while Gate::read(&places.run).is_none() {
        let why =
            format!("Version {version} was being tried and had not passed its check after {seconds} s of watching.\n");
        // One that cannot be saved, on a full disk, must not keep the next from being tried.
        if let Err(error) = evidence::keep(&places.data, boot.slot, &why) {
            note(&format!("what this start says is not saved: {error}"));
        }
        thread::sleep(EVERY);
        seconds += EVERY.as_secs();
    }
    match Gate::read(&places.run) {
        Some(gate) if gate.good => evidence::remove(&places.data, &evidence::name(boot.slot, &marks::boot_id()?)),
        // The gate's own unit keeps what it says, and restarts the box.
        _ => Ok(()),
    }
}
