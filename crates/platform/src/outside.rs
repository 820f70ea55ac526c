//! Whether the world outside answers, without asking anything that the box would not ask anyway: the name of its time
//! server is resolved, and systemd-timesyncd says when that server last set the clock.

use std::{
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use tokio::{net::lookup_host, time::timeout};
use twin::{Sender, Update, net::Outside};
use zbus::Connection;

/// How often it is looked while all is well, and while something does not answer.
pub const INTERVAL: Duration = Duration::from_secs(120);
pub const IMPATIENT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(8);
/// systemd-timesyncd touches it with each answer that it used.
const SYNCED: &str = "/run/systemd/timesync/synchronized";
const NTP_PORT: u16 = 123;

#[zbus::proxy(
    interface = "org.freedesktop.timesync1.Manager",
    default_service = "org.freedesktop.timesync1",
    default_path = "/org/freedesktop/timesync1"
)]
trait Timesync {
    #[zbus(property(emits_changed_signal = "false"))]
    fn server_name(&self) -> zbus::Result<String>;
}

/// Looks again and again, for as long as the twin lives.
pub async fn run(twin: Sender) {
    let mut seen = Outside::default();
    loop {
        seen = look(&seen).await;
        if twin.send(Update::Outside(seen.clone())).await.is_err() {
            return;
        }
        let is_well = seen.resolves == Some(true) && seen.synced.is_some();
        tokio::time::sleep(if is_well { INTERVAL } else { IMPATIENT }).await;
    }
}

async fn look(before: &Outside) -> Outside {
    let server = match timeout(LIMIT, server()).await {
        Ok(Ok(server)) if !server.is_empty() => server,
        // Between two servers it names none; the last one is as good.
        _ => before.server.clone(),
    };
    let resolves = match server.as_str() {
        "" => None,
        // An answer of no addresses is none either.
        name => {
            let found = timeout(LIMIT, lookup_host((name, NTP_PORT))).await;
            Some(found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some())))
        }
    };
    Outside { server, resolves, synced: synced() }
}

async fn server() -> zbus::Result<String> {
    let connection = Connection::system().await?;
    TimesyncProxy::new(&connection).await?.server_name().await
}

fn synced() -> Option<u64> {
    let modified = std::fs::metadata(PathBuf::from(SYNCED)).ok()?.modified().ok()?;
    modified.duration_since(UNIX_EPOCH).ok().map(|age| age.as_secs())
}
