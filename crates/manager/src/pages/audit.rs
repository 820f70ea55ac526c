//! The audit log, newest first.

use std::sync::Arc;

use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::{Place, owner, words};
use crate::{http::fail::Fail, session::Current, shared::House};

const PAGE: u32 = 50;

#[derive(Deserialize)]
pub(crate) struct From {
    before: Option<u64>,
}

pub(crate) async fn get(
    State(house): State<Arc<House>>,
    session: Current,
    Query(from): Query<From>,
) -> Result<Markup, Fail> {
    let mut lines = house.store.audit_log(from.before, PAGE + 1).await?;
    let more = lines.len() > PAGE as usize;
    lines.truncate(PAGE as usize);
    let body = html! {
        h1 { "Audit log" }
        p.lead { "Who did what on this box. Lines are only ever added." }
        @if lines.is_empty() { p { "There are no lines." } }
        ol.log {
            @for line in &lines {
                li {
                    p { strong { (action(&line.action)) } @if !line.detail.is_empty() { " " (line.detail) } }
                    p.small { (words::moment(line.at)) ", " (line.actor) }
                }
            }
        }
        p.actions {
            @if let (true, Some(last)) = (more, lines.last()) { a.button.second href={ "/audit?before=" (last.id) } { "Older" } }
            @if from.before.is_some() { a.button.second href="/audit" { "Newest" } }
        }
    };
    Ok(owner("Audit log", &session, Some(Place::Audit), body))
}

fn action(word: &str) -> &str {
    match word {
        "claim-code" => "Claim code.",
        "claimed" => "Claimed.",
        "sign-in" => "Signed in.",
        "sign-in-refused" => "Sign-in refused.",
        "sign-out" => "Signed out.",
        "password-changed" => "Password changed.",
        "sessions-ended" => "Sessions ended.",
        "restart" => "Restart.",
        other => other,
    }
}
