//! Keeps a target up to date with LND's newest backup.
//!
//! ```text
//!   new blob ──► spool (fsync) ──► push ──► saved ──► spool cleared
//!                   ▲                │ fault
//!                   └── newer blob   └──► wait, growing to 15 minutes ──► push
//! ```
//! One task owns the state. A newer blob, another target and [`Handle::retry`] end the wait at once. The newest blob
//! wins: one that was not saved when the next came is counted in [`Waiting::superseded`], as the next holds all that LND
//! knows. Dropping the task at any point loses nothing: what is not saved is in the spool.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use twin::{
    UnixSeconds,
    source::{Backoff, now, sentence},
};

pub use crate::spool::Shrunk;
use crate::{
    Error, Saved, Scb, Spool, Target,
    spool::{Memory, SpoolError},
};

/// Waits between attempts: from, to.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15 * 60));

/// How the owner's copies stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The target in words; none when the owner has put it off.
    pub target: Option<String>,
    /// The newest copy at this target.
    pub saved: Option<Saved>,
    /// What is not saved yet.
    pub pending: Option<Waiting>,
    /// Why the last attempt failed; gone after a success.
    pub error: Option<String>,
    /// Why a power cut now could lose what is pending.
    pub spool_error: Option<String>,
    /// Channels went missing unexpectedly: to be shown until the owner has seen it.
    pub shrunk: Option<Shrunk>,
}

/// A blob on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Since when something is not saved.
    pub since: UnixSeconds,
    pub channels: u32,
    /// Attempts that failed since then.
    pub attempts: u32,
    /// Blobs before this one that were never saved.
    pub superseded: u32,
    pub next_try: Option<UnixSeconds>,
}

/// The task; see the module.
#[derive(Debug)]
pub struct Pusher {
    spool: Arc<Mutex<Spool>>,
    scbs: watch::Receiver<Option<Scb>>,
    targets: watch::Receiver<Option<Target>>,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    memory: Memory,
    pending: Option<Scb>,
    backoff: Backoff,
    /// No attempt before; none: at once.
    wait: Option<Instant>,
}

/// What a page can ask of the task.
#[derive(Debug, Clone)]
pub struct Handle {
    status: watch::Receiver<Status>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Retry,
    AcceptShrunk,
}

/// Whoever gave blobs or targets is gone: the program stops.
#[derive(Debug)]
struct Gone;

impl Handle {
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Try now instead of later.
    pub async fn retry(&self) {
        // A task that is gone has nothing to try.
        let _ = self.commands.send(Command::Retry).await;
    }

    /// The owner knows why channels are missing.
    pub async fn accept_shrunk(&self) {
        let _ = self.commands.send(Command::AcceptShrunk).await;
    }
}

impl Pusher {
    /// `scbs` holds LND's newest backup as soon as it is known; `targets` the owner's choice.
    pub fn new(
        spool: Spool,
        scbs: watch::Receiver<Option<Scb>>,
        targets: watch::Receiver<Option<Target>>,
    ) -> (Self, Handle) {
        let (commands_in, commands) = mpsc::channel(4);
        let (status, status_out) = watch::channel(Status::default());
        let memory = spool.memory().clone();
        let backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let spool = Arc::new(Mutex::new(spool));
        let pusher = Self { spool, scbs, targets, commands, status, memory, pending: None, backoff, wait: None };
        (pusher, Handle { status: status_out, commands: commands_in })
    }

    /// Runs until the sender of blobs or of targets is gone.
    pub async fn run(mut self) {
        if let Some(Some(scb)) = self.on_disk(|spool| spool.pending()).await {
            self.hold(scb);
        }
        let mut handles = true;
        loop {
            let target = self.take_target().await;
            self.take_in().await;
            if let (Some(target), Some(scb)) = (&target, self.pending.clone())
                && self.wait.is_none_or(|at| at <= Instant::now())
            {
                match self.push(target, scb).await {
                    Ok(()) => continue,
                    Err(Gone) => return,
                }
            }
            let again = self.wait.filter(|_| target.is_some() && self.pending.is_some());
            tokio::select! {
                changed = self.scbs.changed() => {
                    if changed.is_err() { return }
                    self.wait = None;
                }
                changed = self.targets.changed() => {
                    if changed.is_err() { return }
                    self.wait = None;
                }
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => self.wait = None,
                command = self.commands.recv(), if handles => match command {
                    Some(Command::Retry) => self.wait = None,
                    Some(Command::AcceptShrunk) => self.accept_shrunk().await,
                    None => handles = false,
                },
            }
        }
    }

