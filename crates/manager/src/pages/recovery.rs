//! What a box shows whose data cannot be used: what was found, what can be done.
//!
//! Nobody can sign in here, as the password is on the data. Who acts proves by the claim code that they stand in front
//! of the box.

use std::{
    borrow::Cow,
    sync::{Arc, PoisonError},
};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;

use super::{claim, complaint, plain, progress, restart, words::sentence};
use crate::{
    error::now,
    fault::{Fault, FaultKind, set_aside},
    http::{
        extract::{Form, Peer},
        fail::Fail,
    },
    request::{Outcome, Request, outcome},
    secret::Secret,
    shared::Shared,
};

/// A request without an answer after this long is given up; a check of a large disk may take a while.
const PATIENCE: u64 = 15 * 60;

#[derive(Deserialize)]
pub(crate) struct Typed {
    action: String,
    code: Secret<String>,
    #[serde(default)]
    confirm: String,
}

/// Which field of a form was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Code,
    Confirm,
}

/// A form that was refused, and why.
#[derive(Debug, Clone, Copy)]
struct Refused<'a> {
    request: Request,
    field: Field,
    text: &'a str,
}

pub(crate) async fn get(State(shared): State<Arc<Shared>>) -> Response {
    let Some(fault) = &shared.fault else { return Fail::Broken.into_response() };
    let answer = outcome(&shared.run_dir);
    let mut asked = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((request, at)) = *asked {
        let is_answered =
            answer.as_ref().is_some_and(|answer| answer.done && answer.name == request.name() && answer.at >= at);
        if !is_answered && now().saturating_sub(at) < PATIENCE {
            return working(request).into_response();
        }
        *asked = None;
    }
    page(fault, answer.as_ref().filter(|answer| answer.done), None).into_response()
}

/// Any other address: the same page, and the news for programs that it is not what they asked for.
pub(crate) async fn elsewhere(State(shared): State<Arc<Shared>>) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, get(State(shared)).await).into_response()
}

pub(crate) async fn post(
    State(shared): State<Arc<Shared>>,
    peer: Peer,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    let Some(fault) = &shared.fault else { return Err(Fail::Broken) };
    let request = Request::from_name(&typed.action).filter(|request| fault.offers(*request));
    let Some(request) = request else { return Err(Fail::Form(StatusCode::BAD_REQUEST)) };
    let show = |field, text: &str| page(fault, None, Some(Refused { request, field, text }));
    if request == Request::DataFormat && typed.confirm.trim() != fault.erase_word() {
        let text = t!("recovery.type", word = fault.erase_word());
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, show(Field::Confirm, &text)).into_response());
    }
    if let Err(refusal) = shared.claim.check(typed.code.expose()) {
        tracing::warn!(address = %peer.0, ?refusal, "a claim code was refused");
        return Ok(claim::refused(refusal, |text| show(Field::Code, text)));
    }
    tracing::warn!(address = %peer.0, request = request.name(), "asked for with the claim code");
    *shared.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some((request, now()));
    let outcome = match (request, &fault.aside) {
        (Request::SetAside, Some(file)) => set_aside(file).inspect(|()| shared.again.notify_one()),
        _ => restart::ask(&shared.run_dir, request, &typed.confirm).await,
    };
    if let Err(error) = outcome {
        *shared.asked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        return Err(error.into());
    }
    if request == Request::Reboot {
        return Ok(restart::waiting().into_response());
    }
    Ok(Redirect::to("/").into_response())
}

fn working(request: Request) -> Markup {
    let body = html! {
        h1 { (t!("recovery.work.title")) }
        p.lead role="status" {
            @match request {
                Request::Reboot => (t!("recovery.work.reboot")),
                Request::DataRetry => (t!("recovery.work.retry")),
                Request::DataRepair => (t!("recovery.work.repair")),
                Request::DataFormat => (t!("recovery.work.format")),
                Request::SetAside => (t!("recovery.work.aside")),
            }
        }
        progress aria-label=(t!("restart.waiting")) data-poll="3" data-from="/" {}
        p.aside { (t!("recovery.work.hint")) }
    };
    progress(&t!("recovery.work.title"), 3, "/", body)
}

