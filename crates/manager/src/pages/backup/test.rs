//! The test of a place: what it found, what the owner must confirm, and the button that takes it.

use std::sync::Arc;

use axum::{
    extract::State as From,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::Audit;

use super::{Kind, START, frame, onward};
use crate::{
    copies::{
        Keep, Place,
        trial::{self, State},
    },
    error::Error,
    http::{extract::Form, fail::Fail},
    pages::{complaint, csrf, words::sentence},
    session::Current,
    setup::audit,
    shared::House,
};

/// `GET /setup/backup/test`.
pub(crate) async fn get(From(house): From<Arc<House>>, session: Current) -> Response {
    match house.copies.trial.look() {
        Some((place, state)) => page(&house, &session, &place, &state, None).into_response(),
        None => Redirect::to(START).into_response(),
    }
}

fn page(house: &House, session: &Current, place: &Place, state: &State, refusal: Option<&str>) -> Markup {
    let form = format!("{START}/{}", Kind::of(place).name());
    let back = html! { a.button.second href=(form) { (t!("backup.change")) } };
    let body = html! {
        h1 { (t!("backup.test_title")) }
        p.lead { (place.words()) }
        @match state {
            State::Testing => {
                p role="status" { (t!("backup.testing")) }
                progress aria-label=(t!("backup.testing")) {}
                p.row { (back) }
            }
            State::Failed(why) => {
                div.notice.bad role="alert" { h2 { (t!("backup.failed")) } p { (sentence(why)) } }
                p.row { (back) }
            }
            State::HostKey(key) => {
                p { (t!("backup.sftp.host_key")) }
                p { code.copy { (key.fingerprint()) } " (" (key.algorithm()) ")" }
                p.hint { (t!("backup.sftp.host_key_how")) }
                form.row method="post" action="/setup/backup/host-key" {
                    (csrf(session))
                    input type="hidden" name="fingerprint" value=(key.fingerprint());
                    button { (t!("backup.sftp.host_key_yes")) }
                    (back)
                }
            }
            State::Code(_) => {
                p { (t!("backup.mail.code_sent")) }
                form method="post" action="/setup/backup/code" {
                    (csrf(session))
                    (complaint("code-complaint", refusal))
                    p.field {
                        label for="code" { (t!("backup.mail.code")) }
                        input #code name="code" type="text" required maxlength="32" autocomplete="off" autocapitalize="characters"
                            spellcheck="false" aria-describedby=[refusal.map(|_| "code-complaint")];
                    }
                    p.row { button { (t!("backup.mail.code_button")) } (back) }
                }
                p.hint { (t!("backup.mail.code_hint")) }
            }
            State::Good { left_behind } => {
                p.notice.good role="status" {
                    (if place.target.is_readable() { t!("backup.good") } else { t!("backup.good_mail") })
                }
                @if let Some(name) = left_behind { p.hint { (t!("backup.left_behind", name = name)) } }
                form.row method="post" action="/setup/backup/use" {
                    (csrf(session))
                    button { (t!("backup.use")) }
                    (back)
                }
            }
        }
    };
    frame(house, session, (*state == State::Testing).then_some(2), body)
}

#[derive(Deserialize)]
pub(crate) struct Confirmed {
    fingerprint: String,
}

/// `POST /setup/backup/host-key`: this is the server's key, says the owner.
pub(crate) async fn host_key(
    From(house): From<Arc<House>>,
    session: Current,
    Form(form): Form<Confirmed>,
) -> Result<Redirect, Fail> {
    house
        .store
        .audit(audit(&session, "host-key-confirmed", form.fingerprint.chars().take(64).collect::<String>()))
        .await?;
    trial::confirm_host_key(&house, &form.fingerprint);
    Ok(Redirect::to("/setup/backup/test"))
}

#[derive(Deserialize)]
pub(crate) struct Code {
    code: String,
}

/// `POST /setup/backup/code`: what stood in the mail.
pub(crate) async fn code(
    From(house): From<Arc<House>>,
    session: Current,
    Form(form): Form<Code>,
) -> Result<Response, Fail> {
    // Whoever sits at a session left open must not try them all.
    house.limits.take(session.address).map_err(Fail::Wait)?;
    if house.copies.trial.code(&form.code) {
        house.store.audit(audit(&session, "backup-mail-read", "The code of the test mail was right.")).await?;
        return Ok(Redirect::to("/setup/backup/test").into_response());
    }
    Ok(match house.copies.trial.look() {
        Some((place, state @ State::Code(_))) => {
            let text = t!("backup.mail.code_wrong");
            let page = page(&house, &session, &place, &state, Some(&text));
            (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
        }
        _ => Redirect::to("/setup/backup/test").into_response(),
    })
}

/// `POST /setup/backup/use`: what was tested and is good becomes the place.
pub(crate) async fn take(From(house): From<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    match aim(&house, |detail| audit(&session, "backup-chosen", detail)).await? {
        true => Ok(onward(&house)),
        false => Ok(Redirect::to("/setup/backup/test")),
    }
}

/// Makes the tested place the one for copies; whether there was one that is good.
pub(crate) async fn aim(house: &House, entry: impl FnOnce(String) -> Audit) -> Result<bool, Error> {
    let Some((place, State::Good { .. })) = house.copies.trial.look() else { return Ok(false) };
    let keep = Keep::At(Box::new(place.clone()));
    house.setup.change(entry(place.words()), |choices| choices.backup = Some(keep)).await?;
    house.copies.aim(&place);
    house.copies.trial.end();
    Ok(true)
}
