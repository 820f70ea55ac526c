//! What the initrd leaves for the running system, below `/run/homebolt`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use twin::{Data, DataState, Slot};

use crate::{error::Error, files};

pub const FOLDER: &str = "/run/homebolt";
pub const BOOT: &str = "/run/homebolt/boot.json";
/// Exists when the data partition is sound: units have it as their condition.
pub const DATA_OK: &str = "/run/homebolt/data-ok";

/// [`twin::Boot`] without the slots, which are looked at later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    pub slot: Slot,
    /// Device of the booted disk.
    pub disk: String,
    pub root_hash: String,
    /// Device of the data partition that was looked at last: on another disk where the data was moved.
    #[serde(default)]
    pub data_device: Option<String>,
    pub data: Data,
}

impl Boot {
    /// What the initrd wrote at this boot.
    pub fn read() -> Result<Self, Error> {
        files::read_json(Path::new(BOOT))
    }

    pub fn write(&self) -> Result<(), Error> {
        files::folder(FOLDER)?;
        files::write_json(Path::new(BOOT), self)?;
        match self.data.state {
            DataState::Ok => files::write_atomic(Path::new(DATA_OK), b"", 0o644),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_twin_s_boot_without_its_slots() {
        let data = Data {
            state: DataState::Foreign,
            detail: "ntfs".into(),
            serial: "S1".into(),
            model: "M".into(),
            elsewhere: false,
        };
        let boot = Boot {
            slot: Slot::B,
            disk: "/dev/vda".into(),
            root_hash: "ab".repeat(32),
            data_device: None,
            data: data.clone(),
        };
        let mut json = serde_json::to_value(&boot).unwrap();
        json["slots"] = serde_json::json!([]);
        let twin: twin::Boot = serde_json::from_value(json).unwrap();
        assert_eq!((twin.slot, twin.disk, twin.data), (Some(Slot::B), "/dev/vda".to_owned(), data));
    }
}
