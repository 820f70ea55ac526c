//! The box itself: health, versions, load, services, slots, settings, the audit log.

use std::{net::IpAddr, sync::Arc};

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use twin::Sat;

use super::{
    caller::Caller,
    describe::{Json, Query},
    health::{self, Check, Status},
    keys::Scope,
    problem::Problem,
    types::{Amount, Page, Part, Time},
};
use crate::{
    alerts::{self, Severity},
    error::now,
    pages,
    request::Request,
    safety::{self, Light},
    shared::House,
};

type Home = State<Arc<House>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct Health {
    /// The worst of all checks.
    status: Status,
    checks: Vec<Check>,
    restart: Restart,
}

/// Whether the box can be restarted without a risk for money; the home page shows the same light.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RestartSafety")]
pub(crate) struct Restart {
    light: Light,
    /// All of them; none when it is safe.
    reasons: Vec<RestartReason>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RestartReason")]
pub(crate) struct RestartReason {
    /// `not_known`, `htlcs`, `closing`, `backup_pending`, `backup_late` or `backup_nowhere`.
    name: &'static str,
    light: Light,
    /// What it is and what to do, for a person.
    detail: String,
    /// Until it is due, where it is a matter of blocks.
    blocks_left: Option<u32>,
}

pub(crate) async fn health(State(house): Home) -> Result<Json<Health>, Problem> {
    let state = house.shared.twin.state();
    let (checks, reasons) = (health::checks(&state, now()), safety::reasons(&state, now()));
    let out = |reason: &safety::Reason| RestartReason {
        name: reason.name(),
        light: reason.light(),
        detail: reason.sentence(),
        blocks_left: reason.blocks(),
    };
    let restart = Restart { light: safety::light(&reasons), reasons: reasons.iter().map(out).collect() };
    Ok(Json(Health { status: health::overall(&checks), checks, restart }))
}

/// What needs the owner's attention; the home page shows the same.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Alert")]
pub(crate) struct AlertOut {
    /// A fixed word, such as `locked` or `backup-late`.
    name: &'static str,
    severity: Severity,
    title: String,
    /// What it is and what to do, for a person.
    detail: String,
    /// The page of the box that helps.
    page: Option<&'static str>,
    /// Since when it is so, where that is known.
    since: Option<Time>,
}

/// `GET /node/alerts`.
pub(crate) async fn alerts(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<AlertOut>>, Problem> {
    let alerts = alerts::all(&house.shared.twin.state(), now());
    let page = part.of(&alerts, |alert| AlertOut {
        name: alert.name,
        severity: alert.severity,
        title: alert.title.clone(),
        detail: alert.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" "),
        page: alert.lines.iter().find_map(|line| Some(line.link.as_ref()?.0)),
        since: alert.since.map(Time),
    });
    page.map(Json).map_err(Problem::invalid)
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SystemInfo")]
pub(crate) struct Info {
    version: String,
    board: String,
    /// The LND that this system carries.
    lnd_version: String,
    host_name: String,
    addresses: Vec<IpAddr>,
    /// `a` or `b`; null off the box.
    slot: Option<String>,
    /// Root hash that dm-verity enforces.
    root_hash: String,
    uptime_seconds: u64,
    time: Time,
}

pub(crate) async fn info(State(house): Home) -> Result<Json<Info>, Problem> {
    let (state, release) = (house.shared.twin.state(), &house.shared.release);
    Ok(Json(Info {
        version: release.version.clone(),
        board: release.board.clone(),
        lnd_version: release.lnd_version.clone(),
        host_name: house.shared.host(),
        addresses: state.network.addresses().collect(),
        slot: state.boot.slot.map(slot_name),
        root_hash: state.boot.root_hash.clone(),
        uptime_seconds: state.resources.uptime_seconds,
        time: Time(now()),
    }))
}

pub(super) fn slot_name(slot: twin::Slot) -> String {
    format!("{slot:?}").to_lowercase()
}

/// Sizes in bytes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Resources")]
pub(crate) struct Resources {
    /// Share of all processors in use, 0 to 100.
    cpu_percent: f32,
    load1: f32,
    memory_total: u64,
    memory_available: u64,
    data_total: u64,
    data_available: u64,
    uptime_seconds: u64,
    /// Hottest sensor, degrees Celsius, where there is one.
    temperature_celsius: Option<f32>,
    /// The supply gives less than the board needs; null where the board does not report it.
    under_voltage: Option<bool>,
    /// When the firmware in the board's EEPROM was built, seconds since 1970; null where the board does not tell.
    eeprom: Option<u64>,
}

pub(crate) async fn resources(State(house): Home) -> Result<Json<Resources>, Problem> {
    let resources = house.shared.twin.state().resources.clone();
    Ok(Json(Resources {
        cpu_percent: resources.cpu_percent,
        load1: resources.load1,
        memory_total: resources.memory_total,
        memory_available: resources.memory_available,
        data_total: resources.data_total,
        data_available: resources.data_available,
        uptime_seconds: resources.uptime_seconds,
        temperature_celsius: resources.temperature_celsius,
        under_voltage: resources.under_voltage,
        eeprom: resources.eeprom,
    }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Unit")]
pub(crate) struct Unit {
    name: String,
    description: String,
    /// systemd's ActiveState.
    active: String,
    /// systemd's SubState.
    sub: String,
    since: Option<Time>,
}

pub(crate) async fn units(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<Unit>>, Problem> {
    let state = house.shared.twin.state();
    let units: Vec<_> = state.units.iter().collect();
    let page = part.of(&units, |(name, unit)| Unit {
        name: (*name).clone(),
        description: unit.description.clone(),
        active: unit.active.clone(),
        sub: unit.sub.clone(),
        since: Time::unless_never(unit.since),
    });
    page.map(Json).map_err(Problem::invalid)
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Slot")]
pub(crate) struct SlotOut {
    slot: String,
    booted: bool,
    /// The boot loader may still choose it.
    ok: bool,
    /// Boot attempts since it was last marked good.
    tries: u8,
    version: Option<String>,
    /// Why it failed, in a sentence.
    problem: Option<String>,
}

pub(crate) async fn slots(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<SlotOut>>, Problem> {
    let state = house.shared.twin.state();
    let page = part.of(&state.boot.slots, |slot| SlotOut {
        slot: slot_name(slot.slot),
        booted: slot.booted,
        ok: slot.ok,
        tries: slot.tries,
        version: slot.version.clone(),
        problem: slot.problem.clone(),
    });
    page.map(Json).map_err(Problem::invalid)
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Restarting")]
pub(crate) struct Restarting {
    /// What happens now, in a sentence.
    detail: String,
}

impl Restarting {
    pub(super) fn new(detail: &str) -> Self {
        Self { detail: detail.into() }
    }
}

pub(crate) async fn restart(State(house): Home, caller: Caller) -> Result<Json<Restarting, 202>, Problem> {
    match house.store.audit(caller.audit("restart", "")).await {
        // A full disk is a good reason to restart.
        Ok(()) | Err(store::Error::Full) => {}
        Err(error) => return Err(error.into()),
    }
    pages::restart::ask(&house.shared.run_dir, Request::Reboot, "").await?;
    Ok(Json(Restarting::new("The box restarts and is back in a minute or two.")))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Settings")]
pub(crate) struct Settings {
    /// Above this amount the pages ask for it to be typed again.
    confirm_above_sat: Amount,
}

pub(crate) async fn settings(State(house): Home) -> Result<Json<Settings>, Problem> {
    let limit: Sat = pages::node::send::limit(&house).await?;
    Ok(Json(Settings { confirm_above_sat: limit.into() }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditLine")]
pub(crate) struct AuditLine {
    id: u64,
    at: Time,
    /// `owner@address`, `key:name@address`, ...
    actor: String,
    /// What, in a fixed word.
    action: String,
    detail: String,
}

pub(crate) async fn audit(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<AuditLine>>, Problem> {
    let limit = part.limit().map_err(Problem::invalid)?;
    let before = part.cursor().map_err(Problem::invalid)?;
    let mut lines = house.store.audit_log(before, limit + 1).await?;
    let more = lines.len() > limit as usize;
    lines.truncate(limit as usize);
    let next = lines.last().filter(|_| more).map(|line| line.id.to_string());
    let items = lines.into_iter().map(|line| AuditLine {
        id: line.id,
        at: Time(line.at),
        actor: line.actor,
        action: line.action,
        detail: line.detail,
    });
    Ok(Json(Page { items: items.collect(), next, as_of: None }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(crate) struct KeyOut {
    /// `key`, or `session` for the owner's own browser.
    kind: &'static str,
    name: String,
    scopes: Vec<Scope>,
    expires_at: Option<Time>,
    /// Limits with fees; null without the scope `pay`, and for a session, which has none.
    payment_max_msat: Option<Amount>,
    day_max_msat: Option<Amount>,
    /// What the payments of the last 24 hours cost at most.
    spent_msat: Amount,
}

pub(crate) async fn key(State(house): Home, caller: Caller) -> Result<Json<KeyOut>, Problem> {
    let spent = house.store.spent(caller.id(), now()).await?;
    let amount = |msat: Option<u64>| msat.map(|msat| Amount::from(twin::MilliSat::new(msat)));
    let spent_msat = twin::MilliSat::new(spent).into();
    Ok(Json(match &caller {
        Caller::Owner(_) => KeyOut {
            kind: "session",
            name: "owner".into(),
            scopes: Scope::ALL.to_vec(),
            expires_at: None,
            payment_max_msat: None,
            day_max_msat: None,
            spent_msat,
        },
        Caller::Key { key, .. } => KeyOut {
            kind: "key",
            name: key.kept.name.clone(),
            scopes: key.scopes.clone(),
            expires_at: key.kept.expires.map(Time),
            payment_max_msat: amount(key.kept.payment_max),
            day_max_msat: amount(key.kept.day_max),
            spent_msat,
        },
    }))
}
