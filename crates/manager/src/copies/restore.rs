//! A backup that the owner gives with his seed, on its way into LND.
//!
//! ```text
//!  given ─► file (before InitWallet) ─► LND in step with the chain ─► verified ─► restored ─► file removed
//!                                                                        └► not of this wallet: told, another can be given
//! ```
//!
//! Handed over with `InitWallet` it would live in LND's memory until the chain is in step, hours later, and a power cut
//! would lose it; and one that does not fit would end LND's start.

use std::{fs, time::Duration};

use tokio::time;
use twin::{LndState, copies::Restore, source::sentence};

use super::Copies;
use crate::{
    atomic,
    error::{Error, now},
    setup::wallet::Origin,
    shared::House,
};

/// What is shorter cannot hold nonce, version and seal.
pub(crate) const SHORTEST: usize = 40;
/// Some 300 bytes a channel: more channels than any node here will have.
pub(crate) const LONGEST: usize = 1 << 20;
/// How often it is looked whether LND can take it.
const LOOK: Duration = Duration::from_secs(2);
/// After LND could not take it for reasons of its own.
const AGAIN: Duration = Duration::from_secs(30);

impl Copies {
    /// Keeps what the owner gave until LND has it. On the disk when this returns.
    pub(crate) async fn give(&self, bytes: Vec<u8>) -> Result<(), Error> {
        let path = self.restore_file.clone();
        let written = tokio::task::spawn_blocking(move || atomic::write(&path, &bytes, 0o600)).await;
        written.map_err(|error| Error::System { action: "keep the backup", source: error.into() })??;
        self.note(|notes| notes.restore = Some(Restore::Waiting)).await;
        Ok(())
    }

    /// What was given belongs to a wallet that is not made.
    pub(crate) async fn forget_given(&self) -> Result<(), Error> {
        match fs::remove_file(&self.restore_file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &self.restore_file)(source));
            }
            _ => {}
        }
        if self.notes.borrow().restore.is_some() {
            self.note(|notes| notes.restore = None).await;
        }
        Ok(())
    }

    /// The file tells, whatever the notes say: a power cut may have come between the two.
    pub(super) async fn look_for_restore(&self) {
        let is_there = self.restore_file.is_file();
        let is_waiting = matches!(self.notes.borrow().restore, Some(Restore::Waiting));
        if is_there && !is_waiting {
            self.note(|notes| notes.restore = Some(Restore::Waiting)).await;
        } else if is_waiting && !is_there {
            self.note(|notes| notes.restore = None).await;
        }
    }
}

/// Gives LND what waits, as soon as it can take it.
pub(super) async fn bring_in(house: &House) {
    loop {
        let is_restored = house.setup.choices().wallet.is_some_and(|wallet| wallet.origin == Origin::Restored);
        let is_waiting = matches!(house.copies.notes.borrow().restore, Some(Restore::Waiting));
        let is_up = house.shared.twin.state().lnd.state == LndState::ServerActive;
        let wait = if is_restored && is_waiting && is_up {
            match attempt(house).await {
                Ok(()) => LOOK,
                Err(why) => {
                    tracing::warn!("the given channel backup is not restored yet: {why}");
                    AGAIN
                }
            }
        } else {
            LOOK
        };
        time::sleep(wait).await;
    }
}

/// An error is one that may pass.
async fn attempt(house: &House) -> Result<(), String> {
    let bytes = fs::read(&house.copies.restore_file).map_err(|error| error.to_string())?;
    let client = &house.node.client;
    let outcome = match client.verify_backup(&bytes).await {
        Ok(points) => match client.restore_backup(&bytes).await {
            Ok(_) => Ok(u32::try_from(points.len()).unwrap_or(u32::MAX)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    let state = match outcome {
        Ok(channels) => Restore::Done { channels, at: now() },
        Err(error @ lnd::Error::BadBackup) => Restore::Failed { why: sentence(&error), at: now() },
        Err(error) => return Err(sentence(&error)),
    };
    tracing::info!(?state, "the given channel backup");
    let entry = store::Audit {
        at: now(),
        actor: "setup".into(),
        action: "channels-restored",
        detail: match &state {
            Restore::Done { channels, .. } => format!("The peers of {channels} channels were asked to close them."),
            _ => "LND does not take the channel backup that was given.".into(),
        },
    };
    if let Err(error) = house.store.audit(entry).await {
        tracing::warn!(%error, "the audit log has no line about the given channel backup");
    }
    // First the file, which decides at the next start: done twice does no harm, lost does.
    house.copies.note(|notes| notes.restore = Some(state)).await;
    fs::remove_file(&house.copies.restore_file).map_err(|error| error.to_string())
}
