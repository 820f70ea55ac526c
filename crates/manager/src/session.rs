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

/// Who is at the other end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visitor {
    pub(crate) address: IpAddr,
    /// What the browser calls itself, in short; empty where it does not.
    pub(crate) browser: String,
}

impl From<IpAddr> for Visitor {
    fn from(address: IpAddr) -> Self {
        Self { address, browser: String::new() }
    }
}

/// A session as its list shows it; times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Tells it apart from the others. Made of the token's hash and good for nothing else.
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) browser: String,
    pub(crate) created: u64,
    pub(crate) last_seen: u64,
    /// It is the one that asks.
    pub(crate) is_own: bool,
}

pub(crate) struct Sessions {
    store: Store,
    live: Mutex<HashMap<TokenHash, Live>>,
}

struct Live {
    kind: Kind,
    address: String,
    browser: String,
    created: u64,
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
    fn new(session: &Session, seen: Instant) -> Self {
        let Session { token_hash, kind, address, browser, created, .. } = session;
        // Derived from the hash, which only the box knows, so it need not be kept; it cannot be led back to the token.
        let csrf = URL_SAFE_NO_PAD.encode(derived(b"homebolt csrf ", token_hash));
        let (address, browser) = (address.clone(), browser.clone());
        let end = watch::Sender::new(());
        Self { kind: *kind, address, browser, created: *created, csrf, seen, noted: seen, end }
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
                Some(seen) if !Live::new(&session, seen).is_over(instant) => {
                    live.insert(session.token_hash, Live::new(&session, seen));
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
    pub(crate) fn prepare(kind: Kind, visitor: impl Into<Visitor>) -> Result<(Secret<String>, Session), Error> {
        let Visitor { address, browser } = visitor.into();
        let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let wall = now();
        let token_hash = hash(&token);
        let address = address.to_string();
        let session = Session { token_hash, kind, address, browser, created: wall, last_seen: wall };
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
        live.insert(session.token_hash, Live::new(session, now));
    }

    /// Begins a session and writes `entry` about it. On a full disk the session lives in memory alone: an owner who
    /// cannot sign in cannot make room.
    pub(crate) async fn begin(
        &self,
        kind: Kind,
        visitor: impl Into<Visitor>,
        entry: Audit,
    ) -> Result<Secret<String>, Error> {
        let (token, session) = Self::prepare(kind, visitor)?;
        match self.store.begin_session(session.clone(), entry).await {
            Err(store::Error::Full) => {
                tracing::warn!(
                    address = session.address,
                    "the data disk is full: a session and its audit line are not saved"
                );
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

    /// The owner's live sessions, the one last used first; `own` is the one that asks.
    pub(crate) fn list(&self, own: TokenHash) -> Vec<Listed> {
        let (instant, wall) = (Instant::now(), now());
        let live = self.live();
        let owners = live.iter().filter(|(_, entry)| entry.kind == Kind::Owner && !entry.is_over(instant));
        let mut list: Vec<Listed> = owners
            .map(|(id, entry)| Listed {
                name: name(id),
                address: entry.address.clone(),
                browser: entry.browser.clone(),
                created: entry.created,
                last_seen: wall.saturating_sub(instant.saturating_duration_since(entry.seen).as_secs()),
                is_own: *id == own,
            })
            .collect();
        list.sort_by_key(|listed| (!listed.is_own, std::cmp::Reverse(listed.last_seen)));
        list
    }

    /// The session that [`Self::list`] calls so.
    pub(crate) fn named(&self, wanted: &str) -> Option<TokenHash> {
        self.live().keys().find(|id| name(id) == wanted).copied()
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

fn derived(what: &[u8], id: &TokenHash) -> [u8; 32] {
    Sha256::new().chain_update(what).chain_update(id).finalize().into()
}

fn name(id: &TokenHash) -> String {
    hex::encode(&derived(b"homebolt session name ", id)[..8])
}

/// A browser and its system in short, of what it says of itself: enough for a person to know it again.
pub(crate) fn browser(agent: &str) -> String {
    let find =
        |known: &[(&str, &'static str)]| known.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    // Most claim to be several: the one that names the others stands first.
    let program = find(&[
        ("Firefox/", "Firefox"),
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("Chromium/", "Chromium"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("CrOS", "ChromeOS"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    [program, system].into_iter().flatten().collect::<Vec<_>>().join(", ")
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
    async fn the_list_tells_sessions_apart_without_their_hash_or_token() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let phone = Visitor { address: "192.168.1.9".parse().unwrap(), browser: "Safari, iPhone".into() };
        let one = sessions.begin(Kind::Owner, HOME, entry()).await.unwrap();
        let two = sessions.begin(Kind::Owner, phone, entry()).await.unwrap();
        sessions.begin(Kind::Claim, HOME, entry()).await.unwrap();
        let own = sessions.find(one.expose(), HOME).unwrap().id;
        let list = sessions.list(own);
        assert_eq!(list.len(), 2);
        assert!(list[0].is_own && !list[1].is_own);
        assert_eq!((list[1].address.as_str(), list[1].browser.as_str()), ("192.168.1.9", "Safari, iPhone"));
        let other = sessions.named(&list[1].name).unwrap();
        assert_eq!(other, hash(two.expose()));
        assert!(!hex::encode(other).contains(&list[1].name));
        sessions.end(other, entry()).await.unwrap();
        assert_eq!(sessions.list(own).len(), 1);
        // After a restart they are listed as before.
        let store = sessions.store.clone();
        drop(sessions);
        let again = Sessions::load(store).await.unwrap();
        assert_eq!(again.list(own)[0].name, list[0].name);
    }

    #[test]
    fn a_browser_is_named_in_short() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36";
        assert_eq!(browser(chrome), "Chrome, Linux");
        assert_eq!(browser("Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0"), "Firefox, Windows");
        assert_eq!(browser("<script>"), "");
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
