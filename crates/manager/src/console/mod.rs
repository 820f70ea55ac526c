//! The console: what the box shows on its own screen and serial line, without keyboard.

mod show;
mod text;

use std::{path::PathBuf, sync::Arc};

pub(crate) use show::show;
use tokio::sync::{broadcast::error::RecvError, watch};
use twin::Topic;

use crate::{access::reset::Shown, atomic, shared::Shared};

/// Whether the box has an owner, and the code for who forgot the password.
pub(crate) type Told = (watch::Receiver<bool>, watch::Receiver<Option<Shown>>);

/// Writes the console's text to `<run>/manager/console.txt` and keeps it true until the twin is gone. Without a
/// house nobody knows whether the box has an owner, and the claim code is needed for the recovery.
pub(crate) async fn run(shared: Arc<Shared>, mut told: Option<Told>) {
    let file: PathBuf = shared.run_dir.join("manager").join("console.txt");
    let mut changes = shared.twin.changes();
    let mut written = None;
    loop {
        let is_owned = told.as_mut().is_some_and(|(owned, _)| *owned.borrow_and_update());
        let reset = told.as_mut().and_then(|(_, reset)| reset.borrow_and_update().clone());
        let text = text::render(&shared, &shared.twin.state(), is_owned, reset.as_ref());
        if written.as_ref() != Some(&text) {
            // A few kilobytes on a tmpfs: not worth a thread.
            match atomic::write(&file, text.as_bytes(), 0o640) {
                Ok(()) => written = Some(text),
                Err(error) => tracing::error!(%error, "the console cannot be told anything"),
            }
        }
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(Topic::Boot | Topic::Network) | Err(RecvError::Lagged(_)) => break,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
                () = changed(&mut told) => break,
            }
        }
    }
}

async fn changed(told: &mut Option<Told>) {
    let Some((owned, reset)) = told else { return std::future::pending().await };
    let changed = tokio::select! {
        changed = owned.changed() => changed,
        changed = reset.changed() => changed,
    };
    if changed.is_err() {
        std::future::pending().await
    }
}
