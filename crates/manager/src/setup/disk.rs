//! Where the data lies: what the owner chose, and what is asked of the root program for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time;
use twin::disks::Disk;

use crate::{
    request::{Refused, Task},
    shared::House,
};

/// For the root program to look at all disks. One that dies answers late.
const LIMIT: Duration = Duration::from_secs(120);
/// For what the root program wrote to reach the twin.
const NEWS: Duration = Duration::from_secs(4);

/// What the owner chose. Which disk it is stands on the disks themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Choice {
    /// The data stays where it is.
    Stay,
    /// The data was asked to be moved, or another disk's data to be used.
    Other,
}

/// Has the disks looked at again; the twin has the news when this returns.
pub(crate) async fn scan(house: &House) -> Result<(), Refused> {
    let before = house.shared.twin.state().disks.at;
    ask(house, Task::DiskScan, "").await?;
    until(house, |state| state.disks.at > before).await;
    Ok(())
}

/// Asks for the data to be moved to the disk. `confirm` is what the owner typed; the root program judges it.
pub(crate) async fn relocate(house: &House, disk: &Disk, confirm: &str) -> Result<(), Refused> {
    ask(house, Task::DiskMove, &wish(disk, confirm, "")).await?;
    until(house, |state| state.moving.is_running()).await;
    Ok(())
}

pub(crate) async fn cancel(house: &House) -> Result<(), Refused> {
    ask(house, Task::DiskCancel, "").await?;
    until(house, |state| !state.moving.is_running()).await;
    Ok(())
}

/// Asks for the data of that partition to be used from now on. The box restarts.
pub(crate) async fn adopt(house: &House, disk: &Disk, partition: &str) -> Result<(), Refused> {
    ask(house, Task::DiskAdopt, &wish(disk, "", partition)).await
}

async fn ask(house: &House, task: Task, content: &str) -> Result<(), Refused> {
    house.desk.ask(&house.shared.run_dir, task, content, LIMIT).await.map(drop)
}

/// The disk as the owner saw it: the root program finds out whether it is still that one.
fn wish(disk: &Disk, confirm: &str, partition: &str) -> String {
    let Disk { name, serial, model, size, .. } = disk;
    json!({ "disk": name, "serial": serial, "model": model, "size": size, "confirm": confirm, "partition": partition })
        .to_string()
}

/// Waits for the twin, but not for ever: the page shows what there is.
async fn until(house: &House, wanted: impl Fn(&twin::State) -> bool) {
    let mut changes = house.shared.twin.changes();
    let arrived = async {
        while !wanted(&house.shared.twin.state()) {
            let _ = time::timeout(Duration::from_millis(500), changes.recv()).await;
        }
    };
    let _ = time::timeout(NEWS, arrived).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_short_enough_for_the_root_program_and_says_which_disk() {
        let disk = Disk {
            name: "nvme0n1".into(),
            serial: "S".repeat(64),
            model: "M".repeat(64),
            size: u64::MAX,
            ..Disk::default()
        };
        let text = wish(&disk, &"S".repeat(64), "373e0d83-6967-4e61-b68a-59c0a89aa865");
        assert!(text.len() <= 1024, "{}", text.len());
        assert!(text.contains("\"disk\":\"nvme0n1\""));
    }
}
