//! The home page: the box as the twin has it. Each card is a fragment that the stream of events can replace.

use std::{borrow::Cow, sync::Arc};

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
    node::{alerts::alerts, bitcoin, cards},
    owner,
    setup::summary,
    updates::progress,
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
        p #connection role="status" data-away=(t!("home.away")) {}
        (super::access::notice(&house, &session))
        div #problems data-live aria-live="polite" { (Fragment::Problems.render(&state, &house.shared.release)) }
        @if let Some(step) = house.setup.next() {
            div.notice {
                h2 { (t!("setup.unfinished")) }
                p { a.button href=(step.path()) { (t!("setup.go_on")) } }
            }
        }
        div.cards {
            @for fragment in Fragment::ALL {
                @if fragment.is_card(&state) { (card(fragment)) }
            }
        }
        p.actions { a.button.second href="/restart" { (t!("home.restart")) } }
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
    Bitcoin,
    Network,
    System,
    Resources,
    Units,
    /// On the wizard's last page.
    Apply,
    /// On the page of updates.
    Update,
}

impl Fragment {
    pub(crate) const ALL: [Self; 13] = [
        Self::Problems,
        Self::Balances,
        Self::Sync,
        Self::NodeChannels,
        Self::Activity,
        Self::Lnd,
        Self::Bitcoin,
        Self::Network,
        Self::System,
        Self::Resources,
        Self::Units,
        Self::Apply,
        Self::Update,
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
            Self::Bitcoin => "bitcoin",
            Self::Network => "network",
            Self::System => "system",
            Self::Resources => "resources",
            Self::Units => "units",
            Self::Apply => "apply",
            Self::Update => "update",
        }
    }

    /// What it is made of.
    pub(crate) fn topics(self) -> &'static [Topic] {
        match self {
            Self::Problems => &[
                Topic::Boot,
                Topic::Sources,
                Topic::Resources,
                Topic::Lnd,
                Topic::Info,
                Topic::Graph,
                Topic::Copies,
                Topic::Backup,
                Topic::Bitcoin,
                Topic::Updates,
                Topic::Network,
            ],
            Self::Balances => &[Topic::Balances, Topic::Channels, Topic::Lnd, Topic::Money],
            Self::Sync => &[
                Topic::Info,
                Topic::Graph,
                Topic::Lnd,
                Topic::Bitcoin,
                // of the light that says whether a restart is safe
                Topic::Htlcs,
                Topic::Channels,
                Topic::Copies,
                Topic::Backup,
            ],
            Self::NodeChannels => &[Topic::Channels, Topic::Lnd],
            Self::Activity => &[Topic::Payments, Topic::Invoices, Topic::Transactions, Topic::Money],
            Self::Apply => &[Topic::Jobs],
            Self::Update => &[Topic::Updates],
            Self::Lnd => &[Topic::Lnd, Topic::Sources],
            Self::Bitcoin => &[Topic::Bitcoin, Topic::Sources],
            Self::Network => &[Topic::Network],
            Self::System => &[Topic::Boot],
            Self::Resources => &[Topic::Resources],
            Self::Units => &[Topic::Units],
        }
    }

    /// Whether it is a card of the home page. Who has no bitcoind sees none.
    fn is_card(self, state: &twin::State) -> bool {
        match self {
            Self::Problems | Self::Apply | Self::Update => false,
            Self::Bitcoin => bitcoin::is_there(state),
            _ => true,
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
            Self::Update => progress::part(state),
            Self::Lnd => lnd(state, release),
            Self::Bitcoin => bitcoin::card(state),
            Self::Network => network(&state.network),
            Self::System => system(&state.boot, release),
            Self::Resources => resources(&state.resources),
            Self::Units => units(state),
        }
    }
}

const LND: &str = "lnd";
/// The sources that have words of their own to say why they are not connected.
const OWN_WORDS: [&str; 2] = [LND, crate::chain::NAME];

