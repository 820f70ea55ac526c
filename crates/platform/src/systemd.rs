//! systemd's units over D-Bus.
//!
//! Signals are hints only: what they carry is never believed, they make everything be read again (a dozen units, one
//! `ListUnitsByNames` and one property each). Anybody on the bus may send a signal, only systemd answers the read.

use std::{pin::pin, time::Duration};

use futures_util::{TryStreamExt, future, stream};
use tokio::{sync::Notify, time::timeout};
use twin::{
    Sender, Unit, Update,
    source::{Backoff, Health, TwinGone, sentence},
};
use zbus::{
    Connection, MatchRule, MessageStream,
    connection::Builder,
    message::{Message, Type},
    wire::{ObjectPath, OwnedObjectPath},
};

use crate::{Error, bus::ANSWER_LIMIT};

/// How long a burst of signals may gather before it is answered with one read.
pub const DEBOUNCE: Duration = Duration::from_millis(100);
/// Everything is read this often even when no signal came.
pub const RESYNC: Duration = Duration::from_secs(60);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Name, description, load state, active state, sub state, followed unit, path, job id, job type, job path.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    /// Makes systemd emit signals to this client.
    fn subscribe(&self) -> zbus::Result<()>;
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<Listed>>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit1 {
    /// When the unit last changed its state, microseconds since 1970; 0 if it never did.
    #[zbus(property(emits_changed_signal = "false"))]
    fn state_change_timestamp(&self) -> zbus::Result<u64>;
}

/// Follows `units` on the system bus, for as long as the twin lives.
pub async fn run(units: &[&str], twin: Sender) {
    run_on(Builder::system, units, twin).await;
}

