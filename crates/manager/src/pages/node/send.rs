//! Sending: what was typed is read, shown with all it costs, confirmed, and paid once.
//!
//! ```text
//!  typed ─► read (invoice, node, bitcoin address) ─► preview ── confirmed ─► paying ─► paid | failed, nothing lost
//!                                                      │ one ticket, taken once: a double click finds it gone
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use lnd::{
    Hash, NodeId, Preimage,
    client::{Pay, PayTo},
    types::FeeRate,
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use tokio::time::Instant;
use twin::{
    MilliSat, Sat,
    node::{PaymentFailure, PaymentState},
};

use super::{away, msat, refusal, short, typed_sat};
use crate::{
    error::{Error, now, random},
    http::{extract::Form, fail::Fail},
    pages::{Place, complaint, csrf, owner, owner_refreshed, words},
    session::Current,
    setup::audit,
    shared::House,
};

/// A preview is good for so long; then it must be made again.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// How many previews and payments are remembered.
const REMEMBERED: usize = 200;
/// How long ways are sought.
const SEEKING: Duration = Duration::from_secs(60);
/// Key of the amount above which the amount must be typed again.
const LIMIT_KEY: &str = "send.limit";
/// Unless the owner sets another one.
const LIMIT: Sat = Sat::new(100_000);

/// Previews and what became of them, by ticket.
#[derive(Default)]
pub(crate) struct Tickets(Mutex<HashMap<String, Ticket>>);

struct Ticket {
    made: Instant,
    order: Order,
    /// `None`: not confirmed yet.
    outcome: Option<Outcome>,
}

/// What is to be paid.
#[derive(Debug, Clone)]
enum Order {
    Lightning { pay: Pay, hash: Hash, amount: MilliSat, shown: Vec<(String, String)> },
    Chain { address: String, amount: Sat },
}

/// What came of it.
#[derive(Debug, Clone)]
enum Outcome {
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
    fn amount(&self) -> Sat {
        match self {
            // A part of a satoshi counts as a whole one where it is compared to a limit.
            Self::Lightning { amount, .. } => Sat::new(amount.get().div_ceil(1000)),
            Self::Chain { amount, .. } => *amount,
        }
    }
}

impl Tickets {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue(&self, order: Order) -> Result<String, Error> {
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
    fn take(&self, number: &str) -> Option<Order> {
        let mut tickets = self.lock();
        let ticket =
            tickets.get_mut(number).filter(|ticket| ticket.outcome.is_none() && ticket.made.elapsed() < FRESH)?;
        ticket.outcome = Some(Outcome::Paying);
        Some(ticket.order.clone())
    }

    fn set(&self, number: &str, outcome: Outcome) {
        if let Some(ticket) = self.lock().get_mut(number) {
            ticket.outcome = Some(outcome);
        }
    }

    fn look(&self, number: &str) -> Option<(Order, Option<Outcome>)> {
        self.lock().get(number).map(|ticket| (ticket.order.clone(), ticket.outcome.clone()))
    }
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, &Typed::default(), None)
}

fn page(house: &House, session: &Current, typed: &Typed, refused: Option<&str>) -> Markup {
    let away = away(house);
    let body = html! {
        div.narrow {
            h1 { (t!("node.send.title")) }
            @if let Some(away) = &away { p.notice { (away) } }
            form method="post" action="/send" {
                (csrf(session))
                (complaint("send-complaint", refused))
                p.field {
                    label for="to" { (t!("node.send.to")) }
                    textarea #to name="to" rows="4" required autocomplete="off" autocapitalize="none" spellcheck="false"
                        aria-describedby="to-hint" { (typed.to) }
                }
                p.hint #to-hint { (t!("node.send.to_hint")) }
                p.field {
                    label for="amount" { (t!("node.amount")) }
                    input #amount name="amount" type="text" inputmode="numeric" maxlength="24" autocomplete="off" value=(typed.amount);
                }
                p.hint { (t!("node.send.amount_hint")) }
                button disabled[away.is_some()] { (t!("node.send.preview")) }
            }
        }
    };
    owner(&t!("node.send.title"), session, Some(Place::Send), body)
}

#[derive(Default, Deserialize)]
pub(crate) struct Typed {
    #[serde(default)]
    to: String,
    #[serde(default)]
    amount: String,
}

/// `POST /send`: reads what was typed and leads to the preview.
pub(crate) async fn read(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    match order(&house, &typed).await {
        Ok(order) => {
            let number = house.tickets.issue(order)?;
            Ok(Redirect::to(&format!("/send/{number}")).into_response())
        }
        Err(sentence) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, &typed, Some(&sentence))).into_response())
        }
    }
}

