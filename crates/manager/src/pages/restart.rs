//! Restarting the box: asked for, confirmed, waited for.

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse, response::Response};
use maud::{Markup, html};
use rust_i18n::t;
use store::Audit;

use super::{csrf, node::cards::safe, owner, progress};
use crate::{
    error::{Error, now},
    http::fail::Fail,
    request::{self, Request},
    session::Current,
    shared::House,
};

/// Seconds after which a browser without scripts tries the start page.
const WAIT: u32 = 150;

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    let body = html! {
        h1 { (t!("restart.title")) }
        p.lead { (t!("restart.lead")) }
        (safe(&house.shared.twin.state()))
        form.row method="post" action="/restart" {
            (csrf(&session))
            button { (t!("restart.now")) }
            a.button.second href="/home" { (t!("restart.cancel")) }
        }
    };
    owner(&t!("restart.short"), &session, None, html! { div.narrow { (body) } })
}

pub(crate) async fn post(State(house): State<Arc<House>>, session: Current) -> Result<Response, Fail> {
    let entry = Audit { at: now(), actor: session.actor(), action: "restart", detail: String::new() };
    match house.store.audit(entry).await {
        // A full disk is a good reason to restart.
        Ok(()) | Err(store::Error::Full) => {}
        Err(error) => return Err(error.into()),
    }
    ask(&house.shared.run_dir, Request::Reboot, "").await?;
    Ok(waiting().into_response())
}

/// Writes the request off the event loop: it syncs a file.
pub(crate) async fn ask(run_dir: &std::path::Path, request: Request, confirm: &str) -> Result<(), Error> {
    let (run_dir, confirm) = (run_dir.to_owned(), confirm.to_owned());
    let outcome = tokio::task::spawn_blocking(move || request::ask(&run_dir, request, &confirm)).await;
    outcome.map_err(|error| Error::System { action: "ask for help", source: std::io::Error::other(error) })?
}

pub(crate) fn waiting() -> Markup {
    let body = html! {
        h1 { (t!("restart.going")) }
        p.lead role="status" data-wait { (t!("restart.going_what")) }
        progress aria-label=(t!("restart.waiting")) {}
        p.aside { (t!("restart.hint")) }
    };
    progress(&t!("restart.going"), WAIT, "/", body)
}
