//! `homebolt-boot move`: moves the data to another disk, as a job that is on the disk before it begins.
//!
//! ```text
//! job ─► Stop LND ─► Prepare ─► Copy lnd/ ─► Check lnd/ ─► Switch ─► restart; the initrd follows the marker
//!            │           │          │            │            └ manager stopped, /data read-only: the rest is copied
//!            └───────────┴──────────┴────────────┴─ a failure: job removed, the old copy goes on, LND starts
//! ```
//! LND stays stopped from the first phase to the restart: the fence refuses it while there is a job. A lost power leaves the
//! job, and the next start begins it anew. See `marker` for the one write that makes the new copy the live one.

mod copier;
mod job;
mod switch;
mod target;
mod tree;

use std::{path::Path, process::Command};

use twin::disks::{Move, MovePhase};

pub use job::{JOB, Job, Wish, is_pending, new_id};
pub use target::adopt;

use crate::{
    console::note,
    error::{At, Error},
    files,
    marker::{Marker, named},
    program,
    state::Boot,
    survey::DATA,
};

/// What the pages show.
pub const REPORT: &str = "/run/homebolt/move.json";

const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// Of a job that was cut off by a lost power so many times the box gives up, so that it comes back with its wallet.
const ATTEMPTS: u32 = 3;

/// How far the move is; each change is written for the pages.
struct Progress {
    report: Move,
}

impl Progress {
    fn new(disk: String) -> Self {
        Self { report: Move { disk, ..Move::default() } }
    }

    fn phase(&mut self, phase: MovePhase) -> Result<(), Error> {
        note(&format!("move: {}", phase.name()));
        self.report = Move { phase, done: 0, total: 0, at: files::now(), ..std::mem::take(&mut self.report) };
        self.write()
    }

    fn count(&mut self, done: u64, total: u64) -> Result<(), Error> {
        (self.report.done, self.report.total) = (done.min(total), total);
        self.write()
    }

    fn write(&self) -> Result<(), Error> {
        files::write_json(Path::new(REPORT), &self.report)
    }

    fn fail(mut self, error: &Error) -> Result<(), Error> {
        note(&format!("move failed: {error}"));
        self.report.error = error.to_string();
        self.report.phase = MovePhase::Failed;
        self.report.at = files::now();
        self.write()
    }
}

/// Begins what the owner wished for, or refuses with a sentence. Returns what to say.
pub fn begin(wish: &str, boot: &Boot) -> Result<String, Error> {
    if is_pending() {
        return Err(Error::Refused("The data is being moved already.".into()));
    }
    if crate::update::is_busy() {
        return Err(Error::Refused("An update is being installed. Wait until that has ended, or cancel it.".into()));
    }
    let mut wish = Wish::parse(wish)?;
    let disk = target::check(&wish, boot)?;
    if !disk.serial.is_empty() {
        // It stands for what the first try leaves on the disk, too: a later one finds that, and goes on.
        wish.confirm.clone_from(&disk.serial);
    }
    (wish.model, wish.serial) = (disk.model, disk.serial);
    let job = Job::new(&wish, disk.booted)?;
    job.write()?;
    // The page shows it at once, and not the end of an earlier one.
    Progress::new(named(&job.wish.model, &job.wish.serial)).phase(MovePhase::Stop)?;
    if let Err(error) = program::must(SYSTEMCTL, &["--no-block", "start", "homebolt-move.service"]) {
        Job::remove()?;
        return Err(error);
    }
    Ok("The data is being moved.".into())
}

/// Ends a move that has not come to its one write. Returns what to say.
pub fn cancel() -> Result<String, Error> {
    // Waits until nothing of it runs any more: what stands then is what counts.
    program::must(SYSTEMCTL, &["stop", "homebolt-move.service"])?;
    if Marker::read(Path::new(DATA)) != Ok(Marker::Live) {
        return Err(Error::Refused("It is too late: the data was moved, and the box restarts.".into()));
    }
    let disk = files::read_json::<Move>(Path::new(REPORT)).map(|report| report.disk).unwrap_or_default();
    Job::remove()?;
    let report = Move { phase: MovePhase::Cancelled, disk, at: files::now(), ..Move::default() };
    files::write_json(Path::new(REPORT), &report)?;
    start_again()?;
    Ok("The data stays where it was.".into())
}

