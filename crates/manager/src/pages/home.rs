//! The home page: the box as the twin has it. Each card is a fragment that the stream of events can replace.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use release::Release;
use rust_i18n::t;
use store::Kind;
use twin::{Slot, SourceHealth, Topic};

use super::{
    Place,
    node::cards,
    owner,
    setup::summary,
    words::{self, Mood},
};
use crate::{
    http::{current, extract::Peer},
    session::Current,
    setup::apply,
    shared::House,
    sse,
};

/// `GET /`: to the page that is next.
pub(crate) async fn start(State(house): State<Arc<House>>, peer: Peer, headers: HeaderMap) -> Redirect {
    let session = current(&house, &headers, peer.0);
    if session.as_ref().is_some_and(|session| session.kind == Kind::Owner) {
        return Redirect::to("/home");
    }
    Redirect::to(house.wizard.step(session.as_ref()).path())
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    let state = house.shared.twin.state();
    let card = |fragment: Fragment| {
        html! {
            section.card.(fragment.id()) #(fragment.id()) data-live aria-live=[fragment.is_announced().then_some("polite")] {
                (fragment.render(&state, &house.shared.release))
            }
        }
    };
    let name = house.shared.host();
    let body = html! {
        h1 { (name) }
        p #connection role="status" {}
        div #problems data-live aria-live="polite" { (Fragment::Problems.render(&state, &house.shared.release)) }
        @if let Some(step) = house.setup.next() {
            div.notice {
                h2 { (t!("setup.unfinished")) }
                p { a.button href=(step.path()) { (t!("setup.go_on")) } }
            }
        }
        div.cards {
            @for fragment in Fragment::ALL {
                @if !matches!(fragment, Fragment::Problems | Fragment::Apply) { (card(fragment)) }
            }
        }
        p.actions { a.button.second href="/restart" { "Restart the box" } }
    };
    owner(&name, &session, Some(Place::Home), body)
}

/// `GET /events`.
pub(crate) async fn events(State(house): State<Arc<House>>, session: Current) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], sse::stream(house, session)).into_response()
}

/// A part of the page that changes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fragment {
    Problems,
    Balances,
    Sync,
    NodeChannels,
    Activity,
    Lnd,
    Network,
    System,
    Resources,
    Units,
    /// On the wizard's last page.
    Apply,
}

impl Fragment {
    pub(crate) const ALL: [Self; 11] = [
        Self::Problems,
        Self::Balances,
        Self::Sync,
        Self::NodeChannels,
        Self::Activity,
        Self::Lnd,
        Self::Network,
        Self::System,
        Self::Resources,
        Self::Units,
        Self::Apply,
    ];

    /// The element's id and the event's name.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Problems => "problems",
            Self::Balances => "balances",
            Self::Sync => "sync",
            Self::NodeChannels => "node-channels",
            Self::Activity => "activity",
            Self::Lnd => "lnd",
            Self::Network => "network",
            Self::System => "system",
            Self::Resources => "resources",
            Self::Units => "units",
            Self::Apply => "apply",
        }
    }

    /// What it is made of.
    pub(crate) fn topics(self) -> &'static [Topic] {
        match self {
            Self::Problems => &[Topic::Boot, Topic::Sources, Topic::Resources, Topic::Lnd, Topic::Info, Topic::Graph],
            Self::Balances => &[Topic::Balances, Topic::Channels, Topic::Lnd],
            Self::Sync => &[Topic::Info, Topic::Graph, Topic::Htlcs, Topic::Lnd],
            Self::NodeChannels => &[Topic::Channels, Topic::Lnd],
            Self::Activity => &[Topic::Payments, Topic::Invoices, Topic::Transactions],
            Self::Apply => &[Topic::Jobs],
            Self::Lnd => &[Topic::Lnd, Topic::Sources],
            Self::Network => &[Topic::Network],
            Self::System => &[Topic::Boot],
            Self::Resources => &[Topic::Resources],
            Self::Units => &[Topic::Units],
        }
    }

    /// Whether a change is worth interrupting who listens to the page: load figures are not.
    fn is_announced(self) -> bool {
        matches!(self, Self::Problems | Self::Lnd)
    }

    pub(crate) fn render(self, state: &twin::State, release: &Release) -> Markup {
        match self {
            Self::Problems => problems(state),
            Self::Balances => cards::balances(state),
            Self::Sync => cards::sync(state),
            Self::NodeChannels => cards::channels(state),
            Self::Activity => cards::activity(state),
            Self::Apply => state.jobs.get(apply::NAME).map(summary::steps).unwrap_or_default(),
            Self::Lnd => lnd(state, release),
            Self::Network => network(&state.network),
            Self::System => system(&state.boot, release),
            Self::Resources => resources(&state.resources),
            Self::Units => units(state),
        }
    }
}

