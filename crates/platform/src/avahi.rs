//! The box's own name in the local network, as avahi answers for it.
//!
//! avahi takes another name, `homelab-2`, where a device has the box's. It does so, too, when its own announcement of an
//! address reaches it after that address is gone, which happens on a busy box while a router gives it addresses; and it
//! never goes back by itself. So the name is asked for again some times.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use futures_util::StreamExt;
use nix::unistd::gethostname;
use tokio::time::{Instant, timeout};
use twin::{
    Sender, Update,
    source::{Backoff, Health, TwinGone, sentence},
};
use zbus::Connection;

use crate::{
    Error,
    bus::{self, ANSWER_LIMIT},
};

const SERVICE: &str = "org.freedesktop.Avahi";
/// Any card, any protocol (`AVAHI_IF_UNSPEC`, `AVAHI_PROTO_UNSPEC`).
const ANY: i32 = -1;
/// IPv4 first: of its addresses nobody needs to know the card.
const FAMILIES: [i32; 2] = [0, 1];

/// Before each attempt to have the box's own name again. Where another device holds it, more would only disturb.
pub const AGAIN: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(60), Duration::from_secs(600)];
/// The name is read this often even when no change was told.
pub const RESYNC: Duration = Duration::from_secs(60);
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// `AVAHI_SERVER_RUNNING`: the name is the box's, and no longer only asked for.
const RUNNING: i32 = 2;

#[zbus::proxy(
    interface = "org.freedesktop.Avahi.Server",
    default_service = "org.freedesktop.Avahi",
    default_path = "/"
)]
trait Server {
    #[zbus(no_autostart)]
    fn get_state(&self) -> zbus::Result<i32>;
    #[zbus(no_autostart)]
    fn get_host_name_fqdn(&self) -> zbus::Result<String>;
    /// Gives what is now asked for in the network.
    #[zbus(no_autostart)]
    fn set_host_name(&self, name: &str) -> zbus::Result<()>;
    #[zbus(signal)]
    fn state_changed(&self, state: i32, error: String) -> zbus::Result<()>;
}

/// Follows the name, for as long as the twin lives, and asks for the box's own where avahi has taken another.
pub async fn run(twin: Sender) {
    let mut health = Health::new("avahi", twin);
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let error = match bus::connect().await {
            Ok(connection) => {
                let Err(error) = follow(&connection, &mut health, &mut backoff).await;
                error
            }
            Err(error) => error,
        };
        if health.send(Update::Announced(None)).await.is_err() {
            return;
        }
        match health.lost(&error).await {
            Err(TwinGone) => return,
            Ok(true) => tracing::warn!("the name in the local network is not followed: {}", sentence(&error)),
            Ok(false) => {}
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// As [`run`], on a given connection and until that fails; `backoff` is reset by each reading.
pub async fn follow(
    connection: &Connection,
    health: &mut Health,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, Error> {
    let server = ServerProxy::new(connection).await.map_err(Error::Bus)?;
    let mut changes = server.receive_state_changed().await.map_err(Error::Bus)?;
    let (mut waits, mut due) = (AGAIN.iter(), None);
    loop {
        let name = answer("tell this box's name", announced(&server)).await?;
        let own = gethostname().map_err(Error::kernel("read the host name"))?.to_string_lossy().into_owned();
        match &name {
            None => {}
            Some(name) if is_of(name, &own) => (waits, due) = (AGAIN.iter(), None),
            Some(name) if due.is_none() => {
                due = waits.next().map(|wait| Instant::now() + *wait);
                tracing::warn!("the local network knows this box as {name}: {own} was taken when it was asked for");
            }
            Some(_) => {}
        }
        if name.is_some() {
            health.send(Update::Announced(name)).await?;
        }
        health.connected().await?;
        backoff.reset();
        let wait = due.map_or(RESYNC, |due| due.saturating_duration_since(Instant::now()).min(RESYNC));
        match timeout(wait, changes.next()).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(Error::NoAvahi),
            Err(_) if due.take_if(|due| *due <= Instant::now()).is_some() => {
                answer("take this box's own name", server.set_host_name(&own)).await?;
            }
            Err(_) => {}
        }
    }
}

/// The name, unless avahi is still asking for it.
async fn announced(server: &ServerProxy<'_>) -> zbus::Result<Option<String>> {
    if server.get_state().await? != RUNNING {
        return Ok(None);
    }
    server.get_host_name_fqdn().await.map(Some)
}

async fn answer<T>(action: &'static str, call: impl Future<Output = zbus::Result<T>>) -> Result<T, Error> {
    let told = timeout(ANSWER_LIMIT, call).await.map_err(|_| Error::BusTimeout(ANSWER_LIMIT.as_secs()))?;
    told.map_err(|source| Error::Avahi { action, source })
}

fn is_of(name: &str, own: &str) -> bool {
    name.split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(own))
}

/// A name and where it leads to. The port is for the caller to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub at: SocketAddr,
}

