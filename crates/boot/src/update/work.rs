//! The one task that takes a job on, over whatever a box is made of: the real one, or one of a test.

use std::time::Duration;

use twin::{
    source::Backoff,
    updates::{Card, Stage},
};

use super::job::{DEADLINE, Event, Record, STARTS, Seen, Source, Todo};
use crate::error::Error;

/// Between two tries over a cut line.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Why something about a new system failed, a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not fit for this box, and nothing was written.
    Refused(String),
    /// No further try helps.
    Failed(String),
    /// It may go better another time: a line that was cut.
    Cut(String),
}

/// What RAUC does for a job. Each answer that is an error is a sentence.
pub trait Rauc {
    /// Writes the bundle into the other slot, which cannot be chosen from then on. `tell` hears of percent and RAUC's words.
    fn install(&mut self, bundle: &str, limit: Duration, tell: &mut dyn FnMut(u8, &str)) -> Result<(), Fault>;
    /// Has the boot loader choose the other slot first, three times.
    fn activate(&mut self) -> Result<(), String>;
    /// Keeps the boot loader from the other slot, until something new is installed into it.
    fn spoil(&mut self) -> Result<(), String>;
    /// Has the boot loader choose this slot first.
    fn stay(&mut self) -> Result<(), String>;
}

/// What else a job meets.
pub trait World {
    fn seen(&mut self, record: &Record) -> Result<Seen, Error>;
    /// Returns once it is on the disk, and tells everybody.
    fn save(&mut self, record: &Record) -> Result<(), Error>;
    /// Tells everybody.
    fn tell(&mut self, record: &Record);
    /// Looks at all that can be known before anything is written, and completes what the record says of it.
    fn check(&mut self, record: &mut Record) -> Result<(), Fault>;
    /// The bundle as RAUC takes it; `None`: there is nothing to install.
    fn bundle(&self, record: &Record) -> Option<String>;
    /// Whether the job's slot holds what the signed document says, on the disk.
    fn verify(&mut self, record: &Record) -> Result<(), Fault>;
    /// Why the job's slot does not run, and the folder with what its starts left.
    fn why_back(&mut self, record: &Record) -> (String, Option<String>);
    /// Adds a job that has ended to the history, if it is not there.
    fn close(&mut self, record: &Record) -> Result<(), Error>;
    /// The network cards that work.
    fn cards(&mut self) -> Vec<Card>;
    /// Seconds since 1970.
    fn now(&self) -> u64;
    /// Seconds since this program began.
    fn spent(&self) -> u64;
    fn pause(&mut self, time: Duration);
}

/// Takes the job as far as it goes by itself.
///
/// # Errors
/// What is nobody's decision: a job that cannot be written down. The next start goes on where the file stands.
pub fn run(world: &mut impl World, rauc: &mut impl Rauc, record: &mut Record) -> Result<(), Error> {
    let before = record.spent;
    let seen = world.seen(record)?;
    let mut work = Work { world, rauc, record, before, boot: seen.boot.clone() };
    if matches!(work.record.todo(&seen), Todo::Check | Todo::Install) && !work.begin()? {
        return work.end();
    }
    loop {
        match work.record.todo(&seen) {
            Todo::Nothing => return work.end(),
            Todo::Check => work.check()?,
            Todo::Install => work.install()?,
            Todo::Activate => {
                work.activate()?;
                return work.end();
            }
            Todo::Note(event) => work.note(event)?,
            Todo::GoneBack => {
                let (why, evidence) = work.world.why_back(work.record);
                work.note(Event::Back(why, evidence))?;
            }
        }
    }
}

/// What can be said of the job before the health gate: that it runs.
pub fn settle(world: &mut impl World, record: &mut Record) -> Result<(), Error> {
    let seen = world.seen(record)?;
    if record.todo(&seen) == Todo::Note(Event::Started) {
        record.take(&Event::Started, &seen.boot, world.now());
        world.save(record)?;
    }
    Ok(())
}

/// The owner wants the restart. The boot loader is told once more, as it may have been told otherwise since.
pub fn restart(world: &mut impl World, rauc: &mut impl Rauc, record: &mut Record) -> Result<(), Error> {
    if !matches!(record.job.stage, Stage::Installed | Stage::Restarting) {
        return Err(Error::Refused("No installed version waits for a restart.".into()));
    }
    rauc.activate().map_err(|why| Error::Refused(format!("The boot loader does not take the new version: {why}")))?;
    let boot = world.seen(record)?.boot;
    record.cards = world.cards();
    record.take(&Event::Restart, &boot, world.now());
    world.save(record)
}

