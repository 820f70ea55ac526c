//! Language, time zone and name of the box: the wizard's first step behind the claim, and the same among the settings.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;

use super::{Place as Entry, complaint, csrf, owner, setup};
use crate::{
    http::{extract::Form, fail::Fail},
    language::{self, Language, Manner},
    place::{self, Refusal},
    session::Current,
    setup::Step,
    shared::House,
};

/// The form as it was sent.
#[derive(Clone, Deserialize)]
pub(crate) struct Typed {
    language: String,
    zone: String,
    name: String,
}

impl Typed {
    /// What is chosen now.
    fn of(house: &House) -> Self {
        let place = house.shared.place();
        let language = language::current().code().to_owned();
        Self { language, zone: place.zone_name().to_owned(), name: house.shared.host() }
    }
}

/// On which of the two pages the form stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Wizard,
    Settings,
}

impl Where {
    fn path(self) -> &'static str {
        match self {
            Self::Wizard => Step::Place.path(),
            Self::Settings => "/settings/place",
        }
    }

    /// Where one goes on.
    fn next(self) -> &'static str {
        match self {
            Self::Wizard => "/setup",
            Self::Settings => "/settings",
        }
    }
}

/// A field that was refused, and why.
struct Refused {
    field: &'static str,
    text: String,
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, Where::Wizard, &Typed::of(&house), None)
}

pub(crate) async fn settings(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, Where::Settings, &Typed::of(&house), None)
}

pub(crate) async fn post(
    State(house): State<Arc<House>>,
    session: Current,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    let answer = take(&house, &session, &headers, Where::Wizard, &typed).await?;
    if answer.status() != StatusCode::UNPROCESSABLE_ENTITY {
        house.setup.pass(Step::Place, session.actor()).await?;
    }
    Ok(answer)
}

pub(crate) async fn change(
    State(house): State<Arc<House>>,
    session: Current,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    take(&house, &session, &headers, Where::Settings, &typed).await
}

async fn take(
    house: &House,
    session: &Current,
    headers: &HeaderMap,
    at: Where,
    typed: &Typed,
) -> Result<Response, Fail> {
    let refuse = |field, text: String| {
        let refused = Refused { field, text };
        (StatusCode::UNPROCESSABLE_ENTITY, page(house, session, at, typed, Some(&refused))).into_response()
    };
    let (language, zone, host) = match place::read(&typed.language, &typed.zone, &typed.name) {
        Ok(read) => read,
        Err((field, text)) => return Ok(refuse(field, text)),
    };
    let was = house.shared.twin.state().network.local_name();
    match place::take(house, session.actor(), language, zone, &host).await {
        Ok(()) => {}
        Err(Refusal::System(what)) => return Ok(refuse("name", t!("place.refused", what = what).into())),
        Err(Refusal::Error(error)) => return Err(error.into()),
    }
    let address = format!("{host}.local");
    if address == was {
        return Ok(Redirect::to(at.next()).into_response());
    }
    // In the language that was just chosen.
    let there = language::writing(Manner::of_box(&house.shared), || renamed(session, &link(headers, &address, at)));
    Ok(there.into_response())
}

/// The same door under the new name: who came through a forwarded port goes on through it.
fn link(headers: &HeaderMap, address: &str, at: Where) -> String {
    let said = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let port = said.and_then(|host| host.rsplit_once(':')?.1.parse::<u16>().ok()).filter(|port| *port != 443);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("https://{address}{port}{}", at.next())
}

fn renamed(session: &Current, address: &str) -> Markup {
    let body = html! {
        div.narrow {
            h1 { (t!("place.renamed")) }
            p.lead { (t!("place.renamed_what")) }
            p { a.button href=(address) { (address) } }
            p.aside { (t!("place.renamed_hint")) }
        }
    };
    owner(&t!("place.renamed"), session, None, body)
}

fn page(house: &House, session: &Current, at: Where, typed: &Typed, refused: Option<&Refused>) -> Markup {
    let body = html! {
        h1 { (t!("place.title")) }
        p.lead { (t!("place.lead")) }
        form method="post" action=(at.path()) {
            (csrf(session))
            (complaint("place-complaint", refused.map(|refused| refused.text.as_str())))
            (languages(&typed.language, refused))
            (zones(&typed.zone, at, refused))
            (name(&typed.name, refused))
            @if at == Where::Wizard { button { (t!("setup.next")) } }
            @else {
                p.row {
                    button { (t!("place.save")) }
                    a.button.second href=(at.next()) { (t!("setup.back")) }
                }
            }
        }
    };
    match at {
        Where::Wizard => setup::page(house, session, Step::Place, body),
        Where::Settings => owner(&t!("place.title"), session, Some(Entry::Settings), html! { div.narrow { (body) } }),
    }
}

/// What ties a field to the complaint about it.
fn wrong(field: &str, refused: Option<&Refused>) -> bool {
    refused.is_some_and(|refused| refused.field == field)
}

