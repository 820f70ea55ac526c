//! The calls, with what we use of their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};
use twin::bitcoin::{Peers, SatPerKvb};

use super::Session;
use crate::{Error, error::cleaned};

/// `getblockchaininfo`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BlockchainInfo {
    pub chain: String,
    pub blocks: u64,
    pub headers: u64,
    #[serde(rename = "bestblockhash", deserialize_with = "hash")]
    pub best_block: String,
    /// 0 to 1.
    #[serde(rename = "verificationprogress")]
    pub verification_progress: f64,
    #[serde(rename = "initialblockdownload")]
    pub initial_block_download: bool,
    pub pruned: bool,
    /// Lowest height whose block is there; absent where nothing is deleted.
    #[serde(rename = "pruneheight")]
    pub prune_height: Option<u64>,
    #[serde(default, deserialize_with = "warnings")]
    pub warnings: Vec<String>,
}

/// `getnetworkinfo`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NetworkInfo {
    /// 290200 is 29.2.0, 210100 is 0.21.1.
    pub version: u32,
    #[serde(deserialize_with = "words")]
    pub subversion: String,
    pub connections: u32,
    #[serde(default, rename = "connections_out")]
    pub outbound: Option<u32>,
    #[serde(default, deserialize_with = "warnings")]
    pub warnings: Vec<String>,
}

/// `getmempoolinfo`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MempoolInfo {
    pub size: u64,
    pub bytes: u64,
    #[serde(rename = "mempoolminfee", deserialize_with = "sat_per_kvb")]
    pub minimum_fee: SatPerKvb,
}

/// `getblockheader`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BlockHeader {
    #[serde(deserialize_with = "hash")]
    pub hash: String,
    pub height: u64,
    /// Seconds since 1970.
    pub time: u64,
}

/// One line of `getzmqnotifications`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ZmqNotification {
    /// `pubrawblock`, `pubrawtx`, ...
    #[serde(rename = "type", deserialize_with = "words")]
    pub kind: String,
    /// As in `bitcoin.conf`: `tcp://127.0.0.1:28332`.
    #[serde(deserialize_with = "words")]
    pub address: String,
}

/// One entry of `getindexinfo`, by the name of the index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IndexInfo {
    pub synced: bool,
    pub best_block_height: u64,
}

#[derive(Deserialize)]
struct SmartFee {
    #[serde(default, rename = "feerate", deserialize_with = "maybe_sat_per_kvb")]
    fee: Option<SatPerKvb>,
}

#[derive(Deserialize)]
struct Peer {
    inbound: bool,
    /// Hexadecimal bits.
    #[serde(default)]
    services: String,
}

#[derive(Deserialize)]
struct Hash(#[serde(deserialize_with = "hash")] String);

impl Session {
    pub async fn blockchain_info(&mut self) -> Result<BlockchainInfo, Error> {
        self.call("getblockchaininfo", json!([])).await
    }

    pub async fn network_info(&mut self) -> Result<NetworkInfo, Error> {
        self.call("getnetworkinfo", json!([])).await
    }

    pub async fn mempool_info(&mut self) -> Result<MempoolInfo, Error> {
        self.call("getmempoolinfo", json!([])).await
    }

    /// The fee for a place in the next `target` blocks (1 to 1,008); `None` where bitcoind has seen too little.
    pub async fn smart_fee(&mut self, target: u16) -> Result<Option<SatPerKvb>, Error> {
        self.call::<SmartFee>("estimatesmartfee", json!([target])).await.map(|answer| answer.fee)
    }

    /// `getpeerinfo`, counted.
    pub async fn peers(&mut self) -> Result<Peers, Error> {
        self.call::<Vec<Peer>>("getpeerinfo", json!([])).await.map(|peers| count(&peers))
    }

    pub async fn block_hash(&mut self, height: u64) -> Result<String, Error> {
        self.call::<Hash>("getblockhash", json!([height])).await.map(|hash| hash.0)
    }

    pub async fn block_header(&mut self, hash: &str) -> Result<BlockHeader, Error> {
        self.call("getblockheader", json!([hash, true])).await
    }

    /// Where bitcoind publishes. `Error::Call` with -32601 from one that was built without ZMQ.
    pub async fn zmq_notifications(&mut self) -> Result<Vec<ZmqNotification>, Error> {
        self.call("getzmqnotifications", json!([])).await
    }

    pub async fn index_info(&mut self) -> Result<BTreeMap<String, IndexInfo>, Error> {
        self.call("getindexinfo", json!([])).await
    }
}

/// `NODE_NETWORK` and `NODE_WITNESS`: what LND asks of a peer that is to send it an old block.
const ALL_BLOCKS: u64 = 1 | 1 << 3;

fn count(peers: &[Peer]) -> Peers {
    let number = |wanted: &dyn Fn(&Peer) -> bool| {
        u32::try_from(peers.iter().filter(|peer| wanted(peer)).count()).unwrap_or(u32::MAX)
    };
    Peers {
        inbound: number(&|peer| peer.inbound),
        outbound: number(&|peer| !peer.inbound),
        with_all_blocks: number(&|peer| {
            u64::from_str_radix(&peer.services, 16).is_ok_and(|bits| bits & ALL_BLOCKS == ALL_BLOCKS)
        }),
    }
}

/// 64 hexadecimal digits.
fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_hash { Ok(text) } else { Err(D::Error::custom("it has a block hash that is none")) }
}

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| cleaned(&text))
}

