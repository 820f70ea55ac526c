//! The Bitcoin back end: what can be chosen, and the live test of it.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bitcoind::{Auth, Endpoint, Network, Zmq, probe};
use rust_i18n::t;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, sync::watch, task::AbortHandle, time};

use crate::{language::carried, pages::words::Mood};

/// The fee source of neutrino where the owner names none: it cannot estimate fees by itself.
pub(crate) const FEE_URL: &str = "https://nodes.lightning.computer/fees/v1/btc-fee-estimates.json";

/// The chains LND can be on. `Simnet` is btcd's: neutrino only, for tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Chain {
    #[default]
    Mainnet,
    Testnet3,
    Testnet4,
    Signet,
    Regtest,
    Simnet,
}

impl Chain {
    pub(crate) const ALL: [Self; 6] =
        [Self::Mainnet, Self::Testnet3, Self::Testnet4, Self::Signet, Self::Regtest, Self::Simnet];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet3 => "testnet3",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
            Self::Simnet => "simnet",
        }
    }

    /// LND's option in the section `[Bitcoin]`.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Testnet3 => "bitcoin.testnet",
            Self::Mainnet => "bitcoin.mainnet",
            Self::Testnet4 => "bitcoin.testnet4",
            Self::Signet => "bitcoin.signet",
            Self::Regtest => "bitcoin.regtest",
            Self::Simnet => "bitcoin.simnet",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.name() == name)
    }

    /// bitcoind's word for the same; it knows no simnet.
    pub(crate) fn network(self) -> Option<Network> {
        match self {
            Self::Mainnet => Some(Network::Mainnet),
            Self::Testnet3 => Some(Network::Testnet3),
            Self::Testnet4 => Some(Network::Testnet4),
            Self::Signet => Some(Network::Signet),
            Self::Regtest => Some(Network::Regtest),
            Self::Simnet => None,
        }
    }
}

/// What the owner chose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bitcoin {
    pub(crate) chain: Chain,
    pub(crate) backend: Backend,
    pub(crate) database: Database,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Backend {
    Neutrino {
        /// Peers besides those that are found; with some, only these on a chain without public ones.
        peers: Vec<Endpoint>,
        fee_url: String,
        /// Takes the headers that the system brings, if it does. False once they are taken.
        #[serde(default)]
        headers: bool,
    },
    Bitcoind(Own),
}

/// A bitcoind of the owner.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Own {
    pub(crate) rpc: Endpoint,
    pub(crate) user: String,
    pub(crate) password: String,
    /// `None`: LND asks again and again (`bitcoind.rpcpolling`).
    pub(crate) zmq: Option<Zmq>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Own").field("rpc", &self.rpc).field("zmq", &self.zmq).finish_non_exhaustive()
    }
}

/// LND's database, chosen once: there is no way from one to the other.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Database {
    #[default]
    Sqlite,
    Postgres {
        /// `postgres://user:password@host:port/database`
        dsn: String,
    },
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Sqlite => "Sqlite",
            Self::Postgres { .. } => "Postgres",
        })
    }
}

impl Own {
    /// What the test and the watcher need; `None` on a chain that bitcoind does not know.
    pub(crate) fn config(&self, chain: Chain) -> Option<bitcoind::Config> {
        let auth = Auth::Password { user: self.user.clone(), password: self.password.clone() };
        Some(bitcoind::Config { rpc: self.rpc.clone(), auth, network: chain.network()?, zmq: self.zmq.clone() })
    }
}

/// What is being tried and not chosen yet.
#[derive(Debug, Default)]
pub(crate) struct Trials(Mutex<Option<Trial>>);

#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) candidate: Bitcoin,
    pub(crate) test: Test,
    /// Of a Postgres the owner named.
    pub(crate) database: Option<Look>,
}

#[derive(Debug)]
pub(crate) enum Test {
    Bitcoind(probe::Probe),
    Neutrino(Look),
}

/// One line of a test for the page.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) mood: Mood,
    pub(crate) name: String,
    pub(crate) sentence: String,
    pub(crate) advice: Option<String>,
    /// It must not be used, whatever the owner says: money would be lost.
    pub(crate) forbids: bool,
}