fn languages(chosen: &str, refused: Option<&Refused>) -> Markup {
    let wrong = wrong("language", refused);
    html! {
        p.field {
            label for="language" { (t!("place.language")) }
            select #language name="language" aria-invalid=[wrong.then_some("true")]
                aria-describedby=[wrong.then_some("place-complaint")] {
                @for language in Language::ALL {
                    option value=(language.code()) lang=(language.code()) selected[chosen == language.code()] {
                        (language.own_name())
                    }
                }
            }
        }
    }
}

/// By region and city. A browser that runs scripts proposes the zone it is in itself.
fn zones(chosen: &str, at: Where, refused: Option<&Refused>) -> Markup {
    let wrong = wrong("zone", refused);
    let mut regions: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    for zone in place::zones() {
        if let Some((region, city)) = zone.split_once('/') {
            regions.entry(region).or_default().push((zone, city.replace('_', " ").replace('/', ", ")));
        }
    }
    let is_open = at == Where::Wizard && chosen == place::UTC && refused.is_none();
    html! {
        p.field {
            label for="zone" { (t!("place.zone")) }
            select #zone name="zone" data-zone[is_open] aria-invalid=[wrong.then_some("true")]
                aria-describedby=(if wrong { "zone-hint place-complaint" } else { "zone-hint" }) {
                option value=(place::UTC) selected[chosen == place::UTC] { (place::UTC) }
                @for (region, cities) in &regions {
                    optgroup label=(region) {
                        @for (zone, city) in cities {
                            option value=(zone) selected[chosen == *zone] { (city) }
                        }
                    }
                }
            }
        }
        p.hint #zone-hint { (t!("place.zone_hint")) }
    }
}

fn name(typed: &str, refused: Option<&Refused>) -> Markup {
    let wrong = wrong("name", refused);
    html! {
        p.field {
            label for="name" { (t!("place.name")) }
            input #name name="name" type="text" value=(typed) required maxlength="69" autocomplete="off"
                autocapitalize="none" autocorrect="off" spellcheck="false" aria-invalid=[wrong.then_some("true")]
                aria-describedby=(if wrong { "name-hint place-complaint" } else { "name-hint" });
        }
        p.hint #name-hint { (t!("place.name_hint")) }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, StatusCode};

    use super::*;
    use crate::http::tests::visit;

    #[test]
    fn the_way_to_the_new_name_keeps_a_forwarded_port() {
        for (host, expected) in [
            ("homelab.local", "https://attic.local/setup"),
            ("homelab.local:443", "https://attic.local/setup"),
            ("127.0.0.1:8443", "https://attic.local:8443/setup"),
            ("[fd00::1]", "https://attic.local/setup"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(link(&headers, "attic.local", Where::Wizard), expected, "{host}");
        }
    }

    #[tokio::test]
    async fn the_chosen_language_is_that_of_every_page_and_of_the_next_start() {
        let mut visit = visit().await;
        visit.own().await;
        let answer = visit.post("/setup/place", "language=de&zone=UTC&name=homelab").await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/setup"), "{}", answer.text);
        assert!(visit.house.setup.is_done(Step::Place));
        let page = visit.get("/settings/place").await.text;
        assert!(page.contains("<html lang=\"de\"") && page.contains("Zeitzone"), "{page}");
        let kept: Option<place::Place> = visit.house.store.setting(place::KEY).await.unwrap();
        assert_eq!(kept, Some(visit.house.shared.place()));
        assert_eq!(kept.unwrap().language, Some(Language::German));
    }

    #[tokio::test]
    async fn what_cannot_be_taken_keeps_what_was_typed_and_changes_nothing() {
        let mut visit = visit().await;
        visit.own().await;
        for (form, field) in [
            ("language=xx&zone=UTC&name=attic", "language"),
            ("language=de&zone=Moon%2FCrater&name=attic", "zone"),
            ("language=de&zone=Europe%2FBerlin&name=two+words", "name"),
        ] {
            let answer = visit.post("/setup/place", form).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{form}");
            assert!(answer.text.contains("role=\"alert\""), "{field}");
        }
        let answer = visit.post("/setup/place", "language=de&zone=Europe%2FBerlin&name=two+words").await;
        assert!(answer.text.contains("value=\"two words\""));
        assert!(answer.text.contains("value=\"Europe/Berlin\" selected"));
        assert!(!visit.house.setup.is_done(Step::Place));
        assert_eq!(visit.house.shared.place().zone, None);
    }

    #[tokio::test]
    async fn before_the_claim_a_page_speaks_the_browser_s_language() {
        let mut visit = visit().await;
        let german = visit.ask(axum::http::Method::GET, "/claim", "", &[("accept-language", "de-DE,de;q=0.9")]).await;
        assert!(german.text.contains("<html lang=\"de\""));
        assert!(visit.get("/claim").await.text.contains("<html lang=\"en\""));
    }
}
