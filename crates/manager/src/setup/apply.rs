//! From the choices to a running node, in named phases. Each looks first whether it has been done already, so that all of
//! them can be gone through again after a failure, a restart or a power cut.
//!
//! ```text
//!  Config ─► Seal ─► Wallet ─► Start ─► Macaroon ─► Finish
//!             │        │
//!             │        └ LND refuses to make a second wallet
//!             └ only while LND has none: the password of a wallet that exists is never replaced
//! ```

use std::{
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rust_i18n::t;
use tokio::time;
use twin::{Job, JobStep, LndState, Progress, Update, source::sentence};

use super::{
    Step,
    bitcoin::Bitcoin,
    lnd_conf,
    wallet::{Made, Origin, Seed},
};
use crate::{
    atomic,
    error::{Error, now},
    language::carried,
    request::Task,
    shared::House,
};

/// Key of the job in the twin.
pub(crate) const NAME: &str = "apply";
/// For the root program to seal a password.
const SEAL_LIMIT: Duration = Duration::from_secs(60);
/// For LND to open a wallet and its databases; a small box with an old disk is slow.
const START_LIMIT: Duration = Duration::from_secs(900);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Config,
    Seal,
    Wallet,
    Start,
    Macaroon,
    Finish,
}

impl Phase {
    pub(crate) const ALL: [Self; 6] =
        [Self::Config, Self::Seal, Self::Wallet, Self::Start, Self::Macaroon, Self::Finish];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Seal => "seal",
            Self::Wallet => "wallet",
            Self::Start => "start",
            Self::Macaroon => "macaroon",
            Self::Finish => "finish",
        }
    }
}

/// Whether the phases are being gone through.
#[derive(Debug, Default)]
pub(crate) struct Apply {
    running: AtomicBool,
}

impl Apply {
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }
}

/// Begins once all steps before it are done. An inner error is the first that is not.
pub(crate) async fn begin(house: &Arc<House>, entry: store::Audit) -> Result<Result<(), Step>, Error> {
    match house.setup.next() {
        None | Some(Step::Summary) => {
            if start(house) {
                house.store.audit(entry).await?;
            }
            Ok(Ok(()))
        }
        Some(step) => Ok(Err(step)),
    }
}

/// Begins, unless it goes on already; whether it began.
fn start(house: &Arc<House>) -> bool {
    if house.setup.apply.running.swap(true, Ordering::AcqRel) {
        return false;
    }
    let house = house.clone();
    tokio::spawn(carried(async move {
        run(&house).await;
        house.setup.apply.running.store(false, Ordering::Release);
    }));
    true
}

async fn run(house: &House) {
    let mut job = Job { steps: vec![JobStep::default(); Phase::ALL.len()] };
    for (index, phase) in Phase::ALL.into_iter().enumerate() {
        tell(house, &mut job, index, Progress::Running, String::new()).await;
        match phase.run(house).await {
            Ok(()) => tell(house, &mut job, index, Progress::Done, String::new()).await,
            Err(sentence) => {
                tracing::warn!(phase = phase.name(), error = sentence, "the setup stops here");
                return tell(house, &mut job, index, Progress::Failed, sentence).await;
            }
        }
    }
}

async fn tell(house: &House, job: &mut Job, index: usize, progress: Progress, detail: String) {
    if let Some(step) = job.steps.get_mut(index) {
        *step = JobStep { progress, since: now(), detail };
    }
    // Without a twin there is nobody to tell.
    let _ = house.sender.send(Update::Job(NAME, job.clone())).await;
}

impl Phase {
    /// An error is a sentence for the owner.
    async fn run(self, house: &House) -> Result<(), String> {
        match self {
            Self::Config => config(house).map_err(|error| error.to_string()),
            Self::Seal => seal(house).await,
            Self::Wallet => wallet(house).await,
            Self::Start => start_up(house).await,
            Self::Macaroon => house.node.admit().await.map_err(|error| sentence(&error)),
            Self::Finish => finish(house).await.map_err(|error| error.to_string()),
        }
    }
}

/// Writes `lnd.conf` as the choices say. LND reads it at its next start.
pub(crate) fn config(house: &House) -> Result<(), Error> {
    let Some(text) = chosen(house) else { return Ok(()) };
    // Readable by LND's group, as its own user is another one; it holds bitcoind's password.
    atomic::write(&file(house), text.as_bytes(), 0o640)
}

/// Whether the file says what was chosen. It does not if the power went between the choice and the file.
pub(crate) fn is_written(house: &House) -> bool {
    chosen(house).is_none_or(|text| std::fs::read_to_string(file(house)).is_ok_and(|there| there == text))
}

fn file(house: &House) -> PathBuf {
    house.setup.config_dir.join("lnd.conf")
}

fn chosen(house: &House) -> Option<String> {
    let choices = house.setup.choices();
    let unlock = choices.wallet.is_some() && !choices.by_hand && !choices.searching;
    Some(conf(house, choices.bitcoin.as_ref()?, unlock))
}

