//! The way out when LND does not unlock by itself: the wallet's password is typed, and sealed again.
//!
//! ```text
//!  sealed password lost, LND does not start ─► started without it ─► locked ─► password typed ─► open ─► sealed again
//! ```

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::Audit;
use twin::LndState;

use super::{Place, complaint, csrf, node, owner_refreshed, words::sentence};
use crate::{
    error::{Error, now},
    http::{extract::Form, fail::Fail},
    language::carried,
    request::Task,
    secret::Secret,
    session::Current,
    setup::{
        Choices, apply, audit,
        wallet::{Made, Origin, RECOVERY_WINDOW},
    },
    shared::House,
};

/// LND turns the password into a key, which takes seconds; longer than this the page follows LND's state instead.
const WAIT: Duration = Duration::from_secs(20);
/// For root to seal, or to tell systemd.
const ROOT_LIMIT: Duration = Duration::from_secs(60);

/// `GET /unlock`.
pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, None)
}

fn page(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    let choices = house.setup.choices();
    let (refresh, body) = match house.shared.twin.state().lnd.state {
        LndState::Locked => (None, locked(session, is_restored(&choices), refusal)),
        LndState::NonExisting => {
            let body =
                html! { p.notice { (t!("node.no_wallet")) } p.row { a.button href="/setup" { (t!("setup.go_on")) } } };
            (None, body)
        }
        LndState::RpcActive | LndState::ServerActive => {
            let body = html! {
                p.notice.good role="status" { (t!("unlock.open")) }
                @if choices.by_hand { p { (t!("unlock.by_hand_now")) } }
                @else if is_restored(&choices) { (search_again(session)) }
                p.row { a.button href="/home" { (t!("setup.done.home")) } }
            };
            (None, body)
        }
        LndState::Unlocked => (
            Some(2),
            html! { p role="status" { (t!("unlock.opening")) } progress aria-label=(t!("unlock.opening")) {} },
        ),
        LndState::Unreachable | LndState::WaitingToStart => (Some(3), away(session, choices.by_hand, refusal)),
    };
    let body = html! {
        div.narrow data-poll=[refresh] {
            h1 { (t!("unlock.title")) }
            (body)
        }
    };
    owner_refreshed(&t!("unlock.title"), session, Some(Place::Home), refresh, body)
}

fn is_restored(choices: &Choices) -> bool {
    choices.wallet.as_ref().or(choices.making.as_ref()).is_some_and(|made| made.origin == Origin::Restored)
}

/// LND looks for a restored wallet's money only between an unlocking that says so and its next stop.
fn search_again(session: &Current) -> Markup {
    html! {
        section.card {
            h2 { (t!("unlock.search")) }
            p { (t!("unlock.search_what")) }
            form method="post" action="/unlock/by-hand" { (csrf(session)) button.second { (t!("unlock.search_button")) } }
        }
    }
}

fn locked(session: &Current, restored: bool, refusal: Option<&str>) -> Markup {
    html! {
        p.lead { (t!("unlock.lead")) }
        @if restored { p { (t!("unlock.restored")) } }
        p { (t!("unlock.why")) }
        form method="post" action="/unlock" {
            (csrf(session))
            (complaint("unlock-complaint", refusal))
            p.field {
                label for="password" { (t!("unlock.password")) }
                input #password name="password" type="password" required maxlength="128" autocomplete="off" data-secret
                    aria-describedby="password-hint";
            }
            p.hint #password-hint { (t!("unlock.password_hint")) }
            p.check {
                input #seal name="seal" type="checkbox" value="yes" checked;
                label for="seal" { (t!("unlock.seal")) }
            }
            button { (t!("unlock.button")) }
        }
        details {
            summary { (t!("unlock.lost")) }
            p { (t!("unlock.lost_what")) }
        }
    }
}

