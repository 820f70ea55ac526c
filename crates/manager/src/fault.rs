//! When the data partition cannot be used: what was found, and what may be asked of the box.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use rust_i18n::t;
use twin::{Data, DataState};

use crate::{
    atomic,
    error::{Error, now},
    request::Request,
};

/// Why there is no usable state, and what the disk is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// A sentence: what was found.
    pub(crate) detail: String,
    /// What is typed before anything is erased; empty where the disk has none.
    pub(crate) serial: String,
    pub(crate) model: String,
    /// The manager's own file that is damaged; the box can do without it.
    pub(crate) aside: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Missing,
    Foreign,
    Damaged,
    /// The data was moved to a disk that is not there.
    Away,
    /// The partition is fine, the manager's own files in it are not.
    State,
}

impl Fault {
    /// The fault that the initrd reported, if any.
    pub(crate) fn of_data(data: &Data) -> Option<Self> {
        let kind = match data.state {
            DataState::Ok => return None,
            DataState::Missing => FaultKind::Missing,
            DataState::Foreign => FaultKind::Foreign,
            DataState::Damaged => FaultKind::Damaged,
            DataState::Away => FaultKind::Away,
        };
        let (detail, serial, model) = (data.detail.clone(), data.serial.clone(), data.model.clone());
        Some(Self { kind, detail, serial, model, aside: None })
    }

    /// The manager's own files cannot be used.
    pub(crate) fn of_state(error: &Error) -> Self {
        // Not so for a database that is newer than this program: the newer system reads it.
        let aside = match error {
            Error::Store(store::Error::Damaged { path, .. } | store::Error::Foreign { path })
            | Error::KeyFile { path, .. } => Some(path.clone()),
            _ => None,
        };
        let detail = error.to_string();
        Self { kind: FaultKind::State, detail, serial: String::new(), model: String::new(), aside }
    }

    /// In a few words, for a heading and the console.
    pub(crate) fn title(&self) -> Cow<'static, str> {
        match self.kind {
            FaultKind::Missing => t!("recovery.fault.missing"),
            FaultKind::Foreign => t!("recovery.fault.foreign"),
            FaultKind::Damaged => t!("recovery.fault.damaged"),
            FaultKind::State => t!("recovery.fault.state"),
            FaultKind::Away => t!("recovery.fault.away"),
        }
    }

    /// Whether `request` makes sense here.
    pub(crate) fn offers(&self, request: Request) -> bool {
        match request {
            Request::Reboot => true,
            Request::DataRetry => self.kind != FaultKind::State,
            Request::DataRepair => self.kind == FaultKind::Damaged,
            // With the partition in order, erasing the wallet's data is no cure for the manager's trouble.
            Request::DataFormat => self.kind != FaultKind::State,
            Request::SetAside => self.aside.is_some(),
        }
    }

    /// What must be typed before everything on the data partition is erased.
    pub(crate) fn erase_word(&self) -> &str {
        if self.serial.is_empty() { "ERASE" } else { &self.serial }
    }
}

/// Renames the manager's damaged `file`, with the log that belongs to it if it is a database. Nothing is deleted: what
/// was in it may still be of use to somebody who knows how.
pub(crate) fn set_aside(file: &Path) -> Result<(), Error> {
    let at = now();
    for suffix in ["-wal", ""] {
        let mut from = file.as_os_str().to_owned();
        from.push(suffix);
        let mut to = from.clone();
        to.push(format!(".aside-{at}"));
        match std::fs::rename(&from, to) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("set aside", from)(source));
            }
            _ => {}
        }
    }
    atomic::sync_folder(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_s_own_trouble_never_offers_to_erase_the_wallet() {
        let fault = Fault::of_state(&Error::NoSocket);
        assert!(!fault.offers(Request::DataFormat));
        assert!(fault.offers(Request::Reboot));
        assert!(!fault.offers(Request::SetAside), "there is no damaged file");
    }

    #[test]
    fn a_damaged_database_is_set_aside_with_its_log_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager.db");
        for name in ["manager.db", "manager.db-wal", "claimed"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let error = Error::Store(store::Error::Damaged { path: path.clone(), detail: String::new() });
        let fault = Fault::of_state(&error);
        assert!(fault.offers(Request::SetAside));
        set_aside(fault.aside.as_deref().unwrap()).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3);
        assert_eq!(names[0], "claimed");
        assert!(names[1].starts_with("manager.db-wal.aside-") && names[2].starts_with("manager.db.aside-"));
    }
}
