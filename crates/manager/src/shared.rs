//! What all pages stand on.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use release::Release;
use store::Store;
use tokio::sync::Notify;

use crate::{
    claim::Claim,
    fault::Fault,
    limits::Limits,
    node::Node,
    pages::node::send::Tickets,
    request::{Desk, Request},
    session::Sessions,
    setup::Setup,
    sse::Hub,
    tls::Authority,
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
    /// Payments that were shown and not confirmed, and what became of the others.
    pub(crate) tickets: Tickets,
    /// What is asked of root, one after the other.
    pub(crate) desk: Desk,
    /// Where the manager itself tells the twin what it does.
    pub(crate) sender: twin::Sender,
    pub(crate) hub: Arc<Hub>,
}
