//! The watchers: tasks that follow LND and feed the twin.
//!
//! ```text
//!  state ──► identity (own macaroon) ──► every other watcher waits until LND answers and knows this program
//!  info ───► height ──► channels, HTLCs (blocks left), balances
//!  channels, HTLCs, invoices, payments, transactions ──► money moved ──► channels, HTLCs, balances
//!  backups ─► the newest blob, for whoever stores it
//! ```
//!
//! A stream tells a watcher that something changed; it then reads its part whole. It also does so on each connection,
//! and at intervals for what no stream tells. What it cannot read stays as it was, and the source `node` says since when.

mod backups;
mod balances;
mod channels;
mod follow;
mod graph;
mod htlcs;
mod identity;
mod info;
mod invoices;
mod ledger;
mod payments;
mod peers;
pub mod state;
mod transactions;

use std::path::PathBuf;

use tokio::{sync::watch, task::JoinSet};
use twin::{LndState, Sender};

pub use backups::LatestBackup;

use self::follow::{Context, follow};
use crate::{Client, Config};

/// The files by which this program is known to LND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Macaroons {
    /// Written by LND; used to bake the other.
    pub admin: PathBuf,
    /// This program's own. Made when it is missing, and again when LND does not accept it.
    pub own: PathBuf,
}

/// What the watchers give to others than the twin.
#[derive(Debug)]
pub struct Watching {
    /// Calls with this program's own macaroon, over the connection of the watchers.
    pub client: Client,
    /// The newest channel backup, each time the set of channels changed; `None` before the first.
    pub backup: watch::Receiver<Option<LatestBackup>>,
    /// LND's state, as the twin will have it.
    pub state: watch::Receiver<LndState>,
}

/// Starts all watchers, which run for as long as the twin lives.
pub fn start(config: Config, macaroons: Macaroons, twin: &Sender, tasks: &mut JoinSet<()>) -> Watching {
    let (state_sender, state) = watch::channel(LndState::Unreachable);
    let (backup_sender, backup) = watch::channel(None);
    let client = Client::new(config.clone(), Some(macaroons.own.clone()));
    tasks.spawn(state::run_and_tell(config, twin.clone(), state_sender));
    let context = Context::new(client.clone(), twin.clone(), state.clone());
    tasks.spawn(identity::keep(macaroons, context.clone()));
    tasks.spawn(follow(info::InfoPart::default(), context.clone()));
    tasks.spawn(follow(balances::BalancesPart, context.clone()));
    tasks.spawn(follow(channels::ChannelsPart, context.clone()));
    tasks.spawn(follow(htlcs::HtlcsPart, context.clone()));
    tasks.spawn(follow(peers::PeersPart, context.clone()));
    tasks.spawn(follow(invoices::InvoicesPart::default(), context.clone()));
    tasks.spawn(follow(payments::PaymentsPart::default(), context.clone()));
    tasks.spawn(follow(transactions::TransactionsPart, context.clone()));
    tasks.spawn(follow(graph::GraphPart::default(), context.clone()));
    tasks.spawn(follow(backups::BackupsPart::new(backup_sender), context));
    Watching { client, backup, state }
}
