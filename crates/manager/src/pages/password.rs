//! Wizard: the owner's first password.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;

use super::{claim::steps, complaint, csrf, plain};
use crate::{
    error::Error,
    http::{extract::Form, fail::Fail, session_cookie},
    language,
    password::{MINIMUM, check},
    place,
    secret::Secret,
    session::Current,
    shared::House,
};

#[derive(Deserialize)]
pub(crate) struct Chosen {
    password: Secret<String>,
    again: Secret<String>,
}

pub(crate) async fn get(session: Current) -> Markup {
    page(&session, None)
}

pub(crate) async fn post(
    State(house): State<Arc<House>>,
    session: Current,
    Form(chosen): Form<Chosen>,
) -> Result<Response, Fail> {
    if let Some(complaint) = weakness(&chosen.password, &chosen.again, &house.shared.host()) {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&session, Some(&complaint))).into_response());
    }
    match house.wizard.set_password(&house.sessions, chosen.password, session.address).await {
        Ok(token) => {
            if let Err(error) = place::begin(&house, language::current()).await {
                tracing::warn!(%error, "the language of the page is not kept; the next step asks for it");
            }
            Ok(([(header::SET_COOKIE, session_cookie(&token))], Redirect::to("/setup")).into_response())
        }
        // Somebody else with the code was faster.
        Err(Error::Store(store::Error::Owned)) => Ok(Redirect::to("/sign-in").into_response()),
        Err(error) => Err(error.into()),
    }
}

/// Why the password cannot be taken, if so.
pub(crate) fn weakness(password: &Secret<String>, again: &Secret<String>, host: &str) -> Option<String> {
    if let Err(weakness) = check(password.expose(), host) {
        return Some(weakness.to_string());
    }
    (password.expose() != again.expose()).then(|| t!("password.differ").into_owned())
}

fn page(session: &Current, refusal: Option<&str>) -> Markup {
    let body = html! {
        (steps(2))
        h1 { (t!("password.choose")) }
        p.lead { (t!("password.lead")) }
        form method="post" action="/password" {
            (csrf(session))
            (account())
            (complaint("password-complaint", refusal))
            (new_fields(refusal.is_some()))
            button { (t!("password.set")) }
        }
        p.aside { (t!("password.keep")) }
    };
    plain(&t!("password.title"), body)
}

/// Password managers file a password under a name; the box has just one account.
pub(crate) fn account() -> Markup {
    html! { input.away type="text" name="username" value="owner" autocomplete="username" tabindex="-1" aria-hidden="true" readonly; }
}

pub(crate) fn new_fields(wrong: bool) -> Markup {
    let field = |id: &str, label: &str| {
        html! {
            p.field {
                label for=(id) { (label) }
                input #(id) name=(id) type="password" required minlength=(MINIMUM) maxlength="512" data-secret
                    autocomplete="new-password" aria-invalid=[wrong.then_some("true")]
                    aria-describedby=(if wrong { "password-rule password-complaint" } else { "password-rule" });
            }
        }
    };
    html! {
        (field("password", &t!("password.new")))
        p.hint #password-rule { (t!("password.rule", least = MINIMUM)) }
        (field("again", &t!("password.again")))
        p.check hidden { input #show-passwords type="checkbox"; label for="show-passwords" { (t!("password.show")) } }
    }
}
