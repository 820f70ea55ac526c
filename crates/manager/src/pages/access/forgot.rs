//! For who forgot the password and stands before the box.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::Audit;

use crate::{
    access::{
        reset::{Notice, Refused, TIME},
        told,
    },
    error::now,
    http::{
        extract::{Form, Peer},
        fail::Fail,
    },
    pages::{
        claim::refused,
        complaint,
        password::{account, new_fields, weakness},
        plain,
    },
    password,
    secret::Secret,
    shared::House,
};

#[derive(Deserialize)]
pub(crate) struct Chosen {
    code: Secret<String>,
    password: Secret<String>,
    again: Secret<String>,
    /// The second factor is lost, too.
    #[serde(default)]
    without: String,
}

pub(crate) async fn get(State(house): State<Arc<House>>) -> Response {
    if !house.wizard.is_owned() {
        return Redirect::to("/").into_response();
    }
    page(&house, None).into_response()
}

/// `POST /forgot`: puts a code on the screen.
pub(crate) async fn ask(State(house): State<Arc<House>>, peer: Peer) -> Result<Redirect, Fail> {
    if !house.wizard.is_owned() {
        return Ok(Redirect::to("/"));
    }
    house.limits.take(peer.0).map_err(Fail::Wait)?;
    if !house.reset.is_asked() {
        let entry = entry(peer, "reset-asked", told::RESET_ASKED);
        match house.store.audit(entry).await {
            Ok(()) | Err(store::Error::Full) => {}
            Err(error) => return Err(error.into()),
        }
        house.reset.ask(peer.0)?;
    }
    Ok(Redirect::to("/forgot"))
}

/// `POST /forgot/reset`: the code, and the new password.
pub(crate) async fn reset(
    State(house): State<Arc<House>>,
    peer: Peer,
    Form(chosen): Form<Chosen>,
) -> Result<Response, Fail> {
    house.limits.take(peer.0).map_err(Fail::Wait)?;
    // What costs no try comes first.
    if let Some(weakness) = weakness(&chosen.password, &chosen.again, &house.shared.host()) {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&house, Some(&weakness))).into_response());
    }
    match house.reset.check(chosen.code.expose()) {
        Ok(()) => {}
        Err(Refused::NoCode) => return Ok(Redirect::to("/forgot").into_response()),
        Err(Refused::Code(refusal)) => {
            tracing::warn!(address = %peer.0, ?refusal, "a code for a new password was refused");
            if let Err(error) = house.store.audit(entry(peer, "reset-refused", told::RESET_WRONG_CODE)).await {
                tracing::warn!(%error, "a refused reset is not in the audit log");
            }
            return Ok(refused(refusal, |complaint| page(&house, Some(complaint))));
        }
    }
    let without = chosen.without == "yes" && house.factor.is_on();
    let phc = password::hash(chosen.password).await?;
    let notice = Notice { at: now(), address: peer.0.to_string() };
    let detail = if without { told::RESET_WITHOUT_FACTOR } else { told::RESET };
    house.store.reset_password(phc, &notice, without, entry(peer, "password-reset", detail)).await?;
    if without {
        house.factor.was_dropped().await;
    }
    house.sessions.drop_others(None);
    house.reset.tell(notice);
    house.reset.end();
    Ok(Redirect::to("/sign-in?done=reset").into_response())
}

fn entry(peer: Peer, action: &'static str, detail: &str) -> Audit {
    Audit { at: now(), actor: format!("console@{}", peer.0), action, detail: detail.into() }
}

fn page(house: &House, refusal: Option<&str>) -> Markup {
    let body = html! {
        h1 { (t!("access.forgot.title")) }
        @if house.reset.is_asked() {
            p.lead { (t!("access.forgot.type", minutes = TIME.as_secs() / 60)) }
            form method="post" action="/forgot/reset" {
                (complaint("code-complaint", refusal))
                p.field {
                    label for="code" { (t!("access.forgot.code")) }
                    input.code #code name="code" type="text" required autocomplete="one-time-code" autocapitalize="characters"
                        autocorrect="off" spellcheck="false" maxlength="32" placeholder="ABCD-EFGH"
                        aria-describedby=[refusal.map(|_| "code-complaint")];
                }
                (account())
                (new_fields(false))
                @if house.factor.is_on() {
                    p.check {
                        input #without name="without" type="checkbox" value="yes";
                        label for="without" { (t!("access.forgot.without")) }
                    }
                }
                button { (t!("access.forgot.set")) }
            }
        } @else {
            p.lead { (t!("access.forgot.lead")) }
            form method="post" action="/forgot" { button { (t!("access.forgot.ask")) } }
            details {
                summary { (t!("access.forgot.no_screen")) }
                p { (t!("access.forgot.no_screen_how")) }
            }
        }
        p.aside { (t!("access.forgot.kept")) }
        p { a href="/sign-in" { (t!("access.forgot.back")) } }
    };
    plain(&t!("access.forgot.title"), body)
}
