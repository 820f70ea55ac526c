//! The owner's network: confirmed plans on the data partition, laid down for systemd-networkd at each start; and a trial,
//! which lives in `/run` alone.
//!
//! ```text
//!  network-try ─► Waiting ─unit─► Held ──4 s──► Live ──network-confirm──► Confirmed: on the data partition, then ─┐
//!                    │             │             ├──network-withdraw──► Withdrawn ─┐                             ├─► over
//!                    └──power cut──┴───────────┐ └──60 s── Expired ────────────────┴─► confirmed plans laid anew ┘
//!                                              ▼
//!                     next start: confirmed plans
//! ```
//! A plan for a radio is Live only once the radio has joined and has an address; until then nothing can be confirmed, and
//! if it does not join, the trial is over at once and says why.
//!
//! Nothing of it needs the manager or a browser to go on living: the trial is a unit of its own, and what takes it back
//! is that unit's `ExecStopPost`, which systemd runs whatever became of the rest.

mod country;
mod radio;
mod regulatory;
mod store;
mod trial;

use std::path::PathBuf;

use crate::error::Error;

pub use store::{confirmed, lay};
pub(crate) use trial::start_unit;
pub use trial::{begin, confirm, hold, settle, withdraw};

/// The unit of a trial.
pub const UNIT: &str = "homebolt-network.service";

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// `/run/homebolt`: the report for everybody, the trial for root alone.
    pub run: PathBuf,
    /// The confirmed plans, one file a card.
    pub plans: PathBuf,
    /// Where systemd-networkd looks first.
    pub networkd: PathBuf,
    /// The passwords of the confirmed plans' Wi-Fi networks, one file a network; and the country of the radios.
    pub wifi: PathBuf,
    /// What iwd knows.
    pub iwd: PathBuf,
}

impl Places {
    /// Of the running box.
    pub fn of_box() -> Self {
        Self::below("/data".into())
    }

    /// With the data partition mounted there.
    pub fn below(data: PathBuf) -> Self {
        Self {
            run: crate::state::FOLDER.into(),
            plans: data.join("system/network"),
            networkd: "/run/systemd/network".into(),
            wifi: data.join("system/wifi"),
            iwd: "/run/iwd".into(),
        }
    }
}

/// `homebolt-boot network-trial`: the unit's work. Returns when the trial is decided or its time is over.
pub fn run_trial() -> Result<(), Error> {
    hold(&Places::of_box(), reload, radio::join)
}

/// `homebolt-boot network-settle`: what systemd runs after it, however it ended.
pub fn run_settle() -> Result<(), Error> {
    settle(&Places::of_box(), reload, radio::back)
}

/// Has systemd-networkd read its files again; it sets up anew the cards whose file changed.
fn reload() -> Result<(), Error> {
    crate::program::must("/usr/bin/networkctl", &["reload"]).map(|_| ())
}

#[cfg(test)]
mod wifi_tests;