/// The owner does not want it after all. Nothing works on the job any more when this is called.
pub fn cancel(world: &mut impl World, rauc: &mut impl Rauc, record: &mut Record) -> Result<(), Error> {
    match record.job.stage {
        Stage::Checking | Stage::Installing => {}
        Stage::Installed => {
            // First, and written down after: a lost power in between is an update that still waits, not one that nobody
            // knows of and that starts all the same.
            let told = rauc.stay().and_then(|()| match record.source {
                // A good system, that this job only wanted to start.
                Source::Slot => Ok(()),
                _ => rauc.spoil(),
            });
            told.map_err(|why| Error::Refused(format!("The boot loader does not forget the new version: {why}")))?;
        }
        Stage::Restarting | Stage::Trying => {
            return Err(Error::Refused("It is too late: the box starts the new version.".into()));
        }
        _ => return Err(Error::Refused("No update is being installed.".into())),
    }
    let boot = world.seen(record)?.boot;
    record.take(&Event::Cancelled, &boot, world.now());
    world.save(record)?;
    world.close(record)
}

/// One program's work on one job.
struct Work<'a, W, R> {
    world: &'a mut W,
    rauc: &'a mut R,
    record: &'a mut Record,
    /// Seconds that others have spent on it.
    before: u64,
    boot: String,
}

impl<W: World, R: Rauc> Work<'_, W, R> {
    fn save(&mut self) -> Result<(), Error> {
        self.record.spent = self.before + self.world.spent();
        self.world.save(self.record)
    }

    fn note(&mut self, event: Event) -> Result<(), Error> {
        if !self.record.take(&event, &self.boot, self.world.now()) {
            return Err(Error::Refused(format!("an update that is {:?} cannot be {event:?}", self.record.job.stage)));
        }
        self.save()
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.record.job.stage.has_ended() { self.world.close(self.record) } else { Ok(()) }
    }

    /// Counts this program; false when there were too many.
    fn begin(&mut self) -> Result<bool, Error> {
        if self.record.starts >= STARTS {
            let why =
                format!("It was cut off {STARTS} times, by a lost power or a fault, and is not tried again by itself.");
            self.note(Event::GaveUp(why))?;
            return Ok(false);
        }
        self.record.starts += 1;
        self.save()?;
        Ok(true)
    }

    fn check(&mut self) -> Result<(), Error> {
        let event = match self.world.check(self.record) {
            Ok(()) if self.record.source == Source::Slot => Event::Written,
            Ok(()) => Event::Checked,
            Err(Fault::Refused(why)) => Event::Refused(why),
            Err(Fault::Failed(why) | Fault::Cut(why)) => Event::GaveUp(why),
        };
        let is_there = event == Event::Written;
        self.note(event)?;
        if is_there { self.activate() } else { Ok(()) }
    }

    fn install(&mut self) -> Result<(), Error> {
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        let bundle = self.world.bundle(self.record).unwrap_or_default();
        loop {
            let left = DEADLINE.saturating_sub(self.before + self.world.spent());
            if left == 0 {
                let why = format!("It did not succeed within {} hours. The last try: {}", DEADLINE / 3600, self.last());
                return self.note(Event::GaveUp(why));
            }
            self.record.job.tries += 1;
            self.record.job.at = self.world.now();
            self.save()?;
            match self.attempt(&bundle, Duration::from_secs(left)) {
                Ok(()) => {
                    self.record.cards = self.world.cards();
                    self.note(Event::Written)?;
                    return self.activate();
                }
                Err(Fault::Refused(why)) => return self.note(Event::Refused(why)),
                Err(Fault::Cut(why)) if matches!(self.record.source, Source::Url(_)) => {
                    self.note(Event::Cut(why))?;
                    self.world.pause(pauses.wait());
                }
                Err(Fault::Failed(why) | Fault::Cut(why)) => return self.note(Event::GaveUp(why)),
            }
        }
    }

    fn last(&self) -> &str {
        if self.record.job.error.is_empty() { "it did not end." } else { &self.record.job.error }
    }

    fn attempt(&mut self, bundle: &str, limit: Duration) -> Result<(), Fault> {
        let (world, record) = (&mut *self.world, &mut *self.record);
        let mut tell = |percent: u8, said: &str| {
            (record.job.percent, record.job.at) = (percent, world.now());
            said.clone_into(&mut record.job.said);
            world.tell(record);
        };
        self.rauc.install(bundle, limit, &mut tell)?;
        self.world.verify(self.record).inspect_err(|_| {
            // RAUC has left it so; once more, as much hangs on it.
            let _ = self.rauc.spoil();
        })
    }

    fn activate(&mut self) -> Result<(), Error> {
        match self.rauc.activate() {
            Ok(()) => Ok(()),
            Err(why) => {
                let _ = self.rauc.spoil();
                self.note(Event::GaveUp(format!("The boot loader does not take the new version: {why}")))
            }
        }
    }
}
