//! Paying a Lightning address or an LNURL: the receiver's service is asked for its terms, then for an invoice, and the
//! invoice is held against both before it becomes an order like any other.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use lnd::client::{Pay, PayTo};
use lnurl::{Answer, MAX_METADATA, Offer, Target};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use twin::{MilliSat, Sat};

use super::{read::SEEKING, tickets::Order};
use crate::{
    error::now,
    http::{extract::Form, fail::Fail},
    pages::{
        Place, complaint, csrf,
        node::{amount::amount as shown, amount::plain, msat, refusal, typed_sat},
        owner, words,
    },
    session::Current,
    shared::House,
};

/// Bytes of the answer with the invoice.
const INVOICE: usize = 32 * 1024;
/// An invoice that ends sooner could not be looked at in peace. Seconds.
const SHORTEST: u64 = 10;

/// Terms that a service has told.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) target: Target,
    pub(crate) offer: Offer,
    /// What was typed on the first page.
    typed: Option<Sat>,
}

/// Asks the receiver's service for its terms.
pub(super) async fn ask(house: &House, target: Target, typed: Option<Sat>) -> Result<Offered, String> {
    let reply = fetch::ask(&target.url(), &house.payments.get().reach(), MAX_METADATA)
        .await
        .map_err(|error| sentence(&error))?;
    match Offer::parse(&reply.body) {
        Ok(offer) => Ok(Offered { target, offer, typed }),
        Err(lnurl::Error::Malformed(what)) if !reply.status.is_success() => {
            tracing::debug!(what, status = %reply.status, "no offer");
            Err(t!("lnurl.status", host = reply.url.host_str().unwrap_or_default(), status = reply.status.as_u16())
                .into_owned())
        }
        Err(error) => Err(sentence(&error)),
    }
}

fn sentence(error: &dyn std::error::Error) -> String {
    words::sentence(&twin::source::sentence(error))
}

/// `GET /send/offer/{number}`: the terms, and a choice of the amount.
pub(crate) async fn get(
    State(house): State<Arc<House>>,
    session: Current,
    Path(number): Path<String>,
) -> Result<Markup, Fail> {
    let offered = house.tickets.offers.look(&number).ok_or(Fail::NotFound)?;
    let typed = offered.typed.map(|sat| sat.get().to_string()).unwrap_or_default();
    Ok(page(&house, &session, &number, &offered, &Chosen { amount: typed, comment: String::new() }, None))
}

fn page(
    house: &House,
    session: &Current,
    number: &str,
    offered: &Offered,
    chosen: &Chosen,
    refused: Option<&str>,
) -> Markup {
    let Offered { target, offer, .. } = offered;
    let money = house.shared.twin.state().money.clone();
    let body = html! {
        div.narrow {
            h1 { (t!("lnurl.title", to = target)) }
            dl.card {
                dt { (t!("lnurl.asked")) } dd { (offer.host()) }
                @if !offer.identifier.is_empty() { dt { (t!("lnurl.identifier")) } dd { (offer.identifier) } }
                dt { (t!("node.send.description")) }
                dd { (offer.description) @if !offer.long.is_empty() { br; span.small { (offer.long) } } }
                dt { (t!("lnurl.takes")) }
                dd.amount {
                    (shown(&money, offer.min))
                    @if offer.max > offer.min { " \u{2013} " (shown(&money, offer.max)) }
                }
            }
            form method="post" action={ "/send/offer/" (number) } {
                (csrf(session))
                (complaint("offer-complaint", refused))
                @if offer.max > offer.min {
                    p.field {
                        label for="amount" { (t!("node.amount")) }
                        input #amount name="amount" type="text" inputmode="numeric" maxlength="24" autocomplete="off" required value=(chosen.amount);
                    }
                }
                @if offer.comment > 0 {
                    p.field {
                        label for="comment" { (t!("lnurl.comment")) }
                        textarea #comment name="comment" rows="2" maxlength=(offer.comment) autocomplete="off" aria-describedby="comment-hint" { (chosen.comment) }
                    }
                    p.hint #comment-hint { (t!("lnurl.comment_hint", count = offer.comment)) }
                }
                button { (t!("node.send.preview")) }
                a.button.second href="/send" { (t!("node.send.cancel")) }
            }
            p.small { (t!("lnurl.next")) }
        }
    };
    owner(&t!("node.send.title"), session, Some(Place::Send), body)
}