    /// The target of now. What was saved at another one does not count here.
    async fn take_target(&mut self) -> Option<Target> {
        let target = self.targets.borrow_and_update().clone();
        let words = target.as_ref().map(Target::describe);
        if let Some(words) = &words
            && *words != self.memory.target
        {
            self.memory.target.clone_from(words);
            self.memory.saved = None;
            self.remember().await;
            self.scbs.mark_changed();
        }
        if self.status.borrow().target != words {
            self.backoff.reset();
        }
        let saved = self.memory.saved.clone().filter(|_| words.is_some());
        let shrunk = self.memory.shrunk.clone();
        self.tell(|status| {
            if status.target != words {
                status.error = None;
            }
            (status.target, status.saved, status.shrunk) = (words, saved, shrunk);
        });
        target
    }

    /// Takes the newest blob into the spool, unless it is known.
    async fn take_in(&mut self) {
        let Some(scb) = self.scbs.borrow_and_update().clone() else { return };
        let hash = scb.hash();
        let is_known = match &self.pending {
            Some(pending) => pending.hash() == hash,
            None => self.memory.saved.as_ref().is_some_and(|saved| saved.hash == hash),
        };
        if is_known {
            return;
        }
        let spooled = scb.clone();
        self.on_disk(move |spool| spool.put(&spooled)).await;
        self.count(&scb);
        self.remember().await;
        self.hold(scb);
    }

    /// Looks at the number of channels: the one thing in a blob that tells it from a good one.
    fn count(&mut self, scb: &Scb) {
        let before = self.memory.channels.replace(scb.channels).unwrap_or(0);
        let is_expected = scb.known.is_some_and(|known| scb.channels >= known);
        if scb.channels < before && !is_expected {
            tracing::warn!("the backup of the channels shrank from {before} to {}", scb.channels);
            let from = self.memory.shrunk.as_ref().map_or(before, |shrunk| shrunk.from.max(before));
            self.memory.shrunk = Some(Shrunk { from, to: scb.channels, at: now() });
        } else if self.memory.shrunk.as_ref().is_some_and(|shrunk| scb.channels >= shrunk.from) {
            self.memory.shrunk = None;
        }
    }

    fn hold(&mut self, scb: Scb) {
        let channels = scb.channels;
        let replaces = self.pending.replace(scb).is_some();
        let shrunk = self.memory.shrunk.clone();
        self.tell(|status| {
            let new = || Waiting { since: now(), channels, attempts: 0, superseded: 0, next_try: None };
            let waiting = status.pending.get_or_insert_with(new);
            waiting.channels = channels;
            waiting.superseded += u32::from(replaces);
            status.shrunk = shrunk;
        });
    }

    /// One attempt. Blobs that come meanwhile go into the spool at once; another target ends it.
    async fn push(&mut self, target: &Target, scb: Scb) -> Result<(), Gone> {
        self.tell(|status| {
            if let Some(waiting) = &mut status.pending {
                waiting.next_try = None;
            }
        });
        let push = target.push(&scb);
        tokio::pin!(push);
        let outcome = loop {
            tokio::select! {
                outcome = &mut push => break outcome,
                changed = self.scbs.changed() => {
                    changed.map_err(|_| Gone)?;
                    self.take_in().await;
                }
                changed = self.targets.changed() => return changed.map_err(|_| Gone),
            }
        };
        match outcome {
            Ok(saved) => self.saved(saved).await,
            Err(error) => self.failed(&error),
        }
        Ok(())
    }

    async fn saved(&mut self, saved: Saved) {
        tracing::info!("the backup of {} channels is saved as {}", saved.channels(), saved.name);
        self.backoff.reset();
        self.wait = None;
        let is_newest = self.pending.as_ref().is_some_and(|pending| pending.hash() == saved.hash);
        self.memory.saved = Some(saved.clone());
        self.remember().await;
        if is_newest {
            self.pending = None;
            self.on_disk(|spool| spool.clear()).await;
        }
        self.tell(|status| {
            status.error = None;
            status.saved = Some(saved);
            match &mut status.pending {
                Some(waiting) if !is_newest => (waiting.attempts, waiting.superseded) = (0, 0),
                pending => *pending = None,
            }
        });
    }

    fn failed(&mut self, error: &Error) {
        let wait = self.backoff.wait();
        self.wait = Some(Instant::now() + wait);
        let why = sentence(error);
        let is_news = self.status.borrow().error.as_ref() != Some(&why);
        if is_news {
            tracing::warn!("the backup of the channels is not saved: {why}");
        }
        self.tell(|status| {
            status.error = Some(why);
            if let Some(waiting) = &mut status.pending {
                waiting.attempts += 1;
                waiting.next_try = Some(now() + wait.as_secs());
            }
        });
    }

