//! Which sources feed the twin, and from where.

use std::path::PathBuf;

use tokio::task::JoinSet;
use twin::{Sender, Update};

/// The units the owner sees. systemd lists those it does not know as inactive.
pub(crate) const UNITS: &[&str] = &[
    "homebolt-manager.service",
    "homebolt-gate.service",
    "lnd.service",
    "rauc.service",
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "avahi-daemon.service",
    "nftables.service",
];

pub(crate) struct Places {
    pub(crate) run_dir: PathBuf,
    /// A folder on the data partition, for its size.
    pub(crate) data: PathBuf,
}

/// Starts all sources. What the start of the manager itself depends on is in the twin when this returns, so nothing has
/// to guess whether it has come yet.
pub(crate) async fn start(places: Places, twin: &Sender, tasks: &mut JoinSet<()>) -> twin::Boot {
    let (boot, _) = platform::boot::read(&places.run_dir);
    // The twin's task lives as long as a sender does, and here is one: sending cannot fail.
    let _ = twin.send(Update::Boot(boot.clone())).await;
    if let Ok(network) = platform::network::read() {
        let _ = twin.send(Update::Network(network)).await;
    }
    tasks.spawn(platform::boot::run(places.run_dir.clone(), twin.clone()));
    tasks.spawn(platform::disks::run(places.run_dir.clone(), twin.clone()));
    tasks.spawn(platform::updates::run(places.run_dir.clone(), twin.clone()));
    tasks.spawn(platform::systemd::run(UNITS, twin.clone()));
    tasks.spawn(platform::network::run(twin.clone()));
    tasks.spawn(platform::avahi::run(twin.clone()));
    tasks.spawn(platform::links::run(twin.clone()));
    tasks.spawn(platform::wifi::run(twin.clone()));
    tasks.spawn(platform::outside::run(twin.clone()));
    tasks.spawn(platform::netconf::run(places.run_dir.clone(), twin.clone()));
    tasks.spawn(platform::resources::run(PathBuf::from("/"), places.data, twin.clone()));
    boot
}
