//! The support bundle: made, looked at, downloaded.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;

use super::{Place, csrf, owner, words};
use crate::{
    http::{extract::Form, fail::Fail},
    session::Current,
    setup::audit,
    shared::House,
    support::{File, gather, joined},
};

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    let files = house.support.of(session.id);
    let body = html! {
        h1 { (t!("support.title")) }
        p.lead { (t!("support.lead")) }
        @if let Some(files) = &files { (preview(&session, files)) }
        form method="post" action="/settings/support" {
            (csrf(&session))
            button.second[files.is_some()] { (if files.is_some() { t!("support.again") } else { t!("support.make") }) }
        }
        p.actions { a.button.second href="/settings" { (t!("access.back")) } }
    };
    owner(&t!("support.title"), &session, Some(Place::Settings), body)
}

fn preview(session: &Current, files: &[File]) -> Markup {
    html! {
        form method="post" action="/settings/support/download" {
            (csrf(session))
            p { (t!("support.look")) }
            @for (index, file) in files.iter().enumerate() {
                details {
                    summary { (file.name) " \u{b7} " (words::bytes(file.text.len() as u64)) }
                    pre.file tabindex="0" role="region" aria-label=(file.name) { (file.text) }
                }
                p.check {
                    input id={ "f" (index) } name={ "f" (index) } type="checkbox" value="yes" checked;
                    label for={ "f" (index) } { (t!("support.with", name = file.name)) }
                }
            }
            button { (t!("support.download")) }
        }
    }
}

/// `POST /settings/support`: makes it.
pub(crate) async fn make(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    house.support.keep(session.id, gather(&house).await?);
    Ok(Redirect::to("/settings/support"))
}

/// `POST /settings/support/download`: the files that are ticked, as one text.
pub(crate) async fn download(
    State(house): State<Arc<House>>,
    session: Current,
    Form(ticked): Form<BTreeMap<String, String>>,
) -> Result<Response, Fail> {
    let Some(files) = house.support.of(session.id) else {
        return Ok(Redirect::to("/settings/support").into_response());
    };
    let wanted: Vec<&File> = files
        .iter()
        .enumerate()
        .filter(|(index, _)| ticked.contains_key(&format!("f{index}")))
        .map(|(_, file)| file)
        .collect();
    let names: Vec<&str> = wanted.iter().map(|file| file.name).collect();
    match house.store.audit(audit(&session, "support-bundle", names.join(", "))).await {
        Ok(()) | Err(store::Error::Full) => {}
        Err(error) => return Err(error.into()),
    }
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"homebolt-support.txt\""),
    ];
    Ok((headers, joined(wanted.into_iter())).into_response())
}
