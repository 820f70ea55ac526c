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
    files,
    network::{self, Places},
    place, program, relocate, repair, reset, seal,
    state::{self, Boot},
    stick, survey, update,
};

const RESULT: &str = "/run/homebolt/request-result.json";

/// Most requests are a few words about a disk at most, bytes.
const LONGEST: u64 = 1024;
/// A plan for the network, or the address of an update, in JSON.
const LONGEST_JSON: u64 = 2048;

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
    /// Say which USB sticks are plugged in.
    StickList,
    /// Mount the stick whose serial number is the content.
    StickMount,
    /// Try the plan for the network that is the content, and take it back unless it is confirmed.
    NetworkTry,
    /// Keep the plan that is being tried; the content is its code.
    NetworkConfirm,
    /// Take the plan back at once.
    NetworkWithdraw,
    /// Name the machine and set its time zone: the content is a line of each.
    Place,
    /// Look at the disks again.
    DiskScan,
    /// Move the data to the disk that the content describes.
    DiskMove,
    /// End a move that has not come to its one write.
    DiskCancel,
    /// Use the data partition that the content describes from now on.
    DiskAdopt,
    /// Start one of [`RESTARTABLE`], which is the content, again.
    UnitRestart,
    /// Install the update that the content and the signed document beside it describe.
    UpdateInstall,
    /// End an installation that goes on, or forget one that waits for its restart.
    UpdateCancel,
    /// Restart into the version that was installed.
    UpdateRestart,
    /// Restart into the other slot, whose version is the content.
    SlotSwitch,
    /// Erase the data; the content is what was typed.
    FactoryReset,
}

/// The names of their files.
const NAMES: [(Request, &str); 22] = [
    (Request::Reboot, "reboot"),
    (Request::DataRetry, "data-retry"),
    (Request::DataRepair, "data-repair"),
    (Request::DataFormat, "data-format"),
    (Request::LndRestart, "lnd-restart"),
    (Request::WalletSeal, "wallet-seal"),
    (Request::StickList, "stick-list"),
    (Request::StickMount, "stick-mount"),
    (Request::NetworkTry, "network-try"),
    (Request::NetworkConfirm, "network-confirm"),
    (Request::NetworkWithdraw, "network-withdraw"),
    (Request::Place, "place"),
    (Request::DiskScan, "disk-scan"),
    (Request::DiskMove, "disk-move"),
    (Request::DiskCancel, "disk-cancel"),
    (Request::DiskAdopt, "disk-adopt"),
    (Request::UnitRestart, "unit-restart"),
    (Request::UpdateInstall, "update-install"),
    (Request::UpdateCancel, "update-cancel"),
    (Request::UpdateRestart, "update-restart"),
    (Request::SlotSwitch, "slot-switch"),
    (Request::FactoryReset, "factory-reset"),
];

/// The units that may be started again by name. Not LND, which has a request of its own with its own conditions.
const RESTARTABLE: [&str; 4] =
    ["homebolt-manager.service", "systemd-timesyncd.service", "avahi-daemon.service", "systemd-networkd.service"];

/// What follows a request that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Reboot,
    GoOn,
}

