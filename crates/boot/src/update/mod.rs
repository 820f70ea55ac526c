//! Updates: one job that is on the disk before it is acted on, and goes on after every lost power.
//!
//! ```text
//!  update-install                                              update-restart, or any restart
//!       │                                                               │
//!       ▼            document, board, fence,                            ▼            health gate
//!   Checking ──────► Installing ──────────────► Installed ──► Restarting ──► Trying ──────────► Committed
//!       │  ▲   sum     │  ▲  │ RAUC, root hash,     │              │           │
//!       │  └─ power ───┘  └──┘ then first in        │              └─────┬─────┘
//!       │      lost      cut line, up to 6 h        │                    │ another system runs after a start
//!       ▼                  │                        ▼                    ▼
//!    Refused         Failed, Refused         Cancelled (also before)  FellBack
//! ```
//! * Checking: the manager brings a document and is trusted in nothing. Signature, board, base, version, fence and clock are
//!   looked at here, a file byte by byte; what the job believes from then on lies in its own file, which only root writes.
//! * Installing: RAUC makes the slot one that the boot loader does not choose, then writes it. Afterwards its root hash is
//!   compared with the document's and every block is read back. Only then the job is Installed, and after that the boot
//!   loader is told (`activate-installed=false` in RAUC's configuration): a lost power finds either the old system, or the
//!   new one whole.
//! * Trying: whatever restarted the box, a system that runs from the job's slot with the job's root hash is on trial. The
//!   health gate keeps it; LND starts after that and not before.
//! * FellBack: the boot loader has counted three starts. Why is told by `slots::explain` and by what the starts left
//!   (`evidence`).
//!
//! `job` holds the rules, `work` the one task, both without I/O; `device` is the box, `rauc` is RAUC.

pub mod check;
mod device;
pub mod evidence;
pub mod job;
mod rauc;
mod report;
mod watch;
pub mod work;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;

use std::path::Path;

use twin::{
    Slot,
    updates::{Job, Stage},
};

use self::{
    check::Wish,
    device::{Device, other},
    job::{Record, Source},
    rauc::Cli,
    report::Places,
    work::World,
};
use crate::{console::note, error::Error, esp, files, hash_index, marks, program, relocate, slots, state::Boot};

pub use report::{JOB, publish};
pub use watch::{settle, watch};

const SYSTEMCTL: &str = "/usr/bin/systemctl";
const UNIT: &str = "homebolt-update.service";

/// `homebolt-boot update`: takes the job that is on the disk as far as it goes by itself.
pub fn run() -> Result<(), Error> {
    let places = Places::of_box();
    let Some(mut record) = places.job()? else { return places.publish(None) };
    let before = record.job.stage;
    let (mut device, mut rauc) = (Device::new(Boot::read()?), Cli::of_box());
    if matches!(before, Stage::Checking | Stage::Installing) {
        hash_index::complete();
    }
    work::run(&mut device, &mut rauc, &mut record)?;
    if record.job.stage != before {
        // The page shows both systems as they are now.
        slots::run()?;
    }
    if record.source == Source::Slot && record.job.stage == Stage::Installed {
        work::restart(&mut device, &mut rauc, &mut record)?;
        return reboot();
    }
    Ok(())
}

fn reboot() -> Result<(), Error> {
    program::must(SYSTEMCTL, &["--no-block", "reboot"]).map(drop)
}

/// Begins what the manager asks for, or refuses with a sentence. Returns what to say.
pub fn begin(content: &str, boot: &Boot) -> Result<String, Error> {
    let mut device = Device::new(boot.clone());
    let wish = Wish::parse(content).map_err(Error::Refused)?;
    make_way(&device.places)?;
    let mut record = new(boot, wish.source.clone())?;
    if let Err(why) = examine(&mut record, &device.places, &wish) {
        // It ends here, and leaves a line that says why.
        record.take(&job::Event::Refused(why.clone()), &marks::boot_id()?, files::now());
        device.save(&record)?;
        device.close(&record)?;
        return Err(Error::Refused(why));
    }
    start(&mut device, &record)
}

/// Starts the other system, of the version that the owner typed, without installing anything.
pub fn switch(content: &str, boot: &Boot) -> Result<String, Error> {
    let mut device = Device::new(boot.clone());
    make_way(&device.places)?;
    let slot = other(boot.slot);
    let cfg = slots::boot_partition(slot).map_err(|why| {
        Error::Refused(format!("There is no way back: the boot partition of slot {slot:?} is damaged: {why}."))
    })?;
    let version = cfg.version.unwrap_or_default();
    if version.is_empty() || version != content.trim() {
        return Err(Error::Refused(format!(
            "Nothing was changed: what was typed is not the version in slot {slot:?}."
        )));
    }
    let mut record = new(boot, Source::Slot)?;
    (record.job.version, record.job.root_hash) = (version, cfg.root_hash);
    start(&mut device, &record)
}