/// The text of `lnd.conf` for this box.
pub(crate) fn conf(house: &House, bitcoin: &Bitcoin, unlock: bool) -> String {
    let alias = house.shared.host();
    let rpc = house.node.client.config().address;
    let rest = house.node.rest.address;
    let headers = house.setup.headers.as_ref();
    let given = lnd_conf::Given { alias: &alias, dir: &house.node.dir, rpc, rest, unlock, headers };
    lnd_conf::render(bitcoin, &given)
}

fn lnd_state(house: &House) -> LndState {
    house.shared.twin.state().lnd.state
}

/// What is needed of the seed, for a moment.
fn with_seed<T>(house: &House, take: impl FnOnce(&Seed) -> T) -> Option<T> {
    let seed = house.setup.seed.lock().unwrap_or_else(PoisonError::into_inner);
    seed.as_ref().filter(|seed| seed.is_ready()).map(take)
}

async fn seal(house: &House) -> Result<(), String> {
    if house.setup.choices().wallet.is_some() {
        return Ok(());
    }
    // Asked of LND itself and now: over the password of a wallet that exists nothing may ever be written.
    match house.node.bare.state().await.map_err(|error| sentence(&error))? {
        LndState::NonExisting => {}
        _ => return Ok(()),
    }
    let seed = with_seed(house, |seed| (seed.password.clone(), seed.origin));
    let (password, origin) = seed.ok_or_else(|| t!("setup.apply.no_seed").into_owned())?;
    let desk = house.desk.ask(&house.shared.run_dir, Task::WalletSeal, password.expose(), SEAL_LIMIT).await;
    let by_chip = desk.map_err(|refused| refused.0)? == "sealed-by-chip";
    let making = Made { at: now(), origin, by_chip };
    let entry = entry("wallet-sealed", "The password of the wallet to come was sealed.");
    house.setup.change(entry, |choices| choices.making = Some(making)).await.map_err(|error| error.to_string())
}

async fn wallet(house: &House) -> Result<(), String> {
    let choices = house.setup.choices();
    if choices.wallet.is_some() {
        return Ok(());
    }
    if house.node.bare.state().await.map_err(|error| sentence(&error))? == LndState::NonExisting {
        let backup = with_seed(house, |seed| seed.backup.clone()).flatten();
        // Before the wallet: after a cut in between the restored wallet still gets its channels' money back.
        let given = match backup {
            Some(backup) => house.copies.give(backup).await,
            None => house.copies.forget_given().await,
        };
        given.map_err(|error| error.to_string())?;
        let wallet = with_seed(house, Seed::wallet).ok_or_else(|| t!("setup.apply.no_seed").into_owned())?;
        house.node.bare.init_wallet(wallet).await.map_err(|error| sentence(&error))?;
    } else if choices.making.is_none() {
        return Err(t!("setup.apply.foreign").into_owned());
    }
    note_wallet(house).await
}

/// Writes down that the wallet is made, forgets its seed, and has LND unlock it by itself from its next start on.
pub(crate) async fn note_wallet(house: &House) -> Result<(), String> {
    let detail = match house.setup.choices().making.map(|making| making.origin) {
        Some(Origin::Restored) => "The wallet was restored from its seed.",
        _ => "The wallet was made.",
    };
    let noted = house.setup.change(entry("wallet-made", detail), |choices| {
        choices.wallet = choices.making.take();
        choices.searching = choices.wallet.as_ref().is_some_and(|made| made.origin == Origin::Restored);
    });
    let noted = noted.await;
    noted.map_err(|error| error.to_string())?;
    *house.setup.seed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    config(house).map_err(|error| error.to_string())
}

/// What the setup itself does, for the audit log.
fn entry(action: &'static str, detail: &str) -> store::Audit {
    store::Audit { at: now(), actor: "setup".into(), action, detail: detail.into() }
}

async fn start_up(house: &House) -> Result<(), String> {
    let mut changes = house.shared.twin.changes();
    let up = async {
        while !matches!(lnd_state(house), LndState::RpcActive | LndState::ServerActive) {
            // Lagging or closed: look again in a moment.
            let _ = time::timeout(Duration::from_secs(1), changes.recv()).await;
        }
    };
    time::timeout(START_LIMIT, up).await.map_err(|_| t!("setup.apply.slow").into_owned())
}

async fn finish(house: &House) -> Result<(), Error> {
    house.setup.change(entry("setup-done", ""), |choices| choices.finished = Some(now())).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::tests::{Visit, visit},
        secret::Secret,
        setup::making,
    };

    async fn give(visit: &Visit) -> Result<(), String> {
        let secret = |text: &str| Secret::new(text.to_owned());
        let (words, passphrase) = (secret(&"zoo ".repeat(24)), secret(""));
        let given = making::Given { words, passphrase, backup: None, is_off: true };
        making::give(&visit.house, given, entry("seed-given", "")).await.unwrap()
    }

    #[tokio::test]
    async fn while_one_seed_is_applied_no_other_takes_its_place() {
        let visit = visit().await;
        let password = || making::with(&visit.house, |seed| seed.password.expose().clone());
        give(&visit).await.unwrap();
        let first = password();
        give(&visit).await.unwrap();
        let second = password();
        assert!(first.is_some() && second.is_some() && first != second);
        visit.house.setup.apply.running.store(true, Ordering::Release);
        let why = give(&visit).await.unwrap_err();
        assert!(why.ends_with('.') && password() == second, "{why}");
    }
}
