//! The wizard behind the claim: one page a step, each can be come back to.

pub(crate) mod bitcoin;
pub(crate) mod disk;
pub(crate) mod summary;
pub(crate) mod wallet;

use std::sync::Arc;

use axum::{extract::State, response::Redirect};
use maud::{Markup, html};
use rust_i18n::t;

use super::owner_refreshed;
use crate::{session::Current, setup::Step, shared::House};

/// `GET /setup`: to the first step that is not done.
pub(crate) async fn start(State(house): State<Arc<House>>) -> Redirect {
    Redirect::to(house.setup.next().map_or("/home", Step::path))
}

/// The frame of a step: where one is, and the steps that can be gone to.
pub(crate) fn page(house: &House, session: &Current, step: Step, body: Markup) -> Markup {
    framed(house, session, step, None, body)
}

/// The same for a page on which something goes on: it looks again by itself, with scripts and without.
pub(crate) fn refreshing(house: &House, session: &Current, step: Step, seconds: u32, body: Markup) -> Markup {
    framed(house, session, step, Some(seconds), body)
}

fn framed(house: &House, session: &Current, step: Step, refresh: Option<u32>, body: Markup) -> Markup {
    let title = t!(format!("setup.steps.{}", step.name()));
    let body = html! {
        div.narrow data-poll=[refresh] {
            nav.steps-nav aria-label=(t!("setup.steps_label")) {
                ol.steps {
                    @for other in Step::ALL {
                        li.done[house.setup.is_done(other)] {
                            a href=(other.path()) aria-current=[(other == step).then_some("step")] {
                                (t!(format!("setup.steps.{}", other.name())))
                            }
                        }
                    }
                }
            }
            (body)
        }
    };
    owner_refreshed(&title, session, None, refresh, body)
}

/// A text field with its label, and a hint under it.
pub(crate) fn field(id: &str, label: &str, value: &str, hint: Option<&str>) -> Markup {
    let hint_id = hint.map(|_| format!("{id}-hint"));
    html! {
        p.field {
            label for=(id) { (label) }
            input #(id) name=(id) type="text" value=(value) maxlength="512" autocomplete="off" autocapitalize="none"
                autocorrect="off" spellcheck="false" aria-describedby=[hint_id.as_deref()];
        }
        @if let Some(hint) = hint { p.hint id=[hint_id.as_deref()] { (hint) } }
    }
}
