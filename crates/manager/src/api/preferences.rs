//! What the owner sets: paying, and the box's place (language, time zone, name). Each as its page does it.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::{Sat, fiat::Unit};

use super::{
    caller::Caller,
    describe::{Body, Json},
    problem::{Code, Problem},
    types::{Amount, Short, Time},
};
use crate::{
    error::now,
    pages::payments::{ServersTyped, ShownTyped, told_limits, told_shown},
    payments::FeeLimit,
    place,
    rates::Source,
    setup::Step,
    shared::House,
};

type Home = State<Arc<House>>;

/// No fee limit is higher, hundredths of a percent.
const MOST_FEE: u16 = 5_000;
/// All bitcoin there will ever be, satoshis.
const MOST: u64 = 2_100_000_000_000_000;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PaymentSettings")]
pub(crate) struct Preferences {
    /// Above this amount the pages ask for it to be typed again.
    confirm_above_sat: Amount,
    /// The usual fee limit of a payment: hundredths of a percent of its amount, and so much on top.
    fee_limit_permyriad: u16,
    fee_limit_base_sat: Amount,
    /// How the pages show amounts: `sat` or `btc`. The API's amounts are always whole numbers.
    unit: &'static str,
    /// Who is asked what a bitcoin costs, for the pages; null: nobody.
    rates: Option<RatesOut>,
    /// Servers at home that may be asked for invoices.
    own_servers: Vec<String>,
    /// Their authority, PEM; empty where a public one has signed for them.
    own_servers_ca: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Rates")]
pub(crate) struct RatesOut {
    source: &'static str,
    /// ISO 4217.
    currency: String,
    /// Of the source `own`.
    url: String,
}

/// `GET /settings/payments`.
pub(crate) async fn payments(State(house): Home) -> Result<Json<Preferences>, Problem> {
    let now = house.payments.get();
    Ok(Json(Preferences {
        confirm_above_sat: now.limit.into(),
        fee_limit_permyriad: now.fee.permyriad,
        fee_limit_base_sat: now.fee.base.into(),
        unit: if now.shown.unit == Unit::Btc { "btc" } else { "sat" },
        rates: now.shown.rates.map(|choice| RatesOut {
            source: choice.source.name(),
            currency: choice.currency,
            url: choice.url,
        }),
        own_servers: now.servers.own,
        own_servers_ca: now.servers.ca,
    }))
}

/// Limits of the pages. The limits of a key are its own, and are set when it is made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SetPaymentLimits")]
pub(crate) struct Limits {
    #[schemars(regex(pattern = r"^(0|[1-9][0-9]{0,15})$"))]
    confirm_above_sat: String,
    #[schemars(range(min = 0, max = 5_000))]
    fee_limit_permyriad: u16,
    #[schemars(regex(pattern = r"^(0|[1-9][0-9]{0,15})$"))]
    fee_limit_base_sat: String,
}

fn sat(text: &str, name: &str) -> Result<Sat, Problem> {
    let is_plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = is_plain.then(|| text.parse::<u64>().ok()).flatten().filter(|number| *number <= MOST);
    number.map(Sat::new).ok_or_else(|| Problem::invalid(format!("{name} is a string of digits, at most \"{MOST}\"")))
}

/// `PUT /settings/payments/limits`.
pub(crate) async fn set_limits(
    state: Home,
    caller: Caller,
    Body(ask): Body<Limits>,
) -> Result<Json<Preferences>, Problem> {
    let limit = sat(&ask.confirm_above_sat, "confirm_above_sat")?;
    let fee =
        FeeLimit { permyriad: ask.fee_limit_permyriad, base: sat(&ask.fee_limit_base_sat, "fee_limit_base_sat")? };
    if fee.permyriad > MOST_FEE {
        return Err(Problem::invalid(format!("fee_limit_permyriad is at most {MOST_FEE}, which is half")));
    }
    state.payments.set_limits(limit, fee, caller.audit("payment-limits", told_limits(limit, fee))).await?;
    payments(state).await
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AmountUnit")]
pub(crate) enum Shown {
    Sat,
    Btc,
}

/// How the pages show amounts, and who tells the rate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SetAmountsShown")]
pub(crate) struct ShownAsk {
    unit: Shown,
    /// Whom to ask for a rate; left out: nobody.
    source: Option<Source>,
    /// ISO 4217; with a source.
    #[serde(default)]
    currency: Short<3>,
    /// Of the source `own`: its address, `https://`.
    #[serde(default)]
    url: Short<500>,
}

/// `PUT /settings/payments/shown`.
pub(crate) async fn set_shown(
    state: Home,
    caller: Caller,
    Body(ask): Body<ShownAsk>,
) -> Result<Json<Preferences>, Problem> {
    let unit = match ask.unit {
        Shown::Sat => "sat",
        Shown::Btc => "btc",
    };
    let source = ask.source.map_or("off", Source::name).to_owned();
    let typed = ShownTyped { unit: unit.into(), source, currency: ask.currency.0, url: ask.url.0 };
    let shown = typed.read().map_err(Problem::invalid)?;
    let told = told_shown(&shown);
    state.payments.set_shown(shown, caller.audit("amounts-shown", told)).await?;
    payments(state).await
}

/// What a bitcoin costs, as somebody says whom the owner chose to be asked.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Rate")]
pub(crate) struct RateOut {
    /// ISO 4217.
    currency: String,
    /// Hundredths of the currency for one bitcoin.
    bitcoin_hundredths: Amount,
    /// Who says so.
    source: String,
    as_of: Time,
    /// It is older than half an hour: the source does not answer.
    stale: bool,
}

/// `GET /rate`.
pub(crate) async fn rate(State(house): Home) -> Result<Json<RateOut>, Problem> {
    let rate = house.shared.twin.state().money.rate.clone();
    let rate = rate.ok_or_else(|| {
        let detail =
            "There is no rate: nobody is asked for one (see /api/v1/settings/payments), or has not answered yet.";
        Problem::new(Code::NotFound, detail)
    })?;
    Ok(Json(RateOut {
        stale: rate.is_stale(now()),
        bitcoin_hundredths: Amount::whole(rate.hundredths),
        as_of: Time(rate.at),
        currency: rate.currency,
        source: rate.source,
    }))
}

/// Servers at home whose Lightning addresses can be paid though they are at private addresses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SetOwnServers")]
pub(crate) struct ServersAsk {
    /// `host` or `host:port`.
    #[schemars(length(max = 20))]
    own_servers: Vec<String>,
    #[serde(default)]
    own_servers_ca: Short<20000>,
}

/// `PUT /settings/payments/servers`.
pub(crate) async fn set_servers(
    state: Home,
    caller: Caller,
    Body(ask): Body<ServersAsk>,
) -> Result<Json<Preferences>, Problem> {
    let typed = ServersTyped { own: ask.own_servers.join("\n"), ca: ask.own_servers_ca.0 };
    let servers = typed.read().map_err(Problem::invalid)?;
    let told = servers.own.join(", ");
    state.payments.set_servers(servers, caller.audit("own-servers", told)).await?;
    payments(state).await
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Place")]
pub(crate) struct PlaceOut {
    /// Of the pages; null: that of the browser.
    language: Option<&'static str>,
    time_zone: String,
    host_name: String,
}

/// `GET /settings/place`.
pub(crate) async fn place(State(house): Home) -> Result<Json<PlaceOut>, Problem> {
    let place = house.shared.place();
    let language = place.language.map(crate::language::Language::code);
    Ok(Json(PlaceOut { language, time_zone: place.zone_name().to_owned(), host_name: house.shared.host() }))
}

/// Where the box is. Another name changes its address, `<host_name>.local`, and its certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SetPlace")]
pub(crate) struct PlaceAsk {
    /// `en`, `de`, `fr`, `pt` or `es`.
    #[schemars(regex(pattern = r"^(en|de|fr|pt|es)$"))]
    language: String,
    /// A name of the time zone database, for example `Europe/Berlin`.
    time_zone: Short<64>,
    host_name: Short<69>,
}

/// `PUT /settings/place`.
pub(crate) async fn set_place(
    state: Home,
    caller: Caller,
    Body(ask): Body<PlaceAsk>,
) -> Result<Json<PlaceOut>, Problem> {
    let read = place::read(&ask.language, &ask.time_zone.0, &ask.host_name.0);
    let (language, zone, host) = read.map_err(|(_, text)| Problem::invalid(text))?;
    match place::take(&state, caller.actor(), language, zone, &host).await {
        Ok(()) => {
            state.setup.pass(Step::Place, caller.actor()).await?;
            self::place(state).await
        }
        Err(place::Refusal::System(what)) => Err(Problem::new(Code::Refused, crate::pages::words::sentence(&what))),
        Err(place::Refusal::Error(error)) => Err(error.into()),
    }
}
