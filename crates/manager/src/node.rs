//! The node as the manager reaches it: LND's calls, and the key of its own that they are made with.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use lnd::{
    Client, Config, Error,
    macaroon::ensure_own_macaroon,
    passage::Passage,
    watch::{Macaroons, Watching},
};
use tokio::task::JoinSet;

/// LND's admin macaroon, below its folder; `lnd.conf` names it so.
pub(crate) const ADMIN_MACAROON: &str = "admin.macaroon";

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) client: Client,
    /// Without a macaroon, which there is none of before there is a wallet: for the wallet's own calls and LND's state.
    pub(crate) bare: Client,
    /// LND's folder.
    pub(crate) dir: PathBuf,
    /// For calls of paired phones.
    pub(crate) passage: Arc<Passage>,
    /// LND's REST listener, for phones that speak it.
    pub(crate) rest: Config,
    macaroons: Macaroons,
}

impl Node {
    /// `rest`: where LND answers REST; `own`: the file for this program's own macaroon, so that revoking an app's key never breaks it.
    pub(crate) fn new(address: SocketAddr, rest: SocketAddr, dir: PathBuf, own: PathBuf) -> Self {
        let config = Config { address, certificate: dir.join("tls.cert") };
        let rest = Config { address: rest, certificate: config.certificate.clone() };
        let macaroons = Macaroons { admin: dir.join(ADMIN_MACAROON), own };
        let bare = Client::new(config.clone(), None);
        let passage = Arc::new(Passage::new(config.clone()));
        Self { client: Client::new(config, Some(macaroons.own.clone())), bare, dir, passage, rest, macaroons }
    }

    /// Starts the watchers, and goes on with their connection.
    pub(crate) fn watch(&mut self, twin: &twin::Sender, tasks: &mut JoinSet<()>) -> Watching {
        let watching = lnd::watch::start(self.client.config().clone(), self.macaroons.clone(), twin, tasks);
        self.client = watching.client.clone();
        watching
    }

    /// Where this program's own macaroon is.
    pub(crate) fn own_macaroon(&self) -> &Path {
        &self.macaroons.own
    }

    /// Makes sure now that LND lets this program in; the watchers see to it later.
    pub(crate) async fn admit(&self) -> Result<(), Error> {
        ensure_own_macaroon(self.client.config(), &self.macaroons.admin, &self.macaroons.own).await
    }
}