impl Request {
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|known| known.1 == name).map(|known| known.0)
    }

    pub fn name(self) -> &'static str {
        NAMES.iter().find(|known| known.0 == self).map_or("", |known| known.1)
    }

    /// So long its content may be, bytes.
    fn longest(self) -> u64 {
        match self {
            Self::NetworkTry | Self::UpdateInstall => LONGEST_JSON,
            _ => LONGEST,
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
        (Request::StickList | Request::StickMount, DataState::Ok) => Ok(()),
        (Request::StickList | Request::StickMount, _) => {
            Err("Without its data partition there is nothing to copy.".into())
        }
        (Request::UnitRestart, _) if RESTARTABLE.contains(&content.trim()) => Ok(()),
        (Request::UnitRestart, _) => Err("This is no unit that is started again by hand.".into()),
        (Request::LndRestart | Request::WalletSeal, DataState::Ok) => Ok(()),
        (Request::Place, DataState::Ok) => Ok(()),
        (Request::Place, _) => Err("Without its data partition the box cannot keep a name.".into()),
        // What disk it may be is decided where it is looked at.
        (Request::DiskScan | Request::DiskMove | Request::DiskCancel | Request::DiskAdopt, DataState::Ok) => Ok(()),
        (Request::DiskScan | Request::DiskMove | Request::DiskCancel | Request::DiskAdopt, _) => {
            Err("Without its data partition the box moves no data.".into())
        }
        (Request::LndRestart | Request::WalletSeal, _) => {
            Err("Without its data partition no wallet is touched.".into())
        }
        (Request::FactoryReset, DataState::Ok) => reset::allow(content, data),
        (Request::FactoryReset, _) => Err("Without its data partition there is nothing to erase.".into()),
        (
            Request::UpdateInstall | Request::UpdateCancel | Request::UpdateRestart | Request::SlotSwitch,
            DataState::Ok,
        ) => Ok(()),
        (Request::UpdateInstall | Request::UpdateCancel | Request::UpdateRestart | Request::SlotSwitch, _) => {
            Err("Without its data partition the box cannot keep track of an update.".into())
        }
        (Request::NetworkTry | Request::NetworkConfirm | Request::NetworkWithdraw, DataState::Ok) => Ok(()),
        (Request::NetworkTry | Request::NetworkConfirm | Request::NetworkWithdraw, _) => {
            Err("Without its data partition the box cannot keep settings of the network.".into())
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
        Request::LndRestart | Request::WalletSeal if relocate::is_pending() => {
            Err(Error::Refused("The data is being moved to another disk. LND starts again when that has ended.".into()))
        }
        Request::LndRestart => {
            // Does not wait: LND takes the time it needs to stop, and the page follows the unit anyway.
            program::must("/usr/bin/systemctl", &["--no-block", "restart", "lnd.service"])?;
            Ok(("LND is being restarted.".into(), Then::GoOn))
        }
        Request::WalletSeal => Ok((seal::wallet_password(content)?, Then::GoOn)),
        Request::StickList => {
            let found = serde_json::to_string(&stick::list(&boot.disk));
            Ok((found.map_err(|error| Error::Refused(error.to_string()))?, Then::GoOn))
        }
        Request::StickMount => Ok((stick::mount(content, &boot.disk)?, Then::GoOn)),
        Request::NetworkTry => Ok((network::begin(&Places::of_box(), content, network::start_unit)?, Then::GoOn)),
        Request::NetworkConfirm => Ok((network::confirm(&Places::of_box(), content)?, Then::GoOn)),
        Request::NetworkWithdraw => Ok((network::withdraw(&Places::of_box())?, Then::GoOn)),
        Request::Place => Ok((place::take(content)?, Then::GoOn)),
        Request::DiskScan => survey::run().map(|()| ("The disks were looked at.".into(), Then::GoOn)),
        Request::DiskMove => Ok((relocate::begin(content, boot)?, Then::GoOn)),
        Request::DiskCancel => Ok((relocate::cancel()?, Then::GoOn)),
        Request::DiskAdopt => Ok((relocate::adopt(content, boot)?, Then::Reboot)),
        Request::UpdateInstall => Ok((update::begin(content, boot)?, Then::GoOn)),
        Request::UpdateCancel => Ok((update::cancel(boot)?, Then::GoOn)),
        Request::UpdateRestart => Ok((update::restart(boot)?, Then::Reboot)),
        Request::SlotSwitch => Ok((update::switch(content, boot)?, Then::GoOn)),
        Request::FactoryReset => Ok((reset::begin()?, Then::Reboot)),
        Request::UnitRestart => {
            // Not the text that came, but ours: whatever it was, it is one of four words now.
            let unit = RESTARTABLE.into_iter().find(|unit| *unit == content.trim());
            let unit = unit.ok_or_else(|| Error::Refused("This is no unit that is started again by hand.".into()))?;
            program::must("/usr/bin/systemctl", &["--no-block", "restart", unit])?;
            Ok((format!("{unit} is being restarted."), Then::GoOn))
        }
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
        let content = request.map(|request| content(&requests, name, request.longest()));
        if unlinkat(&requests, name.as_c_str(), UnlinkatFlags::NoRemoveDir).is_err() {
            unlinkat(&requests, name.as_c_str(), UnlinkatFlags::RemoveDir).at("remove", &folder)?;
        }
        taken.extend(request.zip(content));
    }
    Ok(taken)
}

fn content(folder: &Dir, name: &CStr, longest: u64) -> Result<String, String> {
    let refused = || "The request is not a plain, short file.".to_owned();
    // Without waiting: a named pipe would hold up everything.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file: OwnedFd = openat(folder, name, flags, Mode::empty()).map_err(|_| refused())?;
    let status = fstat(&file).map_err(|_| refused())?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(refused());
    }
    let mut content = String::new();
    match std::fs::File::from(file).take(longest + 1).read_to_string(&mut content) {
        Ok(length) if length as u64 <= longest => Ok(content),
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
    fn only_units_of_the_list_are_started_again() {
        let sound = data(DataState::Ok, "");
        assert_eq!(allow(Request::UnitRestart, "avahi-daemon.service\n", &sound), Ok(()));
        for unit in ["", "lnd.service", "sshd.service", "--user", "avahi-daemon.service lnd.service", "../x"] {
            assert!(allow(Request::UnitRestart, unit, &sound).is_err(), "{unit}");
        }
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
        fs::write(requests.join("data-repair"), "x".repeat(1025)).unwrap();
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
