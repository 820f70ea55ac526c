//! Payments in the channels, and how long they are safe.

use std::time::Duration;

use tonic::Streaming;
use twin::Update;

use super::follow::{Context, Part};
use crate::{
    Client, Error,
    client::ask,
    proto::routerrpc::{HtlcEvent, SubscribeHtlcEventsRequest},
};

pub(super) struct HtlcsPart;

impl Part for HtlcsPart {
    const NAME: &'static str = "HTLCs";
    const INTERVAL: Duration = Duration::from_secs(60);
    const BY_BLOCK: bool = true;
    const BY_MONEY: bool = true;
    const MOVES_MONEY: bool = true;
    type Hint = HtlcEvent;

    async fn listen(client: Client) -> Result<Streaming<HtlcEvent>, Error> {
        ask!(client, Duration::MAX, "tell of its HTLCs", router.subscribe_htlc_events(SubscribeHtlcEventsRequest {}))
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        // Before the first block is known, LND tells it; a wrong height would show wrong blocks left.
        let height = match context.height() {
            0 => context.client.info().await?.height,
            height => height,
        };
        context.client.htlcs(height).await.map(Update::Htlcs)
    }
}
