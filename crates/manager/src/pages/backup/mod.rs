//! Wizard and settings: where copies of the channel backup go. The same pages in two frames.

pub(crate) mod form;
pub(crate) mod test;

use std::sync::{Arc, PoisonError};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;

use super::{Place as Entry, complaint, csrf, owner_refreshed, setup};
use crate::{
    copies::{self, sticks},
    http::fail::Fail,
    session::Current,
    setup::{Step, audit},
    shared::House,
};

/// The kinds of place, best first for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stick,
    Sftp,
    Webdav,
    S3,
    Mail,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Stick, Self::Sftp, Self::Webdav, Self::S3, Self::Mail];

    /// In addresses and in the keys of texts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stick => "stick",
            Self::Sftp => "sftp",
            Self::Webdav => "webdav",
            Self::S3 => "s3",
            Self::Mail => "mail",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn of(place: &copies::Place) -> Self {
        match &place.target {
            backup::Target::Folder(_) => Self::Stick,
            backup::Target::Sftp(_) => Self::Sftp,
            backup::Target::S3(_) => Self::S3,
            backup::Target::Webdav(_) => Self::Webdav,
            backup::Target::Mail(_) => Self::Mail,
        }
    }
}

/// Where the steps of this page begin, and where they lead.
const START: &str = "/setup/backup";

/// A step of the wizard while that goes on, a page of the settings afterwards.
fn frame(house: &House, session: &Current, refresh: Option<u32>, body: Markup) -> Markup {
    let is_over = house.setup.choices().finished.is_some();
    match refresh {
        _ if is_over => {
            let body = html! { div.narrow data-poll=[refresh] { (body) } };
            owner_refreshed(&t!("backup.title"), session, Some(Entry::Settings), refresh, body)
        }
        Some(seconds) => setup::refreshing(house, session, Step::Backup, seconds, body),
        None => setup::page(house, session, Step::Backup, body),
    }
}

/// To the next step of the wizard, or to the page of the copies.
fn onward(house: &House) -> Redirect {
    match house.setup.next() {
        Some(_) => Redirect::to("/setup"),
        None => Redirect::to("/backups"),
    }
}

/// `GET /setup/backup` and `GET /settings/backup`: what is chosen, and what can be.
pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    let choices = house.setup.choices();
    let chosen = copies::place(&choices);
    let is_over = choices.finished.is_some();
    let body = html! {
        h1 { (t!("backup.title")) }
        p.lead { (t!("backup.lead")) }
        p { (t!("backup.what")) }
        @if let Some(place) = chosen {
            p.notice.good { (t!("backup.chosen", place = place.words())) }
            @if !is_over { p.row { a.button href="/setup" { (t!("setup.next")) } } }
        } @else if choices.backup.is_some() {
            p.notice { (t!("backup.put_off")) }
        }
        h2 { (if chosen.is_some() { t!("backup.another") } else { t!("backup.kinds") }) }
        ul.services {
            @for kind in Kind::ALL {
                li {
                    span.name {
                        strong { (t!(format!("backup.kind.{}", kind.name()))) }
                        span.small { (t!(format!("backup.kind.{}_why", kind.name()))) }
                    }
                    a.button.second href=(format!("{START}/{}", kind.name()))
                        aria-label=(t!("backup.choose_kind", kind = t!(format!("backup.kind.{}", kind.name())))) {
                        (t!("backup.choose"))
                    }
                }
            }
        }
        @if chosen.is_none() && !is_over {
            section.card {
                h2 { (t!("backup.later")) }
                p { (t!("backup.later_why")) }
                form method="post" action="/setup/backup/later" { (csrf(&session)) button.second { (t!("backup.later_button")) } }
            }
        }
    };
    frame(&house, &session, None, body)
}

/// `POST /setup/backup/later`.
pub(crate) async fn later(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    house.setup.pass(Step::Backup, session.actor()).await?;
    Ok(onward(&house))
}

/// `POST /setup/backup/sticks`: has root look what is plugged in.
pub(crate) async fn look_for_sticks(State(house): State<Arc<House>>, session: Current) -> Result<Response, Fail> {
    match sticks::look(&house).await {
        Ok(_) => {
            house.store.audit(audit(&session, "sticks-listed", "")).await?;
            Ok(Redirect::to("/setup/backup/stick").into_response())
        }
        Err(why) => {
            let page = stick(&house, &session, Some(&super::words::sentence(&why)));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// The page of the sticks.
fn stick(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    let found = house.copies.sticks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let has_usable = found.iter().flatten().any(|stick| stick.fault.is_empty());
    let body = html! {
        h1 { (t!("backup.kind.stick")) }
        p.lead { (t!("backup.stick.lead")) }
        (complaint("stick-complaint", refusal))
        @match &found {
            None => {}
            Some(found) if found.is_empty() => { p.notice { (t!("backup.stick.none")) } }
            Some(found) => {
                form method="post" action="/setup/backup/stick" {
                    (csrf(session))
                    fieldset {
                        legend { (t!("backup.stick.found")) }
                        @for (index, stick) in found.iter().enumerate() {
                            @let id = format!("stick{index}");
                            p.check {
                                input #(id) name="serial" type="radio" value=(stick.serial) required
                                    disabled[!stick.fault.is_empty()] checked[stick.fault.is_empty() && found.len() == 1];
                                label for=(id) {
                                    strong { (stick.model) } " " (super::words::bytes(stick.bytes)) ", " (stick.serial)
                                    @if !stick.label.is_empty() { ", " (stick.label) }
                                    @if !stick.fault.is_empty() { span.small { " " (stick.fault) } }
                                }
                            }
                        }
                    }
                    @if has_usable { button { (t!("backup.test")) } }
                }
            }
        }
        form.row method="post" action="/setup/backup/sticks" {
            (csrf(session))
            button.second[has_usable] { (if found.is_some() { t!("backup.stick.again") } else { t!("backup.stick.look") }) }
            a.button.second href=(START) { (t!("setup.back")) }
        }
        p.hint { (t!("backup.stick.hint")) }
    };
    frame(house, session, None, body)
}
