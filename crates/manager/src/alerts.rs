//! What the owner must know and what to do about it. The home page, `/api/v1/node/alerts` and the figures for Prometheus
//! all take it from here. Each says since when, where that is known.

use rust_i18n::t;
use schemars::JsonSchema;
use serde::Serialize;
use twin::{
    LndState, State,
    copies::{Copies, Restore},
    updates::{Job, Offered, Stage},
};

use crate::{chain, pages::words};

/// Older than this, a newest block is worth a word; on a chain of one's own it says nothing. Seconds.
const BEHIND: u64 = 90 * 60;
/// A block may say that it is from the future by so much; what is more says that this box's clock is slow. Seconds.
const AHEAD: u64 = 2 * 60 * 60;
/// For the time to come from the network after a start. Seconds.
const CLOCK: u64 = 10 * 60;
/// Below one in so many free the owner is told: at 90 %.
const SCARCE: u64 = 10;

/// An update that did not come about is told of for so long; its page tells for longer. Seconds.
const FAILED: u64 = 14 * 24 * 3600;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Severity")]
pub(crate) enum Severity {
    /// Worth a look; it goes on working, or ends by itself.
    Warning,
    /// Money is at risk, or something does not work.
    Failing,
}

impl Severity {
    pub(crate) const ALL: [Self; 2] = [Self::Warning, Self::Failing];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Failing => "failing",
        }
    }
}

/// One thing that needs the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alert {
    /// A fixed word, part of the API.
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
    /// Seconds since 1970.
    pub(crate) since: Option<u64>,
}

/// A sentence or two, and the page that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Path, and the words of the link.
    pub(crate) link: Option<(&'static str, String)>,
}

impl Alert {
    fn new(name: &'static str, severity: Severity, title: impl Into<String>) -> Self {
        Self { name, severity, title: title.into(), lines: Vec::new(), since: None }
    }

    fn since(mut self, since: u64) -> Self {
        self.since = (since > 0).then_some(since);
        self
    }

    fn say(mut self, text: impl Into<String>) -> Self {
        self.lines.push(Line { text: text.into(), link: None });
        self
    }

    fn lead(mut self, text: impl Into<String>, path: &'static str, words: impl Into<String>) -> Self {
        self.lines.push(Line { text: text.into(), link: Some((path, words.into())) });
        self
    }
}

/// All of them at `now`, seconds since 1970, in the order of the home page.
pub(crate) fn all(state: &State, now: u64) -> Vec<Alert> {
    let mut all: Vec<Alert> = clock(state, now).into_iter().collect();
    all.extend(of_copies(&state.copies, state.node.backup.channels, now));
    all.extend(lightning(state));
    all.extend(updates(state, now));
    all.extend(bitcoind(state));
    all.extend(behind(state, now));
    if is_up(state) && state.node.graph.stalled {
        let alert = Alert::new("graph", Severity::Warning, t!("node.alert.stalled"));
        all.push(alert.lead(t!("node.alert.stalled_what"), "/channels", t!("node.channels.peers")));
    }
    all.extend(disk(state));
    all.extend(name(&state.network));
    if state.resources.under_voltage == Some(true) {
        all.push(Alert::new("power", Severity::Failing, t!("alerts.power")).say(t!("updates.check.power_low")));
    }
    all
}

fn name(network: &twin::Network) -> Option<Alert> {
    let (announced, own) = (network.announced.as_ref()?, network.own_name());
    (!announced.eq_ignore_ascii_case(&own)).then(|| {
        let alert = Alert::new("name", Severity::Warning, t!("alerts.name", name = announced));
        alert.lead(t!("alerts.name_what", own = own, name = announced), "/settings/place", t!("place.title"))
    })
}

fn is_up(state: &State) -> bool {
    matches!(state.lnd.state, LndState::RpcActive | LndState::ServerActive)
}

