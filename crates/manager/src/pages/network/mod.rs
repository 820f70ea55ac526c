//! The network page, as a step of the wizard and below the settings: what was found, and a form for each card.

pub(crate) mod confirm;
mod form;
pub(crate) mod trial;
mod wifi;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use netconf::{Ending, Last, Trial, Try};
use rust_i18n::t;
use store::Audit;
use twin::net::{Link, Origin};

use super::{Place, csrf, owner, setup, words::sentence};
use crate::{
    error::Error,
    http::{extract::Form, fail::Fail},
    network::{Join, Typed, Wish, cards, findings, uptime},
    pages::words::Mood,
    request::Task,
    secret::Secret,
    session::Current,
    setup::{Step, audit},
    shared::House,
};

/// For the root program to take a request.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// For what a search has found to come into the twin.
const SCAN_SHOWN: Duration = Duration::from_millis(900);
/// Seconds for which a change is tried, from when it is live on.
pub(crate) const TRIAL: u64 = 60;
/// So long the page says how the last trial ended, seconds.
const NEWS: u64 = 15 * 60;

/// In which frame the page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Setup,
    Settings,
}

impl Frame {
    fn path(self) -> &'static str {
        match self {
            Self::Setup => "/setup/network",
            Self::Settings => "/settings/network",
        }
    }

    fn page(self, house: &House, session: &Current, body: Markup) -> Markup {
        match self {
            Self::Setup => setup::page(house, session, Step::Network, body),
            Self::Settings => {
                owner(&t!("network.title"), session, Some(Place::Settings), html! { div.narrow { (body) } })
            }
        }
    }
}

pub(crate) async fn in_setup(State(house): State<Arc<House>>, session: Current) -> Markup {
    show(&house, &session, Frame::Setup).await
}

pub(crate) async fn in_settings(State(house): State<Arc<House>>, session: Current) -> Markup {
    show(&house, &session, Frame::Settings).await
}

async fn show(house: &House, session: &Current, frame: Frame) -> Markup {
    let state = house.shared.twin.state();
    if let Some(trial) = &state.netconf.trial {
        let code = house.setup.network.newest(&house.shared.run_dir).await;
        let left = trial.until.saturating_sub(uptime());
        return frame.page(house, session, trial::page(house, session, trial, left, code.as_ref()));
    }
    frame.page(house, session, page(house, session, frame, Refusal::None))
}

/// The form that was sent.
enum Sent<'a> {
    Card(&'a Typed),
    Wifi(&'a Join),
}

impl<'a> Sent<'a> {
    fn refused(self, why: &'a str) -> Refusal<'a> {
        match self {
            Self::Card(typed) => Refusal::Card(typed, why),
            Self::Wifi(join) => Refusal::Wifi(join, why),
        }
    }
}

/// What the page shows beside what there is: a form as it was sent, and why it cannot be.
enum Refusal<'a> {
    None,
    Card(&'a Typed, &'a str),
    Wifi(&'a Join, &'a str),
}

/// `POST /setup/network`: it is well as it is.
pub(crate) async fn go_on(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    house.setup.pass(Step::Network, session.actor()).await?;
    Ok(Redirect::to(house.setup.next().map_or("/home", Step::path)))
}

pub(crate) async fn try_in_setup(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    begin(&house, &session, Frame::Setup, typed).await
}

pub(crate) async fn try_in_settings(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    begin(&house, &session, Frame::Settings, typed).await
}

async fn begin(house: &House, session: &Current, frame: Frame, typed: Typed) -> Result<Response, Fail> {
    let attempt = attempt(house, &typed, |detail| audit(session, "network-tried", detail)).await?;
    answer(house, session, frame, attempt, Sent::Card(&typed))
}

pub(crate) async fn join_in_setup(
    State(house): State<Arc<House>>,
    session: Current,
    Form(join): Form<Join>,
) -> Result<Response, Fail> {
    begin_join(&house, &session, Frame::Setup, join).await
}

pub(crate) async fn join_in_settings(
    State(house): State<Arc<House>>,
    session: Current,
    Form(join): Form<Join>,
) -> Result<Response, Fail> {
    begin_join(&house, &session, Frame::Settings, join).await
}

async fn begin_join(house: &House, session: &Current, frame: Frame, join: Join) -> Result<Response, Fail> {
    let attempt = attempt_join(house, &join, |detail| audit(session, "network-tried", detail)).await?;
    answer(house, session, frame, attempt, Sent::Wifi(&join))
}

/// The answer is the page with the code itself, not a way to it: in a few seconds this address may be gone.
fn answer(house: &House, session: &Current, frame: Frame, attempt: Attempt, form: Sent) -> Result<Response, Fail> {
    match attempt {
        Attempt::Begun { trial, code } => {
            let body = trial::page(house, session, &trial, TRIAL, Some(&code));
            Ok(frame.page(house, session, body).into_response())
        }
        Attempt::UnderWay => Ok(Redirect::to(frame.path()).into_response()),
        Attempt::Refused(text) => {
            let body = page(house, session, frame, form.refused(&text));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, frame.page(house, session, body)).into_response())
        }
    }
}

