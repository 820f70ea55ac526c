//! How far an update is, or what became of the last one. Also sent by the stream of events.

use maud::{Markup, html};
use rust_i18n::t;
use twin::{
    State,
    updates::{Job, Stage},
};

use crate::pages::words::{self, sentence};

/// So often a page asks how far it is, seconds.
pub(super) const GLANCE: u32 = 4;

/// The same for a browser without scripts; `None` where nothing goes on.
pub(super) fn refresh(stage: Stage) -> Option<u32> {
    match stage {
        Stage::Checking | Stage::Installing => Some(GLANCE),
        // An earlier try would end on the browser's own error page.
        Stage::Restarting => Some(120),
        _ => None,
    }
}

pub(crate) fn part(state: &State) -> Markup {
    html! { @if let Some(job) = &state.updates.job { (of(job)) } }
}

fn of(job: &Job) -> Markup {
    let is_bad = matches!(job.stage, Stage::Refused | Stage::Failed | Stage::FellBack);
    let title = t!(format!("updates.stage.{}", job.stage.name()), version = job.version, from = job.from);
    html! {
        div.notice.good[matches!(job.stage, Stage::Installed | Stage::Committed)].bad[is_bad] {
            h2 { (title) }
            @if matches!(job.stage, Stage::Checking | Stage::Installing) {
                progress max="100" value=(job.percent) aria-label=(title) { (job.percent) " %" }
                p { (job.percent) " %" @if !job.said.is_empty() { " \u{b7} " (job.said) } }
            }
            @if !job.error.is_empty() { p { (sentence(&job.error)) } }
            @if job.stage == Stage::Trying { p { (t!("updates.trying")) } }
            p.small { (words::moment(job.at)) }
        }
    }
}
