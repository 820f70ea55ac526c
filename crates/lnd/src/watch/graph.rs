//! What the node knows of the network, and whether it goes on learning.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Streaming;
use twin::{Update, node::Graph};

use super::follow::{Context, Part, no_stream};
use crate::{Client, Error, client::sat};

/// A graph out of sync that has not grown for so long is stalled: LND takes it from one peer, and that one is silent.
const STALL: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(super) struct GraphPart {
    /// Nodes and channels when they last changed, and when that was.
    grown: Option<((u32, u32), Instant)>,
}

impl GraphPart {
    /// Whether the graph stands still though it should not.
    fn stalls(&mut self, size: (u32, u32), should_grow: bool, now: Instant) -> bool {
        match self.grown {
            Some((old, since)) if old == size && should_grow => now.duration_since(since) >= STALL,
            _ => {
                self.grown = Some((size, now));
                false
            }
        }
    }
}

impl Part for GraphPart {
    const NAME: &'static str = "graph";
    // LND counts the whole graph for it.
    const INTERVAL: Duration = Duration::from_secs(120);
    type Hint = ();

    async fn listen(_client: Client) -> Result<Streaming<()>, Error> {
        no_stream().await
    }

    fn gap(&mut self) {
        self.grown = None;
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        let network = context.client.network().await?;
        let info = context.client.info().await?;
        let size = (network.num_nodes, network.num_channels);
        let should_grow = !info.synced_to_graph && info.synced_to_chain && !context.client.peers().await?.is_empty();
        Ok(Update::Graph(Graph {
            nodes: network.num_nodes,
            channels: network.num_channels,
            capacity: sat("tell of the graph", network.total_network_capacity)?,
            synced: info.synced_to_graph,
            stalled: self.stalls(size, should_grow, Instant::now()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_graph_stalls_after_ten_minutes_without_growth_and_no_longer_once_it_grows() {
        let mut part = GraphPart::default();
        let now = Instant::now();
        let at = |minutes: u64| now + Duration::from_secs(minutes * 60);
        assert!(!part.stalls((1, 1), true, at(0)));
        assert!(!part.stalls((1, 1), true, at(9)));
        assert!(part.stalls((1, 1), true, at(10)));
        assert!(!part.stalls((1, 2), true, at(11)));
        assert!(!part.stalls((1, 2), false, at(60)), "in sync it need not grow");
        assert!(!part.stalls((1, 2), true, at(61)));
    }
}
