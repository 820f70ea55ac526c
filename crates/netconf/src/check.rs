//! What cannot work is refused before it is tried: the manager asks, and root asks again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Plan, V4, V6};

/// More servers than this nobody asks.
const DNS_LIMIT: usize = 4;
/// A net larger than a /8 is a typing error; in a /32 there is nobody else.
const V4_PREFIX: std::ops::RangeInclusive<u8> = 8..=31;
const V6_PREFIX: std::ops::RangeInclusive<u8> = 16..=127;

/// Why a plan cannot work. [`Fault::key`] names it for translations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0} is not an address that a device can have in its network")]
    Address(IpAddr),
    #[error("a prefix of {0} bits does not make a network of a household")]
    Prefix(u8),
    #[error("{0} is the name of the network itself, not of a device in it")]
    NetworkItself(IpAddr),
    #[error("{0} is the broadcast address of the network, not that of a device in it")]
    Broadcast(IpAddr),
    #[error("the gateway {0} is not in the same network as the address")]
    GatewayOutside(IpAddr),
    #[error("the gateway {0} is the address of the box itself")]
    GatewayOwn(IpAddr),
    #[error("{0} cannot be the address of a gateway")]
    Gateway(IpAddr),
    #[error("{0} cannot be the address of a DNS server for the box")]
    Dns(IpAddr),
    #[error("without a DNS server no name can be resolved: name at least one")]
    DnsMissing,
    #[error("more than four DNS servers are never asked")]
    DnsMany,
    #[error("another network card of the box has the address {0} already")]
    Taken(IpAddr),
    #[error("another network card of the box is in the same network as {0} already")]
    SameNetwork(IpAddr),
}

impl Fault {
    /// Its name in the texts.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Prefix(_) => "prefix",
            Self::NetworkItself(_) => "network_itself",
            Self::Broadcast(_) => "broadcast",
            Self::GatewayOutside(_) => "gateway_outside",
            Self::GatewayOwn(_) => "gateway_own",
            Self::Gateway(_) => "gateway",
            Self::Dns(_) => "dns",
            Self::DnsMissing => "dns_missing",
            Self::DnsMany => "dns_many",
            Self::Taken(_) => "taken",
            Self::SameNetwork(_) => "same_network",
        }
    }

    /// What the sentence is about.
    pub fn value(&self) -> String {
        match self {
            Self::Address(address)
            | Self::NetworkItself(address)
            | Self::Broadcast(address)
            | Self::GatewayOutside(address)
            | Self::GatewayOwn(address)
            | Self::Gateway(address)
            | Self::Dns(address)
            | Self::Taken(address)
            | Self::SameNetwork(address) => address.to_string(),
            Self::Prefix(prefix) => prefix.to_string(),
            Self::DnsMissing | Self::DnsMany => String::new(),
        }
    }
}

impl Plan {
    /// Whether the plan can work by itself, and beside the plans of the box's other cards.
    pub fn check(&self, others: &[Plan]) -> Result<(), Fault> {
        if let V4::Static { address, prefix, gateway } = &self.v4 {
            check_v4(*address, *prefix, *gateway)?;
        }
        if let V6::Static { address, prefix, gateway } = &self.v6 {
            check_v6(*address, *prefix, *gateway)?;
        }
        self.check_dns()?;
        others.iter().filter(|other| other.mac != self.mac).try_for_each(|other| self.check_beside(other))
    }

    fn check_dns(&self) -> Result<(), Fault> {
        if self.dns.len() > DNS_LIMIT {
            return Err(Fault::DnsMany);
        }
        if let Some(bad) = self.dns.iter().find(|server| !is_server(**server)) {
            return Err(Fault::Dns(*bad));
        }
        // Nobody else would name one. A card without a gateway is for its own network only.
        let is_told = self.v4 == V4::Dhcp || self.v6 == V6::Auto;
        let leads_out = matches!(self.v4, V4::Static { gateway: Some(_), .. })
            || matches!(self.v6, V6::Static { gateway: Some(_), .. });
        if self.dns.is_empty() && leads_out && !is_told { Err(Fault::DnsMissing) } else { Ok(()) }
    }

    fn check_beside(&self, other: &Plan) -> Result<(), Fault> {
        if let Some(taken) = self.addresses().find(|address| other.addresses().any(|theirs| theirs == *address)) {
            return Err(Fault::Taken(taken));
        }
        // Answers would leave by the wrong card.
        match (&self.v4, &other.v4) {
            (V4::Static { address, prefix, .. }, V4::Static { address: theirs, prefix: length, .. })
                if same_v4(*address, *theirs, (*prefix).min(*length)) =>
            {
                Err(Fault::SameNetwork((*address).into()))
            }
            _ => Ok(()),
        }
    }
}

