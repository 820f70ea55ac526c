//! Marking a slot good, against a fake of RAUC on a socket pair. The real one is asked in the booted image.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

use platform::{Error, rauc::mark_good_on};
use zbus::{Connection, connection::Builder, fdo};

struct FakeRauc {
    refuses: bool,
}

#[zbus::interface(name = "de.pengutronix.rauc.Installer")]
impl FakeRauc {
    fn mark(&self, state: &str, slot: &str) -> fdo::Result<(String, String)> {
        assert_eq!((state, slot), ("good", "booted"));
        match self.refuses {
            true => Err(fdo::Error::Failed("no booted slot found".into())),
            false => Ok(("rootfs.0".into(), "marked slot rootfs.0 as good".into())),
        }
    }
}

async fn with(fake: FakeRauc) -> (Connection, Connection) {
    let (one, other) = tokio::net::UnixStream::pair().unwrap();
    let server = Builder::unix_stream(one.into_std().unwrap()).server(zbus::Guid::generate()).p2p().serve_at("/", fake);
    let client = Builder::unix_stream(other.into_std().unwrap()).p2p();
    let (server, client) = tokio::join!(server.build(), client.build());
    (server.unwrap(), client.unwrap())
}

#[tokio::test]
async fn the_booted_slot_is_marked_and_may_be_marked_again() {
    let (_server, client) = with(FakeRauc { refuses: false }).await;
    for _ in 0..2 {
        assert_eq!(mark_good_on(&client).await.unwrap(), "marked slot rootfs.0 as good");
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let (_server, client) = with(FakeRauc { refuses: true }).await;
    let error = mark_good_on(&client).await.unwrap_err();
    assert!(matches!(error, Error::Rauc { .. }));
    let said = twin::source::sentence(&error);
    assert!(
        said.starts_with("RAUC failed to mark the booted slot good: ") && said.contains("no booted slot found"),
        "{said}"
    );
}
