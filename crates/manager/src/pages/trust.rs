//! The trust page: how to make sure that this is the right box, and how to make browsers believe it.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use rust_i18n::t;

use super::plain;
use crate::shared::{House, Shared};

pub(crate) async fn get(State(shared): State<Arc<Shared>>) -> Markup {
    plain(&t!("trust.short"), body(&shared, ""))
}

pub(crate) async fn of_house(State(house): State<Arc<House>>) -> Markup {
    get(State(house.shared.clone())).await
}

/// `GET /ca.crt`: the authority's certificate, PEM.
pub(crate) async fn certificate(State(shared): State<Arc<Shared>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/x-x509-ca-cert"),
        (header::CONTENT_DISPOSITION, "inline; filename=\"homebolt-ca.crt\""),
    ];
    (headers, shared.authority.pem().to_owned()).into_response()
}

pub(crate) async fn certificate_of_house(State(house): State<Arc<House>>) -> Response {
    certificate(State(house.shared.clone())).await
}

/// `https` is where the box is by HTTPS, without a slash at the end; empty when one is there already.
pub(crate) fn body(shared: &Shared, https: &str) -> Markup {
    html! {
        h1 { (t!("trust.title")) }
        p.lead { (t!("trust.lead")) }
        section aria-labelledby="words" {
            h2 #words { (t!("trust.fingerprint")) }
            ol.words { @for word in shared.authority.words() { li { (word) } } }
            p { (t!("trust.compare")) " " strong { (t!("trust.same")) } " " (t!("trust.other")) }
        }
        @if shared.authority.is_ephemeral() {
            p.notice { (t!("trust.ephemeral")) }
        } @else {
            section aria-labelledby="install" {
                h2 #install { (t!("trust.install")) }
                p { (t!("trust.install_what")) }
                p { a.button.second href="/ca.crt" { (t!("trust.download")) } }
                (how())
            }
        }
        section aria-labelledby="go" {
            h2 #go { (t!("trust.go")) }
            p { (t!("trust.go_what")) }
            p { a.button href={ (https) "/" } { (t!("trust.continue")) } }
        }
    }
}

/// Each system calls its menus differently, and differently in each language.
fn how() -> Markup {
    let ways = [
        ("iPhone, iPad".into(), t!("trust.how.ios")),
        ("Android".into(), t!("trust.how.android")),
        ("Windows".into(), t!("trust.how.windows")),
        ("macOS".into(), t!("trust.how.macos")),
        (t!("trust.how.others"), t!("trust.how.linux")),
    ];
    html! {
        @for (system, steps) in ways {
            details { summary { (system) } p { (steps) } }
        }
    }
}
