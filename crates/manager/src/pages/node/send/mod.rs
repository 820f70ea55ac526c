//! Sending: what was typed is read, shown with all it costs, confirmed, and paid once.
//!
//! ```text
//!  typed ─► read (invoice, node, bitcoin address) ─────► preview ── confirmed ─► paying ─► paid | failed, nothing lost
//!                                                      │ one ticket, taken once: a double click finds it gone
//! ```

pub(crate) mod offer;
mod pay;
mod read;
mod tickets;

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use lnurl::Success;
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use twin::{Money, Sat};

use self::read::Said;
use super::{
    amount::{amount as amount_of, plain},
    away,
    bitcoin::suggestion,
    short, typed_sat,
};
use crate::{
    http::{extract::Form, fail::Fail},
    language::carried,
    pages::{Place, complaint, csrf, owner, owner_refreshed, words},
    session::Current,
    setup::audit,
    shared::House,
};

pub(crate) use self::{
    pay::carry_out,
    read::{order_with, terms},
    tickets::{FRESH, Order, Outcome, Tickets},
};

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
    pub(crate) to: String,
    #[serde(default)]
    pub(crate) amount: String,
}

/// `POST /send`: reads what was typed and leads to the preview, or to the terms of the receiver's service.
pub(crate) async fn read(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    match read::said(&house, &typed).await {
        Ok(Said::Offer(offered)) => {
            let number = house.tickets.offers.keep(*offered)?;
            Ok(Redirect::to(&format!("/send/offer/{number}")).into_response())
        }
        Ok(Said::Order(order)) => {
            let number = house.tickets.issue(*order)?;
            Ok(Redirect::to(&format!("/send/{number}")).into_response())
        }
        Err(sentence) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, &typed, Some(&sentence))).into_response())
        }
    }
}

/// The amount above which it is typed again.
pub(crate) async fn limit(house: &House) -> Result<Sat, Fail> {
    Ok(house.payments.get().limit)
}

/// `GET /send/{ticket}`: the preview, and after the confirmation what comes of it.
pub(crate) async fn ticket(
    State(house): State<Arc<House>>,
    session: Current,
    Path(number): Path<String>,
) -> Result<Markup, Fail> {
    let (order, outcome) = house.tickets.look(&number).ok_or(Fail::NotFound)?;
    match outcome {
        None => Ok(preview(&house, &session, &number, &order, &Confirmed::default(), None)),
        Some(outcome) => Ok(result(&house, &session, &order, &outcome)),
    }
}

fn preview(
    house: &House,
    session: &Current,
    number: &str,
    order: &Order,
    typed: &Confirmed,
    refused: Option<&str>,
) -> Markup {
    let limit = house.payments.get().limit;
    let is_large = order.amount() > limit;
    let state = house.shared.twin.state();
    let blocks = if typed.fee.is_empty() { "6" } else { &typed.fee };
    let body = html! {
        div.narrow {
            h1 { (t!("node.send.check")) }
            (facts(&state.money, order))
            form method="post" action={ "/send/" (number) } {
                (csrf(session))
                (complaint("confirm-complaint", refused))
                @match order {
                    Order::Lightning { pay, .. } => {
                        p.field {
                            label for="fee" { (t!("node.send.fee_limit")) }
                            input #fee name="fee" type="text" inputmode="numeric" maxlength="16" autocomplete="off"
                                value=(if typed.fee.is_empty() { pay.fee_limit.floor().get().to_string() } else { typed.fee.clone() });
                        }
                        p.hint { (t!("node.send.fee_limit_hint")) }
                    }
                    Order::Chain { .. } => {
                        p.field {
                            label for="fee" { (t!("node.send.fee_blocks")) }
                            select #fee name="fee" {
                                @for (within, name) in [(2, "fast"), (6, "normal"), (144, "slow")] {
                                    option value=(within) selected[blocks == within.to_string()] {
                                        (t!(format!("node.send.fee_{name}"))) (suggestion(&state, within))
                                    }
                                }
                            }
                        }
                    }
                }
                @if is_large {
                    p.field {
                        label for="confirm" { (t!("node.send.confirm", amount = order.amount())) }
                        input #confirm name="confirm" type="text" inputmode="numeric" maxlength="24" autocomplete="off" required value=(typed.confirm);
                    }
                    p.hint { (t!("node.send.confirm_hint", limit = limit)) }
                }
                button { (t!("node.send.pay", amount = plain(&state.money, order.exactly()))) }
                a.button.second href="/send" { (t!("node.send.cancel")) }
            }
        }
    };
    owner(&t!("node.send.title"), session, Some(Place::Send), body)
}

fn facts(money: &Money, order: &Order) -> Markup {
    let total = html! { dt { (t!("node.amount")) } dd.amount { strong { (amount_of(money, order.exactly())) } } };
    html! {
        dl.card {
            @match order {
                Order::Lightning { shown, .. } => {
                    (total)
                    @for (name, value) in shown { dt { (name) } dd { (value) } }
                }
                Order::Chain { address, .. } => {
                    (total)
                    dt { (t!("node.send.address")) } dd { code { (address) } }
                    dt { (t!("node.send.kind")) } dd { (t!("node.send.chain")) }
                }
            }
        }
    }
}

#[derive(Default, Deserialize)]
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
    let limit = house.payments.get().limit;
    let refuse = |text: &str| {
        let page = preview(&house, &session, &number, &order, &form, Some(text));
        Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
    };
    if !house.tickets.is_fresh(&number) {
        return refuse(&t!("payments.old_preview"));
    }
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
    tokio::spawn(carried(async move {
        let outcome = carry_out(&house, order, fee).await;
        house.tickets.set(&number, outcome);
    }));
    Ok(there.into_response())
}

fn result(house: &House, session: &Current, order: &Order, outcome: &Outcome) -> Markup {
    let money = house.shared.twin.state().money.clone();
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
                        p.notice.good { (t!("node.send.paid_what", fee = money.show(*fee))) }
                        (told(order))
                        details { summary { (t!("node.send.proof")) } p { code { (proof) } } }
                    }
                    Outcome::Sent { txid } => { p.notice.good { (t!("node.send.sent_what", txid = short(txid))) } p { code { (txid) } } }
                    Outcome::Failed(sentence) => { p.notice.bad { (words::sentence(sentence)) } p { (t!("node.send.nothing_lost")) } }
                    Outcome::Unknown(sentence) => { p.notice.bad { (words::sentence(sentence)) } p { (t!("node.send.unknown_what")) } }
                }
            }
            (facts(&money, order))
            p.row {
                a.button.second href="/home" { (t!("setup.done.home")) }
                @if !is_paying { a.button.second href="/send" { (t!("node.send.another")) } }
            }
        }
    };
    owner_refreshed(&t!("node.send.title"), session, Some(Place::Send), is_paying.then_some(2), body)
}

/// What the receiver wants to be shown. It is a stranger's text: never more than text, and a link says where it leads.
fn told(order: &Order) -> Markup {
    let Order::Lightning { success: Some(success), .. } = order else { return html! {} };
    html! {
        div.card {
            h2 { (t!("lnurl.told")) }
            @match &**success {
                Success::Message(text) => { p { (text) } }
                Success::Link { description, url } => {
                    p { (description) }
                    p { a href=(url) rel="noopener noreferrer nofollow" { (t!("lnurl.link", host = url.host_str().unwrap_or_default())) } }
                    p.small { code { (url) } }
                }
                Success::Sealed(description) => { p { (description) } p.small { (t!("lnurl.sealed")) } }
            }
        }
    }
}
