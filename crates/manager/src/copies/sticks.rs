//! USB sticks: root finds and mounts them, one at a time and always in the same place.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Duration,
};

use backup::{Target, config::Folder};
use rust_i18n::t;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::{request::Task, shared::House};

/// For root to look at all disks, or to mount one that sleeps.
const LIMIT: Duration = Duration::from_secs(25);
/// Where root mounts it, below the run folder.
const MOUNT: &str = "stick";

/// A stick that is plugged in, as root tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Stick {
    pub(crate) serial: String,
    pub(crate) model: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// Its file system's label.
    pub(crate) label: String,
    /// Why it cannot be used, a sentence; empty when it can.
    pub(crate) fault: String,
}

/// The one that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chosen {
    pub(crate) serial: String,
    pub(crate) model: String,
}

/// Asks root what is plugged in. An error is a sentence.
async fn list(house: &House) -> Result<Vec<Stick>, String> {
    let answer =
        house.desk.ask(&house.shared.run_dir, Task::StickList, "", LIMIT).await.map_err(|refused| refused.0)?;
    serde_json::from_str(&answer).map_err(|error| t!("backup.stick.unreadable", what = error).into_owned())
}

/// The same, and remembers it for who chooses one of them.
pub(crate) async fn look(house: &House) -> Result<Vec<Stick>, String> {
    let found = list(house).await?;
    *house.copies.sticks.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
    Ok(found)
}

/// Has root mount the stick with this serial number. An error is a sentence.
pub(crate) async fn mount(house: &House, serial: &str) -> Result<(), String> {
    let asked = house.desk.ask(&house.shared.run_dir, Task::StickMount, serial, LIMIT).await;
    asked.map(drop).map_err(|refused| refused.0)
}

/// Mounts it and says what its place is.
pub(crate) async fn use_it(house: &House, stick: &Stick) -> Result<Place, String> {
    mount(house, &stick.serial).await?;
    let chosen = Chosen { serial: stick.serial.clone(), model: stick.model.clone() };
    Ok(Place { target: target(&house.shared.run_dir, &chosen), stick: Some(chosen) })
}

/// The serial number is part of the path: another stick is another place, which needs its own copy.
fn target(run_dir: &Path, stick: &Chosen) -> Target {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let serial: String = stick.serial.chars().map(plain).collect();
    let folder = Path::new("homebolt").join(serial);
    Target::Folder(Folder { mount: run_dir.join(MOUNT), folder, must_be_mounted: true })
}

/// Where the stick is mounted.
pub(crate) fn folder(run_dir: &Path) -> PathBuf {
    run_dir.join(MOUNT)
}

pub(crate) fn is_mounted(run_dir: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev()).ok();
    let here = device(&folder(run_dir));
    here.is_some() && here != device(run_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sticks_are_two_places_and_no_serial_number_leads_out_of_the_stick() {
        let of =
            |serial: &str| target(Path::new("/run/homebolt"), &Chosen { serial: serial.into(), model: String::new() });
        assert_eq!(of("4C53").describe(), "the folder /run/homebolt/stick/homebolt/4C53");
        assert_ne!(of("4C53"), of("4C54"));
        let Target::Folder(odd) = of("../../etc/x") else { panic!() };
        assert_eq!(odd.folder, Path::new("homebolt/------etc-x"));
    }
}
