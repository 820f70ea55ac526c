//! Who is signed in, and how to end it.

use std::sync::Arc;

use axum::{extract::State, response::Redirect};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::{Audit, TokenHash};

use super::back;
use crate::{
    error::Error,
    http::{extract::Form, fail::Fail},
    pages::{Place, csrf, owner, words},
    session::Current,
    setup::audit,
    shared::House,
};

#[derive(Deserialize)]
pub(crate) struct Named {
    name: String,
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    let list = house.sessions.list(session.id);
    let body = html! {
        h1 { (t!("access.sessions.title")) }
        p.lead { (t!("access.sessions.lead")) }
        ul.services {
            @for entry in &list {
                li {
                    span.name {
                        @if entry.browser.is_empty() { (t!("access.sessions.unknown")) } @else { (entry.browser) }
                        @if entry.is_own { " " span.badge.good { (t!("access.sessions.own")) } }
                        span.small {
                            (t!("access.sessions.about", address = entry.address, begun = words::moment(entry.created),
                                seen = words::moment(entry.last_seen)))
                        }
                    }
                    @if !entry.is_own {
                        form.row method="post" action="/settings/sessions/end" {
                            (csrf(&session))
                            input type="hidden" name="name" value=(entry.name);
                            button.second aria-label=(t!("access.sessions.end_of", address = entry.address)) {
                                (t!("access.sessions.end"))
                            }
                        }
                    }
                }
            }
        }
        @if list.len() > 1 {
            form method="post" action="/settings/sessions" {
                (csrf(&session))
                button.second { (t!("access.sessions.end_others")) }
            }
        }
        (back())
    };
    owner(&t!("access.sessions.title"), &session, Some(Place::Settings), body)
}

/// `POST /settings/sessions/end`. That it has ended already is as good.
pub(crate) async fn end(
    State(house): State<Arc<House>>,
    session: Current,
    Form(Named { name }): Form<Named>,
) -> Result<Redirect, Fail> {
    end_named(&house, session.id, &name, |detail| audit(&session, "session-ended", detail)).await?;
    Ok(Redirect::to("/settings/sessions"))
}

/// Ends the session of that name, unless it is `own`; whether there was one.
pub(crate) async fn end_named(
    house: &House,
    own: TokenHash,
    name: &str,
    entry: impl FnOnce(String) -> Audit,
) -> Result<bool, Error> {
    let Some(id) = house.sessions.named(name).filter(|id| *id != own) else { return Ok(false) };
    let about = house.sessions.list(own).into_iter().find(|entry| entry.name == name);
    let detail = about.map(|entry| format!("{} {}", entry.address, entry.browser)).unwrap_or_default();
    house.sessions.end(id, entry(detail.trim().to_owned())).await?;
    Ok(true)
}
