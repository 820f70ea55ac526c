//! What must survive a power cut: the copy that is not saved yet, and what was saved last. Two kinds of file in one
//! folder, each written aside, synced and renamed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use twin::UnixSeconds;

use crate::{Hash, Name, Saved, Scb};

/// The spool's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {path}")]
pub struct SpoolError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A folder of the pusher's own.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    memory: Memory,
}

/// What is known about a target from before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The target's words: what was saved elsewhere does not count.
    #[serde(default)]
    pub(crate) target: String,
    #[serde(default)]
    pub(crate) saved: Option<Saved>,
    /// How many channels the newest blob held, saved or not.
    #[serde(default)]
    pub(crate) channels: Option<u32>,
    #[serde(default)]
    pub(crate) shrunk: Option<Shrunk>,
}

/// Channels went missing between two backups without LND having closed them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    pub from: u32,
    pub to: u32,
    pub at: UnixSeconds,
}

const MEMORY: &str = "saved.json";

impl Spool {
    /// Makes the folder, readable by its owner alone, if it is not there.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, SpoolError> {
        let folder = folder.into();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(failed("make the folder", &folder))?;
        let path = folder.join(MEMORY);
        let memory = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                // All it costs is one more copy at the target.
                tracing::warn!("{} is not used: {error}", path.display());
                Memory::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Memory::default(),
            Err(source) => return Err(failed("read", &path)(source)),
        };
        Ok(Self { folder, memory })
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn remember(&mut self, memory: Memory) -> Result<(), SpoolError> {
        if memory == self.memory {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(&memory).map_err(|error| io::Error::other(error.to_string()));
        self.memory = memory;
        let bytes = bytes.map_err(failed("write", &self.folder.join(MEMORY)))?;
        self.write(MEMORY, &bytes)
    }

    /// The newest blob that was pending at the end of an earlier run. One whose hash does not fit is set aside, not lost.
    pub(crate) fn pending(&self) -> Result<Option<Scb>, SpoolError> {
        for name in self.names()?.into_iter().rev() {
            let path = self.folder.join(name.to_string());
            let bytes = fs::read(&path).map_err(failed("read", &path))?;
            if name.fits(&Hash::of(&bytes)) {
                return Ok(Some(Scb { bytes, channels: name.channels(), known: None, taken: name.taken() }));
            }
            tracing::warn!("{} is damaged and set aside", path.display());
            let aside = self.folder.join(format!("damaged-{name}"));
            fs::rename(&path, &aside).map_err(failed("set aside", &path))?;
        }
        Ok(None)
    }

    /// Keeps this blob and drops those before it.
    pub(crate) fn put(&self, scb: &Scb) -> Result<(), SpoolError> {
        let older = self.names()?;
        // A clock set back must not let an older blob pass for the newest.
        let name = Name::of(scb).after(older.last());
        self.write(&name.to_string(), &scb.bytes)?;
        self.remove(&older)
    }

    /// All is saved.
    pub(crate) fn clear(&self) -> Result<(), SpoolError> {
        self.remove(&self.names()?)
    }

    fn remove(&self, names: &[Name]) -> Result<(), SpoolError> {
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            let path = self.folder.join(name.to_string());
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        self.sync()
    }

    /// The blobs, oldest first.
    fn names(&self) -> Result<Vec<Name>, SpoolError> {
        let list = || {
            let mut names: Vec<Name> = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                names.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Name>().ok()));
            }
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(failed("list", &self.folder))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SpoolError> {
        let (temporary, path) = (self.folder.join(format!(".{name}.new")), self.folder.join(name));
        let fill = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        if let Err(source) = fill() {
            // Do not leave half a file on a full disk; the first error is the one to tell.
            let _ = fs::remove_file(&temporary);
            return Err(failed("write", &temporary)(source));
        }
        fs::rename(&temporary, &path).map_err(failed("put in place", &path))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), SpoolError> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed("save the folder", &self.folder))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use time::macros::datetime;

    use super::*;

    fn scb(bytes: &[u8], taken: time::OffsetDateTime) -> Scb {
        Scb { bytes: bytes.to_vec(), channels: 3, known: None, taken }
    }

    #[test]
    fn the_newest_blob_survives_a_restart_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let spool = Spool::open(&path).unwrap();
        spool.put(&scb(b"one", datetime!(2026-11-21 14:00 UTC))).unwrap();
        // By a clock that was set back.
        spool.put(&scb(b"two", datetime!(1970-01-01 00:00 UTC))).unwrap();
        // What a power cut leaves of a blob that came after.
        fs::write(path.join(".scb-20261121T150000.000Z-3-00000000.bin.new"), "thr").unwrap();
        let spool = Spool::open(&path).unwrap();
        let pending = spool.pending().unwrap().unwrap();
        assert_eq!((pending.bytes.as_slice(), pending.channels), (b"two".as_slice(), 3));
        let [name] = spool.names().unwrap()[..] else { panic!() };
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(name.to_string())), 0o600);
        spool.clear().unwrap();
        assert_eq!(Spool::open(&path).unwrap().pending().unwrap(), None);
    }

    #[test]
    fn a_power_cut_between_the_new_blob_and_the_removal_of_the_old_keeps_the_new() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let (old, new) = (scb(b"old", datetime!(2026-01-01 00:00 UTC)), scb(b"new", datetime!(2026-01-02 00:00 UTC)));
        for scb in [&new, &old] {
            spool.write(&Name::of(scb).to_string(), &scb.bytes).unwrap();
        }
        assert_eq!(spool.pending().unwrap().unwrap().bytes, b"new");
    }

    #[test]
    fn a_damaged_blob_is_set_aside_and_the_one_before_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let (old, new) = (scb(b"old", datetime!(2026-01-01 00:00 UTC)), scb(b"new", datetime!(2026-01-02 00:00 UTC)));
        spool.write(&Name::of(&old).to_string(), b"old").unwrap();
        spool.write(&Name::of(&new).to_string(), b"ne").unwrap();
        assert_eq!(spool.pending().unwrap().unwrap().bytes, b"old");
        assert!(folder.path().join(format!("damaged-{}", Name::of(&new))).is_file());
    }

    #[test]
    fn what_was_saved_is_remembered_and_garbage_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let blob = scb(b"one", datetime!(2026-01-01 00:00 UTC));
        let saved = Some(Saved { name: Name::of(&blob), hash: blob.hash(), at: 7 });
        let memory =
            Memory { target: "there".into(), saved, channels: Some(3), shrunk: Some(Shrunk { from: 3, to: 1, at: 6 }) };
        Spool::open(folder.path()).unwrap().remember(memory.clone()).unwrap();
        assert_eq!(*Spool::open(folder.path()).unwrap().memory(), memory);
        fs::write(folder.path().join(MEMORY), "{\"saved\": 3").unwrap();
        assert_eq!(*Spool::open(folder.path()).unwrap().memory(), Memory::default());
    }
}
