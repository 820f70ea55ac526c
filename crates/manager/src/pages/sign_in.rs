//! Signing in and out.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;
use store::{Audit, Kind};

use super::{complaint, password::account, plain};
use crate::{
    error::now,
    http::{
        clear_cookie, current,
        extract::{Form, Peer},
        fail::Fail,
        is_plain, session_cookie,
    },
    password,
    secret::Secret,
    session::Current,
    shared::House,
};

/// A wrong password is answered no faster than this.
const DELAY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(crate) struct Typed {
    password: Secret<String>,
    #[serde(default)]
    next: String,
}

pub(crate) async fn get(
    State(house): State<Arc<House>>,
    peer: Peer,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    if !house.wizard.is_owned() {
        return Redirect::to("/").into_response();
    }
    if current(&house, &headers, peer.0).is_some_and(|session| session.kind == Kind::Owner) {
        return Redirect::to(way(&asked.next)).into_response();
    }
    page(&asked.next, None).into_response()
}

pub(crate) async fn post(
    State(house): State<Arc<House>>,
    peer: Peer,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    house.limits.take(peer.0).map_err(Fail::Wait)?;
    let Some(phc) = house.store.owner_password().await? else {
        return Ok(Redirect::to("/").into_response());
    };
    let entry = |action, detail: &str| Audit {
        at: now(),
        actor: format!("owner@{}", peer.0),
        action,
        detail: detail.to_owned(),
    };
    if !password::verify(typed.password, &phc).await? {
        tracing::warn!(address = %peer.0, "a sign-in with a wrong password");
        tokio::time::sleep(DELAY).await;
        // On a full disk the line is lost, the refusal is not.
        if let Err(error) = house.store.audit(entry("sign-in-refused", "Wrong password.")).await {
            tracing::warn!(%error, "a refused sign-in is not in the audit log");
        }
        let page = page(&typed.next, Some("This is not the password of this box."));
        return Ok((StatusCode::FORBIDDEN, page).into_response());
    }
    let token = house.sessions.begin(Kind::Owner, peer.0, entry("sign-in", "")).await?;
    Ok(([(header::SET_COOKIE, session_cookie(&token))], Redirect::to(way(&typed.next))).into_response())
}

pub(crate) async fn out(State(house): State<Arc<House>>, session: Current) -> Result<Response, Fail> {
    let entry = Audit { at: now(), actor: session.actor(), action: "sign-out", detail: String::new() };
    match house.sessions.end(session.id, entry).await {
        // It has ended in memory; that the disk is full must keep nobody signed in.
        Err(crate::error::Error::Store(store::Error::Full)) => {}
        outcome => outcome?,
    }
    Ok(([(header::SET_COOKIE, clear_cookie())], Redirect::to("/sign-in")).into_response())
}

/// Where to go after the sign-in: a plain path of this box, nothing else.
fn way(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && next.chars().all(is_plain);
    if is_path { next } else { "/home" }
}

fn page(next: &str, refusal: Option<&str>) -> Markup {
    let body = html! {
        h1 { "Sign in" }
        form method="post" action="/sign-in" {
            (complaint("password-complaint", refusal))
            @if way(next) != "/home" { input type="hidden" name="next" value=(next); }
            (account())
            p.field {
                label for="password" { "Password" }
                input #password name="password" type="password" required autocomplete="current-password" maxlength="512"
                    data-secret aria-invalid=[refusal.map(|_| "true")]
                    aria-describedby=[refusal.map(|_| "password-complaint")];
            }
            button { "Sign in" }
        }
        p.aside { "Not sure that this is your box? " a href="/trust" { "Compare its fingerprint" } "." }
    };
    plain("Sign in", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_after_the_sign_in_never_leaves_the_box() {
        assert_eq!(way("/audit"), "/audit");
        for next in ["", "audit", "//evil.example", "/\\evil.example", "https://evil.example", "/a?b", "/\r\nx: y"] {
            assert_eq!(way(next), "/home", "{next}");
        }
    }
}
