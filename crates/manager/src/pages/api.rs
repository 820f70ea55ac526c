//! `/api`: the API as a page, made from the same table as the document.

use std::sync::Arc;

use axum::extract::State;
use maud::{Markup, html};
use rust_i18n::t;

use super::{Place, owner};
use crate::{
    api::{
        problem::Code,
        route::{Documented, table},
    },
    session::Current,
    shared::House,
};

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    let host = house.shared.host();
    let call = format!("curl --cacert ca.crt -H 'Authorization: Bearer hbk_...' https://{host}.local/api/v1/node");
    let body = html! {
        h1 { (t!("api.title")) }
        p.lead { (t!("api.lead")) }
        p.row {
            a.button href="/settings/keys" { (t!("keys.title")) }
            a.button.second href="/api/v1/openapi.json" download="homebolt-openapi.json" { (t!("api.document")) }
        }
        section.card aria-labelledby="how-heading" {
            h2 #how-heading { (t!("api.how")) }
            p { (t!("api.how_what")) }
            p { code { (call) } }
            ul {
                li { (t!("api.amounts")) }
                li { (t!("api.pages")) }
                li { (t!("api.once")) }
                li { (t!("api.errors")) }
            }
        }
        section.card aria-labelledby="routes-heading" {
            h2 #routes-heading { (t!("api.routes")) }
            // What the operations are called is a part of the document, which is in English.
            ul.services lang="en" { @for route in table() { li { (one(&route)) } } }
        }
        section.card aria-labelledby="codes-heading" {
            h2 #codes-heading { (t!("api.codes")) }
            ul.services lang="en" {
                @for code in Code::ALL {
                    @let (name, status, title) = code.about();
                    li id=(name) { span.name { code { (name) } span.small { (title) } } span { (status.as_u16()) } }
                }
            }
        }
    };
    owner(&t!("api.title"), &session, Some(Place::Settings), body)
}

fn one(route: &Documented) -> Markup {
    html! {
        span.name {
            code { (route.method) " " (route.path) }
            span.small { (route.summary) }
        }
        span { @if let Some(scope) = route.scope() { code { (scope.name()) } } }
    }
}
