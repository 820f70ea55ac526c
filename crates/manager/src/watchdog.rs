//! Tells systemd that the manager lives, and only while it does.

use std::time::Duration;

use sd_notify::NotifyState;
use store::Store;
use tokio::time;
use twin::{Sender, Update};

/// Tells systemd something. Without systemd nobody listens, and that is fine.
pub(crate) fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// Feeds the watchdog at half its interval for as long as the twin's task takes updates and the store answers.
pub(crate) async fn run(twin: Sender, store: Option<Store>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let beat = limit / 2;
    let mut interval = time::interval(beat);
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // A check that takes longer than a beat would let the watchdog bite in any case.
        match time::timeout(beat, check(&twin, store.as_ref())).await {
            Ok(Ok(())) => tell(NotifyState::Watchdog),
            Ok(Err(what)) => tracing::error!(what, "the self-check failed; systemd will restart the manager"),
            Err(_) => tracing::error!("the self-check took too long; systemd will restart the manager"),
        }
    }
}

async fn check(twin: &Sender, store: Option<&Store>) -> Result<(), String> {
    // Always the same, so the twin drops it after a look; what counts is that it takes it off the queue.
    let alive = twin::SourceHealth { connected: true, since: 0, error: None };
    twin.send(Update::Source("manager", alive)).await.map_err(|_| "the twin has stopped")?;
    while twin.capacity() < twin.max_capacity() {
        time::sleep(Duration::from_millis(20)).await;
    }
    match store {
        Some(store) => store.ping().await.map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_live_twin_and_store_pass_and_a_dead_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("manager.db")).unwrap();
        let (twin, sender, _reader) = twin::Twin::new();
        let stuck = time::timeout(Duration::from_millis(100), check(&sender, Some(&store))).await;
        assert!(stuck.is_err(), "the twin's task does not run");
        let task = tokio::spawn(twin.run());
        check(&sender, Some(&store)).await.unwrap();
        task.abort();
        let _ = task.await;
        assert!(check(&sender, Some(&store)).await.is_err());
    }
}
