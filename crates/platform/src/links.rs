//! Network cards as systemd-networkd has set them up, over D-Bus: where addresses come from, gateways, DNS servers.
//!
//! The kernel's notices say that something changed; then networkd is asked for its whole description, and once more a
//! little later, as it may still be at work.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use serde::Deserialize;
use tokio::time::timeout;
use twin::{
    Sender, Update,
    net::{Assigned, Link, Origin},
    source::{Backoff, Health, TwinGone, sentence},
};
use zbus::Connection;

use crate::{
    Error,
    bus::{self, ANSWER_LIMIT},
    network::Changes,
};

/// After a notice of the kernel: until networkd has taken note of it, and until it is done with what follows.
const LOOKS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(3)];
/// Everything is read this often even when no change was told.
pub const RESYNC: Duration = Duration::from_secs(30);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

#[zbus::proxy(
    interface = "org.freedesktop.network1.Manager",
    default_service = "org.freedesktop.network1",
    default_path = "/org/freedesktop/network1"
)]
trait Manager {
    /// Everything as one JSON text.
    fn describe(&self) -> zbus::Result<String>;
}

/// Follows the cards, for as long as the twin lives.
pub async fn run(twin: Sender) {
    let mut health = Health::new("networkd", twin);
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let error = match bus::connect().await {
            Ok(connection) => {
                let Err(error) = follow(&connection, &mut health, &mut backoff).await;
                error
            }
            Err(error) => error,
        };
        match health.lost(&error).await {
            Err(TwinGone) => return,
            Ok(true) => tracing::warn!("systemd-networkd is not followed: {}", sentence(&error)),
            Ok(false) => {}
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// The cards as they are now, once.
pub async fn read() -> Result<Vec<Link>, Error> {
    let connection = bus::connect().await?;
    describe(&ManagerProxy::new(&connection).await.map_err(Error::Bus)?).await
}

async fn follow(
    connection: &Connection,
    health: &mut Health,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, Error> {
    let changes = Changes::open()?;
    let manager = ManagerProxy::new(connection).await.map_err(Error::Bus)?;
    loop {
        for wait in LOOKS {
            tell(&manager, health).await?;
            backoff.reset();
            tokio::time::sleep(wait).await;
        }
        tell(&manager, health).await?;
        if let Ok(told) = timeout(RESYNC, changes.wait()).await {
            told?;
            tokio::time::sleep(LOOKS[0]).await;
        }
    }
}

async fn describe(manager: &ManagerProxy<'_>) -> Result<Vec<Link>, Error> {
    let action = "describe the network";
    let told = timeout(ANSWER_LIMIT, manager.describe()).await;
    let told = told.map_err(|_| Error::NetworkdTimeout { action, seconds: ANSWER_LIMIT.as_secs() })?;
    parse(&told.map_err(|source| Error::Networkd { action, source })?)
}

async fn tell(manager: &ManagerProxy<'_>, health: &mut Health) -> Result<(), Error> {
    let mut links = describe(manager).await?;
    for link in &mut links {
        link.speed = speed(&link.name).filter(|_| link.carrier);
    }
    health.send(Update::Links(links)).await?;
    Ok(health.connected().await?)
}

/// Mbit/s by the driver; virtual cards and radios say -1 or nothing.
fn speed(name: &str) -> Option<u32> {
    let path = Path::new("/sys/class/net").join(name).join("speed");
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|speed| *speed > 0)
}

/// What is used of networkd's description (`networkctl --json=pretty status`). Fields that are missing are not known.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(default)]
    interfaces: Vec<Described>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    name: String,
    /// ether, wlan, loopback, ...
    #[serde(default)]
    r#type: String,
    /// What only exists in the kernel has a kind: bridge, vlan, wireguard, ...
    kind: Option<String>,
    #[serde(default)]
    hardware_address: Vec<u8>,
    #[serde(default)]
    administrative_state: String,
    #[serde(default)]
    carrier_state: String,
    #[serde(default)]
    addresses: Vec<DescribedAddress>,
    #[serde(default)]
    routes: Vec<Route>,
    /// Where IPv6 gateways of router advertisements are.
    #[serde(default)]
    next_hops: Vec<Route>,
    #[serde(default, rename = "DNS")]
    dns: Vec<Server>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedAddress {
    address: Vec<u8>,
    #[serde(default)]
    prefix_length: u8,
    #[serde(default)]
    config_source: String,
    #[serde(default)]
    flags_string: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Route {
    #[serde(default)]
    destination_prefix_length: u8,
    gateway: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    address: Vec<u8>,
}

/// The cards in networkd's description: wired ones and radios, neither loopback nor what only exists in the kernel.
fn parse(text: &str) -> Result<Vec<Link>, Error> {
    let told: Description = serde_json::from_str(text).map_err(|error| Error::Description(error.to_string()))?;
    let cards = told.interfaces.into_iter().filter(|card| card.kind.is_none());
    Ok(cards.filter(|card| matches!(card.r#type.as_str(), "ether" | "wlan")).map(Described::link).collect())
}

impl Described {
    fn link(self) -> Link {
        let ways = self.routes.iter().chain(&self.next_hops).filter(|route| route.destination_prefix_length == 0);
        let mut gateways: Vec<IpAddr> = Vec::new();
        for gateway in ways.filter_map(|route| address(route.gateway.as_deref()?)) {
            if !gateway.is_unspecified() && !gateways.contains(&gateway) {
                gateways.push(gateway);
            }
        }
        let mac: Vec<String> = self.hardware_address.iter().map(|byte| format!("{byte:02x}")).collect();
        Link {
            name: self.name,
            mac: mac.join(":"),
            wireless: self.r#type == "wlan",
            carrier: !matches!(self.carrier_state.as_str(), "" | "off" | "no-carrier" | "dormant"),
            speed: None,
            addresses: self.addresses.into_iter().filter_map(DescribedAddress::assigned).collect(),
            gateways,
            dns: self.dns.iter().filter_map(|server| address(&server.address)).collect(),
            setup: self.administrative_state,
        }
    }
}

impl DescribedAddress {
    /// `None` for what cannot be used (yet): not checked for duplicates, found to be one, on its way out.
    fn assigned(self) -> Option<Assigned> {
        let flags = self.flags_string.unwrap_or_default();
        if flags.split(',').any(|flag| matches!(flag, "tentative" | "dadfailed" | "deprecated")) {
            return None;
        }
        let address = address(&self.address)?;
        let is_near = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let from = match self.config_source.as_str() {
            _ if is_near => Origin::LinkLocal,
            "DHCPv4" | "DHCPv6" | "DHCP-PD" => Origin::Dhcp,
            "NDisc" => Origin::Router,
            "static" => Origin::Static,
            _ => Origin::Other,
        };
        Some(Assigned { address, prefix: self.prefix_length, from })
    }
}

/// Four bytes or sixteen.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What systemd 257 answered in the booted image, shortened.
    const TOLD: &str = include_str!("../tests/data/networkd.json");

    #[test]
    fn a_card_with_dhcp_is_read_from_networkds_description() {
        let links = parse(TOLD).unwrap();
        let [link] = links.as_slice() else { panic!("{links:?}") };
        assert_eq!((link.name.as_str(), link.mac.as_str()), ("enp0s3", "52:54:00:68:62:01"));
        assert!(link.carrier && !link.wireless && link.is_reachable());
        assert_eq!(link.setup, "configured");
        let v4 = Assigned { address: [10, 0, 2, 15].into(), prefix: 24, from: Origin::Dhcp };
        assert!(link.addresses.contains(&v4), "{link:?}");
        assert!(
            link.addresses.iter().all(|assigned| !assigned.address.to_string().starts_with("fec0")),
            "an address that is still being checked is none yet: {link:?}"
        );
        assert_eq!(link.gateways, ["10.0.2.2".parse::<IpAddr>().unwrap(), "fe80::2".parse().unwrap()]);
        assert_eq!(link.dns, ["10.0.2.3".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_card_without_a_cable_has_nothing() {
        let text = r#"{"Interfaces":[{"Name":"enp1s0","Type":"ether","HardwareAddress":[2,0,0,0,0,1],
            "AdministrativeState":"configuring","CarrierState":"no-carrier"},
            {"Name":"wg0","Type":"none","Kind":"wireguard"},{"Name":"br0","Type":"ether","Kind":"bridge"}]}"#;
        let links = parse(text).unwrap();
        assert_eq!(links.len(), 1);
        assert!(!links[0].carrier && !links[0].is_reachable() && links[0].gateways.is_empty());
    }

    #[test]
    fn a_description_that_is_none_is_an_error() {
        assert!(parse("{").is_err());
        assert!(parse(r#"{"Interfaces":[{"Name":7}]}"#).is_err());
        assert_eq!(parse("{}").unwrap(), []);
    }
}
