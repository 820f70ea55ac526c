//! The Lightning node, as LND tells it. Hashes, keys and transaction ids are lower-case hexadecimal.

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    UnixSeconds,
    money::{MilliSat, Sat},
};

/// How many of the newest invoices, payments and transactions are kept here; the others are asked for page by page.
pub const NEWEST: usize = 50;

/// Everything known of the node. What was read stays when LND goes away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub info: Seen<Arc<Info>>,
    /// LND's way through the chain, in blocks, while it is behind.
    pub pace: crate::Pace,
    pub balances: Seen<Balances>,
    pub channels: Seen<Arc<Channels>>,
    pub peers: Seen<Arc<Vec<Peer>>>,
    pub htlcs: Seen<Arc<Vec<Htlc>>>,
    pub invoices: Seen<Arc<Invoices>>,
    pub payments: Seen<Arc<Payments>>,
    pub transactions: Seen<Arc<Transactions>>,
    pub graph: Seen<Graph>,
    pub backup: Seen<Arc<Backup>>,
}

/// A part of the state and when it was last read: `since` then it may have changed unseen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen<T> {
    /// `None`: it was never read, and `value` is empty.
    pub since: Option<UnixSeconds>,
    pub value: T,
}

impl<T> Deref for Seen<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    pub alias: String,
    pub pubkey: String,
    /// LND's own words, for example `0.21.2-beta commit=v0.21.2-beta`.
    pub version: String,
    /// mainnet, testnet, signet, regtest or simnet.
    pub network: String,
    pub height: u32,
    pub block_hash: String,
    pub block_time: UnixSeconds,
    pub synced_to_chain: bool,
    pub synced_to_graph: bool,
    /// `pubkey@host:port`, as announced.
    pub uris: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balances {
    /// On the chain.
    pub confirmed: Sat,
    pub unconfirmed: Sat,
    /// Leased to a transaction that is being made.
    pub locked: Sat,
    /// Held back to bump the fees of force-closes.
    pub reserved: Sat,
    /// What the open channels can send and receive.
    pub local: MilliSat,
    pub remote: MilliSat,
    /// In HTLCs on their way to this side. What is on its way from this side has left `local` already.
    pub unsettled_local: MilliSat,
    /// In HTLCs on their way to the peers.
    pub unsettled_remote: MilliSat,
    /// In channels whose funding is not confirmed yet.
    pub opening_local: MilliSat,
    pub opening_remote: MilliSat,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    pub open: Vec<Channel>,
    pub opening: Vec<Opening>,
    pub closing: Vec<Closing>,
    /// Of `closing`: what will come back to the wallet.
    pub limbo: Sat,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Funding output, `txid:index`: what the channel is known by.
    pub point: String,
    /// Short channel id, `block:transaction:output` joined by `x`; zeros until confirmed.
    pub id: String,
    pub peer: String,
    pub peer_alias: String,
    /// The peer is connected and the channel can forward.
    pub active: bool,
    pub private: bool,
    /// This node opened it and pays for its commitments.
    pub initiator: bool,
    pub capacity: Sat,
    pub local: Sat,
    pub remote: Sat,
    /// In HTLCs on their way.
    pub unsettled: Sat,
    /// What each side must keep.
    pub local_reserve: Sat,
    pub remote_reserve: Sat,
    pub sent: Sat,
    pub received: Sat,
    pub htlcs: usize,
    /// LND's flags when it is not in its normal state, for example `ChanStatusBorked`.
    pub flags: String,
}

