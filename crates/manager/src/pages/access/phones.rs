//! Paired phones: a code for the camera, and an end.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;

use super::{back, factor::empty, proof};
use crate::{
    access::{
        phones::{MOST, NAME, Phone, PhoneError, Rights, lndconnect},
        prove,
    },
    http::{came_by, extract::Form, fail::Fail},
    pages::{
        Place, complaint, csrf,
        node::{away, qr, refusal},
        owner, words,
    },
    secret::Secret,
    session::Current,
    setup::audit,
    shared::House,
};

/// Phones come to this port, unless the browser came by another one.
const PORT: u16 = 8443;

#[derive(Deserialize)]
pub(crate) struct Wanted {
    name: String,
    rights: String,
    host: String,
    proof: Secret<String>,
    #[serde(default = "empty")]
    code: Secret<String>,
}

#[derive(Deserialize)]
pub(crate) struct Ended {
    key: u64,
}

/// What was typed and is kept on a refusal.
struct Kept<'a> {
    name: &'a str,
    rights: Rights,
    host: &'a str,
}

impl Default for Kept<'_> {
    fn default() -> Self {
        // The least that is of use.
        Self { name: "", rights: Rights::Invoices, host: "" }
    }
}

/// Under what the phone may reach the box.
pub(crate) struct Door {
    /// That by which the browser came is the first: it works.
    pub(crate) hosts: Vec<String>,
    pub(crate) port: u16,
}

impl Door {
    /// The box's addresses and its name, as its certificate has them.
    pub(crate) fn of(house: &House, uri: &Uri, headers: &HeaderMap) -> Self {
        let network = house.shared.twin.state().network.clone();
        let came = came_by(uri, headers, &network);
        let permitted = network.addresses().filter(|address| house.shared.authority.permits_address(*address));
        let written = permitted.map(|address| match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        });
        let mut hosts: Vec<String> = Vec::new();
        let first = came.as_ref().map(|came| came.host().to_ascii_lowercase());
        for host in first.into_iter().chain(written).chain(["homelab.local".to_owned()]) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        // Behind a router that forwards ports the one that the browser came by is the one that works.
        Self { hosts, port: came.and_then(|came| came.port_u16()).unwrap_or(PORT) }
    }
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current, uri: Uri, headers: HeaderMap) -> Markup {
    page(&house, &session, &Door::of(&house, &uri, &headers), &Kept::default(), None)
}

/// `POST /settings/phones`: pairs one and shows its code, this once.
pub(crate) async fn pair(
    State(house): State<Arc<House>>,
    session: Current,
    uri: Uri,
    headers: HeaderMap,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Fail> {
    let door = Door::of(&house, &uri, &headers);
    let rights = Rights::from_name(&wanted.rights);
    let name = named(&wanted.name);
    let kept = Kept { name: &name, rights: rights.unwrap_or(Rights::Invoices), host: &wanted.host };
    let refuse = |words: &str| {
        Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&house, &session, &door, &kept, Some(words))).into_response())
    };
    let Some(rights) = rights else { return refuse(&t!("access.phones.no_rights")) };
    let Some(host) = door.hosts.iter().find(|host| **host == wanted.host) else {
        return refuse(&t!("access.phones.no_host"));
    };
    if name.is_empty() {
        return refuse(&t!("access.phones.no_name"));
    }
    if let Some(away) = away(&house) {
        return refuse(&away);
    }
    if let Some(words) = prove(&house, session.address, wanted.proof, &wanted.code).await? {
        return refuse(&words);
    }
    let entry = audit(&session, "phone-paired", format!("{name} ({})", rights.name()));
    let macaroon = match house.phones.pair(&house.node.client, &name, rights, entry).await {
        Ok(macaroon) => macaroon,
        Err(error) => return refuse(&words(error)?),
    };
    let url = lndconnect(host, door.port, house.shared.authority.der(), &macaroon);
    Ok(shown(&session, &name, &url).into_response())
}

/// `POST /settings/phones/end`.
pub(crate) async fn end(
    State(house): State<Arc<House>>,
    session: Current,
    uri: Uri,
    headers: HeaderMap,
    Form(Ended { key }): Form<Ended>,
) -> Result<Response, Fail> {
    let name = house.phones.list().into_iter().find(|phone| phone.key == key).map(|phone| phone.name);
    let Some(name) = name else { return Ok(Redirect::to("/settings/phones").into_response()) };
    match house.phones.end(&house.node.client, key, audit(&session, "phone-ended", name)).await {
        Ok(()) => Ok(Redirect::to("/settings/phones").into_response()),
        Err(error) => {
            let words = t!("access.phones.ended_here", why = words(error)?);
            let door = Door::of(&house, &uri, &headers);
            Ok(page(&house, &session, &door, &Kept::default(), Some(&words)).into_response())
        }
    }
}

