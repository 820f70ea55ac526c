//! Copies of the channel backup (SCB): where the owner wants them, whether they are there, and a backup given to restore.
//!
//! ```text
//!  LND ─► latest ─► feed ─► Pusher ─► target          (crate backup: spool, back-off, read back)
//!                             │
//!                             └► status ─► report ─► twin ─► pages, alerts
//! ```
//!
//! The choice is one of the wizard's ([`crate::setup::Choices`]); what happened to the copies is noted here.

pub(crate) mod restore;
pub(crate) mod sticks;
pub(crate) mod trial;
mod work;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use backup::{Pusher, Scb, Spool, Target, pusher::Handle};
use lnd::watch::LatestBackup;
use rust_i18n::t;
use serde::{Deserialize, Serialize};
use store::Store;
use tokio::sync::watch;
use twin::copies::{Copy, Drill, Restore};

use crate::{
    error::{Error, now},
    setup::Choices,
    shared::House,
};

pub(crate) use work::{begin_drill, run};

/// Key of [`Notes`] in the store.
const KEY: &str = "copies";
/// Key of the box's own SSH key in the store.
const SSH_KEY: &str = "backup-ssh-key";

/// What the owner chose for the copies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "choice", rename_all = "lowercase")]
pub(crate) enum Keep {
    /// Put off: no channel is opened until there is a place.
    Later,
    At(Box<Place>),
}

/// A place that was tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) target: Target,
    /// The USB stick that must be mounted for it.
    #[serde(default)]
    pub(crate) stick: Option<sticks::Chosen>,
}

impl Place {
    /// The place in words, without secrets.
    pub(crate) fn words(&self) -> String {
        match (&self.target, &self.stick) {
            (_, Some(stick)) => t!("backup.words.stick", model = stick.model, serial = stick.serial).into_owned(),
            (Target::Mail(mail), _) => t!("backup.words.mail", to = mail.to).into_owned(),
            (target, None) => target.describe(),
        }
    }
}

/// The place that was chosen, if one was.
pub(crate) fn place(choices: &Choices) -> Option<&Place> {
    match &choices.backup {
        Some(Keep::At(place)) => Some(place),
        Some(Keep::Later) | None => None,
    }
}

/// What is kept about the copies over a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    /// Newest first.
    history: Vec<Copy>,
    drill: Option<Drill>,
    restore: Option<Restore>,
}

/// What is started once, by [`run`].
struct Engine {
    pusher: Pusher,
    scbs: watch::Sender<Option<Scb>>,
}

pub(crate) struct Copies {
    store: Store,
    targets: watch::Sender<Option<Target>>,
    handle: Handle,
    /// LND's newest backup since this program started.
    pub(crate) latest: watch::Receiver<Option<LatestBackup>>,
    notes: watch::Sender<Notes>,
    /// One note at a time.
    noting: tokio::sync::Mutex<()>,
    drilling: watch::Sender<bool>,
    pub(crate) trial: trial::Trials,
    /// The sticks that root found last.
    pub(crate) sticks: Mutex<Option<Vec<sticks::Stick>>>,
    /// The backup that the owner gave, until LND has it.
    restore_file: PathBuf,
    engine: Mutex<Option<Engine>>,
}

/// The box's own key for SFTP.
#[derive(Serialize, Deserialize)]
struct SshKey {
    private: backup::Secret,
    public: String,
}

impl Copies {
    /// `state_dir` is on the data partition; `run_dir` stands in where that cannot be written.
    pub(crate) async fn open(
        store: Store,
        state_dir: &Path,
        run_dir: &Path,
        choices: &Choices,
        latest: watch::Receiver<Option<LatestBackup>>,
    ) -> Result<Self, Error> {
        let spool = match Spool::open(state_dir.join("scb")) {
            Ok(spool) => spool,
            Err(error) => {
                // A full disk must not keep copies from going where there is room.
                tracing::warn!("what is pending will not survive a power cut: {}", twin::source::sentence(&error));
                let failed = |error: backup::SpoolError| Error::System {
                    action: "make the spool of the channel backup",
                    source: std::io::Error::other(twin::source::sentence(&error)),
                };
                Spool::open(run_dir.join("manager/scb")).map_err(failed)?
            }
        };
        let notes: Notes = store.setting(KEY).await?.unwrap_or_default();
        let targets = watch::Sender::new(place(choices).map(|place| place.target.clone()));
        let scbs = watch::Sender::new(None);
        let (pusher, handle) = Pusher::new(spool, scbs.subscribe(), targets.subscribe());
        let copies = Self {
            store,
            targets,
            handle,
            latest,
            notes: watch::Sender::new(notes),
            noting: tokio::sync::Mutex::default(),
            drilling: watch::Sender::new(false),
            trial: trial::Trials::default(),
            sticks: Mutex::default(),
            restore_file: state_dir.join("restore.scb"),
            engine: Mutex::new(Some(Engine { pusher, scbs })),
        };
        copies.look_for_restore().await;
        Ok(copies)
    }

    fn take_engine(&self) -> Option<Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Makes the tested place the one for all copies from now on. The caller has written the choice down.
    pub(crate) fn aim(&self, place: &Place) {
        self.targets.send_replace(Some(place.target.clone()));
    }

    /// Tries now what waits.
    pub(crate) async fn retry(&self) {
        self.handle.retry().await;
    }

    /// The owner knows why channels are missing.
    pub(crate) async fn accept_shrunk(&self) {
        self.handle.accept_shrunk().await;
    }

    /// Changes the notes. What cannot be written down counts until the next start all the same.
    async fn note(&self, change: impl FnOnce(&mut Notes)) {
        let _turn = self.noting.lock().await;
        let mut notes = self.notes.borrow().clone();
        change(&mut notes);
        if let Err(error) = self.store.set(KEY, &notes, None).await {
            tracing::warn!(%error, "a note about the copies of the channel backup is not saved");
        }
        self.notes.send_replace(notes);
    }

    /// The box's key pair for SFTP, made at the first question: the private half, and the line for the server.
    pub(crate) async fn ssh_key(&self) -> Result<(backup::Secret, String), Error> {
        if let Some(key) = self.store.setting::<SshKey>(SSH_KEY).await? {
            return Ok((key.private, key.public));
        }
        let failed = |error: backup::Error| Error::System {
            action: "make an SSH key",
            source: std::io::Error::other(error.to_string()),
        };
        let (private, public) = backup::sftp::generate_key().map_err(failed)?;
        let key = SshKey { private: private.clone(), public: public.clone() };
        self.store.set(SSH_KEY, &key, None).await?;
        Ok((private, public))
    }
}

/// Why no channel may be opened for want of a safe copy; `None` when one may.
pub(crate) fn closed_door(house: &House) -> Option<String> {
    if place(&house.setup.choices()).is_none() {
        return Some(t!("backup.door.none").into_owned());
    }
    let copies = &house.shared.twin.state().copies;
    copies.late(now()).map(|_| t!("backup.door.late").into_owned())
}