/// Another job may begin, and nothing works on the one before any more: its program may still be at the report on both
/// systems, and a unit that runs is not started again.
fn make_way(places: &Places) -> Result<(), Error> {
    free(places)?;
    program::must(SYSTEMCTL, &["stop", UNIT])?;
    match places.job()? {
        Some(record) if record.job.stage.has_ended() => places.close(&record),
        _ => Ok(()),
    }
}

/// Whether another job may begin.
fn free(places: &Places) -> Result<(), Error> {
    let refused = |text: &str| Err(Error::Refused(text.into()));
    match places.job()?.map(|record| record.job.stage) {
        Some(Stage::Checking | Stage::Installing) => return refused("An update is being installed already."),
        Some(Stage::Installed) => {
            return refused("An installed version waits for a restart. Restart into it, or cancel it first.");
        }
        Some(Stage::Restarting | Stage::Trying) => {
            return refused("A new version is being tried. Wait until it is kept.");
        }
        _ => {}
    }
    if relocate::is_pending() {
        return refused("The data is being moved to another disk. Wait until that has ended.");
    }
    match esp::read() {
        Ok(state) if state.fill.is_some() => {
            refused("The box still copies its system to the second slot. Wait a few minutes, then try again.")
        }
        Ok(_) => Ok(()),
        Err(why) => Err(Error::Refused(format!("The boot loader's settings cannot be read: {why}. Restart the box."))),
    }
}

/// Whether something works on a job, so that its data should stay where it is.
pub fn is_busy() -> bool {
    let stage = Places::of_box().job().ok().flatten().map(|record| record.job.stage);
    matches!(stage, Some(Stage::Checking | Stage::Installing))
}

fn new(boot: &Boot, source: Source) -> Result<Record, Error> {
    let release: release::Release = files::read_json(Path::new(slots::RELEASE))?;
    let (now, slot): (u64, Slot) = (files::now(), other(boot.slot));
    let job =
        Job { id: relocate::new_id()?, from: release.version, slot: Some(slot), begun: now, at: now, ..Job::default() };
    Ok(Record { job, source, boot: marks::boot_id()?, ..Record::default() })
}

/// Fills in what the signed document says, and judges by it.
fn examine(record: &mut Record, places: &Places, wish: &Wish) -> Result<(), String> {
    let update = check::document(&places.data, Path::new(check::KEYRING))?;
    let job = &mut record.job;
    job.version.clone_from(&update.release.version);
    job.lnd.clone_from(&update.release.lnd_version);
    job.root_hash.clone_from(&update.root_hash);
    (record.size, record.sha256) = (update.bundle.size, update.bundle.sha256.clone());
    let offer = check::judge(&update, &check::facts(&places.data)?, wish, &places.failed())?;
    record.job.one_way = offer.one_way;
    Ok(())
}

fn start(device: &mut Device, record: &Record) -> Result<String, Error> {
    device.save(record)?;
    device.places.measure(Some(record))?;
    if let Err(error) = program::must(SYSTEMCTL, &["--no-block", "start", UNIT]) {
        let mut record = record.clone();
        let why = format!("The program that does it does not start: {error}.");
        record.take(&job::Event::GaveUp(why), &marks::boot_id()?, files::now());
        device.save(&record)?;
        device.close(&record)?;
        return Err(error);
    }
    Ok("It has begun.".into())
}

/// Ends an installation that goes on, or forgets one that waits for its restart. Returns what to say.
pub fn cancel(boot: &Boot) -> Result<String, Error> {
    // Waits until nothing of it runs any more: what stands then is what counts.
    program::must(SYSTEMCTL, &["stop", UNIT])?;
    let (mut device, mut rauc) = (Device::new(boot.clone()), Cli::of_box());
    let Some(mut record) = device.places.job()? else {
        return Err(Error::Refused("No update is being installed.".into()));
    };
    if matches!(record.job.stage, Stage::Checking | Stage::Installing) {
        rauc.stop().map_err(Error::Refused)?;
    }
    work::cancel(&mut device, &mut rauc, &mut record)?;
    note("the owner ended the update");
    Ok("The update is cancelled. This version stays.".into())
}

/// Makes everything ready for the restart into the installed version. Returns what to say.
pub fn restart(boot: &Boot) -> Result<String, Error> {
    let (mut device, mut rauc) = (Device::new(boot.clone()), Cli::of_box());
    let Some(mut record) = device.places.job()? else {
        return Err(Error::Refused("No installed version waits for a restart.".into()));
    };
    work::restart(&mut device, &mut rauc, &mut record)?;
    Ok(format!("The box restarts into version {}.", record.job.version))
}
