//! `homebolt-boot request`: the few things the manager may ask the root user for.
//!
//! The manager puts a file with the name of the request into its folder. The manager is taken for broken into: no link is
//! followed, names and lengths are checked, each file is gone before it is acted on, and whether the request is allowed is
//! decided here, by what the initrd found.

use std::{
    ffi::{CStr, CString},
    io::Read,
    os::fd::OwnedFd,
    path::Path,
};

use nix::{
    dir::Dir,
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, SFlag, fstat},
    unistd::{UnlinkatFlags, unlinkat},
};
use serde::Serialize;
use twin::{Data, DataState};

use crate::{
    console::note,
    error::{At, Error},
    files, program, repair, seal,
    state::{self, Boot},
};

const RESULT: &str = "/run/homebolt/request-result.json";

/// A request is the serial number of a disk at most, bytes.
const LONGEST: u64 = 256;

/// What is typed instead of the serial number of a disk that has none.
const ERASE: &str = "ERASE";

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Reboot,
    /// Look at the data partition again, which the next start does.
    DataRetry,
    DataRepair,
    DataFormat,
    /// Start LND, or start it again, with the configuration the manager has written.
    LndRestart,
    /// Seal the wallet's password, which is the content, as a credential of LND's unit.
    WalletSeal,
}

/// What follows a request that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Reboot,
    GoOn,
}

impl Request {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "reboot" => Some(Self::Reboot),
            "data-retry" => Some(Self::DataRetry),
            "data-repair" => Some(Self::DataRepair),
            "data-format" => Some(Self::DataFormat),
            "lnd-restart" => Some(Self::LndRestart),
            "wallet-seal" => Some(Self::WalletSeal),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::DataRetry => "data-retry",
            Self::DataRepair => "data-repair",
            Self::DataFormat => "data-format",
            Self::LndRestart => "lnd-restart",
            Self::WalletSeal => "wallet-seal",
        }
    }
}

/// The answer the pages show.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    name: &'static str,
    /// False for refused or failed. True while it runs, too: see `done`.
    ok: bool,
    message: &'a str,
    at: u64,
    done: bool,
    /// Another one in each answer: who waits for his own can tell two equal ones apart.
    number: u64,
}

/// Whether the request may be carried out; the error is a sentence for the owner. `content` is what stands in the file.
pub fn allow(request: Request, content: &str, data: &Data) -> Result<(), String> {
    match (request, data.state) {
        (Request::Reboot, _) => Ok(()),
        (Request::LndRestart | Request::WalletSeal, DataState::Ok) => Ok(()),
        (Request::LndRestart | Request::WalletSeal, _) => {
            Err("Without its data partition no wallet is touched.".into())
        }
        (_, DataState::Ok) => {
            Err("The data partition is in use and sound: there is nothing to repair or to set up.".into())
        }
        (Request::DataRetry, _) => Ok(()),
        (Request::DataRepair, DataState::Damaged) => Ok(()),
        (Request::DataRepair, _) => Err("Only a data partition of this box that is damaged can be repaired.".into()),
        (Request::DataFormat, _) => {
            let (expected, what) = match data.serial.as_str() {
                "" => (ERASE, "the word ERASE"),
                serial => (serial, "the serial number of the disk"),
            };
            if content.trim() == expected {
                Ok(())
            } else {
                Err(format!("Nothing was erased: what was typed is not {what}."))
            }
        }
    }
}

pub fn run() -> Result<(), Error> {
    let boot = Boot::read()?;
    for (request, content) in take(Path::new(state::FOLDER))? {
        let allowed = content.and_then(|content| allow(request, &content, &boot.data).map(|()| content));
        let result = match allowed {
            Ok(content) => {
                answer(request, true, "It has begun.", false)?;
                act(request, &content, &boot)
            }
            Err(sentence) => Err(Error::Refused(sentence)),
        };
        match result {
            Ok((message, Then::GoOn)) => answer(request, true, &message, true)?,
            Ok((message, Then::Reboot)) => {
                answer(request, true, &message, true)?;
                program::must("/usr/bin/systemctl", &["--no-block", "reboot"])?;
                // The machine goes down: what else was asked for is asked for again if it still matters.
                return Ok(());
            }
            Err(error) => answer(request, false, &error.to_string(), true)?,
        }
    }
    Ok(())
}

/// Does what was asked for, up to the restart that follows some of them. Returns what to say.
fn act(request: Request, content: &str, boot: &Boot) -> Result<(String, Then), Error> {
    match request {
        Request::Reboot | Request::DataRetry => Ok(("The box restarts.".into(), Then::Reboot)),
        Request::DataRepair => Ok((repair::repair(boot)?, Then::Reboot)),
        Request::DataFormat => Ok((repair::format(boot)?, Then::Reboot)),
        Request::LndRestart => {
            // Does not wait: LND takes the time it needs to stop, and the page follows the unit anyway.
            program::must("/usr/bin/systemctl", &["--no-block", "restart", "lnd.service"])?;
            Ok(("LND is being restarted.".into(), Then::GoOn))
        }
        Request::WalletSeal => Ok((seal::wallet_password(content)?, Then::GoOn)),
    }
}

fn answer(request: Request, ok: bool, message: &str, done: bool) -> Result<(), Error> {
    note(&format!("request {}: {message}", request.name()));
    files::write_json(
        Path::new(RESULT),
        &Answer { name: request.name(), ok, message, at: files::now(), done, number: clock() },
    )
}

/// Nanoseconds since the start of the machine: never the same twice.
fn clock() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or_default())
}