/// As [`run`], on the bus that `bus` leads to.
pub async fn run_on(bus: impl Fn() -> Builder<'static>, units: &[&str], twin: Sender) {
    let mut health = Health::new("systemd", twin);
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let error = match timeout(ANSWER_LIMIT, bus().build()).await {
            Ok(Ok(connection)) => follow(connection, units, &mut health, &mut backoff).await,
            Ok(Err(error)) => Error::Bus(error),
            Err(_) => Error::BusTimeout(ANSWER_LIMIT.as_secs()),
        };
        match health.lost(&error).await {
            Err(TwinGone) => return,
            Ok(true) => tracing::warn!("systemd is not followed: {}", sentence(&error)),
            Ok(false) => {}
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Follows `units` on one connection until it fails; the error says how.
pub async fn watch(connection: Connection, units: &[&str], twin: Sender) -> Error {
    follow(connection, units, &mut Health::new("systemd", twin), &mut Backoff::new(BACKOFF.0, BACKOFF.1)).await
}

async fn follow(connection: Connection, units: &[&str], health: &mut Health, backoff: &mut Backoff) -> Error {
    let changed = Notify::new();
    // The streams are listened to before the first read: what changes in between is not missed. And they are drained
    // beside the reads, never after them: a full queue would hold up the very answer that a read waits for.
    let (listening, reading) = (pin!(listen(&connection, units, &changed)), async {
        let Err(error) = read_on(&connection, units, &changed, health, backoff).await;
        error
    });
    match future::select(listening, pin!(reading)).await {
        future::Either::Left((Err(error), _)) | future::Either::Right((error, _)) => error,
    }
}

type Never = std::convert::Infallible;

/// Notifies `changed` of every signal that may concern `units`.
async fn listen(connection: &Connection, units: &[&str], changed: &Notify) -> Result<Never, Error> {
    let signals = || MatchRule::builder().msg_type(Type::Signal);
    let rules = [
        signals().path("/org/freedesktop/systemd1").interface("org.freedesktop.systemd1.Manager"),
        signals()
            .path_namespace("/org/freedesktop/systemd1/unit")
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged"),
    ];
    let mut streams = Vec::new();
    for rule in rules {
        let rule = rule.build().map_err(Error::Bus)?;
        streams.push(MessageStream::for_match_rule(rule, connection, None).await.map_err(Error::Bus)?);
    }
    changed.notify_one();
    let paths: Vec<String> = units.iter().map(|unit| object_path(unit)).collect();
    let mut messages = stream::select_all(streams);
    while let Some(message) = messages.try_next().await.map_err(Error::Bus)? {
        if concerns(&message, units, &paths) {
            changed.notify_one();
        }
    }
    Err(Error::Disconnected)
}

/// Whether a signal may mean that one of `units` (whose object paths are `paths`) changed.
fn concerns(message: &Message, units: &[&str], paths: &[String]) -> bool {
    let header = message.header();
    let body = message.body();
    match header.member().map(|member| member.as_str()) {
        Some("PropertiesChanged") => header.path().is_some_and(|path| paths.iter().any(|known| known == path.as_str())),
        Some("JobRemoved") => {
            body.deserialize::<(u32, ObjectPath<'_>, &str, &str)>().is_ok_and(|(_, _, unit, _)| units.contains(&unit))
        }
        Some("UnitNew" | "UnitRemoved") => {
            body.deserialize::<(&str, ObjectPath<'_>)>().is_ok_and(|(unit, _)| units.contains(&unit))
        }
        Some("Reloading") => true,
        _ => false,
    }
}

/// Reads on every notice and at intervals, and sends what was read.
async fn read_on(
    connection: &Connection,
    units: &[&str],
    changed: &Notify,
    health: &mut Health,
    backoff: &mut Backoff,
) -> Result<Never, Error> {
    let manager = ManagerProxy::new(connection).await.map_err(Error::Bus)?;
    // The first notice comes when the signals are listened to.
    changed.notified().await;
    loop {
        let found = timeout(ANSWER_LIMIT, read(connection, &manager, units))
            .await
            .map_err(|_| Error::SystemdTimeout { action: "list its units", seconds: ANSWER_LIMIT.as_secs() })??;
        health.send(Update::Units(found)).await?;
        health.connected().await?;
        backoff.reset();
        if timeout(RESYNC, changed.notified()).await.is_ok() {
            tokio::time::sleep(DEBOUNCE).await;
        }
    }
}

async fn read(
    connection: &Connection,
    manager: &ManagerProxy<'_>,
    units: &[&str],
) -> Result<Vec<(String, Unit)>, Error> {
    // Before each read, not only the first: systemd forgets who subscribed when it executes itself anew.
    match manager.subscribe().await {
        // Subscribed already, by either of the names that Cockpit takes for it.
        Err(zbus::Error::MethodError(name, ..)) if name.as_str() == "org.freedesktop.systemd1.AlreadySubscribed" => {}
        Err(zbus::Error::FDO(error)) if matches!(*error, zbus::fdo::Error::FileExists(_)) => {}
        answer => answer.map_err(|source| Error::Systemd { action: "subscribe to signals", source })?,
    }
    let listed = manager.list_units_by_names(units).await;
    let listed = listed.map_err(|source| Error::Systemd { action: "list its units", source })?;
    let listed = listed.into_iter().filter(|unit| units.contains(&unit.0.as_str()) && unit.2 != "not-found");
    let found = listed.map(|unit| async move {
        let since = match since(connection, &unit.6).await {
            // A unit may be unloaded between the two calls; it is in the list, so it counts, without a time.
            Err(zbus::Error::FDO(_) | zbus::Error::MethodError(..)) => Ok(0),
            answer => answer.map_err(|source| Error::Systemd { action: "tell since when a unit is so", source }),
        }?;
        Ok((unit.0, Unit { description: unit.1, active: unit.3, sub: unit.4, since }))
    });
    future::try_join_all(found).await
}

async fn since(connection: &Connection, path: &OwnedObjectPath) -> zbus::Result<u64> {
    let unit = Unit1Proxy::builder(connection).path(path).cache_properties(zbus::proxy::CacheProperties::No);
    Ok(unit.build().await?.state_change_timestamp().await? / 1_000_000)
}

/// The object path of a unit: systemd writes every byte that is not a letter or a digit (nor a leading digit) as
/// `_` and two hexadecimal digits (`bus_label_escape` in its sources).
fn object_path(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_are_escaped_as_systemd_does() {
        assert_eq!(object_path("lnd.service"), "/org/freedesktop/systemd1/unit/lnd_2eservice");
        assert_eq!(
            object_path("homebolt-console@tty1.service").rsplit('/').next(),
            Some("homebolt_2dconsole_40tty1_2eservice")
        );
        assert_eq!(object_path("9p.mount").rsplit('/').next(), Some("_39p_2emount"));
    }

    fn signal<B: serde::Serialize + zbus::wire::DynamicType>(path: &str, member: &str, body: &B) -> Message {
        Message::signal(path, "org.freedesktop.systemd1.Manager", member).build(body).unwrap()
    }

    #[test]
    fn only_signals_about_the_watched_units_cause_a_read() {
        let units = ["lnd.service"];
        let paths = [object_path(units[0])];
        let job = ObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap();
        let seen = |message: Message| concerns(&message, &units, &paths);
        assert!(seen(signal("/s", "JobRemoved", &(7u32, &job, "lnd.service", "done"))));
        assert!(!seen(signal("/s", "JobRemoved", &(7u32, &job, "cron.service", "done"))));
        assert!(seen(signal("/s", "UnitNew", &("lnd.service", &job))));
        assert!(!seen(signal("/s", "UnitNew", &("cron.service", &job))));
        assert!(seen(signal("/s", "Reloading", &(false,))));
        assert!(seen(signal(&paths[0], "PropertiesChanged", &())));
        assert!(!seen(signal(&object_path("cron.service"), "PropertiesChanged", &())));
        // A body of another shape is nobody's news and no reason to fall over.
        assert!(!seen(signal("/s", "JobRemoved", &("lnd.service",))));
    }
}
