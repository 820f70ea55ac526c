//! What the box is, as plain data. Every field comes from a source; nothing here is a wish.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::node::Node;

/// Seconds since 1970-01-01T00:00:00Z.
pub type UnixSeconds = u64;

/// The whole state of the box at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub boot: Boot,
    pub units: BTreeMap<String, Unit>,
    pub resources: Resources,
    pub network: Network,
    pub lnd: Lnd,
    /// Long work by its name.
    pub jobs: BTreeMap<String, crate::Job>,
    pub node: Node,
    pub bitcoin: crate::Bitcoin,
    /// Health of each source, by its name ("systemd", "resources", "network", "lnd", "node", "bitcoind", "boot").
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    A,
    B,
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
    /// Hottest sensor, degrees Celsius, where there is one.
    pub temperature_celsius: Option<f32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub host_name: String,
    /// Every interface but loopback, in the kernel's order.
    pub interfaces: Vec<Interface>,
}

impl Network {
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
