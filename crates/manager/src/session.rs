//! Sessions: who is signed in.
//!
//! They live in memory, so that a request costs no access to the disk, and in the store, so that a restart signs nobody
//! out. The token is only in the owner's cookie; memory and disk know its hash.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use store::{Audit, Kind, Session, Store, TokenHash};
use subtle::ConstantTimeEq;
use tokio::{sync::watch, time::Instant};

use crate::{
    error::{Error, now, random},
    secret::Secret,
};

/// An owner who does nothing for this long is signed out.
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);
/// The claim code was typed: so long there is time to choose a password.
pub(crate) const CLAIM: Duration = Duration::from_secs(15 * 60);
/// A session's last use goes to the disk at most this often.
const NOTE: Duration = Duration::from_secs(60);
/// Live sessions at once; the one idle for longest makes room. It bounds memory, no household comes near it.
const AT_ONCE: usize = 64;

pub(crate) struct Sessions {
    store: Store,
    live: Mutex<HashMap<TokenHash, Live>>,
}

struct Live {
    kind: Kind,
    csrf: String,
    seen: Instant,
    noted: Instant,
    /// Dropped with the session: who subscribed learns of its end.
    end: watch::Sender<()>,
}

/// What a request knows of its session.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) id: TokenHash,
    pub(crate) kind: Kind,
    /// To be sent back with forms.
    pub(crate) csrf: String,
    pub(crate) address: IpAddr,
}

impl Current {
    pub(crate) fn csrf_matches(&self, sent: &str) -> bool {
        sent.as_bytes().ct_eq(self.csrf.as_bytes()).into()
    }

    /// How the audit log calls them.
    pub(crate) fn actor(&self) -> String {
        format!("owner@{}", self.address)
    }
}

impl Live {
    fn new(kind: Kind, id: &TokenHash, seen: Instant) -> Self {
        // Derived from the hash, which only the box knows, so it need not be kept; it cannot be led back to the token.
        let csrf = URL_SAFE_NO_PAD.encode(Sha256::new().chain_update(b"homebolt csrf ").chain_update(id).finalize());
        Self { kind, csrf, seen, noted: seen, end: watch::Sender::new(()) }
    }

    fn is_over(&self, now: Instant) -> bool {
        let limit = match self.kind {
            Kind::Owner => IDLE,
            Kind::Claim => CLAIM,
        };
        now.saturating_duration_since(self.seen) >= limit
    }
}

