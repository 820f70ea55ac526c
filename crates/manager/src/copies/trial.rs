//! The live test of a place before it is used.
//!
//! ```text
//!  begin ─► testing ─► good ─────────────────────────────► used
//!              ├─► host key to be confirmed ─► testing
//!              ├─► code sent by mail ─► code typed ─► good
//!              └─► failed, with a sentence
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use backup::{HostKey, Probe, Target};
use tokio::task::AbortHandle;
use twin::source::sentence;

use super::Place;
use crate::shared::House;

/// How far the test is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Testing,
    /// The SFTP server showed this key; nothing secret was sent.
    HostKey(HostKey),
    /// A mail with this code is on its way.
    Code(String),
    Good {
        /// The test file, where the place lets nothing be removed.
        left_behind: Option<String>,
    },
    Failed(String),
}

/// The place that is being tried and not chosen yet.
#[derive(Debug, Default)]
pub(crate) struct Trials(Mutex<Option<Trial>>);

#[derive(Debug)]
struct Trial {
    place: Place,
    state: State,
    task: AbortHandle,
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Trials {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Trial>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is tried, and how far it is.
    pub(crate) fn look(&self) -> Option<(Place, State)> {
        self.lock().as_ref().map(|trial| (trial.place.clone(), trial.state.clone()))
    }

    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// Compares what the owner read in the mailbox; right makes the test good.
    pub(crate) fn code(&self, typed: &str) -> bool {
        let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let mut trial = self.lock();
        let Some(trial) = trial.as_mut() else { return false };
        let State::Code(code) = &trial.state else { return false };
        let is_right = plain(code).eq_ignore_ascii_case(&plain(typed));
        if is_right {
            trial.state = State::Good { left_behind: None };
        }
        is_right
    }
}

/// Begins the test of a place, in the place of an earlier one.
pub(crate) fn begin(house: &Arc<House>, place: Place) {
    let (target, tested) = (place.target.clone(), house.clone());
    let mut trial = house.copies.trial.lock();
    let task = tokio::spawn(async move {
        let state = state(target.probe().await);
        // A test that was replaced is aborted by its end; this one is still the one.
        if let Some(trial) = tested.copies.trial.lock().as_mut().filter(|trial| trial.place.target == target) {
            trial.state = state;
        }
    });
    *trial = Some(Trial { place, state: State::Testing, task: task.abort_handle() });
}

/// The owner says that the key that was shown is the server's: it is pinned, and the test goes on.
pub(crate) fn confirm_host_key(house: &Arc<House>, shown: &str) {
    let Some((mut place, State::HostKey(key))) = house.copies.trial.look() else { return };
    let Target::Sftp(sftp) = &mut place.target else { return };
    // The one on the page that was confirmed, and no other that came meanwhile.
    if key.fingerprint() == shown {
        sftp.host_key = Some(key);
        begin(house, place);
    }
}

fn state(outcome: Result<Probe, backup::Error>) -> State {
    match outcome {
        Ok(Probe::ReadBack { left_behind }) => State::Good { left_behind },
        Ok(Probe::ConfirmHostKey(key)) => State::HostKey(key),
        Ok(Probe::Mailed { code }) => State::Code(code),
        Err(error) => State::Failed(sentence(&error)),
    }
}
