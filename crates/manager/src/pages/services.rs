//! The units of the box, and how to start one again.

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

use super::{Place, complaint, csrf, owner, words};
use crate::{
    http::{extract::Form, fail::Fail},
    request::{RESTARTABLE, Task},
    session::Current,
    setup::audit,
    shared::House,
    sources::UNITS,
};

const LND: &str = "lnd.service";
/// For the root program to begin.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
pub(crate) struct Wanted {
    unit: String,
    /// Although payments are on their way.
    #[serde(default)]
    sure: String,
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, None)
}

/// `POST /settings/services`: starts one again.
pub(crate) async fn restart(
    State(house): State<Arc<House>>,
    session: Current,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Fail> {
    let entry = |unit| audit(&session, "unit-restarted", unit);
    match begin(&house, &wanted.unit, wanted.sure == "yes", entry).await {
        // Also the manager itself: its sockets are systemd's, who asks meanwhile waits a moment.
        Ok(()) => Ok(Redirect::to("/settings/services").into_response()),
        Err(Refused::Unknown) => Err(Fail::NotFound),
        Err(Refused::Store(error)) => Err(error.into()),
        Err(Refused::Rule(text)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, Some(&text))).into_response())
        }
    }
}

/// Why a unit is not started again.
pub(crate) enum Refused {
    /// It is none of [`RESTARTABLE`].
    Unknown,
    /// A sentence.
    Rule(String),
    Store(store::Error),
}

/// Has root start a unit again. `sure`: although payments are on their way.
pub(crate) async fn begin(
    house: &House,
    wanted: &str,
    sure: bool,
    entry: impl FnOnce(&'static str) -> Audit,
) -> Result<(), Refused> {
    let unit = RESTARTABLE.into_iter().find(|unit| *unit == wanted).ok_or(Refused::Unknown)?;
    let under_way = house.shared.twin.state().node.htlcs.len();
    if unit == LND && under_way > 0 && !sure {
        return Err(Refused::Rule(t!("services.not_sure", count = under_way).into_owned()));
    }
    match house.store.audit(entry(unit)).await {
        // A full disk may be the reason for it.
        Ok(()) | Err(store::Error::Full) => {}
        Err(error) => return Err(Refused::Store(error)),
    }
    let task = if unit == LND { Task::LndRestart } else { Task::UnitRestart };
    let asked = house.desk.ask(&house.shared.run_dir, task, unit, LIMIT).await;
    asked.map(drop).map_err(|refused| Refused::Rule(words::sentence(&refused.to_string())))
}

fn page(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    let state = house.shared.twin.state();
    let under_way = state.node.htlcs.len();
    let body = html! {
        div.narrow data-poll="3" {
            h1 { (t!("services.title")) }
            p.lead { (t!("services.lead")) }
            (complaint("services-complaint", refusal))
            ul.services {
                @for name in UNITS {
                    @let unit = state.units.get(*name).cloned().unwrap_or_default();
                    @let (mood, word) = words::unit(&unit.active, &unit.sub);
                    li {
                        span.name {
                            (name) " " span.badge.(mood.class()) { (word) }
                            span.small { (unit.description) @if unit.since > 0 { " \u{b7} " (words::moment(unit.since)) } }
                        }
                        @if RESTARTABLE.contains(name) { (again(session, name, under_way)) }
                    }
                }
            }
            p.actions {
                a.button.second href="/restart" { (t!("services.box")) }
                a.button.second href="/settings" { (t!("access.back")) }
            }
        }
    };
    owner(&t!("services.title"), session, Some(Place::Settings), body)
}

fn again(session: &Current, unit: &str, under_way: usize) -> Markup {
    html! {
        form.row method="post" action="/settings/services" {
            (csrf(session))
            input type="hidden" name="unit" value=(unit);
            @if unit == LND && under_way > 0 {
                p.check {
                    input #sure name="sure" type="checkbox" value="yes";
                    label for="sure" { (t!("services.sure", count = under_way)) }
                }
            }
            button.second aria-label=(t!("services.again_of", unit = unit)) { (t!("services.again")) }
        }
    }
}
