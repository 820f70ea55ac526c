//! The form of a card's addresses: what stands in it, and what it means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netconf::{Mac, Plan, V4, V6};
use rust_i18n::t;
use serde::Deserialize;
use twin::{State, net::Link};

use super::{cards, others, plan_of};

/// The form as it was sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Typed {
    /// Hardware address of the card.
    pub(crate) card: String,
    /// `dhcp` or `static`
    pub(crate) v4: String,
    pub(crate) v4_address: String,
    pub(crate) v4_prefix: String,
    pub(crate) v4_gateway: String,
    /// `auto`, `static` or `off`
    pub(crate) v6: String,
    pub(crate) v6_address: String,
    pub(crate) v6_prefix: String,
    pub(crate) v6_gateway: String,
    pub(crate) dns: String,
}

impl Typed {
    /// What stands in the form before anything is typed: what is set, and for the rest what the card has now.
    pub(crate) fn of(link: &Link, plan: &Plan) -> Self {
        let mut typed = Self { card: link.mac.clone(), v4: "dhcp".into(), v6: "auto".into(), ..Self::default() };
        for assigned in link.addresses.iter().filter(|assigned| assigned.from != twin::net::Origin::LinkLocal) {
            let (address, prefix) = match assigned.address {
                IpAddr::V4(_) => (&mut typed.v4_address, &mut typed.v4_prefix),
                IpAddr::V6(_) => (&mut typed.v6_address, &mut typed.v6_prefix),
            };
            (*address, *prefix) = (assigned.address.to_string(), assigned.prefix.to_string());
        }
        for gateway in &link.gateways {
            let field = if gateway.is_ipv4() { &mut typed.v4_gateway } else { &mut typed.v6_gateway };
            *field = gateway.to_string();
        }
        if let V4::Static { address, prefix, gateway } = &plan.v4 {
            typed.v4 = "static".into();
            (typed.v4_address, typed.v4_prefix) = (address.to_string(), prefix.to_string());
            typed.v4_gateway = gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        }
        match &plan.v6 {
            V6::Static { address, prefix, gateway } => {
                typed.v6 = "static".into();
                (typed.v6_address, typed.v6_prefix) = (address.to_string(), prefix.to_string());
                typed.v6_gateway = gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
            }
            V6::Off => typed.v6 = "off".into(),
            V6::Auto => {}
        }
        typed.dns = plan.dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        typed
    }

    /// The plan it stands for, checked against the other cards; an error is a sentence.
    pub(crate) fn read(&self, state: &State) -> Result<Plan, String> {
        let mac: Option<Mac> = self.card.parse().ok();
        // A radio has addresses once it has a network.
        let joins = |mac: Mac| plan_of(state, mac).wifi;
        let fits = |card: &Link, mac: Mac| card.mac.parse() == Ok(mac) && (!card.wireless || joins(mac).is_some());
        let is_there = |mac: &Mac| cards(state).iter().any(|card| fits(card, *mac));
        let mac = mac.filter(is_there).ok_or_else(|| t!("network.form.bad_card").into_owned())?;
        let plan = Plan { mac, v4: self.read_v4()?, v6: self.read_v6()?, dns: self.read_dns()?, wifi: joins(mac) };
        plan.check(&others(state, mac)).map_err(|fault| {
            let key = format!("network.fault.{}", fault.key());
            t!(key, value = fault.value()).into_owned()
        })?;
        if plan == plan_of(state, mac) { Err(t!("network.form.same").into_owned()) } else { Ok(plan) }
    }

    fn read_v4(&self) -> Result<V4, String> {
        if self.v4 != "static" {
            return Ok(V4::Dhcp);
        }
        // Both are often copied as one: 192.168.1.50/24.
        let (address, prefix) = match self.v4_address.trim().split_once('/') {
            Some(both) => both,
            None => (self.v4_address.trim(), self.v4_prefix.trim()),
        };
        let gateway = optional(&self.v4_gateway, v4)?;
        Ok(V4::Static { address: v4(address)?, prefix: v4_prefix(prefix)?, gateway })
    }

    fn read_v6(&self) -> Result<V6, String> {
        match self.v6.as_str() {
            "static" => {
                let (address, prefix) = match self.v6_address.trim().split_once('/') {
                    Some(both) => both,
                    None => (self.v6_address.trim(), self.v6_prefix.trim()),
                };
                let bits = prefix.parse().map_err(|_| t!("network.form.bad_prefix", text = prefix).into_owned())?;
                let gateway = optional(&self.v6_gateway, v6)?;
                Ok(V6::Static { address: v6(address)?, prefix: bits, gateway })
            }
            "off" => Ok(V6::Off),
            _ => Ok(V6::Auto),
        }
    }

