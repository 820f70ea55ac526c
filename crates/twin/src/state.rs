//! What the box is, as plain data. Every field comes from a source; nothing here is a wish.

use std::{collections::BTreeMap, net::IpAddr};

pub use bootstate::Slot;
use serde::{Deserialize, Serialize};

use crate::node::Node;

/// Seconds since 1970-01-01T00:00:00Z.
pub type UnixSeconds = u64;

/// The whole state of the box at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub boot: Boot,
    pub disks: std::sync::Arc<crate::disks::Disks>,
    pub moving: crate::disks::Move,
    pub updates: std::sync::Arc<crate::updates::Report>,
    /// Of new versions.
    pub news: std::sync::Arc<crate::updates::News>,
    pub units: BTreeMap<String, Unit>,
    pub resources: Resources,
    pub network: Network,
    pub links: Vec<crate::net::Link>,
    pub outside: crate::net::Outside,
    pub wifi: std::sync::Arc<crate::net::Wifi>,
    pub netconf: netconf::Report,
    pub lnd: Lnd,
    /// Long work by its name.
    pub jobs: BTreeMap<String, crate::Job>,
    pub node: Node,
    /// The copies of the channel backup.
    pub copies: std::sync::Arc<crate::Copies>,
    pub bitcoin: crate::Bitcoin,
    /// bitcoind's way through the chain, in hundredths of a percent, while it is behind.
    pub bitcoin_pace: crate::Pace,
    pub money: crate::Money,
    /// Health of each source, by its name ("systemd", "resources", "network", "lnd", "node", "bitcoind", "boot",
    /// "rates").
    pub sources: BTreeMap<String, SourceHealth>,
}

/// Whether a source could be read, and since when it is so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceHealth {
    pub connected: bool,
    pub since: UnixSeconds,
    /// A sentence for the owner when `connected` is false.
    pub error: Option<String>,
}

/// What the initrd and the boot loader left to read: `/run/homebolt/boot.json` and `/run/homebolt/slots.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The slot that runs; `None` off the box (tests on a host).
    pub slot: Option<Slot>,
    /// Device of the booted disk, for example `/dev/sda`.
    pub disk: String,
    /// Root hash that dm-verity enforces, lower-case hexadecimal.
    pub root_hash: String,
    pub data: Data,
    pub slots: Vec<SlotStatus>,
}

/// The data partition, as the initrd found it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    pub state: DataState,
    /// A sentence for the owner: what was found. Empty when `state` is `Ok`.
    #[serde(default)]
    pub detail: String,
    /// Serial number of the disk, what the owner types before anything is erased. Empty where the disk reports none.
    #[serde(default)]
    pub serial: String,
    #[serde(default)]
    pub model: String,
    /// It lies on another disk than the booted one.
    #[serde(default)]
    pub elsewhere: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataState {
    #[default]
    Ok,
    /// No data partition on the booted disk.
    Missing,
    /// A partition is there, what it holds is not ours.
    Foreign,
    /// Ours, but it cannot be mounted or checked clean.
    Damaged,
    /// It was moved to another disk, and that disk is not there. The copy left behind is never used.
    Away,
}

/// One slot, as boot loader environment and disk show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    pub slot: Slot,
    pub booted: bool,
    /// The boot loader may still choose it (its `OK` flag is set).
    pub ok: bool,
    /// Boot attempts since it was last marked good, 0 to 3.
    pub tries: u8,
    /// Version of the system in it, where it can be read.
    pub version: Option<String>,
    /// Why it failed, in a sentence; `None` when nothing is wrong.
    pub problem: Option<String>,
}

/// One systemd unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub description: String,
    /// systemd's `ActiveState`: active, activating, inactive, failed, ...
    pub active: String,
    /// systemd's `SubState`: running, exited, dead, ...
    pub sub: String,
    /// When it entered this state.
    pub since: UnixSeconds,
}

/// Load and capacity of the box; sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Share of all processors in use over the last interval, 0 to 100.
    pub cpu_percent: f32,
    pub load1: f32,
    pub memory_total: u64,
    /// Kernel's `MemAvailable`.
    pub memory_available: u64,
    pub data_total: u64,
    pub data_available: u64,
    pub uptime_seconds: u64,
    /// Whether the clock was set from the network since the start; `None` where systemd-timesyncd does not tell.
    pub clock_set: Option<bool>,
    /// Hottest sensor, degrees Celsius, where there is one.
    pub temperature_celsius: Option<f32>,
    /// The supply gives less than the board needs; `None` where the board does not report it.
    pub under_voltage: Option<bool>,
    /// When the firmware in the board's EEPROM was built, seconds since 1970; `None` where the board does not tell.
    pub eeprom: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub host_name: String,
    /// What avahi answers to for the box, `attic-2.local` where another device has its name; `None`: it has not said.
    #[serde(default)]
    pub announced: Option<String>,
    /// Every interface but loopback, in the kernel's order.
    pub interfaces: Vec<Interface>,
}

impl Network {
    /// What the box answers to in the local network: as avahi says, or its own name.
    pub fn local_name(&self) -> String {
        self.announced.clone().unwrap_or_else(|| self.own_name())
    }

    /// What the box wants to be called in the local network: `attic.local`; `homelab.local` while nobody knows its name.
    pub fn own_name(&self) -> String {
        match self.host_name.split('.').next() {
            None | Some("") => "homelab.local".to_owned(),
            Some(host) => format!("{host}.local"),
        }
    }

    /// All addresses on which a browser may reach the box, without link-local IPv6.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.interfaces.iter().flat_map(|interface| interface.addresses.iter().copied()).filter(|address| match address
        {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    pub up: bool,
    pub mac: String,
    pub addresses: Vec<IpAddr>,
}

/// LND, as its `State` service reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lnd {
    pub state: LndState,
    pub since: UnixSeconds,
}

/// `lnrpc.WalletState`, and `Unreachable` for no answer at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LndState {
    #[default]
    Unreachable,
    NonExisting,
    Locked,
    Unlocked,
    RpcActive,
    ServerActive,
    WaitingToStart,
}
