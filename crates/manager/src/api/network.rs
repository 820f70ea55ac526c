//! The network: what was found, and changes, as its page makes them.

use std::{net::IpAddr, sync::Arc};

use axum::extract::State;
use netconf::{Ending, NotJoined};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::net::Origin;

use super::{
    caller::Caller,
    describe::{Body, Json, Nothing},
    problem::{Code, Problem},
    types::Short,
};
use crate::{
    network::{Typed, cards, findings, shown, uptime},
    pages::{
        network::{Attempt, TRIAL, attempt, confirm, take_back, trial},
        words::{Mood, sentence},
    },
    secret::Secret,
    shared::House,
};

type Home = State<Arc<House>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Network")]
pub(crate) struct Network {
    host_name: String,
    cards: Vec<Card>,
    /// What was looked at: cable, addresses, DNS, clock, internet.
    findings: Vec<Finding>,
    /// A change that is being tried.
    trial: Option<TrialOut>,
    /// How the last one ended: `confirmed`, `expired`, `withdrawn` or `failed`.
    last_trial: Option<&'static str>,
    /// Why a radio did not join in it, a word: `passphrase`, `not_in_reach`, `other_security`, `no_address`, `no_radio`,
    /// `no_service`, `country`, `rules` or `other`.
    last_trial_why: Option<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NetworkCard")]
pub(crate) struct Card {
    name: String,
    /// Hardware address.
    mac: String,
    wireless: bool,
    carrier: bool,
    addresses: Vec<Assigned>,
    gateways: Vec<IpAddr>,
    dns: Vec<IpAddr>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AssignedAddress")]
pub(crate) struct Assigned {
    address: IpAddr,
    prefix: u8,
    /// `dhcp`, `router`, `static`, `link_local` or `other`.
    from: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub(crate) struct Finding {
    name: String,
    /// `good`, `warning`, `bad` or `unknown`.
    state: &'static str,
    detail: String,
    advice: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NetworkTrial")]
pub(crate) struct TrialOut {
    /// The card that is changed.
    mac: String,
    /// The Wi-Fi network that it joins.
    ssid: Option<String>,
    /// Another country for the radios.
    country: Option<String>,
    /// Until it is taken back.
    seconds_left: u64,
}

pub(super) fn mood(mood: Mood) -> &'static str {
    match mood {
        Mood::Good => "good",
        Mood::Busy => "warning",
        Mood::Bad => "bad",
        Mood::Off => "unknown",
    }
}

/// `GET /network`.
pub(crate) async fn get(State(house): Home) -> Result<Json<Network>, Problem> {
    let state = house.shared.twin.state();
    let origin = |from| match from {
        Origin::Dhcp => "dhcp",
        Origin::Router => "router",
        Origin::Static => "static",
        Origin::LinkLocal => "link_local",
        Origin::Other => "other",
    };
    let card = |link: twin::net::Link| Card {
        addresses: link
            .addresses
            .iter()
            .map(|one| Assigned { address: one.address, prefix: one.prefix, from: origin(one.from) })
            .collect(),
        name: link.name,
        mac: link.mac,
        wireless: link.wireless,
        carrier: link.carrier,
        gateways: link.gateways,
        dns: link.dns,
    };
    let found = findings(&state).into_iter().map(|line| Finding {
        name: line.name,
        state: mood(line.mood),
        detail: sentence(&line.sentence),
        advice: line.advice,
    });
    Ok(Json(Network {
        host_name: house.shared.host(),
        cards: cards(&state).into_iter().map(card).collect(),
        findings: found.collect(),
        trial: state.netconf.trial.as_ref().map(|trial| TrialOut {
            mac: trial.plan.mac.to_string(),
            ssid: trial.plan.wifi.as_ref().map(|wifi| wifi.ssid.clone().into()),
            country: trial.country.map(String::from),
            seconds_left: trial.until.saturating_sub(uptime()),
        }),
        last_trial: state.netconf.last.as_ref().map(|last| match last.ending {
            Ending::Confirmed => "confirmed",
            Ending::Expired => "expired",
            Ending::Withdrawn => "withdrawn",
            Ending::Failed => "failed",
        }),
        last_trial_why: state.netconf.last.as_ref().and_then(|last| last.why).map(NotJoined::key),
    }))
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "V4Mode")]
pub(crate) enum V4Mode {
    Dhcp,
    Static,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "V6Mode")]
pub(crate) enum V6Mode {
    Auto,
    Static,
    Off,
}

/// A change of one card's addresses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TryNetwork")]
pub(crate) struct Change {
    /// Hardware address of the card.
    #[schemars(regex(pattern = r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"))]
    mac: String,
    v4: V4Mode,
    /// `192.168.1.50/24`; with `static`.
    #[serde(default)]
    v4_address: Short<200>,
    #[serde(default)]
    v4_gateway: Short<200>,
    v6: V6Mode,
    #[serde(default)]
    v6_address: Short<200>,
    #[serde(default)]
    v6_gateway: Short<200>,
    #[serde(default)]
    #[schemars(length(max = 8))]
    dns: Vec<IpAddr>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NetworkTrialBegun")]
pub(crate) struct Begun {
    /// Keeps the change, sent to `/api/v1/network/confirm` or typed on the page under one of the addresses.
    code: String,
    /// From when it is live on; without the code it is taken back then.
    seconds: u64,
    /// Where the box will be found.
    urls: Vec<String>,
}

/// `POST /network/trial`.
pub(crate) async fn begin(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Change>,
) -> Result<Json<Begun, 202>, Problem> {
    if ask.dns.len() > 8 {
        return Err(Problem::invalid("there are at most 8 DNS servers"));
    }
    let typed = Typed {
        card: ask.mac,
        v4: if matches!(ask.v4, V4Mode::Static) { "static" } else { "dhcp" }.into(),
        v4_address: ask.v4_address.0,
        v4_gateway: ask.v4_gateway.0,
        v6: match ask.v6 {
            V6Mode::Auto => "auto",
            V6Mode::Static => "static",
            V6Mode::Off => "off",
        }
        .into(),
        v6_address: ask.v6_address.0,
        v6_gateway: ask.v6_gateway.0,
        dns: ask.dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        ..Typed::default()
    };
    begun(&house, attempt(&house, &typed, |detail| caller.audit("network-tried", detail)).await?)
}

/// What came of asking for a change.
pub(super) fn begun(house: &House, attempt: Attempt) -> Result<Json<Begun, 202>, Problem> {
    match attempt {
        Attempt::Begun { trial, code } => {
            Ok(Json(Begun { code: shown(&code), seconds: TRIAL, urls: trial::urls(house, &trial.plan) }))
        }
        Attempt::UnderWay => {
            Err(Problem::new(Code::Refused, "A change is being tried already. Confirm it, withdraw it, or wait."))
        }
        Attempt::Refused(text) => Err(Problem::invalid(text)),
    }
}

/// The code of a change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConfirmNetwork")]
pub(crate) struct Confirm {
    code: Short<32>,
}

/// `POST /network/confirm`.
pub(crate) async fn confirm(
    State(house): Home,
    caller: Caller,
    Body(Confirm { code }): Body<Confirm>,
) -> Result<Nothing, Problem> {
    if house.shared.twin.state().netconf.trial.is_none() {
        return Err(Problem::new(Code::Refused, "No change is being tried."));
    }
    match confirm::keep(&house, &Secret::new(code.0), true, caller.actor()).await? {
        Ok(()) => Ok(Nothing),
        Err(confirm::NotKept::Code(text) | confirm::NotKept::Root(text)) => {
            Err(Problem::new(Code::Refused, sentence(&text)))
        }
    }
}

/// `POST /network/withdraw`: back to what was before, at once. That there is nothing to take back is as good.
pub(crate) async fn withdraw(State(house): Home, caller: Caller) -> Result<Nothing, Problem> {
    take_back(&house, caller.audit("network-withdrawn", "")).await?;
    Ok(Nothing)
}
