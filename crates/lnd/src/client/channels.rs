//! Channels: what there is, opening and closing.

use tonic::Streaming;
use twin::{
    Sat,
    node::{Channel, Channels, Closing, ClosingKind, Htlc, Opening},
};

use super::{Client, READ, SLOW, ask, sat, wire};
use crate::{
    ChannelPoint, Error, NodeId,
    proto::lnrpc::{
        Channel as WireChannel, ChannelCloseSummary, ChannelConstraints, ChannelPoint as WirePoint,
        CloseChannelRequest, CloseStatusUpdate, ClosedChannelsRequest, Initiator, ListChannelsRequest,
        OpenChannelRequest, OpenStatusUpdate, PendingChannelsRequest, PendingChannelsResponse,
        channel_close_summary::ClosureType,
        channel_point::FundingTxid,
        close_status_update, open_status_update,
        pending_channels_response::{ForceClosedChannel, PendingChannel, PendingOpenChannel, WaitingCloseChannel},
    },
    types::FeeRate,
};

/// A channel to open. The peer must be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenChannel {
    pub node: NodeId,
    pub amount: OpenTo,
    /// Given to the peer at once, and gone.
    pub push: Sat,
    pub fee: FeeRate,
    /// Not announced to the network.
    pub private: bool,
    /// A note of the owner's, kept by LND.
    pub memo: String,
}

/// How much this node puts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenTo {
    Amount(Sat),
    /// All there is in the wallet, less fees and reserve.
    Everything,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseChannel {
    pub point: ChannelPoint,
    /// Alone, without the peer: the money is locked for a time.
    pub force: bool,
    /// For a close in agreement; a force-close has its own.
    pub fee: FeeRate,
    /// Where the money goes; `None`: to the wallet.
    pub address: Option<String>,
}

/// Follows a channel that opens.
#[derive(Debug)]
pub struct Openings {
    client: Client,
    stream: Streaming<OpenStatusUpdate>,
}

/// Follows a channel that closes.
#[derive(Debug)]
pub struct Closings {
    client: Client,
    stream: Streaming<CloseStatusUpdate>,
}

/// A channel that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub point: String,
    pub peer: String,
    pub closing_txid: String,
    pub capacity: Sat,
    /// What came back at once, and what was locked for a time.
    pub settled: Sat,
    pub time_locked: Sat,
    pub height: u32,
    pub how: ClosedHow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedHow {
    Agreed,
    LocalForce,
    RemoteForce,
    /// The peer published an old state, and lost.
    Breach,
    /// It never opened.
    FundingCanceled,
    Abandoned,
}

const OPEN: &str = "open the channel";
const CLOSE: &str = "close the channel";
const LIST: &str = "list its channels";

impl Client {
    /// All channels but closed ones.
    pub async fn channels(&self) -> Result<Channels, Error> {
        let open = self.wire_channels().await?;
        let pending = ask!(self, READ, LIST, lightning.pending_channels(PendingChannelsRequest {}))?;
        channels(open, pending)
    }

    /// HTLCs on their way at this `height`, the most urgent first.
    pub async fn htlcs(&self, height: u32) -> Result<Vec<Htlc>, Error> {
        htlcs(&self.wire_channels().await?, height)
    }

    async fn wire_channels(&self) -> Result<Vec<WireChannel>, Error> {
        let request = ListChannelsRequest { peer_alias_lookup: true };
        Ok(ask!(self, READ, LIST, lightning.list_channels(request))?.channels)
    }

    pub async fn closed_channels(&self) -> Result<Vec<Closed>, Error> {
        let answer = ask!(self, READ, "list its closed channels", lightning.closed_channels(ClosedChannelsRequest {}))?;
        answer.channels.into_iter().map(closed).collect()
    }

