//! The node as the twin knows it: what it is, what it has, what is on its way.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use twin::{LndState, Seen};

use super::{
    describe::{Json, Query},
    problem::{Code, Problem},
    types::{Amount, Page, Part, Time},
};
use crate::{pages::node::away, shared::House};

type Home = State<Arc<House>>;

/// When this part of the node was last read; a problem if it never was.
pub(super) fn since<T>(seen: &Seen<T>) -> Result<u64, Problem> {
    let detail = "Nothing is known of the node yet. Wait until Lightning runs: see /api/v1/system/health.";
    seen.since.ok_or_else(|| Problem::new(Code::NotKnownYet, detail))
}

/// A problem unless LND takes commands.
pub(super) fn there(house: &House) -> Result<(), Problem> {
    match away(house) {
        None => Ok(()),
        Some(sentence) => Err(Problem::new(Code::NodeAway, sentence)),
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Node")]
pub(crate) struct Info {
    as_of: Time,
    /// LND's state: `server_active` when all of it runs.
    state: &'static str,
    state_since: Option<Time>,
    alias: String,
    /// The public key by which the node is known.
    public_key: String,
    version: String,
    /// mainnet, testnet, signet, regtest or simnet.
    network: String,
    height: u32,
    block_hash: String,
    block_time: Option<Time>,
    synced_to_chain: bool,
    synced_to_graph: bool,
    /// `pubkey@host:port`, as announced.
    uris: Vec<String>,
    graph_nodes: u32,
    graph_channels: u32,
}

pub(super) fn state_name(state: LndState) -> &'static str {
    match state {
        LndState::Unreachable => "unreachable",
        LndState::NonExisting => "non_existing",
        LndState::Locked => "locked",
        LndState::Unlocked => "unlocked",
        LndState::RpcActive => "rpc_active",
        LndState::ServerActive => "server_active",
        LndState::WaitingToStart => "waiting_to_start",
    }
}

pub(crate) async fn info(State(house): Home) -> Result<Json<Info>, Problem> {
    let state = house.shared.twin.state();
    let (info, graph) = (&state.node.info, &state.node.graph);
    Ok(Json(Info {
        as_of: Time(since(info)?),
        state: state_name(state.lnd.state),
        state_since: Time::unless_never(state.lnd.since),
        alias: info.alias.clone(),
        public_key: info.pubkey.clone(),
        version: info.version.clone(),
        network: info.network.clone(),
        height: info.height,
        block_hash: info.block_hash.clone(),
        block_time: Time::unless_never(info.block_time),
        synced_to_chain: info.synced_to_chain,
        synced_to_graph: info.synced_to_graph,
        uris: info.uris.clone(),
        graph_nodes: graph.nodes,
        graph_channels: graph.channels,
    }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Balances")]
pub(crate) struct Balances {
    as_of: Time,
    chain_confirmed_sat: Amount,
    chain_unconfirmed_sat: Amount,
    /// Leased to a transaction that is being made.
    chain_locked_sat: Amount,
    /// Held back to bump the fees of force-closes.
    chain_reserved_sat: Amount,
    /// What the open channels can send.
    local_msat: Amount,
    /// What they can receive.
    remote_msat: Amount,
    /// In HTLCs on their way to this side.
    unsettled_local_msat: Amount,
    unsettled_remote_msat: Amount,
    /// In channels whose funding is not confirmed yet.
    opening_local_msat: Amount,
    opening_remote_msat: Amount,
    /// What will come back from closing channels.
    limbo_sat: Amount,
}

pub(crate) async fn balances(State(house): Home) -> Result<Json<Balances>, Problem> {
    let state = house.shared.twin.state();
    let balances = &state.node.balances;
    Ok(Json(Balances {
        as_of: Time(since(balances)?),
        chain_confirmed_sat: balances.confirmed.into(),
        chain_unconfirmed_sat: balances.unconfirmed.into(),
        chain_locked_sat: balances.locked.into(),
        chain_reserved_sat: balances.reserved.into(),
        local_msat: balances.local.into(),
        remote_msat: balances.remote.into(),
        unsettled_local_msat: balances.unsettled_local.into(),
        unsettled_remote_msat: balances.unsettled_remote.into(),
        opening_local_msat: balances.opening_local.into(),
        opening_remote_msat: balances.opening_remote.into(),
        limbo_sat: state.node.channels.limbo.into(),
    }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Htlc")]
pub(crate) struct Htlc {
    /// The channel, `txid:index`.
    channel: String,
    payment_hash: String,
    incoming: bool,
    amount_sat: Amount,
    expiry_height: u32,
    blocks_left: u32,
}

pub(crate) async fn htlcs(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<Htlc>>, Problem> {
    let state = house.shared.twin.state();
    let read = since(&state.node.htlcs)?;
    let page = part.of(&state.node.htlcs, |htlc| Htlc {
        channel: htlc.channel.clone(),
        payment_hash: htlc.hash.clone(),
        incoming: htlc.incoming,
        amount_sat: htlc.amount.into(),
        expiry_height: htlc.expiry_height,
        blocks_left: htlc.blocks_left,
    });
    page.map(|page| Json(page.read_at(Some(read)))).map_err(Problem::invalid)
}
