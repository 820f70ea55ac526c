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

use std::{path::PathBuf, sync::Mutex};

use serde::{Deserialize, Serialize};
use store::{Audit, Store};
use tokio::sync::watch;

use crate::error::{Error, now};

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
    pub(crate) probe: bitcoin::Probe,
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
            probe: bitcoin::Probe::default(),
            apply: apply::Apply::default(),
        })
    }

    pub(crate) fn choices(&self) -> Choices {
        self.choices.borrow().clone()
    }

    /// Follows [`Self::choices`].
    pub(crate) fn watch(&self) -> watch::Receiver<Choices> {
        self.choices.subscribe()
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

/// A line for the audit log.
pub(crate) fn audit(session: &crate::session::Current, action: &'static str, detail: impl Into<String>) -> Audit {
    Audit { at: now(), actor: session.actor(), action, detail: detail.into() }
}
