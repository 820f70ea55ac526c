//! Signing in and out.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::{Audit, Kind};

use super::{access::code_field, claim::doubt, complaint, password::account, plain, words};
use crate::{
    access::{factor::Passed, told},
    error::now,
    http::{
        clear_cookie, current,
        extract::{Form, Peer},
        fail::Fail,
        is_plain, session_cookie,
    },
    password,
    secret::Secret,
    session::{Current, Visitor, browser},
    shared::House,
};

/// A wrong password is answered no faster than this.
const DELAY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    next: String,
    /// What was done before: `reset`.
    #[serde(default)]
    done: String,
}

/// Password and code come together and are refused with the same words after the same time: who guesses does not learn
/// which of the two was wrong, nor that he has the password.
#[derive(Deserialize)]
pub(crate) struct Typed {
    password: Secret<String>,
    #[serde(default = "empty")]
    code: Secret<String>,
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
    page(&house, &asked.next, asked.done == "reset", None).into_response()
}

pub(crate) async fn post(
    State(house): State<Arc<House>>,
    peer: Peer,
    headers: HeaderMap,
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
    let verdict = if !password::verify(typed.password, &phc).await? {
        Err(told::WRONG_PASSWORD)
    } else if !house.factor.is_on() {
        Ok(String::new())
    } else {
        match house.factor.check(&typed.code).await? {
            Some(Passed::Code) => Ok(String::new()),
            Some(Passed::Recovery { left }) => Ok(format!("With a recovery code; {left} are left.")),
            None => Err(told::WRONG_CODE),
        }
    };
    let detail = match verdict {
        Ok(detail) => detail,
        Err(why) => {
            tracing::warn!(address = %peer.0, why, "a sign-in was refused");
            tokio::time::sleep(DELAY).await;
            // On a full disk the line is lost, the refusal is not.
            if let Err(error) = house.store.audit(entry("sign-in-refused", why)).await {
                tracing::warn!(%error, "a refused sign-in is not in the audit log");
            }
            let refusal = refusal(&house);
            return Ok((StatusCode::FORBIDDEN, page(&house, &typed.next, false, Some(&refusal))).into_response());
        }
    };
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let visitor = Visitor { address: peer.0, browser: browser(agent) };
    let token = house.sessions.begin(Kind::Owner, visitor, entry("sign-in", &detail)).await?;
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

fn empty() -> Secret<String> {
    Secret::new(String::new())
}

/// Where to go after the sign-in: a plain path of this box, nothing else.
fn way(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && next.chars().all(is_plain);
    if is_path { next } else { "/home" }
}

/// The same words whichever of the two was wrong.
fn refusal(house: &House) -> String {
    if house.factor.is_on() {
        t!("access.sign_in.wrong_both", clock = words::moment(now())).into_owned()
    } else {
        t!("sign_in.wrong").into_owned()
    }
}

fn page(house: &House, next: &str, reset: bool, refusal: Option<&str>) -> Markup {
    let body = html! {
        h1 { (t!("sign_in.title")) }
        @if reset { p.notice.good role="status" { (t!("access.sign_in.reset")) } }
        form method="post" action="/sign-in" {
            (complaint("password-complaint", refusal))
            @if way(next) != "/home" { input type="hidden" name="next" value=(next); }
            (account())
            p.field {
                label for="password" { (t!("password.title")) }
                input #password name="password" type="password" required autocomplete="current-password" maxlength="512"
                    data-secret aria-invalid=[refusal.map(|_| "true")]
                    aria-describedby=[refusal.map(|_| "password-complaint")];
            }
            @if house.factor.is_on() { (code_field(refusal.is_some())) }
            button { (t!("sign_in.title")) }
        }
        p { a href="/forgot" { (t!("access.sign_in.forgot")) } }
        (doubt())
    };
    plain(&t!("sign_in.title"), body)
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
