//! The box's own name in the local network, as avahi answers for it.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use zbus::Connection;

use crate::Error;

const SERVICE: &str = "org.freedesktop.Avahi";
/// Any card, any protocol (`AVAHI_IF_UNSPEC`, `AVAHI_PROTO_UNSPEC`).
const ANY: i32 = -1;
/// IPv4 first: of its addresses nobody needs to know the card.
const FAMILIES: [i32; 2] = [0, 1];

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
    let connection = Connection::system().await.map_err(Error::Bus)?;
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
