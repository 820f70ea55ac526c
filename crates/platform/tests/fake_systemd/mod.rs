//! A fake of `org.freedesktop.systemd1`, for faults that the real one is not asked to have. The real one is watched in
//! the booted image.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use zbus::{
    Connection, ObjectPath, OwnedObjectPath,
    connection::Builder,
    fdo,
    wire::{DynamicType, Variant},
};

pub(crate) const MANAGER: &str = "/org/freedesktop/systemd1";
pub(crate) const LND: &str = "/org/freedesktop/systemd1/unit/lnd_2eservice";

/// Load, active and sub state.
pub(crate) type States = (&'static str, &'static str, &'static str);

/// What the fake knows; shared with the test.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) units: BTreeMap<String, States>,
    /// How often the units were listed and the signals subscribed.
    pub(crate) lists: u32,
    pub(crate) subscriptions: u32,
    /// The answer to a list never comes.
    pub(crate) hangs: bool,
}

#[derive(Clone, Default)]
pub(crate) struct FakeSystemd(pub(crate) Arc<Mutex<Known>>);

type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl FakeSystemd {
    fn subscribe(&self) -> Result<(), AlreadySubscribed> {
        let mut known = self.0.lock().unwrap();
        known.subscriptions += 1;
        if known.subscriptions == 1 { Ok(()) } else { Err(AlreadySubscribed::AlreadySubscribed("as before".into())) }
    }

    async fn list_units_by_names(&self, names: Vec<String>) -> Vec<Listed> {
        if self.0.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        let mut known = self.0.lock().unwrap();
        known.lists += 1;
        let listed = names.into_iter().map(|name| {
            let (load, active, sub) = known.units.get(&name).copied().unwrap_or(("not-found", "inactive", "dead"));
            let path = format!("{MANAGER}/unit/{}", name.replace('.', "_2e").replace('-', "_2d"));
            let path = OwnedObjectPath::try_from(path).unwrap();
            let none = OwnedObjectPath::try_from("/").unwrap();
            let text = str::to_owned;
            (name, text("Lightning"), text(load), text(active), text(sub), text(""), path, 0, text(""), none)
        });
        listed.collect()
    }
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum AlreadySubscribed {
    #[zbus(error)]
    ZBus(zbus::Error),
    AlreadySubscribed(String),
}

struct FakeUnit;

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl FakeUnit {
    #[zbus(property)]
    fn state_change_timestamp(&self) -> u64 {
        1_700_000_000_123_456
    }
}

/// Answers the list with a number.
pub(crate) struct MalformedSystemd;

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl MalformedSystemd {
    fn subscribe(&self) {}

    fn list_units_by_names(&self, _names: Vec<String>) -> fdo::Result<u32> {
        Ok(7)
    }
}

impl FakeSystemd {
    /// With `lnd.service` in the given states.
    pub(crate) fn with_lnd(states: States) -> Self {
        let fake = Self::default();
        fake.set(states);
        fake
    }

    pub(crate) fn set(&self, states: States) {
        self.0.lock().unwrap().units.insert("lnd.service".into(), states);
    }

    pub(crate) fn lists(&self) -> u32 {
        self.0.lock().unwrap().lists
    }

    /// Serves it, with an object for `lnd.service`, on a connection to be made.
    pub(crate) fn serve(&self, connection: Builder<'static>) -> Builder<'static> {
        connection.serve_at(MANAGER, self.clone()).serve_at(LND, FakeUnit)
    }
}

/// The two ends of a connection without a bus: who serves and who watches.
pub(crate) async fn peers(serve: impl FnOnce(Builder<'static>) -> Builder<'static>) -> (Connection, Connection) {
    let (one, other) = tokio::net::UnixStream::pair().unwrap();
    let server = Builder::unix_stream(one.into_std().unwrap()).server(zbus::Guid::generate()).p2p();
    let client = Builder::unix_stream(other.into_std().unwrap()).p2p();
    let (server, client) = tokio::join!(serve(server).build(), client.build());
    (server.unwrap(), client.unwrap())
}

pub(crate) async fn emit(server: &Connection, member: &str, body: &(impl serde::Serialize + DynamicType)) {
    server.emit_signal(None::<&str>, MANAGER, "org.freedesktop.systemd1.Manager", member, body).await.unwrap();
}

/// As systemd does when a unit's state changes.
pub(crate) async fn emit_properties_changed(server: &Connection, path: &str) {
    let changed = BTreeMap::from([("ActiveState", Variant::from("active"))]);
    let body = ("org.freedesktop.systemd1.Unit", changed, Vec::<&str>::new());
    let interface = "org.freedesktop.DBus.Properties";
    server.emit_signal(None::<&str>, path, interface, "PropertiesChanged", &body).await.unwrap();
}

pub(crate) async fn emit_job_removed(server: &Connection, unit: &str) {
    emit(server, "JobRemoved", &(7u32, ObjectPath::try_from("/job/7").unwrap(), unit, "done")).await;
}
