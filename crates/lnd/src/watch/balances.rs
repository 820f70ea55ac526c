//! How much there is, and where.

use std::time::Duration;

use tonic::Streaming;
use twin::Update;

use super::follow::{Context, Part, no_stream};
use crate::{Client, Error};

pub(super) struct BalancesPart;

impl Part for BalancesPart {
    const NAME: &'static str = "balances";
    const INTERVAL: Duration = Duration::from_secs(60);
    const BY_BLOCK: bool = true;
    const BY_MONEY: bool = true;
    type Hint = ();

    async fn listen(_client: Client) -> Result<Streaming<()>, Error> {
        no_stream().await
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        context.client.balances().await.map(Update::Balances)
    }
}