fn page(fault: &Fault, answer: Option<&Outcome>, refused: Option<Refused>) -> Markup {
    let body = html! {
        h1 { (fault.title()) }
        p.lead {
            @if fault.kind == FaultKind::State {
                (t!("recovery.lead_state"))
            } @else {
                (t!("recovery.lead_data"))
            }
        }
        div.notice.bad {
            h2 { (t!("recovery.found")) }
            p { @if fault.detail.is_empty() { (t!("recovery.found_nothing")) } @else { (sentence(&fault.detail)) } }
            @if !fault.model.is_empty() || !fault.serial.is_empty() {
                p.small {
                    (t!("recovery.disk")) " "
                    @if fault.model.is_empty() { (t!("recovery.disk_unknown")) } @else { (fault.model) }
                    @if !fault.serial.is_empty() { ", " (t!("recovery.serial")) " " code { (fault.serial) } }
                }
            }
        }
        @if let Some(answer) = answer {
            div.notice.good[answer.ok].bad[!answer.ok] role="status" {
                h2 { @if answer.ok { (t!("recovery.done")) } @else { (t!("recovery.failed")) } }
                p { (sentence(&answer.message)) }
            }
        }
        h2 { (t!("recovery.options")) }
        p { (t!("recovery.options_what")) }
        @for request in Request::OFFERED {
            @if fault.offers(request) { (offer(fault, request, refused)) }
        }
        (claim::doubt())
    };
    plain(&fault.title(), body)
}

fn offer(fault: &Fault, request: Request, refused: Option<Refused>) -> Markup {
    let name = request.name();
    let refused = refused.filter(|refused| refused.request == request);
    let refusal = refused.map(|refused| refused.text);
    let complaint_id = format!("{name}-complaint");
    let wrong = |field| refused.is_some_and(|refused| refused.field == field);
    let described = |field| wrong(field).then_some(complaint_id.as_str());
    let invalid = |field| wrong(field).then_some("true");
    let (title, button) = match request {
        Request::DataRetry => (t!("recovery.retry"), t!("recovery.retry")),
        Request::DataRepair => (t!("recovery.repair"), t!("recovery.repair_go")),
        Request::SetAside => (t!("recovery.aside"), t!("recovery.aside_go")),
        Request::DataFormat => (t!("recovery.format"), t!("recovery.format_go")),
        Request::Reboot => (t!("home.restart"), t!("restart.short")),
    };
    html! {
        details open[refusal.is_some()] {
            summary { (title) }
            p { (explanation(fault.kind, request)) }
            form method="post" action="/recovery" {
                input type="hidden" name="action" value=(name);
                (complaint(&complaint_id, refusal))
                @if request == Request::DataFormat {
                    p.field {
                        label for="confirm" {
                            @if fault.serial.is_empty() { (t!("recovery.type_word", word = fault.erase_word())) }
                            @else { (t!("recovery.type_serial", serial = fault.serial)) }
                        }
                        input #confirm name="confirm" type="text" required autocomplete="off" autocapitalize="off" spellcheck="false"
                            aria-invalid=[invalid(Field::Confirm)] aria-describedby=[described(Field::Confirm)];
                    }
                }
                p.field {
                    label for={ (name) "-code" } { (t!("claim.code")) }
                    input.code id={ (name) "-code" } name="code" type="text" required autocomplete="one-time-code"
                        autocapitalize="characters" autocorrect="off" spellcheck="false" maxlength="32" placeholder="ABCD-EFGH"
                        aria-invalid=[invalid(Field::Code)] aria-describedby=[described(Field::Code)];
                }
                button.danger[request == Request::DataFormat] { (button) }
            }
        }
    }
}

fn explanation(kind: FaultKind, request: Request) -> Cow<'static, str> {
    match (request, kind) {
        (Request::DataRetry, FaultKind::Missing) => t!("recovery.why.retry_missing"),
        (Request::DataRetry, FaultKind::Away) => t!("recovery.why.retry_away"),
        (Request::DataRetry, _) => t!("recovery.why.retry"),
        (Request::DataRepair, _) => t!("recovery.why.repair"),
        (Request::DataFormat, FaultKind::Missing) => t!("recovery.why.format_missing"),
        (Request::DataFormat, FaultKind::Away) => t!("recovery.why.format_away"),
        (Request::DataFormat, _) => t!("recovery.why.format"),
        (Request::SetAside, _) => t!("recovery.why.aside"),
        (Request::Reboot, FaultKind::State) => t!("recovery.why.reboot_state"),
        (Request::Reboot, _) => t!("recovery.why.reboot"),
    }
}
