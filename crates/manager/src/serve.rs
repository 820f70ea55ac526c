//! `homebolt-manager serve`: everything put together, and taken down again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use release::Release;
use sd_notify::NotifyState;
use store::Store;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    task::JoinSet,
    time,
};
use twin::{Data, Twin};

use crate::{
    access::{factor::Factor, phones::Phones, reset::Reset},
    api::Api,
    chain,
    claim::Claim,
    console,
    copies::{self, Copies},
    error::Error,
    fault::Fault,
    http::{self, Listeners, routes},
    limits::Limits,
    node::Node,
    pages::node::send::Tickets,
    payments::Payments,
    place::{self, Place},
    rates,
    request::Desk,
    session::Sessions,
    setup::{self, Setup, headers::Shipped},
    shared::{House, Shared},
    sources::{self, Places},
    sse::Hub,
    support::Bundles,
    tls::{self, Authority, Keeper, Names},
    updates::{self, Updates},
    watchdog,
    wizard::Wizard,
};

/// How often ended sessions and quiet addresses are forgotten.
const SWEEP: Duration = Duration::from_secs(5 * 60);

pub(crate) struct Config {
    pub(crate) state_dir: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) release: PathBuf,
    pub(crate) lnd: std::net::SocketAddr,
    pub(crate) lnd_rest: std::net::SocketAddr,
    pub(crate) lnd_dir: PathBuf,
    pub(crate) config_dir: PathBuf,
    pub(crate) headers_dir: PathBuf,
    pub(crate) keyring: PathBuf,
    pub(crate) channel: PathBuf,
}

