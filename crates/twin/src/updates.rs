//! Updates of the system: the job that root does, as it reports it, and what the manager heard of new versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Slot, UnixSeconds};

/// `/run/homebolt/update.json`: the job that goes on or was the last one, and what became of those before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `None` while this box was never updated.
    pub job: Option<Job>,
    /// Attempts that have ended, newest first.
    #[serde(default)]
    pub history: Vec<Attempt>,
    /// Versions that were started here and did not pass their check: none is installed again by itself.
    #[serde(default)]
    pub failed: Vec<String>,
    /// The least LND that may run, as it names itself; `None` before LND ran for the first time.
    #[serde(default)]
    pub fence: Option<String>,
    /// What LND's databases take, bytes; `None` where nobody has looked.
    #[serde(default)]
    pub database: Option<u64>,
}

/// One version on its way into the other slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Its own, so that two attempts at one version are told apart.
    pub id: String,
    /// The version that is installed, and the one that ran when it began.
    pub version: String,
    pub from: String,
    /// The LND that comes with it.
    pub lnd: String,
    /// Once its LND has opened the database there is no way back.
    pub one_way: bool,
    /// Where it is written to; `None` before that is known.
    pub slot: Option<Slot>,
    pub stage: Stage,
    /// Of the installation, 0 to 100.
    pub percent: u8,
    /// What is being done, in RAUC's own words or in a sentence.
    pub said: String,
    /// A sentence: why it ended, or why the last try to install it failed while it is tried again.
    pub error: String,
    /// How often the installation was begun.
    pub tries: u32,
    pub begun: UnixSeconds,
    /// When it came to its stage, or said something new.
    pub at: UnixSeconds,
    /// Of the root slot in it, lower-case hexadecimal.
    pub root_hash: String,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The signed document and what it says are looked at; nothing is written.
    #[default]
    Checking,
    /// RAUC fetches and writes it.
    Installing,
    /// It is in the other slot, whole, and waits for a restart.
    Installed,
    /// The box restarts into it.
    Restarting,
    /// It runs, and has not proved itself yet.
    Trying,
    /// It runs and was marked good.
    Committed,
    /// It may not be installed here; nothing was written.
    Refused,
    /// It could not be installed; it may be tried again.
    Failed,
    /// The owner ended it.
    Cancelled,
    /// It was started and did not prove itself: the version before it runs again.
    FellBack,
}

impl Stage {
    pub const ALL: [Self; 10] = [
        Self::Checking,
        Self::Installing,
        Self::Installed,
        Self::Restarting,
        Self::Trying,
        Self::Committed,
        Self::Refused,
        Self::Failed,
        Self::Cancelled,
        Self::FellBack,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Installing => "installing",
            Self::Installed => "installed",
            Self::Restarting => "restarting",
            Self::Trying => "trying",
            Self::Committed => "committed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::FellBack => "fellback",
        }
    }

    /// Nothing follows by itself.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Committed | Self::Refused | Self::Failed | Self::Cancelled | Self::FellBack)
    }
}

/// What the health gate reads in the job's own file, which only root may read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trial {
    pub stage: Stage,
    pub slot: Option<Slot>,
    pub root_hash: String,
    /// The cards that worked before the update.
    pub cards: Vec<Card>,
}

impl Trial {
    /// Whether a box that runs this system is trying the update.
    pub fn is_of(&self, slot: Option<Slot>, root_hash: &str) -> bool {
        let may_run = matches!(self.stage, Stage::Installing | Stage::Installed | Stage::Restarting | Stage::Trying);
        may_run && self.slot.is_some() && self.slot == slot && self.root_hash == root_hash
    }
}

/// A network card that had a carrier and an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// `52:54:00:68:62:01`: the kernel's name may be another one in another version.
    pub mac: String,
    pub name: String,
}

/// A job that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub version: String,
    pub from: String,
    pub at: UnixSeconds,
    /// One of those that [`Stage::has_ended`].
    pub stage: Stage,
    /// A sentence; empty for a version that was committed.
    #[serde(default)]
    pub reason: String,
    /// Folder below `/run/homebolt/failed` with what the failed starts left.
    #[serde(default)]
    pub evidence: Option<String>,
}

/// What the channel said when it was asked last: the manager's own knowledge, of which root believes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The channel's name.
    pub channel: String,
    /// When its server was asked last; 0 for never.
    pub asked: UnixSeconds,
    /// When it last answered with a list that is believed; 0 for never.
    pub answered: UnixSeconds,
    /// It is being asked now.
    pub asking: bool,
    /// What can be had by whoever asks for it.
    pub offer: Option<Offered>,
    /// Why it is not installed by itself, or why nothing can be had, a sentence; empty where all is well, or nothing new.
    pub refusal: String,
    /// Why the version that runs was withdrawn, by language; `None` where it was not.
    pub withdrawn: Option<BTreeMap<String, String>>,
    /// Why the server could not be asked the last time; empty when it answered.
    pub error: String,
}

/// A version that can be had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    pub version: String,
    pub lnd: String,
    /// Of the whole bundle, bytes.
    pub size: u64,
    /// After its first start there is no way back.
    pub one_way: bool,
    /// What runs now was withdrawn, or is no longer looked after.
    pub urgent: bool,
    /// What is new, by language; English is always there.
    pub notes: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_named_in_files_as_it_names_itself() {
        for stage in Stage::ALL {
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
        }
    }

    #[test]
    fn only_the_installed_system_in_its_slot_is_on_trial() {
        let trial = |stage| Trial { stage, slot: Some(Slot::B), root_hash: "ab".into(), cards: vec![] };
        let tried: Vec<Stage> =
            Stage::ALL.into_iter().filter(|stage| trial(*stage).is_of(Some(Slot::B), "ab")).collect();
        assert_eq!(tried, [Stage::Installing, Stage::Installed, Stage::Restarting, Stage::Trying]);
        let trying = trial(Stage::Trying);
        assert!(!trying.is_of(Some(Slot::A), "ab") && !trying.is_of(Some(Slot::B), "cd") && !trying.is_of(None, "ab"));
        assert!(!Trial::default().is_of(None, ""));
    }

    #[test]
    fn a_report_of_another_version_of_the_system_is_read_as_far_as_it_goes() {
        let report: Report = serde_json::from_str(r#"{"job":{"version":"1.1.0","stage":"trying","new":1}}"#).unwrap();
        let job = report.job.unwrap();
        assert_eq!((job.version.as_str(), job.stage, job.slot), ("1.1.0", Stage::Trying, None));
    }
}
