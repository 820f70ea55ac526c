//! Static channel backups: each new one is handed on.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tonic::Streaming;
use twin::{UnixSeconds, Update, node::Backup, source::now};

use super::follow::{Context, Part};
use crate::{
    ChannelPoint, Client, Error,
    client::{ScbBlob, ask},
    proto::lnrpc::{ChanBackupSnapshot, ChannelBackupSubscription},
};

/// A backup to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestBackup {
    pub blob: ScbBlob,
    /// SHA-256 of the bytes, hexadecimal.
    pub hash: String,
    pub changed: UnixSeconds,
}

pub(super) struct BackupsPart {
    latest: watch::Sender<Option<LatestBackup>>,
    /// LND told of a change that need not be one of the set of channels, for example a peer's new address.
    told: bool,
}

impl BackupsPart {
    pub(super) fn new(latest: watch::Sender<Option<LatestBackup>>) -> Self {
        Self { latest, told: false }
    }

    /// Whether this set of channels is to be stored anew. The bytes differ with each export, so they tell nothing.
    fn is_news(&self, channels: &[ChannelPoint]) -> bool {
        self.told || self.latest.borrow().as_ref().is_none_or(|latest| latest.blob.channels != channels)
    }
}

impl Part for BackupsPart {
    const NAME: &'static str = "channel backups";
    const INTERVAL: Duration = Duration::from_secs(60);
    type Hint = ChanBackupSnapshot;

    async fn listen(client: Client) -> Result<Streaming<ChanBackupSnapshot>, Error> {
        let request = ChannelBackupSubscription {};
        ask!(client, Duration::MAX, "tell of its channel backups", lightning.subscribe_channel_backups(request))
    }

    fn take(&mut self, _hint: ChanBackupSnapshot) {
        self.told = true;
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        let blob = context.client.export_backup().await?;
        if self.is_news(&blob.channels) {
            let hash = hex::encode(Sha256::digest(&blob.bytes));
            self.latest.send_replace(Some(LatestBackup { blob, hash, changed: now() }));
            self.told = false;
        }
        let latest = self.latest.borrow();
        let backup = latest.as_ref().map(|latest| Backup {
            channels: latest.blob.channels.len(),
            hash: latest.hash.clone(),
            changed: latest.changed,
        });
        Ok(Update::Backup(backup.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_channels_are_no_news_even_in_other_bytes_unless_lnd_told_of_a_change() {
        let point: ChannelPoint = format!("{}:0", "ab".repeat(32)).parse().unwrap();
        let mut part = BackupsPart::new(watch::Sender::new(None));
        assert!(part.is_news(&[]), "the first is news, even of no channel");
        let blob = ScbBlob { bytes: vec![1], channels: vec![point.clone()] };
        part.latest.send_replace(Some(LatestBackup { blob, hash: String::new(), changed: 1 }));
        assert!(!part.is_news(std::slice::from_ref(&point)));
        assert!(part.is_news(&[]));
        part.take(ChanBackupSnapshot::default());
        assert!(part.is_news(&[point]));
    }
}
