//! What bitcoind's answers mean for LND.

use std::time::Duration;

use twin::{UnixSeconds, bitcoin::Peers};

use super::Finding;
use crate::{
    Network,
    rpc::{BlockHeader, BlockchainInfo, NetworkInfo},
};

/// The first with Taproot, without which LND does not start.
const TAPROOT: u32 = 210_100;
/// The first with `gettxspendingprevout`: below, LND keeps a copy of the whole mempool.
const SPENDING_PREVOUT: u32 = 240_000;
/// LND looks from two hours before the birthday, and a seed knows it in whole days only: this is on the safe side.
const BIRTHDAY_MARGIN: u64 = 48 * 3600;

pub(super) fn network(expected: Network, chain: &str, genesis: &str) -> Finding {
    if chain != expected.chain() {
        let found = Network::of_chain(chain).map_or_else(|| chain.to_owned(), |network| network.name().to_owned());
        return Finding::WrongNetwork { expected, found, genesis: genesis.to_owned() };
    }
    if genesis != expected.genesis() {
        return Finding::WrongGenesis { expected, genesis: genesis.to_owned() };
    }
    Finding::RightNetwork { network: expected }
}

pub(super) fn version(info: &NetworkInfo) -> Finding {
    let name = info.subversion.clone();
    match info.version {
        _ if !name.starts_with("/Satoshi:") => Finding::OtherSoftware { name },
        0..TAPROOT => Finding::TooOld { name },
        TAPROOT..SPENDING_PREVOUT => Finding::OldVersion { name },
        _ => Finding::Version { name },
    }
}

pub(super) fn synchronization(
    network: Network,
    info: &BlockchainInfo,
    tip: &BlockHeader,
    now: UnixSeconds,
    tip_age: Duration,
) -> Finding {
    let (blocks, headers) = (info.blocks, info.headers);
    let age = now.saturating_sub(tip.time);
    // On a local chain it only says that the newest block is old.
    if info.initial_block_download && (!network.is_local() || headers > blocks) {
        return Finding::Synchronizing { permyriad: permyriad(info), blocks, headers };
    }
    if headers > blocks {
        return Finding::Behind { blocks, headers };
    }
    match network {
        _ if network.is_local() && info.initial_block_download => Finding::Idle { blocks },
        _ if network.is_local() || age <= tip_age.as_secs() => Finding::Synchronized { blocks, tip_minutes: age / 60 },
        _ => Finding::OldTip { blocks, tip_minutes: age / 60 },
    }
}

/// How much is verified, in hundredths of a percent; what is not whole is not called so. bitcoind's own estimate counts
/// transactions and knows nothing of headers: on a small chain it is 1 before the first block came.
pub(crate) fn permyriad(info: &BlockchainInfo) -> u16 {
    let of_blocks = if info.blocks < info.headers { info.blocks as f64 / info.headers as f64 } else { 1.0 };
    (info.verification_progress.min(of_blocks).clamp(0.0, 1.0) * 10_000.0) as u16
}

/// `oldest` is the lowest block that is there, where bitcoind deletes any.
pub(super) fn pruning(oldest: Option<&BlockHeader>, birthday: Option<UnixSeconds>, peers: &Peers) -> Finding {
    match (oldest, birthday) {
        (None, _) => Finding::AllBlocks,
        (Some(oldest), Some(birthday))
            if oldest.height > 0 && oldest.time > birthday.saturating_sub(BIRTHDAY_MARGIN) =>
        {
            Finding::PrunedTooFar { height: oldest.height, since: oldest.time, helpers: peers.with_all_blocks }
        }
        (Some(oldest), _) => Finding::Pruned { height: oldest.height },
    }
}

