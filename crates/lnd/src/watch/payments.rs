//! Payments, and what went out by them.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Streaming;
use twin::{
    MilliSat, Update,
    node::{Payment, PaymentState, Payments},
};

use super::{
    follow::{Context, Part},
    ledger::{Entry, Ledger, Pages, Sums},
};
use crate::{
    Client, Error,
    client::ask,
    proto::{lnrpc::Payment as WirePayment, routerrpc::TrackPaymentsRequest},
};

/// Everything is counted anew this often: entries may have been deleted.
pub(super) const WHOLE: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(super) struct PaymentsPart {
    ledger: Ledger<Payment>,
    whole: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Sent {
    succeeded: u64,
    failed: u64,
    amount: MilliSat,
    fees: MilliSat,
}

impl Sums<Payment> for Sent {
    fn add(&mut self, payment: &Payment) {
        if payment.state == PaymentState::Succeeded {
            self.succeeded += 1;
            self.amount = self.amount.checked_add(payment.amount).unwrap_or(self.amount);
            self.fees = self.fees.checked_add(payment.fee).unwrap_or(self.fees);
        } else {
            self.failed += 1;
        }
    }
}

impl Entry for Payment {
    type Sums = Sent;

    fn index(&self) -> u64 {
        self.index
    }

    fn is_open(&self) -> bool {
        self.state == PaymentState::InFlight
    }
}

impl Pages<Payment> for Client {
    async fn after(&self, after: u64, count: u32) -> Result<Vec<Payment>, Error> {
        self.payments_after(after, count).await
    }

    async fn newest(&self, count: u32) -> Result<Vec<Payment>, Error> {
        Ok(self.newest_payments(None, count).await?.items)
    }
}

impl Part for PaymentsPart {
    const NAME: &'static str = "payments";
    const INTERVAL: Duration = Duration::from_secs(60);
    const MOVES_MONEY: bool = true;
    type Hint = WirePayment;

    async fn listen(client: Client) -> Result<Streaming<WirePayment>, Error> {
        let request = TrackPaymentsRequest { no_inflight_updates: false };
        ask!(client, Duration::MAX, "tell of its payments", router.track_payments(request))
    }

    fn take(&mut self, hint: WirePayment) {
        self.ledger.tell(hint.payment_index);
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
        let sent = self.ledger.sums();
        Ok(Update::Payments(Payments {
            newest: self.ledger.newest(),
            total: self.ledger.total(),
            in_flight: self.ledger.open(),
            succeeded: sent.succeeded,
            failed: sent.failed,
            sent: sent.amount,
            fees: sent.fees,
        }))
    }
}