/// The source that has a card of its own to say why it is not connected.
const LND: &str = "lnd";
/// Below this share of free space the owner is told.
const SCARCE: u64 = 20;

fn problems(state: &twin::State) -> Markup {
    let lost: Vec<(&String, &SourceHealth)> =
        state.sources.iter().filter(|(name, health)| !health.connected && *name != LND).collect();
    let resources = &state.resources;
    let is_scarce = resources.data_total > 0 && resources.data_available < resources.data_total / SCARCE;
    html! {
        (cards::alerts(state, crate::error::now()))
        @for slot in &state.boot.slots {
            @if let Some(problem) = &slot.problem {
                div.notice.bad {
                    h2 { "System " (slot_name(slot.slot)) " did not start" }
                    p { (problem) }
                    p {
                        @if slot.booted { "It is running now, but has not been found healthy yet." }
                        @else { "The other system runs instead; your data is the same in both." }
                    }
                }
            }
        }
        @if is_scarce {
            div.notice.bad {
                h2 { "The data disk is nearly full" }
                p { "Only " (words::bytes(resources.data_available)) " of " (words::bytes(resources.data_total)) " are free." }
            }
        }
        @if !lost.is_empty() {
            div.notice {
                h2 { "Some of this may be old" }
                ul {
                    @for (name, health) in lost {
                        li {
                            strong { (source_name(name)) } ": not connected since " (words::moment(health.since))
                            @if let Some(error) = &health.error { ". " (words::sentence(error)) }
                        }
                    }
                }
            }
        }
    }
}

fn lnd(state: &twin::State, release: &Release) -> Markup {
    let (mood, name, sentence) = words::lnd(state.lnd.state);
    html! {
        h2 { "Lightning" }
        p.status { (badge(mood, name)) }
        p { (sentence) }
        p.small {
            "LND " (release.lnd_version.trim_start_matches('v'))
            @if state.lnd.since > 0 { ", in this state since " (words::moment(state.lnd.since)) }
        }
        @if let Some(error) = state.sources.get(LND).and_then(|health| health.error.as_ref()) { p.small { (words::sentence(error)) } }
    }
}

fn network(network: &twin::Network) -> Markup {
    // Interfaces without a link are of interest only to who looks for the reason.
    let is_alone = network.addresses().next().is_none();
    html! {
        h2 { "Addresses" }
        ul.plain {
            li { code { "https://homelab.local" } }
            @for address in network.addresses() {
                li {
                    code {
                        @match address {
                            std::net::IpAddr::V4(v4) => { "https://" (v4) }
                            std::net::IpAddr::V6(v6) => { "https://[" (v6) "]" }
                        }
                    }
                }
            }
        }
        @if is_alone {
            p { "The box has no address at the moment. Is the network cable plugged in?" }
        }
        ul.plain.small {
            @for interface in network.interfaces.iter().filter(|interface| interface.up || is_alone) {
                li { (interface.name) @if !interface.up { ", no link" } @if !interface.mac.is_empty() { ", " (interface.mac) } }
            }
        }
    }
}