fn check_v4(address: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) -> Result<(), Fault> {
    if !is_device_v4(address) || address.is_link_local() {
        return Err(Fault::Address(address.into()));
    }
    if !V4_PREFIX.contains(&prefix) {
        return Err(Fault::Prefix(prefix));
    }
    check_place(address, prefix)?;
    let Some(gateway) = gateway else { return Ok(()) };
    if gateway == address {
        return Err(Fault::GatewayOwn(gateway.into()));
    }
    if !is_device_v4(gateway) {
        return Err(Fault::Gateway(gateway.into()));
    }
    if !same_v4(address, gateway, prefix) {
        return Err(Fault::GatewayOutside(gateway.into()));
    }
    check_place(gateway, prefix)
}

/// First and last address of a net are nobody's; a net of two (RFC 3021) has neither.
fn check_place(address: Ipv4Addr, prefix: u8) -> Result<(), Fault> {
    let host = address.to_bits() & !mask(prefix);
    match host {
        _ if prefix > 30 => Ok(()),
        0 => Err(Fault::NetworkItself(address.into())),
        host if host == !mask(prefix) => Err(Fault::Broadcast(address.into())),
        _ => Ok(()),
    }
}

fn check_v6(address: Ipv6Addr, prefix: u8, gateway: Option<Ipv6Addr>) -> Result<(), Fault> {
    if !is_device_v6(address) || address.is_unicast_link_local() {
        return Err(Fault::Address(address.into()));
    }
    if !V6_PREFIX.contains(&prefix) {
        return Err(Fault::Prefix(prefix));
    }
    // The first address of a net means any router of it (RFC 4291, 2.6.1).
    if prefix < 127 && address.to_bits() << prefix == 0 {
        return Err(Fault::NetworkItself(address.into()));
    }
    let Some(gateway) = gateway else { return Ok(()) };
    if gateway == address {
        return Err(Fault::GatewayOwn(gateway.into()));
    }
    if !is_device_v6(gateway) {
        return Err(Fault::Gateway(gateway.into()));
    }
    // Routers mostly call themselves by a link-local address.
    let is_near = gateway.is_unicast_link_local() || same_v6(address, gateway, prefix);
    if is_near { Ok(()) } else { Err(Fault::GatewayOutside(gateway.into())) }
}

fn is_server(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_device_v4(v4),
        // A link-local server would need the card's name beside it.
        IpAddr::V6(v6) => is_device_v6(v6) && !v6.is_unicast_link_local(),
    }
}

/// One device's address: no group, not the box itself, nothing reserved (0/8 and 240/4).
fn is_device_v4(address: Ipv4Addr) -> bool {
    !address.is_loopback() && !address.is_multicast() && address.octets()[0] != 0 && address.octets()[0] < 240
}

