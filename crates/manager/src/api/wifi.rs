//! The radios: what they see, and joining a network, which is tried and confirmed as every change of the network is.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::net::{Blocked, Reach, Security, Station};

use super::{
    caller::Caller,
    describe::{Body, Json},
    network::{Begun, begun},
    problem::Problem,
    types::Short,
};
use crate::{
    network::{Join, What, plan_of, stations, unfit},
    pages::network::{attempt_join, search},
    secret::Secret,
    shared::House,
};

type Home = State<Arc<House>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Wifi")]
pub(crate) struct Wifi {
    /// By the kernel; none where the box has its cable alone.
    radios: Vec<RadioOut>,
    /// The country whose rules they keep (ISO 3166-1, two letters); null: what is allowed everywhere.
    country: Option<String>,
    /// By the Wi-Fi service; null where it does not answer.
    stations: Option<Vec<StationOut>>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Radio")]
pub(crate) struct RadioOut {
    name: String,
    driver: String,
    /// Whether something keeps it silent: `no`, `soft` (by software) or `hard` (by a switch or the firmware).
    blocked: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WifiStation")]
pub(crate) struct StationOut {
    /// The kernel's name of the card.
    card: String,
    /// Its hardware address, by which it is asked to join.
    mac: String,
    powered: bool,
    /// It is looking for networks.
    scanning: bool,
    /// `connected`, `disconnected`, `connecting`, `disconnecting` or `roaming`.
    state: String,
    /// The network that the owner has it join.
    joins: Option<Joins>,
    /// The strongest first.
    networks: Vec<ReachOut>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WifiJoins")]
pub(crate) struct Joins {
    ssid: String,
    /// It does not send its name.
    hidden: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WifiNetwork")]
pub(crate) struct ReachOut {
    /// As it came through the air: may hold anything.
    ssid: String,
    signal_dbm: i16,
    /// `personal` (WPA2 or WPA3, one password), `open`, `enterprise`, `wep` or `other`.
    security: &'static str,
    connected: bool,
    /// Why it cannot be joined; null for those that can.
    unfit: Option<String>,
}

fn station(state: &twin::State, station: &Station) -> StationOut {
    let plan = station.mac.parse().ok().map(|mac| plan_of(state, mac));
    let reach = |reach: &Reach| ReachOut {
        ssid: reach.ssid.clone(),
        signal_dbm: reach.signal,
        security: match reach.security {
            Security::Personal => "personal",
            Security::Open => "open",
            Security::Enterprise => "enterprise",
            Security::Wep => "wep",
            Security::Other => "other",
        },
        connected: reach.connected,
        unfit: (reach.security != Security::Personal).then(|| unfit(reach.security)),
    };
    StationOut {
        card: station.card.clone(),
        mac: station.mac.clone(),
        powered: station.powered,
        scanning: station.scanning,
        state: station.state.clone(),
        joins: plan.and_then(|plan| plan.wifi).map(|wifi| Joins { ssid: wifi.ssid.into(), hidden: wifi.hidden }),
        networks: station.networks.iter().map(reach).collect(),
    }
}

/// `GET /network/wifi`.
pub(crate) async fn get(State(house): Home) -> Result<Json<Wifi>, Problem> {
    let state = house.shared.twin.state();
    let radios = state.wifi.radios.iter().map(|radio| RadioOut {
        name: radio.name.clone(),
        driver: radio.driver.clone(),
        blocked: match radio.blocked {
            Blocked::No => "no",
            Blocked::Soft => "soft",
            Blocked::Hard => "hard",
        },
    });
    Ok(Json(Wifi {
        radios: radios.collect(),
        country: state.netconf.country.map(String::from),
        stations: state
            .wifi
            .stations
            .as_ref()
            .map(|_| stations(&state).iter().map(|one| station(&state, one)).collect()),
    }))
}

/// `POST /network/wifi/scan`: looks for networks, which takes some seconds.
pub(crate) async fn scan(state: Home, caller: Caller) -> Result<Json<Wifi>, Problem> {
    search(&state, caller.audit("wifi-searched", "")).await?;
    get(state).await
}

/// The network that a radio is to join.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JoinWifi")]
pub(crate) struct Ask {
    /// Hardware address of the radio.
    #[schemars(regex(pattern = r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"))]
    mac: String,
    /// 1 to 32 bytes. One that is not in reach is taken for a hidden one and asked for by this name.
    ssid: Short<32>,
    /// 8 to 63 characters of ASCII, or 64 hexadecimal digits. May be left out for the network that is joined already, where
    /// the country alone changes.
    #[serde(default)]
    passphrase: Short<64>,
    /// Tried with it, for all radios of the box; left out: as it is.
    #[serde(default)]
    country: Short<2>,
}

/// `POST /network/wifi/join`.
pub(crate) async fn join(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Ask>,
) -> Result<Json<Begun, 202>, Problem> {
    // By the name alone: an empty one is a fault, and the list is the page's.
    let join = Join {
        card: ask.mac,
        ssid: ask.ssid.0,
        passphrase: Secret::new(ask.passphrase.0),
        country: ask.country.0,
        ..Join::of(What::Join)
    };
    begun(&house, attempt_join(&house, &join, |detail| caller.audit("network-tried", detail)).await?)
}

/// A radio.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ForgetWifi")]
pub(crate) struct Forget {
    /// Its hardware address.
    #[schemars(regex(pattern = r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"))]
    mac: String,
}

/// `POST /network/wifi/forget`: the radio leaves its network, and once that is confirmed the password is gone.
pub(crate) async fn forget(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Forget>,
) -> Result<Json<Begun, 202>, Problem> {
    let join = Join { card: ask.mac, ..Join::of(What::Forget) };
    begun(&house, attempt_join(&house, &join, |detail| caller.audit("network-tried", detail)).await?)
}

/// The country the box stands in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WifiCountry")]
pub(crate) struct Place {
    /// Hardware address of a radio, by which the box must still be reached, if it is.
    #[schemars(regex(pattern = r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"))]
    mac: String,
    /// ISO 3166-1, two letters.
    #[schemars(regex(pattern = r"^[A-Z]{2}$"))]
    country: Short<2>,
}

/// `POST /network/wifi/country`: its rules are tried for all radios, and each stays in its network.
pub(crate) async fn country(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Place>,
) -> Result<Json<Begun, 202>, Problem> {
    let join = Join { card: ask.mac, country: ask.country.0, ..Join::of(What::Country) };
    begun(&house, attempt_join(&house, &join, |detail| caller.audit("network-tried", detail)).await?)
}
