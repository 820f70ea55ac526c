//! Where the blocks come from: what is chosen, and the live test of another choice.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    caller::Caller,
    describe::{Body, Json},
    network::mood,
    problem::{Code, Problem},
    types::{Hidden, Short},
};
use crate::{
    pages::{
        setup::bitcoin::{self as page, Tested, Typed},
        words::sentence,
    },
    setup::bitcoin::{Backend, Database},
    shared::House,
};

type Home = State<Arc<House>>;

/// Without its passwords.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Bitcoin")]
pub(crate) struct BitcoinOut {
    /// `mainnet`, `testnet3`, `testnet4`, `signet`, `regtest` or `simnet`.
    chain: &'static str,
    /// `neutrino` or `bitcoind`.
    backend: &'static str,
    /// LND's database: `sqlite` or `postgres`.
    database: &'static str,
    /// Of an own bitcoind.
    rpc: Option<String>,
    user: Option<String>,
    /// Of neutrino.
    peers: Vec<String>,
    fee_url: Option<String>,
    /// Of neutrino: height up to which headers come with the system, while LND has not taken them.
    headers_to: Option<u32>,
}

/// `GET /bitcoin`.
pub(crate) async fn get(State(house): Home) -> Result<Json<BitcoinOut>, Problem> {
    let chosen = house.setup.choices().bitcoin;
    let chosen = chosen.ok_or_else(|| Problem::not_found("choice of a Bitcoin back end yet"))?;
    let mut out = BitcoinOut {
        chain: chosen.chain.name(),
        backend: "neutrino",
        database: match chosen.database {
            Database::Sqlite => "sqlite",
            Database::Postgres { .. } => "postgres",
        },
        rpc: None,
        user: None,
        peers: Vec::new(),
        fee_url: None,
        headers_to: house.setup.headers.as_ref().filter(|shipped| shipped.serves(&chosen)).map(|shipped| shipped.last),
    };
    match chosen.backend {
        Backend::Neutrino { peers, fee_url, .. } => {
            out.peers = peers.iter().map(ToString::to_string).collect();
            out.fee_url = Some(fee_url);
        }
        Backend::Bitcoind(own) => {
            out.backend = "bitcoind";
            (out.rpc, out.user) = (Some(own.rpc.to_string()), Some(own.user));
        }
    }
    Ok(Json(out))
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "BackendKind")]
pub(crate) enum Kind {
    Neutrino,
    Bitcoind,
}

/// A back end to be tested.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TestBitcoin")]
pub(crate) struct Ask {
    backend: Kind,
    /// Of bitcoind: `host:port`.
    #[serde(default)]
    rpc: Short<300>,
    #[serde(default)]
    user: Short<255>,
    /// Left out: the one that is known.
    #[serde(default)]
    password: Short<512>,
    /// `tcp://host:port`, both or none.
    #[serde(default)]
    zmq_block: Short<300>,
    #[serde(default)]
    zmq_tx: Short<300>,
    /// Of neutrino: `host:port` of nodes to ask first.
    #[serde(default)]
    #[schemars(length(max = 10))]
    peers: Vec<String>,
    /// Of neutrino; left out: the one that is chosen, or the usual one.
    fee_url: Option<Short<500>>,
    /// Of neutrino: take the headers that the system brings, if it brings some of this chain; left out: as it is chosen, or
    /// yes.
    headers: Option<bool>,
    /// Left out: the one that is chosen, or mainnet. Fixed once there is a wallet, as the database is.
    #[schemars(regex(pattern = r"^(mainnet|testnet3|testnet4|signet|regtest|simnet)$"))]
    chain: Option<String>,
    /// LND's database; left out: the one that is chosen, or SQLite.
    database: Option<DatabaseKind>,
    /// Of Postgres: `postgres://user:password@host/name`; left out: the one that is known.
    #[serde(default)]
    dsn: Hidden<512>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "DatabaseKind")]