/// One text up to version 27, a list of them since.
fn warnings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = match Value::deserialize(deserializer)? {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => vec![],
    };
    Ok(texts.iter().map(|text| cleaned(text)).filter(|text| !text.is_empty()).take(20).collect())
}

fn sat_per_kvb<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SatPerKvb, D::Error> {
    let btc = f64::deserialize(deserializer)?;
    satoshi(btc).map(SatPerKvb).ok_or_else(|| D::Error::custom("it has an impossible fee"))
}

fn maybe_sat_per_kvb<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SatPerKvb>, D::Error> {
    sat_per_kvb(deserializer).map(Some)
}

/// bitcoind writes amounts in BTC with eight decimals: exact in a double up to 90 million BTC.
fn satoshi(btc: f64) -> Option<u64> {
    (0.0..=21e6).contains(&btc).then(|| (btc * 1e8).round() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_become_satoshi_to_the_last_one() {
        assert_eq!(satoshi(0.00001), Some(1000));
        assert_eq!(satoshi(20_999_999.999_999_99), Some(2_099_999_999_999_999));
        assert_eq!([-0.1, f64::NAN, f64::INFINITY, 21e6 + 1.0].map(satoshi), [None; 4]);
    }

    #[test]
    fn peers_are_counted_by_direction_and_by_what_they_have() {
        let peers: Vec<Peer> = serde_json::from_str(
            r#"[{"inbound":true,"services":"0000000000000409"},{"inbound":false,"services":"0000000000000408"},
                {"inbound":false,"services":"0000000000000c09","addr":"x"},{"inbound":false,"services":"no"}]"#,
        )
        .unwrap();
        assert_eq!(count(&peers), Peers { inbound: 1, outbound: 3, with_all_blocks: 2 });
    }

    #[test]
    fn warnings_of_old_and_new_versions_are_the_same_list() {
        #[derive(Deserialize)]
        struct Answer(#[serde(deserialize_with = "warnings")] Vec<String>);
        let read = |text: &str| serde_json::from_str::<Answer>(text).unwrap().0;
        assert_eq!(read("\"\""), Vec::<String>::new());
        assert_eq!(read("\"Update!\\nNow\""), ["Update! Now"]);
        assert_eq!(read("[\"a\",\"b\"]"), ["a", "b"]);
    }

    #[test]
    fn a_fee_that_cannot_be_estimated_is_none_and_a_wrong_one_an_error() {
        let read = |text: &str| serde_json::from_str::<SmartFee>(text).map(|answer| answer.fee);
        assert_eq!(read(r#"{"errors":["Insufficient data"],"blocks":0}"#).unwrap(), None);
        assert_eq!(read(r#"{"feerate":0.00012345,"blocks":2}"#).unwrap(), Some(SatPerKvb(12_345)));
        assert!(read(r#"{"feerate":-1,"blocks":2}"#).is_err());
    }

    proptest! {
        #[test]
        fn any_amount_of_satoshi_survives_the_way_through_btc(sat in 0u64..2_100_000_000_000_000) {
            let text = format!("{}.{:08}", sat / 100_000_000, sat % 100_000_000);
            prop_assert_eq!(satoshi(text.parse().unwrap()), Some(sat));
        }

        #[test]
        fn no_answer_makes_the_types_fall_over(
            text in r#"\{("(chain|blocks|headers|size|bytes|mempoolminfee|version|warnings|feerate)":(null|-?[0-9.e]{1,9}|"[a-z]{0,3}"|\[\]),?){0,6}\}"#,
        ) {
            let _ = serde_json::from_str::<BlockchainInfo>(&text);
            let _ = serde_json::from_str::<MempoolInfo>(&text);
            let _ = serde_json::from_str::<NetworkInfo>(&text);
            let _ = serde_json::from_str::<SmartFee>(&text);
        }
    }
}
