//! What goes on beside the requests: feeding the pusher, telling the twin, the monthly drill, the stick.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use backup::{Scb, Status, Target};
use rust_i18n::t;
use tokio::{sync::watch, time};
use twin::{
    LndState, Update,
    copies::{self, Copy, Drill, NEWEST},
    node::ClosingKind,
    source::{Backoff, sentence},
};

use super::{place, restore, sticks};
use crate::{error::now, shared::House};

/// For LND to say how many channels it has: a copy does not wait longer for it.
const COUNT_LIMIT: Duration = Duration::from_secs(3);
/// How often it is looked whether a drill is due.
const DRILL_LOOK: Duration = Duration::from_secs(60 * 60);
/// From one drill to the next, seconds.
const DRILL_EVERY: u64 = 30 * 24 * 60 * 60;
/// How often it is looked whether the stick is there, from, to.
const STICK_LOOK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));

/// Does all of it, until the program ends.
pub(crate) async fn run(house: Arc<House>) {
    let Some(engine) = house.copies.take_engine() else { return };
    tokio::join!(
        engine.pusher.run(),
        feed(&house, engine.scbs),
        report(&house),
        remember(&house),
        drill_monthly(&house),
        restore::bring_in(&house),
        mount_stick(&house),
    );
}

/// Hands each new backup of LND's to the pusher.
async fn feed(house: &House, scbs: watch::Sender<Option<Scb>>) {
    let mut latest = house.copies.latest.clone();
    loop {
        let newest = latest.borrow_and_update().clone();
        if let Some(newest) = newest {
            let channels = u32::try_from(newest.blob.channels.len()).unwrap_or(u32::MAX);
            let known = known(house).await;
            scbs.send_replace(Some(Scb::new(newest.blob.bytes, channels, known)));
        }
        if latest.changed().await.is_err() {
            // The watchers are gone with the program: the pusher must not take that for its own end.
            return std::future::pending().await;
        }
    }
}

/// How many channels LND would put into a backup now. Asked of LND itself, as the twin may be a moment behind.
async fn known(house: &House) -> Option<u32> {
    let channels = time::timeout(COUNT_LIMIT, house.node.client.channels()).await.ok()?.ok()?;
    let closing = channels.closing.iter().filter(|closing| closing.kind == ClosingKind::Waiting).count();
    u32::try_from(channels.open.len() + channels.opening.len() + closing).ok()
}

/// Tells the twin whatever changes.
async fn report(house: &House) {
    let copies = &house.copies;
    let (mut status, mut notes) = (copies.handle.status(), copies.notes.subscribe());
    let mut drilling = copies.drilling.subscribe();
    let mut targets = copies.targets.subscribe();
    loop {
        targets.mark_unchanged();
        drilling.mark_unchanged();
        notes.mark_unchanged();
        let seen = status.borrow_and_update().clone();
        let _ = house.sender.send(Update::Copies(state(house, seen))).await;
        let changed = tokio::select! {
            changed = status.changed() => changed,
            changed = notes.changed() => changed,
            changed = drilling.changed() => changed,
            changed = targets.changed() => changed,
        };
        if changed.is_err() {
            return std::future::pending().await;
        }
    }
}

fn state(house: &House, status: Status) -> twin::Copies {
    let choices = house.setup.choices();
    let place = place(&choices);
    let words = place.map(super::Place::words);
    let notes = house.copies.notes.borrow().clone();
    twin::Copies {
        target: words.clone(),
        readable: place.is_some_and(|place| place.target.is_readable()),
        saved: status.saved.map(|saved| copy(&saved, words.unwrap_or_default())),
        pending: status.pending.map(|waiting| copies::Pending {
            since: waiting.since,
            channels: waiting.channels,
            attempts: waiting.attempts,
            next_try: waiting.next_try,
        }),
        error: status.error,
        spool_error: status.spool_error,
        shrunk: status.shrunk.map(|shrunk| copies::Shrunk { from: shrunk.from, to: shrunk.to, at: shrunk.at }),
        history: notes.history,
        drill: notes.drill,
        drilling: *house.copies.drilling.borrow(),
        restore: notes.restore,
    }
}

