//! Settings, Payments: limits, how amounts are shown and who tells the rate, servers at home.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use fetch::Server;
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use twin::{Sat, fiat::Unit};

use super::{Place, complaint, csrf, node::typed_sat, owner, words};
use crate::{
    http::{extract::Form, fail::Fail},
    payments::{FeeLimit, Preferences, Servers, Shown},
    rates::{self, Choice, Source},
    session::Current,
    setup::audit,
    shared::House,
};

/// No fee limit is higher: half of what is paid.
const MOST_FEE: u16 = 5_000;
/// So many servers at home are enough.
const SERVERS: usize = 20;
/// Characters of a PEM file with a few certificates.
const PEM: usize = 20_000;

/// What was typed, or what there is.
struct Typed {
    limit: String,
    percent: String,
    base: String,
    shown: ShownTyped,
    servers: ServersTyped,
}

impl Typed {
    fn of(now: &Preferences) -> Self {
        let rates = now.shown.rates.as_ref();
        Self {
            limit: now.limit.get().to_string(),
            percent: percent(now.fee.permyriad),
            base: now.fee.base.get().to_string(),
            shown: ShownTyped {
                unit: if now.shown.unit == Unit::Btc { "btc" } else { "sat" }.into(),
                source: rates.map_or("off", |choice| choice.source.name()).into(),
                currency: rates.map_or("EUR", |choice| &choice.currency).into(),
                url: rates.map(|choice| choice.url.clone()).unwrap_or_default(),
            },
            servers: ServersTyped { own: now.servers.own.join("\n"), ca: now.servers.ca.clone() },
        }
    }
}

/// `1.5`: hundredths of a percent as a percentage.
fn percent(permyriad: u16) -> String {
    let text = format!("{}.{:02}", permyriad / 100, permyriad % 100);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A percentage as it is typed, with a point or a comma, as hundredths of a percent.
fn typed_percent(text: &str) -> Option<u16> {
    let text = text.trim().trim_end_matches('%').trim().replace(',', ".");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || part.len() > 2 || !is_number(part) {
        return None;
    }
    let value = whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(format!("{part:0<2}").parse().ok()?)?;
    (value <= MOST_FEE).then_some(value)
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, &Typed::of(&house.payments.get()), None)
}

/// A form that was refused, and why.
type Refused<'a> = Option<(&'static str, &'a str)>;

fn page(house: &House, session: &Current, typed: &Typed, refused: Refused<'_>) -> Markup {
    let of = |form: &str| refused.filter(|(name, _)| *name == form).map(|(_, text)| text);
    let body = html! {
        h1 { (t!("payments.title")) }
        div.cards {
            section.card aria-labelledby="limits-heading" { (limits_card(session, typed, of("limits"))) }
            section.card aria-labelledby="shown-heading" { (shown_card(house, session, &typed.shown, of("shown"))) }
            section.card aria-labelledby="servers-heading" { (servers_card(session, &typed.servers, of("servers"))) }
        }
    };
    owner(&t!("payments.title"), session, Some(Place::Settings), body)
}

fn limits_card(session: &Current, typed: &Typed, refused: Option<&str>) -> Markup {
    html! {
        h2 #limits-heading { (t!("payments.limits")) }
        form method="post" action="/settings/payments/limits" {
            (csrf(session))
            (complaint("limits-complaint", refused))
            p.field {
                label for="limit" { (t!("payments.limit")) }
                input #limit name="limit" type="text" inputmode="numeric" maxlength="24" autocomplete="off" required
                    value=(typed.limit) aria-describedby="limit-hint";
            }
            p.hint #limit-hint { (t!("payments.limit_hint")) }
            p.field {
                label for="percent" { (t!("payments.percent")) }
                input #percent name="percent" type="text" inputmode="decimal" maxlength="8" autocomplete="off" required value=(typed.percent);
            }
            p.field {
                label for="base" { (t!("payments.base")) }
                input #base name="base" type="text" inputmode="numeric" maxlength="16" autocomplete="off" required
                    value=(typed.base) aria-describedby="base-hint";
            }
            p.hint #base-hint { (t!("payments.base_hint")) }
            button { (t!("payments.save")) }
        }
    }
}

