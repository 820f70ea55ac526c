//! The job's file, and the rules by which the job goes on: pure, no I/O.

use bootstate::Counter;
use serde::{Deserialize, Serialize};
use twin::{
    Slot,
    updates::{Attempt, Card, Job, Stage},
};

/// So often the program may begin the work of one job: a lost power or a fault each time.
pub const STARTS: u32 = 5;
/// So long checking and installing may take in all, seconds.
pub const DEADLINE: u64 = 6 * 3600;
/// So many failed tries are kept in mind.
pub const FAULTS: usize = 20;
/// GRUB gives a slot up after so many starts.
const TRIES: u8 = 3;

/// Where the new system comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A bundle on a server.
    Url(String),
    /// The bundle that the manager has taken from a browser.
    #[default]
    Upload,
    /// A bundle on the stick that is mounted, by its name.
    Stick(String),
    /// It is in the other slot already.
    Slot,
}

/// `/data/system/update-job.json`. One version of the system writes it and another one reads it after the restart: fields are
/// only ever added, and each has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    #[serde(flatten)]
    pub job: Job,
    pub source: Source,
    /// Of the bundle, by the signed document: bytes, and SHA-256 in lower-case hexadecimal.
    pub size: u64,
    pub sha256: String,
    /// The kernel's id of the boot in which the job came to its stage.
    pub boot: String,
    /// Programs that have begun its work.
    pub starts: u32,
    /// Seconds that those before this one have spent on it.
    pub spent: u64,
    /// The network cards that worked when it was last looked: the new system must find them, too.
    pub cards: Vec<Card>,
    /// Folder with what its failed starts left.
    pub evidence: Option<String>,
    /// Tries that failed, the newest last: when (seconds since 1970), and why. At most [`FAULTS`].
    pub faults: Vec<(u64, String)>,
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All that can be known before is in order.
    Checked,
    /// It may not be installed here, for this reason.
    Refused(String),
    /// A try to install it failed, for this reason; it is tried again.
    Cut(String),
    /// It is in its slot, verified and on the disk.
    Written,
    /// No further try is made, for this reason.
    GaveUp(String),
    /// The owner ended it.
    Cancelled,
    /// The box restarts into it.
    Restart,
    /// It runs.
    Started,
    /// It was marked good.
    Good,
    /// The box was started, and not into it, for this reason; with what its starts left.
    Back(String, Option<String>),
}

/// What the box looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The kernel's id of this boot.
    pub boot: String,
    /// What runs.
    pub slot: Slot,
    pub root_hash: String,
    /// The health gate has marked it good, since it started.
    pub good: bool,
    /// What the boot loader knows of the job's slot; `None` where that cannot be read.
    pub counter: Option<Counter>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Todo {
    /// It has ended, or waits for the owner or for the health gate.
    Nothing,
    Check,
    Install,
    /// Have the boot loader choose it: the power went between the last two steps of the installation.
    Activate,
    /// To be written down.
    Note(Event),
    /// The same, once it is known why.
    GoneBack,
}

/// The stage that follows; `None` where the event has no place.
pub fn next(stage: Stage, event: &Event) -> Option<Stage> {
    use Stage::*;
    Some(match (stage, event) {
        (Checking, Event::Checked) => Installing,
        (Checking | Installing, Event::Refused(_)) => Refused,
        (Checking | Installing | Installed, Event::GaveUp(_)) => Failed,
        (Checking | Installing | Installed, Event::Cancelled) => Cancelled,
        (Installing, Event::Cut(_)) => Installing,
        // What is in the slot already needs no installing.
        (Checking | Installing, Event::Written) => Installed,
        (Installed | Restarting, Event::Restart) => Restarting,
        // The power may have gone at any time since the boot loader was told.
        (Installing | Installed | Restarting | Trying, Event::Started) => Trying,
        (Trying, Event::Good) => Committed,
        (Installed | Restarting | Trying, Event::Back(..)) => FellBack,
        _ => return None,
    })
}

impl Record {
    /// Whether the box runs what this job brought.
    fn runs(&self, seen: &Seen) -> bool {
        self.job.slot == Some(seen.slot) && self.job.root_hash == seen.root_hash
    }

    /// What is to be done, by the file and by what the box looks like.
    pub fn todo(&self, seen: &Seen) -> Todo {
        let runs = self.runs(seen);
        let is_new_boot = self.boot != seen.boot;
        match self.job.stage {
            stage if stage.has_ended() => Todo::Nothing,
            Stage::Trying if runs && seen.good => Todo::Note(Event::Good),
            Stage::Trying if runs => Todo::Nothing,
            Stage::Installing | Stage::Installed | Stage::Restarting if runs => Todo::Note(Event::Started),
            Stage::Checking => Todo::Check,
            Stage::Installing => Todo::Install,
            Stage::Installed => match seen.counter {
                // GRUB has tried it: a lost power was the restart.
                Some(Counter { ok: true, tries }) if is_new_boot && tries >= TRIES => Todo::GoneBack,
                Some(Counter { ok: true, .. }) => Todo::Nothing,
                _ => Todo::Activate,
            },
            _ if is_new_boot => Todo::GoneBack,
            _ => Todo::Nothing,
        }
    }

    /// Takes the event in; false where it has no place, and then nothing changes.
    pub fn take(&mut self, event: &Event, boot: &str, now: u64) -> bool {
        let Some(stage) = next(self.job.stage, event) else { return false };
        let job = &mut self.job;
        (job.stage, job.at) = (stage, now);
        boot.clone_into(&mut self.boot);
        job.error = match event {
            Event::Refused(why) | Event::Cut(why) | Event::GaveUp(why) | Event::Back(why, _) => why.clone(),
            _ => String::new(),
        };
        if !matches!(event, Event::Cut(_)) {
            job.said.clear();
        }
        match event {
            Event::Written => job.percent = 100,
            Event::Cut(why) => {
                job.percent = 0;
                self.faults.push((now, why.clone()));
                let old = self.faults.len().saturating_sub(FAULTS);
                self.faults.drain(..old);
            }
            Event::Back(_, evidence) => self.evidence.clone_from(evidence),
            _ => {}
        }
        true
    }

    /// What is kept of it once it has ended.
    pub fn attempt(&self) -> Attempt {
        let job = &self.job;
        Attempt {
            version: job.version.clone(),
            from: job.from.clone(),
            at: job.at,
            stage: job.stage,
            reason: job.error.clone(),
            evidence: self.evidence.clone(),
        }
    }
}