pub(super) fn peers(network: Network, peers: &Peers) -> Finding {
    match peers.outbound {
        _ if network.is_local() => Finding::LocalChain,
        0 => Finding::NoPeers,
        outbound => Finding::Peers { outbound },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn info(blocks: u64, headers: u64, initial: bool) -> BlockchainInfo {
        BlockchainInfo {
            chain: "main".into(),
            blocks,
            headers,
            best_block: "00".repeat(32),
            verification_progress: 0.421_259,
            initial_block_download: initial,
            pruned: false,
            prune_height: None,
            warnings: vec![],
        }
    }

    fn block(height: u64, age: u64) -> BlockHeader {
        BlockHeader { hash: "00".repeat(32), height, time: NOW - age }
    }

    fn judged(network: Network, info: &BlockchainInfo, age: u64) -> Finding {
        synchronization(network, info, &block(info.blocks, age), NOW, Duration::from_secs(5400))
    }

    #[test]
    fn synchronizing_behind_and_old_are_three_things() {
        let syncing = Finding::Synchronizing { permyriad: 4212, blocks: 5, headers: 9 };
        assert_eq!(judged(Network::Mainnet, &info(5, 9, true), 99_999), syncing);
        assert_eq!(judged(Network::Mainnet, &info(5, 9, false), 60), Finding::Behind { blocks: 5, headers: 9 });
        let old = Finding::OldTip { blocks: 9, tip_minutes: 91 };
        assert_eq!(judged(Network::Mainnet, &info(9, 9, false), 5460), old);
        let good = Finding::Synchronized { blocks: 9, tip_minutes: 90 };
        assert_eq!(judged(Network::Mainnet, &info(9, 9, false), 5400), good);
    }

    #[test]
    fn progress_is_never_more_than_the_share_of_blocks() {
        let mut info = info(99, 100, true);
        assert_eq!(permyriad(&info), 4212);
        info.verification_progress = 1.0;
        assert_eq!(permyriad(&info), 9900);
        info.verification_progress = f64::NAN;
        assert!(permyriad(&info) <= 10_000);
    }

    #[test]
    fn a_local_chain_may_be_old_without_being_behind() {
        assert_eq!(judged(Network::Regtest, &info(9, 9, true), 99_999), Finding::Idle { blocks: 9 });
        let good = Finding::Synchronized { blocks: 9, tip_minutes: 100 };
        assert_eq!(judged(Network::Regtest, &info(9, 9, false), 6000), good);
        assert!(matches!(judged(Network::Regtest, &info(5, 9, true), 0), Finding::Synchronizing { .. }));
    }

    #[test]
    fn a_block_from_the_future_is_not_old() {
        let mut tip = block(9, 0);
        tip.time = NOW + 7000;
        let found = synchronization(Network::Mainnet, &info(9, 9, false), &tip, NOW, Duration::from_secs(5400));
        assert_eq!(found, Finding::Synchronized { blocks: 9, tip_minutes: 0 });
    }

    #[test]
    fn versions_are_judged_by_what_lnd_needs_of_them() {
        let judged = |version, name: &str| {
            let name = name.to_owned();
            version_of(NetworkInfo { version, subversion: name, connections: 0, outbound: None, warnings: vec![] })
        };
        fn version_of(info: NetworkInfo) -> Finding {
            version(&info)
        }
        assert!(matches!(judged(210_000, "/Satoshi:0.21.0/"), Finding::TooOld { .. }));
        assert!(matches!(judged(210_100, "/Satoshi:0.21.1/"), Finding::OldVersion { .. }));
        assert!(matches!(judged(240_000, "/Satoshi:24.0.0/"), Finding::Version { .. }));
        assert!(matches!(judged(260_200, "/btcwire:0.5.0/btcd:0.26.2/"), Finding::OtherSoftware { .. }));
    }

    #[test]
    fn deleted_blocks_matter_only_to_a_wallet_that_is_older() {
        let peers = Peers { inbound: 0, outbound: 0, with_all_blocks: 2 };
        assert_eq!(pruning(None, Some(0), &peers), Finding::AllBlocks);
        let oldest = block(700, 10 * 86_400);
        assert_eq!(pruning(Some(&oldest), None, &peers), Finding::Pruned { height: 700 });
        assert_eq!(pruning(Some(&oldest), Some(NOW - 7 * 86_400), &peers), Finding::Pruned { height: 700 });
        // Within the margin.
        let far = Finding::PrunedTooFar { height: 700, since: oldest.time, helpers: 2 };
        assert_eq!(pruning(Some(&oldest), Some(NOW - 9 * 86_400), &peers), far);
        assert_eq!(pruning(Some(&block(0, 86_400)), Some(0), &peers), Finding::Pruned { height: 0 });
    }

    #[test]
    fn the_right_name_over_another_beginning_is_another_chain() {
        let genesis = Network::Regtest.genesis();
        assert_eq!(network(Network::Regtest, "regtest", genesis), Finding::RightNetwork { network: Network::Regtest });
        assert!(matches!(network(Network::Mainnet, "main", genesis), Finding::WrongGenesis { .. }));
        let wrong = network(Network::Mainnet, "test", "x");
        assert!(matches!(wrong, Finding::WrongNetwork { found, .. } if found == "testnet3"));
    }
}