/// What was typed as an order; an error is a sentence.
async fn order(house: &House, typed: &Typed) -> Result<Order, String> {
    let amount = typed_sat(&typed.amount)?;
    let to = typed.to.trim();
    let plain = strip(to, "lightning:");
    let lower = plain.to_lowercase();
    if lower.starts_with("ln") && lower.len() > 40 && !lower.starts_with("lnurl") {
        return invoice(house, plain, amount).await;
    }
    if let Ok(node) = plain.parse::<NodeId>() {
        return keysend(node, amount.ok_or_else(|| t!("node.send.amount_needed").into_owned())?);
    }
    let address = strip(to, "bitcoin:");
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    // A code that offers both ways is paid by Lightning, which is cheaper and faster.
    let both = query.split('&').find_map(|pair| pair.strip_prefix("lightning=").or(pair.strip_prefix("LIGHTNING=")));
    if let Some(request) = both {
        return invoice(house, request, amount).await;
    }
    let is_address = (26..=90).contains(&address.len()) && address.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_address {
        return Err(t!("node.send.unreadable").into_owned());
    }
    let amount = amount.ok_or_else(|| t!("node.send.amount_needed").into_owned())?;
    // LND reads the address, and refuses one of another chain.
    house.node.client.estimate_fee(address, amount, 6).await.map_err(|error| refusal(&error))?;
    Ok(Order::Chain { address: address.to_owned(), amount })
}

fn strip<'a>(text: &'a str, scheme: &str) -> &'a str {
    match text.get(..scheme.len()) {
        Some(start) if start.eq_ignore_ascii_case(scheme) => text.get(scheme.len()..).unwrap_or_default(),
        _ => text,
    }
}

async fn invoice(house: &House, text: &str, typed: Option<Sat>) -> Result<Order, String> {
    let request = house.node.client.decode(text).await.map_err(|error| refusal(&error))?;
    if request.expires <= now() {
        return Err(t!("node.send.expired", at = words::moment(request.expires)).into_owned());
    }
    let amount = match (request.amount, typed) {
        (Some(asked), Some(typed)) if asked != msat(typed) => {
            return Err(t!("node.send.other_amount", asked = asked).into_owned());
        }
        (Some(asked), _) => asked,
        (None, Some(typed)) => msat(typed),
        (None, None) => return Err(t!("node.send.amount_needed").into_owned()),
    };
    let open = request.amount.is_none().then_some(amount);
    let mut shown = vec![(t!("node.send.receiver").into_owned(), request.destination.to_string())];
    if !request.description.is_empty() {
        shown.push((t!("node.send.description").into_owned(), request.description.clone()));
    }
    shown.push((t!("node.send.expires").into_owned(), words::moment(request.expires)));
    shown.push((t!("node.send.hints").into_owned(), request.route_hints.to_string()));
    let to = PayTo::Invoice { request: text.to_owned(), amount: open };
    let pay = Pay { to, fee_limit: fee_limit(amount), timeout: SEEKING };
    Ok(Order::Lightning { pay, hash: request.hash, amount, shown })
}

fn keysend(node: NodeId, amount: Sat) -> Result<Order, String> {
    let preimage = Preimage::new(random::<32>().map_err(|error| error.to_string())?);
    let hash = preimage.hash();
    let amount = msat(amount);
    let shown = vec![
        (t!("node.send.receiver").into_owned(), node.to_string()),
        (t!("node.send.kind").into_owned(), t!("node.send.keysend").into_owned()),
    ];
    let to = PayTo::Keysend { node, amount, preimage, records: BTreeMap::new() };
    Ok(Order::Lightning { pay: Pay { to, fee_limit: fee_limit(amount), timeout: SEEKING }, hash, amount, shown })
}

/// One hundredth and ten satoshis at most, unless the owner changes it on the preview.
fn fee_limit(amount: MilliSat) -> MilliSat {
    MilliSat::new(amount.get() / 100).checked_add(MilliSat::new(10_000)).unwrap_or(amount)
}

async fn limit(house: &House) -> Result<Sat, Fail> {
    Ok(house.store.setting::<Sat>(LIMIT_KEY).await?.unwrap_or(LIMIT))
}

/// `GET /send/{ticket}`: the preview, and after the confirmation what comes of it.
pub(crate) async fn ticket(
    State(house): State<Arc<House>>,
    session: Current,
    Path(number): Path<String>,
) -> Result<Markup, Fail> {
    let (order, outcome) = house.tickets.look(&number).ok_or(Fail::NotFound)?;
    match outcome {
        None => Ok(preview(&session, &number, &order, limit(&house).await?, None)),
        Some(outcome) => Ok(result(&session, &order, &outcome)),
    }
}