fn shown_card(house: &House, session: &Current, typed: &ShownTyped, refused: Option<&str>) -> Markup {
    let state = house.shared.twin.state();
    let radio = |name: &str, value: &str, now: &str, text: &str| {
        let id = format!("{name}-{value}");
        html! {
            p.check {
                input #(id) name=(name) type="radio" value=(value) checked[value == now];
                label for=(id) { (text) }
            }
        }
    };
    html! {
        h2 #shown-heading { (t!("payments.shown")) }
        @if let Some(rate) = &state.money.rate {
            p { (t!("payments.now", rate = rate.show(twin::MilliSat::new(100_000_000_000)), source = rate.source, at = words::moment(rate.at))) }
        }
        @if let Some(error) = state.sources.get(rates::NAME).and_then(|health| health.error.as_ref()) {
            p.notice { (t!("payments.no_rate")) " " (words::sentence(error)) }
        }
        form method="post" action="/settings/payments/shown" {
            (csrf(session))
            (complaint("shown-complaint", refused))
            fieldset {
                legend { (t!("payments.unit")) }
                (radio("unit", "sat", &typed.unit, &t!("payments.unit_sat")))
                (radio("unit", "btc", &typed.unit, &t!("payments.unit_btc")))
            }
            fieldset {
                legend { (t!("payments.source")) }
                p.hint { (t!("payments.source_why")) }
                (radio("source", "off", &typed.source, &t!("payments.source_off")))
                @for source in Source::ALL {
                    @let text = if source == Source::Own { t!("payments.source_own") } else { t!("payments.source_host", host = source.host()) };
                    (radio("source", source.name(), &typed.source, &text))
                }
            }
            p.field {
                label for="url" { (t!("payments.url")) }
                input #url name="url" type="url" maxlength="500" autocomplete="off" value=(typed.url) aria-describedby="url-hint";
            }
            p.hint #url-hint { (t!("payments.url_hint")) }
            p.field {
                label for="currency" { (t!("payments.currency")) }
                input #currency name="currency" type="text" maxlength="3" autocomplete="off" autocapitalize="characters" list="currencies" value=(typed.currency);
                datalist #currencies { @for name in ["EUR", "USD", "CHF", "GBP", "BRL", "CAD", "AUD", "JPY"] { option value=(name) {} } }
            }
            button { (t!("payments.save")) }
        }
    }
}

fn servers_card(session: &Current, typed: &ServersTyped, refused: Option<&str>) -> Markup {
    html! {
        h2 #servers-heading { (t!("payments.servers")) }
        p { (t!("payments.servers_why")) }
        form method="post" action="/settings/payments/servers" {
            (csrf(session))
            (complaint("servers-complaint", refused))
            p.field {
                label for="own" { (t!("payments.own")) }
                textarea #own name="own" rows="3" maxlength="4000" autocomplete="off" autocapitalize="none" spellcheck="false"
                    aria-describedby="own-hint" { (typed.own) }
            }
            p.hint #own-hint { (t!("payments.own_hint")) }
            p.field {
                label for="ca" { (t!("payments.ca")) }
                textarea #ca name="ca" rows="4" maxlength=(PEM) autocomplete="off" autocapitalize="none" spellcheck="false" { (typed.ca) }
            }
            button { (t!("payments.save")) }
        }
    }
}

fn saved() -> Response {
    Redirect::to("/settings/payments").into_response()
}

fn refuse(house: &House, session: &Current, typed: &Typed, form: &'static str, text: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, page(house, session, typed, Some((form, text)))).into_response()
}

#[derive(Deserialize)]
pub(crate) struct LimitsTyped {
    pub(crate) limit: String,
    pub(crate) percent: String,
    pub(crate) base: String,
}

