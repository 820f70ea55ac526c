//! What runs, what waits for a restart, the way back, and what became of the updates so far.

use maud::{Markup, html};
use rust_i18n::t;
use twin::{
    State,
    updates::{Attempt, Stage},
};

use super::PATH;
use crate::{
    error::now,
    pages::{
        csrf,
        node::cards,
        words::{self, sentence},
    },
    session::Current,
    shared::House,
    updates::settings::Automatic,
};

pub(super) fn runs(house: &House, state: &State) -> Markup {
    let release = &house.shared.release;
    html! {
        section.card.wide aria-labelledby="runs-heading" {
            h2 #runs-heading { (t!("updates.runs")) }
            p.big { (t!("updates.version", version = release.version)) }
            dl {
                dt { "LND" } dd { (release.lnd_version.trim_start_matches('v')) }
                @if let Some(slot) = state.boot.slot { dt { (t!("home.running")) } dd { (t!("home.slot", slot = format!("{slot:?}"))) } }
                @for slot in state.boot.slots.iter().filter(|slot| !slot.booted) {
                    dt { (t!("home.reserve")) }
                    dd {
                        @if let Some(version) = &slot.version { (t!("updates.version", version = version)) }
                        @else { (t!("updates.back.none")) }
                        @if !slot.ok { ", " (t!("home.slot_broken")) }
                    }
                }
                dt { (t!("updates.for")) } dd { (release.board) " (" (release.base) ")" }
            }
            @if release.development_keys { p { (t!("home.development_keys")) } }
        }
    }
}

/// The restart into what was installed, and whether it is a good moment.
pub(super) fn waits(house: &House, session: &Current, state: &State) -> Markup {
    let settings = house.updates.settings();
    let next = settings.window.next(now(), &house.shared.place().time_zone());
    html! {
        @if house.setup.choices().wallet.is_some() { (cards::safe(state)) }
        @if let (Automatic::Install, Some(next)) = (settings.automatic, next) {
            p { (t!("updates.by_itself", at = words::moment(next))) }
        }
        form.row method="post" action={ (PATH) "/restart" } {
            (csrf(session))
            button { (t!("updates.restart")) }
        }
    }
}

/// Ends what was begun, or takes back what is not started yet.
pub(super) fn cancel(session: &Current, words: &str) -> Markup {
    html! {
        form.row method="post" action={ (PATH) "/cancel" } {
            (csrf(session))
            button.second { (words) }
        }
    }
}

/// The other system, and the way to it.
pub(super) fn back(session: &Current, state: &State) -> Markup {
    let other = state.boot.slots.iter().find(|slot| !slot.booted);
    html! {
        details {
            summary { (t!("updates.back.title")) }
            @match other.and_then(|slot| Some((slot, slot.version.as_ref()?))) {
                None => p { (t!("updates.back.none")) },
                Some((slot, version)) => {
                    p { (t!("updates.back.what", version = version)) }
                    @if let Some(problem) = &slot.problem { p.complaint { (sentence(problem)) } }
                    form method="post" action={ (PATH) "/switch" } {
                        (csrf(session))
                        p.field {
                            label for="back" { (t!("updates.back.type", version = version)) }
                            input #back name="version" type="text" required maxlength="64" autocomplete="off" autocapitalize="none"
                                spellcheck="false";
                        }
                        button.danger { (t!("updates.back.button")) }
                    }
                }
            }
        }
    }
}

/// Newest first, each with its reason.
pub(super) fn history(state: &State) -> Markup {
    let attempts = &state.updates.history;
    html! {
        h2 { (t!("updates.history")) }
        @if attempts.is_empty() { p { (t!("updates.no_history")) } }
        ol.log { @for attempt in attempts { li { (line(attempt)) } } }
    }
}

fn line(attempt: &Attempt) -> Markup {
    let Attempt { version, from, at, stage, reason, evidence } = attempt;
    html! {
        p {
            strong { (t!(format!("updates.stage.{}", stage.name()), version = version, from = from)) }
            @if !reason.is_empty() && *stage != Stage::Committed { " " (sentence(reason)) }
        }
        p.small {
            (words::moment(*at))
            @if let Some(folder) = evidence { " \u{b7} " a href={ (PATH) "/failed/" (folder) } { (t!("updates.evidence")) } }
        }
    }
}