impl Trials {
    pub(crate) fn set(&self, trial: Option<Trial>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trial;
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Trial) -> T) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }
}

impl Trial {
    /// What was found so far, and whether that is all.
    pub(crate) fn lines(&self) -> (Vec<Line>, bool) {
        let (mut lines, mut finished) = match &self.test {
            Test::Bitcoind(probe) => {
                let report = probe.report();
                (report.checks.iter().map(line).collect(), report.finished)
            }
            Test::Neutrino(peers) => peers.lines.borrow().clone(),
        };
        if let Some(database) = &self.database {
            let (found, done) = database.lines.borrow().clone();
            lines.extend(found);
            finished &= done;
        }
        (lines, finished)
    }
}

fn line(check: &probe::Check) -> Line {
    let mood = match check.state {
        probe::State::Ok => Mood::Good,
        probe::State::Warn => Mood::Busy,
        probe::State::Fail => Mood::Bad,
        probe::State::Pending | probe::State::Skipped => Mood::Off,
    };
    let subject = serde_json::to_value(check.subject).ok().and_then(|name| name.as_str().map(str::to_owned));
    let name = t!(format!("setup.subject.{}", subject.unwrap_or_default())).into_owned();
    Line { mood, name, sentence: check.sentence.clone(), advice: check.advice.clone(), forbids: false }
}

/// A test that goes on beside the pages. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Look {
    lines: watch::Receiver<(Vec<Line>, bool)>,
    task: AbortHandle,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// For one node to take a connection.
const PEER_LIMIT: Duration = Duration::from_secs(8);

impl Look {
    /// Whether the Bitcoin nodes that the owner named answer. `headers`: to this height they come with the system.
    pub(crate) fn at_peers(peers: Vec<Endpoint>, headers: Option<u32>) -> Self {
        let (sender, lines) = watch::channel((Vec::new(), false));
        let task = tokio::spawn(carried(async move {
            let shipped = headers.map(|last| Line {
                mood: Mood::Good,
                name: t!("setup.bitcoin.headers_found").into(),
                sentence: t!("setup.bitcoin.headers_found_why", last = last).into(),
                advice: None,
                forbids: false,
            });
            let mut found: Vec<Line> = shipped.into_iter().collect();
            for peer in &peers {
                found.push(try_peer(peer).await);
                sender.send_replace((found.clone(), false));
            }
            if peers.is_empty() {
                let (name, sentence) = (t!("setup.bitcoin.no_peers").into(), t!("setup.bitcoin.no_peers_good").into());
                found.push(Line { mood: Mood::Good, name, sentence, advice: None, forbids: false });
            }
            sender.send_replace((found, true));
        }));
        Self { lines, task: task.abort_handle() }
    }

    /// Whether LND could keep its wallet in that Postgres. `known`: it is the one that LND was told to use before.
    pub(crate) fn at_postgres(dsn: String, known: bool) -> Self {
        let (sender, lines) = watch::channel((Vec::new(), false));
        let task = tokio::spawn(carried(async move {
            let found = super::postgres::examine(&dsn, known).await;
            sender.send_replace((vec![found], true));
        }));
        Self { lines, task: task.abort_handle() }
    }
}

async fn try_peer(peer: &Endpoint) -> Line {
    let name = t!("setup.bitcoin.peer", peer = peer).into_owned();
    let connected = time::timeout(PEER_LIMIT, TcpStream::connect((peer.host(), peer.port()))).await;
    let fault = match connected {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.kind().to_string()),
        Err(_) => Some(io::ErrorKind::TimedOut.to_string()),
    };
    match fault {
        None => {
            let sentence = t!("setup.bitcoin.peer_good").into();
            Line { mood: Mood::Good, name, sentence, advice: None, forbids: false }
        }
        Some(what) => {
            let sentence = t!("setup.bitcoin.peer_bad", what = what).into();
            Line {
                mood: Mood::Bad,
                name,
                sentence,
                advice: Some(t!("setup.bitcoin.peer_advice").into()),
                forbids: false,
            }
        }
    }
}
