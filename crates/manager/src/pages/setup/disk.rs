//! Where the data lies: the disks and what is on them, moving to another one, taking over another one's data.
//!
//! One page, as a step of the wizard and under the settings; each form says where it came from.

pub(crate) mod parts;

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::Audit;
use twin::disks::{Disk, MovePhase};

use super::{page, refreshing};
use crate::{
    error::now,
    http::{extract::Form, fail::Fail},
    pages::{Place, complaint, csrf, owner_refreshed, restart, words::sentence},
    session::Current,
    setup::{
        Choices, Step,
        disk::{self, Choice},
    },
    shared::House,
};

/// A browser without scripts asks so often how far the move is, seconds.
const GLANCE: u32 = 4;
/// The same while the box restarts: an earlier try would end on the browser's own error page.
const RESTART: u32 = 120;

/// On which of the two pages the owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum From {
    #[default]
    Setup,
    Settings,
}

impl From {
    fn path(self) -> &'static str {
        match self {
            Self::Setup => "/setup/disk",
            Self::Settings => "/settings/disk",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Settings => "settings",
        }
    }
}

/// What the forms send.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Typed {
    #[serde(default)]
    pub(crate) from: From,
    #[serde(default)]
    pub(crate) disk: String,
    #[serde(default)]
    pub(crate) serial: String,
    #[serde(default)]
    pub(crate) confirm: String,
    #[serde(default)]
    pub(crate) partition: String,
    /// The other box is switched off for good.
    #[serde(default)]
    pub(crate) off: String,
}

/// A form that was refused, and why.
struct Refusal<'a> {
    typed: &'a Typed,
    text: String,
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    show(&house, &session, From::Setup, None)
}

pub(crate) async fn settings(State(house): State<Arc<House>>, session: Current) -> Markup {
    show(&house, &session, From::Settings, None)
}

/// `POST /setup/disk/stay`: the data stays where it is.
pub(crate) async fn stay(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    choose(&house, audit(&session, "disk-kept", ""), Some(Choice::Stay)).await?;
    Ok(Redirect::to(house.setup.next().map_or("/home", Step::path)))
}

/// `POST /disk/scan`: looks at the disks again.
pub(crate) async fn scan(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    house.store.audit(audit(&session, "disks-looked-at", "")).await?;
    match disk::scan(&house).await {
        Ok(()) => Ok(Redirect::to(typed.from.path()).into_response()),
        Err(refused) => Ok(refuse(&house, &session, &typed, refused.0)),
    }
}

/// `POST /disk/move`: moves the data, once everything is said that must be.
pub(crate) async fn relocate(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    match begin_move(&house, &typed, &session.actor()).await? {
        Ok(()) => Ok(Redirect::to(typed.from.path()).into_response()),
        Err(text) => Ok(refuse(&house, &session, &typed, text)),
    }
}

/// Has the data moved; an inner error is a sentence.
pub(crate) async fn begin_move(house: &House, typed: &Typed, actor: &str) -> Result<Result<(), String>, Fail> {
    let line = |action, detail: &str| Audit { at: now(), actor: actor.to_owned(), action, detail: detail.into() };
    let state = house.shared.twin.state();
    let Some(disk) = meant(&state.disks.disks, typed) else { return Ok(Err(t!("setup.disk.gone").into_owned())) };
    let word = disk.erase_word();
    if !disk.empty && !disk.booted && typed.confirm.trim() != word {
        return Ok(Err(t!("setup.disk.bad_confirm", word = word).into_owned()));
    }
    let before = house.setup.choices().disk;
    // On the disk before it is copied: what comes back after the restart is that copy.
    choose(house, line("disk-move", &parts::name(disk)), Some(Choice::Other)).await?;
    match disk::relocate(house, disk, &typed.confirm).await {
        Ok(()) => Ok(Ok(())),
        Err(refused) => {
            choose(house, line("disk-move-refused", &refused.0), before).await?;
            Ok(Err(refused.0))
        }
    }
}

