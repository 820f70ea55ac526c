//! Settings, Updates: what runs, what is new and what it would mean, and what became of the updates so far.

pub(crate) mod failed;
mod offer;
pub(crate) mod offline;
pub(crate) mod progress;
pub(crate) mod reset;
mod rest;
mod settings;

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use twin::updates::Stage;

use super::{Place, complaint, owner_refreshed, restart};
use crate::{
    http::{extract::Form, fail::Fail},
    session::Current,
    setup::audit,
    shared::House,
    updates::{
        self,
        install::{self, From, Why, Wish},
        settings::{Automatic, Settings, Source},
        window::Window,
    },
};

pub(super) const PATH: &str = "/settings/updates";

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, None)
}

/// `POST /settings/updates/look`: asks the channel now.
pub(crate) async fn look(State(house): State<Arc<House>>) -> Redirect {
    updates::look(&house).await;
    Redirect::to(PATH)
}

/// `POST /settings/updates/install`.
pub(crate) async fn install(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    let from = match typed.from.as_str() {
        "channel" => From::Channel,
        "upload" => From::Upload,
        "stick" => From::Stick(typed.name),
        _ => return Err(Fail::Form(StatusCode::BAD_REQUEST)),
    };
    let entry = audit(&session, "update-begun", &typed.version);
    let wish = Wish { from, version: typed.version, older: typed.older == "yes", by_hand: true };
    let done = install::install(&house, wish, entry).await;
    answer(&house, &session, done, || Redirect::to(PATH).into_response())
}

/// `POST /settings/updates/cancel`.
pub(crate) async fn cancel(State(house): State<Arc<House>>, session: Current) -> Result<Response, Fail> {
    let done = install::cancel(&house, audit(&session, "update-cancelled", "")).await;
    answer(&house, &session, done, || Redirect::to(PATH).into_response())
}

/// `POST /settings/updates/restart`: into what was installed.
pub(crate) async fn restart(State(house): State<Arc<House>>, session: Current) -> Result<Response, Fail> {
    let done = install::restart(&house, audit(&session, "update-restart", "")).await;
    answer(&house, &session, done, || restart::waiting().into_response())
}

/// `POST /settings/updates/switch`: back to the other system, which is a job like an update.
pub(crate) async fn switch(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    let done = install::switch(&house, &typed.version, audit(&session, "slot-switched", typed.version.trim())).await;
    answer(&house, &session, done, || Redirect::to(PATH).into_response())
}

/// `POST /settings/updates/discard`: the bundle that was uploaded.
pub(crate) async fn discard(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    house.store.audit(audit(&session, "bundle-discarded", "")).await?;
    house.updates.discard();
    Ok(Redirect::to(PATH))
}

/// A form of these pages as it was sent; each has some of the fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Typed {
    /// What is to be installed: from `channel`, `upload` or `stick`.
    from: String,
    version: String,
    /// Although it is older.
    older: String,
    /// Of the channel, or of the file on a stick.
    name: String,
    url: String,
    home: String,
    automatic: String,
    start: String,
    hours: String,
    keep: String,
    /// Of a stick, or of the disk that is erased.
    serial: String,
    /// What is at risk.
    amount: String,
}

impl Typed {
    fn of(now: &Settings) -> Self {
        let yes = |is: bool| if is { "yes".to_owned() } else { String::new() };
        let source = now.channel.as_ref();
        Self {
            url: source.map(|source| source.url.clone()).unwrap_or_default(),
            name: source.map_or("stable", |source| &source.name).to_owned(),
            home: yes(source.is_some_and(|source| source.home)),
            automatic: now.automatic.name().to_owned(),
            start: now.window.start.to_string(),
            hours: now.window.hours.to_string(),
            keep: yes(now.keep),
            ..Self::default()
        }
    }

    /// An error is a sentence.
    fn read(&self) -> Result<Settings, String> {
        let channel = match self.url.trim() {
            "" => None,
            url => Some(Source::read(url, &self.name, self.home == "yes")?),
        };
        let bad = || t!("updates.set.bad_window").into_owned();
        let number = |text: &str| text.trim().parse().map_err(|_| bad());
        let window = Window::new(number(&self.start)?, number(&self.hours)?).ok_or_else(bad)?;
        let automatic = Automatic::from_name(&self.automatic).unwrap_or_default();
        Ok(Settings { channel, automatic, window, keep: self.keep == "yes" })
    }
}

/// `POST /settings/updates`: the settings.
pub(crate) async fn set(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    match typed.read() {
        Ok(settings) => {
            let told = told(&settings);
            house.updates.set(settings, audit(&session, "updates-set", &told)).await?;
            Ok(Redirect::to(PATH).into_response())
        }
        Err(text) => {
            let page = shown(&house, &session, None, &typed, Some(&text));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// The settings in a line of the audit log.
pub(crate) fn told(settings: &Settings) -> String {
    let Settings { channel, automatic, window, keep } = settings;
    let channel = channel.as_ref().map_or("-".to_owned(), |source| format!("{} {}", source.name, source.url));
    format!("{channel}, {}, {}+{}h, keep {keep}", automatic.name(), window.start, window.hours)
}

fn answer(
    house: &House,
    session: &Current,
    done: Result<(), Why>,
    well: impl FnOnce() -> Response,
) -> Result<Response, Fail> {
    match done {
        Ok(()) => Ok(well()),
        Err(Why::Rule(text)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(house, session, Some(&text))).into_response())
        }
        Err(Why::Error(error)) => Err(error.into()),
    }
}

fn page(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    shown(house, session, refusal, &Typed::of(&house.updates.settings()), None)
}

/// `refusal`: why something was not done. `bad`: what is wrong with the settings that were typed.
fn shown(house: &House, session: &Current, refusal: Option<&str>, typed: &Typed, bad: Option<&str>) -> Markup {
    let state = house.shared.twin.state();
    let stage = state.updates.job.as_ref().map(|job| job.stage);
    let refresh = stage.and_then(progress::refresh);
    let body = html! {
        h1 { (t!("updates.title")) }
        (complaint("updates-complaint", refusal))
        div #update data-live aria-live="polite" { (progress::part(&state)) }
        @match stage {
            Some(Stage::Checking | Stage::Installing) => {
                (rest::cancel(session, &t!("updates.cancel")))
            }
            Some(Stage::Installed) => {
                (rest::waits(house, session, &state))
                (rest::cancel(session, &t!("updates.take_back")))
            }
            _ => {}
        }
        // What goes on is all there is to see; a form would lose what is typed into it.
        @if refresh.is_none() {
            div.cards {
                (rest::runs(house, &state))
                (offer::channel(house, session, &state))
            }
            (offline::section(house, session))
            (settings::section(house, session, typed, bad))
            (rest::back(session, &state))
            (rest::history(&state))
            p { a href="/settings/reset" { (t!("updates.reset.title")) } }
        }
    };
    let body = match refresh {
        None => body,
        Some(_) => html! { div.narrow data-poll=(progress::GLANCE) { (body) } },
    };
    owner_refreshed(&t!("updates.title"), session, Some(Place::Settings), refresh, body)
}

#[cfg(test)]
mod tests;