impl Sessions {
    /// Takes over the sessions of the last run, less those that are over by the wall clock.
    pub(crate) async fn load(store: Store) -> Result<Self, Error> {
        let (wall, instant) = (now(), Instant::now());
        let mut live = HashMap::new();
        let mut over = Vec::new();
        for session in store.sessions().await? {
            let since = if session.kind == Kind::Claim { session.created } else { session.last_seen };
            // A session of the future tells that the clock went back: nothing is known about its age.
            let age = wall.checked_sub(since).map(Duration::from_secs);
            match age.and_then(|age| instant.checked_sub(age)) {
                Some(seen) if !Live::new(session.kind, &session.token_hash, seen).is_over(instant) => {
                    live.insert(session.token_hash, Live::new(session.kind, &session.token_hash, seen));
                }
                _ => over.push(session.token_hash),
            }
        }
        if !over.is_empty() {
            match store.end_sessions(over, None).await {
                // They are not taken over, and the next start will find them over again.
                Err(store::Error::Full) => tracing::warn!("the data disk is full: ended sessions are still there"),
                outcome => outcome?,
            }
        }
        Ok(Self { store, live: Mutex::new(live) })
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<TokenHash, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session not yet begun: its token for the cookie and its row for the store.
    pub(crate) fn prepare(kind: Kind, address: IpAddr) -> Result<(Secret<String>, Session), Error> {
        let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let wall = now();
        let token_hash = hash(&token);
        let session = Session { token_hash, kind, address: address.to_string(), created: wall, last_seen: wall };
        Ok((Secret::new(token), session))
    }

    /// Makes a session that the store has kept (or could not keep) valid.
    pub(crate) fn admit(&self, session: &Session) {
        let now = Instant::now();
        let mut live = self.live();
        if live.len() >= AT_ONCE {
            let oldest = live.iter().min_by_key(|(_, entry)| entry.seen).map(|(id, _)| *id);
            oldest.map(|id| live.remove(&id));
        }
        live.insert(session.token_hash, Live::new(session.kind, &session.token_hash, now));
    }

    /// Begins a session and writes `entry` about it. On a full disk the session lives in memory alone: an owner who
    /// cannot sign in cannot make room.
    pub(crate) async fn begin(&self, kind: Kind, address: IpAddr, entry: Audit) -> Result<Secret<String>, Error> {
        let (token, session) = Self::prepare(kind, address)?;
        match self.store.begin_session(session.clone(), entry).await {
            Err(store::Error::Full) => {
                tracing::warn!(%address, "the data disk is full: a session and its audit line are not saved");
            }
            outcome => outcome?,
        }
        self.admit(&session);
        Ok(token)
    }

    /// The session of `token`, if it lives; using it keeps it alive.
    pub(crate) fn find(&self, token: &str, address: IpAddr) -> Option<Current> {
        let id = hash(token);
        let now = Instant::now();
        let mut live = self.live();
        let entry = live.get_mut(&id)?;
        if entry.is_over(now) {
            live.remove(&id);
            return None;
        }
        if entry.kind == Kind::Owner {
            entry.seen = now;
            if now.saturating_duration_since(entry.noted) >= NOTE {
                entry.noted = now;
                self.note(id);
            }
        }
        Some(Current { id, kind: entry.kind, csrf: entry.csrf.clone(), address })
    }

    /// Writes down the session's last use, without anyone waiting for it.
    fn note(&self, id: TokenHash) {
        let store = self.store.clone();
        let at = crate::error::now();
        tokio::spawn(async move {
            if let Err(error) = store.session_seen(id, at).await {
                tracing::warn!(%error, "a session's last use is not saved");
            }
        });
    }

    /// Resolves when the session ends; `None` when it already has. Does not keep it alive.
    pub(crate) fn watch(&self, id: &TokenHash) -> Option<watch::Receiver<()>> {
        let now = Instant::now();
        self.live().get(id).filter(|entry| !entry.is_over(now)).map(|entry| entry.end.subscribe())
    }

    /// Whether the session lives, without keeping it alive.
    pub(crate) fn is_live(&self, id: &TokenHash) -> bool {
        self.watch(id).is_some()
    }

    /// How many owner's sessions live.
    pub(crate) fn count(&self) -> usize {
        let now = Instant::now();
        self.live().values().filter(|entry| entry.kind == Kind::Owner && !entry.is_over(now)).count()
    }

    /// Ends one session, in memory even when the disk fails.
    pub(crate) async fn end(&self, id: TokenHash, entry: Audit) -> Result<(), Error> {
        self.live().remove(&id);
        Ok(self.store.end_sessions(vec![id], Some(entry)).await?)
    }

    /// Ends all sessions but `keep` (`None`: all), in memory; returns their hashes for the store.
    pub(crate) fn drop_others(&self, keep: Option<TokenHash>) -> Vec<TokenHash> {
        let mut live = self.live();
        let others: Vec<TokenHash> = live.keys().filter(|id| Some(**id) != keep).copied().collect();
        live.retain(|id, _| Some(*id) == keep);
        others
    }

    /// Ends what is over.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        let over: Vec<TokenHash> = {
            let now = Instant::now();
            let mut live = self.live();
            let over = live.iter().filter(|(_, entry)| entry.is_over(now)).map(|(id, _)| *id).collect();
            live.retain(|_, entry| !entry.is_over(now));
            over
        };
        if over.is_empty() { Ok(()) } else { Ok(self.store.end_sessions(over, None).await?) }
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Audit {
        Audit { at: now(), actor: "owner@::1".into(), action: "sign-in", detail: String::new() }
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn sessions(folder: &tempfile::TempDir) -> Sessions {
        Sessions::load(Store::open(&folder.path().join("manager.db")).unwrap()).await.unwrap()
    }

    /// Advances tokio's clock; the store's thread answers in real time meanwhile.
    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn a_session_in_use_lives_and_an_idle_one_ends_after_half_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let token = sessions.begin(Kind::Owner, HOME, entry()).await.unwrap();
        for _ in 0..3 {
            pass(IDLE - Duration::from_secs(60)).await;
            assert!(sessions.find(token.expose(), HOME).is_some());
        }
        pass(IDLE).await;
        assert!(sessions.find(token.expose(), HOME).is_none());
        sessions.sweep().await.unwrap();
    }

    #[tokio::test]
    async fn a_claim_session_is_not_prolonged_by_use() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let token = sessions.begin(Kind::Claim, HOME, entry()).await.unwrap();
        pass(CLAIM - Duration::from_secs(60)).await;
        assert_eq!(sessions.find(token.expose(), HOME).unwrap().kind, Kind::Claim);
        pass(Duration::from_secs(60)).await;
        assert!(sessions.find(token.expose(), HOME).is_none());
    }

    #[tokio::test]
    async fn a_restart_keeps_live_sessions_and_forgets_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        let first = sessions(&folder).await;
        let token = first.begin(Kind::Owner, HOME, entry()).await.unwrap();
        for last_seen in [now() - IDLE.as_secs(), now() + 7200] {
            let old = Session { last_seen, ..Sessions::prepare(Kind::Owner, HOME).unwrap().1 };
            first.store.begin_session(old, entry()).await.unwrap();
        }
        drop(first);
        let second = sessions(&folder).await;
        assert!(second.find(token.expose(), HOME).is_some());
        assert_eq!(second.count(), 1);
        assert_eq!(second.store.sessions().await.unwrap().len(), 1, "the old ones are gone from the disk, too");
    }

    #[tokio::test]
    async fn who_watches_a_session_learns_of_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let token = sessions.begin(Kind::Owner, HOME, entry()).await.unwrap();
        let current = sessions.find(token.expose(), HOME).unwrap();
        let mut end = sessions.watch(&current.id).unwrap();
        sessions.end(current.id, entry()).await.unwrap();
        assert!(end.changed().await.is_err());
        assert!(sessions.watch(&current.id).is_none());
    }

    #[tokio::test]
    async fn the_database_does_not_hold_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let token = sessions.begin(Kind::Owner, HOME, entry()).await.unwrap();
        for name in ["manager.db", "manager.db-wal"] {
            let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
            let needle = token.expose().as_bytes();
            assert!(!bytes.windows(needle.len()).any(|window| window == needle));
        }
    }
}
