//! What the network is like, one plain line for each thing that can be at fault, with what to do.

use std::{fmt::Display, net::IpAddr};

use rust_i18n::t;
use twin::{
    State,
    net::{Assigned, Link, Origin},
};

use crate::pages::words::{Mood, moment};

/// One line for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) mood: Mood,
    pub(crate) name: String,
    pub(crate) sentence: String,
    /// What to do.
    pub(crate) advice: Option<String>,
}

/// The cards of the box. Where systemd-networkd says nothing (yet), the kernel's word on names and addresses is taken.
pub(crate) fn cards(state: &State) -> Vec<Link> {
    if !state.links.is_empty() {
        return state.links.clone();
    }
    let assigned = |address: &IpAddr| {
        let is_near = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        Assigned { address: *address, prefix, from: if is_near { Origin::LinkLocal } else { Origin::Other } }
    };
    let interfaces = state.network.interfaces.iter();
    interfaces
        .map(|card| Link {
            name: card.name.clone(),
            mac: card.mac.clone(),
            carrier: card.up,
            addresses: card.addresses.iter().map(assigned).collect(),
            ..Link::default()
        })
        .collect()
}

/// All lines, the nearest cause first.
pub(crate) fn findings(state: &State) -> Vec<Line> {
    let cards = cards(state);
    vec![cable(&cards), address(&cards), gateway(&cards), names(state, &cards), internet(state), clock(state)]
}

fn line(mood: Mood, name: &str, sentence: String, advice: Option<String>) -> Line {
    Line { mood, name: t!(format!("network.check.{name}")).into_owned(), sentence, advice }
}

fn list<T: Display>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn cable(cards: &[Link]) -> Line {
    if cards.is_empty() {
        let advice = t!("network.cable.unknown_do").into_owned();
        return line(Mood::Off, "cable", t!("network.cable.unknown").into_owned(), Some(advice));
    }
    let up = cards.iter().filter(|card| card.carrier);
    let sentences: Vec<String> = up
        .map(|card| match card.speed {
            Some(speed) => t!("network.cable.speed", name = card.name, speed = speed).into_owned(),
            None => t!("network.cable.good", name = card.name).into_owned(),
        })
        .collect();
    if sentences.is_empty() {
        let advice = t!("network.cable.bad_do").into_owned();
        return line(Mood::Bad, "cable", t!("network.cable.bad").into_owned(), Some(advice));
    }
    line(Mood::Good, "cable", sentences.join("; "), None)
}

fn address(cards: &[Link]) -> Line {
    let given = cards.iter().flat_map(|card| &card.addresses).filter(|assigned| assigned.from != Origin::LinkLocal);
    let text = list(given.map(|assigned| assigned.address));
    if text.is_empty() {
        let advice = t!("network.address.bad_do").into_owned();
        return line(Mood::Bad, "address", t!("network.address.bad").into_owned(), Some(advice));
    }
    line(Mood::Good, "address", text, None)
}

fn gateway(cards: &[Link]) -> Line {
    let text = list(cards.iter().flat_map(|card| &card.gateways));
    if text.is_empty() {
        let advice = t!("network.gateway.bad_do").into_owned();
        return line(Mood::Bad, "gateway", t!("network.gateway.bad").into_owned(), Some(advice));
    }
    line(Mood::Good, "gateway", text, None)
}

fn names(state: &State, cards: &[Link]) -> Line {
    let servers = list(cards.iter().flat_map(|card| &card.dns));
    let name = &state.outside.server;
    let advice = Some(t!("network.dns.bad_do").into_owned());
    match state.outside.resolves {
        // The kernel's word alone names no servers.
        _ if servers.is_empty() && !state.links.is_empty() => {
            line(Mood::Bad, "dns", t!("network.dns.none").into_owned(), advice)
        }
        Some(true) => {
            line(Mood::Good, "dns", t!("network.dns.good", name = name, servers = servers).into_owned(), None)
        }
        Some(false) => {
            line(Mood::Bad, "dns", t!("network.dns.bad", name = name, servers = servers).into_owned(), advice)
        }
        None => line(Mood::Off, "dns", t!("network.dns.unknown").into_owned(), None),
    }
}

fn internet(state: &State) -> Line {
    if state.outside.synced.is_some() {
        let sentence = t!("network.internet.good", name = state.outside.server).into_owned();
        return line(Mood::Good, "internet", sentence, None);
    }
    if !state.node.peers.value.is_empty() {
        return line(Mood::Good, "internet", t!("network.internet.peers").into_owned(), None);
    }
    let advice = t!("network.internet.busy_do").into_owned();
    line(Mood::Busy, "internet", t!("network.internet.busy").into_owned(), Some(advice))
}

fn clock(state: &State) -> Line {
    match state.outside.synced {
        Some(when) => line(Mood::Good, "clock", t!("network.clock.good", when = moment(when)).into_owned(), None),
        None => {
            let advice = t!("network.clock.busy_do").into_owned();
            line(Mood::Busy, "clock", t!("network.clock.busy").into_owned(), Some(advice))
        }
    }
}

#[cfg(test)]
mod tests {
    use twin::net::Outside;

    use super::*;

    fn link() -> Link {
        Link {
            name: "enp1s0".into(),
            mac: "52:54:00:68:62:01".into(),
            carrier: true,
            speed: Some(1000),
            addresses: vec![Assigned { address: [192, 168, 1, 5].into(), prefix: 24, from: Origin::Dhcp }],
            gateways: vec![[192, 168, 1, 1].into()],
            dns: vec![[192, 168, 1, 1].into()],
            ..Link::default()
        }
    }

    fn state(change: impl FnOnce(&mut State)) -> Vec<Mood> {
        let outside = Outside { server: "time.example".into(), resolves: Some(true), synced: Some(1_700_000_000) };
        let mut state = State { links: vec![link()], outside, ..State::default() };
        change(&mut state);
        findings(&state).into_iter().map(|line| line.mood).collect()
    }

    use Mood::{Bad, Busy, Good, Off};

    #[test]
    fn each_fault_has_its_own_line() {
        assert_eq!(state(|_| {}), [Good; 6]);
        assert_eq!(state(|state| state.links[0].carrier = false)[0], Bad);
        let near = Assigned { address: [169, 254, 1, 5].into(), prefix: 16, from: Origin::LinkLocal };
        assert_eq!(state(|state| state.links[0].addresses = vec![near])[1], Bad);
        assert_eq!(state(|state| state.links[0].gateways.clear())[2], Bad);
        assert_eq!(state(|state| state.links[0].dns.clear())[3], Bad);
        assert_eq!(state(|state| state.outside.resolves = Some(false))[3], Bad);
        assert_eq!(state(|state| state.outside.synced = None)[4..], [Busy, Busy]);
    }

    #[test]
    fn a_box_that_knows_nothing_yet_accuses_nobody_of_a_cable() {
        assert_eq!(findings(&State::default())[0].mood, Off);
    }

    #[test]
    fn everything_that_is_not_good_says_what_to_do() {
        let mut seen = 0;
        for line in findings(&State::default()) {
            if matches!(line.mood, Bad | Busy) {
                assert!(line.advice.is_some(), "{line:?}");
                seen += 1;
            }
            assert!(!line.sentence.contains("network."), "{line:?} has no text");
        }
        assert!(seen >= 4);
    }
}
