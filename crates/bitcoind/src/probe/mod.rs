//! The live test of an own bitcoind: a list of checks that fills while somebody looks on.
//!
//! ```text
//!  connection ─► access ─┬─► network, version, synchronization, pruning, peers
//!                        └─► what bitcoind says it publishes ─┐
//!  ZMQ addresses ─► subscribed ─► listening for a while ──────┴─► blocks, transactions
//! ```

mod finding;
mod node;
mod run;
mod topics;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::AbortHandle};
use twin::UnixSeconds;

use crate::Config;

pub use finding::{Finding, What};
pub(crate) use node::permyriad;

/// What can be set about a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The whole test takes no longer.
    pub limit: Duration,
    /// How long it listens for messages of ZMQ, once subscribed.
    pub listen: Duration,
    /// Since when the wallet may have money, for a restored one; a new wallet needs nothing of the past.
    pub wallet_birthday: Option<UnixSeconds>,
    /// A newest block older than this is worth a warning: of 10,000 blocks, one takes so long.
    pub tip_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(30),
            listen: Duration::from_secs(8),
            wallet_birthday: None,
            tip_age: Duration::from_secs(90 * 60),
        }
    }
}

/// What is looked at, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Somebody is there who speaks JSON-RPC.
    Connection,
    /// It lets us in.
    Access,
    Network,
    Version,
    Synchronization,
    Pruning,
    Peers,
    /// How LND will learn of new blocks.
    Blocks,
    /// How LND will learn of new transactions.
    Transactions,
}

impl Subject {
    pub const ALL: [Self; 9] = [
        Self::Connection,
        Self::Access,
        Self::Network,
        Self::Version,
        Self::Synchronization,
        Self::Pruning,
        Self::Peers,
        Self::Blocks,
        Self::Transactions,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Pending,
    Ok,
    /// It works, and the owner should know this.
    Warn,
    /// LND would not run, or not see what it must.
    Fail,
    /// Not looked at, because something before it failed.
    Skipped,
}

/// One line of the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub subject: Subject,
    pub state: State,
    /// What was found, as data; `None` while nothing is known, and when skipped.
    pub finding: Option<Finding>,
    /// The finding in English; empty without one.
    pub sentence: String,
    /// What to do about it, in English.
    pub advice: Option<String>,
}

impl Check {
    fn pending(subject: Subject) -> Self {
        Self { subject, state: State::Pending, finding: None, sentence: String::new(), advice: None }
    }

    fn found(subject: Subject, finding: Finding) -> Self {
        let (state, sentence, advice) = (finding.state(), finding.sentence(), finding.advice());
        Self { subject, state, finding: Some(finding), sentence, advice }
    }
}

/// All checks, each once, in the order of [`Subject`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
    /// Nothing is pending any more.
    pub finished: bool,
}

impl Report {
    fn new() -> Self {
        Self { checks: Subject::ALL.map(Check::pending).into(), finished: false }
    }

    /// The worst of all: pending while any is, then fail before warn before ok.
    pub fn state(&self) -> State {
        let has = |state| self.checks.iter().any(|check| check.state == state);
        if !self.finished {
            State::Pending
        } else if has(State::Fail) || has(State::Skipped) {
            State::Fail
        } else if has(State::Warn) {
            State::Warn
        } else {
            State::Ok
        }
    }

    pub fn check(&self, subject: Subject) -> Option<&Check> {
        self.checks.iter().find(|check| check.subject == subject)
    }

    /// What was found about `subject`.
    pub fn finding(&self, subject: Subject) -> Option<&Finding> {
        self.check(subject)?.finding.as_ref()
    }

    fn set(&mut self, check: Check) {
        if let Some(old) = self.checks.iter_mut().find(|old| old.subject == check.subject) {
            *old = check;
        }
    }
}

/// A test that runs. Dropping it ends it, with all its connections.
#[derive(Debug)]
pub struct Probe {
    reports: watch::Receiver<Report>,
    task: AbortHandle,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probe {
    /// Begins to test.
    pub fn start(config: Config, options: Options) -> Self {
        let (sender, reports) = watch::channel(Report::new());
        let task = tokio::spawn(run::run(config, options, sender)).abort_handle();
        Self { reports, task }
    }

    /// How far it is.
    pub fn report(&self) -> Report {
        self.reports.borrow().clone()
    }

    /// A feed of its own, for a page that shows the progress. It does not keep the test running.
    pub fn subscribe(&self) -> Feed {
        Feed(self.reports.clone())
    }

    /// The report at its end.
    pub async fn finished(&mut self) -> Report {
        // The sender goes only with the task, which is finished before.
        let report = self.reports.wait_for(|report| report.finished).await;
        report.map(|report| report.clone()).unwrap_or_else(|_| self.reports.borrow().clone())
    }
}

/// The changes of a report. A slow reader misses some, never the last.
#[derive(Debug, Clone)]
pub struct Feed(watch::Receiver<Report>);

impl Feed {
    /// The report after the next change; `None` when the test is over or was dropped.
    pub async fn next(&mut self) -> Option<Report> {
        self.0.changed().await.ok()?;
        // A copy: whoever holds on to the original stops the test.
        Some(self.0.borrow_and_update().clone())
    }
}

/// Tests to the end.
pub async fn probe(config: &Config, options: Options) -> Report {
    Probe::start(config.clone(), options).finished().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_is_the_state_of_the_report() {
        let mut report = Report::new();
        assert_eq!(report.state(), State::Pending);
        report.checks.iter_mut().for_each(|check| check.state = State::Ok);
        report.finished = true;
        assert_eq!(report.state(), State::Ok);
        report.checks[2].state = State::Warn;
        assert_eq!(report.state(), State::Warn);
        report.checks[3].state = State::Skipped;
        assert_eq!(report.state(), State::Fail);
    }
}