#[derive(Default, Deserialize)]
pub(crate) struct Chosen {
    #[serde(default)]
    amount: String,
    #[serde(default)]
    comment: String,
}

/// `POST /send/offer/{number}`: asks for the invoice, checks it, and leads to the preview.
pub(crate) async fn choose(
    State(house): State<Arc<House>>,
    session: Current,
    Path(number): Path<String>,
    Form(chosen): Form<Chosen>,
) -> Result<Response, Fail> {
    let offered = house.tickets.offers.look(&number).ok_or(Fail::NotFound)?;
    match invoice(&house, &offered, &chosen).await {
        Ok(order) => {
            let ticket = house.tickets.issue(order)?;
            Ok(Redirect::to(&format!("/send/{ticket}")).into_response())
        }
        Err(text) => {
            let page = page(&house, &session, &number, &offered, &chosen, Some(&text));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// The amount that was chosen; a fixed one needs no choice, and may have parts of a satoshi.
fn amount_of(house: &House, offer: &Offer, typed: &str) -> Result<MilliSat, String> {
    if offer.min == offer.max {
        return Ok(offer.min);
    }
    let amount = typed_sat(typed)?.map(msat).ok_or_else(|| t!("node.send.amount_needed").into_owned())?;
    if offer.takes(amount) {
        return Ok(amount);
    }
    let money = house.shared.twin.state().money.clone();
    Err(t!("lnurl.range", min = plain(&money, offer.min), max = plain(&money, offer.max)).into_owned())
}

/// The same for a program, which is not to lose a part of its comment without a word.
pub(super) async fn taken(house: &House, offered: &Offered, amount: &str, comment: &str) -> Result<Order, String> {
    let most = offered.offer.comment;
    if comment.trim().chars().count() > usize::from(most) {
        return Err(t!("lnurl.long_comment", most = most).into_owned());
    }
    invoice(house, offered, &Chosen { amount: amount.to_owned(), comment: comment.to_owned() }).await
}

async fn invoice(house: &House, offered: &Offered, chosen: &Chosen) -> Result<Order, String> {
    let Offered { target, offer, .. } = offered;
    let amount = amount_of(house, offer, &chosen.amount)?;
    let preferences = house.payments.get();
    let question = offer.question(amount, &chosen.comment);
    let reply = fetch::ask(&question, &preferences.reach(), INVOICE).await.map_err(|error| sentence(&error))?;
    let Answer { invoice, success } = Answer::parse(&reply.body, offer).map_err(|error| sentence(&error))?;
    let request = house.node.client.decode(&invoice).await.map_err(|error| refusal(&error))?;
    // The heart of it: what was chosen and what was shown is what is paid.
    offer.check(amount, request.amount, &request.description_hash).map_err(|error| sentence(&error))?;
    if request.expires <= now().saturating_add(SHORTEST) {
        return Err(t!("node.send.expired", at = words::moment(request.expires)).into_owned());
    }
    let mut shown = vec![
        (t!("node.send.receiver").into_owned(), target.to_string()),
        (t!("lnurl.asked").into_owned(), offer.host().to_owned()),
        (t!("node.send.description").into_owned(), offer.description.clone()),
    ];
    let comment = chosen.comment.trim();
    if offer.comment > 0 && !comment.is_empty() {
        shown.push((t!("lnurl.comment").into_owned(), comment.chars().take(usize::from(offer.comment)).collect()));
    }
    shown.push((t!("lnurl.node").into_owned(), request.destination.to_string()));
    shown.push((t!("node.send.expires").into_owned(), words::moment(request.expires)));
    let to = PayTo::Invoice { request: invoice, amount: None };
    let pay = Pay { to, fee_limit: preferences.fee.of(amount), timeout: SEEKING };
    Ok(Order::Lightning { pay, hash: request.hash, amount, shown, success: success.map(Box::new) })
}
