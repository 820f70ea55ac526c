//! Updates of the system, the manager's side. It hears of new versions, looks beforehand, takes files, and asks root.
//!
//! ```text
//!  timer, owner ─► look ─► the channel's list ─► release::decide ─► News ─► pages, API, alerts
//!                             └ kept on the disk, and judged again when anything changes
//!  channel │ upload │ stick ─► pre-flight ─► update.json and a request ─► root ─► Report ─► the same
//! ```
//!
//! Root believes nothing of this: it verifies the signed description itself, and it alone touches the slots.

mod facts;
pub(crate) mod install;
mod look;
pub(crate) mod preflight;
pub(crate) mod receive;
pub(crate) mod reset;
mod run;
mod seen;
pub(crate) mod settings;
pub(crate) mod stick;
pub(crate) mod window;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use release::{Facts, Keyring, OpenError, Refusal, Update};
use store::{Audit, Store};
use tokio::sync::{oneshot, watch};
use url::Url;

use crate::{
    error::{Error, now, random},
    shared::House,
};
use facts::{Given, facts};
use preflight::{Check, Subject};
use receive::Upload;
use seen::Seen;
use settings::{Settings, Source};

pub(crate) use look::look;
pub(crate) use run::run;

/// Key of the box's own random number in the store.
const ID_KEY: &str = "updates.id";
/// Signed descriptions are a few thousand bytes, most of them notes; more is never read.
const DESCRIPTION: usize = 256 * 1024;

/// A version that the channel has for this box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) update: Update,
    pub(crate) one_way: bool,
    /// Where the bundle is, and its signed description beside it.
    bundle: Url,
    description: Url,
}

/// Where things are.
pub(crate) struct Places {
    /// The manager's own folder on the data partition.
    pub(crate) state_dir: PathBuf,
    /// The roots that updates lead back to.
    pub(crate) keyring: PathBuf,
    /// What the image says of a channel, if it says anything.
    pub(crate) channel: PathBuf,
}

pub(crate) struct Updates {
    store: Store,
    settings: watch::Sender<Settings>,
    seen: Mutex<Seen>,
    /// Tells when this box's turn is in a roll-out, and is told nobody.
    id: [u8; 16],
    of_image: Option<Source>,
    keyring: PathBuf,
    /// The list, descriptions and bundles.
    folder: PathBuf,
    looking: tokio::sync::Mutex<()>,
    found: Mutex<Option<Arc<Found>>>,
    upload: Mutex<Upload>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Updates {
    pub(crate) async fn open(store: Store, places: Places) -> Result<Self, Error> {
        let folder = places.state_dir.join("update");
        match fs::create_dir(&folder) {
            // A full disk must not keep the manager from starting; whoever writes there is told.
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                tracing::warn!(%error, "there is no folder for updates");
            }
            _ => {}
        }
        let id = match store.setting(ID_KEY).await? {
            Some(id) => id,
            None => {
                let id = random()?;
                store.set(ID_KEY, &id, None).await.or_else(unless_full)?;
                id
            }
        };
        let updates = Self {
            settings: watch::Sender::new(store.setting(settings::KEY).await?.unwrap_or_default()),
            seen: Mutex::new(store.setting(seen::KEY).await?.unwrap_or_default()),
            store,
            id,
            of_image: Source::of_image(&places.channel),
            keyring: places.keyring,
            folder,
            looking: tokio::sync::Mutex::default(),
            found: Mutex::default(),
            upload: Mutex::default(),
        };
        let kept = updates.kept_upload();
        *lock(&updates.upload) = kept;
        Ok(updates)
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.borrow().clone()
    }

    /// The channel that is asked: the owner's, else the image's.
    pub(crate) fn channel(&self) -> Option<Source> {
        self.settings.borrow().channel.clone().or_else(|| self.of_image.clone())
    }

    /// The one that the image names.
    pub(crate) fn of_image(&self) -> Option<&Source> {
        self.of_image.as_ref()
    }

    /// On the disk first, as all changes here.
    pub(crate) async fn set(&self, settings: Settings, entry: Audit) -> Result<(), Error> {
        self.store.set(settings::KEY, &settings, Some(entry)).await?;
        self.settings.send_replace(settings);
        Ok(())
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// What cannot be written down counts until the next start all the same.
    async fn note(&self, change: impl FnOnce(&mut Seen)) {
        let seen = {
            let mut seen = lock(&self.seen);
            change(&mut seen);
            seen.clone()
        };
        if let Err(error) = self.store.set(seen::KEY, &seen, None).await {
            tracing::warn!(%error, "what was seen of the channel is not saved");
        }
    }

    /// What the channel has for this box.
    pub(crate) fn found(&self) -> Option<Arc<Found>> {
        lock(&self.found).clone()
    }

    /// What was uploaded, or what became of it.
    pub(crate) fn upload(&self) -> Upload {
        lock(&self.upload).clone()
    }

    fn keyring(&self) -> Result<Keyring, OpenError> {
        // Without the file the sentence is that of an empty one, which says what it means.
        Ok(Keyring::parse(&fs::read(&self.keyring).unwrap_or_default())?)
    }

    /// Reads a signed description and believes it only if a key made it that this system trusts.
    fn read(&self, file: &[u8]) -> Result<Update, OpenError> {
        Update::open(file, &self.keyring()?)
    }
}

/// Does what blocks beside the event loop. Boxed, so that the machinery of tasks is in the program once for all of it.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let (answer, result) = oneshot::channel();
    let job: Box<dyn FnOnce() + Send> = Box::new(move || drop(answer.send(work())));
    tokio::task::spawn_blocking(job);
    let gone = |error| Error::System { action: "work beside the event loop", source: std::io::Error::other(error) };
    result.await.map_err(gone)
}

fn unless_full(error: store::Error) -> Result<(), store::Error> {
    if matches!(error, store::Error::Full) { Ok(()) } else { Err(error) }
}

/// The facts of this box, now.
fn facts_of(house: &House) -> Result<Facts, String> {
    let updates = &house.updates;
    let (settings, seen, state) = (updates.settings(), updates.seen(), house.shared.twin.state());
    let channel = updates.channel().map(|source| source.name).unwrap_or_default();
    let release = &house.shared.release;
    facts(Given {
        release,
        state: &state,
        settings: &settings,
        seen: &seen,
        channel: &channel,
        id: &updates.id,
        now: now(),
    })
}

/// An update that was brought, judged: whether it is one-way, or what stands against it.
pub(crate) fn judge(house: &House, update: &Update, older: bool) -> Result<bool, Box<Refusal>> {
    let facts = facts_of(house).map_err(|what| {
        let error = release::Error::Shape(what);
        Refusal::File(OpenError::Content(error))
    })?;
    Ok(release::bring(update, &facts, older)?.one_way)
}

/// The pre-flight checks for an update.
pub(crate) fn checks(house: &House, update: &Update, refusal: Option<&Refusal>) -> Vec<Check> {
    preflight::checks(&Subject {
        release: &house.shared.release,
        state: &house.shared.twin.state(),
        update,
        refusal,
        wallet: house.setup.choices().wallet.is_some(),
        faults: faults(Path::new("/sys/fs/ext4")),
        now: now(),
    })
}

/// Errors that the kernel has counted in all file systems that are written to; its check at the next start clears them.
fn faults(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |path: PathBuf| fs::read_to_string(path.join("errors_count")).ok()?.trim().parse::<u64>().ok();
    entries.filter_map(|entry| count(entry.path())).sum()
}

#[cfg(test)]
pub(crate) mod tests;
