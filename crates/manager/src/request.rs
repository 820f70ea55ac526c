//! What the manager asks of root, and what came of it.
//!
//! The manager has no rights on disks, units or the network. It leaves a file in `<run>/manager/request/`; a unit sees it
//! and a small root program (`homebolt-boot request`), which trusts the manager in nothing, acts and leaves
//! `<run>/request-result.json`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tokio::{sync::Mutex, time};

use crate::{atomic, error::Error};

/// What a person may ask for when the data cannot be used. All but [`Request::SetAside`] is the root program's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Reboot,
    DataRetry,
    DataRepair,
    DataFormat,
    /// Rename the manager's damaged file and begin without it.
    SetAside,
}

/// Work for the root program on a box in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Start LND, or start it again, with the configuration in `/data/config`.
    LndRestart,
    /// Seal the wallet's password (the content) as a credential of LND's unit.
    WalletSeal,
    /// Name the machine and set its time zone: one line each.
    Place,
    /// Try a plan for the network (a [`netconf::Try`] in JSON).
    NetworkTry,
    /// Keep the plan that is tried; the content is its code.
    NetworkConfirm,
    /// Take the plan back at once.
    NetworkWithdraw,
    /// Look at the disks again.
    DiskScan,
    /// Move the data to another disk, which the content describes.
    DiskMove,
    /// End a move that is not done.
    DiskCancel,
    /// Use the data partition that the content describes, and restart.
    DiskAdopt,
    /// Say which USB sticks are plugged in.
    StickList,
    /// Mount the stick with this serial number (the content) where the manager may write.
    StickMount,
    /// Start another unit (the content, one of [`RESTARTABLE`]) again.
    UnitRestart,
    /// Install the update that the content and `update.json` describe.
    UpdateInstall,
    /// End an installation that goes on.
    UpdateCancel,
    /// Restart into what was installed.
    UpdateRestart,
    /// Go back to the other system, whose version is the content.
    SlotSwitch,
    /// Erase the data and begin anew.
    FactoryReset,
}

/// The units that the owner may start again. The root program has the same list.
pub(crate) const RESTARTABLE: [&str; 5] = [
    "lnd.service",
    "homebolt-manager.service",
    "systemd-timesyncd.service",
    "avahi-daemon.service",
    "systemd-networkd.service",
];

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::LndRestart => "lnd-restart",
            Self::WalletSeal => "wallet-seal",
            Self::Place => "place",
            Self::NetworkTry => "network-try",
            Self::NetworkConfirm => "network-confirm",
            Self::NetworkWithdraw => "network-withdraw",
            Self::DiskScan => "disk-scan",
            Self::DiskMove => "disk-move",
            Self::DiskCancel => "disk-cancel",
            Self::DiskAdopt => "disk-adopt",
            Self::StickList => "stick-list",
            Self::StickMount => "stick-mount",
            Self::UnitRestart => "unit-restart",
            Self::UpdateInstall => "update-install",
            Self::UpdateCancel => "update-cancel",
            Self::UpdateRestart => "update-restart",
            Self::SlotSwitch => "slot-switch",
            Self::FactoryReset => "factory-reset",
        }
    }
}

/// What the root program answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) message: String,
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// False while the work goes on.
    pub(crate) done: bool,
    /// Another one in each answer, so that two equal answers are not taken for one.
    #[serde(default)]
    pub(crate) number: u64,
}

impl Request {
    /// What the recovery page offers.
    pub(crate) const OFFERED: [Self; 5] =
        [Self::DataRetry, Self::DataRepair, Self::SetAside, Self::DataFormat, Self::Reboot];

    /// Name of the request's file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::DataRetry => "data-retry",
            Self::DataRepair => "data-repair",
            Self::DataFormat => "data-format",
            Self::SetAside => "set-aside",
        }
    }

    /// Of those that the recovery page offers.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::OFFERED.into_iter().find(|request| request.name() == name)
    }
}

/// Asks the root program for `request`. `confirm` is what the owner typed, empty where nothing is asked for: the root
/// program compares it itself, as it does not trust this one.
pub(crate) fn ask(run_dir: &Path, request: Request, confirm: &str) -> Result<(), Error> {
    leave(run_dir, request.name(), confirm)
}