/// Carries out the job that is on the disk, from its beginning.
pub fn run() -> Result<(), Error> {
    let job = Job::read().inspect_err(|error| note(&format!("the job cannot be read: {error}")));
    let Some(mut job) = job? else { return Ok(()) };
    let boot = Boot::read()?;
    let mut progress = Progress::new(named(&job.wish.model, &job.wish.serial));
    job.attempts += 1;
    let result = if job.attempts > ATTEMPTS {
        Err(Error::Refused(format!("The move was cut off {ATTEMPTS} times and is not tried again by itself.")))
    } else {
        job.write().and_then(|()| go(&job, &boot, &mut progress))
    };
    match result {
        Ok(()) => program::must(SYSTEMCTL, &["--no-block", "reboot"]).map(drop),
        Err(error) => {
            target::leave();
            switch::undo()?;
            // After the one write there is no way back, only the restart.
            if has_moved() {
                return program::must(SYSTEMCTL, &["--no-block", "reboot"]).map(drop);
            }
            Job::remove()?;
            progress.fail(&error)?;
            start_again()
        }
    }
}

fn go(job: &Job, boot: &Boot, progress: &mut Progress) -> Result<(), Error> {
    progress.phase(MovePhase::Stop)?;
    stop_lnd()?;
    progress.phase(MovePhase::Prepare)?;
    let target = target::prepare(job, boot)?;
    progress.phase(MovePhase::Copy)?;
    let old = Path::new(DATA);
    let before = tree::stamps(&old.join(tree::BULK))?;
    target.has_room(crate::survey::used(old)?)?;
    tree::copy(old, target.root(), &[tree::BULK.into()], &mut |done, total| progress.count(done, total))
        .map_err(|error| target.explain(error))?;
    progress.phase(MovePhase::Check)?;
    target.reopen()?;
    tree::compare(old, target.root(), tree::BULK.as_ref(), &mut |done, total| progress.count(done, total))
        .map_err(|error| target.explain(error))?;
    progress.phase(MovePhase::Switch)?;
    switch::run(job, &target, &before).map_err(|error| target.explain(error))?;
    progress.phase(MovePhase::Restart)
}

/// Whether the one write was done. A marker that cannot be read is none: the old disk fails, and goes on as it can.
fn has_moved() -> bool {
    matches!(Marker::read(Path::new(DATA)), Ok(Marker::Moved { .. }))
}

/// LND first, in order and for as long as it takes: its unit allows it an hour. The path unit would start it again.
fn stop_lnd() -> Result<(), Error> {
    program::must(SYSTEMCTL, &["stop", "lnd.path", "lnd.service"])?;
    let state = program::run(SYSTEMCTL, &["is-active", "lnd.service"])?;
    match state.output.trim() {
        "inactive" | "failed" => Ok(()),
        other => Err(Error::Refused(format!("LND has not stopped (it is {other}). Nothing was moved."))),
    }
}

/// After a move that came to nothing: all goes on as before.
fn start_again() -> Result<(), Error> {
    program::must(SYSTEMCTL, &["--no-block", "start", "homebolt-http.socket", "homebolt-https.socket"])?;
    program::must(SYSTEMCTL, &["--no-block", "start", "homebolt-manager.service", "lnd.path"]).map(drop)
}

/// `homebolt-boot moved`: what the unit does when the move has ended in any way, also by a fault of the program.
pub fn end() -> Result<(), Error> {
    let stopping = Command::new(SYSTEMCTL).arg("is-system-running").output().at("start", SYSTEMCTL)?;
    // The restart that belongs to it, or one that came in between: the next start goes on.
    if stopping.stdout.starts_with(b"stopping") || has_moved() {
        return Ok(());
    }
    switch::undo()?;
    if std::env::var("SERVICE_RESULT").is_ok_and(|result| result == "success") {
        return Ok(());
    }
    Job::remove()?;
    let disk = files::read_json::<Move>(Path::new(REPORT)).map(|report| report.disk).unwrap_or_default();
    Progress::new(disk).fail(&Error::Refused("The program that moves the data failed. Nothing was moved.".into()))?;
    start_again()
}
