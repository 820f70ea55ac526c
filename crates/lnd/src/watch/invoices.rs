//! Invoices, and what came in by them.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Streaming;
use twin::{
    MilliSat, Update,
    node::{Invoice, InvoiceState, Invoices},
};

use super::{
    follow::{Context, Part},
    ledger::{Entry, Ledger, Pages, Sums},
    payments::WHOLE,
};
use crate::{
    Client, Error,
    client::ask,
    proto::lnrpc::{Invoice as WireInvoice, InvoiceSubscription},
};

#[derive(Default)]
pub(super) struct InvoicesPart {
    ledger: Ledger<Invoice>,
    whole: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Received {
    settled: u64,
    canceled: u64,
    amount: MilliSat,
}

impl Sums<Invoice> for Received {
    fn add(&mut self, invoice: &Invoice) {
        if invoice.state == InvoiceState::Settled {
            self.settled += 1;
            self.amount = self.amount.checked_add(invoice.paid).unwrap_or(self.amount);
        } else {
            self.canceled += 1;
        }
    }
}

impl Entry for Invoice {
    type Sums = Received;

    fn index(&self) -> u64 {
        self.index
    }

    fn is_open(&self) -> bool {
        matches!(self.state, InvoiceState::Open | InvoiceState::Accepted)
    }
}

impl Pages<Invoice> for Client {
    async fn after(&self, after: u64, count: u32) -> Result<Vec<Invoice>, Error> {
        self.invoices_after(after, count).await
    }

    async fn newest(&self, count: u32) -> Result<Vec<Invoice>, Error> {
        Ok(self.newest_invoices(None, count).await?.items)
    }
}

impl Part for InvoicesPart {
    const NAME: &'static str = "invoices";
    const INTERVAL: Duration = Duration::from_secs(60);
    const MOVES_MONEY: bool = true;
    type Hint = WireInvoice;

    async fn listen(client: Client) -> Result<Streaming<WireInvoice>, Error> {
        ask!(client, Duration::MAX, "tell of its invoices", lightning.subscribe_invoices(InvoiceSubscription {}))
    }

    fn take(&mut self, hint: WireInvoice) {
        self.ledger.tell(hint.add_index);
    }

    fn gap(&mut self) {
        self.whole = None;
    }

    async fn read(&mut self, context: &Context) -> Result<Update, Error> {
        if self.whole.is_none_or(|time| time.elapsed() > WHOLE) {
            self.ledger.forget();
            self.whole = None;
        }
        self.ledger.update(&context.client).await?;
        self.whole.get_or_insert_with(Instant::now);
        let received = self.ledger.sums();
        Ok(Update::Invoices(Invoices {
            newest: self.ledger.newest(),
            total: self.ledger.total(),
            open: self.ledger.open(),
            settled: received.settled,
            canceled: received.canceled,
            received: received.amount,
        }))
    }
}