    fn read_dns(&self) -> Result<Vec<IpAddr>, String> {
        let words = self.dns.split([',', ';', ' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
        words.map(|word| word.parse().map_err(|_| t!("network.form.bad_dns", text = word).into_owned())).collect()
    }
}

fn optional<T>(text: &str, read: fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.trim().is_empty() { Ok(None) } else { read(text).map(Some) }
}

fn v4(text: &str) -> Result<Ipv4Addr, String> {
    text.trim().parse().map_err(|_| t!("network.form.bad_v4", text = text).into_owned())
}

fn v6(text: &str) -> Result<Ipv6Addr, String> {
    text.trim().parse().map_err(|_| t!("network.form.bad_v6", text = text).into_owned())
}

/// `24`, `/24` or `255.255.255.0`.
fn v4_prefix(text: &str) -> Result<u8, String> {
    let bad = || t!("network.form.bad_prefix", text = text).into_owned();
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        let bits = mask.to_bits();
        // Ones, then zeros, else it is no mask.
        return if bits.leading_ones() + bits.trailing_zeros() == 32 {
            u8::try_from(bits.leading_ones()).map_err(|_| bad())
        } else {
            Err(bad())
        };
    }
    text.trim_start_matches('/').parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use twin::net::{Assigned, Origin};

    use super::*;

    const MAC: &str = "52:54:00:68:62:01";

    /// What is typed, and a word of the refusal.
    type Case = (fn(&mut Typed), &'static str);

    fn state() -> State {
        let link = |name: &str, mac: &str, address: [u8; 4]| Link {
            name: name.into(),
            mac: mac.into(),
            carrier: true,
            addresses: vec![Assigned { address: address.into(), prefix: 24, from: Origin::Dhcp }],
            gateways: vec![[192, 168, 1, 1].into()],
            ..Link::default()
        };
        let links = vec![link("a", MAC, [192, 168, 1, 5]), link("b", "52:54:00:68:62:02", [10, 0, 0, 5])];
        State { links, ..State::default() }
    }

    fn typed(change: impl FnOnce(&mut Typed)) -> Result<Plan, String> {
        let state = state();
        let mut typed = Typed::of(&state.links[0], &plan_of(&state, MAC.parse().unwrap()));
        change(&mut typed);
        typed.read(&state)
    }

    #[test]
    fn what_the_router_gave_is_made_fixed_by_one_click_and_a_dns_server() {
        let plan = typed(|typed| {
            typed.v4 = "static".into();
            typed.dns = "192.168.1.1, 9.9.9.9".into();
        })
        .unwrap();
        let fixed = V4::Static { address: [192, 168, 1, 5].into(), prefix: 24, gateway: Some([192, 168, 1, 1].into()) };
        assert_eq!((plan.v4, plan.v6, plan.dns.len()), (fixed, V6::Auto, 2));
    }

    #[test]
    fn a_mask_is_as_good_as_a_prefix() {
        for text in ["24", "/24", "255.255.255.0"] {
            assert_eq!(v4_prefix(text), Ok(24), "{text}");
        }
        for bad in ["", "x", "255.0.255.0", "0.255.255.255", "300"] {
            assert!(v4_prefix(bad).is_err(), "{bad}");
        }
        assert_eq!(v4_prefix("255.255.255.255"), Ok(32));
        assert_eq!(v4_prefix("0.0.0.0"), Ok(0));
    }

    #[test]
    fn an_address_with_its_prefix_is_understood() {
        let plan = typed(|typed| {
            typed.v4 = "static".into();
            typed.v4_address = " 192.168.1.60/25 ".into();
            typed.v4_prefix = "ignored".into();
        });
        assert!(matches!(plan.unwrap().v4, V4::Static { prefix: 25, .. }));
    }

    #[test]
    fn what_cannot_be_is_a_sentence_that_names_it() {
        let bad: [Case; 8] = [
            (|typed| typed.v4_address = "192.168.1".into(), "192.168.1"),
            (|typed| typed.v4_prefix = "abc".into(), "abc"),
            (|typed| typed.v4_gateway = "192.168.2.1".into(), "192.168.2.1"),
            (|typed| typed.v4_address = "192.168.1.255".into(), "broadcast"),
            (|typed| typed.dns = "dns.example".into(), "dns.example"),
            (|typed| typed.card = "52:54:00:68:62:09".into(), "no longer there"),
            (|typed| typed.v4_address = "10.0.0.5".into(), ""),
            (
                |typed| {
                    typed.v6 = "static".into();
                    typed.v6_address = "fe80::1".into();
                    typed.v6_prefix = "64".into();
                },
                "fe80::1",
            ),
        ];
        for (change, word) in bad {
            let sentence = typed(|typed| {
                typed.v4 = "static".into();
                change(typed);
            })
            .unwrap_err();
            assert!(sentence.contains(word) && !sentence.contains("network.f"), "{sentence}");
        }
    }

    #[test]
    fn the_address_of_another_card_of_the_box_is_refused() {
        let sentence = typed(|typed| {
            typed.v4 = "static".into();
            typed.v4_address = "10.0.0.5".into();
            typed.v4_gateway.clear();
            typed.dns = "10.0.0.1".into();
        })
        .unwrap_err();
        assert!(sentence.contains("10.0.0.5") && sentence.contains("Another network card"), "{sentence}");
    }

    #[test]
    fn what_is_set_already_is_not_tried() {
        assert!(typed(|_| {}).unwrap_err().contains("nothing to change"));
    }
}
