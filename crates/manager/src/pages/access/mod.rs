//! Pages about who may use the box: second factor, sessions, forgotten password, phones.

pub(crate) mod factor;
pub(crate) mod forgot;
pub(crate) mod phones;
pub(crate) mod sessions;

use std::sync::Arc;

use axum::{extract::State, response::Redirect};
use maud::{Markup, html};
use rust_i18n::t;

use super::{csrf, password::account, words};
use crate::{http::fail::Fail, session::Current, setup::audit, shared::House};

/// The way to the pages of the settings.
pub(crate) fn sections(house: &House) -> Markup {
    let factor = if house.factor.is_on() { t!("access.on") } else { t!("access.off") };
    let phones = house.phones.list().iter().filter(|phone| !phone.ended).count();
    let entries = [
        ("/settings/updates", t!("updates.title"), t!("updates.version", version = house.shared.release.version)),
        ("/settings/second-factor", t!("access.factor.title"), factor),
        ("/settings/sessions", t!("access.sessions.title"), house.sessions.count().to_string().into()),
        ("/settings/phones", t!("access.phones.title"), phones.to_string().into()),
        ("/settings/services", t!("services.title"), t!("services.short")),
        ("/logs", t!("logs.title"), t!("logs.short")),
        ("/settings/support", t!("support.title"), t!("support.short")),
    ];
    html! {
        section.card aria-label=(t!("access.sections")) {
            ul.services {
                @for (path, name, note) in entries { li { span.name { a href=(path) { (name) } span.small { (note) } } } }
            }
        }
    }
}

/// Tells of a reset of the password until the owner says to have read it.
pub(crate) fn notice(house: &House, session: &Current) -> Markup {
    html! {
        @if let Some(notice) = house.reset.notice() {
            div.notice.bad role="status" {
                h2 { (t!("access.notice.title")) }
                p { (t!("access.notice.text", at = words::moment(notice.at), address = notice.address)) }
                form method="post" action="/settings/notice" {
                    (csrf(session))
                    button.second { (t!("access.notice.read")) }
                }
            }
        }
    }
}

/// `POST /settings/notice`: it was read.
pub(crate) async fn read(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    house.reset.read(audit(&session, "reset-notice-read", "")).await?;
    Ok(Redirect::to("/home"))
}

/// The password, and a code where the second factor is on: what only the owner can give.
fn proof(house: &House, wrong: bool, complaint: &'static str) -> Markup {
    html! {
        (account())
        p.field {
            label for="proof" { (t!("access.prove.password")) }
            input #proof name="proof" type="password" required autocomplete="current-password" maxlength="512" data-secret
                aria-invalid=[wrong.then_some("true")] aria-describedby=[wrong.then_some(complaint)];
        }
        @if house.factor.is_on() { (code_field(false)) }
    }
}

/// A code of the authenticator app, or a recovery code.
pub(crate) fn code_field(wrong: bool) -> Markup {
    html! {
        p.field {
            label for="code" { (t!("access.factor.code")) }
            input #code name="code" type="text" required autocomplete="one-time-code" autocapitalize="characters"
                autocorrect="off" spellcheck="false" maxlength="32" aria-invalid=[wrong.then_some("true")]
                aria-describedby="code-hint";
        }
        p.hint #code-hint { (t!("access.factor.code_hint")) }
    }
}

/// Back to the settings.
fn back() -> Markup {
    html! { p.actions { a.button.second href="/settings" { (t!("access.back")) } } }
}
