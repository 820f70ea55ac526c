//! The plan as a file of systemd-networkd (systemd.network(5)).

use std::{fmt::Write, net::IpAddr};

use crate::{Mac, Plan, V4, V6};

/// All files made of plans begin so, and come before the image's own for any card.
pub const FILE_PREFIX: &str = "50-homebolt-";

/// The file's name in `/run/systemd/network`.
pub fn file_name(mac: Mac) -> String {
    format!("{FILE_PREFIX}{}.network", mac.plain())
}

/// A cable goes before a radio: systemd-networkd gives a route 1024 unless it is told otherwise.
const RADIO_METRIC: &str = "3072";

impl Plan {
    /// The file's content. Every value in it is a number or an address: nothing typed can add a line.
    pub fn to_networkd(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).map(|()| text).unwrap_or_default()
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let (dhcp, link_local) = match (&self.v4, &self.v6) {
            (V4::Dhcp, V6::Auto) => ("yes", "yes"),
            // As without a plan: an address to find the box by where no router gives one.
            (V4::Dhcp, _) => ("ipv4", "yes"),
            (V4::Static { .. }, V6::Auto) => ("ipv6", "ipv6"),
            (V4::Static { .. }, _) => ("no", "ipv6"),
        };
        let listens = if self.v6 == V6::Auto { "yes" } else { "no" };
        writeln!(text, "# Made of the owner's choice; changes in this file are lost.")?;
        let kind = if self.wifi.is_some() { "wlan" } else { "ether" };
        writeln!(text, "[Match]\nMACAddress={}\nType={kind}\nKind=!*", self.mac)?;
        writeln!(text, "\n[Network]\nDHCP={dhcp}\nLinkLocalAddressing={link_local}\nIPv6AcceptRA={listens}")?;
        writeln!(text, "MulticastDNS=no\nLLMNR=no")?;
        if self.wifi.is_some() {
            // From one access point to the next the network is the same.
            writeln!(text, "IgnoreCarrierLoss=3s")?;
        }
        for server in &self.dns {
            writeln!(text, "DNS={server}")?;
        }
        if let V4::Static { address, prefix, gateway } = &self.v4 {
            // The net is asked first whether another device has the address: it must keep it.
            writeln!(text, "\n[Address]\nAddress={address}/{prefix}\nDuplicateAddressDetection=ipv4")?;
            self.write_route(text, gateway.map(IpAddr::from))?;
        }
        if let V6::Static { address, prefix, gateway } = &self.v6 {
            writeln!(text, "\n[Address]\nAddress={address}/{prefix}")?;
            self.write_route(text, gateway.map(IpAddr::from))?;
        }
        let metric = if self.wifi.is_some() { format!("RouteMetric={RADIO_METRIC}\n") } else { String::new() };
        let named = if self.dns.is_empty() { "yes" } else { "no" };
        writeln!(text, "\n[DHCPv4]\nUseHostname=no\nUseDNS={named}\n{metric}")?;
        writeln!(text, "\n[DHCPv6]\nUseHostname=no\nUseDNS={named}\n\n[IPv6AcceptRA]\nUseDNS={named}\n{metric}")
    }

    fn write_route(&self, text: &mut String, gateway: Option<IpAddr>) -> std::fmt::Result {
        let Some(gateway) = gateway else { return Ok(()) };
        writeln!(text, "\n[Route]\nGateway={gateway}")?;
        if self.wifi.is_some() { writeln!(text, "Metric={RADIO_METRIC}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_plan_asks_the_router_nothing() {
        let plan = Plan {
            mac: "52:54:00:68:62:01".parse().unwrap(),
            v4: V4::Static { address: [10, 0, 2, 77].into(), prefix: 24, gateway: Some([10, 0, 2, 2].into()) },
            v6: V6::Static {
                address: "2001:db8::7".parse().unwrap(),
                prefix: 64,
                gateway: Some("fe80::1".parse().unwrap()),
            },
            dns: vec!["10.0.2.3".parse().unwrap()],
            wifi: None,
        };
        let text = plan.to_networkd();
        for line in [
            "MACAddress=52:54:00:68:62:01",
            "DHCP=no",
            "IPv6AcceptRA=no",
            "LinkLocalAddressing=ipv6",
            "Address=10.0.2.77/24\nDuplicateAddressDetection=ipv4\n\n[Route]\nGateway=10.0.2.2",
            "Address=2001:db8::7/64\n\n[Route]\nGateway=fe80::1",
            "DNS=10.0.2.3",
            "UseDNS=no",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(file_name(plan.mac), "50-homebolt-525400686201.network");
    }

    #[test]
    fn a_radio_comes_after_a_cable_whoever_gives_the_address() {
        let wifi = Some(crate::Wifi { ssid: crate::Ssid::new("x]\n[Network]").unwrap(), hidden: false });
        let automatic = Plan { wifi, ..Plan::automatic("02:00:00:00:00:00".parse().unwrap()) };
        let text = automatic.to_networkd();
        assert!(text.contains("Type=wlan") && text.matches("RouteMetric=3072").count() == 2, "{text}");
        assert_eq!(text.matches("[Network]").count(), 1, "the name of the network is not in this file:\n{text}");
        let gateway = Some([10, 0, 2, 2].into());
        let fixed = Plan { v4: V4::Static { address: [10, 0, 2, 77].into(), prefix: 24, gateway }, ..automatic };
        assert!(fixed.to_networkd().contains("Gateway=10.0.2.2\nMetric=3072\n"), "{}", fixed.to_networkd());
    }

    #[test]
    fn an_automatic_plan_does_what_the_image_s_own_file_does() {
        let text = Plan::automatic("52:54:00:68:62:01".parse().unwrap()).to_networkd();
        for line in ["DHCP=yes", "IPv6AcceptRA=yes", "LinkLocalAddressing=yes", "UseDNS=yes", "UseHostname=no"] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("[Address]"));
    }
}