/// `POST .../wifi/scan`: has the radios look again, and shows what they saw.
pub(crate) async fn scan_in_setup(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    search(&house, audit(&session, "wifi-searched", "")).await?;
    Ok(Redirect::to(Frame::Setup.path()))
}

pub(crate) async fn scan_in_settings(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    search(&house, audit(&session, "wifi-searched", "")).await?;
    Ok(Redirect::to(Frame::Settings.path()))
}

/// Has the radios look for networks. What came of it is in the twin: it says so if iwd is away.
pub(crate) async fn search(house: &House, entry: Audit) -> Result<(), Fail> {
    house.store.audit(entry).await?;
    if let Err(error) = platform::wifi::scan().await {
        tracing::warn!(%error, "the radios did not look for networks");
    }
    tokio::time::sleep(SCAN_SHOWN).await;
    Ok(())
}

/// What came of asking for a trial.
pub(crate) enum Attempt {
    /// It is live in a few seconds, for [`TRIAL`].
    Begun { trial: Trial, code: Secret<String> },
    /// Another one goes on.
    UnderWay,
    /// A sentence.
    Refused(String),
}

/// Has a change of the network tried.
pub(crate) async fn attempt(
    house: &House,
    typed: &Typed,
    entry: impl FnOnce(String) -> Audit,
) -> Result<Attempt, Fail> {
    let state = house.shared.twin.state();
    if state.netconf.trial.is_some() {
        return Ok(Attempt::UnderWay);
    }
    match typed.read(&state) {
        Ok(plan) => have_tried(house, Wish { plan, passphrase: None, country: None }, entry).await,
        Err(text) => Ok(Attempt::Refused(text)),
    }
}

/// Has a radio try another network or country.
pub(crate) async fn attempt_join(
    house: &House,
    join: &Join,
    entry: impl FnOnce(String) -> Audit,
) -> Result<Attempt, Fail> {
    let state = house.shared.twin.state();
    if state.netconf.trial.is_some() {
        return Ok(Attempt::UnderWay);
    }
    match join.read(&state) {
        Ok(wish) => have_tried(house, wish, entry).await,
        Err(text) => Ok(Attempt::Refused(text)),
    }
}

/// Asks root.
async fn have_tried(house: &House, wish: Wish, entry: impl FnOnce(String) -> Audit) -> Result<Attempt, Fail> {
    let run_dir = &house.shared.run_dir;
    let code = house.setup.network.make(run_dir).await?;
    house.store.audit(entry(described(&wish))).await?;
    let Wish { plan, passphrase, country } = wish;
    let asked = Try { code: code.expose().clone(), plan, passphrase, country };
    let content = serde_json::to_string(&asked)
        .map_err(|source| Error::System { action: "ask for a change of the network", source: source.into() })?;
    Ok(match house.desk.ask(run_dir, Task::NetworkTry, &content, LIMIT).await {
        Ok(_) => {
            let trial = Trial { plan: asked.plan, until: uptime() + TRIAL, country };
            Attempt::Begun { trial, code }
        }
        Err(refused) => Attempt::Refused(sentence(&refused.0)),
    })
}

/// `POST /network/withdraw`: back to what was before, at once.
pub(crate) async fn withdraw(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    take_back(&house, audit(&session, "network-withdrawn", "")).await?;
    Ok(Redirect::to(home(&house)))
}

/// Has a trial taken back.
pub(crate) async fn take_back(house: &House, entry: Audit) -> Result<(), Fail> {
    let asked = house.desk.ask(&house.shared.run_dir, Task::NetworkWithdraw, "", LIMIT).await;
    if let Err(refused) = &asked {
        // Too late or nothing to take back: the page it leads to says how it ended.
        tracing::info!(reason = refused.0, "nothing was taken back");
    }
    Ok(house.store.audit(entry).await?)
}

/// The network page that fits: the wizard's as long as that is not finished.
fn home(house: &House) -> &'static str {
    if house.setup.choices().finished.is_none() { Frame::Setup.path() } else { Frame::Settings.path() }
}

/// For the audit log: the settings, which are no secret.
fn described(Wish { plan, country, .. }: &Wish) -> String {
    let addresses: Vec<String> = plan.addresses().map(|address| address.to_string()).collect();
    let joins = plan.wifi.as_ref().map(|wifi| format!(", joins {}", wifi.ssid.shown())).unwrap_or_default();
    let what = if addresses.is_empty() { "addresses by the router".to_owned() } else { addresses.join(", ") };
    let rules = country.map(|country| format!(", radios by the rules of {country}")).unwrap_or_default();
    format!("{}: {what}{joins}{rules}", plan.mac)
}

