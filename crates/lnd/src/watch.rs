//! The watchers: tasks that follow LND and feed the twin.
//!
//! ```text
//!  state ──► every other watcher waits until LND answers calls
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
mod info;
mod invoices;
mod ledger;
mod payments;
mod peers;
pub mod state;
mod transactions;

use tokio::{sync::watch, task::JoinSet};
use twin::{LndState, Sender};

pub use backups::LatestBackup;

use self::follow::{Context, follow};
use crate::Client;

/// What the watchers tell to others than the twin.
#[derive(Debug)]
pub struct Watching {
    /// The newest channel backup, each time the set of channels changed; `None` before the first.
    pub backup: watch::Receiver<Option<LatestBackup>>,
    /// LND's state, as the twin will have it.
    pub state: watch::Receiver<LndState>,
}

/// Starts all watchers, which run for as long as the twin lives. `client` carries this program's own macaroon; until its
/// file is there, they wait.
pub fn start(client: Client, twin: &Sender, tasks: &mut JoinSet<()>) -> Watching {
    let (state_sender, state) = watch::channel(LndState::Unreachable);
    let (backup_sender, backup) = watch::channel(None);
    tasks.spawn(state::run_and_tell(client.config().clone(), twin.clone(), state_sender));
    let context = Context::new(client, twin.clone(), state.clone());
    tasks.spawn(follow(info::InfoPart, context.clone()));
    tasks.spawn(follow(balances::BalancesPart, context.clone()));
    tasks.spawn(follow(channels::ChannelsPart, context.clone()));
    tasks.spawn(follow(htlcs::HtlcsPart, context.clone()));
    tasks.spawn(follow(peers::PeersPart, context.clone()));
    tasks.spawn(follow(invoices::InvoicesPart::default(), context.clone()));
    tasks.spawn(follow(payments::PaymentsPart::default(), context.clone()));
    tasks.spawn(follow(transactions::TransactionsPart, context.clone()));
    tasks.spawn(follow(graph::GraphPart::default(), context.clone()));
    tasks.spawn(follow(backups::BackupsPart::new(backup_sender), context));
    Watching { backup, state }
}
