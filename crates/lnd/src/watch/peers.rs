//! Who is connected.

use std::time::Duration;

use tonic::Streaming;
use twin::Update;

use super::follow::{Context, Part};
use crate::{
    Client, Error,
    client::ask,
    proto::lnrpc::{PeerEvent, PeerEventSubscription},
};

pub(super) struct PeersPart;

impl Part for PeersPart {
    const NAME: &'static str = "peers";
    const INTERVAL: Duration = Duration::from_secs(60);
    type Hint = PeerEvent;

    async fn listen(client: Client) -> Result<Streaming<PeerEvent>, Error> {
        ask!(client, Duration::MAX, "tell of its peers", lightning.subscribe_peer_events(PeerEventSubscription {}))
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        context.client.peers().await.map(Update::Peers)
    }
}
