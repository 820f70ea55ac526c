//! The node as the manager reaches it: LND's calls, and the key of its own that they are made with.

use std::path::PathBuf;

use lnd::{Client, Config, Error};

pub(crate) struct Node {
    pub(crate) client: Client,
    /// LND's admin macaroon, used once to get our own.
    admin: PathBuf,
    /// This program's own macaroon: revoking an app's key never breaks it.
    own: PathBuf,
}

impl Node {
    pub(crate) fn new(config: Config, admin: PathBuf, own: PathBuf) -> Self {
        Self { client: Client::new(config, Some(own.clone())), admin, own }
    }

    /// Makes sure that LND lets this program in, by a macaroon of its own.
    pub(crate) async fn admit(&self) -> Result<(), Error> {
        lnd::macaroon::ensure_own_macaroon(self.client.config(), &self.admin, &self.own).await
    }
}
