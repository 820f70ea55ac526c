//! The second part of the wizard: from a box with an owner to a running node.
//!
//! ```text
//!   Place ─► Network ─► Disk ─► Bitcoin ─► Wallet ─► Backup ─► Summary ══ apply ══► done
//!     ▲         each step can be repeated; what was chosen is on the disk before the next one shows
//!     └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What the owner chose is kept under one key of the store, so a power cut leaves the wizard where it was. The one thing
//! that is never written down is the seed: it lives in memory between the page that shows it and LND's `InitWallet`. A cut
//! in between loses words that belong to no wallet yet, and the page says so.

pub(crate) mod apply;
pub(crate) mod bitcoin;
pub(crate) mod disk;
pub(crate) mod headers;
pub(crate) mod lnd_conf;
pub(crate) mod making;
mod postgres;
pub(crate) mod wallet;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use store::{Audit, Store};
use tokio::sync::watch;
use twin::LndState;

use self::{
    bitcoin::{Backend, Bitcoin},
    headers::Shipped,
};
use crate::{
    copies::Keep,
    error::{Error, now},
    network,
    request::Task,
    shared::House,
};

/// For the root program to tell systemd.
const RESTART_LIMIT: Duration = Duration::from_secs(30);

/// Key of [`Choices`] in the store.
const KEY: &str = "setup";

/// The steps behind the claim, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    Place,
    Network,
    Disk,
    Bitcoin,
    Wallet,
    Backup,
    Summary,
}

impl Step {
    pub(crate) const ALL: [Self; 7] =
        [Self::Place, Self::Network, Self::Disk, Self::Bitcoin, Self::Wallet, Self::Backup, Self::Summary];

    /// Its page, and the key of its name in the texts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Bitcoin => "bitcoin",
            Self::Wallet => "wallet",
            Self::Backup => "backup",
            Self::Summary => "summary",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Place => "/setup/place",
            Self::Network => "/setup/network",
            Self::Disk => "/setup/disk",
            Self::Bitcoin => "/setup/bitcoin",
            Self::Wallet => "/setup/wallet",
            Self::Backup => "/setup/backup",
            Self::Summary => "/setup/summary",
        }
    }
}

/// What the owner has chosen so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Choices {
    /// Language, time zone and name were asked for; they are kept where they belong, see [`crate::place`].
    pub(crate) place: bool,
    /// The owner has looked at the network and went on.
    pub(crate) network: bool,
    pub(crate) disk: Option<disk::Choice>,
    pub(crate) bitcoin: Option<bitcoin::Bitcoin>,
    /// The wallet that LND is about to be asked for: on the disk once its password is sealed and before `InitWallet`, so
    /// that a power cut in between forgets neither that LND can unlock it nor that it is a restored one.
    pub(crate) making: Option<wallet::Made>,
    /// The wallet that LND has; `None` until `InitWallet` has succeeded.
    pub(crate) wallet: Option<wallet::Made>,
    /// Where copies of the channel backup go; `None`: not asked yet.
    pub(crate) backup: Option<Keep>,
    /// LND is started without the sealed password: the owner types it.
    pub(crate) by_hand: bool,
    /// LND looks on the chain for a restored wallet's money. Stopped meanwhile it forgets that, and must not unlock by
    /// itself: only an unlocking that says so has it look again.
    pub(crate) searching: bool,
    /// When everything was applied, seconds since 1970.
    pub(crate) finished: Option<u64>,
}

/// The wizard's memory and its files.
pub(crate) struct Setup {
    store: Store,
    choices: watch::Sender<Choices>,
    /// One change at a time: each begins with what the one before left.
    changing: tokio::sync::Mutex<()>,
    /// Where LND's configuration goes.
    pub(crate) config_dir: PathBuf,
    /// Headers of a chain that this system brings.
    pub(crate) headers: Option<Shipped>,
    /// The seed between its page and `InitWallet`, and nothing else.
    pub(crate) seed: Mutex<Option<wallet::Seed>>,
    pub(crate) trial: bitcoin::Trials,
    pub(crate) apply: apply::Apply,
    /// The code of a change of the network that is being tried.
    pub(crate) network: network::Codes,
}

impl Setup {
    pub(crate) async fn open(store: Store, config_dir: PathBuf, headers: Option<Shipped>) -> Result<Self, Error> {
        let choices = store.setting(KEY).await?.unwrap_or_default();
        Ok(Self {
            store,
            choices: watch::Sender::new(choices),
            changing: tokio::sync::Mutex::default(),
            config_dir,
            headers,
            seed: Mutex::default(),
            trial: bitcoin::Trials::default(),
            apply: apply::Apply::default(),
            network: network::Codes::default(),
        })
    }