fn is_device_v6(address: Ipv6Addr) -> bool {
    // ::/96 with ::1 among it, and IPv4 in IPv6's clothes.
    let is_old = address.to_bits() >> 32 == 0 || address.to_ipv4_mapped().is_some();
    !is_old && !address.is_multicast()
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn same_v4(one: Ipv4Addr, other: Ipv4Addr, prefix: u8) -> bool {
    (one.to_bits() ^ other.to_bits()) & mask(prefix) == 0
}

fn same_v6(one: Ipv6Addr, other: Ipv6Addr, prefix: u8) -> bool {
    (one.to_bits() ^ other.to_bits()).checked_shr(128 - u32::from(prefix.min(128))).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(address: &str, prefix: u8, gateway: &str) -> Result<(), Fault> {
        let gateway = (!gateway.is_empty()).then(|| gateway.parse().unwrap());
        check_v4(address.parse().unwrap(), prefix, gateway)
    }

    fn v6(address: &str, prefix: u8, gateway: &str) -> Result<(), Fault> {
        let gateway = (!gateway.is_empty()).then(|| gateway.parse().unwrap());
        check_v6(address.parse().unwrap(), prefix, gateway)
    }

    fn plan(mac: &str, address: &str) -> Plan {
        let v4 = V4::Static { address: address.parse().unwrap(), prefix: 24, gateway: None };
        Plan { v4, v6: V6::Off, ..Plan::automatic(mac.parse().unwrap()) }
    }

    #[test]
    fn an_address_of_a_household_with_its_router_is_good() {
        assert_eq!(v4("192.168.1.50", 24, "192.168.1.1"), Ok(()));
        assert_eq!(v4("10.0.0.7", 8, ""), Ok(()));
        assert_eq!(v4("192.0.2.0", 31, "192.0.2.1"), Ok(()), "in a net of two both are devices");
        assert_eq!(v6("2001:db8::50", 64, "fe80::1"), Ok(()));
        assert_eq!(v6("fd00::50", 64, "fd00::1"), Ok(()));
    }

    #[test]
    fn what_no_device_can_have_is_refused() {
        for bad in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "169.254.1.1", "0.1.2.3"] {
            assert_eq!(v4(bad, 24, ""), Err(Fault::Address(bad.parse().unwrap())));
        }
        for bad in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1", "::192.0.2.1"] {
            assert_eq!(v6(bad, 64, ""), Err(Fault::Address(bad.parse().unwrap())));
        }
    }

    #[test]
    fn the_net_itself_and_its_broadcast_are_refused() {
        assert_eq!(v4("192.168.1.0", 24, ""), Err(Fault::NetworkItself("192.168.1.0".parse().unwrap())));
        assert_eq!(v4("192.168.1.255", 24, ""), Err(Fault::Broadcast("192.168.1.255".parse().unwrap())));
        assert_eq!(v4("192.168.1.127", 25, ""), Err(Fault::Broadcast("192.168.1.127".parse().unwrap())));
        assert_eq!(v4("192.168.1.255", 16, ""), Ok(()), "in a larger net it is a device");
        assert_eq!(v6("2001:db8::", 64, ""), Err(Fault::NetworkItself("2001:db8::".parse().unwrap())));
    }

    #[test]
    fn nets_of_the_wrong_size_are_refused() {
        for bad in [0, 7, 32, 33, 255] {
            assert_eq!(v4("192.168.1.50", bad, ""), Err(Fault::Prefix(bad)));
        }
        for bad in [0, 15, 128, 255] {
            assert_eq!(v6("2001:db8::50", bad, ""), Err(Fault::Prefix(bad)));
        }
    }

    #[test]
    fn a_gateway_is_another_device_of_the_same_net() {
        let gateway = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(v4("192.168.1.50", 24, "192.168.2.1"), Err(Fault::GatewayOutside(gateway("192.168.2.1"))));
        assert_eq!(v4("192.168.1.50", 24, "192.168.1.50"), Err(Fault::GatewayOwn(gateway("192.168.1.50"))));
        assert_eq!(v4("192.168.1.50", 24, "192.168.1.255"), Err(Fault::Broadcast(gateway("192.168.1.255"))));
        assert_eq!(v4("192.168.1.50", 24, "0.0.0.0"), Err(Fault::Gateway(gateway("0.0.0.0"))));
        assert_eq!(v6("2001:db8::50", 64, "2001:db8:1::1"), Err(Fault::GatewayOutside(gateway("2001:db8:1::1"))));
        assert_eq!(v6("2001:db8::50", 64, "ff02::2"), Err(Fault::Gateway(gateway("ff02::2"))));
    }

    #[test]
    fn without_any_way_to_a_dns_server_a_plan_is_refused() {
        let mut plan = plan("52:54:00:68:62:01", "192.168.1.50");
        assert_eq!(plan.check(&[]), Ok(()), "a card without a gateway needs none");
        plan.v4 = V4::Static { address: [192, 168, 1, 50].into(), prefix: 24, gateway: Some([192, 168, 1, 1].into()) };
        assert_eq!(plan.check(&[]), Err(Fault::DnsMissing));
        plan.v6 = V6::Auto;
        assert_eq!(plan.check(&[]), Ok(()), "the router names one over IPv6");
        plan.dns = vec!["127.0.0.53".parse().unwrap()];
        assert_eq!(plan.check(&[]), Err(Fault::Dns("127.0.0.53".parse().unwrap())));
        plan.dns = vec!["192.168.1.1".parse().unwrap(); 5];
        assert_eq!(plan.check(&[]), Err(Fault::DnsMany));
    }

    #[test]
    fn two_cards_of_the_box_have_neither_one_address_nor_one_net() {
        let (one, other) = (plan("52:54:00:68:62:01", "192.168.1.50"), plan("52:54:00:68:62:02", "192.168.1.50"));
        assert_eq!(one.check(std::slice::from_ref(&other)), Err(Fault::Taken("192.168.1.50".parse().unwrap())));
        let near = plan("52:54:00:68:62:02", "192.168.1.51");
        assert_eq!(one.check(&[near]), Err(Fault::SameNetwork("192.168.1.50".parse().unwrap())));
        let far = plan("52:54:00:68:62:02", "192.168.2.51");
        assert_eq!(one.check(&[far, one.clone()]), Ok(()), "its own older plan is in nobody's way");
    }

    proptest! {
        #[test]
        fn a_good_plan_has_its_gateway_in_the_net(address: u32, prefix: u8, gateway: u32) {
            let (address, gateway) = (Ipv4Addr::from_bits(address), Ipv4Addr::from_bits(gateway));
            if check_v4(address, prefix, Some(gateway)).is_ok() {
                prop_assert!((8..=31).contains(&prefix));
                let net = |bits: u32| bits >> (32 - u32::from(prefix));
                prop_assert_eq!(net(address.to_bits()), net(gateway.to_bits()));
                prop_assert_ne!(address, gateway);
            }
        }

        #[test]
        fn no_number_makes_the_check_fall_over(address: u128, prefix: u8, gateway: u128) {
            let _ = check_v6(Ipv6Addr::from_bits(address), prefix, Some(Ipv6Addr::from_bits(gateway)));
        }
    }
}