/// Asks avahi for the name that it holds for this box, and looks that up as any other device would. `None`: there is no
/// network in which to have a name. Takes as long as avahi does: the caller sets the limit.
pub async fn own() -> Result<Option<Found>, Error> {
    if crate::network::read()?.interfaces.iter().all(|card| card.addresses.is_empty()) {
        return Ok(None);
    }
    let connection = bus::connect().await?;
    own_on(&connection).await
}

/// As [`own`], on a given connection to a bus.
pub async fn own_on(connection: &Connection) -> Result<Option<Found>, Error> {
    // Asked itself, it would be started; whether it runs is not for this to change.
    let bus = Some("org.freedesktop.DBus");
    let answer = connection.call_method(bus, "/org/freedesktop/DBus", bus, "NameHasOwner", &SERVICE).await;
    if !answer.and_then(|answer| answer.body().deserialize::<bool>()).map_err(Error::Bus)? {
        return Err(Error::NoAvahi);
    }
    let action = "tell this box's name";
    let name: String = call(connection, action, "GetHostNameFqdn", &()).await?;
    let mut last = None;
    for family in FAMILIES {
        let action = "look up this box's own name";
        let found: Result<(i32, i32, String, i32, String, u32), Error> =
            call(connection, action, "ResolveHostName", &(ANY, ANY, name.as_str(), family, 0_u32)).await;
        match found {
            Ok((card, _, _, _, address, _)) => return Ok(address_at(&address, card).map(|at| Found { name, at })),
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(None), Err)
}

/// Plain calls: a generated proxy would be larger than what it does.
async fn call<B, T>(connection: &Connection, action: &'static str, method: &str, body: &B) -> Result<T, Error>
where
    B: serde::Serialize + zbus::wire::DynamicType,
    T: serde::de::DeserializeOwned + zbus::wire::Type,
{
    let interface = "org.freedesktop.Avahi.Server";
    let answer = connection.call_method(Some(SERVICE), "/", Some(interface), method, body).await;
    let answer = answer.map_err(|source| Error::Avahi { action, source })?;
    answer.body().deserialize().map_err(|source| Error::Avahi { action, source })
}

/// An address of one wire is of no use without its card.
fn address_at(address: &str, card: i32) -> Option<SocketAddr> {
    Some(match address.parse().ok()? {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, 0, 0, u32::try_from(card).unwrap_or_default()).into()
        }
        address => SocketAddr::new(address, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_one_wire_names_its_card() {
        assert_eq!(address_at("10.0.2.15", 2), Some("10.0.2.15:0".parse().unwrap()));
        let Some(SocketAddr::V6(near)) = address_at("fe80::1", 2) else { panic!("no address") };
        assert_eq!(near.scope_id(), 2);
        assert_eq!(address_at("homelab", 2), None);
    }
}
