//! Phones and other programs that the owner paired: each with a macaroon of its own, made with a root key of its own.
//!
//! ```text
//!  named ─► written down ─► baked ─► shown once ─► used through the gate ─► ended here ─► forgotten by LND
//!               │                                                             │
//!               └ before LND makes the key: no key is ever unlisted           └ at once, even with LND away
//! ```

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lnd::{Client, macaroon::Permission};
use serde::{Deserialize, Serialize};
use store::{Audit, Store};
use tokio::sync::{self, watch};

use crate::{
    error::{Error, now, random},
    secret::Secret,
};

const KEY: &str = "phones";
/// More are not needed by a household, and a list has to end somewhere.
pub(crate) const MOST: usize = 32;
/// Letters of a name.
pub(crate) const NAME: usize = 40;

/// What a phone may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rights {
    Read,
    Invoices,
    All,
}

impl Rights {
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Invoices, Self::All];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Invoices => "invoices",
            Self::All => "all",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rights| rights.name() == name)
    }

    fn permissions(self) -> Vec<Permission> {
        match self {
            Self::Read => Permission::read_only(),
            // An app asks for the node's name and state when it connects.
            Self::Invoices => [Permission::invoices(), vec![Permission::new("info", "read")]].concat(),
            Self::All => Permission::manage(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Phone {
    pub(crate) name: String,
    /// LND's root key of its macaroon: random, so that it cannot be guessed either.
    pub(crate) key: u64,
    pub(crate) rights: Rights,
    /// Seconds since 1970.
    pub(crate) made: u64,
    /// It gets no further than the gate. LND may still know its key.
    pub(crate) ended: bool,
}

pub(crate) struct Phones {
    store: Store,
    list: watch::Sender<Vec<Phone>>,
    /// One change at a time.
    turn: sync::Mutex<()>,
    /// When each was last here, seconds since 1970; since the manager's start.
    seen: Mutex<HashMap<u64, u64>>,
}

/// Why a phone is not paired or not ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PhoneError {
    #[error(transparent)]
    Own(#[from] Error),
    #[error(transparent)]
    Lnd(#[from] lnd::Error),
    #[error("there are {MOST} already")]
    Full,
    #[error("there is one of that name")]
    Twice,
}

impl From<store::Error> for PhoneError {
    fn from(error: store::Error) -> Self {
        Self::Own(error.into())
    }
}

impl Phones {
    pub(crate) async fn open(store: Store) -> Result<Self, Error> {
        let list = watch::Sender::new(store.setting(KEY).await?.unwrap_or_default());
        Ok(Self { store, list, turn: sync::Mutex::default(), seen: Mutex::default() })
    }

    pub(crate) fn list(&self) -> Vec<Phone> {
        self.list.borrow().clone()
    }

    pub(crate) fn seen(&self, key: u64) -> Option<u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// Whether the gate lets this key pass; notes that it was here.
    pub(crate) fn admits(&self, key: u64) -> bool {
        let is_open = is_open(&self.list.borrow(), key);
        if is_open {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key, now());
        }
        is_open
    }

    /// Resolves when the key is admitted no longer.
    pub(crate) fn ended(&self, key: u64) -> impl Future<Output = ()> + Send + 'static {
        let mut list = self.list.subscribe();
        async move {
            let _ = list.wait_for(|list| !is_open(list, key)).await;
        }
    }

    /// Pairs a phone; gives its macaroon, which is shown once and kept nowhere.
    pub(crate) async fn pair(
        &self,
        client: &Client,
        name: &str,
        rights: Rights,
        entry: Audit,
    ) -> Result<Secret<Vec<u8>>, PhoneError> {
        let _turn = self.turn.lock().await;
        let mut list = self.list();
        match () {
            () if list.len() >= MOST => return Err(PhoneError::Full),
            () if list.iter().any(|phone| phone.name == name) => return Err(PhoneError::Twice),
            () => {}
        }
        // Some clients read it as a signed number.
        let key = u64::from_be_bytes(random()?) >> 1;
        list.push(Phone { name: name.into(), key, rights, made: now(), ended: false });
        self.keep(list, Some(entry)).await?;
        match client.bake_for(&rights.permissions(), key).await {
            Ok(macaroon) => Ok(Secret::new(macaroon.expose().to_vec())),
            Err(error) => {
                // LND may have made it all the same: what was asked for is taken back, and stays listed until that is sure.
                if let Err(error) = self.close(client, key, None).await {
                    tracing::warn!(%error, "a phone that could not be paired is still listed");
                }
                Err(error.into())
            }
        }
    }

    /// Ends a phone: at once here, then in LND. An error of LND's means that it remains to be forgotten there.
    pub(crate) async fn end(&self, client: &Client, key: u64, entry: Audit) -> Result<(), PhoneError> {
        let _turn = self.turn.lock().await;
        self.close(client, key, Some(entry)).await
    }

    async fn close(&self, client: &Client, key: u64, entry: Option<Audit>) -> Result<(), PhoneError> {
        let mut list = self.list();
        let Some(phone) = list.iter_mut().find(|phone| phone.key == key) else { return Ok(()) };
        phone.ended = true;
        self.keep(list.clone(), entry).await?;
        client.revoke(key).await?;
        list.retain(|phone| phone.key != key);
        Ok(self.keep(list, None).await?)
    }

    /// The disk first: what the memory admits or refuses survives a power cut.
    async fn keep(&self, list: Vec<Phone>, entry: Option<Audit>) -> Result<(), Error> {
        self.store.set(KEY, &list, entry).await?;
        self.list.send_replace(list);
        Ok(())
    }
}

fn is_open(list: &[Phone], key: u64) -> bool {
    list.iter().any(|phone| phone.key == key && !phone.ended)
}

/// What a phone's app reads from the QR code. `authority` is the certificate (DER) that vouches for the box whatever its
/// address; the leaf changes with it.
pub(crate) fn lndconnect(host: &str, port: u16, authority: &[u8], macaroon: &Secret<Vec<u8>>) -> Secret<String> {
    let (authority, macaroon) = (URL_SAFE_NO_PAD.encode(authority), URL_SAFE_NO_PAD.encode(macaroon.expose()));
    Secret::new(format!("lndconnect://{host}:{port}?cert={authority}&macaroon={macaroon}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry() -> Audit {
        Audit { at: now(), actor: "owner@::1".into(), action: "test", detail: String::new() }
    }

    async fn phones(list: &[Phone]) -> (tempfile::TempDir, Phones, Client) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("manager.db")).unwrap();
        store.set(KEY, &list, None).await.unwrap();
        // Nobody listens there.
        let config = lnd::Config { address: ([127, 0, 0, 1], 1).into(), certificate: folder.path().join("tls.cert") };
        (folder, Phones::open(store).await.unwrap(), Client::new(config, None))
    }

    fn phone(key: u64, ended: bool) -> Phone {
        Phone { name: key.to_string(), key, rights: Rights::All, made: 7, ended }
    }

    #[tokio::test]
    async fn with_lnd_away_a_phone_ends_at_once_and_stays_listed_until_lnd_has_forgotten_it() {
        let (_folder, phones, client) = phones(&[phone(7, false), phone(8, false)]).await;
        assert!(phones.admits(7) && phones.seen(7).is_some());
        let ended = tokio::spawn(phones.ended(7));
        assert!(matches!(phones.end(&client, 7, entry()).await, Err(PhoneError::Lnd(_))));
        assert!(!phones.admits(7) && phones.admits(8));
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
        assert_eq!(phones.list(), [phone(7, true), phone(8, false)]);
        let again = Phones::open(phones.store.clone()).await.unwrap();
        assert!(!again.admits(7) && again.admits(8), "a restart lets nobody in again");
    }

    #[tokio::test]
    async fn a_phone_that_could_not_be_paired_is_never_admitted() {
        let (_folder, phones, client) = phones(&[]).await;
        assert!(phones.pair(&client, "Ann's", Rights::Read, entry()).await.is_err());
        let list = phones.list();
        assert!(list.len() == 1 && list[0].ended, "LND may have made its key: {list:?}");
        assert!(matches!(phones.pair(&client, "Ann's", Rights::Read, entry()).await, Err(PhoneError::Twice)));
    }

    #[test]
    fn the_code_of_a_phone_is_a_url_without_padding() {
        let url = lndconnect("192.168.1.7", 8443, &[0xff, 0xfe], &Secret::new(vec![0xff, 0xfb, 0xff]));
        assert_eq!(url.expose(), "lndconnect://192.168.1.7:8443?cert=__4&macaroon=__v_");
    }
}
