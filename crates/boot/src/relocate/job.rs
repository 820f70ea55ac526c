//! What the owner wished for, and the job that is made of it.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{At, Error},
    files,
    marker::{Marker, Moved},
    survey::DATA,
};

/// The job, below the root of the data partition. As long as it is there, LND does not start.
pub const JOB: &str = "system/move.json";

/// A disk as the owner saw it on the page: the name alone may be another disk's by now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The kernel's name, for example `sdb`.
    pub disk: String,
    pub serial: String,
    #[serde(default)]
    pub model: String,
    /// Bytes.
    pub size: u64,
    /// What was typed: the serial number, or ERASE.
    #[serde(default)]
    pub confirm: String,
    /// To adopt: the GUID of the data partition that is there.
    #[serde(default)]
    pub partition: String,
}

impl Wish {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wish: Self = serde_json::from_str(text)
            .map_err(|_| Error::Refused("The request does not say which disk is meant.".into()))?;
        // It becomes a path.
        if wish.disk.is_empty() || !wish.disk.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::Refused("The request names no disk.".into()));
        }
        Ok(wish)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub wish: Wish,
    /// The data goes back to the disk that the box starts from.
    pub home: bool,
    /// Starts that have tried it.
    pub attempts: u32,
    /// Seconds since 1970.
    pub begun: u64,
}

impl Job {
    pub fn new(wish: &Wish, home: bool) -> Result<Self, Error> {
        Ok(Self { id: new_id()?, wish: wish.clone(), home, attempts: 0, begun: files::now() })
    }

    pub fn read() -> Result<Option<Self>, Error> {
        match files::read_json(&path()) {
            Ok(job) => Ok(Some(job)),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn write(&self) -> Result<(), Error> {
        files::write_json(&path(), self)
    }

    /// From here on LND may start again.
    pub fn remove() -> Result<(), Error> {
        match fs::remove_file(path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path()),
            _ => fs::File::open(Path::new(DATA).join("system"))
                .and_then(|folder| folder.sync_all())
                .at("save the folder", Path::new(DATA).join("system")),
        }
    }

    /// What the old marker says when the new copy, in the partition with this GUID, is the live one.
    pub fn moved(&self, partition: String) -> Marker {
        let Wish { model, serial, .. } = self.wish.clone();
        let to = Moved { id: self.id.clone(), at: files::now(), to: partition, model, serial };
        Marker::Moved { to, arriving: None }
    }
}

/// A new name for a move: the kernel's random UUID.
pub fn new_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/uuid";
    files::text(path).ok_or_else(|| Error::Content { path: path.into(), reason: "it cannot be read".into() })
}

fn path() -> std::path::PathBuf {
    Path::new(DATA).join(JOB)
}

/// Whether a move is under way, or waits to be gone on with.
pub fn is_pending() -> bool {
    path().symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_names_a_disk_and_no_path() {
        let parse = |disk: &str| Wish::parse(&format!(r#"{{"disk":"{disk}","serial":"S1","size":7}}"#));
        assert_eq!(parse("nvme0n1").unwrap().disk, "nvme0n1");
        for bad in ["", "../sda", "sda/1", "sd a", "/dev/sda"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(Wish::parse("sda").is_err());
    }
}
