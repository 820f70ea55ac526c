//! What is to be paid, between its preview and its end. In memory alone: after a restart LND knows what was paid, and a
//! preview is made again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lnd::{Hash, client::Pay};
use lnurl::Success;
use tokio::time::Instant;
use twin::{MilliSat, Sat};

use super::offer::Offered;
use crate::error::{Error, random};

/// A preview is good for so long; then it must be made again.
pub(crate) const FRESH: Duration = Duration::from_secs(15 * 60);
/// How many previews and payments are remembered.
const REMEMBERED: usize = 200;

/// Previews and what became of them, by ticket.
#[derive(Default)]
pub(crate) struct Tickets {
    orders: Mutex<HashMap<String, Ticket>>,
    /// What receivers' services have offered, before it is an order.
    pub(super) offers: Offers,
}

#[derive(Default)]
pub(super) struct Offers(Mutex<HashMap<String, (Instant, Offered)>>);

struct Ticket {
    made: Instant,
    order: Order,
    /// `None`: not confirmed yet.
    outcome: Option<Outcome>,
}

/// What is to be paid.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Lightning {
        pay: Pay,
        hash: Hash,
        amount: MilliSat,
        shown: Vec<(String, String)>,
        /// What the receiver wants to be shown once it is paid.
        success: Option<Box<Success>>,
    },
    Chain {
        address: String,
        amount: Sat,
    },
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Paying,
    Paid {
        fee: MilliSat,
        proof: String,
    },
    Sent {
        txid: String,
    },
    /// A sentence; nothing was paid.
    Failed(String),
    /// It may have been paid: look, do not try again.
    Unknown(String),
}

impl Order {
    pub(crate) fn amount(&self) -> Sat {
        match self {
            // A part of a satoshi counts as a whole one where it is compared to a limit.
            Self::Lightning { amount, .. } => Sat::new(amount.get().div_ceil(1000)),
            Self::Chain { amount, .. } => *amount,
        }
    }
}

impl Order {
    /// To the millisatoshi.
    pub(super) fn exactly(&self) -> MilliSat {
        match self {
            Self::Lightning { amount, .. } => *amount,
            Self::Chain { amount, .. } => amount.to_msat().unwrap_or_default(),
        }
    }
}

impl Tickets {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Ticket>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn issue(&self, order: Order) -> Result<String, Error> {
        let number = hex::encode(random::<16>()?);
        let mut tickets = self.lock();
        if tickets.len() >= REMEMBERED {
            let oldest = tickets.iter().filter(|(_, ticket)| !matches!(ticket.outcome, Some(Outcome::Paying)));
            let oldest = oldest.min_by_key(|(_, ticket)| ticket.made).map(|(number, _)| number.clone());
            oldest.map(|number| tickets.remove(&number));
        }
        tickets.insert(number.clone(), Ticket { made: Instant::now(), order, outcome: None });
        Ok(number)
    }

    /// The order of a ticket that nobody has confirmed before; from now on it counts as confirmed.
    pub(crate) fn take(&self, number: &str) -> Option<Order> {
        let mut tickets = self.lock();
        let ticket =
            tickets.get_mut(number).filter(|ticket| ticket.outcome.is_none() && ticket.made.elapsed() < FRESH)?;
        ticket.outcome = Some(Outcome::Paying);
        Some(ticket.order.clone())
    }

    /// Whether an order may still be confirmed.
    pub(super) fn is_fresh(&self, number: &str) -> bool {
        self.lock().get(number).is_some_and(|ticket| ticket.made.elapsed() < FRESH)
    }

    pub(crate) fn set(&self, number: &str, outcome: Outcome) {
        if let Some(ticket) = self.lock().get_mut(number) {
            ticket.outcome = Some(outcome);
        }
    }

    pub(crate) fn look(&self, number: &str) -> Option<(Order, Option<Outcome>)> {
        self.lock().get(number).map(|ticket| (ticket.order.clone(), ticket.outcome.clone()))
    }
}

impl Offers {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Offered)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, offered: Offered) -> Result<String, Error> {
        let number = hex::encode(random::<16>()?);
        let mut offers = self.lock();
        offers.retain(|_, (made, _)| made.elapsed() < FRESH);
        if offers.len() >= REMEMBERED {
            let oldest = offers.iter().min_by_key(|(_, (made, _))| *made).map(|(number, _)| number.clone());
            oldest.map(|number| offers.remove(&number));
        }
        offers.insert(number.clone(), (Instant::now(), offered));
        Ok(number)
    }

    /// An offer that is not too old to be taken.
    pub(super) fn look(&self, number: &str) -> Option<Offered> {
        self.lock().get(number).filter(|(made, _)| made.elapsed() < FRESH).map(|(_, offered)| offered.clone())
    }
}

#[cfg(test)]
mod tests {
    use lnd::{Preimage, client::PayTo};

    use super::*;

    fn order() -> Order {
        Order::Chain { address: "bc1q".into(), amount: Sat::new(7) }
    }

    #[test]
    fn a_ticket_is_taken_once() {
        let tickets = Tickets::default();
        let number = tickets.issue(order()).unwrap();
        assert!(tickets.take(&number).is_some());
        assert!(tickets.take(&number).is_none(), "a double click");
        tickets.set(&number, Outcome::Failed("no".into()));
        assert!(tickets.take(&number).is_none(), "a failed payment begins with a new preview");
        assert!(tickets.take("other").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_preview_is_not_paid() {
        let tickets = Tickets::default();
        let number = tickets.issue(order()).unwrap();
        tokio::time::advance(FRESH).await;
        assert!(tickets.take(&number).is_none());
    }

    #[test]
    fn a_part_of_a_satoshi_counts_for_the_limit() {
        let pay = Pay {
            to: PayTo::Invoice { request: String::new(), amount: None },
            fee_limit: MilliSat::ZERO,
            timeout: Duration::ZERO,
        };
        let hash = Preimage::new([1; 32]).hash();
        let order = Order::Lightning { pay, hash, amount: MilliSat::new(100_000_001), shown: vec![], success: None };
        assert_eq!(order.amount(), Sat::new(100_001));
    }
}