impl LimitsTyped {
    pub(crate) fn read(&self) -> Result<(Sat, FeeLimit), String> {
        let fee = typed_percent(&self.percent).ok_or_else(|| t!("payments.bad_percent").into_owned())?;
        Ok((sat_or_none(&self.limit)?, FeeLimit { permyriad: fee, base: sat_or_none(&self.base)? }))
    }
}

/// Limits in the words of the audit log.
pub(crate) fn told_limits(limit: Sat, fee: FeeLimit) -> String {
    format!("confirmed above {limit}, fee at most {} % and {}", percent(fee.permyriad), fee.base)
}

/// `POST /settings/payments/limits`.
pub(crate) async fn limits(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<LimitsTyped>,
) -> Result<Response, Fail> {
    match form.read() {
        Ok((limit, fee)) => {
            let entry = audit(&session, "payment-limits", told_limits(limit, fee));
            house.payments.set_limits(limit, fee, entry).await?;
            Ok(saved())
        }
        Err(text) => {
            let typed = Typed::of(&house.payments.get());
            let typed = Typed { limit: form.limit, percent: form.percent, base: form.base, ..typed };
            Ok(refuse(&house, &session, &typed, "limits", &text))
        }
    }
}

/// An amount that may be nothing.
fn sat_or_none(text: &str) -> Result<Sat, String> {
    if text.trim() == "0" {
        return Ok(Sat::ZERO);
    }
    typed_sat(text)?.ok_or_else(|| t!("node.bad_amount", text = "").into_owned())
}

#[derive(Deserialize)]
pub(crate) struct ShownTyped {
    pub(crate) unit: String,
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) currency: String,
    #[serde(default)]
    pub(crate) url: String,
}

impl ShownTyped {
    pub(crate) fn read(&self) -> Result<Shown, String> {
        let unit = if self.unit == "btc" { Unit::Btc } else { Unit::Sat };
        let Some(source) = Source::from_name(&self.source) else { return Ok(Shown { unit, rates: None }) };
        let currency = rates::currency(&self.currency).ok_or_else(|| t!("payments.bad_currency").into_owned())?;
        let url = if source == Source::Own { self.url.trim().to_owned() } else { String::new() };
        let choice = Choice { source, currency, url };
        choice.url().map_err(|_| t!("payments.bad_url").into_owned())?;
        Ok(Shown { unit, rates: Some(choice) })
    }
}

/// How amounts are shown, in the words of the audit log.
pub(crate) fn told_shown(shown: &Shown) -> String {
    match &shown.rates {
        Some(choice) => format!("rates for {} from {}", choice.currency, choice.source.name()),
        None => "no rates".into(),
    }
}

