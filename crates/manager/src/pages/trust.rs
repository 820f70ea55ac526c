//! The trust page: how to make sure that this is the right box, and how to make browsers believe it.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

use super::plain;
use crate::shared::{House, Shared};

pub(crate) async fn get(State(shared): State<Arc<Shared>>) -> Markup {
    plain("Trust this box", body(&shared, ""))
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
        h1 { "Is this your box?" }
        p.lead {
            "The connection to your box is encrypted with a certificate that the box made itself. "
            "Nobody else vouches for it, so your browser will warn you. You can check it yourself:"
        }
        section aria-labelledby="words" {
            h2 #words { "The box\u{2019}s fingerprint" }
            ol.words { @for word in shared.authority.words() { li { (word) } } }
            p {
                "The screen of the box (HDMI or serial) shows six words, too. "
                strong { "If they are the same, this is your box." }
                " If not, somebody is in between: do not go on."
            }
        }
        @if shared.authority.is_ephemeral() {
            p.notice {
                "The data partition cannot be used, so this certificate lasts only until the next start. "
                "Do not install it; accept the browser\u{2019}s warning this once."
            }
        } @else {
            section aria-labelledby="install" {
                h2 #install { "Make the warning go away" }
                p {
                    "Install the box\u{2019}s certificate once on each phone and computer. It is good for this box and private "
                    "addresses only: it cannot vouch for any site on the Internet."
                }
                p { a.button.second href="/ca.crt" { "Download the certificate" } }
                (how())
            }
        }
        section aria-labelledby="go" {
            h2 #go { "Go on" }
            p { "Without installing, your browser warns once. Choose \u{201c}Advanced\u{201d} and go on \u{2013} the words match." }
            p { a.button href={ (https) "/" } { "Continue to the box" } }
        }
    }
}

fn how() -> Markup {
    let ways = [
        (
            "iPhone, iPad",
            "Open the download and allow the profile. Settings \u{203a} Profile Downloaded \u{203a} Install. Then Settings \
          \u{203a} General \u{203a} About \u{203a} Certificate Trust Settings: switch Homebolt on.",
        ),
        (
            "Android",
            "Settings \u{203a} Security \u{203a} More \u{203a} Encryption & credentials \u{203a} Install a certificate \u{203a} CA \
          certificate: choose the download.",
        ),
        (
            "Windows",
            "Open the download \u{203a} Install Certificate \u{203a} Current User \u{203a} Place in: Trusted Root Certification \
          Authorities.",
        ),
        (
            "macOS",
            "Open the download: it goes to Keychain Access. Double-click it there \u{203a} Trust \u{203a} Always Trust.",
        ),
        (
            "Linux, and Firefox everywhere",
            "Firefox: Settings \u{203a} Privacy & Security \u{203a} View Certificates \u{203a} Authorities \
          \u{203a} Import. Chrome: Settings \u{203a} Privacy and security \u{203a} Security \u{203a} Manage certificates.",
        ),
    ];
    html! {
        @for (system, steps) in ways {
            details { summary { (system) } p { (steps) } }
        }
    }
}
