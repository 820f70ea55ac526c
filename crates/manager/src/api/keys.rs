//! Keys for programs: made by the owner, shown once, known by their hash.
//!
//! As with sessions they live in memory, so that a request costs no access to the disk, and in the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{ApiKey, Audit, Store, TokenHash};
use tokio::{sync::watch, time::Instant};

use crate::{
    error::{Error, now, random},
    secret::Secret,
};

/// How every key begins, so that people and scanners know one when they see it.
const PREFIX: &str = "hbk_";
/// A key's last use goes to the disk at most this often.
const NOTE: Duration = Duration::from_secs(60);
/// More keys than any household has programs.
pub(crate) const AT_MOST: usize = 100;

/// What a key may do. The names are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// See everything, amounts and the audit log included.
    Read,
    /// Make invoices and addresses.
    Invoices,
    /// Pay, within the key's limits.
    Pay,
    /// Open and close channels, connect peers.
    Channels,
    /// Change the box itself, restart it.
    Settings,
    /// Make, restore and unlock the wallet: its seed and its password pass by.
    Wallet,
    /// Decide who may use the box: password, second factor, keys. What widens that needs the owner's password, too.
    Access,
}

impl Scope {
    pub(crate) const ALL: [Self; 7] =
        [Self::Read, Self::Invoices, Self::Pay, Self::Channels, Self::Settings, Self::Wallet, Self::Access];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Invoices => "invoices",
            Self::Pay => "pay",
            Self::Channels => "channels",
            Self::Settings => "settings",
            Self::Wallet => "wallet",
            Self::Access => "access",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl Wish {
    /// For the audit log.
    pub(crate) fn told(&self) -> String {
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.name()).collect();
        format!("{}: {}", self.name, scopes.join(", "))
    }
}

/// A key as requests and pages know it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) kept: ApiKey,
    pub(crate) scopes: Vec<Scope>,
    /// Rung when the key is revoked.
    end: Arc<watch::Sender<()>>,
}

impl Key {
    fn new(kept: ApiKey) -> Self {
        // A scope of a newer system is none here.
        let scopes = kept.scopes.split(' ').filter_map(Scope::of).collect();
        Self { kept, scopes, end: Arc::default() }
    }

    /// What a program calls it by; nothing can be guessed or opened with it.
    pub(crate) fn handle(&self) -> String {
        hex::encode(&self.kept.token_hash[..8])
    }

    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    fn is_over(&self, now: u64) -> bool {
        self.kept.expires.is_some_and(|end| end <= now)
    }
}

/// What the owner wants a key to be.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    /// Seconds since 1970.
    pub(crate) expires: Option<u64>,
    /// Limits of a payment and of a day, millisatoshis with fees; for the scope `pay` alone.
    pub(crate) limits: Option<(u64, u64)>,
}

pub(crate) struct Keys {
    store: Store,
    live: Mutex<HashMap<TokenHash, Live>>,
}

struct Live {
    key: Key,
    noted: Option<Instant>,
}

