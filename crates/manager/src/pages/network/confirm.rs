//! The page that keeps a change of the network. Public: at the box's new address nobody is signed in. The code does it
//! ([`crate::network::Codes`] says why that is enough); who is signed in has it in the form already.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::{Audit, Kind};

use super::{LIMIT, home, trial::CONFIRM};
use crate::{
    error::now,
    http::{
        current,
        extract::{Form, Peer},
        fail::Fail,
    },
    network::{Refusal, shown, uptime},
    pages::{complaint, plain, words::sentence},
    request::Task,
    secret::Secret,
    shared::House,
};

#[derive(Deserialize)]
pub(crate) struct Typed {
    #[serde(default = "nothing")]
    code: Secret<String>,
}

fn nothing() -> Secret<String> {
    Secret::new(String::new())
}

pub(crate) async fn get(State(house): State<Arc<House>>, peer: Peer, headers: HeaderMap) -> Markup {
    let code = match is_owner(&house, &headers, peer) {
        true => house.setup.network.newest(&house.shared.run_dir).await,
        false => None,
    };
    page(&house, code.as_ref(), None)
}

pub(crate) async fn post(
    State(house): State<Arc<House>>,
    peer: Peer,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    if house.shared.twin.state().netconf.trial.is_none() {
        return Ok((StatusCode::CONFLICT, page(&house, None, None)).into_response());
    }
    let is_owner = is_owner(&house, &headers, peer);
    if !is_owner {
        house.limits.take(peer.0).map_err(Fail::Wait)?;
    }
    let refuse = |status, text: &str| Ok((status, page(&house, None, Some(text))).into_response());
    let actor = if is_owner { format!("owner@{}", peer.0) } else { format!("code@{}", peer.0) };
    match keep(&house, &typed.code, !is_owner, actor).await? {
        Ok(()) => Ok(kept(&house).into_response()),
        Err(NotKept::Code(text)) => {
            tracing::warn!(address = %peer.0, "a wrong code for a change of the network");
            refuse(StatusCode::FORBIDDEN, &text)
        }
        Err(NotKept::Root(text)) => refuse(StatusCode::CONFLICT, &text),
    }
}

/// Why a change is not kept, a sentence.
pub(crate) enum NotKept {
    /// The code is not right.
    Code(String),
    /// The root program would not.
    Root(String),
}

/// Keeps what is tried, if the code is right. `is_limited`: five wrong ones spoil it.
pub(crate) async fn keep(
    house: &House,
    typed: &Secret<String>,
    is_limited: bool,
    actor: String,
) -> Result<Result<(), NotKept>, Fail> {
    let run_dir = &house.shared.run_dir;
    let code = match house.setup.network.check(run_dir, typed, is_limited).await {
        Ok(code) => code,
        Err(Refusal::Wrong { left }) => {
            return Ok(Err(NotKept::Code(t!("network.confirm.wrong", left = left).into_owned())));
        }
        Err(Refusal::Over) => return Ok(Err(NotKept::Code(t!("network.confirm.over").into_owned()))),
    };
    if let Err(refused) = house.desk.ask(run_dir, Task::NetworkConfirm, code.expose(), LIMIT).await {
        return Ok(Err(NotKept::Root(sentence(&refused.0))));
    }
    match house.store.audit(Audit { at: now(), actor, action: "network-confirmed", detail: String::new() }).await {
        // It is kept already: a full disk must not say otherwise.
        Ok(()) | Err(store::Error::Full) => Ok(Ok(())),
        Err(error) => Err(error.into()),
    }
}

fn is_owner(house: &House, headers: &HeaderMap, peer: Peer) -> bool {
    current(house, headers, peer.0).is_some_and(|session| session.kind == Kind::Owner)
}

fn page(house: &House, code: Option<&Secret<String>>, refusal: Option<&str>) -> Markup {
    let Some(trial) = house.shared.twin.state().netconf.trial.clone() else { return none(house) };
    let left = trial.until.saturating_sub(uptime());
    let title = t!("network.confirm.title");
    let body = html! {
        h1 { (title) }
        p.lead { (t!("network.confirm.lead", seconds = left)) }
        form method="post" action=(CONFIRM) {
            (complaint("code-complaint", refusal))
            p.field {
                label for="code" { (t!("network.confirm.code")) }
                input.code #code name="code" type="text" required autocomplete="one-time-code" maxlength="32"
                    autocapitalize="characters" autocorrect="off" spellcheck="false" placeholder="ABCD-EFGH"
                    value=[code.map(shown)] aria-invalid=[refusal.map(|_| "true")]
                    aria-describedby=[refusal.map(|_| "code-complaint")];
            }
            button { (t!("network.confirm.button")) }
        }
    };
    plain(&title, body)
}

fn none(house: &House) -> Markup {
    let title = t!("network.confirm.none_title");
    let body = html! {
        h1 { (title) }
        p.lead { (t!("network.confirm.none")) }
        p { a.button href=(home(house)) { (t!("network.confirm.go")) } }
    };
    plain(&title, body)
}

fn kept(house: &House) -> Markup {
    let title = t!("network.confirm.kept_title");
    let body = html! {
        h1 { (title) }
        p.lead role="status" { (t!("network.confirm.kept")) }
        p { a.button href=(home(house)) { (t!("network.confirm.go")) } }
    };
    plain(&title, body)
}
