//! Updates without a network: a bundle that is uploaded, or one on a USB stick.

use std::sync::{Arc, PoisonError};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;

use super::{PATH, Typed, offer};
use crate::{
    copies::sticks,
    http::{UPLOAD, extract::Form, fail::Fail},
    pages::{Place, complaint, csrf, owner, words},
    session::Current,
    setup::audit,
    shared::House,
    updates::{
        judge,
        receive::{self, Upload},
        stick,
    },
};

const STICK: &str = "/settings/updates/stick";

/// What was uploaded, and the form.
pub(super) fn section(house: &House, session: &Current) -> Markup {
    let upload = house.updates.upload();
    html! {
        @if let Upload::Ready(update) = &upload {
            @let judged = judge(house, update, false);
            section.card aria-labelledby="uploaded-heading" {
                h2 #uploaded-heading { (t!("updates.upload.ready")) }
                (offer::description(update, judged.as_ref().is_ok_and(|one_way| *one_way)))
                (offer::install(house, session, update, judged.as_ref().err().map(AsRef::as_ref), "upload", html! {}))
                form.row method="post" action={ (PATH) "/discard" } {
                    (csrf(session))
                    button.second { (t!("updates.upload.discard")) }
                }
            }
        }
        details open[matches!(upload, Upload::Failed(_) | Upload::Coming)] {
            summary { (t!("updates.upload.title")) }
            @match &upload {
                Upload::Failed(why) => p.complaint { (t!("updates.upload.failed")) " " (why) },
                Upload::Coming => p role="status" { (t!("updates.upload.coming")) },
                _ => {}
            }
            p { (t!("updates.upload.what")) }
            form method="post" action=(UPLOAD) enctype="multipart/form-data" {
                (csrf(session))
                (file("description", &t!("updates.upload.description"), ".json,application/json"))
                (file("bundle", &t!("updates.upload.bundle"), ".raucb"))
                button { (t!("updates.upload.button")) }
            }
            p.hint { (t!("updates.upload.hint")) }
            p { a href=(STICK) { (t!("updates.stick.title")) } }
        }
    }
}

fn file(id: &str, label: &str, accept: &str) -> Markup {
    html! {
        p.field {
            label for=(id) { (label) }
            input id=(id) name=(id) type="file" accept=(accept) required;
        }
    }
}

/// `POST /settings/updates/upload`.
pub(crate) async fn upload(
    State(house): State<Arc<House>>,
    session: Current,
    request: Request,
) -> Result<Response, Fail> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let boundary = kind.and_then(|kind| multer::parse_boundary(kind).ok());
    let boundary = boundary.ok_or(Fail::Form(StatusCode::BAD_REQUEST))?;
    match receive::receive(&house, request.into_body().into_data_stream(), &boundary).await {
        Ok(()) => {
            house.store.audit(audit(&session, "bundle-uploaded", "")).await?;
            Ok(Redirect::to(PATH).into_response())
        }
        Err(why) => Ok((StatusCode::UNPROCESSABLE_ENTITY, super::page(&house, &session, Some(&why))).into_response()),
    }
}

/// `GET /settings/updates/stick`.
pub(crate) async fn stick(State(house): State<Arc<House>>, session: Current) -> Markup {
    show(&house, &session, None).await
}

/// `POST /settings/updates/stick`: looks for sticks, or opens the one with that serial number.
pub(crate) async fn open(State(house): State<Arc<House>>, session: Current, Form(typed): Form<Typed>) -> Response {
    let done = if typed.serial.is_empty() {
        sticks::look(&house).await.map(drop)
    } else {
        sticks::mount(&house, &typed.serial).await
    };
    match done {
        Ok(()) => Redirect::to(STICK).into_response(),
        Err(why) => {
            let page = show(&house, &session, Some(&words::sentence(&why))).await;
            (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
        }
    }
}

async fn show(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    let sticks = house.copies.sticks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let pairs = stick::list(house).await;
    let body = html! {
        h1 { (t!("updates.stick.title")) }
        p.lead { (t!("updates.stick.lead")) }
        (complaint("stick-complaint", refusal))
        @for stick in sticks.iter().flatten() {
            div.card {
                h2 { (stick.model) }
                p.small { (stick.label) " " (stick.serial) " \u{b7} " (words::bytes(stick.bytes)) }
                @if stick.fault.is_empty() {
                    form.row method="post" action=(STICK) {
                        (csrf(session))
                        input type="hidden" name="serial" value=(stick.serial);
                        button.second { (t!("updates.stick.open")) }
                    }
                } @else { p { (stick.fault) } }
            }
        }
        @if sticks.as_ref().is_some_and(Vec::is_empty) { p { (t!("updates.stick.none")) } }
        form.row method="post" action=(STICK) {
            (csrf(session))
            button.second[pairs.is_some()] { (t!("updates.stick.look")) }
        }
        @if let Some(pairs) = &pairs {
            h2 { (t!("updates.stick.there")) }
            @if pairs.is_empty() { p { (t!("updates.stick.empty")) } }
            @for pair in pairs { (one(house, session, pair)) }
        }
        p.actions { a.button.second href=(PATH) { (t!("setup.back")) } }
    };
    owner(&t!("updates.stick.title"), session, Some(Place::Settings), html! { div.narrow { (body) } })
}

fn one(house: &House, session: &Current, pair: &stick::Pair) -> Markup {
    html! {
        section.card aria-label=(pair.name) {
            h3 { (pair.name) }
            @match &pair.read {
                Err(why) => p.complaint { (why) },
                Ok(stick::Judged { update, judged }) => {
                    (offer::description(update, judged.as_ref().is_ok_and(|one_way| *one_way)))
                    (offer::install(house, session, update, judged.as_ref().err().map(AsRef::as_ref), "stick", html! {
                        input type="hidden" name="name" value=(pair.name);
                    }))
                }
            }
        }
    }
}
