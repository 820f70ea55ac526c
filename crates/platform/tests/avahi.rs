//! The box's own name, against a fake of avahi and of the bus on a socket pair. The real ones are asked in the booted image.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::unistd::gethostname;
use platform::{
    Error,
    avahi::{AGAIN, Found, follow, own_on},
};
use tokio::time::{Instant, timeout};
use twin::{
    Reader, Twin,
    source::{Backoff, Health},
};
use zbus::{Connection, connection::Builder, fdo, object_server::SignalEmitter};

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

/// Its state and its name.
#[derive(Clone)]
struct FakeNamed(Arc<Mutex<(i32, String)>>);

#[zbus::interface(name = "org.freedesktop.Avahi.Server")]
impl FakeNamed {
    fn get_state(&self) -> i32 {
        self.0.lock().unwrap().0
    }

    #[zbus(name = "GetHostNameFqdn")]
    fn fqdn(&self) -> String {
        format!("{}.local", self.0.lock().unwrap().1)
    }

    /// Nobody else has the name.
    async fn set_host_name(&self, #[zbus(signal_emitter)] emitter: SignalEmitter<'_>, name: String) {
        *self.0.lock().unwrap() = (2, name);
        Self::state_changed(&emitter, 2, "").await.unwrap();
    }

    #[zbus(signal)]
    async fn state_changed(emitter: &SignalEmitter<'_>, state: i32, error: &str) -> zbus::Result<()>;
}

impl FakeNamed {
    async fn becomes(&self, bus: &Connection, state: i32, name: &str) {
        *self.0.lock().unwrap() = (state, name.to_owned());
        let emitter = SignalEmitter::new(bus, "/").unwrap();
        Self::state_changed(&emitter, state, "").await.unwrap();
    }
}

async fn announced(reader: &Reader, name: &str) {
    let mut changes = reader.changes();
    let waiting = async {
        while reader.state().network.announced.as_deref() != Some(name) {
            let _ = changes.recv().await;
        }
    };
    let seen = timeout(Duration::from_secs(20), waiting).await;
    assert!(seen.is_ok(), "{name} is not seen: {:?}", reader.state().network.announced);
}

#[tokio::test]
async fn a_name_that_was_lost_is_asked_for_again() {
    let own = gethostname().unwrap().into_string().unwrap();
    let (own_fqdn, other_fqdn) = (format!("{own}.local"), format!("{own}-2.local"));
    let fake = FakeNamed(Arc::new(Mutex::new((2, own.clone()))));
    let (one, other) = tokio::net::UnixStream::pair().unwrap();
    let server = Builder::unix_stream(one.into_std().unwrap()).server(zbus::Guid::generate()).p2p();
    let server = server.serve_at("/", fake.clone());
    let client = Builder::unix_stream(other.into_std().unwrap()).p2p();
    let (server, client): (zbus::Result<Connection>, zbus::Result<Connection>) =
        tokio::join!(server.build(), client.build());
    let (server, client) = (server.unwrap(), client.unwrap());
    let (twin, sender, reader) = Twin::new();
    tokio::spawn(twin.run());
    tokio::spawn(async move {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        let ended = follow(&client, &mut Health::new("avahi", sender), &mut backoff).await;
        panic!("{ended:?}");
    });
    announced(&reader, &own_fqdn).await;

    // While it is only asked for, a name is not told.
    fake.becomes(&server, 1, "elsewhere").await;
    let lost = Instant::now();
    fake.becomes(&server, 2, &format!("{own}-2")).await;
    announced(&reader, &other_fqdn).await;
    announced(&reader, &own_fqdn).await;
    assert!(lost.elapsed() >= AGAIN[0], "asked again after {:?}", lost.elapsed());
}
