//! The console: what the box shows on its own screen and serial line, without keyboard.

mod show;
mod text;

use std::{path::PathBuf, sync::Arc};

pub(crate) use show::show;
use tokio::sync::{broadcast::error::RecvError, watch};
use twin::Topic;

use crate::{atomic, shared::Shared};

/// Writes the console's text to `<run>/manager/console.txt` and keeps it true until the twin is gone. `owned` says
/// whether the box has an owner; without a house nobody knows, and the code is needed for the recovery.
pub(crate) async fn run(shared: Arc<Shared>, mut owned: Option<watch::Receiver<bool>>) {
    let file: PathBuf = shared.run_dir.join("manager").join("console.txt");
    let mut changes = shared.twin.changes();
    let mut written = None;
    loop {
        let is_owned = owned.as_mut().is_some_and(|owned| *owned.borrow_and_update());
        let text = text::render(&shared, &shared.twin.state(), is_owned);
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
                () = changed(&mut owned) => break,
            }
        }
    }
}

async fn changed(owned: &mut Option<watch::Receiver<bool>>) {
    match owned {
        Some(owned) => {
            if owned.changed().await.is_err() {
                std::future::pending().await
            }
        }
        None => std::future::pending().await,
    }
}
