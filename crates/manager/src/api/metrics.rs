//! `GET /metrics`: figures for Prometheus, from the twin; and the time that answers take.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use twin::{LndState, copies::Copies};

use super::{
    describe::Text,
    health::{Status, checks},
    node::state_name,
    problem::{Code, Problem},
};
use crate::{
    alerts::{self, Severity},
    error::now,
    safety::{self, Light, Reason},
    shared::House,
};

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper ends of the histogram, seconds: from a page out of the twin to a call that LND takes its time for.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

type Labels = Vec<(&'static str, String)>;

/// How long answers take, by route.
pub(crate) struct Latency {
    registry: Registry,
    times: Family<Labels, Histogram>,
}

impl Default for Latency {
    fn default() -> Self {
        let times = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let mut registry = Registry::default();
        let help = "Time from a request's head to its answer's head, seconds";
        registry.register("homebolt_http_answer_seconds", help, times.clone());
        Self { registry, times }
    }
}

/// The layer that measures. Routes are few and named by the table, so what is kept is bounded.
pub(crate) async fn measure(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", |path| path.as_str()).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    let labels = vec![("route", route), ("status", format!("{}xx", response.status().as_u16() / 100))];
    house.api.latency.times.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
    response
}

/// Gauges of one moment.
#[derive(Default)]
struct Figures(Registry);

impl Figures {
    fn one(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.0.register(format!("homebolt_{name}"), help, gauge);
    }

    fn many(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.0.register(format!("homebolt_{name}"), help, family);
    }
}

pub(crate) async fn get(State(house): State<Arc<House>>) -> Result<Text<1>, Problem> {
    let mut text = String::with_capacity(16 * 1024);
    let figures = figures(&house);
    let written = encode_registry(&mut text, &figures.0)
        .and_then(|()| encode_registry(&mut text, &house.api.latency.registry))
        .and_then(|()| encode_eof(&mut text));
    written.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    Ok(Text(([(header::CONTENT_TYPE, KIND)], text).into_response()))
}

fn figures(house: &House) -> Figures {
    let state = house.shared.twin.state();
    let mut figures = Figures::default();
    system(&mut figures, house, &state);
    lightning(&mut figures, &state);
    figures
}

fn label(name: &'static str, value: impl Into<String>) -> Labels {
    vec![(name, value.into())]
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn system(figures: &mut Figures, house: &House, state: &twin::State) {
    let release = &house.shared.release;
    let about = vec![("version", release.version.clone()), ("lnd", release.lnd_version.clone())];
    figures.many("info", "What the box runs; the value is 1", [(about, 1.0)]);
    let resources = &state.resources;
    figures.one("cpu_percent", "Share of all processors in use", resources.cpu_percent.into());
    figures.one("load1", "Load average over a minute", resources.load1.into());
    figures.one("memory_bytes", "Memory of the box", resources.memory_total as f64);
    figures.one("memory_available_bytes", "Memory that programs could have", resources.memory_available as f64);
    figures.one("data_bytes", "Size of the data partition", resources.data_total as f64);
    figures.one("data_available_bytes", "Free on the data partition", resources.data_available as f64);
    figures.one("uptime_seconds", "Since the box was started", resources.uptime_seconds as f64);
    if let Some(temperature) = resources.temperature_celsius {
        figures.one("temperature_celsius", "Hottest sensor", temperature.into());
    }
    let unit = |(name, unit): (&String, &twin::Unit)| (label("unit", name), truth(unit.active == "active"));
    figures.many("unit_active", "Whether systemd calls the unit active", state.units.iter().map(unit));
    let failed = |(name, unit): (&String, &twin::Unit)| (label("unit", name), truth(unit.active == "failed"));
    figures.many("unit_failed", "Whether systemd calls the unit failed", state.units.iter().map(failed));
    let source = |(name, health): (&String, &twin::SourceHealth)| (label("source", name), truth(health.connected));
    figures.many("source_connected", "Whether the manager can read it", state.sources.iter().map(source));
    let check = |check: super::health::Check| {
        let value = match check.status {
            Status::Ok => 0.0,
            Status::Warning => 1.0,
            Status::Failing => 2.0,
        };
        (label("check", check.name), value)
    };
    figures.many("check", "0 well, 1 worth a look, 2 does not work", checks(state, now()).into_iter().map(check));
    let alerts = alerts::all(state, now());
    let count = |severity: Severity| alerts.iter().filter(|alert| alert.severity == severity).count() as f64;
    let counts = Severity::ALL.map(|severity| (label("severity", severity.name()), count(severity)));
    figures.many("alerts", "What needs the owner, by severity; the home page shows the same", counts);
    restart(figures, state);
    copies(figures, &state.copies, now());
    updates(figures, state);
}

fn updates(figures: &mut Figures, state: &twin::State) {
    let (job, news) = (&state.updates.job, &state.news);
    let stages =
        job.iter().map(|job| (vec![("stage", job.stage.name().into()), ("version", job.version.clone())], 1.0));
    figures.many("update_stage", "1 for the stage of the update that goes on, or of the last one", stages);
    let offers = news.offer.iter().map(|offer| (label("version", &offer.version), 1.0));
    figures.many("update_offered", "1 for the version that can be had", offers);
    if news.answered > 0 {
        figures.one("channel_answered_time_seconds", "When the channel last answered", news.answered as f64);
    }
}

/// Whether a restart is safe; blocks until an HTLC is due are a figure of their own.
fn restart(figures: &mut Figures, state: &twin::State) {
    let reasons = safety::reasons(state, now());
    let light = |light: Light| f64::from(light as u8);
    let help = "Restart of the box: 0 safe, 1 better wait, 2 money is at risk; the home page shows the same";
    figures.one("restart_light", help, light(safety::light(&reasons)));
    let of = |name: &'static str| {
        let worst = reasons.iter().filter(|reason| reason.name() == name).map(|reason| reason.light()).max();
        (label("reason", name), light(worst.unwrap_or(Light::Safe)))
    };
    figures.many("restart_reason", "The same for each reason", Reason::NAMES.map(of));
}

/// Copies of the channel backup at the owner's place.
fn copies(figures: &mut Figures, copies: &Copies, now: u64) {
    figures.one(
        "backup_place",
        "Whether there is a place for copies of the channel backup",
        truth(copies.target.is_some()),
    );
    figures.one("backup_pending", "Whether a change is not saved there yet", truth(copies.pending.is_some()));
    // Without a copy there is no age: a zero would be the best there is.
    if let Some(saved) = &copies.saved {
        figures.one("backup_saved_time_seconds", "When the last copy was saved, seconds since 1970", saved.at as f64);
        let age = now.saturating_sub(saved.at);
        figures.one("backup_saved_age_seconds", "Age of the last saved copy of the channel backup", age as f64);
        figures.one("backup_saved_channels", "Channels in it", saved.channels.into());
    }
    if let Some(drill) = &copies.drill {
        figures.one("backup_verified_time_seconds", "When a copy was last read back", drill.at as f64);
        figures.one("backup_verified_good", "Whether LND accepts that copy", truth(drill.fault.is_none()));
    }
}

fn lightning(figures: &mut Figures, state: &twin::State) {
    use LndState as L;
    let all =
        [L::Unreachable, L::NonExisting, L::Locked, L::Unlocked, L::RpcActive, L::ServerActive, L::WaitingToStart];
    let states = all.map(|one| (label("state", state_name(one)), truth(one == state.lnd.state)));
    figures.many("lnd_state", "1 for the state that LND is in", states);
    let node = &state.node;
    // What was never read is left out: a zero would be a wrong figure.
    if node.info.since.is_some() {
        figures.one("block_height", "Newest block that LND knows", node.info.height.into());
        figures.one("block_time_seconds", "Its time, seconds since 1970", node.info.block_time as f64);
        figures.one("synced_to_chain", "Whether LND is in step with the chain", truth(node.info.synced_to_chain));
        figures.one("synced_to_graph", "Whether it has the graph of the network", truth(node.info.synced_to_graph));
    }
    if node.balances.since.is_some() {
        let balances = &node.balances;
        let chain =
            [("confirmed", balances.confirmed), ("unconfirmed", balances.unconfirmed), ("reserved", balances.reserved)];
        let chain = chain.map(|(kind, amount)| (label("kind", kind), amount.get() as f64));
        figures.many("chain_balance_sat", "On the chain, satoshis", chain);
        let channels = [("local", balances.local), ("remote", balances.remote), ("opening", balances.opening_local)];
        let channels = channels.map(|(side, amount)| (label("side", side), amount.get() as f64));
        figures.many("channel_balance_msat", "In channels, millisatoshis", channels);
    }
    if node.channels.since.is_some() {
        let channels = &node.channels;
        let active = channels.open.iter().filter(|channel| channel.active).count();
        let counts = [
            ("active", active),
            ("inactive", channels.open.len() - active),
            ("opening", channels.opening.len()),
            ("closing", channels.closing.len()),
        ];
        figures.many("channels", "Channels by state", counts.map(|(kind, count)| (label("state", kind), count as f64)));
        figures.one("limbo_sat", "What will come back from closing channels, satoshis", channels.limbo.get() as f64);
    }
    if node.peers.since.is_some() {
        figures.one("peers", "Connected peers", node.peers.len() as f64);
    }
    if node.htlcs.since.is_some() {
        let incoming = node.htlcs.iter().filter(|htlc| htlc.incoming).count();
        let counts = [("in", incoming), ("out", node.htlcs.len() - incoming)];
        let counts = counts.map(|(direction, count)| (label("direction", direction), count as f64));
        figures.many("htlcs", "Payments on their way through the channels", counts);
        let nearest = node.htlcs.iter().map(|htlc| htlc.blocks_left).min();
        if let Some(blocks) = nearest {
            figures.one("htlc_blocks_left", "Blocks until the most urgent HTLC is due", blocks.into());
        }
    }
    if node.payments.since.is_some() {
        let payments = &node.payments;
        let counts =
            [("in_flight", payments.in_flight), ("succeeded", payments.succeeded), ("failed", payments.failed)];
        figures.many("payments", "Payments by state", counts.map(|(kind, count)| (label("state", kind), count as f64)));
        figures.one("sent_msat", "Sum of all payments that succeeded, without fees", payments.sent.get() as f64);
        figures.one("fees_msat", "Sum of their fees", payments.fees.get() as f64);
    }
    if node.invoices.since.is_some() {
        let invoices = &node.invoices;
        let counts = [("open", invoices.open), ("settled", invoices.settled), ("canceled", invoices.canceled)];
        figures.many("invoices", "Invoices by state", counts.map(|(kind, count)| (label("state", kind), count as f64)));
        figures.one("received_msat", "Sum of all settled invoices", invoices.received.get() as f64);
    }
    if node.backup.since.is_some() {
        let changed = node.backup.changed;
        figures.one(
            "backup_changed_seconds",
            "When the channel backup last changed, seconds since 1970",
            changed as f64,
        );
        figures.one("backup_channels", "Channels in the channel backup", node.backup.channels as f64);
    }
}
