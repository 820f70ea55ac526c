//! The node itself, its balances, its peers and its view of the network.

use twin::{
    MilliSat,
    node::{Balances, Info, Peer},
};

use super::{Client, QUICK, READ, SLOW, ask, sat, seconds};
use crate::{
    Error, NodeId,
    proto::lnrpc::{
        Amount, ChannelBalanceRequest, ChannelBalanceResponse, ConnectPeerRequest, DisconnectPeerRequest,
        GetInfoRequest, GetInfoResponse, GetRecoveryInfoRequest, LightningAddress, ListPeersRequest, NetworkInfo,
        NetworkInfoRequest, Peer as WirePeer, StopRequest, WalletBalanceRequest, WalletBalanceResponse, peer::SyncType,
    },
    types::NodeAddress,
};

impl Client {
    pub async fn info(&self) -> Result<Info, Error> {
        ask!(self, READ, "tell about itself", lightning.get_info(GetInfoRequest {})).map(info)
    }

    pub async fn balances(&self) -> Result<Balances, Error> {
        let action = "tell its balances";
        let wallet = ask!(self, READ, action, lightning.wallet_balance(WalletBalanceRequest {}))?;
        let channels = ask!(self, READ, action, lightning.channel_balance(ChannelBalanceRequest {}))?;
        balances(action, &wallet, &channels)
    }

    /// Share of the search of a restored wallet that is done, 0 to 1; `None` when there is no search, or it is over.
    pub async fn recovery(&self) -> Result<Option<f64>, Error> {
        let answer = ask!(self, QUICK, "tell of its recovery", lightning.get_recovery_info(GetRecoveryInfoRequest {}))?;
        Ok((answer.recovery_mode && !answer.recovery_finished).then_some(answer.progress))
    }

    pub(crate) async fn network(&self) -> Result<NetworkInfo, Error> {
        ask!(self, READ, "tell of the graph", lightning.get_network_info(NetworkInfoRequest {}))
    }

    pub async fn peers(&self) -> Result<Vec<Peer>, Error> {
        let request = ListPeersRequest { latest_error: true };
        let mut peers: Vec<Peer> =
            ask!(self, READ, "list its peers", lightning.list_peers(request))?.peers.into_iter().map(peer).collect();
        // LND's order is that of a hash table.
        peers.sort_by(|left, right| left.pubkey.cmp(&right.pubkey));
        Ok(peers)
    }

    /// Connects, and keeps the connection only while there is a channel.
    pub async fn connect_peer(&self, address: &NodeAddress) -> Result<(), Error> {
        let addr = Some(LightningAddress { pubkey: address.node.to_string(), host: address.host.clone() });
        let request = ConnectPeerRequest { addr, perm: false, timeout: QUICK.as_secs() };
        ask!(self, READ, "connect to the peer", lightning.connect_peer(request)).map(drop)
    }

    pub async fn disconnect_peer(&self, node: NodeId) -> Result<(), Error> {
        let request = DisconnectPeerRequest { pub_key: node.to_string() };
        ask!(self, READ, "disconnect from the peer", lightning.disconnect_peer(request)).map(drop)
    }

    /// Asks LND to end in order. It answers at once and then takes as long as it needs.
    pub async fn stop(&self) -> Result<(), Error> {
        match ask!(self, SLOW, "stop", lightning.stop_daemon(StopRequest {})) {
            // It may be gone before its answer is.
            Ok(_) | Err(Error::Ended { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn info(answer: GetInfoResponse) -> Info {
    Info {
        alias: answer.alias,
        pubkey: answer.identity_pubkey,
        version: answer.version,
        network: answer.chains.into_iter().next().map(|chain| chain.network).unwrap_or_default(),
        height: answer.block_height,
        block_hash: answer.block_hash,
        block_time: seconds(answer.best_header_timestamp),
        synced_to_chain: answer.synced_to_chain,
        synced_to_graph: answer.synced_to_graph,
        uris: answer.uris,
    }
}

fn balances(
    action: &'static str,
    wallet: &WalletBalanceResponse,
    channels: &ChannelBalanceResponse,
) -> Result<Balances, Error> {
    let of = |amount: &Option<Amount>| amount.as_ref().map_or(MilliSat::ZERO, |amount| MilliSat::new(amount.msat));
    Ok(Balances {
        confirmed: sat(action, wallet.confirmed_balance)?,
        unconfirmed: sat(action, wallet.unconfirmed_balance)?,
        locked: sat(action, wallet.locked_balance)?,
        reserved: sat(action, wallet.reserved_balance_anchor_chan)?,
        local: of(&channels.local_balance),
        remote: of(&channels.remote_balance),
        unsettled_local: of(&channels.unsettled_local_balance),
        unsettled_remote: of(&channels.unsettled_remote_balance),
        opening_local: of(&channels.pending_open_local_balance),
        opening_remote: of(&channels.pending_open_remote_balance),
    })
}

fn peer(peer: WirePeer) -> Peer {
    let syncs_graph = matches!(peer.sync_type(), SyncType::ActiveSync | SyncType::PinnedSync);
    Peer {
        pubkey: peer.pub_key,
        address: peer.address,
        inbound: peer.inbound,
        syncs_graph,
        flaps: u32::try_from(peer.flap_count).unwrap_or_default(),
        last_error: peer.errors.into_iter().max_by_key(|error| error.timestamp).map(|error| error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_balance_is_no_answer() {
        let wallet = WalletBalanceResponse { unconfirmed_balance: -1, ..WalletBalanceResponse::default() };
        let error = balances("tell", &wallet, &ChannelBalanceResponse::default()).unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error}");
    }

    #[test]
    fn of_several_errors_the_newest_is_kept() {
        use crate::proto::lnrpc::TimestampedError;
        let error = |timestamp, error: &str| TimestampedError { timestamp, error: error.into() };
        let wire = WirePeer { errors: vec![error(2, "new"), error(1, "old")], ..WirePeer::default() };
        assert_eq!(peer(wire).last_error.as_deref(), Some("new"));
    }
}