    async fn accept_shrunk(&mut self) {
        self.memory.shrunk = None;
        self.remember().await;
        self.tell(|status| status.shrunk = None);
    }

    async fn remember(&mut self) {
        let memory = self.memory.clone();
        self.on_disk(move |spool| spool.remember(memory)).await;
    }

    /// Works on the spool on a thread of its own. A spool that fails stops nothing: it is told.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> Result<T, SpoolError> + Send + 'static,
    ) -> Option<T> {
        let spool = self.spool.clone();
        let work = tokio::task::spawn_blocking(move || work(&mut spool.lock().unwrap_or_else(PoisonError::into_inner)));
        let outcome = match work.await {
            Ok(outcome) => outcome.map_err(|error| sentence(&error)),
            Err(error) => Err(error.to_string()),
        };
        let why = outcome.as_ref().err().cloned();
        if let Some(why) = &why {
            tracing::warn!("what is pending may not survive a power cut: {why}");
        }
        self.tell(|status| status.spool_error = why);
        outcome.ok()
    }

    fn tell(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::time::timeout;

    use super::*;
    use crate::config::Folder;

    /// A pusher to a folder, and its ends.
    struct Lab {
        disk: tempfile::TempDir,
        scbs: watch::Sender<Option<Scb>>,
        targets: watch::Sender<Option<Target>>,
        handle: Handle,
        task: tokio::task::JoinHandle<()>,
    }

    fn target(disk: &Path, folder: &str) -> Target {
        Target::Folder(Folder { mount: disk.to_owned(), folder: folder.into(), must_be_mounted: false })
    }

    fn blob(text: &str, channels: u32) -> Option<Scb> {
        Some(Scb::new(text.as_bytes().to_vec(), channels, None))
    }

    impl Lab {
        /// The folder `scb` is there, others are not.
        fn new() -> Self {
            let disk = tempfile::tempdir().unwrap();
            std::fs::create_dir(disk.path().join("scb")).unwrap();
            Self::on(disk, "scb")
        }

        fn on(disk: tempfile::TempDir, folder: &str) -> Self {
            let spool = Spool::open(disk.path().join("spool")).unwrap();
            let scbs = watch::Sender::new(None);
            let targets = watch::Sender::new(Some(target(disk.path(), folder)));
            let (pusher, handle) = Pusher::new(spool, scbs.subscribe(), targets.subscribe());
            let task = tokio::spawn(pusher.run());
            Self { disk, scbs, targets, handle, task }
        }

        /// As a power cut does.
        fn restart(self, folder: &str) -> Self {
            self.task.abort();
            Self::on(self.disk, folder)
        }

        async fn wait(&self, condition: impl FnMut(&Status) -> bool) -> Status {
            let mut status = self.handle.status();
            timeout(Duration::from_secs(10), status.wait_for(condition)).await.expect("in time").unwrap().clone()
        }

        async fn copies(&self, folder: &str) -> Vec<String> {
            let target = target(self.disk.path(), folder);
            let mut texts = Vec::new();
            for name in target.list().await.unwrap() {
                texts.push(String::from_utf8(target.fetch(&name).await.unwrap()).unwrap());
            }
            texts
        }
    }

    fn channels(status: &Status) -> Option<u32> {
        status.saved.as_ref().map(Saved::channels)
    }

    #[tokio::test]
    async fn each_change_is_saved_and_nothing_is_left_in_the_spool() {
        let lab = Lab::new();
        for (text, count) in [("one", 1), ("two", 2)] {
            lab.scbs.send_replace(blob(text, count));
            lab.wait(|status| channels(status) == Some(count) && status.pending.is_none()).await;
        }
        assert_eq!(lab.copies("scb").await, ["two", "one"]);
        let lab = lab.restart("scb");
        let status = lab.wait(|status| status.saved.is_some()).await;
        assert_eq!((channels(&status), status.pending), (Some(2), None));
        // The same again, as LND gives it after its own restart, is no change.
        lab.scbs.send_replace(blob("two", 2));
        lab.scbs.send_replace(blob("three", 3));
        lab.wait(|status| channels(status) == Some(3)).await;
        assert_eq!(lab.copies("scb").await, ["three", "two", "one"]);
    }

    #[tokio::test]
    async fn a_target_that_is_away_gets_the_newest_when_it_is_back() {
        let lab = Lab::on(tempfile::tempdir().unwrap(), "away");
        lab.scbs.send_replace(blob("one", 1));
        let status = lab.wait(|status| status.error.is_some()).await;
        assert!(status.error.unwrap().contains("away"));
        lab.scbs.send_replace(blob("two", 2));
        let status = lab.wait(|status| status.pending.as_ref().is_some_and(|waiting| waiting.attempts >= 2)).await;
        let waiting = status.pending.unwrap();
        assert_eq!((waiting.channels, waiting.superseded), (2, 1));
        std::fs::create_dir(lab.disk.path().join("away")).unwrap();
        lab.handle.retry().await;
        let status = lab.wait(|status| status.saved.is_some()).await;
        assert_eq!((status.pending, status.error), (None, None));
        assert_eq!(lab.copies("away").await, ["two"]);
    }

    #[tokio::test]
    async fn it_tries_again_by_itself() {
        let lab = Lab::on(tempfile::tempdir().unwrap(), "away");
        lab.scbs.send_replace(blob("one", 1));
        lab.wait(|status| status.error.is_some()).await;
        std::fs::create_dir(lab.disk.path().join("away")).unwrap();
        lab.wait(|status| status.saved.is_some()).await;
    }

    #[tokio::test]
    async fn a_power_cut_before_the_push_loses_nothing() {
        let lab = Lab::on(tempfile::tempdir().unwrap(), "away");
        lab.scbs.send_replace(blob("one", 1));
        lab.wait(|status| status.error.is_some()).await;
        let lab = lab.restart("away");
        std::fs::create_dir(lab.disk.path().join("away")).unwrap();
        // LND is not up yet: what there is comes from the spool.
        lab.wait(|status| channels(status) == Some(1)).await;
        assert_eq!(lab.copies("away").await, ["one"]);
    }

    #[tokio::test]
    async fn another_target_gets_a_copy_of_what_is_unchanged() {
        let lab = Lab::new();
        lab.scbs.send_replace(blob("one", 1));
        lab.wait(|status| status.saved.is_some()).await;
        std::fs::create_dir(lab.disk.path().join("other")).unwrap();
        lab.targets.send_replace(Some(target(lab.disk.path(), "other")));
        lab.wait(|status| status.saved.is_some() && status.target.as_ref().is_some_and(|t| t.contains("other"))).await;
        assert_eq!(lab.copies("other").await, ["one"]);
    }

    #[tokio::test]
    async fn without_a_target_the_newest_waits_and_no_copy_is_claimed() {
        let lab = Lab::new();
        lab.targets.send_replace(None);
        lab.scbs.send_replace(blob("one", 1));
        let status = lab.wait(|status| status.pending.is_some() && status.target.is_none()).await;
        assert_eq!(status.saved, None);
        lab.targets.send_replace(Some(target(lab.disk.path(), "scb")));
        lab.wait(|status| channels(status) == Some(1)).await;
    }

    #[tokio::test]
    async fn missing_channels_are_told_until_the_owner_has_seen_it() {
        let lab = Lab::new();
        lab.scbs.send_replace(blob("five", 5));
        lab.wait(|status| channels(status) == Some(5)).await;
        // Closed, and LND says so.
        lab.scbs.send_replace(Some(Scb::new(b"four".to_vec(), 4, Some(4))));
        let status = lab.wait(|status| channels(status) == Some(4)).await;
        assert_eq!(status.shrunk, None);
        lab.scbs.send_replace(Some(Scb::new(b"one".to_vec(), 1, Some(4))));
        let status = lab.wait(|status| channels(status) == Some(1)).await;
        assert!(matches!(status.shrunk, Some(Shrunk { from: 4, to: 1, .. })), "{status:?}");
        let lab = lab.restart("scb");
        lab.wait(|status| status.shrunk.is_some()).await;
        lab.handle.accept_shrunk().await;
        lab.wait(|status| status.shrunk.is_none()).await;
        let lab = lab.restart("scb");
        let status = lab.wait(|status| status.target.is_some()).await;
        assert_eq!(status.shrunk, None);
    }

    #[tokio::test]
    async fn a_spool_that_cannot_be_written_is_told_and_stops_nothing() {
        let lab = Lab::new();
        lab.wait(|status| status.target.is_some()).await;
        std::fs::remove_dir_all(lab.disk.path().join("spool")).unwrap();
        lab.scbs.send_replace(blob("one", 1));
        let status = lab.wait(|status| status.saved.is_some()).await;
        assert!(status.spool_error.is_some());
    }
}
