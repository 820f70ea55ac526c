//! Asking root to install, to restart into what was installed, and to go back.

use std::time::Duration;

use release::{Refusal, Update};
use rust_i18n::t;
use serde_json::{Value, json};
use store::Audit;
use tokio::time;
use twin::updates::Stage;

use super::{DESCRIPTION, beside, checks, judge, look::get, preflight, receive::Upload, stick};
use crate::{
    atomic,
    error::Error,
    pages::words::sentence,
    request::{Refused, Task},
    shared::House,
};

/// For root to read the description and to begin.
const LIMIT: Duration = Duration::from_secs(60);
/// For what root reports to reach the twin.
const NEWS: Duration = Duration::from_secs(4);
/// What root reads, below the folder of updates.
const DOCUMENT: &str = "update.json";

/// Where a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    Channel,
    Upload,
    /// A file on the USB stick that is mounted.
    Stick(String),
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) from: From,
    /// As the one who wants it has seen it.
    pub(crate) version: String,
    /// Although it is no newer than what runs.
    pub(crate) older: bool,
    /// A person wants it.
    pub(crate) by_hand: bool,
}

/// Why it is not installed.
#[derive(Debug)]
pub(crate) enum Why {
    /// A sentence.
    Rule(String),
    Error(Error),
}

impl std::convert::From<Error> for Why {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl std::convert::From<Refused> for Why {
    fn from(refused: Refused) -> Self {
        Self::Rule(sentence(&refused.0))
    }
}

fn rule(text: std::borrow::Cow<'_, str>) -> Why {
    Why::Rule(text.into_owned())
}

/// Looks at everything beforehand and has root begin.
pub(crate) async fn install(house: &House, wish: Wish, entry: Audit) -> Result<(), Why> {
    if is_busy(house) {
        return Err(rule(t!("updates.busy")));
    }
    let (update, file, source) = fetched(house, &wish).await?;
    let version = &update.release.version;
    if *version != wish.version {
        return Err(rule(t!("updates.other", version = version)));
    }
    let refusal = match wish.from {
        // The channel's was judged when it was offered.
        From::Channel => None,
        From::Upload | From::Stick(_) => judge(house, &update, wish.older).err(),
    };
    let checks = checks(house, &update, refusal.as_deref());
    let blocked: Vec<&str> = checks
        .iter()
        .filter(|check| check.verdict == preflight::Verdict::Blocked)
        .map(|check| check.detail.as_str())
        .collect();
    if !blocked.is_empty() {
        return Err(Why::Rule(blocked.join(" ")));
    }
    house.store.audit(entry).await.map_err(Error::from)?;
    let path = house.updates.folder.join(DOCUMENT);
    beside(move || atomic::write(&path, &file, 0o600)).await??;
    let content = json!({ "source": source, "older": wish.older, "by_hand": wish.by_hand }).to_string();
    begin(house, Task::UpdateInstall, &content).await
}

/// Has root begin a job, and waits until the twin knows of it: the page that comes next shows it.
async fn begin(house: &House, task: Task, content: &str) -> Result<(), Why> {
    let twin = &house.shared.twin;
    let (before, mut changes) = (twin.state().updates.clone(), twin.changes());
    ask(house, task, content).await?;
    let known = async {
        while twin.state().updates == before {
            let _ = changes.recv().await;
        }
    };
    let _ = time::timeout(NEWS, known).await;
    Ok(())
}

/// The update, its signed description, and what root is told of the place of its bundle.
async fn fetched(house: &House, wish: &Wish) -> Result<(Update, Vec<u8>, Value), Why> {
    let updates = &house.updates;
    let read = |file: &[u8]| updates.read(file).map_err(|error| Why::Rule(sentence(&error.to_string())));
    match &wish.from {
        From::Channel => {
            let gone = || rule(t!("updates.gone"));
            let (found, source) = updates.found().zip(updates.channel()).ok_or_else(gone)?;
            if found.update.release.version != wish.version {
                return Err(gone());
            }
            let file = get(house, &source, &found.description, DESCRIPTION)
                .await
                .map_err(|what| Why::Rule(sentence(&what)))?;
            if read(&file)? != found.update {
                return Err(rule(t!("updates.differs")));
            }
            Ok((found.update.clone(), file, json!({ "url": found.bundle.as_str() })))
        }
        From::Upload => {
            let Upload::Ready(update) = updates.upload() else { return Err(rule(t!("updates.gone"))) };
            let path = updates.described();
            let file = beside(move || std::fs::read(&path).map_err(Error::file("read", path))).await??;
            // What is beside the bundle is what was checked when it came; root checks again.
            Ok((*update, file, json!("upload")))
        }
        From::Stick(name) => {
            let (update, file) = stick::read(house, name).await.map_err(Why::Rule)?;
            Ok((update, file, json!({ "stick": name })))
        }
    }
}

/// A job goes on, or what was installed waits for its restart.
pub(crate) fn is_busy(house: &House) -> bool {
    house.shared.twin.state().updates.job.as_ref().is_some_and(|job| !job.stage.has_ended())
}

/// Ends an installation that goes on.
pub(crate) async fn cancel(house: &House, entry: Audit) -> Result<(), Why> {
    house.store.audit(entry).await.map_err(Error::from)?;
    begin(house, Task::UpdateCancel, "").await
}

/// Restarts into the version that was installed.
pub(crate) async fn restart(house: &House, entry: Audit) -> Result<(), Why> {
    let is_there = |job: &twin::updates::Job| job.stage == Stage::Installed;
    if !house.shared.twin.state().updates.job.as_ref().is_some_and(is_there) {
        return Err(rule(t!("updates.nothing_installed")));
    }
    audit_unless_full(house, entry).await?;
    ask(house, Task::UpdateRestart, "").await
}

/// Goes back to the other system; `version` is what was typed.
pub(crate) async fn switch(house: &House, version: &str, entry: Audit) -> Result<(), Why> {
    if is_busy(house) {
        return Err(rule(t!("updates.busy")));
    }
    let state = house.shared.twin.state();
    let other = state.boot.slots.iter().find(|slot| !slot.booted);
    match other.and_then(|slot| slot.version.as_deref()) {
        None => return Err(rule(t!("updates.back.none"))),
        Some(there) if there != version.trim() => return Err(rule(t!("updates.back.typed", version = there))),
        Some(_) => {}
    }
    audit_unless_full(house, entry).await?;
    begin(house, Task::SlotSwitch, version.trim()).await
}

/// A full disk may be the very reason.
async fn audit_unless_full(house: &House, entry: Audit) -> Result<(), Error> {
    house.store.audit(entry).await.or_else(super::unless_full).map_err(Error::from)
}

async fn ask(house: &House, task: Task, content: &str) -> Result<(), Why> {
    Ok(house.desk.ask(&house.shared.run_dir, task, content, LIMIT).await.map(drop)?)
}

/// Whether a refusal is one that the owner can overrule.
pub(crate) fn is_older(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Older { .. })
}