    /// Begins to open a channel, and gives its funding output as soon as the funding is published. Then it can be
    /// followed until it is confirmed; nothing is lost by not doing so.
    pub async fn open_channel(&self, open: &OpenChannel) -> Result<(ChannelPoint, Openings), Error> {
        let (target_conf, sat_per_vbyte) = open.fee.fields();
        let (local, fund_max) = match open.amount {
            OpenTo::Amount(amount) => (wire(OPEN, amount.get())?, false),
            OpenTo::Everything => (0, true),
        };
        let request = OpenChannelRequest {
            sat_per_vbyte,
            node_pubkey: open.node.bytes().to_vec(),
            local_funding_amount: local,
            push_sat: wire(OPEN, open.push.get())?,
            target_conf,
            private: open.private,
            fund_max,
            memo: open.memo.clone(),
        };
        let stream = ask!(self, SLOW, OPEN, lightning.open_channel(request))?;
        let mut openings = Openings { client: self.clone(), stream };
        let point = openings.next().await?.ok_or_else(|| self.ended())?;
        Ok((point, openings))
    }

    /// Begins to close a channel, and gives the id of the closing transaction as soon as it is published.
    pub async fn close_channel(&self, close: &CloseChannel) -> Result<(String, Closings), Error> {
        let (target_conf, sat_per_vbyte) = if close.force { (0, 0) } else { close.fee.fields() };
        let funding_txid = Some(FundingTxid::FundingTxidStr(close.point.txid()));
        let request = CloseChannelRequest {
            channel_point: Some(WirePoint { funding_txid, output_index: close.point.index() }),
            force: close.force,
            target_conf,
            delivery_address: close.address.clone().unwrap_or_default(),
            sat_per_vbyte,
        };
        let stream = ask!(self, SLOW, CLOSE, lightning.close_channel(request))?;
        let mut closings = Closings { client: self.clone(), stream };
        let txid = closings.next().await?.ok_or_else(|| self.ended())?;
        Ok((txid, closings))
    }
}

impl Openings {
    /// Waits for the next step and gives the funding output again; `None` when the channel is open.
    pub async fn next(&mut self) -> Result<Option<ChannelPoint>, Error> {
        let update = self.client.next(OPEN, &mut self.stream).await?.and_then(|update| update.update);
        match update {
            Some(open_status_update::Update::ChanPending(pending)) => {
                ChannelPoint::of(OPEN, &pending.txid, pending.output_index).map(Some)
            }
            Some(open_status_update::Update::ChanOpen(_)) | None => Ok(None),
        }
    }
}

impl Closings {
    /// Waits for the next step and gives the closing transaction's id; `None` when it is confirmed.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        let update = self.client.next(CLOSE, &mut self.stream).await?.and_then(|update| update.update);
        match update {
            Some(close_status_update::Update::ClosePending(pending)) => {
                Ok(Some(ChannelPoint::of(CLOSE, &pending.txid, 0)?.txid()))
            }
            Some(close_status_update::Update::ChanClose(_)) | None => Ok(None),
        }
    }
}

/// LND puts its error where the name of a node that it does not know would be.
fn alias(told: String) -> String {
    if told.starts_with("unable to lookup peer alias") { String::new() } else { told }
}

fn channels(open: Vec<WireChannel>, pending: PendingChannelsResponse) -> Result<Channels, Error> {
    let mut open: Vec<Channel> = open.into_iter().map(channel).collect::<Result<_, _>>()?;
    open.sort_by(|left, right| left.point.cmp(&right.point));
    let mut opening: Vec<Opening> =
        pending.pending_open_channels.into_iter().map(self::opening).collect::<Result<_, _>>()?;
    opening.sort_by(|left, right| left.point.cmp(&right.point));
    let waiting = pending.waiting_close_channels.into_iter().map(waiting);
    let forced = pending.pending_force_closing_channels.into_iter().map(forced);
    let mut closing: Vec<Closing> = waiting.chain(forced).collect::<Result<_, _>>()?;
    closing.sort_by(|left, right| left.point.cmp(&right.point));
    Ok(Channels { open, opening, closing, limbo: sat(LIST, pending.total_limbo_balance)? })
}

