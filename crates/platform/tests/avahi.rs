//! The box's own name, against a fake of avahi and of the bus on a socket pair. The real ones are asked in the booted image.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

use platform::{
    Error,
    avahi::{Found, own_on},
};
use zbus::{Connection, connection::Builder, fdo};

struct FakeBus {
    runs: bool,
}

#[zbus::interface(name = "org.freedesktop.DBus")]
impl FakeBus {
    fn name_has_owner(&self, name: &str) -> bool {
        self.runs && name == "org.freedesktop.Avahi"
    }
}

/// Knows an address of this family (0: IPv4, 1: IPv6), or none.
struct FakeAvahi {
    knows: Option<i32>,
}

type Resolved = (i32, i32, String, i32, String, u32);

#[zbus::interface(name = "org.freedesktop.Avahi.Server")]
impl FakeAvahi {
    #[zbus(name = "GetHostNameFqdn")]
    fn fqdn(&self) -> String {
        "attic.local".into()
    }

    #[zbus(out_args("interface", "protocol", "name", "aprotocol", "address", "flags"))]
    fn resolve_host_name(
        &self,
        interface: i32,
        protocol: i32,
        name: String,
        aprotocol: i32,
        flags: u32,
    ) -> fdo::Result<Resolved> {
        assert_eq!((interface, protocol, name.as_str(), flags), (-1, -1, "attic.local", 0));
        if self.knows != Some(aprotocol) {
            return Err(fdo::Error::Failed("Timeout reached".into()));
        }
        let address = if aprotocol == 0 { "10.0.2.15" } else { "fe80::1" };
        Ok((2, 0, name, aprotocol, address.into(), 0))
    }
}

async fn ask(runs: bool, knows: Option<i32>) -> Result<Option<Found>, Error> {
    let (one, other) = tokio::net::UnixStream::pair().unwrap();
    let server = Builder::unix_stream(one.into_std().unwrap()).server(zbus::Guid::generate()).p2p();
    let server = server.serve_at("/org/freedesktop/DBus", FakeBus { runs }).serve_at("/", FakeAvahi { knows });
    let client = Builder::unix_stream(other.into_std().unwrap()).p2p();
    let (server, client): (zbus::Result<Connection>, zbus::Result<Connection>) =
        tokio::join!(server.build(), client.build());
    let _server = server.unwrap();
    own_on(&client.unwrap()).await
}

#[tokio::test]
async fn the_name_leads_to_an_address_of_either_family() {
    let found = ask(true, Some(0)).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.at), ("attic.local", "10.0.2.15:0".parse().unwrap()));
    let found = ask(true, Some(1)).await.unwrap().unwrap();
    assert_eq!(found.at.to_string(), "[fe80::1%2]:0", "an address of one wire comes with its card");
}

#[tokio::test]
async fn where_avahi_does_not_run_it_is_not_started_and_nothing_is_looked_up() {
    assert!(matches!(ask(false, Some(0)).await, Err(Error::NoAvahi)));
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_an_error_with_avahis_words() {
    let error = ask(true, None).await.unwrap_err();
    let said = twin::source::sentence(&error);
    assert!(said.starts_with("avahi failed to look up") && said.contains("Timeout reached"), "{said}");
}
