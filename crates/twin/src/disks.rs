//! The disks of the box, and the move of its data from one to another, as the root programs report them.

use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// `/run/homebolt/disks.json`: every disk that data could lie on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disks {
    /// When the disks were looked at; 0 before the first look.
    pub at: UnixSeconds,
    /// What the data takes now, bytes.
    pub used: u64,
    /// Whether the data in use holds a Lightning wallet, or one that is being made.
    pub wallet: bool,
    /// The booted disk first, then by name.
    pub disks: Vec<Disk>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The kernel's name, for example `sda`. May be another disk's after a restart.
    pub name: String,
    pub model: String,
    /// Empty where the disk reports none.
    pub serial: String,
    /// Bytes.
    pub size: u64,
    /// The system was started from it.
    pub booted: bool,
    /// The data in use lies on it.
    pub live: bool,
    /// Nothing known was found on it: no partition table, no file system.
    pub empty: bool,
    pub parts: Vec<Part>,
    /// Why the data cannot be moved to it.
    pub obstacle: Option<Obstacle>,
}

impl Disk {
    /// What is typed before the disk is overwritten.
    pub fn erase_word(&self) -> &str {
        if self.serial.is_empty() { "ERASE" } else { &self.serial }
    }
}

/// One partition, or the whole disk where it has a file system and no partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub label: String,
    /// Bytes.
    pub size: u64,
    /// File system or other content, as `blkid` names it; empty for nothing known.
    pub content: String,
    /// It is a Homebolt data partition.
    pub data: Option<DataPart>,
}

/// What a Homebolt data partition says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPart {
    /// GUID of the partition.
    pub partition: String,
    pub standing: Standing,
    /// It was made by this box: it has the same machine id as the data in use.
    pub own: bool,
    /// Host name of its box, empty where it was never set.
    pub host: String,
    /// A wallet was made or restored in it.
    pub wallet: bool,
    /// For [`Standing::Moved`]: when, and the model and serial number of the disk it went to.
    pub moved_at: Option<UnixSeconds>,
    pub moved_to: String,
}

/// What a data partition is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The data of a box.
    Live,
    /// An old copy: its data was moved to another disk and lives on there.
    Moved,
    /// A copy that was begun and not finished.
    Arriving,
    /// Its marker cannot be read, or is of a newer system.
    #[default]
    Unknown,
}

/// Why a disk cannot take the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Obstacle {
    /// Something on it is mounted or held.
    Busy,
    ReadOnly,
    /// It needs so many bytes.
    Small(u64),
    Unreadable,
}

/// `/run/homebolt/move.json`: the move that goes on, or the last one since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub phase: MovePhase,
    /// Bytes done and to do in this phase; both 0 where nothing is counted.
    pub done: u64,
    pub total: u64,
    /// A sentence, when it failed.
    pub error: String,
    /// Model and serial number of the disk that the data goes to.
    pub disk: String,
    pub at: UnixSeconds,
}

impl Move {
    pub fn is_running(&self) -> bool {
        !matches!(self.phase, MovePhase::None | MovePhase::Failed | MovePhase::Cancelled)
    }
}

/// In their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MovePhase {
    #[default]
    None,
    /// LND is being stopped.
    Stop,
    /// The new partition and its file system are made.
    Prepare,
    Copy,
    /// Every file is read back and compared.
    Check,
    /// What the manager wrote meanwhile is copied, and the one write that makes the new copy the live one.
    Switch,
    Restart,
    Failed,
    Cancelled,
}

impl MovePhase {
    /// Those that a move goes through.
    pub const WAY: [Self; 6] = [Self::Stop, Self::Prepare, Self::Copy, Self::Check, Self::Switch, Self::Restart];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stop => "stop",
            Self::Prepare => "prepare",
            Self::Copy => "copy",
            Self::Check => "check",
            Self::Switch => "switch",
            Self::Restart => "restart",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
