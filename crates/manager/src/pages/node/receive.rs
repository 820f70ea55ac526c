//! Receiving: an invoice, or an address of the wallet.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use twin::{
    Money,
    node::{Invoice, InvoiceState},
};

use super::{
    amount::{amount as shown_amount, plain},
    away, msat, qr, silent, typed_sat,
};
use crate::{
    command::{self, MEMO},
    http::{extract::Form, fail::Fail},
    pages::{Place, complaint, csrf, owner, owner_refreshed, words},
    session::Current,
    shared::House,
};

/// An invoice is good for a day.
const EXPIRY: Duration = Duration::from_secs(86_400);

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, None, None)
}

fn page(house: &House, session: &Current, refused: Option<&str>, address: Option<&str>) -> Markup {
    let away = away(house);
    let body = html! {
        h1 { (t!("node.receive.title")) }
        @if let Some(away) = &away { p.notice { (away) } }
        div.cards {
            section.card aria-labelledby="invoice-heading" {
                h2 #invoice-heading { (t!("node.receive.invoice")) }
                p { (t!("node.receive.invoice_why")) }
                form method="post" action="/receive/invoice" {
                    (csrf(session))
                    (complaint("invoice-complaint", refused))
                    p.field {
                        label for="amount" { (t!("node.amount")) }
                        input #amount name="amount" type="text" inputmode="numeric" maxlength="24" autocomplete="off";
                    }
                    p.hint { (t!("node.receive.amount_hint")) }
                    p.field {
                        label for="memo" { (t!("node.receive.memo")) }
                        input #memo name="memo" type="text" maxlength=(MEMO) autocomplete="off";
                    }
                    p.check {
                        input #private name="private" type="checkbox" value="yes" checked;
                        label for="private" { (t!("node.receive.private")) }
                    }
                    button disabled[away.is_some()] { (t!("node.receive.make")) }
                }
            }
            section.card aria-labelledby="address-heading" {
                h2 #address-heading { (t!("node.receive.address")) }
                p { (t!("node.receive.address_why")) }
                @if let Some(address) = address {
                    (qr(&format!("bitcoin:{address}")))
                    p { code.copy { (address) } }
                }
                form method="post" action="/receive/address" {
                    (csrf(session))
                    button.second disabled[silent(house).is_some()] {
                        (if address.is_some() { t!("node.receive.address_another") } else { t!("node.receive.address_make") })
                    }
                }
            }
        }
    };
    owner(&t!("node.receive.title"), session, Some(Place::Receive), body)
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    amount: String,
    #[serde(default)]
    memo: String,
    #[serde(default)]
    private: String,
}

/// `POST /receive/invoice`.
pub(crate) async fn invoice(
    State(house): State<Arc<House>>,
    session: Current,
    Form(asked): Form<Asked>,
) -> Result<Response, Fail> {
    let refuse =
        |text: &str| Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, Some(text), None)).into_response());
    let amount = match typed_sat(&asked.amount) {
        Ok(amount) => amount.map(msat),
        Err(sentence) => return refuse(&sentence),
    };
    let private = asked.private == "yes";
    match command::invoice(&house, &session.actor(), amount, &asked.memo, EXPIRY, private).await {
        Ok(invoice) => Ok(Redirect::to(&format!("/receive/invoice/{}", invoice.hash)).into_response()),
        Err(error) => refuse(&error.sentence()),
    }
}

/// `GET /receive/invoice/{hash}`: the invoice, until it is paid.
pub(crate) async fn shown(
    State(house): State<Arc<House>>,
    session: Current,
    Path(hash): Path<String>,
) -> Result<Markup, Fail> {
    let state = house.shared.twin.state();
    let known = state.node.invoices.newest.iter().find(|invoice| invoice.hash == hash).cloned();
    let invoice = match known {
        Some(invoice) => invoice,
        // Older than what the twin keeps, or so new that it has not come yet.
        None => {
            let hash = hash.parse().map_err(|_| Fail::NotFound)?;
            house.node.client.invoice(hash).await.map_err(|_| Fail::NotFound)?
        }
    };
    let is_open = matches!(invoice.state, InvoiceState::Open | InvoiceState::Accepted);
    let title = t!("node.receive.invoice");
    let page = one(&state.money, &invoice, is_open);
    Ok(owner_refreshed(&title, &session, Some(Place::Receive), is_open.then_some(3), page))
}

fn one(money: &Money, invoice: &Invoice, is_open: bool) -> Markup {
    let amount = match invoice.amount {
        Some(amount) => shown_amount(money, amount),
        None => html! { (t!("node.receive.any_amount")) },
    };
    html! {
        div.narrow data-poll=[is_open.then_some(2)] {
            h1 { (amount) }
            @if !invoice.memo.is_empty() { p.lead { (invoice.memo) } }
            @match invoice.state {
                InvoiceState::Settled => {
                    p.notice.good role="status" { (t!("node.receive.paid", amount = plain(money, invoice.paid))) }
                }
                InvoiceState::Canceled => { p.notice.bad role="status" { (t!("node.receive.cancelled")) } }
                InvoiceState::Open | InvoiceState::Accepted => {
                    (qr(&invoice.request.to_uppercase()))
                    p { code.copy { (invoice.request) } }
                    p role="status" { (t!("node.receive.waiting", until = words::moment(invoice.expires))) }
                }
            }
            p.row { a.button.second href="/receive" { (t!("node.receive.another")) } }
        }
    }
}

/// `POST /receive/address`: one that was never shown before.
pub(crate) async fn address(State(house): State<Arc<House>>, session: Current) -> Result<Response, Fail> {
    match command::address(&house, &session.actor()).await {
        Ok(address) => Ok(page(&house, &session, None, Some(&address)).into_response()),
        Err(error) => {
            let refused = error.sentence();
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, Some(&refused), None)).into_response())
        }
    }
}