/// One request and what stands in its file, or why that is not to be used.
type Taken = (Request, Result<String, String>);

/// Takes all requests out of `<run>/manager/request`. What is none is removed, else the unit would be started for it again
/// and again; hidden files are a request being written and left alone.
fn take(run: &Path) -> Result<Vec<Taken>, Error> {
    let folder = run.join("manager/request");
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Step by step: the manager owns the folder in between and could put a link in the place of the last.
    let run = open(run, flags, Mode::empty()).at("open", run)?;
    let manager = openat(&run, "manager", flags, Mode::empty()).at("open", &folder)?;
    let mut requests = Dir::openat(&manager, "request", flags, Mode::empty()).at("open", &folder)?;
    let names: Vec<CString> = requests.iter().flatten().map(|entry| entry.file_name().to_owned()).take(64).collect();
    let mut taken = Vec::new();
    for name in names.iter().filter(|name| !name.to_bytes().starts_with(b".")) {
        let request = name.to_str().ok().and_then(Request::from_name);
        let content = request.map(|_| content(&requests, name));
        if unlinkat(&requests, name.as_c_str(), UnlinkatFlags::NoRemoveDir).is_err() {
            unlinkat(&requests, name.as_c_str(), UnlinkatFlags::RemoveDir).at("remove", &folder)?;
        }
        taken.extend(request.zip(content));
    }
    Ok(taken)
}

fn content(folder: &Dir, name: &CStr) -> Result<String, String> {
    let refused = || "The request is not a plain, short file.".to_owned();
    // Without waiting: a named pipe would hold up everything.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file: OwnedFd = openat(folder, name, flags, Mode::empty()).map_err(|_| refused())?;
    let status = fstat(&file).map_err(|_| refused())?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(refused());
    }
    let mut content = String::new();
    match std::fs::File::from(file).take(LONGEST + 1).read_to_string(&mut content) {
        Ok(length) if length as u64 <= LONGEST => Ok(content),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn data(state: DataState, serial: &str) -> Data {
        Data { state, serial: serial.into(), ..Data::default() }
    }

    #[test]
    fn a_sound_data_partition_is_never_touched() {
        for request in [Request::DataRetry, Request::DataRepair, Request::DataFormat] {
            assert!(allow(request, "S1", &data(DataState::Ok, "S1")).is_err(), "{request:?}");
        }
        assert_eq!(allow(Request::Reboot, "", &data(DataState::Ok, "S1")), Ok(()));
    }

    #[test]
    fn only_damage_is_repaired() {
        assert_eq!(allow(Request::DataRepair, "", &data(DataState::Damaged, "")), Ok(()));
        assert!(allow(Request::DataRepair, "", &data(DataState::Foreign, "")).is_err());
        assert!(allow(Request::DataRepair, "", &data(DataState::Missing, "")).is_err());
    }

    #[test]
    fn nothing_is_erased_without_the_serial_number() {
        for state in [DataState::Missing, DataState::Foreign, DataState::Damaged] {
            let with = |typed: &str, serial| allow(Request::DataFormat, typed, &data(state, serial)).is_ok();
            assert!(with("S1\n", "S1") && with("ERASE", ""));
            assert!(
                !with("", "S1") && !with("s1", "S1") && !with("ERASE", "S1") && !with("", "") && !with("erase", "")
            );
        }
    }

    fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
        let run = tempfile::tempdir().unwrap();
        let requests = run.path().join("manager/request");
        fs::create_dir_all(&requests).unwrap();
        (run, requests)
    }

    #[test]
    fn a_request_is_taken_once() {
        let (run, requests) = folder();
        fs::write(requests.join("data-format"), "S1").unwrap();
        fs::write(requests.join(".reboot.new"), "").unwrap();
        assert_eq!(take(run.path()).unwrap(), [(Request::DataFormat, Ok("S1".into()))]);
        assert_eq!(take(run.path()).unwrap(), []);
        assert!(requests.join(".reboot.new").exists(), "a request being written is left alone");
    }

    #[test]
    fn what_is_no_request_is_removed_unread() {
        let (run, requests) = folder();
        fs::write(requests.join("shutdown"), "").unwrap();
        fs::create_dir(requests.join("folder")).unwrap();
        assert_eq!(take(run.path()).unwrap(), []);
        assert_eq!(fs::read_dir(&requests).unwrap().count(), 0);
    }

    #[test]
    fn links_pipes_folders_and_long_files_are_refused_and_removed() {
        let (run, requests) = folder();
        let secret = run.path().join("secret");
        fs::write(&secret, "S1").unwrap();
        symlink(&secret, requests.join("data-format")).unwrap();
        nix::unistd::mkfifo(&requests.join("reboot"), Mode::S_IRWXU).unwrap();
        fs::create_dir(requests.join("data-retry")).unwrap();
        fs::write(requests.join("data-repair"), "x".repeat(257)).unwrap();
        let taken = take(run.path()).unwrap();
        assert_eq!(taken.len(), 4);
        assert!(taken.iter().all(|(_, content)| content.is_err()), "{taken:?}");
        assert_eq!(fs::read_dir(&requests).unwrap().count(), 0);
        assert!(secret.exists(), "the link was removed, not what it leads to");
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_is_not_followed() {
        let run = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("reboot"), "").unwrap();
        fs::create_dir(run.path().join("manager")).unwrap();
        symlink(elsewhere.path(), run.path().join("manager/request")).unwrap();
        assert!(take(run.path()).is_err());
        assert!(elsewhere.path().join("reboot").exists());
    }
}
