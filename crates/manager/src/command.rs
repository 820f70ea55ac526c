//! What a person on a page and a program over the API can have the node do: the same functions for both, each with its
//! audit line.

use std::{sync::Arc, time::Duration};

use lnd::{
    ChannelPoint, Error, NodeId,
    client::{CloseChannel, NewInvoice, OpenChannel, OpenTo},
    types::{FeeRate, NodeAddress},
};
use store::Audit;
use twin::{MilliSat, Sat, node::Invoice};

use crate::{
    error::now,
    pages::node::{away, channels::closed_door},
    shared::House,
};

/// What LND takes at least for a channel.
pub(crate) const LEAST: Sat = Sat::new(20_000);
/// Bytes of a memo; what LND takes in an invoice is 639.
pub(crate) const MEMO: usize = 500;

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum Refused {
    /// LND's answer.
    Node(Error),
    /// A rule of the box's own, as a sentence.
    Rule(String),
    /// It could not be written down, so it was not done.
    Store(store::Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Node(error)
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl Refused {
    /// As a sentence for the owner.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Node(error) => crate::pages::node::refusal(error),
            Self::Rule(sentence) => sentence.clone(),
            Self::Store(error) => crate::pages::words::sentence(&error.to_string()),
        }
    }
}

fn line(actor: &str, action: &'static str, detail: impl Into<String>) -> Audit {
    Audit { at: now(), actor: actor.to_owned(), action, detail: detail.into() }
}

/// A channel to be opened.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// `pubkey`, or `pubkey@host:port`.
    pub(crate) peer: String,
    /// `None`: all there is.
    pub(crate) amount: Option<Sat>,
    pub(crate) fee: FeeRate,
    pub(crate) private: bool,
}

/// Connects to the peer where an address is given, and has the channel's funding published.
pub(crate) async fn open_channel(house: &House, wish: &Opening) -> Result<ChannelPoint, Refused> {
    if let Some(door) = closed_door(house) {
        return Err(Refused::Rule(door));
    }
    let peer = wish.peer.trim();
    let node: NodeId = if peer.contains('@') {
        let address: NodeAddress = peer.parse()?;
        match house.node.client.connect_peer(&address).await {
            Ok(()) | Err(Error::PeerConnected) => {}
            Err(error) => return Err(error.into()),
        }
        address.node
    } else {
        peer.parse()?
    };
    let open = OpenChannel {
        node,
        amount: wish.amount.map_or(OpenTo::Everything, OpenTo::Amount),
        push: Sat::ZERO,
        fee: wish.fee,
        private: wish.private,
        memo: String::new(),
    };
    Ok(house.node.client.open_channel(&open).await?.0)
}

/// A close in the words of the audit log.
pub(crate) fn closing(close: &CloseChannel) -> String {
    if close.force { format!("{}, by force", close.point) } else { close.point.to_string() }
}

/// Has the closing transaction published; gives its id.
pub(crate) async fn close_channel(house: &House, actor: &str, close: &CloseChannel) -> Result<String, Refused> {
    house.store.audit(line(actor, "channel-closed", closing(close))).await?;
    Ok(house.node.client.close_channel(close).await?.0)
}

/// Connects a peer. One that is connected already is no fault.
pub(crate) async fn connect(house: &House, actor: &str, address: &str) -> Result<NodeId, Refused> {
    let address: NodeAddress = address.parse()?;
    house.store.audit(line(actor, "peer-connected", address.to_string())).await?;
    match house.node.client.connect_peer(&address).await {
        Ok(()) | Err(Error::PeerConnected) => Ok(address.node),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn disconnect(house: &House, actor: &str, node: &str) -> Result<(), Refused> {
    let node: NodeId = node.parse()?;
    house.store.audit(line(actor, "peer-disconnected", node.to_string())).await?;
    Ok(house.node.client.disconnect_peer(node).await?)
}

/// Makes an invoice. `amount` is `None` where the payer chooses.
pub(crate) async fn invoice(
    house: &Arc<House>,
    actor: &str,
    amount: Option<MilliSat>,
    memo: &str,
    expiry: Duration,
    private: bool,
) -> Result<Invoice, Refused> {
    // An invoice of a node whose channels are not up yet leads nowhere.
    if let Some(away) = away(house) {
        return Err(Refused::Rule(away));
    }
    let mut memo = memo.trim().to_owned();
    memo.truncate(memo.floor_char_boundary(MEMO));
    let invoice = house.node.client.add_invoice(NewInvoice { amount, memo, expiry, private }).await?;
    let amount = invoice.amount.map_or_else(|| "any amount".into(), |amount| amount.to_string());
    house.store.audit(line(actor, "invoice-made", format!("{amount}, payment {}", invoice.hash))).await?;
    Ok(invoice)
}

/// An address of the wallet that was never shown before.
pub(crate) async fn address(house: &House, actor: &str) -> Result<String, Refused> {
    let address = house.node.client.new_address().await?;
    house.store.audit(line(actor, "address-made", address.as_str())).await?;
    Ok(address)
}
