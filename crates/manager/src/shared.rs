//! What all pages stand on.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use release::Release;
use store::Store;
use tokio::sync::{Notify, watch};

use crate::{
    access::{factor::Factor, phones::Phones, reset::Reset},
    api::Api,
    claim::Claim,
    copies::Copies,
    fault::Fault,
    limits::Limits,
    node::Node,
    pages::node::send::Tickets,
    payments::Payments,
    place::Place,
    request::{Desk, Request},
    session::Sessions,
    setup::Setup,
    sse::Hub,
    support::Bundles,
    tls::Authority,
    updates::Updates,
    wizard::Wizard,
};

/// There whatever state the data is in.
pub(crate) struct Shared {
    pub(crate) release: Release,
    pub(crate) twin: twin::Reader,
    pub(crate) claim: Claim,
    pub(crate) authority: Arc<Authority>,
    pub(crate) run_dir: PathBuf,
    /// Why there is no [`House`].
    pub(crate) fault: Option<Fault>,
    /// What the root program was asked for and when. There is one of it and one owner, so one is enough.
    pub(crate) asked: Mutex<Option<(Request, u64)>>,
    /// Rung when the manager must go through its start again.
    pub(crate) again: Notify,
    /// Language and time zone of the box.
    pub(crate) place: watch::Sender<Place>,
}

impl Shared {
    /// The host's name by the twin, or the name every box answers to.
    pub(crate) fn host(&self) -> String {
        let host = self.twin.state().network.host_name.clone();
        if host.is_empty() { "homelab".into() } else { host }
    }
}

/// There when the data partition is in order.
pub(crate) struct House {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
    pub(crate) sessions: Sessions,
    pub(crate) limits: Limits,
    pub(crate) wizard: Wizard,
    pub(crate) setup: Setup,
    pub(crate) node: Node,
    /// Copies of the channel backup.
    pub(crate) copies: Copies,
    /// Payments that were shown and not confirmed, and what became of the others.
    pub(crate) tickets: Tickets,
    /// What the owner set about paying.
    pub(crate) payments: Payments,
    /// What is asked of root, one after the other.
    pub(crate) desk: Desk,
    /// Where the manager itself tells the twin what it does.
    pub(crate) sender: twin::Sender,
    pub(crate) hub: Arc<Hub>,
    pub(crate) api: Api,
    /// The second factor of the sign-in.
    pub(crate) factor: Factor,
    /// The way back for who forgot the password.
    pub(crate) reset: Arc<Reset>,
    pub(crate) phones: Phones,
    pub(crate) support: Bundles,
    pub(crate) updates: Updates,
}
