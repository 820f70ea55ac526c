//! What an owner may set of a network card: types, checks, and the files for systemd-networkd and iwd. No I/O.
//!
//! ```text
//!  form ─► Plan ─ check() ─► manager ──request──► root: check() again ─► to_networkd() ─► /run/systemd/network
//! ```
//! A plan names its card by the hardware address, which stays when a card moves to another slot or a system names its
//! interfaces anew. A card without a plan is asked of the router: DHCP, and router advertisements for IPv6.

mod check;
mod country;
mod mac;
mod networkd;
mod report;
mod wifi;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

pub use check::Fault;
pub use country::{Country, NoCountry};
pub use mac::Mac;
pub use networkd::{FILE_PREFIX, file_name};
pub use report::{Ending, Last, Report, Trial, Try};
pub use wifi::{NoPassphrase, NoSsid, NotJoined, Passphrase, Ssid, Wifi};

/// The addresses of one network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub mac: Mac,
    #[serde(default)]
    pub v4: V4,
    #[serde(default)]
    pub v6: V6,
    /// DNS servers in the place of those that the router names; empty: the router's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Of a radio: the network it joins. A radio without a plan joins none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wifi: Option<Wifi>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum V4 {
    /// Asked of the router.
    #[default]
    Dhcp,
    Static {
        address: Ipv4Addr,
        /// Length of the net's prefix, bits.
        prefix: u8,
        /// `None`: the box reaches its own net only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<Ipv4Addr>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum V6 {
    /// By router advertisements and, where they say so, DHCPv6.
    #[default]
    Auto,
    Static {
        address: Ipv6Addr,
        prefix: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<Ipv6Addr>,
    },
    /// Link-local only.
    Off,
}

impl Plan {
    /// Everything by the router: what a card without a plan has.
    pub fn automatic(mac: Mac) -> Self {
        Self { mac, v4: V4::Dhcp, v6: V6::Auto, dns: Vec::new(), wifi: None }
    }

    pub fn is_automatic(&self) -> bool {
        *self == Self::automatic(self.mac)
    }

    /// Addresses that the plan fixes: where the box will be found.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = match &self.v4 {
            V4::Static { address, .. } => Some(IpAddr::V4(*address)),
            V4::Dhcp => None,
        };
        let v6 = match &self.v6 {
            V6::Static { address, .. } => Some(IpAddr::V6(*address)),
            V6::Auto | V6::Off => None,
        };
        v4.into_iter().chain(v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_its_file() {
        let mac = "52:54:00:68:62:01".parse().unwrap();
        for plan in [
            Plan::automatic(mac),
            Plan {
                v4: V4::Static { address: [192, 168, 1, 5].into(), prefix: 24, gateway: Some([192, 168, 1, 1].into()) },
                v6: V6::Off,
                dns: vec!["192.168.1.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
                ..Plan::automatic(mac)
            },
        ] {
            let json = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan, "{json}");
        }
    }

    #[test]
    fn a_file_with_only_a_card_is_an_automatic_plan() {
        let plan: Plan = serde_json::from_str(r#"{"mac":"52:54:00:68:62:01"}"#).unwrap();
        assert!(plan.is_automatic());
    }
}
