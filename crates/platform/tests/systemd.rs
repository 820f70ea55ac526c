//! The watcher of systemd's units against a fake of systemd: peer to peer, and over a real dbus-daemon.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

mod fake_systemd;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fake_systemd::*;
use platform::{
    Error,
    systemd::{DEBOUNCE, RESYNC, run_on, watch},
};
use tokio::{task::JoinHandle, time::sleep};
use twin::{Reader, Sender, State, Twin};
use zbus::connection::Builder;

const UNITS: &[&str] = &["lnd.service", "homebolt-manager.service"];

fn twin() -> (Sender, Reader) {
    let (twin, sender, reader) = Twin::new();
    tokio::spawn(twin.run());
    (sender, reader)
}

/// Waits for the twin to be as wanted, much shorter than the resync takes.
async fn until(reader: &Reader, what: &str, wanted: impl Fn(&State) -> bool) {
    let mut changes = reader.changes();
    let waiting = async {
        while !wanted(&reader.state()) {
            let _ = changes.recv().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), waiting).await.is_err() {
        panic!("not seen: {what}; the twin has {:?} and {:?}", reader.state().units, reader.state().sources);
    }
}

fn lnd_is(active: &str) -> impl Fn(&State) -> bool {
    move |state| state.units.get("lnd.service").is_some_and(|unit| unit.active == active)
}

/// A watcher of `fake` over a socket pair, after its first read.
async fn watched(fake: &FakeSystemd) -> (zbus::Connection, JoinHandle<Error>, Reader) {
    let (server, client) = peers(|builder| fake.serve(builder)).await;
    let (sender, reader) = twin();
    let watcher = tokio::spawn(watch(client, UNITS, sender));
    until(&reader, "the first read", |state| state.sources.get("systemd").is_some_and(|health| health.connected)).await;
    (server, watcher, reader)
}

#[tokio::test]
async fn the_first_read_shows_what_is_there_and_leaves_out_what_is_not_installed() {
    let fake = FakeSystemd::with_lnd(("loaded", "active", "running"));
    let (_server, _watcher, reader) = watched(&fake).await;
    let state = reader.state();
    assert_eq!(state.units.keys().collect::<Vec<_>>(), ["lnd.service"]);
    let lnd = &state.units["lnd.service"];
    assert_eq!((lnd.description.as_str(), lnd.active.as_str(), lnd.sub.as_str()), ("Lightning", "active", "running"));
    assert_eq!(lnd.since, 1_700_000_000);
}

#[tokio::test]
async fn each_kind_of_signal_is_followed_by_a_read() {
    let fake = FakeSystemd::with_lnd(("loaded", "inactive", "dead"));
    let (server, _watcher, reader) = watched(&fake).await;
    fake.set(("loaded", "activating", "start"));
    emit_properties_changed(&server, LND).await;
    until(&reader, "PropertiesChanged", lnd_is("activating")).await;
    fake.set(("loaded", "active", "running"));
    emit_job_removed(&server, "lnd.service").await;
    until(&reader, "JobRemoved", lnd_is("active")).await;
    fake.set(("loaded", "failed", "failed"));
    emit(&server, "Reloading", &(false,)).await;
    until(&reader, "Reloading", lnd_is("failed")).await;
    fake.set(("loaded", "inactive", "dead"));
    emit(&server, "UnitNew", &("lnd.service", zbus::ObjectPath::try_from(LND).unwrap())).await;
    until(&reader, "UnitNew", lnd_is("inactive")).await;
}

#[tokio::test]
async fn a_burst_is_answered_with_few_reads_and_news_of_other_units_with_none() {
    let fake = FakeSystemd::with_lnd(("loaded", "inactive", "dead"));
    let (server, _watcher, reader) = watched(&fake).await;
    sleep(DEBOUNCE * 3).await;
    let before = fake.lists();
    for _ in 0..50 {
        emit_job_removed(&server, "cron.service").await;
        emit_properties_changed(&server, "/org/freedesktop/systemd1/unit/cron_2eservice").await;
    }
    sleep(DEBOUNCE * 3).await;
    assert_eq!(fake.lists(), before);
    fake.set(("loaded", "active", "running"));
    // More than any queue between the two holds.
    for _ in 0..500 {
        emit_properties_changed(&server, LND).await;
    }
    until(&reader, "the burst", lnd_is("active")).await;
    sleep(DEBOUNCE * 3).await;
    let reads = fake.lists() - before;
    assert!(reads <= 10, "{reads} reads for one burst");
}

