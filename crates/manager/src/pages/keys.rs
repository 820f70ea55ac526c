//! `/settings/keys`: keys for programs. A key is shown once, on the answer to the form that made it.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;

use super::{Place, complaint, csrf, owner, words};
use crate::{
    api::keys::{AT_MOST, Key, Scope, Wish},
    error::now,
    http::{extract::Form, fail::Fail},
    pages::node::{msat, typed_sat},
    secret::Secret,
    session::Current,
    setup::audit,
    shared::House,
};

/// Letters of a key's name.
pub(crate) const NAME: usize = 40;
/// How long a key may be good for, days; the first is what the form offers.
const DAYS: [u64; 4] = [365, 90, 30, 1];

/// What was typed, kept when the form comes back.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Typed {
    #[serde(default)]
    name: String,
    #[serde(default)]
    read: String,
    #[serde(default)]
    invoices: String,
    #[serde(default)]
    pay: String,
    #[serde(default)]
    channels: String,
    #[serde(default)]
    settings: String,
    #[serde(default)]
    wallet: String,
    #[serde(default)]
    access: String,
    #[serde(default)]
    payment: String,
    #[serde(default)]
    day: String,
    /// Days; empty: until it is revoked.
    #[serde(default)]
    days: String,
}

impl Typed {
    fn has(&self, scope: Scope) -> bool {
        let field = match scope {
            Scope::Read => &self.read,
            Scope::Invoices => &self.invoices,
            Scope::Pay => &self.pay,
            Scope::Channels => &self.channels,
            Scope::Settings => &self.settings,
            Scope::Wallet => &self.wallet,
            Scope::Access => &self.access,
        };
        field == "yes"
    }

    /// An error is a sentence.
    fn wish(&self, now: u64, keys: &[Key]) -> Result<Wish, String> {
        let scopes: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| self.has(*scope)).collect();
        let limits = match scopes.contains(&Scope::Pay) {
            true => Some(self.limits()?),
            false => None,
        };
        let expires = match self.days.trim() {
            "" => None,
            days => {
                let days = days.parse::<u64>().ok().filter(|days| DAYS.contains(days));
                Some(now.saturating_add(days.ok_or_else(|| t!("keys.bad_days").into_owned())? * 86_400))
            }
        };
        checked(Wish { name: self.name.clone(), scopes, expires, limits }, keys)
    }

    /// Of a payment and of a day, millisatoshis.
    fn limits(&self) -> Result<(u64, u64), String> {
        let needed = || t!("keys.limits_needed").into_owned();
        let payment = typed_sat(&self.payment)?.ok_or_else(needed)?;
        let day = typed_sat(&self.day)?.ok_or_else(needed)?;
        Ok((msat(payment).get(), msat(day).get()))
    }
}

/// A wish that can be made a key beside those that there are; an error is a sentence.
pub(crate) fn checked(mut wish: Wish, keys: &[Key]) -> Result<Wish, String> {
    wish.name = wish.name.trim().to_owned();
    let is_name = (1..=NAME).contains(&wish.name.chars().count()) && !wish.name.chars().any(char::is_control);
    if !is_name {
        return Err(t!("keys.bad_name", most = NAME).into_owned());
    }
    if keys.iter().any(|key| key.kept.name == wish.name) {
        return Err(t!("keys.taken", name = wish.name).into_owned());
    }
    if keys.len() >= AT_MOST {
        return Err(t!("keys.too_many", most = AT_MOST).into_owned());
    }
    if wish.scopes.is_empty() {
        return Err(t!("keys.no_scope").into_owned());
    }
    match (wish.scopes.contains(&Scope::Pay), wish.limits) {
        (true, None) => Err(t!("keys.limits_needed").into_owned()),
        (true, Some((payment, day))) if payment > day => Err(t!("keys.limits_order").into_owned()),
        _ => Ok(wish),
    }
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    let typed = Typed { read: "yes".into(), days: DAYS[0].to_string(), ..Typed::default() };
    page(&house, &session, &typed, None, None)
}