/// A channel whose funding is not confirmed deep enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    pub point: String,
    pub peer: String,
    pub private: bool,
    pub initiator: bool,
    pub capacity: Sat,
    pub local: Sat,
    pub remote: Sat,
    /// Confirmations until it is usable.
    pub blocks_left: u32,
    /// Blocks until LND forgets it if its funding is never confirmed; `None` once it is too late.
    pub expires_in: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    pub point: String,
    pub peer: String,
    pub capacity: Sat,
    pub kind: ClosingKind,
    /// The closing transaction, once there is one.
    pub txid: String,
    /// What will come back to the wallet.
    pub limbo: Sat,
    /// What already came back.
    pub recovered: Sat,
    /// Blocks to wait, where that is known: until the close is final, or until the outputs of a force-close can be swept.
    pub blocks_left: Option<u32>,
    /// HTLCs that are settled on the chain.
    pub htlcs: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosingKind {
    /// The closing transaction, of either kind, is not confirmed deep enough.
    #[default]
    Waiting,
    /// Closed by one side alone: the outputs are locked for a time.
    Force,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub pubkey: String,
    pub address: String,
    pub inbound: bool,
    /// The graph comes from this peer.
    pub syncs_graph: bool,
    /// How often it came and went lately.
    pub flaps: u32,
    pub last_error: Option<String>,
}

/// A payment on its way through a channel of ours, locked until its hash's preimage or its height comes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Htlc {
    pub channel: String,
    pub hash: String,
    pub incoming: bool,
    pub amount: Sat,
    pub expiry_height: u32,
    /// Zero when due: LND then closes the channel to be safe.
    pub blocks_left: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoices {
    /// Newest first.
    pub newest: Vec<Invoice>,
    pub total: u64,
    pub open: u64,
    pub settled: u64,
    pub canceled: u64,
    /// Of all settled ones.
    pub received: MilliSat,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// LND's number of it, from 1.
    pub index: u64,
    pub hash: String,
    pub memo: String,
    /// `None`: the payer chooses.
    pub amount: Option<MilliSat>,
    pub paid: MilliSat,
    pub state: InvoiceState,
    pub created: UnixSeconds,
    pub expires: UnixSeconds,
    pub settled: Option<UnixSeconds>,
    pub keysend: bool,
    /// BOLT 11; empty for a keysend.
    pub request: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceState {
    #[default]
    Open,
    /// Paid, and held until it is settled or cancelled.
    Accepted,
    Settled,
    Canceled,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payments {
    /// Newest first.
    pub newest: Vec<Payment>,
    pub total: u64,
    pub in_flight: u64,
    pub succeeded: u64,
    pub failed: u64,
    /// Of all that succeeded, without fees.
    pub sent: MilliSat,
    pub fees: MilliSat,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// LND's number of it, from 1.
    pub index: u64,
    pub hash: String,
    pub amount: MilliSat,
    pub fee: MilliSat,
    pub state: PaymentState,
    pub created: UnixSeconds,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    #[default]
    InFlight,
    Succeeded,
    Failed(PaymentFailure),
}

/// Why LND gave a payment up. In each case nothing was paid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentFailure {
    Timeout,
    NoRoute,
    /// LND could not go on.
    #[default]
    Error,
    /// The receiver does not know the hash, or wants another amount.
    IncorrectDetails,
    InsufficientBalance,
    Canceled,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transactions {
    /// Unconfirmed first, then newest first.
    pub newest: Vec<Transaction>,
    pub total: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    pub txid: String,
    /// Whether the wallet has more or less by it.
    pub direction: Direction,
    pub amount: Sat,
    /// What this node paid; zero for what others sent.
    pub fee: Sat,
    /// `None`: not confirmed.
    pub height: Option<u32>,
    pub time: UnixSeconds,
    pub label: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    In,
    Out,
}

/// What the node knows of the network, for finding routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    pub nodes: u32,
    pub channels: u32,
    pub capacity: Sat,
    pub synced: bool,
    /// Not in sync and for a while without progress, though the chain is in sync and there are peers.
    pub stalled: bool,
}

/// The static channel backup (SCB), as LND would export it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub channels: usize,
    /// SHA-256 of the newest blob. LND encrypts with a new nonce each time: equal channels give other blobs.
    pub hash: String,
    /// When the set of channels last changed, or was first read.
    pub changed: UnixSeconds,
}