#[tokio::test]
async fn a_unit_that_vanishes_is_forgotten_and_one_without_an_object_has_no_time() {
    let fake = FakeSystemd::with_lnd(("loaded", "active", "running"));
    fake.0.lock().unwrap().units.insert("homebolt-manager.service".into(), ("loaded", "active", "running"));
    let (server, _watcher, reader) = watched(&fake).await;
    assert_eq!(reader.state().units["homebolt-manager.service"].since, 0, "the fake has no object for it");
    fake.0.lock().unwrap().units.remove("homebolt-manager.service");
    emit(&server, "Reloading", &(false,)).await;
    until(&reader, "the unit gone", |state| state.units.len() == 1).await;
}

#[tokio::test]
async fn a_malformed_answer_ends_the_watch_with_a_reason() {
    let (_server, client) = peers(|builder| builder.serve_at(MANAGER, MalformedSystemd)).await;
    let (sender, reader) = twin();
    let error = watch(client, UNITS, sender).await;
    assert!(matches!(error, Error::Systemd { action: "list its units", .. }), "{error:?}");
    assert!(reader.state().units.is_empty());
}

#[tokio::test]
async fn a_peer_that_goes_ends_the_watch() {
    let fake = FakeSystemd::with_lnd(("loaded", "active", "running"));
    let (server, watcher, _reader) = watched(&fake).await;
    server.close().await.unwrap();
    let error = watcher.await.unwrap();
    assert!(matches!(error, Error::Disconnected | Error::Bus(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_ends_the_watch_at_the_limit() {
    let fake = FakeSystemd::default();
    fake.0.lock().unwrap().hangs = true;
    let (_server, client) = peers(|builder| fake.serve(builder)).await;
    let (sender, _reader) = twin();
    let error = watch(client, UNITS, sender).await;
    assert_eq!(error.to_string(), "systemd did not list its units within 10 seconds");
}

#[tokio::test(start_paused = true)]
async fn a_change_without_a_signal_is_found_by_the_resync() {
    let fake = FakeSystemd::with_lnd(("loaded", "active", "running"));
    let (_server, _watcher, reader) = watched(&fake).await;
    fake.set(("loaded", "failed", "failed"));
    sleep(RESYNC + Duration::from_secs(5)).await;
    assert_eq!(reader.state().units["lnd.service"].active, "failed");
    assert!(fake.0.lock().unwrap().subscriptions >= 2, "each read makes sure that signals still come");
}

/// A real dbus-daemon on a socket of its own.
struct Bus {
    daemon: Child,
    socket: PathBuf,
}

impl Bus {
    fn start(dir: &Path) -> Self {
        let socket = dir.join("bus");
        let _ = std::fs::remove_file(&socket);
        let config = dir.join("bus.conf");
        let text = format!(
            "<busconfig><type>custom</type><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context='default'>\
             <allow own='*'/><allow send_destination='*'/><allow receive_sender='*'/></policy></busconfig>",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg("--config-file").arg(&config).args(["--nofork", "--nopidfile", "--nosyslog"]);
        let daemon = command.stdout(Stdio::null()).spawn().expect("dbus-daemon is needed: apt-get install dbus-daemon");
        Self { daemon, socket }
    }

    async fn serve(&self, fake: &FakeSystemd) -> zbus::Connection {
        for _ in 0..200 {
            let connection = fake.serve(address(&self.socket)).name("org.freedesktop.systemd1").build().await;
            match connection {
                Ok(connection) => return connection,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("dbus-daemon did not begin to answer");
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

fn address(socket: &Path) -> Builder<'static> {
    Builder::address(format!("unix:path={}", socket.display()).as_str())
}

#[tokio::test]
async fn over_a_real_bus_the_watcher_outlives_the_bus_and_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let bus = Bus::start(dir.path());
    let fake = FakeSystemd::with_lnd(("loaded", "inactive", "dead"));
    let service = bus.serve(&fake).await;
    let (sender, reader) = twin();
    let socket = bus.socket.clone();
    tokio::spawn(async move { run_on(|| address(&socket), UNITS, sender).await });
    until(&reader, "the first read", lnd_is("inactive")).await;
    fake.set(("loaded", "active", "running"));
    emit_properties_changed(&service, LND).await;
    until(&reader, "a signal over the bus", lnd_is("active")).await;

    drop(bus);
    until(&reader, "the loss of the bus", |state| !state.sources["systemd"].connected).await;
    let fake = FakeSystemd::with_lnd(("loaded", "failed", "failed"));
    let bus = Bus::start(dir.path());
    let service = bus.serve(&fake).await;
    until(&reader, "the bus again", |state| lnd_is("failed")(state) && state.sources["systemd"].connected).await;

    // The service alone goes: nothing on the bus tells the watcher but the next read.
    service.close().await.unwrap();
    let fake = FakeSystemd::with_lnd(("loaded", "active", "running"));
    let service = bus.serve(&fake).await;
    emit_properties_changed(&service, LND).await;
    until(&reader, "the service again", lnd_is("active")).await;
    drop(bus);
}
