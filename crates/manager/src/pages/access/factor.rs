//! The second factor: on, off, recovery codes.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;

use super::{back, proof};
use crate::{
    access::{
        factor::{Codes, RECOVERY_CODES, otpauth},
        prove,
    },
    error::now,
    http::{extract::Form, fail::Fail},
    pages::{Place, complaint, csrf, node::qr, owner, words},
    secret::Secret,
    session::Current,
    setup::audit,
    shared::House,
};

/// What proves that it is the owner.
#[derive(Deserialize)]
pub(crate) struct Proof {
    proof: Secret<String>,
    #[serde(default = "empty")]
    code: Secret<String>,
}

#[derive(Deserialize)]
pub(crate) struct Confirmed {
    code: Secret<String>,
}

pub(super) fn empty() -> Secret<String> {
    Secret::new(String::new())
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, None).await
}

/// `POST /settings/second-factor/begin`: shows a new secret.
pub(crate) async fn begin(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Proof>,
) -> Result<Response, Fail> {
    if house.factor.is_on() {
        return Ok(Redirect::to("/settings/second-factor").into_response());
    }
    if let Some(refusal) = prove(&house, session.address, typed.proof, &typed.code).await? {
        return Ok(refused(page(&house, &session, Some(&refusal)).await));
    }
    let secret = house.factor.begin(session.id)?;
    Ok(shown(&house, &session, &secret, None).into_response())
}

/// `POST /settings/second-factor/confirm`: the first code turns it on.
pub(crate) async fn confirm(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Confirmed>,
) -> Result<Response, Fail> {
    house.limits.take(session.address).map_err(Fail::Wait)?;
    let entry = audit(&session, "second-factor-on", "");
    if let Some(codes) = house.factor.confirm(session.id, &typed.code, entry).await? {
        return Ok(recovery(&session, &codes).into_response());
    }
    match house.factor.waiting(session.id) {
        Some(secret) => {
            let words = t!("access.factor.wrong", clock = words::moment(now()));
            Ok(refused(shown(&house, &session, &secret, Some(&words))))
        }
        None => Ok(Redirect::to("/settings/second-factor").into_response()),
    }
}

/// `POST /settings/second-factor/codes`: new recovery codes.
pub(crate) async fn renew(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Proof>,
) -> Result<Response, Fail> {
    if let Some(refusal) = prove(&house, session.address, typed.proof, &typed.code).await? {
        return Ok(refused(page(&house, &session, Some(&refusal)).await));
    }
    match house.factor.renew(audit(&session, "recovery-codes-renewed", "")).await? {
        Some(codes) => Ok(recovery(&session, &codes).into_response()),
        None => Ok(Redirect::to("/settings/second-factor").into_response()),
    }
}

/// `POST /settings/second-factor/off`.
pub(crate) async fn off(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Proof>,
) -> Result<Response, Fail> {
    if let Some(refusal) = prove(&house, session.address, typed.proof, &typed.code).await? {
        return Ok(refused(page(&house, &session, Some(&refusal)).await));
    }
    house.factor.turn_off(audit(&session, "second-factor-off", "")).await?;
    Ok(Redirect::to("/settings/second-factor").into_response())
}

fn refused(page: Markup) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
}

async fn page(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    let is_on = house.factor.is_on();
    let left = house.factor.codes_left().await;
    let body = html! {
        div.narrow {
            h1 { (t!("access.factor.title")) }
            p.lead { (t!("access.factor.lead")) }
            p { span.badge.(if is_on { "good" } else { "off" }) { (if is_on { t!("access.on") } else { t!("access.off") }) } }
            @if is_on { p { (t!("access.factor.left", count = left, all = RECOVERY_CODES)) } }
            form method="post" action=(if is_on { "/settings/second-factor/codes" } else { "/settings/second-factor/begin" }) {
                (csrf(session))
                (complaint("factor-complaint", refusal))
                (proof(house, refusal.is_some(), "factor-complaint"))
                @if is_on {
                    p.row {
                        button { (t!("access.factor.renew")) }
                        button.danger formaction="/settings/second-factor/off" { (t!("access.factor.turn_off")) }
                    }
                } @else {
                    button { (t!("access.factor.begin")) }
                }
            }
            p.aside { (t!("access.factor.lost")) }
            (back())
        }
    };
    owner(&t!("access.factor.title"), session, Some(Place::Settings), body)
}

/// The new secret, until its first code has come.
fn shown(house: &House, session: &Current, secret: &Secret<String>, refusal: Option<&str>) -> Markup {
    let url = otpauth(secret, &house.shared.host());
    let groups: Vec<&str> = secret.expose().as_bytes().chunks(4).filter_map(|part| str::from_utf8(part).ok()).collect();
    let body = html! {
        div.narrow {
            h1 { (t!("access.factor.scan")) }
            p.lead { (t!("access.factor.scan_why")) }
            (qr(url.expose()))
            p { (t!("access.factor.by_hand")) }
            p { code.copy { (groups.join(" ")) } }
            form method="post" action="/settings/second-factor/confirm" {
                (csrf(session))
                (complaint("factor-complaint", refusal))
                p.field {
                    label for="code" { (t!("access.factor.first_code")) }
                    input #code name="code" type="text" required inputmode="numeric" autocomplete="one-time-code"
                        maxlength="10" aria-invalid=[refusal.map(|_| "true")]
                        aria-describedby=[refusal.map(|_| "factor-complaint")];
                }
                p.row {
                    button { (t!("access.factor.turn_on")) }
                    a.button.second href="/settings/second-factor" { (t!("access.cancel")) }
                }
            }
        }
    };
    owner(&t!("access.factor.title"), session, Some(Place::Settings), body)
}

/// The recovery codes, this once.
fn recovery(session: &Current, codes: &Codes) -> Markup {
    let body = html! {
        div.narrow {
            h1 { (t!("access.factor.recovery")) }
            p.notice.good role="status" { (t!("access.factor.is_on")) }
            p.lead { (t!("access.factor.recovery_why")) }
            ol.plain { @for code in codes.expose() { li { code { (code) } } } }
            p.row { a.button href="/settings/second-factor" { (t!("access.factor.written")) } }
        }
    };
    owner(&t!("access.factor.recovery"), session, Some(Place::Settings), body)
}