    pub(crate) fn choices(&self) -> Choices {
        self.choices.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Choices> {
        self.choices.subscribe()
    }

    /// Changes the choices, on the disk first.
    pub(crate) async fn change(&self, entry: Audit, change: impl FnOnce(&mut Choices)) -> Result<(), Error> {
        let _turn = self.changing.lock().await;
        let mut choices = self.choices();
        change(&mut choices);
        self.store.set(KEY, &choices, Some(entry)).await?;
        self.choices.send_replace(choices);
        Ok(())
    }

    /// Goes past a step with what there is; one that is done stays as it is. Whether this is such a step: the others ask
    /// for something.
    pub(crate) async fn pass(&self, step: Step, actor: String) -> Result<bool, Error> {
        let (action, detail, change): (_, &str, fn(&mut Choices)) = match step {
            Step::Place => ("setup-step", step.name(), |choices| choices.place = true),
            Step::Network => ("network-seen", "", |choices| choices.network = true),
            Step::Disk => ("disk-kept", "", |choices| choices.disk = Some(disk::Choice::Stay)),
            Step::Backup => {
                let detail = "No place for the channel backup was chosen.";
                ("backup-put-off", detail, |choices| choices.backup = Some(Keep::Later))
            }
            Step::Bitcoin | Step::Wallet | Step::Summary => return Ok(false),
        };
        if !self.is_done(step) {
            self.change(Audit { at: now(), actor, action, detail: detail.into() }, change).await?;
        }
        Ok(true)
    }

    pub(crate) fn is_done(&self, step: Step) -> bool {
        let choices = self.choices.borrow();
        match step {
            Step::Place => choices.place,
            // Nothing has to be chosen there: who went past it is not sent back.
            Step::Network => choices.network || choices.bitcoin.is_some(),
            // A box that was set up before there was this step has its data where it is.
            Step::Disk => choices.disk.is_some() || choices.finished.is_some(),
            Step::Bitcoin => choices.bitcoin.is_some(),
            Step::Wallet => choices.wallet.is_some() || self.has_seed(),
            Step::Backup => choices.backup.is_some(),
            Step::Summary => choices.finished.is_some(),
        }
    }

    /// The first step that is not done; `None` when all are.
    pub(crate) fn next(&self) -> Option<Step> {
        Step::ALL.into_iter().find(|step| !self.is_done(*step))
    }

    /// Whether a seed is ready for `InitWallet`.
    pub(crate) fn has_seed(&self) -> bool {
        self.seed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_ref().is_some_and(wallet::Seed::is_ready)
    }
}

/// Follows LND, and makes good what a power cut left half done.
pub(crate) async fn follow(house: Arc<House>, mut states: watch::Receiver<LndState>) {
    loop {
        let state = *states.borrow_and_update();
        if let Err(sentence) = take_note(&house, state).await {
            tracing::warn!(error = sentence, "the setup's note of the wallet is not in order");
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

/// A wallet that exists and is not noted: the power went between LND's making it and our note of it. Its password was
/// sealed before it was made, so LND can unlock it by itself from now on.
async fn take_note(house: &Arc<House>, state: LndState) -> Result<(), String> {
    forget_headers(house, state).await.map_err(|error| error.to_string())?;
    let choices = house.setup.choices();
    if state == LndState::ServerActive && choices.searching {
        // LND comes so far only with the search behind it.
        let entry = Audit { at: now(), actor: "setup".into(), action: "wallet-searched", detail: String::new() };
        house.setup.change(entry, |choices| choices.searching = false).await.map_err(|error| error.to_string())?;
        return apply::config(house).map_err(|error| error.to_string());
    }
    if state == LndState::Locked && choices.wallet.is_some() && !apply::is_written(house) {
        // The power went between the note of the wallet and the file that has LND open it.
        apply::config(house).map_err(|error| error.to_string())?;
        let asked = house.desk.ask(&house.shared.run_dir, Task::LndRestart, "", RESTART_LIMIT).await;
        return asked.map(drop).map_err(|refused| refused.0);
    }
    let exists = matches!(state, LndState::Locked | LndState::Unlocked | LndState::RpcActive | LndState::ServerActive);
    // Without `making` nobody here has sealed a password for it: LND must not be told to unlock it by one.
    if !exists || choices.wallet.is_some() || choices.making.is_none() || house.setup.apply.is_running() {
        return Ok(());
    }
    apply::note_wallet(house).await?;
    if state == LndState::Locked && !house.setup.choices().searching {
        let asked = house.desk.ask(&house.shared.run_dir, Task::LndRestart, "", RESTART_LIMIT).await;
        asked.map_err(|refused| refused.0)?;
    }
    Ok(())
}

/// LND has taken the headers of the system: before anything else it does, as its chain is the first thing it needs. It looks
/// at them no more; those of a later system could differ from the last blocks that it has, and it would not start.
async fn forget_headers(house: &Arc<House>, state: LndState) -> Result<(), Error> {
    let is_up = matches!(state, LndState::RpcActive | LndState::ServerActive);
    let bitcoin = house.setup.choices().bitcoin;
    let taken = house.setup.headers.as_ref().zip(bitcoin).filter(|(shipped, bitcoin)| is_up && shipped.serves(bitcoin));
    let Some((shipped, _)) = taken else { return Ok(()) };
    let detail = format!("to block {}", shipped.last);
    let entry = Audit { at: now(), actor: "setup".into(), action: "headers-taken", detail };
    let changed = house.setup.change(entry, |choices| {
        if let Some(Bitcoin { backend: Backend::Neutrino { headers, .. }, .. }) = &mut choices.bitcoin {
            *headers = false;
        }
    });
    changed.await?;
    apply::config(house)
}

/// A line for the audit log.
pub(crate) fn audit(session: &crate::session::Current, action: &'static str, detail: impl Into<String>) -> Audit {
    Audit { at: now(), actor: session.actor(), action, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::tests::{visit, visit_with},
        pages::network::tests::root,
    };

    fn making() -> wallet::Made {
        wallet::Made { at: 7, origin: wallet::Origin::Restored, by_chip: false }
    }

    #[tokio::test]
    async fn a_step_is_passed_once_and_one_that_asks_for_something_never() {
        let visit = visit().await;
        let setup = &visit.house.setup;
        for _ in 0..2 {
            for step in Step::ALL {
                let asks = matches!(step, Step::Bitcoin | Step::Wallet | Step::Summary);
                assert_eq!(setup.pass(step, "owner".into()).await.unwrap(), !asks, "{step:?}");
                assert_eq!(setup.is_done(step), !asks, "{step:?}");
            }
        }
        let told: Vec<_> = visit.house.store.audit_log(None, 20).await.unwrap();
        assert_eq!(told.iter().filter(|line| line.actor == "owner").count(), 4, "{told:?}");
    }

    #[tokio::test]
    async fn after_a_cut_right_behind_init_wallet_a_restored_wallet_is_still_known_as_one() {
        let visit = visit().await;
        let entry = Audit { at: 7, actor: "setup".into(), action: "wallet-sealed", detail: String::new() };
        visit.house.setup.change(entry, |choices| choices.making = Some(making())).await.unwrap();
        // As a start after the cut finds it.
        take_note(&visit.house, LndState::RpcActive).await.unwrap();
        let choices = visit.house.setup.choices();
        assert_eq!((choices.wallet, choices.making), (Some(making()), None));
    }

    #[tokio::test]
    async fn after_a_cut_between_the_note_of_the_wallet_and_its_file_lnd_opens_it_all_the_same() {
        let visit = visit().await;
        let backend = Backend::Neutrino { peers: vec![], fee_url: String::new(), headers: false };
        let bitcoin = Bitcoin { chain: bitcoin::Chain::Simnet, backend, database: bitcoin::Database::Sqlite };
        let entry = || Audit { at: 7, actor: "setup".into(), action: "bitcoin-chosen", detail: String::new() };
        visit.house.setup.change(entry(), |choices| choices.bitcoin = Some(bitcoin)).await.unwrap();
        apply::config(&visit.house).unwrap();
        visit.house.setup.change(entry(), |choices| choices.wallet = Some(making())).await.unwrap();
        assert!(!apply::is_written(&visit.house));
        let root = tokio::spawn(root(visit.folder.path().to_owned(), "lnd-restart", true));
        take_note(&visit.house, LndState::Locked).await.unwrap();
        root.await.unwrap();
        let text = std::fs::read_to_string(visit.folder.path().join("lnd.conf")).unwrap();
        assert!(text.contains("wallet-unlock-password-file=") && apply::is_written(&visit.house));
        // Locked for another reason: starting it again and again would help nobody.
        take_note(&visit.house, LndState::Locked).await.unwrap();
        assert_eq!(std::fs::read_dir(visit.folder.path().join("manager/request")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn the_headers_of_the_system_are_named_until_lnd_has_taken_them() {
        let folder = tempfile::tempdir().unwrap();
        headers::tests::ship(folder.path(), 500);
        let visit = visit_with(Shipped::find(folder.path())).await;
        let backend = Backend::Neutrino { peers: vec![], fee_url: String::new(), headers: true };
        let bitcoin = Bitcoin { chain: bitcoin::Chain::Simnet, backend, database: bitcoin::Database::Sqlite };
        let entry = Audit { at: 7, actor: "setup".into(), action: "bitcoin-chosen", detail: String::new() };
        visit.house.setup.change(entry, |choices| choices.bitcoin = Some(bitcoin)).await.unwrap();
        apply::config(&visit.house).unwrap();
        let names_them =
            || std::fs::read_to_string(visit.folder.path().join("lnd.conf")).unwrap().contains("headerssource=");
        for state in [LndState::WaitingToStart, LndState::NonExisting, LndState::Locked] {
            take_note(&visit.house, state).await.unwrap();
            assert!(names_them(), "{state:?}");
        }
        for _ in 0..2 {
            take_note(&visit.house, LndState::RpcActive).await.unwrap();
            assert!(!names_them());
        }
        let audit = visit.house.store.audit_log(None, 20).await.unwrap();
        assert_eq!(audit.iter().filter(|line| line.action == "headers-taken").count(), 1);
    }

    #[tokio::test]
    async fn a_wallet_whose_password_was_never_sealed_is_not_taken_for_one_that_unlocks_itself() {
        let visit = visit().await;
        take_note(&visit.house, LndState::Locked).await.unwrap();
        assert_eq!(visit.house.setup.choices().wallet, None);
    }
}