fn channel(wire: WireChannel) -> Result<Channel, Error> {
    let reserve = |side: &Option<ChannelConstraints>| side.as_ref().map_or(0, |side| side.chan_reserve_sat);
    Ok(Channel {
        id: short_id(wire.chan_id),
        active: wire.active,
        private: wire.private,
        initiator: wire.initiator,
        capacity: sat(LIST, wire.capacity)?,
        local: sat(LIST, wire.local_balance)?,
        remote: sat(LIST, wire.remote_balance)?,
        unsettled: sat(LIST, wire.unsettled_balance)?,
        local_reserve: Sat::new(reserve(&wire.local_constraints)),
        remote_reserve: Sat::new(reserve(&wire.remote_constraints)),
        sent: sat(LIST, wire.total_satoshis_sent)?,
        received: sat(LIST, wire.total_satoshis_received)?,
        htlcs: wire.pending_htlcs.len(),
        flags: if wire.chan_status_flags == "ChanStatusDefault" { String::new() } else { wire.chan_status_flags },
        point: wire.channel_point,
        peer: wire.remote_pubkey,
        peer_alias: alias(wire.peer_alias),
    })
}

/// BOLT 7's text form: three bytes of height, three of the transaction's place, two of the output's.
pub(super) fn short_id(id: u64) -> String {
    format!("{}x{}x{}", id >> 40, id >> 16 & 0xff_ffff, id & 0xffff)
}

/// What all pending channels have; without it the answer means nothing.
fn of_pending(channel: Option<PendingChannel>) -> Result<PendingChannel, Error> {
    channel.ok_or_else(|| Error::Answer { action: LIST, what: "a pending channel without its channel".into() })
}

fn opening(wire: PendingOpenChannel) -> Result<Opening, Error> {
    let channel = of_pending(wire.channel)?;
    Ok(Opening {
        initiator: channel.initiator() == Initiator::Local,
        private: channel.private,
        capacity: sat(LIST, channel.capacity)?,
        local: sat(LIST, channel.local_balance)?,
        remote: sat(LIST, channel.remote_balance)?,
        blocks_left: wire.confirmations_until_active,
        expires_in: u32::try_from(wire.funding_expiry_blocks).ok().filter(|blocks| *blocks > 0),
        point: channel.channel_point,
        peer: channel.remote_node_pub,
    })
}

fn waiting(wire: WaitingCloseChannel) -> Result<Closing, Error> {
    let channel = of_pending(wire.channel)?;
    Ok(Closing {
        capacity: sat(LIST, channel.capacity)?,
        kind: ClosingKind::Waiting,
        txid: wire.closing_txid,
        limbo: sat(LIST, wire.limbo_balance)?,
        recovered: Sat::ZERO,
        blocks_left: Some(wire.blocks_til_close_confirmed),
        htlcs: 0,
        point: channel.channel_point,
        peer: channel.remote_node_pub,
    })
}

fn forced(wire: ForceClosedChannel) -> Result<Closing, Error> {
    let channel = of_pending(wire.channel)?;
    // Not known until the commitment is confirmed; below zero once it can be swept.
    let blocks_left = (wire.maturity_height > 0).then(|| u32::try_from(wire.blocks_til_maturity).unwrap_or_default());
    Ok(Closing {
        capacity: sat(LIST, channel.capacity)?,
        kind: ClosingKind::Force,
        txid: wire.closing_txid,
        limbo: sat(LIST, wire.limbo_balance)?,
        recovered: sat(LIST, wire.recovered_balance)?,
        blocks_left,
        htlcs: wire.pending_htlcs.len(),
        point: channel.channel_point,
        peer: channel.remote_node_pub,
    })
}