/// The way to it, among the settings.
pub(crate) fn card() -> Markup {
    html! {
        section.card aria-labelledby="network-heading" {
            h2 #network-heading { (t!("network.title")) }
            p { (t!("network.settings_why")) }
            p { a href=(Frame::Settings.path()) { (t!("network.settings_link")) } }
        }
    }
}

fn page(house: &House, session: &Current, frame: Frame, refusal: Refusal) -> Markup {
    let state = house.shared.twin.state();
    html! {
        h1 { (t!("network.title")) }
        p.lead { (t!("network.lead")) }
        @if let Some(last) = state.netconf.last.as_ref().filter(|last| uptime().saturating_sub(last.at) < NEWS) {
            (ending(last))
        }
        section aria-labelledby="found" {
            h2 #found { (t!("network.found")) }
            ul.phases {
                @for line in findings(&state) {
                    @let word = match line.mood {
                        Mood::Good => t!("setup.check.ok"),
                        Mood::Busy => t!("setup.check.warn"),
                        Mood::Bad => t!("setup.check.fail"),
                        Mood::Off => t!("setup.check.pending"),
                    };
                    li {
                        span.badge.(line.mood.class()) { (word) } " " strong { (line.name) }
                        p { (sentence(&line.sentence)) }
                        @if let Some(advice) = &line.advice { p.hint { (advice) } }
                    }
                }
            }
            p.small { (t!("network.asked")) }
        }
        @if frame == Frame::Setup {
            form method="post" action=(frame.path()) {
                (csrf(session))
                button { (t!("network.continue")) }
            }
        }
        @for link in cards(&state) {
            (facts(&link))
            @if let Ok(mac) = link.mac.parse() {
                @let plan = crate::network::plan_of(&state, mac);
                @let refused = match &refusal {
                    Refusal::Card(typed, text) if typed.card == link.mac => Some((*typed, *text)),
                    _ => None,
                };
                // A radio has addresses once it has a network.
                @if !link.wireless || plan.wifi.is_some() {
                    (form::of_card(session, frame.path(), &link, &plan, refused))
                }
            }
        }
        @let refused = if let Refusal::Wifi(join, text) = &refusal { Some((*join, *text)) } else { None };
        (wifi::section(session, frame.path(), &state, refused))
    }
}

fn ending(last: &Last) -> Markup {
    if let Some(why) = last.why {
        let name = last.plan.wifi.as_ref().map(|wifi| wifi.ssid.shown()).unwrap_or_default();
        return html! { p.notice role="status" { (t!(format!("wifi.why.{}", why.key()), name = name)) } };
    }
    let (text, is_good) = match last.ending {
        Ending::Confirmed => (t!("network.ending.confirmed"), true),
        Ending::Expired => (t!("network.ending.expired"), false),
        Ending::Withdrawn => (t!("network.ending.withdrawn"), true),
        Ending::Failed => (t!("network.ending.failed"), false),
    };
    html! { p.notice.good[is_good] role="status" { (text) } }
}

fn facts(link: &Link) -> Markup {
    let heading = format!("card-{}", link.mac.replace(':', ""));
    html! {
        section.card aria-labelledby=(heading) {
            h2 id=(heading) { (t!("network.card.title", name = link.name)) }
            @if !link.carrier { p { (t!("network.card.no_cable")) } }
            @if link.wireless { p { (t!("network.card.wireless")) } }
            dl {
                dt { (t!("network.card.mac")) } dd { code { (link.mac) } }
                dt { (t!("network.card.addresses")) }
                dd {
                    @if link.addresses.is_empty() { (t!("network.card.none")) }
                    @for assigned in &link.addresses {
                        div { code { (assigned.address) "/" (assigned.prefix) } " " span.small { (origin(assigned.from)) } }
                    }
                }
                @if !link.gateways.is_empty() {
                    dt { (t!("network.check.gateway")) }
                    dd { @for gateway in &link.gateways { div { code { (gateway) } } } }
                }
                @if !link.dns.is_empty() {
                    dt { (t!("network.card.dns")) }
                    dd { @for server in &link.dns { div { code { (server) } } } }
                }
            }
        }
    }
}

fn origin(from: Origin) -> String {
    let text = match from {
        Origin::Dhcp => t!("network.card.from.dhcp"),
        Origin::Router => t!("network.card.from.router"),
        Origin::Static => t!("network.card.from.static"),
        Origin::LinkLocal => t!("network.card.from.link_local"),
        Origin::Other => t!("network.card.from.other"),
    };
    text.into_owned()
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod wifi_tests;
