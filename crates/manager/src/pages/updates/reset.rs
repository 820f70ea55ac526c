//! Back to the state of a new box: what is lost, and what must be typed first.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use rust_i18n::t;

use super::{PATH, Typed};
use crate::{
    http::{extract::Form, fail::Fail},
    pages::{
        Place, complaint, csrf,
        node::{amount::plain, msat},
        owner, restart,
    },
    session::Current,
    setup::audit,
    shared::House,
    updates::{
        install::Why,
        reset::{self, ERASE, Risk},
    },
};

const RESET: &str = "/settings/reset";

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, &Typed::default(), None)
}

/// `POST /settings/reset`.
pub(crate) async fn post(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    match reset::reset(&house, &typed.serial, &typed.amount, audit(&session, "factory-reset", "")).await {
        Ok(()) => Ok(restart::waiting().into_response()),
        Err(Why::Error(error)) => Err(error.into()),
        Err(Why::Rule(text)) => {
            let page = page(&house, &session, &typed, Some(&text));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

fn page(house: &House, session: &Current, typed: &Typed, refusal: Option<&str>) -> Markup {
    let state = house.shared.twin.state();
    let risk = Risk::of(&state, house.setup.choices().wallet.is_some());
    let serial = reset::serial(&state);
    let body = html! {
        h1 { (t!("updates.reset.title")) }
        p.lead { (t!("updates.reset.lead")) }
        ul {
            @for item in ["wallet", "channels", "settings", "kept"] { li { (t!(format!("updates.reset.{item}"))) } }
        }
        @match risk {
            Risk::Nothing => p.notice.good { (t!("updates.reset.nothing")) },
            Risk::Amount(amount) => p.notice.bad { (t!("updates.reset.amount", amount = plain(&state.money, msat(amount)))) " " a href="/channels" { (t!("node.channels.title")) } },
            Risk::Unknown => p.notice.bad { (t!("updates.reset.unknown")) },
        }
        form method="post" action=(RESET) {
            (csrf(session))
            (complaint("reset-complaint", refusal))
            (field("serial", &typed.serial, refusal.is_some(), &match serial.as_str() {
                ERASE => t!("setup.disk.type_erase"),
                serial => t!("setup.disk.type_serial", serial = serial),
            }))
            @if let Some(word) = risk.word() {
                (field("amount", &typed.amount, refusal.is_some(), &match risk {
                    Risk::Unknown => t!("updates.reset.type_unknown"),
                    _ => t!("updates.reset.type_amount", word = word),
                }))
            }
            p.row {
                button.danger { (t!("updates.reset.button")) }
                a.button.second href=(PATH) { (t!("setup.back")) }
            }
        }
    };
    owner(&t!("updates.reset.title"), session, Some(Place::Settings), html! { div.narrow { (body) } })
}

fn field(id: &str, value: &str, wrong: bool, label: &str) -> Markup {
    html! {
        p.field {
            label for=(id) { (label) }
            input id=(id) name=(id) type="text" required maxlength="128" autocomplete="off" autocapitalize="off" spellcheck="false"
                value=(value) aria-invalid=[wrong.then_some("true")] aria-describedby=[wrong.then_some("reset-complaint")];
        }
    }
}
