//! The Bitcoin back end: what can be chosen, and the live test of it.

use std::sync::{Arc, Mutex, PoisonError};

use bitcoind::{Auth, Endpoint, Network, Zmq};
use serde::{Deserialize, Serialize};

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

/// The test of a back end that is not chosen yet.
#[derive(Debug, Default)]
pub(crate) struct Probe(Mutex<Option<Running>>);

#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) candidate: Bitcoin,
    pub(crate) report: Arc<Mutex<bitcoind::Report>>,
}

impl Probe {
    pub(crate) fn now(&self) -> Option<Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, running: Option<Running>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}
