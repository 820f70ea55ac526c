//! Channels and peers.

use std::sync::Arc;

use axum::extract::State;
use lnd::{ChannelPoint, NodeId, client::CloseChannel, types::FeeRate};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use store::RequestState;
use twin::{Sat, node::ClosingKind};

use super::{
    caller::Caller,
    describe::{Body, Gap, Idempotency, Json, Nothing, Query},
    node::{since, there},
    once::{self, Answer, Ended, Ending, once},
    problem::{Code, Problem},
    types::{Amount, Page, Part, Time, Wanted},
};
use crate::{
    command::{self, LEAST, Opening, Refused},
    shared::House,
};

type Home = State<Arc<House>>;

/// Blocks within which a transaction should be confirmed, unless asked otherwise.
const BLOCKS: u16 = 6;

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Node(error) => error.into(),
            Refused::Rule(sentence) => Self::new(Code::NodeRefused, sentence),
            Refused::Store(error) => error.into(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Channel")]
pub(crate) struct Channel {
    /// Funding output, `txid:index`: what the channel is known by.
    point: String,
    /// Short channel id, `block x transaction x output`.
    short_id: String,
    peer: String,
    peer_alias: String,
    /// The peer is connected and the channel can forward.
    active: bool,
    private: bool,
    /// This node opened it and pays for its commitments.
    initiator: bool,
    capacity_sat: Amount,
    local_sat: Amount,
    remote_sat: Amount,
    unsettled_sat: Amount,
    local_reserve_sat: Amount,
    remote_reserve_sat: Amount,
    sent_sat: Amount,
    received_sat: Amount,
    htlcs: usize,
    /// LND's flags when it is not in its normal state.
    flags: String,
}

pub(crate) async fn list(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<Channel>>, Problem> {
    let state = house.shared.twin.state();
    let read = since(&state.node.channels)?;
    let page = part.of(&state.node.channels.open, |channel| Channel {
        point: channel.point.clone(),
        short_id: channel.id.clone(),
        peer: channel.peer.clone(),
        peer_alias: channel.peer_alias.clone(),
        active: channel.active,
        private: channel.private,
        initiator: channel.initiator,
        capacity_sat: channel.capacity.into(),
        local_sat: channel.local.into(),
        remote_sat: channel.remote.into(),
        unsettled_sat: channel.unsettled.into(),
        local_reserve_sat: channel.local_reserve.into(),
        remote_reserve_sat: channel.remote_reserve.into(),
        sent_sat: channel.sent.into(),
        received_sat: channel.received.into(),
        htlcs: channel.htlcs,
        flags: channel.flags.clone(),
    });
    page.map(|page| Json(page.read_at(Some(read)))).map_err(Problem::invalid)
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PendingChannel")]
pub(crate) struct Pending {
    point: String,
    peer: String,
    /// `opening`; `closing` until the closing transaction is final; `force_closing` while outputs are locked.
    state: &'static str,
    capacity_sat: Amount,
    /// Blocks to wait, where that is known.
    blocks_left: Option<u32>,
    /// What will come back to the wallet.
    limbo_sat: Amount,
    closing_txid: Option<String>,
}

pub(crate) async fn pending(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<Pending>>, Problem> {
    let state = house.shared.twin.state();
    let channels = &state.node.channels;
    let read = since(channels)?;
    let opening = channels.opening.iter().map(|opening| Pending {
        point: opening.point.clone(),
        peer: opening.peer.clone(),
        state: "opening",
        capacity_sat: opening.capacity.into(),
        blocks_left: Some(opening.blocks_left),
        limbo_sat: Sat::ZERO.into(),
        closing_txid: None,
    });
    let closing = channels.closing.iter().map(|closing| Pending {
        point: closing.point.clone(),
        peer: closing.peer.clone(),
        state: match closing.kind {
            ClosingKind::Waiting => "closing",
            ClosingKind::Force => "force_closing",
        },
        capacity_sat: closing.capacity.into(),
        blocks_left: closing.blocks_left,
        limbo_sat: closing.limbo.into(),
        closing_txid: Some(closing.txid.clone()).filter(|txid| !txid.is_empty()),
    });
    let mut all: Vec<Option<Pending>> = opening.chain(closing).map(Some).collect();
    let places: Vec<usize> = (0..all.len()).collect();
    let page = part.of(&places, |place| *place).map_err(Problem::invalid)?;
    let items = page.items.into_iter().filter_map(|place| all.get_mut(place).and_then(Option::take)).collect();
    Ok(Json(Page { items, next: page.next, as_of: Some(Time(read)) }))
}

/// A channel to be opened.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OpenChannel")]
pub(crate) struct Open {
    /// `pubkey@host:port`, or the public key of a connected peer.
    #[schemars(length(min = 66, max = 300), regex(pattern = r"^[0-9a-fA-F]{66}(@[!-?A-~]{1,230})?$"))]
    peer: String,
    /// At least 20,000.
    amount_sat: Wanted,
    /// Not announced to the network.
    #[serde(default)]
    private: bool,
    #[serde(default, deserialize_with = "object")]
    fee: Fee,
}

/// What a transaction gives for its place in a block. Neither: as much as LND takes to suffice within 6 blocks.
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Fee {
    /// As much as suffices for so many blocks, as LND estimates.
    #[schemars(range(min = 1, max = 1008))]
    blocks: Option<u16>,
    #[schemars(range(min = 1, max = 10_000))]
    sat_per_vbyte: Option<u32>,
}

/// serde takes a list for an object, too; the document does not.
fn object<'de, D: Deserializer<'de>>(from: D) -> Result<Fee, D::Error> {
    let fields = serde_json::Map::deserialize(from)?;
    serde_json::from_value(fields.into()).map_err(D::Error::custom)
}

impl Fee {
    fn rate(self) -> Result<FeeRate, Problem> {
        match (self.blocks, self.sat_per_vbyte) {
            (None, None) => Ok(FeeRate::Blocks(BLOCKS)),
            (Some(blocks @ 1..=1008), None) => Ok(FeeRate::Blocks(blocks)),
            (None, Some(rate @ 1..=10_000)) => Ok(FeeRate::SatPerVbyte(rate)),
            (Some(_), Some(_)) => Err(Problem::invalid("give either fee.blocks or fee.sat_per_vbyte, not both")),
            _ => Err(Problem::invalid("fee.blocks is from 1 to 1008, fee.sat_per_vbyte from 1 to 10000")),
        }
    }
}

pub(crate) async fn open(
    State(house): Home,
    caller: Caller,
    Idempotency(name): Idempotency,
    Body(ask): Body<Open>,
) -> Result<Answer, Problem> {
    let fee = ask.fee.rate()?;
    let amount = Sat::new(ask.amount_sat.get());
    if amount < LEAST {
        return Err(Problem::invalid(format!("a channel takes {LEAST} at least")));
    }
    let peer = ask.peer.trim().to_owned();
    let detail = format!("{amount} with {}", peer.split('@').next().unwrap_or_default());
    let order = once::Order {
        entry: caller.audit("channel-opened", detail),
        caller,
        name,
        action: "open_channel",
        content: format!("{peer} {amount} {} {fee:?}", ask.private),
        subject: String::new(),
        cost: 0,
    };
    if let Some(answer) = once::before(&house, &order).await? {
        return Ok(answer);
    }
    there(&house)?;
    let wish = Opening { peer, amount: Some(amount), fee, private: ask.private };
    let work = {
        let house = house.clone();
        async move {
            match command::open_channel(&house, &wish).await {
                Ok(point) => {
                    let ending = Ending { channel: Some(point.to_string()), ..Ending::default() };
                    (RequestState::Done, ending, None)
                }
                Err(refused) => ended(&refused),
            }
        }
    };
    once(&house, order, work).await
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Point {
    /// The channel's funding output, `txid:index`.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}:[0-9]{1,5}$"))]
    point: String,
}

/// How a channel is to be closed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CloseChannel")]
pub(crate) struct Close {
    /// Alone, without the peer: the money is locked for a time, and it costs more. Only for peers that do not come back.
    #[serde(default)]
    force: bool,
    /// For a close in agreement.
    #[serde(default, deserialize_with = "object")]
    fee: Fee,
}

pub(crate) async fn close(
    State(house): Home,
    caller: Caller,
    Gap(Point { point }): Gap<Point>,
    Idempotency(name): Idempotency,
    Body(ask): Body<Close>,
) -> Result<Answer, Problem> {
    let fee = ask.fee.rate()?;
    let point: ChannelPoint = point.parse()?;
    let close = CloseChannel { point: point.clone(), force: ask.force, fee, address: None };
    let order = once::Order {
        entry: caller.audit("channel-closed", command::closing(&close)),
        caller,
        name,
        action: "close_channel",
        content: format!("{point} {} {fee:?}", ask.force),
        subject: String::new(),
        cost: 0,
    };
    // First of all: a channel that was closed under this name is open no more.
    if let Some(answer) = once::before(&house, &order).await? {
        return Ok(answer);
    }
    there(&house)?;
    let state = house.shared.twin.state();
    if !state.node.channels.open.iter().any(|channel| channel.point == point.to_string()) {
        return Err(Problem::not_found("open channel"));
    }
    let work = {
        let house = house.clone();
        async move {
            match house.node.client.close_channel(&close).await {
                Ok((closing_txid, _)) => {
                    (RequestState::Done, Ending { txid: Some(closing_txid), ..Ending::default() }, None)
                }
                Err(error) => ended(&error.into()),
            }
        }
    };
    once(&house, order, work).await
}

/// How a command ended that LND did not carry out, as far as it said so.
fn ended(refused: &Refused) -> Ended {
    let is_unsure = matches!(refused, Refused::Node(lnd::Error::Timeout { .. } | lnd::Error::Ended { .. }));
    let state = if is_unsure { RequestState::Unknown } else { RequestState::Failed };
    (state, Ending { detail: refused.sentence(), ..Ending::default() }, None)
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Peer")]
pub(crate) struct Peer {
    public_key: String,
    address: String,
    inbound: bool,
    /// The graph comes from this peer.
    syncs_graph: bool,
    /// How often it came and went lately.
    flaps: u32,
    last_error: Option<String>,
}

pub(crate) async fn peers(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<Peer>>, Problem> {
    let state = house.shared.twin.state();
    let read = since(&state.node.peers)?;
    let page = part.of(&state.node.peers, |peer| Peer {
        public_key: peer.pubkey.clone(),
        address: peer.address.clone(),
        inbound: peer.inbound,
        syncs_graph: peer.syncs_graph,
        flaps: peer.flaps,
        last_error: peer.last_error.clone(),
    });
    page.map(|page| Json(page.read_at(Some(read)))).map_err(Problem::invalid)
}

/// A peer to be connected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConnectPeer")]
pub(crate) struct Connect {
    /// `pubkey@host:port`.
    #[schemars(length(min = 68, max = 300), regex(pattern = r"^[0-9a-fA-F]{66}@[!-?A-~]{1,230}$"))]
    address: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConnectedPeer")]
pub(crate) struct Connected {
    public_key: String,
}

pub(crate) async fn connect(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Connect>,
) -> Result<Json<Connected>, Problem> {
    let _: lnd::types::NodeAddress = ask.address.parse()?;
    there(&house)?;
    let node = command::connect(&house, &caller.actor(), &ask.address).await?;
    Ok(Json(Connected { public_key: node.to_string() }))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Node {
    /// The peer's public key.
    #[schemars(regex(pattern = r"^[0-9a-f]{66}$"))]
    node: String,
}

pub(crate) async fn disconnect(
    State(house): Home,
    caller: Caller,
    Gap(Node { node }): Gap<Node>,
) -> Result<Nothing, Problem> {
    let _: NodeId = node.parse()?;
    there(&house)?;
    command::disconnect(&house, &caller.actor(), &node).await?;
    Ok(Nothing)
}