/// LND is not there: if that is for want of the sealed password, it can be started without.
fn away(session: &Current, by_hand: bool, refusal: Option<&str>) -> Markup {
    html! {
        p.lead { (t!("unlock.away")) }
        (complaint("unlock-complaint", refusal))
        @if by_hand { p role="status" { (t!("unlock.starting")) } progress aria-label=(t!("unlock.starting")) {} }
        @else {
            p { (t!("unlock.away_why")) }
            form method="post" action="/unlock/by-hand" { (csrf(session)) button.second { (t!("unlock.by_hand")) } }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Typed {
    password: Secret<String>,
    #[serde(default)]
    seal: String,
}

/// `POST /unlock`.
pub(crate) async fn post(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    house.limits.take(session.address).map_err(Fail::Wait)?;
    if house.shared.twin.state().lnd.state != LndState::Locked {
        return Ok(Redirect::to("/unlock").into_response());
    }
    Ok(match open(&house, session.actor(), typed.password, typed.seal == "yes").await {
        // Where it goes on the page tells what becomes of it.
        Ok(_) => Redirect::to("/unlock").into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, Some(&why))).into_response(),
    })
}

/// Has the wallet opened, and waits a while for that; whether it is over. Later LND's state tells. An error is a sentence.
pub(crate) async fn open(
    house: &Arc<House>,
    actor: String,
    password: Secret<String>,
    seal: bool,
) -> Result<bool, String> {
    let work = tokio::spawn(carried(unlock(house.clone(), actor, password, seal)));
    match tokio::time::timeout(WAIT, work).await {
        Ok(Ok(outcome)) => outcome.map(|()| true).map_err(|why| sentence(&why)),
        Ok(Err(error)) => Err(sentence(&error.to_string())),
        Err(_) => Ok(false),
    }
}

/// Opens the wallet, and has the password sealed that has just proven right. An error is a sentence.
async fn unlock(house: Arc<House>, actor: String, typed: Secret<String>, seal: bool) -> Result<(), String> {
    let password = lnd::Secret::new(typed.expose().as_bytes());
    let window = if is_restored(&house.setup.choices()) { RECOVERY_WINDOW } else { 0 };
    house.node.bare.unlock_searching(&password, window).await.map_err(|error| node::refusal(&error))?;
    let audit = |action, detail: &str| Audit { at: now(), actor: actor.clone(), action, detail: detail.into() };
    let entry = audit("wallet-unlocked", "By its password, typed.");
    house.store.audit(entry).await.map_err(|error| error.to_string())?;
    if !seal {
        return Ok(());
    }
    let sealed = house.desk.ask(&house.shared.run_dir, Task::WalletSeal, typed.expose(), ROOT_LIMIT).await;
    let sealed = sealed.map_err(|refused| t!("unlock.not_sealed", why = refused.0).into_owned())?;
    let by_chip = sealed == "sealed-by-chip";
    let entry = audit("wallet-sealed", "The wallet's password was sealed again.");
    let noted = house.setup.change(entry, |choices| {
        choices.by_hand = false;
        let made = choices.wallet.take().or_else(|| choices.making.take());
        let made = made.unwrap_or(Made { at: now(), origin: Origin::New, by_chip });
        choices.wallet = Some(Made { by_chip, ..made });
    });
    noted.await.map_err(|error| error.to_string())?;
    apply::config(&house).map_err(|error| error.to_string())
}

/// `POST /unlock/by-hand`: starts LND without the sealed password, so that it can ask for one.
pub(crate) async fn by_hand(State(house): State<Arc<House>>, session: Current) -> Result<Response, Fail> {
    if house.setup.choices().wallet.is_none() {
        return Ok(Redirect::to("/unlock").into_response());
    }
    let entry = audit(&session, "unlock-by-hand", "LND is started without the sealed password.");
    Ok(match start_by_hand(&house, entry).await? {
        Ok(()) => Redirect::to("/unlock").into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, Some(&why))).into_response(),
    })
}

/// Has LND started so that it waits for its password. An inner error is a sentence.
pub(crate) async fn start_by_hand(house: &House, entry: Audit) -> Result<Result<(), String>, Error> {
    house.setup.change(entry, |choices| choices.by_hand = true).await?;
    apply::config(house)?;
    let asked = house.desk.ask(&house.shared.run_dir, Task::LndRestart, "", WAIT).await;
    Ok(asked.map(drop).map_err(|refused| sentence(&refused.0)))
}