fn copy(saved: &backup::Saved, target: String) -> Copy {
    Copy { name: saved.name.to_string(), target, channels: saved.channels(), at: saved.at }
}

/// Keeps the history of what was saved.
async fn remember(house: &House) {
    let mut status = house.copies.handle.status();
    loop {
        let saved = status.borrow_and_update().saved.clone();
        let words = place(&house.setup.choices()).map(super::Place::words);
        if let (Some(saved), Some(words)) = (saved, words) {
            let new = copy(&saved, words);
            let known = house.copies.notes.borrow().history.iter().any(|old| old.name == new.name && old.at == new.at);
            if !known {
                house
                    .copies
                    .note(|notes| {
                        notes.history.insert(0, new);
                        notes.history.truncate(NEWEST);
                    })
                    .await;
            }
        }
        if status.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Begins to read the newest copy back and to show it to LND, unless that goes on already or there is nothing to read.
pub(crate) fn begin_drill(house: &Arc<House>) -> bool {
    let Some(target) = house.copies.targets.borrow().clone().filter(Target::is_readable) else { return false };
    if house.copies.drilling.send_replace(true) {
        return false;
    }
    let house = house.clone();
    tokio::spawn(async move {
        let drill = drill(&house, &target).await;
        if let Some(fault) = &drill.fault {
            tracing::warn!("the copy of the channel backup is not good: {fault}");
        }
        house.copies.note(|notes| notes.drill = Some(drill)).await;
        house.copies.drilling.send_replace(false);
    });
    true
}

async fn drill(house: &House, target: &Target) -> Drill {
    // Read before the copy is: what LND adds meanwhile is not missing in it.
    let ours = house.copies.latest.borrow().as_ref().map(|latest| latest.blob.channels.clone()).unwrap_or_default();
    let missing = std::sync::atomic::AtomicUsize::new(0);
    let check = async |bytes: Vec<u8>| {
        let there = house.node.client.verify_backup(&bytes).await.map_err(|error| sentence(&error))?;
        missing.store(ours.iter().filter(|point| !there.contains(point)).count(), Ordering::Relaxed);
        Ok(())
    };
    let (name, fault) = match target.verify_latest(check).await {
        Ok(name) => (name.to_string(), None),
        Err(error) => (String::new(), Some(sentence(&error))),
    };
    let missing = missing.into_inner();
    let fault = fault.or_else(|| (missing > 0).then(|| t!("backup.drill.missing", count = missing).into_owned()));
    Drill { at: now(), name, fault }
}

/// A copy that nobody ever reads is a hope: once a month it is read.
async fn drill_monthly(house: &Arc<House>) {
    let mut interval = time::interval(DRILL_LOOK);
    interval.tick().await;
    loop {
        interval.tick().await;
        let is_up = house.shared.twin.state().lnd.state == LndState::ServerActive;
        let has_copy = house.copies.handle.status().borrow().saved.is_some();
        let last = house.copies.notes.borrow().drill.as_ref().map_or(0, |drill| drill.at);
        if is_up && has_copy && now() > last.saturating_add(DRILL_EVERY) {
            begin_drill(house);
        }
    }
}

/// A stick is mounted by nobody but us: at each start, and again when it was pulled and put back.
async fn mount_stick(house: &House) {
    let mut backoff = Backoff::new(STICK_LOOK.0, STICK_LOOK.1);
    loop {
        let chosen = place(&house.setup.choices()).and_then(|place| place.stick.clone());
        let wait = match chosen {
            Some(stick) if !sticks::is_mounted(&house.shared.run_dir) => {
                match sticks::mount(house, &stick.serial).await {
                    Ok(()) => {
                        house.copies.retry().await;
                        STICK_LOOK.0
                    }
                    Err(why) => {
                        tracing::debug!("the stick is not mounted: {why}");
                        backoff.wait()
                    }
                }
            }
            _ => {
                backoff.reset();
                STICK_LOOK.0
            }
        };
        time::sleep(wait).await;
    }
}
