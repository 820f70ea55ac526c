//! Static channel backups (SCB): enough to ask the peers to close every channel, never a channel's state.

use super::{Client, READ, SLOW, ask, wallet::snapshot};
use crate::{
    ChannelPoint, Error,
    proto::lnrpc::{
        ChanBackupExportRequest, ChanBackupSnapshot, RestoreChanBackupRequest, channel_point::FundingTxid,
        restore_chan_backup_request,
    },
};

/// One backup of all channels, encrypted by LND with a key from the seed.
#[derive(Clone, PartialEq, Eq)]
pub struct ScbBlob {
    pub bytes: Vec<u8>,
    /// The channels in it, sorted.
    pub channels: Vec<ChannelPoint>,
}

impl std::fmt::Debug for ScbBlob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ScbBlob({} channels, {} bytes)", self.channels.len(), self.bytes.len())
    }
}

const EXPORT: &str = "export its channel backup";

impl Client {
    pub async fn export_backup(&self) -> Result<ScbBlob, Error> {
        blob(ask!(self, READ, EXPORT, lightning.export_all_channel_backups(ChanBackupExportRequest {}))?)
    }

    /// Whether this wallet can read the blob; gives the channels in it, or [`Error::BadBackup`].
    pub async fn verify_backup(&self, bytes: &[u8]) -> Result<Vec<ChannelPoint>, Error> {
        let request = snapshot(bytes.to_vec());
        let answer = ask!(self, READ, "verify the channel backup", lightning.verify_chan_backup(request))?;
        answer.chan_points.iter().map(|point| point.parse()).collect()
    }

    /// Asks the peers of all channels in the blob to close them. Gives how many there are.
    pub async fn restore_backup(&self, bytes: &[u8]) -> Result<u32, Error> {
        let backup = Some(restore_chan_backup_request::Backup::MultiChanBackup(bytes.to_vec()));
        let request = RestoreChanBackupRequest { backup };
        let answer = ask!(self, SLOW, "restore the channels", lightning.restore_channel_backups(request))?;
        Ok(answer.num_restored)
    }
}

/// What an answer or a message of the stream holds.
pub(crate) fn blob(snapshot: ChanBackupSnapshot) -> Result<ScbBlob, Error> {
    let multi = snapshot.multi_chan_backup.unwrap_or_default();
    let point = |point: &crate::proto::lnrpc::ChannelPoint| match &point.funding_txid {
        Some(FundingTxid::FundingTxidBytes(txid)) => ChannelPoint::of(EXPORT, txid, point.output_index),
        Some(FundingTxid::FundingTxidStr(txid)) => format!("{txid}:{}", point.output_index).parse(),
        None => Err(Error::Answer { action: EXPORT, what: "a channel without its funding".into() }),
    };
    let mut channels: Vec<ChannelPoint> = multi.chan_points.iter().map(point).collect::<Result<_, _>>()?;
    channels.sort();
    Ok(ScbBlob { bytes: multi.multi_chan_backup, channels })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes: Vec<u8>) {
            use prost::Message;
            if let Ok(wire) = ChanBackupSnapshot::decode(bytes.as_slice()) {
                let _ = blob(wire);
            }
        }
    }
}
