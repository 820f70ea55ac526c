//! What root tells about the plans, in a file that everybody on the box may read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Country, NotJoined, Passphrase, Plan};

/// What the manager asks root to try.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Who knows it may keep the plan: the page shows it once, root and manager remember it for as long as the trial.
    pub code: String,
    pub plan: Plan,
    /// Of the plan's Wi-Fi network; `None`: the one that is kept already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Passphrase>,
    /// For all radios of the box; `None`: the one that is kept already, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
}

/// Without the code and the password, which are for no log.
impl fmt::Debug for Try {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Try");
        shown.field("plan", &self.plan).field("country", &self.country).finish_non_exhaustive()
    }
}

/// `/run/homebolt/network.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The confirmed plans, in force at each start.
    pub plans: Vec<Plan>,
    /// The confirmed country of the box's radios.
    pub country: Option<Country>,
    /// What is being tried.
    pub trial: Option<Trial>,
    /// How the newest trial since the start ended.
    pub last: Option<Last>,
}

/// A plan that is live and not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub plan: Plan,
    /// Seconds of the machine's own clock since its start (`CLOCK_BOOTTIME`): the wall clock may be set meanwhile.
    pub until: u64,
    /// The country that is tried with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    pub plan: Plan,
    pub ending: Ending,
    /// Seconds since the machine's start.
    pub at: u64,
    /// Why a radio did not join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<NotJoined>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    Confirmed,
    /// Nobody confirmed in time.
    Expired,
    /// The owner took it back.
    Withdrawn,
    /// systemd-networkd did not take it, or the radio did not join: [`Last::why`].
    Failed,
}