/// `POST /disk/cancel`: ends a move that is not done.
pub(crate) async fn cancel(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    house.store.audit(audit(&session, "disk-move-cancelled", "")).await?;
    match disk::cancel(&house).await {
        Ok(()) => Ok(Redirect::to(typed.from.path()).into_response()),
        Err(refused) => Ok(refuse(&house, &session, &typed, refused.0)),
    }
}

/// `POST /disk/adopt`: uses the data that is on a disk already.
pub(crate) async fn adopt(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    match begin_adopt(&house, &typed, |detail| audit(&session, "disk-adopt", detail)).await? {
        Ok(()) => Ok(restart::waiting().into_response()),
        Err(text) => Ok(refuse(&house, &session, &typed, text)),
    }
}

/// Has another disk's data used after a restart; an inner error is a sentence.
pub(crate) async fn begin_adopt(
    house: &House,
    typed: &Typed,
    entry: impl FnOnce(&str) -> Audit,
) -> Result<Result<(), String>, Fail> {
    let state = house.shared.twin.state();
    let Some(disk) = meant(&state.disks.disks, typed) else { return Ok(Err(t!("setup.disk.gone").into_owned())) };
    if typed.off != "yes" {
        return Ok(Err(t!("setup.disk.adopt_unconfirmed").into_owned()));
    }
    house.store.audit(entry(&parts::name(disk))).await?;
    Ok(disk::adopt(house, disk, &typed.partition).await.map_err(|refused| refused.0))
}

/// The disk that the form is about: by serial number, too, as names change hands.
fn meant<'a>(disks: &'a [Disk], typed: &Typed) -> Option<&'a Disk> {
    disks.iter().find(|disk| disk.name == typed.disk && disk.serial == typed.serial)
}

async fn choose(house: &House, entry: Audit, choice: Option<Choice>) -> Result<(), Fail> {
    Ok(house.setup.change(entry, |choices: &mut Choices| choices.disk = choice).await?)
}

fn audit(session: &Current, action: &'static str, detail: &str) -> Audit {
    Audit { at: now(), actor: session.actor(), action, detail: detail.into() }
}

