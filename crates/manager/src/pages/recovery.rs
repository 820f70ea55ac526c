//! What a box shows whose data cannot be used: what was found, what can be done.
//!
//! Nobody can sign in here, as the password is on the data. Who acts proves by the claim code that they stand in front
//! of the box.

use std::sync::{Arc, PoisonError};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
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
        let text = format!("Type {} to confirm. Nothing was erased.", fault.erase_word());
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
        h1 { "The box is at work" }
        p.lead role="status" {
            @match request {
                Request::Reboot => "It restarts. This takes a minute or two.",
                Request::DataRetry => "It looks for the data partition again.",
                Request::DataRepair => "It checks and repairs the data partition. On a large disk this can take some minutes.",
                Request::DataFormat => "It makes an empty data partition.",
                Request::SetAside => "It begins without the damaged file.",
            }
        }
        progress aria-label="Waiting for the box" data-poll="3" data-from="/" {}
        p.aside { "This page asks for news every few seconds. Do not switch the box off." }
    };
    progress("At work", 3, "/", body)
}

fn page(fault: &Fault, answer: Option<&Outcome>, refused: Option<Refused>) -> Markup {
    let body = html! {
        h1 { (fault.title()) }
        p.lead {
            @if fault.kind == FaultKind::State {
                "The box has started, but nobody can sign in. Lightning is not touched by this and goes on if it was running."
            } @else {
                "The box has started without its data. It changes nothing there by itself, and no wallet is running."
            }
        }
        div.notice.bad {
            h2 { "What was found" }
            p { @if fault.detail.is_empty() { "Nothing more is known." } @else { (sentence(&fault.detail)) } }
            @if !fault.model.is_empty() || !fault.serial.is_empty() {
                p.small {
                    "Disk: " (if fault.model.is_empty() { "unknown model" } else { &fault.model })
                    @if !fault.serial.is_empty() { ", serial number " code { (fault.serial) } }
                }
            }
        }
        @if let Some(answer) = answer {
            div.notice.good[answer.ok].bad[!answer.ok] role="status" {
                h2 { @if answer.ok { "Done" } @else { "That did not work" } }
                p { (sentence(&answer.message)) }
            }
        }
        h2 { "What you can do" }
        p { "Each of these asks for the claim code that the screen of the box shows." }
        @for request in Request::OFFERED {
            @if fault.offers(request) { (offer(fault, request, refused)) }
        }
        p.aside { "Not sure that this is your box? " a href="/trust" { "Compare its fingerprint" } "." }
    };
    plain(fault.title(), body)
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
        Request::DataRetry => ("Look again", "Look again"),
        Request::DataRepair => ("Repair it", "Check and repair"),
        Request::SetAside => ("Begin without the damaged file", "Set it aside"),
        Request::DataFormat => ("Start empty", "Erase and start empty"),
        Request::Reboot => ("Restart the box", "Restart"),
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
                            @if fault.serial.is_empty() { "To confirm, type ERASE" }
                            @else { "To confirm, type the disk\u{2019}s serial number: " (fault.serial) }
                        }
                        input #confirm name="confirm" type="text" required autocomplete="off" autocapitalize="off" spellcheck="false"
                            aria-invalid=[invalid(Field::Confirm)] aria-describedby=[described(Field::Confirm)];
                    }
                }
                p.field {
                    label for={ (name) "-code" } { "Claim code" }
                    input.code id={ (name) "-code" } name="code" type="text" required autocomplete="one-time-code"
                        autocapitalize="characters" autocorrect="off" spellcheck="false" maxlength="32" placeholder="ABCD-EFGH"
                        aria-invalid=[invalid(Field::Code)] aria-describedby=[described(Field::Code)];
                }
                button.danger[request == Request::DataFormat] { (button) }
            }
        }
    }
}

fn explanation(kind: FaultKind, request: Request) -> &'static str {
    match (request, kind) {
        (Request::DataRetry, FaultKind::Missing) => {
            "If the disk was not plugged in properly, plug it in and look again. Nothing is written."
        }
        (Request::DataRetry, _) => "Looks at the data partition once more. Nothing is written.",
        (Request::DataRepair, _) => {
            "Checks the file system and mends what can be mended. If the wallet is on this disk and matters to you, make a copy of \
             the disk first: what the repair takes away is gone."
        }
        (Request::DataFormat, FaultKind::Missing) => {
            "Makes a new, empty data partition on the disk that the box started from. The box begins as new. A wallet that was on \
             another disk is not touched."
        }
        (Request::DataFormat, _) => {
            "Erases everything on the data partition: settings, and with them a wallet and its channels, if there is one. Without a \
             backup that money is lost. The box begins as new."
        }
        (Request::SetAside, _) => {
            "The file is renamed, not deleted. If it is the database, you set a new password afterwards and the audit log begins \
             anew; if it is the certificate, browsers must be made to trust the new one. Lightning and the wallet stay as they are."
        }
        (Request::Reboot, FaultKind::State) => {
            "A restart helps when the trouble was a passing one, or when the other system must run: a system that is older than its \
             data does not open it."
        }
        (Request::Reboot, _) => "A restart helps when the disk was only slow to appear.",
    }
}