fn htlcs(open: &[WireChannel], height: u32) -> Result<Vec<Htlc>, Error> {
    let mut found = Vec::new();
    for channel in open {
        for htlc in &channel.pending_htlcs {
            found.push(Htlc {
                channel: channel.channel_point.clone(),
                hash: hex::encode(&htlc.hash_lock),
                incoming: htlc.incoming,
                amount: sat(LIST, htlc.amount)?,
                expiry_height: htlc.expiration_height,
                blocks_left: htlc.expiration_height.saturating_sub(height),
            });
        }
    }
    found.sort_by(|left, right| (left.blocks_left, &left.hash).cmp(&(right.blocks_left, &right.hash)));
    Ok(found)
}

fn closed(wire: ChannelCloseSummary) -> Result<Closed, Error> {
    let action = "list its closed channels";
    Ok(Closed {
        how: match wire.close_type() {
            ClosureType::CooperativeClose => ClosedHow::Agreed,
            ClosureType::LocalForceClose => ClosedHow::LocalForce,
            ClosureType::RemoteForceClose => ClosedHow::RemoteForce,
            ClosureType::BreachClose => ClosedHow::Breach,
            ClosureType::FundingCanceled => ClosedHow::FundingCanceled,
            ClosureType::Abandoned => ClosedHow::Abandoned,
        },
        capacity: sat(action, wire.capacity)?,
        settled: sat(action, wire.settled_balance)?,
        time_locked: sat(action, wire.time_locked_balance)?,
        height: wire.close_height,
        point: wire.channel_point,
        peer: wire.remote_pubkey,
        closing_txid: wire.closing_tx_hash,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::lnrpc::Htlc as WireHtlc;

    fn with_htlc(expiration_height: u32, amount: i64) -> WireChannel {
        let htlc = WireHtlc { expiration_height, amount, ..WireHtlc::default() };
        WireChannel { pending_htlcs: vec![htlc], ..WireChannel::default() }
    }

    #[test]
    fn the_most_urgent_htlc_comes_first_and_an_overdue_one_has_no_blocks_left() {
        let found = htlcs(&[with_htlc(150, 1), with_htlc(90, 2)], 100).unwrap();
        let left: Vec<_> = found.iter().map(|htlc| (htlc.amount.get(), htlc.blocks_left)).collect();
        assert_eq!(left, [(2, 0), (1, 50)]);
    }

    #[test]
    fn short_ids_are_those_of_bolt_7() {
        assert_eq!(short_id(539_268 << 40 | 845 << 16 | 1), "539268x845x1");
    }

    #[test]
    fn blocks_until_a_sweep_are_unknown_before_the_commitment_is_confirmed_and_none_when_mature() {
        let pending = |maturity_height, blocks_til_maturity| ForceClosedChannel {
            channel: Some(PendingChannel::default()),
            maturity_height,
            blocks_til_maturity,
            ..ForceClosedChannel::default()
        };
        let left = [pending(0, 0), pending(700, 44), pending(700, -3)].map(|wire| forced(wire).unwrap().blocks_left);
        assert_eq!(left, [None, Some(44), Some(0)]);
    }

    #[test]
    fn a_pending_channel_without_its_channel_is_no_answer() {
        assert!(opening(PendingOpenChannel::default()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes: Vec<u8>, height: u32) {
            use prost::Message;
            if let Ok(wire) = WireChannel::decode(bytes.as_slice()) {
                let _ = (htlcs(std::slice::from_ref(&wire), height), channel(wire));
            }
            if let Ok(wire) = PendingChannelsResponse::decode(bytes.as_slice()) {
                let _ = channels(Vec::new(), wire);
            }
        }

        #[test]
        fn no_amounts_make_it_fall_over(amount: i64, expiry: u32, height: u32) {
            let htlcs = htlcs(&[with_htlc(expiry, amount)], height);
            prop_assert_eq!(htlcs.is_ok(), amount >= 0);
        }
    }
}
