//! Who the node is and how far it has followed the chain.

use std::time::Duration;

use tonic::Streaming;
use twin::Update;

use super::follow::{Context, Part};
use crate::{Client, Error, client::ask, proto::chainrpc::BlockEpoch};

pub(super) struct InfoPart;

impl Part for InfoPart {
    const NAME: &'static str = "particulars";
    const INTERVAL: Duration = Duration::from_secs(20);
    type Hint = BlockEpoch;

    async fn listen(client: Client) -> Result<Streaming<BlockEpoch>, Error> {
        ask!(client, Duration::MAX, "tell of new blocks", blocks.register_block_epoch_ntfn(BlockEpoch::default()))
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        let info = context.client.info().await?;
        context.set_height(info.height);
        Ok(Update::Info(info))
    }
}
