//! The network as it was set up: cards, where their addresses come from, and what answers outside.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// One network card, wired or by radio.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub name: String,
    /// `52:54:00:68:62:01`
    pub mac: String,
    pub wireless: bool,
    /// A cable with a device at its other end, or a radio network that was joined.
    pub carrier: bool,
    /// Mbit/s, where the card says.
    pub speed: Option<u32>,
    pub addresses: Vec<Assigned>,
    /// Default gateways, IPv4 and IPv6.
    pub gateways: Vec<IpAddr>,
    pub dns: Vec<IpAddr>,
    /// systemd-networkd's `AdministrativeState`: configured, configuring, failed, unmanaged, ...
    pub setup: String,
}

/// One address of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    pub address: IpAddr,
    pub prefix: u8,
    pub from: Origin,
}

/// Who gave an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A router, by DHCP.
    Dhcp,
    /// A router, by IPv6 router advertisement.
    Router,
    /// The owner.
    Static,
    /// The box itself, for this one wire.
    LinkLocal,
    Other,
}

/// The box's radios and what they see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wifi {
    /// By the kernel; none: this box has a cable only.
    pub radios: Vec<Radio>,
    /// By iwd; `None`: it does not answer.
    pub stations: Option<Vec<Station>>,
}

/// One radio, by the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Radio {
    /// phy0
    pub name: String,
    pub driver: String,
    pub blocked: Blocked,
}

/// Whether something keeps a radio silent (rfkill).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blocked {
    #[default]
    No,
    /// By software.
    Soft,
    /// By a switch or the firmware.
    Hard,
}

/// A radio as iwd drives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Station {
    /// wlan0
    pub card: String,
    pub mac: String,
    pub powered: bool,
    pub scanning: bool,
    /// iwd's word: connected, disconnected, connecting, disconnecting, roaming.
    pub state: String,
    /// The strongest first.
    pub networks: Vec<Reach>,
}

/// A network in reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// As it was sent: may hold anything that UTF-8 can.
    pub ssid: String,
    /// dBm, rounded to fives, so that the air's noise is no news.
    pub signal: i16,
    pub security: Security,
    pub connected: bool,
    /// iwd has its password.
    pub known: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    Open,
    /// One password for all: WPA2 or WPA3 Personal.
    Personal,
    /// A name and password for each person (802.1X).
    Enterprise,
    /// Broken twenty years ago.
    Wep,
    Other,
}

/// Whether the world outside answers. Nothing is asked that the box would not ask anyway: its time server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Name of the time server that is asked; empty: not known yet.
    pub server: String,
    /// Whether that name could be resolved; `None`: not tried yet.
    pub resolves: Option<bool>,
    /// When the time server last set the clock, since the start; `None`: not yet.
    pub synced: Option<UnixSeconds>,
}

impl Link {
    /// An address that others than the box itself gave, or the owner.
    pub fn is_reachable(&self) -> bool {
        self.addresses.iter().any(|assigned| assigned.from != Origin::LinkLocal)
    }
}
