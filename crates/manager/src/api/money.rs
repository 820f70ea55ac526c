//! Receiving: invoices and addresses. And the wallet's transactions.

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use lnd::Hash;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::{
    MilliSat,
    node::{Direction, InvoiceState},
};

use super::{
    caller::Caller,
    describe::{Body, Gap, Json, Query},
    node::{since, there},
    problem::Problem,
    types::{Amount, Page, Part, Time, Wanted},
};
use crate::{command, shared::House};

type Home = State<Arc<House>>;

/// An invoice is good for a day, unless asked otherwise.
const EXPIRY: u32 = 86_400;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Invoice")]
pub(crate) struct Invoice {
    payment_hash: String,
    memo: String,
    /// Null: the payer chooses.
    amount_msat: Option<Amount>,
    /// What was paid.
    paid_msat: Amount,
    /// `open`, `accepted` (held), `settled` or `canceled`.
    state: &'static str,
    created_at: Time,
    expires_at: Time,
    settled_at: Option<Time>,
    keysend: bool,
    /// BOLT 11; empty for a keysend.
    payment_request: String,
}

fn shown(invoice: &twin::node::Invoice) -> Invoice {
    Invoice {
        payment_hash: invoice.hash.clone(),
        memo: invoice.memo.clone(),
        amount_msat: invoice.amount.map(Amount::from),
        paid_msat: invoice.paid.into(),
        state: match invoice.state {
            InvoiceState::Open => "open",
            InvoiceState::Accepted => "accepted",
            InvoiceState::Settled => "settled",
            InvoiceState::Canceled => "canceled",
        },
        created_at: Time(invoice.created),
        expires_at: Time(invoice.expires),
        settled_at: invoice.settled.map(Time),
        keysend: invoice.keysend,
        payment_request: invoice.request.clone(),
    }
}

pub(crate) async fn invoices(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<Invoice>>, Problem> {
    let limit = part.limit().map_err(Problem::invalid)?;
    let before = part.cursor().map_err(Problem::invalid)?;
    let state = house.shared.twin.state();
    let known = &state.node.invoices;
    let read = since(known)?;
    let wanted = limit as usize;
    if before.is_none() && (wanted <= known.newest.len() || known.total <= known.newest.len() as u64) {
        let items: Vec<Invoice> = known.newest.iter().take(wanted).map(shown).collect();
        let last = known.newest.get(items.len().saturating_sub(1)).map(|invoice| invoice.index);
        let next = last.filter(|index| (items.len() as u64) < known.total && *index > 1).map(|index| index.to_string());
        return Ok(Json(Page { items, next, as_of: Some(Time(read)) }));
    }
    there(&house)?;
    if before == Some(0) {
        return Err(Problem::invalid("this is no cursor: give the 'next' of the page before, or none"));
    }
    let page = house.node.client.newest_invoices(before, limit).await?;
    let next = page.before.map(|index| index.to_string());
    Ok(Json(Page { items: page.items.iter().map(shown).collect(), next, as_of: None }))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct HashGap {
    /// The payment hash.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    hash: String,
}

pub(crate) async fn invoice(State(house): Home, Gap(HashGap { hash }): Gap<HashGap>) -> Result<Json<Invoice>, Problem> {
    let hash: Hash = hash.parse()?;
    let state = house.shared.twin.state();
    if let Some(invoice) = state.node.invoices.newest.iter().find(|invoice| invoice.hash == hash.to_string()) {
        return Ok(Json(shown(invoice)));
    }
    there(&house)?;
    Ok(Json(shown(&house.node.client.invoice(hash).await?)))
}

/// Fits into LND's 639 bytes whatever the characters are.
const LONGEST_MEMO: usize = 120;

/// An invoice to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewInvoice")]
pub(crate) struct NewInvoice {
    /// None: the payer chooses.
    amount_msat: Option<Wanted>,
    /// What the payer reads.
    #[serde(default)]
    #[schemars(length(max = 120))]
    memo: String,
    /// Seconds for which it can be paid [default: 86400].
    #[schemars(range(min = 60, max = 31_536_000))]
    expiry_seconds: Option<u32>,
    /// Tell the payer ways through channels that are not announced.
    #[serde(default)]
    private: bool,
}

pub(crate) async fn make_invoice(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<NewInvoice>,
) -> Result<Json<Invoice, 201>, Problem> {
    let expiry = ask.expiry_seconds.unwrap_or(EXPIRY);
    if !(60..=31_536_000).contains(&expiry) {
        return Err(Problem::invalid("expiry_seconds is from 60 to 31536000"));
    }
    if ask.memo.chars().count() > LONGEST_MEMO {
        return Err(Problem::invalid(format!("the memo has at most {LONGEST_MEMO} characters")));
    }
    there(&house)?;
    let (amount, expiry) =
        (ask.amount_msat.map(|wanted| MilliSat::new(wanted.get())), Duration::from_secs(expiry.into()));
    let invoice = command::invoice(&house, &caller.actor(), amount, &ask.memo, expiry, ask.private).await?;
    Ok(Json(shown(&invoice)))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Address")]
pub(crate) struct Address {
    /// An address of the wallet that was never shown before.
    address: String,
}

pub(crate) async fn address(State(house): Home, caller: Caller) -> Result<Json<Address, 201>, Problem> {
    there(&house)?;
    Ok(Json(Address { address: command::address(&house, &caller.actor()).await? }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Transaction")]
pub(crate) struct Transaction {
    txid: String,
    /// `in`: the wallet has more by it.
    direction: &'static str,
    amount_sat: Amount,
    fee_sat: Amount,
    /// Null: not confirmed.
    height: Option<u32>,
    time: Option<Time>,
    label: String,
}

fn transaction(transaction: &twin::node::Transaction) -> Transaction {
    Transaction {
        txid: transaction.txid.clone(),
        direction: match transaction.direction {
            Direction::In => "in",
            Direction::Out => "out",
        },
        amount_sat: transaction.amount.into(),
        fee_sat: transaction.fee.into(),
        height: transaction.height,
        time: Time::unless_never(transaction.time),
        label: transaction.label.clone(),
    }
}

/// The cursor is how many of the newest to leave out.
pub(crate) async fn transactions(
    State(house): Home,
    Query(part): Query<Part>,
) -> Result<Json<Page<Transaction>>, Problem> {
    let limit = u64::from(part.limit().map_err(Problem::invalid)?);
    let from = part.cursor().map_err(Problem::invalid)?.unwrap_or_default();
    let state = house.shared.twin.state();
    let known = &state.node.transactions;
    let read = since(known)?;
    let end = from.saturating_add(limit).min(known.total);
    let next = (end < known.total).then(|| end.to_string());
    if end <= known.newest.len() as u64 {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let items = known.newest.iter().skip(from).take(limit as usize).map(transaction).collect();
        return Ok(Json(Page { items, next, as_of: Some(Time(read)) }));
    }
    if from >= known.total {
        return Ok(Json(Page { items: Vec::new(), next: None, as_of: Some(Time(read)) }));
    }
    there(&house)?;
    // LND counts from the oldest.
    let (skip, count) = (known.total - end, end - from);
    let found = house.node.client.transactions(u32::try_from(skip).unwrap_or(u32::MAX), count as u32).await?;
    Ok(Json(Page { items: found.iter().map(transaction).collect(), next, as_of: None }))
}