fn preview(session: &Current, number: &str, order: &Order, limit: Sat, refused: Option<&str>) -> Markup {
    let is_large = order.amount() > limit;
    let body = html! {
        div.narrow {
            h1 { (t!("node.send.check")) }
            (facts(order))
            form method="post" action={ "/send/" (number) } {
                (csrf(session))
                (complaint("confirm-complaint", refused))
                @match order {
                    Order::Lightning { pay, .. } => {
                        p.field {
                            label for="fee" { (t!("node.send.fee_limit")) }
                            input #fee name="fee" type="text" inputmode="numeric" maxlength="16" autocomplete="off"
                                value=(pay.fee_limit.floor().get());
                        }
                        p.hint { (t!("node.send.fee_limit_hint")) }
                    }
                    Order::Chain { .. } => {
                        p.field {
                            label for="fee" { (t!("node.send.fee_blocks")) }
                            select #fee name="fee" {
                                @for (blocks, name) in [("2", "fast"), ("6", "normal"), ("144", "slow")] {
                                    option value=(blocks) selected[blocks == "6"] { (t!(format!("node.send.fee_{name}"))) }
                                }
                            }
                        }
                    }
                }
                @if is_large {
                    p.field {
                        label for="confirm" { (t!("node.send.confirm", amount = order.amount())) }
                        input #confirm name="confirm" type="text" inputmode="numeric" maxlength="24" autocomplete="off" required;
                    }
                    p.hint { (t!("node.send.confirm_hint", limit = limit)) }
                }
                button { (t!("node.send.pay", amount = order.amount())) }
                a.button.second href="/send" { (t!("node.send.cancel")) }
            }
        }
    };
    owner(&t!("node.send.title"), session, Some(Place::Send), body)
}