fn leave(run_dir: &Path, name: &str, content: &str) -> Result<(), Error> {
    let manager = run_dir.join("manager");
    // Every file in the request folder is a request, so the temporary one lies beside it.
    let temporary = manager.join(format!(".{name}.new"));
    atomic::write_through(&temporary, &manager.join("request").join(name), content.trim().as_bytes(), 0o600)
}

/// The answer to the last request, if there is one.
pub(crate) fn outcome(run_dir: &Path) -> Option<Outcome> {
    let path: PathBuf = run_dir.join("request-result.json");
    let bytes = std::fs::read(&path).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "the answer to a request cannot be read"))
        .ok()
}

/// One request at a time whose answer somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<()>);

/// So often the answer is looked for.
const GLANCE: Duration = Duration::from_millis(200);

impl Desk {
    /// Has `task` done and waits for its end; gives what the root program said, or its refusal as a sentence.
    pub(crate) async fn ask(
        &self,
        run_dir: &Path,
        task: Task,
        content: &str,
        limit: Duration,
    ) -> Result<String, Refused> {
        let _turn = self.0.lock().await;
        let before = outcome(run_dir);
        let (folder, text) = (run_dir.to_owned(), content.to_owned());
        let asked = tokio::task::spawn_blocking(move || leave(&folder, task.name(), &text)).await;
        asked.map_err(|error| Refused(error.to_string()))?.map_err(|error| Refused(error.to_string()))?;
        let answered = async {
            loop {
                time::sleep(GLANCE).await;
                let answer = outcome(run_dir).filter(|answer| answer.done && answer.name == task.name());
                match answer {
                    Some(answer) if before.as_ref() != Some(&answer) => return answer,
                    _ => {}
                }
            }
        };
        match time::timeout(limit, answered).await {
            Ok(answer) if answer.ok => Ok(answer.message),
            Ok(answer) => Err(Refused(answer.message)),
            Err(_) => Err(Refused(format!("the system did not answer within {} seconds", limit.as_secs()))),
        }
    }
}

/// Why a request was not carried out, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_whole_file_under_its_name() {
        let run = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(run.path().join("manager/request")).unwrap();
        ask(run.path(), Request::DataFormat, " S1 ").unwrap();
        let content = std::fs::read_to_string(run.path().join("manager/request/data-format")).unwrap();
        assert_eq!(content, "S1", "the root program expects the serial number and nothing else");
        let names: Vec<_> = std::fs::read_dir(run.path().join("manager/request"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names, ["data-format"]);
    }

    #[test]
    fn the_answer_is_read_and_a_broken_one_is_none() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(outcome(run.path()), None);
        let path = run.path().join("request-result.json");
        std::fs::write(&path, r#"{"name":"data-retry","ok":false,"message":"no","at":7,"done":true}"#).unwrap();
        assert_eq!(outcome(run.path()).unwrap().message, "no");
        std::fs::write(&path, "{").unwrap();
        assert_eq!(outcome(run.path()), None);
    }

    #[tokio::test]
    async fn who_asks_gets_the_answer_to_his_own_request_and_not_an_older_one() {
        let run = tempfile::tempdir().unwrap();
        let requests = run.path().join("manager/request");
        std::fs::create_dir_all(&requests).unwrap();
        let say = |ok: bool, at: u64| {
            let text = format!(r#"{{"name":"wallet-seal","ok":{ok},"message":"answer {at}","at":{at},"done":true}}"#);
            std::fs::write(run.path().join("request-result.json"), text).unwrap();
        };
        say(false, 7);
        let desk = Desk::default();
        let ask = desk.ask(run.path(), Task::WalletSeal, "secret", Duration::from_secs(20));
        let root = async {
            while !requests.join("wallet-seal").exists() {
                time::sleep(Duration::from_millis(10)).await;
            }
            time::sleep(GLANCE * 2).await;
            say(true, 8);
        };
        let (answer, ()) = tokio::join!(ask, root);
        assert_eq!(answer, Ok("answer 8".into()));
        std::fs::remove_file(requests.join("wallet-seal")).unwrap();
        let late = desk.ask(run.path(), Task::WalletSeal, "secret", Duration::from_millis(500)).await;
        assert!(late.unwrap_err().0.contains("did not answer"));
    }
}
