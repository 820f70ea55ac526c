//! Paying: a preview is a ticket, a ticket is paid once.
//!
//! ```text
//!   previews {to} ─► ticket (amount, receiver, fee limit) ─► payments {ticket, the amount again} ─► once
//! ```

use std::sync::Arc;

use axum::extract::State;
use lnd::{NodeId, client::PayTo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::RequestState;
use twin::{
    MilliSat,
    node::{PaymentFailure, PaymentState},
};

use super::{
    caller::Caller,
    describe::{Body, Idempotency, Json, Query},
    node::{since, there},
    once::{self, Answer, Ended, Ending, once},
    problem::{Code, Problem},
    types::{Amount, Page, Part, Short, Time, Wanted},
};
use crate::{
    error::now,
    pages::node::send::{self, FRESH, Order, Outcome, Typed},
    shared::House,
};

type Home = State<Arc<House>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Payment")]
pub(crate) struct Payment {
    payment_hash: String,
    amount_msat: Amount,
    fee_msat: Amount,
    /// `in_flight`, `succeeded` or `failed`.
    state: &'static str,
    /// Why it failed; nothing was paid then.
    failure: Option<&'static str>,
    created_at: Time,
}

fn shown(payment: &twin::node::Payment) -> Payment {
    let (state, failure) = match payment.state {
        PaymentState::InFlight => ("in_flight", None),
        PaymentState::Succeeded => ("succeeded", None),
        PaymentState::Failed(failure) => ("failed", Some(failure)),
    };
    Payment {
        payment_hash: payment.hash.clone(),
        amount_msat: payment.amount.into(),
        fee_msat: payment.fee.into(),
        state,
        failure: failure.map(|failure| match failure {
            PaymentFailure::Timeout => "timeout",
            PaymentFailure::NoRoute => "no_route",
            PaymentFailure::Error => "error",
            PaymentFailure::IncorrectDetails => "incorrect_details",
            PaymentFailure::InsufficientBalance => "insufficient_balance",
            PaymentFailure::Canceled => "canceled",
        }),
        created_at: Time(payment.created),
    }
}

pub(crate) async fn list(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<Payment>>, Problem> {
    let limit = part.limit().map_err(Problem::invalid)?;
    let before = part.cursor().map_err(Problem::invalid)?;
    let state = house.shared.twin.state();
    let known = &state.node.payments;
    let read = since(known)?;
    let wanted = limit as usize;
    if before.is_none() && (wanted <= known.newest.len() || known.total <= known.newest.len() as u64) {
        let items: Vec<Payment> = known.newest.iter().take(wanted).map(shown).collect();
        let last = known.newest.get(items.len().saturating_sub(1)).map(|payment| payment.index);
        let next = last.filter(|index| (items.len() as u64) < known.total && *index > 1).map(|index| index.to_string());
        return Ok(Json(Page { items, next, as_of: Some(Time(read)) }));
    }
    there(&house)?;
    if before == Some(0) {
        return Err(Problem::invalid("this is no cursor: give the 'next' of the page before, or none"));
    }
    let page = house.node.client.newest_payments(before, limit).await?;
    let next = page.before.map(|index| index.to_string());
    Ok(Json(Page { items: page.items.iter().map(shown).collect(), next, as_of: None }))
}

/// A payment of others that went through this node.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Forward")]
pub(crate) struct Forward {
    at: Time,
    /// Short ids of the channels by which it came and went.
    from_channel: String,
    to_channel: String,
    amount_in_msat: Amount,
    amount_out_msat: Amount,
    /// What this node earned.
    fee_msat: Amount,
}

/// From LND itself: the twin does not keep them. The cursor is how many of the oldest to leave out.
pub(crate) async fn forwards(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<Forward>>, Problem> {
    let limit = part.limit().map_err(Problem::invalid)?;
    let skip = part.cursor().map_err(Problem::invalid)?.unwrap_or_default();
    let skip =
        u32::try_from(skip).map_err(|_| Problem::invalid("this is no cursor: give the 'next' of the page before"))?;
    there(&house)?;
    let found = house.node.client.forwards(skip, limit).await?;
    let next = (found.items.len() == limit as usize).then(|| found.next.to_string());
    let items = found.items.into_iter().map(|forward| Forward {
        at: Time(forward.at),
        from_channel: forward.from,
        to_channel: forward.to,
        amount_in_msat: forward.came.into(),
        amount_out_msat: forward.went.into(),
        fee_msat: forward.fee.into(),
    });
    Ok(Json(Page { items: items.collect(), next, as_of: None }))
}

/// Whom to ask for terms.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AskForTerms")]
pub(crate) struct To {
    /// A Lightning address or an LNURL.
    #[schemars(length(min = 1, max = 4000))]
    to: String,
}

/// What the service of a Lightning address or an LNURL takes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Terms")]
pub(crate) struct Terms {
    /// The host that was asked.
    service: String,
    /// The receiver, as the service calls them; may be empty.
    identifier: String,
    description: String,
    min_msat: Amount,
    max_msat: Amount,
    /// Characters of a comment; 0: it takes none.
    comment_max: u16,
}

/// `POST /payments/terms`: asks, and promises nothing.
pub(crate) async fn terms(State(house): State<Arc<House>>, Body(ask): Body<To>) -> Result<Json<Terms>, Problem> {
    if ask.to.trim().is_empty() || ask.to.len() > 4000 {
        return Err(Problem::invalid("'to' is a Lightning address or an LNURL"));
    }
    let found = send::terms(&house, &ask.to).await.map_err(Problem::invalid)?;
    let offer = found.ok_or_else(|| Problem::invalid("this is no Lightning address and no LNURL"))?.offer;
    Ok(Json(Terms {
        service: offer.host().to_owned(),
        min_msat: offer.min.into(),
        max_msat: offer.max.into(),
        comment_max: offer.comment,
        identifier: offer.identifier,
        description: offer.description,
    }))
}

/// What is to be paid.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewPreview")]
pub(crate) struct Ask {
    /// Whatever the page 'Send' takes: an invoice (BOLT 11), a Lightning address, an LNURL, the public key of a node, a
    /// Bitcoin address, a link of these. The service of a Lightning address or LNURL is asked for an invoice, which is
    /// held against its terms; a fixed amount of its is taken as it is.
    #[schemars(length(min = 1, max = 4000))]
    to: String,
    /// Where the receiver leaves the amount to you; whole satoshis.
    amount_msat: Option<Wanted>,
    /// For a Lightning address or an LNURL that takes one.
    #[serde(default)]
    comment: Short<1000>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Ticket")]
pub(crate) struct Ticket {
    /// To be given to POST /api/v1/node/payments. Good for one payment.
    ticket: String,
    /// `lightning` or `on_chain`.
    kind: &'static str,
    amount_msat: Amount,
    /// What the ways may cost at most unless you say otherwise; of a payment on the chain: what it would cost now.
    fee_msat: Amount,
    /// By Lightning: who gets it.
    receiver: Option<String>,
    description: Option<String>,
    /// Of a Lightning address or an LNURL: the host that was asked for the invoice.
    service: Option<String>,
    payment_hash: Option<String>,
    invoice_expires_at: Option<Time>,
    /// On the chain: where it goes.
    address: Option<String>,
    /// Until when the ticket can be paid.
    expires_at: Time,
}

pub(crate) async fn preview(State(house): Home, Body(ask): Body<Ask>) -> Result<Json<Ticket, 201>, Problem> {
    if ask.to.trim().is_empty() || ask.to.len() > 4000 {
        return Err(Problem::invalid("'to' is an invoice, the public key of a node or a Bitcoin address"));
    }
    let amount = match ask.amount_msat.map(Wanted::get) {
        Some(msat) if msat % 1000 != 0 => {
            return Err(Problem::invalid("amount_msat must be whole satoshis: end in 000"));
        }
        amount => amount.map(|msat| (msat / 1000).to_string()).unwrap_or_default(),
    };
    there(&house)?;
    let typed = Typed { to: ask.to, amount };
    let (order, offered) = send::order_with(&house, &typed, &ask.comment.0).await.map_err(Problem::invalid)?;
    let expires_at = Time(now().saturating_add(FRESH.as_secs()));
    let empty = Ticket {
        ticket: String::new(),
        kind: "lightning",
        amount_msat: MilliSat::ZERO.into(),
        fee_msat: MilliSat::ZERO.into(),
        receiver: None,
        description: None,
        service: None,
        payment_hash: None,
        invoice_expires_at: None,
        address: None,
        expires_at,
    };
    let shown = match &order {
        Order::Lightning { pay, hash, amount, .. } => {
            let mut ticket = Ticket {
                amount_msat: (*amount).into(),
                fee_msat: pay.fee_limit.into(),
                payment_hash: Some(hash.to_string()),
                ..empty
            };
            match &pay.to {
                PayTo::Invoice { request, .. } => {
                    let request = house.node.client.decode(request).await?;
                    ticket.receiver = Some(NodeId::to_string(&request.destination));
                    ticket.description = Some(request.description);
                    ticket.invoice_expires_at = Some(Time(request.expires));
                    if let Some(offered) = &offered {
                        ticket.service = Some(offered.offer.host().to_owned());
                        ticket.description = Some(offered.offer.description.clone());
                    }
                }
                PayTo::Keysend { node, .. } => ticket.receiver = Some(node.to_string()),
            }
            ticket
        }
        Order::Chain { address, amount } => Ticket {
            kind: "on_chain",
            amount_msat: amount.to_msat().unwrap_or_default().into(),
            fee_msat: chain_fee(&house, address, *amount, BLOCKS).await?.into(),
            address: Some(address.clone()),
            ..empty
        },
    };
    Ok(Json(Ticket { ticket: house.tickets.issue(order)?, ..shown }))
}

/// Blocks within which a payment on the chain should be confirmed, unless asked otherwise.
const BLOCKS: u16 = 6;

async fn chain_fee(house: &House, address: &str, amount: twin::Sat, blocks: u16) -> Result<MilliSat, Problem> {
    let fee = house.node.client.estimate_fee(address, amount, blocks).await?;
    Ok(fee.to_msat().unwrap_or_default())
}

/// A payment to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PayTicket")]
pub(crate) struct Pay {
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    ticket: String,
    /// The ticket's amount once more: a ticket that was mixed up pays nothing.
    amount_msat: Wanted,
    /// By Lightning: what the ways may cost at most, in whole satoshis [default: the ticket's].
    fee_limit_msat: Option<Wanted>,
    /// On the chain: within how many blocks it should be confirmed [default: 6].
    #[schemars(range(min = 1, max = 1008))]
    blocks: Option<u16>,
}

pub(crate) async fn pay(
    State(house): Home,
    caller: Caller,
    Idempotency(name): Idempotency,
    Body(ask): Body<Pay>,
) -> Result<Answer, Problem> {
    let blocks = ask.blocks.unwrap_or(BLOCKS);
    if !(1..=1008).contains(&blocks) {
        return Err(Problem::invalid("blocks is from 1 to 1008"));
    }
    let fee_limit = ask.fee_limit_msat.map(Wanted::get);
    let mut order = once::Order {
        entry: caller.audit("payment", ""),
        caller,
        name,
        action: "pay",
        content: format!("{} {} {fee_limit:?} {blocks}", ask.ticket, ask.amount_msat.get()),
        subject: String::new(),
        cost: 0,
    };
    // First of all: a ticket is forgotten at a restart, what was paid with it is not.
    if let Some(answer) = once::before(&house, &order).await? {
        return Ok(answer);
    }
    let (what, outcome) = house.tickets.look(&ask.ticket).ok_or_else(|| {
        Problem::new(Code::NotFound, "There is no such ticket; tickets are forgotten at a restart. Make a new preview.")
    })?;
    if outcome.is_some() {
        let detail = "It was paid, or tried to be, under another Idempotency-Key or on the page. Look at the payments.";
        return Err(Problem::new(Code::TicketUsed, detail));
    }
    there(&house)?;
    // What carries it out takes whole satoshis of fee by Lightning, and blocks on the chain.
    let (amount, most_fee, fee) = match &what {
        Order::Lightning { amount, pay, .. } => {
            let limit = fee_limit.unwrap_or(pay.fee_limit.get()) / 1000;
            (amount.get(), limit.saturating_mul(1000), limit)
        }
        Order::Chain { address, amount } => {
            let fee = chain_fee(&house, address, *amount, blocks).await?;
            (amount.to_msat().unwrap_or_default().get(), fee.get(), u64::from(blocks))
        }
    };
    if amount != ask.amount_msat.get() {
        return Err(Problem::invalid(format!("the ticket's amount is {amount} msat; nothing was paid")));
    }
    order.cost = amount.saturating_add(most_fee);
    if let Some((payment_max, _)) = order.caller.limits()
        && order.cost > payment_max
    {
        let detail = format!("This may cost {} msat with fees, the key may pay {payment_max} at once.", order.cost);
        return Err(Problem::new(Code::PaymentLimit, detail));
    }
    order.entry.detail = match &what {
        Order::Lightning { amount, hash, .. } => {
            order.subject = hash.to_string();
            format!("{amount}, payment {hash}")
        }
        Order::Chain { amount, address } => format!("{amount} to {address}"),
    };
    let work = {
        let (house, ticket) = (house.clone(), ask.ticket);
        async move { carry_out(&house, &ticket, amount, fee).await }
    };
    once(&house, order, work).await
}

/// Takes the ticket and pays; what came of it is known to the page, too.
async fn carry_out(house: &Arc<House>, ticket: &str, amount: u64, fee: u64) -> Ended {
    let Some(order) = house.tickets.take(ticket) else {
        let detail =
            "The ticket is too old, or it was used a moment ago. Look at the payments, then make a new preview.";
        return (RequestState::Failed, Ending { detail: detail.into(), ..Ending::default() }, None);
    };
    let message = match &order {
        Order::Lightning { success: Some(success), .. } => Some(told(success)),
        _ => None,
    };
    let outcome = send::carry_out(house, order, fee).await;
    house.tickets.set(ticket, outcome.clone());
    match outcome {
        Outcome::Paid { fee, proof } => {
            let cost = amount.saturating_add(fee.get());
            (
                RequestState::Done,
                Ending { fee: Some(fee), proof: Some(proof), message, ..Ending::default() },
                Some(cost),
            )
        }
        Outcome::Sent { txid } => (RequestState::Done, Ending { txid: Some(txid), ..Ending::default() }, None),
        Outcome::Failed(detail) => (RequestState::Failed, Ending { detail, ..Ending::default() }, None),
        Outcome::Paying | Outcome::Unknown(_) => (RequestState::Unknown, Ending::default(), None),
    }
}

/// What a receiver's service wants to be shown, as text.
fn told(success: &lnurl::Success) -> String {
    match success {
        lnurl::Success::Message(text) | lnurl::Success::Sealed(text) => text.clone(),
        lnurl::Success::Link { description, url } => format!("{description} {url}"),
    }
}
