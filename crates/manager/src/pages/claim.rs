//! Wizard: the claim code.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;

use super::{complaint, plain};
use crate::{
    claim::Refusal,
    http::{
        extract::{Form, Peer},
        fail::{Fail, wait_words},
        session_cookie,
    },
    secret::Secret,
    shared::House,
    wizard::Step,
};

#[derive(Deserialize)]
pub(crate) struct Typed {
    code: Secret<String>,
}

/// Where one goes who does not belong here (any more).
fn elsewhere(house: &House, headers: &HeaderMap, peer: Peer) -> Option<Response> {
    let session = crate::http::current(house, headers, peer.0);
    match house.wizard.step(session.as_ref()) {
        Step::Claim => None,
        step => Some(Redirect::to(step.path()).into_response()),
    }
}

pub(crate) async fn get(State(house): State<Arc<House>>, peer: Peer, headers: HeaderMap) -> Response {
    elsewhere(&house, &headers, peer).unwrap_or_else(|| page(None).into_response())
}

pub(crate) async fn post(
    State(house): State<Arc<House>>,
    peer: Peer,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    if let Some(elsewhere) = elsewhere(&house, &headers, peer) {
        return Ok(elsewhere);
    }
    if let Err(refusal) = house.shared.claim.check(typed.code.expose()) {
        tracing::warn!(address = %peer.0, ?refusal, "a claim code was refused");
        return Ok(refused(refusal, |complaint| page(Some(complaint))));
    }
    let token = house.wizard.code_was_right(&house.sessions, peer.0).await?;
    Ok(([(header::SET_COOKIE, session_cookie(&token))], Redirect::to(Step::Password.path())).into_response())
}

/// The page `with` a complaint, and the status that belongs to it.
pub(crate) fn refused(refusal: Refusal, with: impl FnOnce(&str) -> Markup) -> Response {
    match refusal {
        Refusal::Wrong { left } => {
            let text = if left == 1 { t!("claim.wrong_last") } else { t!("claim.wrong", left = left) };
            (StatusCode::FORBIDDEN, with(&text)).into_response()
        }
        Refusal::Wait(time) => {
            let text = t!("claim.wait", time = wait_words(time));
            let mut response = (StatusCode::TOO_MANY_REQUESTS, with(&text)).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, crate::http::fail::wait_seconds(time).into());
            response
        }
    }
}

fn page(refusal: Option<&str>) -> Markup {
    let body = html! {
        (steps(1))
        h1 { (t!("claim.title")) }
        p.lead { (t!("claim.lead")) }
        form method="post" action="/claim" {
            (complaint("code-complaint", refusal))
            (code_field(refusal.is_some()))
            button { (t!("setup.next")) }
        }
        details {
            summary { (t!("claim.no_screen")) }
            p { (t!("claim.no_screen_what")) }
        }
        (doubt())
    };
    plain(&t!("claim.short"), body)
}

pub(crate) fn code_field(wrong: bool) -> Markup {
    html! {
        p.field {
            label for="code" { (t!("claim.code")) }
            input.code #code name="code" type="text" required autocomplete="one-time-code" autocapitalize="characters"
                autocorrect="off" spellcheck="false" maxlength="32" placeholder="ABCD-EFGH"
                aria-invalid=[wrong.then_some("true")] aria-describedby=[wrong.then_some("code-complaint")];
        }
    }
}

/// The way to the fingerprint, for who is not sure.
pub(crate) fn doubt() -> Markup {
    html! { p.aside { (t!("claim.doubt")) " " a href="/trust" { (t!("claim.compare")) } } }
}

/// Where in the wizard one is.
pub(crate) fn steps(at: usize) -> Markup {
    let names = [t!("claim.steps.trust"), t!("claim.short"), t!("password.title")];
    html! {
        ol.steps aria-label=(t!("setup.steps_label")) {
            @for (index, name) in names.into_iter().enumerate() {
                li.done[index < at] aria-current=[(index == at).then_some("step")] { (name) }
            }
        }
    }
}