/// A name as it is kept; empty where nothing of use was typed.
pub(crate) fn named(typed: &str) -> String {
    typed.trim().chars().filter(|letter| !letter.is_control()).take(NAME).collect()
}

/// The error as a sentence, or the failure that it is.
pub(crate) fn words(error: PhoneError) -> Result<String, Fail> {
    match error {
        PhoneError::Own(error) => Err(error.into()),
        PhoneError::Lnd(error) => Ok(refusal(&error)),
        PhoneError::Full => Ok(t!("access.phones.full", most = MOST).into_owned()),
        PhoneError::Twice => Ok(t!("access.phones.twice").into_owned()),
    }
}

fn page(house: &House, session: &Current, door: &Door, kept: &Kept<'_>, refusal: Option<&str>) -> Markup {
    let list = house.phones.list();
    let away = away(house);
    let body = html! {
        h1 { (t!("access.phones.title")) }
        p.lead { (t!("access.phones.lead")) }
        (complaint("phones-complaint", refusal))
        @if list.is_empty() { p { (t!("access.phones.none")) } }
        @else { ul.services { @for phone in &list { (entry(house, session, phone)) } } }
        section.card aria-labelledby="pair-heading" {
            h2 #pair-heading { (t!("access.phones.pair")) }
            @if let Some(away) = &away { p.notice { (away) } }
            @else {
                form method="post" action="/settings/phones" {
                    (csrf(session))
                    p.field {
                        label for="name" { (t!("access.phones.name")) }
                        input #name name="name" type="text" required maxlength=(NAME) value=(kept.name) autocomplete="off";
                    }
                    fieldset {
                        legend { (t!("access.phones.rights")) }
                        @for rights in Rights::ALL {
                            p.check {
                                input id=(rights.name()) name="rights" type="radio" value=(rights.name()) required
                                    checked[kept.rights == rights];
                                label for=(rights.name()) { (may(rights)) }
                            }
                        }
                    }
                    p.field {
                        label for="host" { (t!("access.phones.host")) }
                        select #host name="host" {
                            @for host in &door.hosts { option value=(host) selected[kept.host == host] { (host) } }
                        }
                    }
                    p.hint { (t!("access.phones.host_hint")) }
                    (proof(house, false, "phones-complaint"))
                    button { (t!("access.phones.show")) }
                }
            }
        }
        p.aside { (t!("access.phones.how")) }
        (back())
    };
    owner(&t!("access.phones.title"), session, Some(Place::Settings), body)
}

fn may(rights: Rights) -> std::borrow::Cow<'static, str> {
    match rights {
        Rights::Read => t!("access.phones.read"),
        Rights::Invoices => t!("access.phones.invoices"),
        Rights::All => t!("access.phones.all"),
    }
}

fn entry(house: &House, session: &Current, phone: &Phone) -> Markup {
    html! {
        li {
            span.name {
                (phone.name)
                @if phone.ended { " " span.badge.busy { (t!("access.phones.ended")) } }
                span.small {
                    (may(phone.rights)) ". " (t!("access.phones.since", at = words::moment(phone.made)))
                    @if let Some(seen) = house.phones.seen(phone.key) {
                        " " (t!("access.phones.seen", at = words::moment(seen)))
                    }
                }
            }
            form.row method="post" action="/settings/phones/end" {
                (csrf(session))
                input type="hidden" name="key" value=(phone.key);
                button.second aria-label=(t!("access.phones.end_of", name = phone.name)) {
                    (if phone.ended { t!("access.phones.end_again") } else { t!("access.phones.end") })
                }
            }
        }
    }
}

/// The code for the phone's camera.
fn shown(session: &Current, name: &str, url: &Secret<String>) -> Markup {
    let body = html! {
        div.narrow {
            h1 { (t!("access.phones.code_of", name = name)) }
            p.lead { (t!("access.phones.scan")) }
            div.large { (qr(url.expose())) }
            details {
                summary { (t!("access.phones.as_text")) }
                p { code.copy { (url.expose()) } }
            }
            p.notice { (t!("access.phones.once")) }
            p.row { a.button href="/settings/phones" { (t!("access.phones.scanned")) } }
        }
    };
    owner(&t!("access.phones.title"), session, Some(Place::Settings), body)
}