fn refuse(house: &House, session: &Current, typed: &Typed, text: String) -> Response {
    let page = show(house, session, typed.from, Some(&Refusal { typed, text }));
    (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
}

fn show(house: &House, session: &Current, from: From, refusal: Option<&Refusal>) -> Markup {
    let state = house.shared.twin.state();
    let moving = &state.moving;
    let refresh = match moving.phase {
        _ if !moving.is_running() => None,
        MovePhase::Switch | MovePhase::Restart => Some(RESTART),
        _ => Some(GLANCE),
    };
    let body = html! {
        h1 { (t!("setup.disk.title")) }
        @if moving.is_running() {
            (parts::progress(moving))
            @if moving.phase < MovePhase::Switch {
                form.row method="post" action="/disk/cancel" {
                    (csrf(session)) (hidden(from))
                    button.second { (t!("setup.disk.cancel")) }
                }
            }
        } @else {
            p.lead { (t!("setup.disk.lead")) }
            (parts::outcome(moving))
            (complaint("disk-complaint", refusal.map(|refusal| sentence(&refusal.text)).as_deref()))
            (choices(session, &state, from, refusal))
        }
    };
    match (from, refresh) {
        (From::Setup, None) => page(house, session, Step::Disk, body),
        (From::Setup, Some(seconds)) => refreshing(house, session, Step::Disk, seconds, body),
        (From::Settings, _) => {
            let body = html! { div.narrow data-poll=[refresh.map(|_| GLANCE)] { (body) } };
            owner_refreshed(&t!("setup.disk.title"), session, Some(Place::Settings), refresh, body)
        }
    }
}

fn hidden(from: From) -> Markup {
    html! { input type="hidden" name="from" value=(from.name()); }
}

/// Where the data lies, and where else it could.
fn choices(session: &Current, state: &twin::State, from: From, refusal: Option<&Refusal>) -> Markup {
    let disks = &state.disks;
    let (live, others): (Vec<&Disk>, Vec<&Disk>) = disks.disks.iter().partition(|disk| disk.live);
    html! {
        @if disks.at == 0 { p.notice role="status" { (t!("setup.disk.not_looked")) } }
        @for disk in &live { (parts::live(disk, disks.used)) }
        @if from == From::Setup {
            form.row method="post" action="/setup/disk/stay" {
                (csrf(session))
                button { (t!("setup.disk.stay")) }
            }
        }
        h2 { (t!("setup.disk.others")) }
        @if others.is_empty() && disks.at > 0 { p { (t!("setup.disk.none")) } }
        @for disk in &others {
            @let refusal = refusal.filter(|refusal| meant(std::slice::from_ref(*disk), refusal.typed).is_some());
            (other(session, disk, disks.wallet, from, refusal))
        }
        form.row method="post" action="/disk/scan" {
            (csrf(session)) (hidden(from))
            button.second { (t!("setup.disk.scan")) }
        }
    }
}

/// A disk that could take the data, or has data that could be taken.
fn other(session: &Current, disk: &Disk, wallet: bool, from: From, refusal: Option<&Refusal>) -> Markup {
    let adoptable = disk.parts.iter().filter_map(|part| part.data.as_ref()).find(|data| parts::is_adoptable(data));
    let adopting = refusal.is_some_and(|refusal| !refusal.typed.partition.is_empty());
    let fields = html! {
        (csrf(session)) (hidden(from))
        input type="hidden" name="disk" value=(disk.name);
        input type="hidden" name="serial" value=(disk.serial);
    };
    html! {
        div.card {
            h3 { (parts::name(disk)) }
            (parts::contents(disk))
            @if let Some(data) = adoptable {
                @if wallet {
                    p.small { (t!("setup.disk.adopt_wallet")) }
                } @else {
                    details open[adopting] {
                        summary { (t!("setup.disk.adopt")) }
                        p { (t!("setup.disk.adopt_why")) }
                        form method="post" action="/disk/adopt" {
                            (fields)
                            input type="hidden" name="partition" value=(data.partition);
                            p.check {
                                input id={ "off-" (disk.name) } name="off" type="checkbox" value="yes" required;
                                label for={ "off-" (disk.name) } { (t!("setup.disk.adopt_off")) }
                            }
                            button { (t!("setup.disk.adopt_button")) }
                        }
                    }
                }
            }
            @if let Some(obstacle) = disk.obstacle {
                p.small { (parts::obstacle(obstacle)) }
            } @else if !disk.booted || parts::has_old_copy(disk) {
                details open[refusal.is_some() && !adopting] {
                    summary { (t!("setup.disk.move")) }
                    p {
                        @if disk.booted { (t!("setup.disk.move_home")) }
                        @else if disk.empty { (t!("setup.disk.move_empty")) }
                        @else { (t!("setup.disk.move_erase")) }
                    }
                    p { (t!("setup.disk.move_how")) }
                    form method="post" action="/disk/move" {
                        (fields)
                        @if !disk.empty && !disk.booted { (confirm(disk, refusal)) }
                        button.danger[!disk.empty && !disk.booted] { (t!("setup.disk.move_button")) }
                    }
                }
            }
        }
    }
}

/// What must be typed before something is erased.
fn confirm(disk: &Disk, refusal: Option<&Refusal>) -> Markup {
    let id = format!("confirm-{}", disk.name);
    let is_wrong = refusal.is_some();
    html! {
        p.field {
            label for=(id) {
                @if disk.serial.is_empty() { (t!("setup.disk.type_erase")) }
                @else { (t!("setup.disk.type_serial", serial = disk.serial)) }
            }
            input id=(id) name="confirm" type="text" required maxlength="128" autocomplete="off" autocapitalize="off"
                autocorrect="off" spellcheck="false" value=(refusal.map_or("", |refusal| refusal.typed.confirm.as_str()))
                aria-invalid=[is_wrong.then_some("true")] aria-describedby=[is_wrong.then_some("disk-complaint")];
        }
    }
}

#[cfg(test)]
mod tests;