/// `POST /settings/keys`.
pub(crate) async fn make(
    State(house): State<Arc<House>>,
    session: Current,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    let wish = match typed.wish(now(), &house.api.keys.list()) {
        Ok(wish) => wish,
        Err(text) => {
            let page = page(&house, &session, &typed, Some(&text), None);
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    let entry = audit(&session, "key-made", wish.told());
    let token = house.api.keys.make(wish, entry).await?;
    let typed = Typed { read: "yes".into(), days: DAYS[0].to_string(), ..Typed::default() };
    Ok(page(&house, &session, &typed, None, Some(&token)).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Revoke {
    id: u64,
}

/// `POST /settings/keys/revoke`. Of a key that is gone already, nothing is left to do.
pub(crate) async fn revoke(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<Revoke>,
) -> Result<Redirect, Fail> {
    if let Some(key) = house.api.keys.by_id(form.id) {
        house.api.keys.revoke(form.id, audit(&session, "key-revoked", key.kept.name)).await?;
    }
    Ok(Redirect::to("/settings/keys"))
}

/// The way here, for the page of settings.
pub(crate) fn card(house: &House) -> Markup {
    html! {
        section.card aria-labelledby="keys-heading" {
            h2 #keys-heading { (t!("keys.title")) }
            p { (t!("keys.count", count = house.api.keys.list().len())) }
            p.row {
                a.button.second href="/settings/keys" { (t!("keys.title")) }
                a.button.second href="/api" { (t!("keys.docs")) }
            }
        }
    }
}

fn page(
    house: &House,
    session: &Current,
    typed: &Typed,
    refused: Option<&str>,
    made: Option<&Secret<String>>,
) -> Markup {
    let keys = house.api.keys.list();
    let body = html! {
        h1 { (t!("keys.title")) }
        p.lead { (t!("keys.lead")) " " a href="/api" { (t!("keys.docs")) } }
        @if let Some(token) = made {
            div.notice.good role="status" {
                h2 { (t!("keys.made")) }
                p { (t!("keys.made_what")) }
                p { code.copy #made-key { (token.expose()) } }
            }
        }
        div.cards {
            section.card aria-labelledby="new-heading" {
                h2 #new-heading { (t!("keys.new")) }
                (form(session, typed, refused))
            }
            section.card aria-labelledby="list-heading" {
                h2 #list-heading { (t!("keys.list")) }
                @if keys.is_empty() { p { (t!("keys.none")) } }
                ul.services { @for key in &keys { li { (one(session, key)) } } }
            }
        }
    };
    owner(&t!("keys.title"), session, Some(Place::Settings), body)
}

fn form(session: &Current, typed: &Typed, refused: Option<&str>) -> Markup {
    html! {
        form method="post" action="/settings/keys" {
            (csrf(session))
            (complaint("key-complaint", refused))
            p.field {
                label for="name" { (t!("keys.name")) }
                input #name name="name" type="text" required maxlength=(NAME) autocomplete="off" value=(typed.name);
            }
            fieldset {
                legend { (t!("keys.may")) }
                @for scope in Scope::ALL {
                    @let name = scope.name();
                    p.check {
                        input #(format!("scope-{name}")) name=(name) type="checkbox" value="yes" checked[typed.has(scope)];
                        label for=(format!("scope-{name}")) { (t!(format!("keys.scope.{name}"))) " " code { (name) } }
                    }
                }
            }
            p.hint { (t!("keys.limits_why")) }
            p.field {
                label for="payment" { (t!("keys.payment")) }
                input #payment name="payment" type="text" inputmode="numeric" maxlength="24" autocomplete="off" value=(typed.payment);
            }
            p.field {
                label for="day" { (t!("keys.day")) }
                input #day name="day" type="text" inputmode="numeric" maxlength="24" autocomplete="off" value=(typed.day);
            }
            p.field {
                label for="days" { (t!("keys.days")) }
                select #days name="days" {
                    @for days in DAYS { option value=(days) selected[typed.days == days.to_string()] { (t!("keys.for_days", days = days)) } }
                    option value="" selected[typed.days.is_empty()] { (t!("keys.for_ever")) }
                }
            }
            button { (t!("keys.make")) }
        }
    }
}

fn one(session: &Current, key: &Key) -> Markup {
    let kept = &key.kept;
    let amount = |msat: u64| twin::MilliSat::new(msat).to_string();
    let used = match kept.last_used {
        Some(at) => t!("keys.used", at = words::moment(at)),
        None => t!("keys.unused"),
    };
    html! {
        span.name {
            strong { (kept.name) }
            span.small { @for scope in &key.scopes { code { (scope.name()) } " " } }
            @if let (Some(payment), Some(day)) = (kept.payment_max, kept.day_max) {
                span.small { (t!("keys.limits", payment = amount(payment), day = amount(day))) }
            }
            span.small { (used) }
            @if let Some(end) = kept.expires {
                span.small { (if end <= now() { t!("keys.over") } else { t!("keys.until", at = words::moment(end)) }) }
            }
        }
        form.row method="post" action="/settings/keys/revoke" {
            (csrf(session))
            input type="hidden" name="id" value=(kept.id);
            button.quiet aria-label=(t!("keys.revoke_one", name = kept.name)) { (t!("keys.revoke")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed() -> Typed {
        Typed {
            name: " shop ".into(),
            pay: "yes".into(),
            payment: "1,000".into(),
            day: "5000".into(),
            ..Typed::default()
        }
    }

    #[test]
    fn a_key_that_may_pay_has_both_limits() {
        let wish = typed().wish(7, &[]).unwrap();
        assert_eq!((wish.name.as_str(), wish.limits, wish.expires), ("shop", Some((1_000_000, 5_000_000)), None));
        for (payment, day) in [("", "5000"), ("1000", ""), ("6000", "5000"), ("x", "5000"), ("0", "5000")] {
            let typed = Typed { payment: payment.into(), day: day.into(), ..typed() };
            assert!(typed.wish(7, &[]).is_err(), "{payment} {day}");
        }
    }

    #[test]
    fn a_name_a_scope_and_a_known_time_are_needed() {
        for bad in [
            Typed { name: " ".into(), ..typed() },
            Typed { name: "x".repeat(NAME + 1), ..typed() },
            Typed { name: "a\nb".into(), ..typed() },
            Typed { pay: String::new(), ..typed() },
            Typed { days: "12".into(), ..typed() },
        ] {
            assert!(bad.wish(7, &[]).is_err(), "{bad:?}");
        }
        let wish = Typed { days: "30".into(), ..typed() }.wish(7, &[]).unwrap();
        assert_eq!(wish.expires, Some(7 + 30 * 86_400));
    }
}
