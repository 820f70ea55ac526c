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
pub(crate) mod lnd_conf;
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

use crate::{
    error::{Error, now},
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
    Bitcoin,
    Wallet,
    Summary,
}

impl Step {
    pub(crate) const ALL: [Self; 3] = [Self::Bitcoin, Self::Wallet, Self::Summary];

    /// Its page, and the key of its name in the texts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Wallet => "wallet",
            Self::Summary => "summary",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Bitcoin => "/setup/bitcoin",
            Self::Wallet => "/setup/wallet",
            Self::Summary => "/setup/summary",
        }
    }
}

/// What the owner has chosen so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Choices {
    pub(crate) bitcoin: Option<bitcoin::Bitcoin>,
    /// The wallet that LND is about to be asked for: on the disk once its password is sealed and before `InitWallet`, so
    /// that a power cut in between forgets neither that LND can unlock it nor that it is a restored one.
    pub(crate) making: Option<wallet::Made>,
    /// The wallet that LND has; `None` until `InitWallet` has succeeded.
    pub(crate) wallet: Option<wallet::Made>,
    /// When everything was applied, seconds since 1970.
    pub(crate) finished: Option<u64>,
}

/// The wizard's memory and its files.
pub(crate) struct Setup {
    store: Store,
    choices: watch::Sender<Choices>,
    /// Where LND's configuration goes.
    pub(crate) config_dir: PathBuf,
    /// The seed between its page and `InitWallet`, and nothing else.
    pub(crate) seed: Mutex<Option<wallet::Seed>>,
    pub(crate) trial: bitcoin::Trials,
    pub(crate) apply: apply::Apply,
}

impl Setup {
    pub(crate) async fn open(store: Store, config_dir: PathBuf) -> Result<Self, Error> {
        let choices = store.setting(KEY).await?.unwrap_or_default();
        Ok(Self {
            store,
            choices: watch::Sender::new(choices),
            config_dir,
            seed: Mutex::default(),
            trial: bitcoin::Trials::default(),
            apply: apply::Apply::default(),
        })
    }

    pub(crate) fn choices(&self) -> Choices {
        self.choices.borrow().clone()
    }

    /// Changes the choices, on the disk first.
    pub(crate) async fn change(&self, entry: Audit, change: impl FnOnce(&mut Choices)) -> Result<(), Error> {
        let mut choices = self.choices();
        change(&mut choices);
        self.store.set(KEY, &choices, Some(entry)).await?;
        self.choices.send_replace(choices);
        Ok(())
    }

    pub(crate) fn is_done(&self, step: Step) -> bool {
        let choices = self.choices.borrow();
        match step {
            Step::Bitcoin => choices.bitcoin.is_some(),
            Step::Wallet => choices.wallet.is_some() || self.has_seed(),
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
    let exists = matches!(state, LndState::Locked | LndState::Unlocked | LndState::RpcActive | LndState::ServerActive);
    let choices = house.setup.choices();
    // Without `making` nobody here has sealed a password for it: LND must not be told to unlock it by one.
    if !exists || choices.wallet.is_some() || choices.making.is_none() || house.setup.apply.is_running() {
        return Ok(());
    }
    apply::note_wallet(house).await?;
    if state == LndState::Locked {
        let asked = house.desk.ask(&house.shared.run_dir, Task::LndRestart, "", RESTART_LIMIT).await;
        asked.map_err(|refused| refused.0)?;
    }
    Ok(())
}

/// A line for the audit log.
pub(crate) fn audit(session: &crate::session::Current, action: &'static str, detail: impl Into<String>) -> Audit {
    Audit { at: now(), actor: session.actor(), action, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::visit;

    fn making() -> wallet::Made {
        wallet::Made { at: 7, origin: wallet::Origin::Restored, by_chip: false }
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
    async fn a_wallet_whose_password_was_never_sealed_is_not_taken_for_one_that_unlocks_itself() {
        let visit = visit().await;
        take_note(&visit.house, LndState::Locked).await.unwrap();
        assert_eq!(visit.house.setup.choices().wallet, None);
    }
}
