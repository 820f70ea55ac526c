//! The owner's own bitcoind, as plain data. Without one (neutrino) all of it stays at its default.

use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// What was last read whole. While bitcoind is away this stays as it was; the health of the source "bitcoind" says since
/// when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bitcoin {
    /// `None` until bitcoind was read once.
    pub chain: Option<Chain>,
    pub mempool: Mempool,
    /// By ascending target; empty where bitcoind has seen too little to estimate.
    pub fees: Vec<FeeEstimate>,
    pub peers: Peers,
    pub software: Software,
    /// bitcoind's own warnings, in its words.
    pub warnings: Vec<String>,
    pub zmq: Zmq,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// bitcoind's name for it: main, test, testnet4, signet, regtest.
    pub network: String,
    /// Height up to which blocks are verified.
    pub blocks: u64,
    /// Height up to which headers are known.
    pub headers: u64,
    /// Hash of the last verified block, lower-case hexadecimal as explorers show it.
    pub tip: String,
    /// What the tip's header says; miners may be off by up to two hours.
    pub tip_time: UnixSeconds,
    /// Estimated share of all transactions that are verified, in hundredths of a percent: 10,000 is all.
    pub verified_permyriad: u16,
    /// bitcoind considers itself far behind the network.
    pub initial_download: bool,
    /// Lowest height whose block it still has, where it deletes old ones.
    pub prune_height: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mempool {
    pub transactions: u64,
    /// Sum of virtual sizes.
    pub virtual_bytes: u64,
    /// What a transaction must pay to be let in at present.
    pub minimum_fee: SatPerKvb,
}

/// Satoshi per 1,000 virtual bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SatPerKvb(pub u64);

/// What a transaction should pay to be in a block in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeEstimate {
    pub target_blocks: u16,
    pub fee: SatPerKvb,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    pub inbound: u32,
    pub outbound: u32,
    /// Of all of them those that have every block, with witnesses: who a pruned node's LND can ask.
    pub with_all_blocks: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software {
    /// bitcoind's own number: 290200 is 29.2.0, 210100 is 0.21.1.
    pub version: u32,
    /// As it calls itself among its peers: `/Satoshi:29.2.0/`.
    pub name: String,
}

/// What came of the subscriptions by which bitcoind tells news at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zmq {
    pub blocks: ZmqTopic,
    pub transactions: ZmqTopic,
    pub sequence: ZmqTopic,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZmqTopic {
    pub state: ZmqState,
    /// Messages that were sent and did not arrive, since this program started. What they told was read again.
    pub missed: u64,
    /// A sentence for the owner when `state` is `Lost`.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZmqState {
    /// Not configured: news are asked for at intervals.
    #[default]
    Off,
    /// No connection.
    Lost,
    /// Connected, and nothing came so far: that may be because nothing happened.
    Subscribed,
    /// Messages come.
    Live,
    /// Connected, and something happened of which no message came.
    Silent,
}
