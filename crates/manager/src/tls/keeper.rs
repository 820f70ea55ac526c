//! Keeps a fitting leaf in front of the handshakes.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{sync::broadcast::error::RecvError, time};
use twin::Topic;

use super::{Authority, authority, leaf::Leaf};
use crate::error::{Error, now};

/// Addresses come in a burst when a cable is plugged in: one certificate for all of them.
const SETTLE: Duration = Duration::from_secs(1);
/// How often the clock is looked at; it can jump when the network tells the time.
const LOOK: Duration = Duration::from_secs(60);

/// What a leaf is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(super) dns: BTreeSet<String>,
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl Names {
    /// All names and addresses of the box, less those that `authority` may not sign.
    pub(crate) fn of_box(authority: &Authority, network: &twin::Network) -> Self {
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        let addresses = network.addresses().chain(loopback).filter(|address| authority.permits_address(*address));
        let dns = authority::names_of(&network.host_name).into_iter().filter(|name| authority.permits_name(name));
        Self { dns: dns.collect(), addresses: addresses.collect() }
    }
}

pub(crate) struct Keeper {
    authority: Arc<Authority>,
    file: PathBuf,
    /// Time of the release, the floor of the clock.
    built: u64,
    current: Mutex<Leaf>,
    resolver: Arc<Resolver>,
}

impl Keeper {
    /// Takes over the leaf in `folder` or issues one for `names`.
    pub(crate) fn open(folder: &Path, authority: Arc<Authority>, names: &Names, built: u64) -> Result<Self, Error> {
        let file = folder.join("leaf.pem");
        let now = now();
        let kept = Leaf::read(&file, &authority).filter(|leaf| leaf.serves(names, built, now));
        let leaf = match kept {
            Some(leaf) => leaf,
            None => Leaf::issue(&file, &authority, names, built, now)?,
        };
        let resolver = Arc::new(Resolver(ArcSwap::new(leaf.key.clone())));
        Ok(Self { authority, file, built, current: Mutex::new(leaf), resolver })
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.resolver.clone()
    }

    /// Follows the addresses in the twin and the clock until the twin is gone.
    pub(crate) async fn run(self: Arc<Self>, twin: twin::Reader) {
        let mut changes = twin.changes();
        let mut look = time::interval(LOOK);
        look.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            let names = Names::of_box(&self.authority, &twin.state().network);
            let keeper = self.clone();
            // Off the event loop: it may sync a file to a slow disk.
            match tokio::task::spawn_blocking(move || keeper.renew(&names, now())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "the certificate is not renewed; the old one stays in use"),
                Err(error) => tracing::error!(%error, "the certificate is not looked after"),
            }
            tokio::select! {
                _ = look.tick() => {}
                change = changes.recv() => match change {
                    Ok(Topic::Network) | Err(RecvError::Lagged(_)) => time::sleep(SETTLE).await,
                    Ok(_) => continue,
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    /// Issues a new leaf when the current one does not serve; says whether it did.
    pub(super) fn renew(&self, names: &Names, now: u64) -> Result<bool, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.serves(names, self.built, now) {
            return Ok(false);
        }
        let leaf = Leaf::issue(&self.file, &self.authority, names, self.built, now)?;
        self.resolver.0.store(leaf.key.clone());
        *current = leaf;
        tracing::info!(?names, "issued a new certificate");
        Ok(true)
    }
}

struct Resolver(ArcSwap<CertifiedKey>);

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    /// The same certificate for every name: it covers them all, and by address there is no name in the handshake.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
