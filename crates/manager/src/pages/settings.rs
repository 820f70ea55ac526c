//! Settings: the password, and who is signed in.

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

use super::{
    Place, complaint, csrf, owner,
    password::{account, new_fields, weakness},
};
use crate::{
    access::set_password,
    error::now,
    http::{extract::Form, fail::Fail},
    language, password,
    secret::Secret,
    session::Current,
    shared::House,
};

#[derive(Deserialize)]
pub(crate) struct Change {
    old: Secret<String>,
    password: Secret<String>,
    again: Secret<String>,
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, None, None)
}

pub(crate) async fn change_password(
    State(house): State<Arc<House>>,
    session: Current,
    Form(change): Form<Change>,
) -> Result<Response, Fail> {
    // A session left open on a shared computer must not be a way to guess the password.
    house.limits.take(session.address).map_err(Fail::Wait)?;
    let refuse =
        |text: &str| Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, Some(text), None)).into_response());
    let phc = house.store.owner_password().await?.unwrap_or_default();
    if !password::verify(change.old, &phc).await? {
        return refuse(&t!("settings.old_wrong"));
    }
    if let Some(complaint) = weakness(&change.password, &change.again, &house.shared.host()) {
        return refuse(&complaint);
    }
    let entry = Audit {
        at: now(),
        actor: session.actor(),
        action: "password-changed",
        detail: "All other sessions were ended.".into(),
    };
    set_password(&house, change.password, session.id, entry).await?;
    Ok(page(&house, &session, None, Some(&t!("settings.changed"))).into_response())
}

pub(crate) async fn end_sessions(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    let ended = house.sessions.drop_others(Some(session.id));
    let detail = format!("{} ended.", ended.len());
    let entry = Audit { at: now(), actor: session.actor(), action: "sessions-ended", detail };
    house.store.end_sessions(ended, Some(entry)).await?;
    Ok(Redirect::to("/settings"))
}

fn page(house: &House, session: &Current, refusal: Option<&str>, done: Option<&str>) -> Markup {
    let others = house.sessions.count().saturating_sub(1);
    let body = html! {
        h1 { (t!("settings.title")) }
        @if let Some(done) = done { p.notice.good role="status" { (done) } }
        (super::access::sections(house))
        div.cards {
            section.card aria-labelledby="password-heading" {
                h2 #password-heading { (t!("password.title")) }
                form method="post" action="/settings/password" {
                    (csrf(session))
                    (account())
                    (complaint("password-complaint", refusal))
                    p.field {
                        label for="old" { (t!("settings.old")) }
                        input #old name="old" type="password" required autocomplete="current-password" maxlength="512" data-secret;
                    }
                    (new_fields(refusal.is_some()))
                    button { (t!("settings.change")) }
                }
            }
            section.card aria-labelledby="sessions-heading" {
                h2 #sessions-heading { (t!("settings.sessions")) }
                p {
                    @match others {
                        0 => (t!("settings.alone")),
                        1 => (t!("settings.one_other")),
                        others => (t!("settings.others", count = others)),
                    }
                    " " (t!("settings.session_end"))
                }
                form method="post" action="/settings/sessions" {
                    (csrf(session))
                    button.second disabled[others == 0] { (t!("settings.end_others")) }
                }
            }
            section.card aria-labelledby="place-heading" {
                h2 #place-heading { (t!("place.title")) }
                p { (language::current().own_name()) ", " (house.shared.place().zone_name()) ", " (house.shared.twin.state().network.local_name()) }
                p { a href="/settings/place" { (t!("settings.change_it")) } }
            }
            (super::network::card())
            section.card aria-labelledby="payments-heading" {
                h2 #payments-heading { (t!("payments.title")) }
                p { a href="/settings/payments" { (t!("payments.settings")) } }
            }
            section.card aria-labelledby="certificate-heading" {
                h2 #certificate-heading { (t!("settings.certificate")) }
                p { (t!("settings.fingerprint")) }
                ol.words { @for word in house.shared.authority.words() { li { (word) } } }
                p { a href="/trust" { (t!("settings.trust")) } }
            }
            (super::keys::card(house))
        }
        p { a href="/settings/disk" { (rust_i18n::t!("setup.disk.title")) } }
    };
    owner(&t!("settings.title"), session, Some(Place::Settings), body)
}