fn lightning(state: &State) -> Option<Alert> {
    if state.lnd.state == LndState::Locked {
        let alert = Alert::new("locked", Severity::Failing, t!("node.alert.locked")).since(state.lnd.since);
        return Some(alert.lead(t!("node.alert.locked_what"), "/unlock", t!("unlock.title")));
    }
    if is_up(state) || state.node.info.since.is_none() {
        return None;
    }
    let what = t!("node.alert.down_what", since = words::moment(state.lnd.since));
    let alert = Alert::new("lightning", Severity::Warning, t!("node.alert.down")).since(state.lnd.since);
    let alert = alert.lead(what, "/unlock", t!("unlock.help"));
    Some(match state.lnd.state {
        LndState::Unreachable => alert.lead(t!("alerts.down_do"), "/restart", t!("alerts.restart")),
        _ => alert,
    })
}

fn behind(state: &State, now: u64) -> Option<Alert> {
    let info = &state.node.info;
    let is_public = matches!(info.network.as_str(), "mainnet" | "testnet" | "signet" | "testnet4");
    let is_old = is_public && info.block_time > 0 && now > info.block_time.saturating_add(BEHIND);
    let is_behind = is_up(state) && info.since.is_some() && (is_old || !info.synced_to_chain);
    is_behind.then(|| {
        let what = t!("node.alert.behind_what", height = info.height, time = words::moment(info.block_time));
        let alert = Alert::new("behind", Severity::Warning, t!("node.alert.behind")).since(info.block_time);
        alert.say(what).say(catching_up(state, now))
    })
}

/// What to do about a node that is behind, or how long it will take.
fn catching_up(state: &State, now: u64) -> String {
    if let Some(seconds) = left(state, now) {
        return t!("alerts.behind_wait", time = words::duration(seconds)).into_owned();
    }
    match state.sources.get(chain::NAME) {
        Some(health) if !health.connected => t!("alerts.behind_bitcoind").into_owned(),
        Some(_) => t!("alerts.behind_own").into_owned(),
        None => t!("alerts.behind_neutrino").into_owned(),
    }
}

/// Seconds until LND is in step with the chain, as far as that can be told.
pub(crate) fn left(state: &State, now: u64) -> Option<u64> {
    let info = &state.node.info;
    let known = state.bitcoin.chain.as_ref().map(|chain| chain.headers);
    // Without a bitcoind to ask: a block comes every ten minutes.
    let guessed = u64::from(info.height).saturating_add(now.saturating_sub(info.block_time) / 600);
    state.node.pace.left(known.unwrap_or(guessed))
}

fn clock(state: &State, now: u64) -> Option<Alert> {
    let blocks = [state.node.info.block_time, state.bitcoin.chain.as_ref().map_or(0, |chain| chain.tip_time)];
    let newest = blocks.into_iter().max().unwrap_or_default();
    let is_slow = newest > now.saturating_add(AHEAD);
    let is_unset = state.resources.clock_set == Some(false) && state.resources.uptime_seconds > CLOCK;
    let what = match (is_slow, is_unset) {
        (true, _) => t!("alerts.clock_slow", now = words::moment(now), block = words::moment(newest)),
        (false, true) => t!("alerts.clock_unset", now = words::moment(now)),
        (false, false) => return None,
    };
    Some(Alert::new("clock", Severity::Failing, t!("alerts.clock")).say(what).say(t!("alerts.clock_do")))
}

fn bitcoind(state: &State) -> Option<Alert> {
    let health = state.sources.get(chain::NAME).filter(|health| !health.connected)?;
    let mut since = t!("alerts.bitcoind_since", since = words::moment(health.since)).into_owned();
    if let Some(error) = &health.error {
        since = format!("{since} {}", words::sentence(error));
    }
    let alert = Alert::new("bitcoind", Severity::Failing, t!("alerts.bitcoind")).since(health.since).say(since);
    Some(alert.lead(t!("alerts.bitcoind_what"), "/setup/bitcoin", t!("alerts.bitcoind_do")))
}