fn system(boot: &twin::Boot, release: &Release) -> Markup {
    html! {
        h2 { "System" }
        dl {
            dt { "Version" } dd { (release.version) " (" (release.board) ", " (release.base) ")" }
            @if let Some(slot) = boot.slot { dt { "Running" } dd { "System " (slot_name(slot)) } }
            @for status in boot.slots.iter().filter(|status| !status.booted) {
                dt { "In reserve" }
                dd {
                    "System " (slot_name(status.slot))
                    @if let Some(version) = &status.version { ", version " (version) }
                    @if !status.ok { ", not bootable" }
                }
            }
            @if !boot.disk.is_empty() { dt { "Disk" } dd { (boot.disk) } }
            @if !boot.root_hash.is_empty() {
                dt { "Verified by" } dd { code title=(boot.root_hash) { (boot.root_hash.get(..12).unwrap_or(&boot.root_hash)) "\u{2026}" } }
            }
        }
    }
}

fn resources(resources: &twin::Resources) -> Markup {
    let memory_used = resources.memory_total.saturating_sub(resources.memory_available);
    let data_used = resources.data_total.saturating_sub(resources.data_available);
    html! {
        h2 { "Resources" }
        (gauge("Disk", data_used, resources.data_total))
        (gauge("Memory", memory_used, resources.memory_total))
        dl {
            dt { "Processor" } dd { (format!("{:.0} %", resources.cpu_percent)) ", load " (format!("{:.2}", resources.load1)) }
            @if let Some(temperature) = resources.temperature_celsius { dt { "Temperature" } dd { (format!("{temperature:.0} \u{b0}C")) } }
            dt { "Up for" } dd { (words::duration(resources.uptime_seconds)) }
        }
    }
}

fn gauge(name: &str, used: u64, total: u64) -> Markup {
    let percent = used.saturating_mul(100).checked_div(total).unwrap_or(0);
    html! {
        p.gauge {
            span { (name) }
            span { @if total == 0 { "not known yet" } @else { (words::bytes(used)) " of " (words::bytes(total)) } }
            meter aria-label={ (name) " used" } min="0" max="100" low="80" high="95" optimum="0" value=(percent) { (percent) " %" }
        }
    }
}

fn units(state: &twin::State) -> Markup {
    html! {
        h2 { "Services" }
        @if state.units.is_empty() { p { "Nothing is known about the services yet." } }
        @else {
            ul.services {
                @for (name, unit) in &state.units {
                    @let (mood, word) = words::unit(&unit.active, &unit.sub);
                    li {
                        span.name {
                            (if unit.description.is_empty() { name } else { &unit.description })
                            span.small { (name) }
                        }
                        (badge(mood, word))
                    }
                }
            }
        }
    }
}

fn badge(mood: Mood, text: &str) -> Markup {
    html! { span.badge.(mood.class()) { (text) } }
}

fn slot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "A",
        Slot::B => "B",
    }
}

fn source_name(name: &str) -> &str {
    match name {
        "systemd" => "Services",
        "resources" => "Resources",
        "network" => "Addresses",
        "boot" => "Start of the system",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use crate::http::tests::visit;

    #[tokio::test]
    async fn the_home_page_shows_what_the_twin_knows() {
        let mut visit = visit().await;
        visit.own().await;
        let unit =
            |active: &str, sub: &str| twin::Unit { active: active.into(), sub: sub.into(), ..Default::default() };
        let boot = twin::Boot {
            slot: Some(twin::Slot::B),
            slots: vec![twin::SlotStatus {
                slot: twin::Slot::A,
                booted: false,
                ok: true,
                tries: 3,
                version: None,
                problem: Some("<b>the kernel panicked</b>".into()),
            }],
            ..Default::default()
        };
        let lost = twin::SourceHealth { connected: false, since: 1_750_000_000, error: Some("the bus is gone".into()) };
        let units = BTreeMap::from([("lnd.service".to_owned(), unit("failed", "failed"))]);
        for update in [
            twin::Update::Boot(boot),
            twin::Update::Source("systemd", lost),
            twin::Update::Units(units.into_iter().collect()),
            twin::Update::Lnd(twin::Lnd { state: twin::LndState::NonExisting, since: 1_750_000_000 }),
        ] {
            visit.twin.send(update).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let home = visit.get("/home").await.text;
        for needle in [
            "System A did not start",
            "&lt;b&gt;the kernel panicked",
            "not connected since 2025-06-15 15:06 UTC. The bus is gone.",
            "no wallet yet",
            "Failed",
            "System B",
        ] {
            assert!(home.contains(needle), "{needle} is missing");
        }
    }
}
