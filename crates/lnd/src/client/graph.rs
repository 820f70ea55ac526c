//! Channels as the graph knows them, by which LND seeks its ways.

use super::{Client, READ, ask};
use crate::{ChannelPoint, Error, NodeId, proto::lnrpc::ChanInfoRequest};

impl Client {
    /// Whether LND can use the channel of this node `own` for payments. A new channel is active a moment, seen up to two
    /// seconds, before it is in the graph with this node's own terms; until then LND counts what it holds as nothing.
    pub async fn is_payable(&self, point: ChannelPoint, own: NodeId) -> Result<bool, Error> {
        let request = ChanInfoRequest { chan_point: point.to_string() };
        let edge = match ask!(self, READ, "find the channel in the graph", lightning.get_chan_info(request)) {
            Ok(edge) => edge,
            // LND's words for a channel that it has not put in yet.
            Err(Error::Call { what, .. }) if what.contains("edge not found") => return Ok(false),
            Err(Error::NotFound(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let terms = if edge.node1_pub == own.to_string() { edge.node1_policy } else { edge.node2_policy };
        Ok(terms.is_some())
    }
}
