//! Channels: open, opening, closing.

use std::time::Duration;

use tonic::Streaming;
use twin::Update;

use super::follow::{Context, Part};
use crate::{
    Client, Error,
    client::ask,
    proto::lnrpc::{ChannelEventSubscription, ChannelEventUpdate},
};

pub(super) struct ChannelsPart;

impl Part for ChannelsPart {
    const NAME: &'static str = "channels";
    const INTERVAL: Duration = Duration::from_secs(60);
    const BY_BLOCK: bool = true;
    const BY_MONEY: bool = true;
    const MOVES_MONEY: bool = true;
    type Hint = ChannelEventUpdate;

    async fn listen(client: Client) -> Result<Streaming<ChannelEventUpdate>, Error> {
        ask!(
            client,
            Duration::MAX,
            "tell of its channels",
            lightning.subscribe_channel_events(ChannelEventSubscription {})
        )
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        context.client.channels().await.map(Update::Channels)
    }
}
