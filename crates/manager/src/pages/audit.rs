//! The audit log, newest first.

use std::{borrow::Cow, sync::Arc};

use axum::extract::{Query, State};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::Entry;

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
        h1 { (t!("audit.title")) }
        p.lead { (t!("audit.lead")) }
        @if lines.is_empty() { p { (t!("audit.none")) } }
        ol.log {
            @for line in &lines {
                li {
                    p { strong { (action(&line.action)) } @if !line.detail.is_empty() { " " (detail(line)) } }
                    p.small { (words::moment(line.at)) ", " (line.actor) }
                }
            }
        }
        // Their numbers go on: where the first is not there, it was taken away.
        @if !more && lines.last().is_some_and(|last| last.id > 1) {
            p.aside { (t!("audit.shortened", kept = store::AUDIT_KEPT)) }
        }
        p.actions {
            @if let (true, Some(last)) = (more, lines.last()) { a.button.second href={ "/audit?before=" (last.id) } { (t!("audit.older")) } }
            @if from.before.is_some() { a.button.second href="/audit" { (t!("audit.newest")) } }
        }
    };
    Ok(owner(&t!("audit.title"), &session, Some(Place::Audit), body))
}

/// The word of the log in the reader's language.
fn action(word: &str) -> Cow<'_, str> {
    text(format!("audit.action.{word}"), word)
}

/// What the word is about: data stands for itself.
fn detail(line: &Entry) -> Cow<'_, str> {
    match line.action.as_str() {
        "setup-step" => text(format!("setup.steps.{}", line.detail), &line.detail),
        _ => line.detail.as_str().into(),
    }
}

/// The text of a key; without one the word stands for itself.
fn text(key: String, word: &str) -> Cow<'_, str> {
    let text = t!(&key);
    if text == key { word.into() } else { text.into_owned().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_as_in_the_wizard_and_all_else_stands_for_itself() {
        let line = |action: &str, detail: &str| Entry {
            id: 1,
            at: 0,
            actor: "owner".into(),
            action: action.into(),
            detail: detail.into(),
        };
        assert_eq!(detail(&line("setup-step", "place")), "Basics");
        assert_eq!(detail(&line("setup-step", "of-tomorrow")), "of-tomorrow");
        assert_eq!(detail(&line("place-chosen", "place")), "place");
    }
}
