//! The wallet's transactions.

use std::{collections::VecDeque, time::Duration};

use tonic::Streaming;
use twin::{
    Update,
    node::{NEWEST, Transactions},
};

use super::follow::{Context, Part};
use crate::{
    Client, Error,
    client::ask,
    proto::lnrpc::{GetTransactionsRequest, Transaction},
};

/// LND gathers all of them for each page, so the pages for counting are long.
const PAGE: u32 = 1000;

pub(super) struct TransactionsPart;

impl Part for TransactionsPart {
    const NAME: &'static str = "transactions";
    const INTERVAL: Duration = Duration::from_secs(300);
    // LND tells of nothing that it finds while it catches up with the chain.
    const BY_BLOCK: bool = true;
    const MOVES_MONEY: bool = true;
    type Hint = Transaction;

    async fn listen(client: Client) -> Result<Streaming<Transaction>, Error> {
        let request = GetTransactionsRequest::default();
        ask!(client, Duration::MAX, "tell of its transactions", lightning.subscribe_transactions(request))
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        let mut newest = VecDeque::with_capacity(NEWEST);
        let mut total = 0;
        loop {
            let page = context.client.transactions(total, PAGE).await?;
            let length = u32::try_from(page.len()).unwrap_or(u32::MAX);
            total += length;
            for transaction in page {
                newest.truncate(NEWEST - 1);
                newest.push_front(transaction);
            }
            if length < PAGE {
                break;
            }
        }
        let (newest, total) = (newest.into(), u64::from(total));
        Ok(Update::Transactions(Transactions { newest, total }))
    }
}