/// Runs until a signal, or until the data partition comes or goes: then the start must be gone through again, and
/// systemd sees to it.
pub(crate) async fn run(config: Config, listeners: Listeners) -> Result<(), Error> {
    let release = read_release(&config.release)?;
    let mut tasks = JoinSet::new();
    let (twin, sender, reader) = Twin::new();
    tasks.spawn(twin.run());
    let places = Places { run_dir: config.run_dir.clone(), data: config.state_dir.clone() };
    let mut node =
        Node::new(config.lnd, config.lnd_rest, config.lnd_dir.clone(), config.state_dir.join("lnd.macaroon"));
    let boot = sources::start(places, &sender, &mut tasks).await;
    let watching = node.watch(&sender, &mut tasks);
    settle(&reader, &boot).await;

    let latest = watching.backup.clone();
    let begun = begin(&config, release, reader.clone(), &boot, node, latest, sender.clone()).await?;
    let store = begun.house.as_ref().map(|house| house.store.clone());
    let (stop, stopped) = watch::channel(());
    let mut servers = JoinSet::new();
    let tls = tls::server_config(&begun.keeper)?;
    let router = match &begun.house {
        Some(house) => routes::router(house.clone()),
        None => routes::recovery_router(begun.shared.clone()),
    };
    for listener in listeners.https {
        servers.spawn(http::serve(listener, Some(tls.clone()), router.clone(), stopped.clone()));
    }
    for listener in listeners.http {
        servers.spawn(http::serve(listener, None, http::plain_router(begun.shared.clone()), stopped.clone()));
    }
    begun.spawn(&mut tasks, watching);
    tasks.spawn(watchdog::run(sender, store));
    watchdog::tell(NotifyState::Ready);
    tracing::info!(fault = ?begun.shared.fault.as_ref().map(Fault::title), "ready");

    let mut terminate = signal(SignalKind::terminate()).map_err(Error::system("listen for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::system("listen for signals"))?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("asked to stop"),
        _ = interrupt.recv() => tracing::info!("asked to stop"),
        () = data_changes(reader, boot.data) => tracing::warn!("the data partition changed: starting again"),
        () = begun.shared.again.notified() => tracing::warn!("a damaged file was set aside: starting again"),
        Some(ended) = servers.join_next() => tracing::error!(?ended, "a socket failed: starting again"),
    }
    watchdog::tell(NotifyState::Stopping);
    drop(stop);
    // Streams of events end with their hub; answers under way get their grace in each server.
    tasks.abort_all();
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// Waits until the twin has what the sources' start put into its queue.
async fn settle(reader: &twin::Reader, boot: &twin::Boot) {
    let mut changes = reader.changes();
    let taken = async {
        while reader.state().boot != *boot {
            let _ = changes.recv().await;
        }
    };
    let _ = time::timeout(Duration::from_secs(5), taken).await;
}

async fn data_changes(reader: twin::Reader, was: Data) {
    let mut changes = reader.changes();
    while reader.state().boot.data == was {
        if let Err(tokio::sync::broadcast::error::RecvError::Closed) = changes.recv().await {
            return std::future::pending().await;
        }
    }
}

/// What a start makes.
struct Begun {
    shared: Arc<Shared>,
    /// `None`: the data cannot be used.
    house: Option<Arc<House>>,
    keeper: Arc<Keeper>,
}

async fn begin(
    config: &Config,
    release: Release,
    twin: twin::Reader,
    boot: &twin::Boot,
    node: Node,
    latest: watch::Receiver<Option<lnd::watch::LatestBackup>>,
    sender: twin::Sender,
) -> Result<Begun, Error> {
    let manager = config.run_dir.join("manager");
    for folder in [&config.run_dir, &manager, &manager.join("request")] {
        make_folder(folder)?;
    }
    let claim = Claim::open(&manager.join("claim.json"))?;
    let host = host_name(&twin);
    let (fault, kept) = match Fault::of_data(&boot.data) {
        Some(fault) => (Some(fault), None),
        // Whatever of the state cannot be used: the box says so, and never begins as if it were new.
        None => match open_state(config, &host, release.built, latest).await {
            Ok(kept) => (None, Some(kept)),
            Err(error) => {
                tracing::error!(%error, "the manager's files cannot be used");
                (Some(Fault::of_state(&error)), None)
            }
        },
    };
    let (authority, folder) = match &kept {
        Some(kept) => (kept.authority.clone(), config.state_dir.join("tls")),
        None => {
            let folder = manager.join("tls");
            (Arc::new(Authority::open(&folder, &host, release.built, true)?), folder)
        }
    };
    let names = Names::of_box(&authority, &twin.state().network);
    let keeper = Arc::new(Keeper::open(&folder, authority.clone(), &names, release.built)?);
    let run_dir = config.run_dir.clone();
    let shared = Arc::new(Shared {
        release,
        twin,
        claim,
        authority,
        run_dir,
        fault,
        asked: Mutex::new(None),
        again: Notify::new(),
        place: watch::Sender::new(kept.as_ref().map(|kept| kept.place.clone()).unwrap_or_default()),
    });
    let house = kept.map(
        |Kept { store, sessions, wizard, setup, copies, payments, api, factor, reset, phones, updates, .. }| {
            let (limits, hub, desk) = (Limits::new(), Arc::new(Hub::new()), Desk::default());
            let tickets = Tickets::default();
            Arc::new(House {
                shared: shared.clone(),
                store,
                sessions,
                limits,
                wizard,
                setup,
                node,
                copies,
                tickets,
                payments,
                desk,
                sender,
                hub,
                api,
                factor,
                reset,
                phones,
                support: Bundles::default(),
                updates,
            })
        },
    );
    Ok(Begun { shared, house, keeper })
}

impl Begun {
    /// Starts what runs beside the requests.
    fn spawn(&self, tasks: &mut JoinSet<()>, watching: lnd::watch::Watching) {
        let (keeper, twin) = (self.keeper.clone(), self.shared.twin.clone());
        tasks.spawn(keeper.run(twin));
        let told = self.house.as_ref().map(|house| (house.wizard.watch(), house.reset.watch()));
        tasks.spawn(console::run(self.shared.clone(), told));
        if let Some(house) = &self.house {
            let (hub, shared) = (house.hub.clone(), self.shared.clone());
            tasks.spawn(async move { hub.run(shared).await });
            tasks.spawn(sweep(house.clone()));
            tasks.spawn(crate::network::follow(house.clone()));
            tasks.spawn(copies::run(house.clone()));
            tasks.spawn(chain::follow(house.setup.subscribe(), house.sender.clone()));
            tasks.spawn(rates::run(house.payments.subscribe(), house.sender.clone()));
            tasks.spawn(setup::follow(house.clone(), watching.state));
            tasks.spawn(updates::run(house.clone()));
        }
    }
}

async fn sweep(house: Arc<House>) {
    let mut interval = time::interval(SWEEP);
    loop {
        interval.tick().await;
        house.limits.sweep();
        house.api.pace.sweep();
        house.support.sweep();
        if let Err(error) = house.sessions.sweep().await {
            tracing::warn!(%error, "ended sessions are still in the database");
        }
    }
}

/// What is on the data partition.
struct Kept {
    store: Store,
    sessions: Sessions,
    wizard: Wizard,
    setup: Setup,
    copies: Copies,
    api: Api,
    factor: Factor,
    reset: Arc<Reset>,
    phones: Phones,
    payments: Payments,
    updates: Updates,
    authority: Arc<Authority>,
    place: Place,
}

async fn open_state(
    config: &Config,
    host: &str,
    built: u64,
    latest: watch::Receiver<Option<lnd::watch::LatestBackup>>,
) -> Result<Kept, Error> {
    let state_dir = &config.state_dir;
    // Only the last folder: on the box it lies on the data partition, whose absence must not be papered over.
    make_folder(state_dir)?;
    let store = Store::open(&state_dir.join("manager.db"))?;
    let authority = Arc::new(Authority::open(&state_dir.join("tls"), host, built, false)?);
    let sessions = Sessions::load(store.clone()).await?;
    let wizard = Wizard::open(store.clone()).await?;
    let setup = Setup::open(store.clone(), config.config_dir.clone(), Shipped::find(&config.headers_dir)).await?;
    let copies = Copies::open(store.clone(), state_dir, &config.run_dir, &setup.choices(), latest).await?;
    let api = Api::open(store.clone()).await?;
    let place = store.setting(place::KEY).await?.unwrap_or_default();
    let factor = Factor::open(store.clone()).await?;
    let reset = Arc::new(Reset::open(store.clone(), &config.run_dir).await?);
    let phones = Phones::open(store.clone()).await?;
    let payments = Payments::open(store.clone()).await?;
    let (keyring, channel) = (config.keyring.clone(), config.channel.clone());
    let places = updates::Places { state_dir: state_dir.clone(), keyring, channel };
    let updates = Updates::open(store.clone(), places).await?;
    Ok(Kept { store, sessions, wizard, setup, copies, payments, api, factor, reset, phones, updates, authority, place })
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    match fs::create_dir(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::file("create", folder)(source)),
        _ => Ok(()),
    }
}

fn host_name(twin: &twin::Reader) -> String {
    let name = twin.state().network.host_name.clone();
    if name.is_empty() { "homelab".into() } else { name }
}

fn read_release(path: &Path) -> Result<Release, Error> {
    let bytes = fs::read(path).map_err(Error::file("read the release", path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Release { path: path.into(), source })
}