/// `POST /settings/payments/shown`.
pub(crate) async fn shown(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<ShownTyped>,
) -> Result<Response, Fail> {
    match form.read() {
        Ok(shown) => {
            let entry = audit(&session, "amounts-shown", told_shown(&shown));
            house.payments.set_shown(shown, entry).await?;
            Ok(saved())
        }
        Err(text) => {
            let typed = Typed { shown: form, ..Typed::of(&house.payments.get()) };
            Ok(refuse(&house, &session, &typed, "shown", &text))
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct ServersTyped {
    #[serde(default)]
    pub(crate) own: String,
    #[serde(default)]
    pub(crate) ca: String,
}

impl ServersTyped {
    pub(crate) fn read(&self) -> Result<Servers, String> {
        let own: Result<Vec<String>, _> =
            self.own.split_whitespace().map(|text| text.parse::<Server>().map(|server| server.to_string())).collect();
        let own = own.map_err(|error| words::sentence(&error.to_string()))?;
        if own.len() > SERVERS {
            return Err(t!("payments.too_many", count = SERVERS).into_owned());
        }
        let ca = self.ca.trim();
        if !ca.is_empty() {
            fetch::tls::Trust::new(Some(ca)).map_err(|error| words::sentence(&error.to_string()))?;
        }
        Ok(Servers { own, ca: ca.to_owned() })
    }
}

/// `POST /settings/payments/servers`.
pub(crate) async fn servers(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<ServersTyped>,
) -> Result<Response, Fail> {
    match form.read() {
        Ok(servers) => {
            let entry = audit(&session, "own-servers", servers.own.join(", "));
            house.payments.set_servers(servers, entry).await?;
            Ok(saved())
        }
        Err(text) => {
            let typed = Typed { servers: form, ..Typed::of(&house.payments.get()) };
            Ok(refuse(&house, &session, &typed, "servers", &text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::visit;

    fn encoded(form: &[(&str, &str)]) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
    }

    #[test]
    fn percentages_are_read_as_people_type_them() {
        for (text, value) in [("1", 100), ("0.5", 50), ("1,25 %", 125), ("0", 0), ("50", 5000), ("0.05", 5)] {
            assert_eq!(typed_percent(text), Some(value), "{text}");
            assert_eq!(typed_percent(&percent(value)), Some(value));
        }
        for wrong in ["", "-1", "51", "1.234", ".", "a", "1e1", "99999", ".5"] {
            assert_eq!(typed_percent(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_is_set_is_kept_and_what_is_wrong_keeps_what_was_typed() {
        let mut visit = visit().await;
        visit.own().await;
        let answer = visit
            .post("/settings/payments/limits", &encoded(&[("limit", "5,000"), ("percent", "0,5"), ("base", "0")]))
            .await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        let now = visit.house.payments.get();
        assert_eq!((now.limit, now.fee), (Sat::new(5000), FeeLimit { permyriad: 50, base: Sat::ZERO }));
        assert_eq!(visit.house.store.setting::<Sat>("send.limit").await.unwrap(), Some(Sat::new(5000)));
        let answer = visit
            .post("/settings/payments/limits", &encoded(&[("limit", "lots"), ("percent", "7"), ("base", "3")]))
            .await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text.contains("value=\"lots\"") && answer.text.contains("value=\"7\""), "{}", answer.text);
    }

    #[tokio::test]
    async fn nobody_is_asked_for_a_rate_unless_the_owner_chooses_whom() {
        let mut visit = visit().await;
        visit.own().await;
        let page = visit.get("/settings/payments").await.text;
        assert!(page.contains("id=\"source-off\" name=\"source\" type=\"radio\" value=\"off\" checked"), "{page}");
        for (source, url, currency) in [("own", "http://x/", "EUR"), ("own", "", "EUR"), ("kraken", "", "euros")] {
            let form = [("unit", "sat"), ("source", source), ("currency", currency), ("url", url)];
            let answer = visit.post("/settings/payments/shown", &encoded(&form)).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{source} {url} {currency}");
        }
        let form = [("unit", "btc"), ("source", "own"), ("currency", "chf"), ("url", "https://nas.local/prices")];
        assert_eq!(visit.post("/settings/payments/shown", &encoded(&form)).await.status, StatusCode::SEE_OTHER);
        let rates = visit.house.payments.get().shown.rates.unwrap();
        assert_eq!((rates.source, rates.currency.as_str()), (Source::Own, "CHF"));
    }

    #[tokio::test]
    async fn servers_at_home_are_named_by_host_and_port() {
        let mut visit = visit().await;
        visit.own().await;
        let path = "/settings/payments/servers";
        let answer = visit.post(path, &encoded(&[("own", "nas.local:8443\nhttps://x"), ("ca", "")])).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        let answer = visit.post(path, &encoded(&[("own", "nas.local"), ("ca", "no certificate")])).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        let answer = visit.post(path, &encoded(&[("own", "NAS.local:8443 box.lan"), ("ca", "")])).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(visit.house.payments.get().servers.own, ["nas.local:8443", "box.lan"]);
    }
}
