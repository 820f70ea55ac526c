//! The watcher against a real LND, from no wallet to a running node, through a crash and a new certificate.
//!
//! Needs `LND_BINARY`, the path of an `lnd`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use lnd::{Client, Config, Error, Secret, client::NewWallet, connect};
use tokio::{sync::broadcast, time::Instant};
use twin::{LndState, Reader, Topic, Twin};

/// An LND on regtest with neutrino and no peers: it reaches `RPC_ACTIVE`, and waits there for a chain.
struct RealLnd {
    binary: PathBuf,
    dir: tempfile::TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl RealLnd {
    fn start(&mut self) {
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--lnddir={}", self.dir.path().display()))
            .arg(format!("--rpclisten={}", self.address))
            .args(["--bitcoin.regtest", "--bitcoin.node=neutrino", "--db.backend=sqlite", "--norest", "--nolisten"])
            .args(["--fee.url=http://127.0.0.1:1/fees", "--debuglevel=error"]);
        let log = fs::File::create(self.dir.path().join("output")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// As a power cut would.
    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn config(&self) -> Config {
        Config { address: self.address, certificate: self.dir.path().join("tls.cert") }
    }

    fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }
}

impl Drop for RealLnd {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// The twin as seen by a reader who misses no change.
struct Watch {
    reader: Reader,
    changes: broadcast::Receiver<Topic>,
}

impl Watch {
    async fn until(&mut self, lnd: &RealLnd, what: &str, wanted: impl Fn(LndState, &str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let state = self.reader.state();
            let error = state.sources.get("lnd").and_then(|health| health.error.clone()).unwrap_or_default();
            if wanted(state.lnd.state, &error) {
                return;
            }
            let changed = tokio::time::timeout_at(deadline, self.changes.recv()).await;
            assert!(
                changed.is_ok(),
                "not seen: {what}; the twin has {:?}, {error:?}; LND: {}",
                state.lnd,
                lnd.output()
            );
        }
    }
}

#[tokio::test]
async fn the_twin_follows_a_real_lnd_from_no_wallet_through_a_crash_to_a_new_certificate() {
    let Some(binary) = std::env::var_os("LND_BINARY") else {
        println!("SKIP: LND_BINARY is not set (the path of an lnd to watch)");
        return;
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let mut lnd = RealLnd { binary: binary.into(), dir: tempfile::tempdir().unwrap(), address, child: None };

    let (twin, sender, reader) = Twin::new();
    tokio::spawn(twin.run());
    let mut watch = Watch { changes: reader.changes(), reader };
    tokio::spawn(lnd::state::run(lnd.config(), sender));
    watch.until(&lnd, "no certificate", |_, error| error.contains("has not written its certificate")).await;

    lnd.start();
    watch.until(&lnd, "no wallet", |state, _| state == LndState::NonExisting).await;
    assert!(watch.reader.state().sources["lnd"].connected);

    let client = Client::new(lnd.config(), None);
    let seed = client.new_seed(None).await.unwrap();
    assert_eq!(seed.expose().len(), 24);
    let password = Secret::new("a password of a test");
    let wallet = NewWallet { password, seed, passphrase: None, recovery: None };
    client.init_wallet(wallet).await.unwrap();
    let active = |state| matches!(state, LndState::RpcActive | LndState::ServerActive);
    watch.until(&lnd, "an active wallet", |state, _| active(state)).await;

    lnd.kill();
    watch.until(&lnd, "the crash", |state, _| state == LndState::Unreachable).await;
    let refused = format!("LND does not answer on {address}: connection refused");
    watch.until(&lnd, "the refusal", |_, error| error == refused).await;
    assert!(!watch.reader.state().sources["lnd"].connected);

    lnd.start();
    watch.until(&lnd, "the wallet locked", |state, _| state == LndState::Locked).await;

    // A new certificate: who still has the old one refuses the new one, the watcher reads the file again and follows.
    lnd.kill();
    watch.until(&lnd, "the second stop", |state, _| state == LndState::Unreachable).await;
    let old = Config { certificate: lnd.dir.path().join("old.cert"), ..lnd.config() };
    fs::rename(&lnd.config().certificate, &old.certificate).unwrap();
    fs::remove_file(lnd.dir.path().join("tls.key")).unwrap();
    lnd.start();
    watch.until(&lnd, "the wallet locked, under a new certificate", |state, _| state == LndState::Locked).await;
    assert_ne!(fs::read(&lnd.config().certificate).unwrap(), fs::read(&old.certificate).unwrap());
    assert!(matches!(connect(&old).await, Err(Error::CertificateChanged { .. })));
}