impl Keys {
    pub(crate) async fn load(store: Store) -> Result<Self, Error> {
        let keys = store.api_keys().await?;
        let live = keys.into_iter().map(|kept| (kept.token_hash, Live { key: Key::new(kept), noted: None })).collect();
        Ok(Self { store, live: Mutex::new(live) })
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<TokenHash, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key and keeps it with its audit line. The key itself is given this once.
    pub(crate) async fn make(&self, wish: Wish, entry: Audit) -> Result<Secret<String>, Error> {
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
        let scopes: Vec<&str> = wish.scopes.iter().map(|scope| scope.name()).collect();
        let mut kept = ApiKey {
            id: 0,
            token_hash: hash(&token),
            name: wish.name,
            scopes: scopes.join(" "),
            created: entry.at,
            expires: wish.expires,
            last_used: None,
            payment_max: wish.limits.map(|(payment, _)| payment),
            day_max: wish.limits.map(|(_, day)| day),
        };
        kept.id = self.store.add_api_key(kept.clone(), entry).await?;
        self.live().insert(kept.token_hash, Live { key: Key::new(kept), noted: None });
        Ok(Secret::new(token))
    }

    /// All keys, newest first.
    pub(crate) fn list(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.live().values().map(|live| live.key.clone()).collect();
        keys.sort_by_key(|key| std::cmp::Reverse(key.kept.id));
        keys
    }

    pub(crate) fn by_id(&self, id: u64) -> Option<Key> {
        self.live().values().find(|live| live.key.kept.id == id).map(|live| live.key.clone())
    }

    /// The key of `token`, if it is one that has not ended.
    pub(crate) fn find(&self, token: &str) -> Option<Key> {
        if !token.starts_with(PREFIX) {
            return None;
        }
        let wall = now();
        let mut live = self.live();
        let found = live.get_mut(&hash(token)).filter(|live| !live.key.is_over(wall))?;
        found.key.kept.last_used = Some(wall);
        let instant = Instant::now();
        if found.noted.is_none_or(|noted| instant.saturating_duration_since(noted) >= NOTE) {
            found.noted = Some(instant);
            self.note(found.key.kept.id, wall);
        }
        Some(found.key.clone())
    }

    /// Writes down the key's last use, without anyone waiting for it.
    fn note(&self, id: u64, at: u64) {
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.api_key_used(id, at).await {
                tracing::warn!(%error, "a key's last use is not saved");
            }
        });
    }

    /// Ends a key: in memory even when the disk fails.
    pub(crate) async fn revoke(&self, id: u64, entry: Audit) -> Result<(), Error> {
        self.live().retain(|_, live| {
            let stays = live.key.kept.id != id;
            if !stays {
                live.key.end.send_replace(());
            }
            stays
        });
        Ok(self.store.revoke_api_key(id, entry).await?)
    }

    /// Resolves when the key is revoked, or has run out.
    pub(crate) async fn end(&self, key: Key) {
        let Key { kept, end, .. } = key;
        let mut ended = end.subscribe();
        if self.by_id(kept.id).is_none() {
            return;
        }
        let left = kept.expires.map(|end| Duration::from_secs(end.saturating_sub(now())));
        match left {
            Some(left) => drop(tokio::time::timeout(left, ended.changed()).await),
            None => drop(ended.changed().await),
        }
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u64) -> Audit {
        Audit { at, actor: "owner@::1".into(), action: "key-made", detail: String::new() }
    }

    fn wish(expires: Option<u64>) -> Wish {
        Wish { name: "shop".into(), scopes: vec![Scope::Read, Scope::Pay], expires, limits: Some((7, 9)) }
    }

    async fn keys(folder: &tempfile::TempDir) -> Keys {
        Keys::load(Store::open(&folder.path().join("manager.db")).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_key_survives_a_restart_and_the_disk_does_not_hold_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = keys(&folder).await;
        let token = first.make(wish(None), entry(now())).await.unwrap();
        assert_eq!(token.expose().len(), PREFIX.len() + 43);
        drop(first);
        let second = keys(&folder).await;
        let key = second.find(token.expose()).unwrap();
        assert!(key.may(Scope::Pay) && key.may(Scope::Read) && !key.may(Scope::Settings));
        assert_eq!((key.kept.payment_max, key.kept.day_max), (Some(7), Some(9)));
        for wrong in ["", "hbk_", "hbk_AAAA", &token.expose()[1..], &format!("{}A", token.expose())] {
            assert!(second.find(wrong).is_none(), "{wrong}");
        }
        for name in ["manager.db", "manager.db-wal"] {
            let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
            let needle = &token.expose().as_bytes()[PREFIX.len()..];
            assert!(!bytes.windows(needle.len()).any(|window| window == needle));
        }
    }

    #[tokio::test]
    async fn a_revoked_key_and_one_that_ran_out_open_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(&folder).await;
        let over = keys.make(wish(Some(now())), entry(now())).await.unwrap();
        assert!(keys.find(over.expose()).is_none());
        let token = keys.make(wish(Some(now() + 100)), entry(now())).await.unwrap();
        let key = keys.find(token.expose()).unwrap();
        let id = key.kept.id;
        let end = keys.end(key);
        let (ended, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(5), end), async {
            tokio::task::yield_now().await;
            keys.revoke(id, entry(now())).await.unwrap();
        });
        ended.expect("who watches a key learns of its end");
        assert!(keys.find(token.expose()).is_none());
        assert_eq!(keys.store.api_keys().await.unwrap().len(), 1);
    }
}