fn problems(state: &twin::State) -> Markup {
    let lost: Vec<(&String, &SourceHealth)> = state
        .sources
        .iter()
        .filter(|(name, health)| !health.connected && !OWN_WORDS.contains(&name.as_str()))
        .collect();
    html! {
        (alerts(state, crate::error::now()))
        @for slot in &state.boot.slots {
            @if let Some(problem) = &slot.problem {
                div.notice.bad {
                    h2 { (t!("home.slot_problem", slot = slot_name(slot.slot))) }
                    p { (problem) }
                    p {
                        @if slot.booted { (t!("home.slot_booted")) }
                        @else { (t!("home.slot_other")) }
                    }
                }
            }
        }
        @if !lost.is_empty() {
            div.notice {
                h2 { (t!("home.old")) }
                ul {
                    @for (name, health) in lost {
                        li {
                            strong { (source_name(name)) } ": " (t!("home.lost", since = words::moment(health.since)))
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
        p.status { (badge(mood, &name)) }
        p { (sentence) }
        p.small {
            "LND " (release.lnd_version.trim_start_matches('v'))
            @if state.lnd.since > 0 { ", " (t!("home.lnd_since", since = words::moment(state.lnd.since))) }
        }
        @if let Some(error) = state.sources.get(LND).and_then(|health| health.error.as_ref()) { p.small { (words::sentence(error)) } }
    }
}

fn network(network: &twin::Network) -> Markup {
    // Interfaces without a link are of interest only to who looks for the reason.
    let is_alone = network.addresses().next().is_none();
    html! {
        h2 { (t!("home.addresses")) }
        ul.plain {
            li { code { "https://" (network.local_name()) } }
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
            p { (t!("home.no_address")) }
        }
        ul.plain.small {
            @for interface in network.interfaces.iter().filter(|interface| interface.up || is_alone) {
                li { (interface.name) @if !interface.up { ", " (t!("home.no_link")) } @if !interface.mac.is_empty() { ", " (interface.mac) } }
            }
        }
    }
}

fn system(boot: &twin::Boot, release: &Release) -> Markup {
    html! {
        h2 { (t!("home.system")) }
        dl {
            dt { (t!("home.version")) }
            dd { a href="/settings/updates" { (release.version) } " (" (release.board) ", " (release.base) ")" }
            @if release.development_keys { dt { (t!("home.updates")) } dd { (t!("home.development_keys")) } }
            @if let Some(slot) = boot.slot { dt { (t!("home.running")) } dd { (t!("home.slot", slot = slot_name(slot))) } }
            @for status in boot.slots.iter().filter(|status| !status.booted) {
                dt { (t!("home.reserve")) }
                dd {
                    (t!("home.slot", slot = slot_name(status.slot)))
                    @if let Some(version) = &status.version { ", " (t!("home.slot_version", version = version)) }
                    @if !status.ok { ", " (t!("home.slot_broken")) }
                }
            }
            @if !boot.disk.is_empty() { dt { (t!("home.disk")) } dd { (boot.disk) } }
            @if !boot.root_hash.is_empty() {
                dt { (t!("home.verified")) } dd { code title=(boot.root_hash) { (boot.root_hash.get(..12).unwrap_or(&boot.root_hash)) "\u{2026}" } }
            }
        }
    }
}

fn resources(resources: &twin::Resources) -> Markup {
    let memory_used = resources.memory_total.saturating_sub(resources.memory_available);
    let data_used = resources.data_total.saturating_sub(resources.data_available);
    html! {
        h2 { (t!("home.resources")) }
        (gauge(&t!("home.disk"), data_used, resources.data_total))
        (gauge(&t!("home.memory"), memory_used, resources.memory_total))
        dl {
            dt { (t!("home.processor")) }
            dd { (format!("{:.0} %", resources.cpu_percent)) ", " (t!("home.load", load = format!("{:.2}", resources.load1))) }
            @if let Some(temperature) = resources.temperature_celsius { dt { (t!("home.temperature")) } dd { (format!("{temperature:.0} \u{b0}C")) } }
            dt { (t!("home.up")) } dd { (words::duration(resources.uptime_seconds)) }
        }
    }
}

fn gauge(name: &str, used: u64, total: u64) -> Markup {
    let percent = used.saturating_mul(100).checked_div(total).unwrap_or(0);
    html! {
        p.gauge {
            span { (name) }
            span { @if total == 0 { (t!("home.unknown")) } @else { (t!("home.of", used = words::bytes(used), all = words::bytes(total))) } }
            meter aria-label=(t!("home.used", what = name)) min="0" max="100" low="80" high="95" optimum="0" value=(percent) { (percent) " %" }
        }
    }
}

fn units(state: &twin::State) -> Markup {
    html! {
        h2 { (t!("home.services")) }
        @if state.units.is_empty() { p { (t!("home.no_services")) } }
        @else {
            ul.services {
                @for (name, unit) in &state.units {
                    @let (mood, word) = words::unit(&unit.active, &unit.sub);
                    li {
                        span.name {
                            (if unit.description.is_empty() { name } else { &unit.description })
                            span.small { (name) }
                        }
                        (badge(mood, &word))
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

fn source_name(name: &str) -> Cow<'_, str> {
    match name {
        "systemd" => t!("home.services"),
        "resources" => t!("home.resources"),
        "network" => t!("home.addresses"),
        "boot" => t!("home.start"),
        crate::rates::NAME => t!("home.rates"),
        other => other.into(),
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
            "the machine that built this image",
        ] {
            assert!(home.contains(needle), "{needle} is missing");
        }
    }
}
