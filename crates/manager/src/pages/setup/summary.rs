//! Wizard: what was chosen, and the button that makes it so; then the progress of it.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use twin::{Job, Progress};

use super::{page, refreshing};
use crate::{
    http::fail::Fail,
    pages::csrf,
    session::Current,
    setup::{
        Choices, Step,
        apply::{self, NAME, Phase},
        audit,
        bitcoin::Backend,
        lnd_conf,
    },
    shared::House,
};

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Response {
    let state = house.shared.twin.state();
    if let Some(job) = state.jobs.get(NAME).filter(|_| house.setup.choices().finished.is_none()) {
        return progress(&house, &session, job).into_response();
    }
    match house.setup.next() {
        None => checklist(&house, &session).into_response(),
        Some(Step::Summary) => summary(&house, &session).into_response(),
        Some(step) => Redirect::to(step.path()).into_response(),
    }
}

fn summary(house: &House, session: &Current) -> Markup {
    let choices = house.setup.choices();
    let body = html! {
        h1 { (t!("setup.summary.title")) }
        p.lead { (t!("setup.summary.lead")) }
        (table(house, &choices))
        form method="post" action="/setup/apply" {
            (csrf(session))
            button { (t!("setup.summary.apply")) }
        }
    };
    page(house, session, Step::Summary, body)
}

fn table(house: &House, choices: &Choices) -> Markup {
    let wallet = if choices.wallet.is_some() {
        t!("setup.summary.wallet_exists")
    } else if house.setup.has_seed() {
        t!("setup.summary.wallet_new")
    } else {
        t!("setup.summary.missing")
    };
    html! {
        dl.card {
            @if let Some(bitcoin) = &choices.bitcoin {
                dt { (t!("setup.steps.bitcoin")) }
                dd {
                    @match &bitcoin.backend {
                        Backend::Neutrino { .. } => { (t!("setup.bitcoin.neutrino")) }
                        Backend::Bitcoind(own) => { (t!("setup.bitcoin.own")) ", " (own.rpc) }
                    }
                    ", " (bitcoin.chain.name())
                }
                dt { (t!("setup.steps.wallet")) } dd { (wallet) }
                dt { (t!("setup.steps.backup")) }
                dd { @match crate::copies::place(choices) { Some(place) => { (place.words()) } None => { (t!("backup.put_off_short")) } } }
            }
        }
        @if let Some(bitcoin) = &choices.bitcoin {
            details {
                summary { (t!("setup.summary.file")) }
                pre.file { (lnd_conf::covered(&apply::conf(house, bitcoin, choices.wallet.is_some() && !choices.by_hand))) }
            }
        }
    }
}

/// `POST /setup/apply`: begins, or begins again where it failed.
pub(crate) async fn post(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    // With a step that is not done, the page of the summary leads to it.
    let _ = apply::begin(&house, audit(&session, "setup-applied", "")).await?;
    Ok(Redirect::to(Step::Summary.path()))
}

fn progress(house: &House, session: &Current, job: &Job) -> Markup {
    let is_live = job.steps.iter().any(|step| step.progress == Progress::Running);
    let body = html! {
        h1 { (t!("setup.apply.title")) }
        div #apply data-live aria-live="polite" { (steps(job)) }
        @if !is_live {
            form.row method="post" action="/setup/apply" {
                (csrf(session))
                button { (t!("setup.apply.again")) }
                a.button.second href=(Step::Wallet.path()) { (t!("setup.back")) }
            }
        }
    };
    if is_live { refreshing(house, session, Step::Summary, 2, body) } else { page(house, session, Step::Summary, body) }
}

/// The phases and how far each is. Also sent by the stream of events.
pub(crate) fn steps(job: &Job) -> Markup {
    html! {
        ol.phases {
            @for (phase, step) in Phase::ALL.iter().zip(&job.steps) {
                @let class = match step.progress {
                    Progress::Waiting => "off",
                    Progress::Running => "busy",
                    Progress::Done => "good",
                    Progress::Failed => "bad",
                };
                li {
                    span.badge.(class) { (t!(format!("setup.apply.progress.{}", step.progress.name()))) }
                    " " strong { (t!(format!("setup.apply.phase.{}", phase.name()))) }
                    @if !step.detail.is_empty() { p.small { (crate::pages::words::sentence(&step.detail)) } }
                }
            }
        }
    }
}

fn checklist(house: &House, session: &Current) -> Markup {
    let made = house.setup.choices().wallet;
    let body = html! {
        h1 { (t!("setup.done.title")) }
        p.lead { (t!("setup.done.lead")) }
        @if let Some(made) = made {
            p { @if made.by_chip { (t!("setup.done.sealed_by_chip")) } @else { (t!("setup.done.sealed_by_disk")) } }
        }
        ol.plain {
            @for item in ["fund", "backup", "channel", "tower", "phone"] {
                li {
                    strong { (t!(format!("setup.done.{item}"))) } " " (t!(format!("setup.done.{item}_why")))
                    @if item == "backup" { " " a href="/backups" { (t!("backups.title")) } }
                }
            }
        }
        p.row { a.button href="/home" { (t!("setup.done.home")) } }
    };
    page(house, session, Step::Summary, body)
}