fn facts(order: &Order) -> Markup {
    html! {
        dl.card {
            @match order {
                Order::Lightning { amount, shown, .. } => {
                    dt { (t!("node.amount")) } dd.amount { strong { (amount) } }
                    @for (name, value) in shown { dt { (name) } dd { (value) } }
                }
                Order::Chain { address, amount, .. } => {
                    dt { (t!("node.amount")) } dd.amount { strong { (amount) } }
                    dt { (t!("node.send.address")) } dd { code { (address) } }
                    dt { (t!("node.send.kind")) } dd { (t!("node.send.chain")) }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Confirmed {
    #[serde(default)]
    fee: String,
    #[serde(default)]
    confirm: String,
}

/// `POST /send/{ticket}`: pays. A second click finds the ticket taken and only looks on.
pub(crate) async fn confirm(
    State(house): State<Arc<House>>,
    session: Current,
    Path(number): Path<String>,
    Form(form): Form<Confirmed>,
) -> Result<Response, Fail> {
    let there = Redirect::to(&format!("/send/{number}"));
    let (order, outcome) = house.tickets.look(&number).ok_or(Fail::NotFound)?;
    if outcome.is_some() {
        return Ok(there.into_response());
    }
    let limit = limit(&house).await?;
    let refuse = |text: &str| {
        Ok((StatusCode::UNPROCESSABLE_ENTITY, preview(&session, &number, &order, limit, Some(text))).into_response())
    };
    if order.amount() > limit && typed_sat(&form.confirm).ok().flatten() != Some(order.amount()) {
        return refuse(&t!("node.send.confirm_wrong", amount = order.amount()));
    }
    let fee = form.fee.trim().parse::<u64>();
    let Ok(fee) = fee else { return refuse(&t!("node.send.fee_bad")) };
    let detail = match &order {
        Order::Lightning { amount, hash, .. } => format!("{amount}, payment {hash}"),
        Order::Chain { amount, address, .. } => format!("{amount} to {address}"),
    };
    let Some(order) = house.tickets.take(&number) else { return Ok(there.into_response()) };
    // Written down before anything leaves the box; what cannot be written down is not paid.
    if let Err(error) = house.store.audit(audit(&session, "payment", detail)).await {
        house.tickets.set(&number, Outcome::Failed(error.to_string()));
        return Err(error.into());
    }
    tokio::spawn(async move {
        let outcome = carry_out(&house, order, fee).await;
        house.tickets.set(&number, outcome);
    });
    Ok(there.into_response())
}

async fn carry_out(house: &House, order: Order, fee: u64) -> Outcome {
    match order {
        Order::Lightning { mut pay, hash, .. } => {
            pay.fee_limit = msat(Sat::new(fee.min(super::MOST)));
            lightning(house, &pay, hash).await
        }
        Order::Chain { address, amount } => {
            let rate = FeeRate::Blocks(u16::try_from(fee).unwrap_or(6).clamp(1, 1008));
            match house.node.client.send_coins(&address, Some(amount), rate, "homebolt").await {
                Ok(txid) => Outcome::Sent { txid },
                Err(error) if is_unsure(&error) => Outcome::Unknown(refusal(&error)),
                Err(error) => Outcome::Failed(refusal(&error)),
            }
        }
    }
}

/// Whether LND may have done it all the same.
fn is_unsure(error: &lnd::Error) -> bool {
    matches!(error, lnd::Error::Timeout { .. } | lnd::Error::Ended { .. })
}

async fn lightning(house: &House, pay: &Pay, hash: Hash) -> Outcome {
    let client = &house.node.client;
    let begun = match client.pay(pay).await {
        Ok(paying) => paying.end().await,
        Err(error) => Err(error),
    };
    let ended = match begun {
        // The line broke, the payment goes on: what became of it is asked of LND, never paid again.
        Err(error) if is_unsure(&error) => match client.track(hash).await {
            Ok(paying) => paying.end().await,
            Err(lnd::Error::NotFound(_)) => return Outcome::Failed(refusal(&error)),
            Err(_) => return Outcome::Unknown(refusal(&error)),
        },
        ended => ended,
    };
    match ended {
        Ok(progress) => match progress.payment.state {
            PaymentState::Succeeded => {
                let proof = progress.preimage.map(|preimage| preimage.expose()).unwrap_or_default();
                Outcome::Paid { fee: progress.payment.fee, proof }
            }
            PaymentState::InFlight => Outcome::Unknown(t!("node.send.in_flight").into_owned()),
            PaymentState::Failed(failure) => Outcome::Failed(failed(failure)),
        },
        Err(error) if is_unsure(&error) => Outcome::Unknown(refusal(&error)),
        Err(error) => Outcome::Failed(refusal(&error)),
    }
}

fn failed(failure: PaymentFailure) -> String {
    let key = match failure {
        PaymentFailure::Timeout => "timeout",
        PaymentFailure::NoRoute => "no_route",
        PaymentFailure::Error => "error",
        PaymentFailure::IncorrectDetails => "incorrect_details",
        PaymentFailure::InsufficientBalance => "insufficient_balance",
        PaymentFailure::Canceled => "cancelled",
    };
    t!(format!("node.send.failure.{key}")).into_owned()
}

fn result(session: &Current, order: &Order, outcome: &Outcome) -> Markup {
    let is_paying = matches!(outcome, Outcome::Paying);
    let body = html! {
        div.narrow data-poll=[is_paying.then_some(1)] {
            h1 {
                (match outcome {
                    Outcome::Paying => t!("node.send.paying"),
                    Outcome::Paid { .. } => t!("node.send.paid"),
                    Outcome::Sent { .. } => t!("node.send.sent"),
                    Outcome::Failed(_) => t!("node.send.failed"),
                    Outcome::Unknown(_) => t!("node.send.unknown"),
                })
            }
            div role="status" {
                @match outcome {
                    Outcome::Paying => { progress aria-label=(t!("node.send.paying")) {} }
                    Outcome::Paid { fee, proof } => {
                        p.notice.good { (t!("node.send.paid_what", fee = fee)) }
                        details { summary { (t!("node.send.proof")) } p { code { (proof) } } }
                    }
                    Outcome::Sent { txid } => { p.notice.good { (t!("node.send.sent_what", txid = short(txid))) } p { code { (txid) } } }
                    Outcome::Failed(sentence) => { p.notice.bad { (words::sentence(sentence)) } p { (t!("node.send.nothing_lost")) } }
                    Outcome::Unknown(sentence) => { p.notice.bad { (words::sentence(sentence)) } p { (t!("node.send.unknown_what")) } }
                }
            }
            (facts(order))
            p.row {
                a.button.second href="/home" { (t!("setup.done.home")) }
                @if !is_paying { a.button.second href="/send" { (t!("node.send.another")) } }
            }
        }
    };
    owner_refreshed(&t!("node.send.title"), session, Some(Place::Send), is_paying.then_some(2), body)
}

#[cfg(test)]
mod tests {
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
            timeout: SEEKING,
        };
        let hash = Preimage::new([1; 32]).hash();
        let order = Order::Lightning { pay, hash, amount: MilliSat::new(100_000_001), shown: vec![] };
        assert_eq!(order.amount(), Sat::new(100_001));
    }

    #[test]
    fn schemes_of_links_do_not_matter() {
        assert_eq!(strip("LIGHTNING:lnbc1", "lightning:"), "lnbc1");
        assert_eq!(strip("lnbc1", "lightning:"), "lnbc1");
        assert_eq!(strip("ln", "lightning:"), "ln");
    }
}
