//! Who the node is and how far it has followed the chain.

use std::time::Duration;

use tonic::Streaming;
use twin::Update;

use super::follow::{Context, Part};
use crate::{Client, Error, client::ask, proto::chainrpc::BlockEpoch};

/// A node that is behind the chain is looked at this often. Just after each block LND says that it is behind, and tells
/// nobody when it is no longer.
const BEHIND: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct InfoPart {
    is_in_step: bool,
}

impl Part for InfoPart {
    const NAME: &'static str = "particulars";
    const INTERVAL: Duration = Duration::from_secs(20);
    type Hint = BlockEpoch;

    async fn listen(client: Client) -> Result<Streaming<BlockEpoch>, Error> {
        ask!(client, Duration::MAX, "tell of new blocks", blocks.register_block_epoch_ntfn(BlockEpoch::default()))
    }

    fn interval(&self) -> Duration {
        if self.is_in_step { Self::INTERVAL } else { BEHIND }
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        let info = context.client.info().await?;
        self.is_in_step = info.synced_to_chain;
        context.set_height(info.height);
        Ok(Update::Info(info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_behind_the_chain_is_looked_at_again_soon_and_one_in_step_at_leisure() {
        let mut part = InfoPart::default();
        assert_eq!(part.interval(), BEHIND, "nothing is known of it yet");
        part.is_in_step = true;
        assert_eq!(part.interval(), InfoPart::INTERVAL);
    }
}