/// Of what runs, of what is new, and of an update that did not come about.
fn updates(state: &State, now: u64) -> Vec<Alert> {
    let lead = |alert: Alert, text: &str| alert.lead(text, "/settings/updates", t!("updates.title"));
    let mut all = Vec::new();
    if let Some(why) = &state.news.withdrawn {
        let alert = Alert::new("update-withdrawn", Severity::Failing, t!("updates.alert.withdrawn"));
        all.push(lead(alert.since(state.news.answered), words::in_own_language(why).1));
    }
    let job = state.updates.job.as_ref();
    let is_bad = |job: &&Job| matches!(job.stage, Stage::Refused | Stage::Failed | Stage::FellBack);
    if let Some(job) = job.filter(is_bad).filter(|job| now.saturating_sub(job.at) < FAILED) {
        let key = if job.stage == Stage::FellBack { "updates.alert.fell_back" } else { "updates.alert.failed" };
        let alert = Alert::new("update-failed", Severity::Failing, t!(key, version = job.version)).since(job.at);
        all.push(lead(alert, &words::sentence(&job.error)));
    }
    if let Some(job) = job.filter(|job| job.stage == Stage::Installed) {
        let title = t!("updates.stage.installed", version = job.version, from = job.from);
        let alert = Alert::new("update-waits", Severity::Warning, title).since(job.at);
        all.push(lead(alert, &t!("updates.alert.waits")));
    }
    let is_new = |offer: &&Offered| state.news.refusal.is_empty() && job.is_none_or(|job| job.version != offer.version);
    if let Some(offer) = state.news.offer.as_ref().filter(is_new) {
        let severity = if offer.urgent { Severity::Failing } else { Severity::Warning };
        let alert = Alert::new("update-new", severity, t!("updates.alert.new", version = offer.version));
        let what = if offer.urgent { t!("updates.alert.urgent") } else { t!("updates.alert.new_what") };
        all.push(lead(alert.since(state.news.answered), &what));
    }
    all
}

fn disk(state: &State) -> Option<Alert> {
    let resources = &state.resources;
    let is_scarce = resources.data_total > 0 && resources.data_available < resources.data_total / SCARCE;
    is_scarce.then(|| {
        let (free, total) = (words::bytes(resources.data_available), words::bytes(resources.data_total));
        let alert = Alert::new("disk", Severity::Failing, t!("alerts.disk"));
        alert.say(t!("alerts.disk_what", free = free, total = total)).say(t!("alerts.disk_do"))
    })
}

/// Of the copies of the channel backup; `channels` is how many there are to be saved.
pub(crate) fn of_copies(copies: &Copies, channels: usize, now: u64) -> Vec<Alert> {
    let mut all = Vec::new();
    let title = || t!("backups.title");
    if copies.target.is_none() {
        if channels > 0 {
            let alert = Alert::new("backup-nowhere", Severity::Failing, t!("backups.alert.none"));
            all.push(alert.lead(t!("backups.alert.none_what"), "/settings/backup", t!("backups.choose")));
        }
    } else if let Some(since) = copies.late(now) {
        let mut what = t!("backups.alert.late_what", since = words::moment(since)).into_owned();
        if let Some(error) = &copies.error {
            what = format!("{what} {}", words::sentence(error));
        }
        let alert = Alert::new("backup-late", Severity::Failing, t!("backups.alert.late")).since(since);
        all.push(alert.lead(what, "/backups", title()));
    }
    if let Some(error) = &copies.spool_error {
        let alert = Alert::new("backup-spool", Severity::Warning, t!("backups.alert.spool"));
        all.push(alert.say(words::sentence(error)));
    }
    if let Some(shrunk) = &copies.shrunk {
        let (from, to, time) = (shrunk.from, shrunk.to, words::moment(shrunk.at));
        let alert = Alert::new("backup-shrunk", Severity::Failing, t!("backups.alert.shrunk")).since(shrunk.at);
        all.push(alert.lead(t!("backups.alert.shrunk_what", from = from, to = to, time = time), "/backups", title()));
    }
    if let Some((fault, at)) = copies.drill.as_ref().and_then(|drill| Some((drill.fault.as_ref()?, drill.at))) {
        let alert = Alert::new("backup-bad", Severity::Failing, t!("backups.alert.drill")).since(at);
        all.push(alert.lead(words::sentence(fault), "/backups", title()));
    }
    match &copies.restore {
        Some(Restore::Waiting) => {
            let alert = Alert::new("restore-waiting", Severity::Warning, t!("backups.given_waiting"));
            all.push(alert.say(t!("backups.given_waiting_what")));
        }
        Some(Restore::Failed { why, at }) => {
            let alert = Alert::new("restore-failed", Severity::Failing, t!("backups.given_failed")).since(*at);
            all.push(alert.lead(words::sentence(why), "/backups", title()));
        }
        _ => {}
    }
    all
}