pub(crate) enum DatabaseKind {
    Sqlite,
    Postgres,
}

impl DatabaseKind {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BitcoinTest")]
pub(crate) struct Report {
    finished: bool,
    /// It may be used: finished, and nothing forbids it. Look at the checks all the same.
    usable: bool,
    checks: Vec<Line>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BitcoinCheck")]
pub(crate) struct Line {
    name: String,
    /// `good`, `warning`, `bad` or `unknown`.
    state: &'static str,
    detail: String,
    advice: Option<String>,
}

/// `GET /bitcoin/test`.
pub(crate) async fn look(State(house): Home) -> Result<Json<Report>, Problem> {
    let found = house.setup.trial.with(|trial| trial.lines());
    let (lines, finished) = found.ok_or_else(|| Problem::not_found("test of a Bitcoin back end"))?;
    let usable = finished && !lines.iter().any(|line| line.forbids);
    let checks = lines.into_iter().map(|line| Line {
        name: line.name,
        state: mood(line.mood),
        detail: if line.sentence.is_empty() { String::new() } else { sentence(&line.sentence) },
        advice: line.advice.as_deref().map(sentence),
    });
    Ok(Json(Report { finished, usable, checks: checks.collect() }))
}

/// `POST /bitcoin/test`: tests it live, and changes nothing.
pub(crate) async fn begin(state: Home, caller: Caller, Body(ask): Body<Ask>) -> Result<Json<Report>, Problem> {
    if ask.peers.len() > 10 {
        return Err(Problem::invalid("there are at most 10 peers"));
    }
    let chosen = state.setup.choices().bitcoin;
    let before = Typed::of(chosen.as_ref());
    let (chain, database) = (ask.chain.as_deref(), ask.database.map(DatabaseKind::name));
    let differs = |asked: Option<&str>, chosen: &str| asked.is_some_and(|asked| asked != chosen);
    if state.setup.choices().wallet.is_some() && (differs(chain, &before.chain) || differs(database, &before.database))
    {
        return Err(Problem::new(Code::Refused, "There is a wallet: its chain and its database stay as they are."));
    }
    let typed = Typed {
        chain: chain.unwrap_or(&before.chain).to_owned(),
        database: database.unwrap_or(&before.database).to_owned(),
        dsn: ask.dsn.0.expose().clone(),
        backend: if matches!(ask.backend, Kind::Bitcoind) { "bitcoind" } else { "neutrino" }.into(),
        rpc: ask.rpc.0,
        user: ask.user.0,
        password: ask.password.0,
        zmq_block: ask.zmq_block.0,
        zmq_tx: ask.zmq_tx.0,
        peers: ask.peers.join("\n"),
        fee_url: ask.fee_url.map_or_else(|| before.fee_url.clone(), |url| url.0),
        headers: ask.headers.map_or_else(|| before.headers.clone(), |is| if is { "yes".into() } else { String::new() }),
    };
    page::try_out(&state, &typed).map_err(Problem::invalid)?;
    state.store.audit(caller.audit("bitcoin-tested", typed.backend)).await?;
    look(state).await
}

/// `POST /bitcoin/use`: what was tested becomes the choice, and LND starts again with it.
pub(crate) async fn take(state: Home, caller: Caller) -> Result<Json<BitcoinOut>, Problem> {
    let under_way = state.shared.twin.state().node.htlcs.len();
    if under_way > 0 {
        let detail = format!("{under_way} payments are on their way, and LND would restart. Wait for their end.");
        return Err(Problem::new(Code::Refused, detail));
    }
    match page::choose_tested(&state, |detail| caller.audit("bitcoin-chosen", detail)).await? {
        Tested::Chosen => get(state).await,
        Tested::NotYet => Err(Problem::new(Code::Refused, "The test is not over, or forbids it: look at it.")),
        Tested::Nothing => Err(Problem::new(Code::Refused, "Nothing was tested. Test it first.")),
    }
}
