//! Wizard: where the blocks come from. What was typed is tested live before it is used.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use bitcoind::{Endpoint, Zmq, probe};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::Audit;

use super::{field, page, refreshing};
use crate::{
    http::{extract::Form, fail::Fail},
    pages::{
        complaint, csrf,
        words::{Mood, sentence},
    },
    request::Task,
    session::Current,
    setup::{
        Step, apply, audit,
        bitcoin::{Backend, Bitcoin, Chain, Database, FEE_URL, Look, Own, Test, Trial},
        lnd_conf::is_value,
    },
    shared::House,
};

/// For the root program to tell systemd.
const RESTART_LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    choose(&house, &session, None, None)
}

fn choose(house: &House, session: &Current, typed: Option<&Typed>, refusal: Option<&str>) -> Markup {
    let choices = house.setup.choices();
    let typed = typed.cloned().unwrap_or_else(|| Typed::of(choices.bitcoin.as_ref()));
    let is_fixed = choices.wallet.is_some();
    let own = typed.backend == "bitcoind";
    let body = html! {
        h1 { (t!("setup.bitcoin.title")) }
        p.lead { (t!("setup.bitcoin.lead")) }
        form method="post" action="/setup/bitcoin" {
            (csrf(session))
            (complaint("bitcoin-complaint", refusal))
            fieldset {
                legend { (t!("setup.bitcoin.kind")) }
                p.check {
                    input #neutrino name="backend" type="radio" value="neutrino" checked[!own];
                    label for="neutrino" { strong { (t!("setup.bitcoin.neutrino")) } " " (t!("setup.bitcoin.neutrino_why")) }
                }
                p.check {
                    input #own name="backend" type="radio" value="bitcoind" checked[own];
                    label for="own" { strong { (t!("setup.bitcoin.own")) } " " (t!("setup.bitcoin.own_why")) }
                }
            }
            @if let Some(shipped) = &house.setup.headers {
                p.check {
                    input #headers name="headers" type="checkbox" value=(YES) checked[!typed.headers.is_empty()];
                    label for="headers" {
                        (t!("setup.bitcoin.headers", last = shipped.last, chain = shipped.chain.name()))
                    }
                }
            }
            details open[own] {
                summary { (t!("setup.bitcoin.own_summary")) }
                p.hint { (t!("setup.bitcoin.own_hint")) }
                (field("rpc", &t!("setup.bitcoin.rpc"), &typed.rpc, Some("192.168.1.5:8332")))
                (field("user", &t!("setup.bitcoin.user"), &typed.user, Some(&t!("setup.bitcoin.user_hint"))))
                p.field {
                    label for="rpc-password" { (t!("setup.bitcoin.password")) }
                    input #rpc-password name="password" type="password" maxlength="512" autocomplete="off" data-secret
                        placeholder=[choices.bitcoin.as_ref().filter(|_| own).map(|_| t!("setup.bitcoin.password_kept"))];
                }
                (field("zmq_block", &t!("setup.bitcoin.zmq_block"), &typed.zmq_block, Some("tcp://192.168.1.5:28332")))
                (field("zmq_tx", &t!("setup.bitcoin.zmq_tx"), &typed.zmq_tx, Some("tcp://192.168.1.5:28333")))
                p.hint { (t!("setup.bitcoin.zmq_hint")) }
            }
            details open[!own && !typed.peers.is_empty()] {
                summary { (t!("setup.bitcoin.neutrino_summary")) }
                p.field {
                    label for="peers" { (t!("setup.bitcoin.peers")) }
                    textarea #peers name="peers" rows="3" spellcheck="false" autocapitalize="none" aria-describedby="peers-hint" {
                        (typed.peers)
                    }
                }
                p.hint #peers-hint { (t!("setup.bitcoin.peers_hint")) }
                (field("fee_url", &t!("setup.bitcoin.fee_url"), &typed.fee_url, Some(&t!("setup.bitcoin.fee_url_hint"))))
            }
            details open[typed.chain != "mainnet" || typed.database == POSTGRES] {
                summary { (t!("setup.bitcoin.expert")) }
                @if is_fixed { p.hint { (t!("setup.bitcoin.fixed")) } }
                p.field {
                    label for="chain" { (t!("setup.bitcoin.chain")) }
                    select #chain name="chain" disabled[is_fixed] {
                        @for chain in Chain::ALL {
                            option value=(chain.name()) selected[typed.chain == chain.name()] { (chain.name()) }
                        }
                    }
                }
                p.hint { (t!("setup.bitcoin.chain_hint")) }
                @if !is_fixed {
                    p.field {
                        label for="database" { (t!("database.choice")) }
                        select #database name="database" {
                            option value=(SQLITE) selected[typed.database == SQLITE] { "SQLite" }
                            option value=(POSTGRES) selected[typed.database == POSTGRES] { "Postgres" }
                        }
                    }
                    p.hint { (t!("database.hint")) }
                    p.field {
                        label for="dsn" { (t!("database.dsn")) }
                        input #dsn name="dsn" type="password" maxlength="512" autocomplete="off" data-secret
                            placeholder=[Some(typed.database == POSTGRES).filter(|kept| *kept).map(|_| t!("database.kept"))];
                    }
                    p.hint { (t!("database.dsn_hint")) }
                }
            }
            button { (t!("setup.bitcoin.test")) }
        }
    };
    page(house, session, Step::Bitcoin, body)
}

/// The form as it was sent.
#[derive(Clone, Deserialize)]
pub(crate) struct Typed {
    pub(crate) backend: String,
    #[serde(default)]
    pub(crate) rpc: String,
    #[serde(default)]
    pub(crate) user: String,
    #[serde(default)]
    pub(crate) password: String,
    #[serde(default)]
    pub(crate) zmq_block: String,
    #[serde(default)]
    pub(crate) zmq_tx: String,
    #[serde(default)]
    pub(crate) peers: String,
    #[serde(default)]
    pub(crate) fee_url: String,
    /// Not empty: those of the system are taken.
    #[serde(default)]
    pub(crate) headers: String,
    #[serde(default)]
    pub(crate) chain: String,
    #[serde(default)]
    pub(crate) database: String,
    #[serde(default)]
    pub(crate) dsn: String,
}

/// Value of a box that is checked.
const YES: &str = "yes";
/// Values of the field `database`.
const SQLITE: &str = "sqlite";
const POSTGRES: &str = "postgres";

impl Typed {
    /// What stands in the form before anything is typed.
    pub(crate) fn of(chosen: Option<&Bitcoin>) -> Self {
        let mut typed = Self {
            backend: "neutrino".into(),
            rpc: String::new(),
            user: String::new(),
            password: String::new(),
            zmq_block: String::new(),
            zmq_tx: String::new(),
            peers: String::new(),
            fee_url: FEE_URL.into(),
            headers: YES.into(),
            chain: chosen.map_or(Chain::default(), |chosen| chosen.chain).name().into(),
            database: match chosen.map(|chosen| &chosen.database) {
                Some(Database::Postgres { .. }) => POSTGRES.into(),
                Some(Database::Sqlite) | None => SQLITE.into(),
            },
            dsn: String::new(),
        };
        match chosen.map(|chosen| &chosen.backend) {
            Some(Backend::Neutrino { peers, fee_url, headers }) => {
                typed.peers = peers.iter().map(|peer| format!("{peer}\n")).collect();
                typed.fee_url.clone_from(fee_url);
                typed.headers = if *headers { YES.into() } else { String::new() };
            }
            Some(Backend::Bitcoind(own)) => {
                typed.backend = "bitcoind".into();
                typed.rpc = own.rpc.to_string();
                typed.user.clone_from(&own.user);
                if let Some(zmq) = &own.zmq {
                    (typed.zmq_block, typed.zmq_tx) = (zmq.blocks.to_string(), zmq.transactions.to_string());
                }
            }
            None => {}
        }
        typed
    }

    /// The choice it stands for; an error is a sentence. `before` fills in a password that was not typed again.
    fn read(&self, before: Option<&Bitcoin>, is_fixed: bool) -> Result<Bitcoin, String> {
        let endpoint = |text: &str| text.parse::<Endpoint>().map_err(|error| error.to_string());
        let value = |text: &str| {
            let text = text.trim();
            if is_value(text) { Ok(text.to_owned()) } else { Err(t!("setup.bitcoin.bad_value").into_owned()) }
        };
        let kept = before.filter(|_| is_fixed);
        let chain = match kept {
            Some(before) => before.chain,
            None => Chain::from_name(&self.chain).ok_or_else(|| t!("setup.bitcoin.no_chain").into_owned())?,
        };
        let database = match kept {
            Some(before) => before.database.clone(),
            None if self.database != POSTGRES => Database::Sqlite,
            None => match (self.dsn.trim(), before.map(|before| &before.database)) {
                // It holds a password, so it is not shown again and need not be typed again.
                ("", Some(kept @ Database::Postgres { .. })) => kept.clone(),
                (dsn, _) if dsn.starts_with("postgres://") => Database::Postgres { dsn: value(dsn)? },
                _ => return Err(t!("database.bad_dsn").into_owned()),
            },
        };
        let backend = if self.backend == "bitcoind" {
            if chain.network().is_none() {
                return Err(t!("setup.bitcoin.no_simnet").into_owned());
            }
            let zmq = match (self.zmq_block.trim(), self.zmq_tx.trim()) {
                ("", "") => None,
                (block, tx) if block.is_empty() || tx.is_empty() => {
                    return Err(t!("setup.bitcoin.zmq_both").into_owned());
                }
                (block, tx) if block == tx => return Err(t!("setup.bitcoin.zmq_same").into_owned()),
                (block, tx) => Some(Zmq { blocks: endpoint(block)?, transactions: endpoint(tx)?, sequence: None }),
            };
            let old = before.and_then(|before| match &before.backend {
                Backend::Bitcoind(own) => Some(own.password.clone()),
                Backend::Neutrino { .. } => None,
            });
            let password = if self.password.is_empty() { old.unwrap_or_default() } else { value(&self.password)? };
            Backend::Bitcoind(Own { rpc: endpoint(&self.rpc)?, user: value(&self.user)?, password, zmq })
        } else {
            let lines = self.peers.split([',', '\n']).map(str::trim).filter(|line| !line.is_empty());
            let peers = lines.map(endpoint).collect::<Result<Vec<_>, _>>()?;
            if peers.is_empty() && matches!(chain, Chain::Regtest | Chain::Simnet) {
                return Err(t!("setup.bitcoin.peers_needed").into_owned());
            }
            let fee_url = value(&self.fee_url)?;
            let is_url = fee_url.starts_with("https://") || fee_url.starts_with("http://");
            if !is_url && chain == Chain::Mainnet {
                return Err(t!("setup.bitcoin.fee_url_needed").into_owned());
            }
            Backend::Neutrino { peers, fee_url, headers: !self.headers.is_empty() }
        };
        Ok(Bitcoin { chain, backend, database })
    }
}

/// `POST /setup/bitcoin`: reads the form and begins the test.
pub(crate) async fn post(State(house): State<Arc<House>>, session: Current, Form(typed): Form<Typed>) -> Response {
    match try_out(&house, &typed) {
        Ok(()) => Redirect::to("/setup/bitcoin/test").into_response(),
        Err(sentence) => {
            (StatusCode::UNPROCESSABLE_ENTITY, choose(&house, &session, Some(&typed), Some(&sentence))).into_response()
        }
    }
}

/// Reads a choice and begins its test; an error is a sentence.
pub(crate) fn try_out(house: &House, typed: &Typed) -> Result<(), String> {
    let choices = house.setup.choices();
    begin(house, typed.read(choices.bitcoin.as_ref(), choices.wallet.is_some())?);
    Ok(())
}

fn begin(house: &House, candidate: Bitcoin) {
    let test = match &candidate.backend {
        Backend::Bitcoind(own) => match own.config(candidate.chain) {
            Some(config) => Test::Bitcoind(probe::Probe::start(config, probe::Options::default())),
            None => return,
        },
        Backend::Neutrino { peers, .. } => {
            let shipped = house.setup.headers.as_ref().filter(|shipped| shipped.serves(&candidate));
            Test::Neutrino(Look::at_peers(peers.clone(), shipped.map(|shipped| shipped.last)))
        }
    };
    let choices = house.setup.choices();
    // With a wallet in it the database is as it should be, and LND says so itself.
    let database = match &candidate.database {
        Database::Postgres { dsn } if choices.wallet.is_none() => {
            let known = choices.bitcoin.is_some_and(|before| before.database == candidate.database);
            Some(Look::at_postgres(dsn.clone(), known))
        }
        Database::Postgres { .. } | Database::Sqlite => None,
    };
    house.setup.trial.set(Some(Trial { candidate, test, database }));
}

/// `GET /setup/bitcoin/test`: what was found so far.
pub(crate) async fn test(State(house): State<Arc<House>>, session: Current) -> Response {
    let Some((lines, finished)) = house.setup.trial.with(|trial| trial.lines()) else {
        return Redirect::to(Step::Bitcoin.path()).into_response();
    };
    let failed = lines.iter().any(|line| line.mood == Mood::Bad);
    let forbidden = lines.iter().any(|line| line.forbids);
    let body = html! {
        h1 { (t!("setup.bitcoin.test_title")) }
        p.lead role="status" {
            (match (finished, failed) {
                (false, _) => t!("setup.bitcoin.test_running"),
                (true, true) => t!("setup.bitcoin.test_failed"),
                (true, false) => t!("setup.bitcoin.test_good"),
            })
        }
        ul.phases {
            @for line in &lines {
                @let word = match line.mood {
                    Mood::Good => t!("setup.check.ok"),
                    Mood::Busy => t!("setup.check.warn"),
                    Mood::Bad => t!("setup.check.fail"),
                    Mood::Off if finished => t!("setup.check.skipped"),
                    Mood::Off => t!("setup.check.pending"),
                };
                li {
                    span.badge.(line.mood.class()) { (word) } " " strong { (line.name) }
                    @if !line.sentence.is_empty() { p { (sentence(&line.sentence)) } }
                    @if let Some(advice) = &line.advice { p.hint { (sentence(advice)) } }
                }
            }
        }
        @if finished {
            form.row method="post" action="/setup/bitcoin/use" {
                (csrf(&session))
                @if !failed {
                    button { (t!("setup.bitcoin.use")) }
                } @else if !forbidden {
                    button.second { (t!("setup.bitcoin.use_anyway")) }
                }
                a.button.second href=(Step::Bitcoin.path()) { (t!("setup.bitcoin.change")) }
            }
            @if failed && !forbidden { p.hint { (t!("setup.bitcoin.use_anyway_why")) } }
        }
    };
    if finished {
        page(&house, &session, Step::Bitcoin, body).into_response()
    } else {
        refreshing(&house, &session, Step::Bitcoin, 2, body).into_response()
    }
}

/// `POST /setup/bitcoin/use`: what was tested becomes the choice, and LND starts with it.
pub(crate) async fn take(State(house): State<Arc<House>>, session: Current) -> Result<Response, Fail> {
    let to = match choose_tested(&house, |detail| audit(&session, "bitcoin-chosen", detail)).await? {
        Tested::Chosen => Step::Wallet.path(),
        Tested::NotYet => "/setup/bitcoin/test",
        Tested::Nothing => Step::Bitcoin.path(),
    };
    Ok(Redirect::to(to).into_response())
}

/// What became of choosing what was tested.
pub(crate) enum Tested {
    Chosen,
    /// The test goes on, or forbids it.
    NotYet,
    Nothing,
}

/// What was tested becomes the choice, and LND starts with it.
pub(crate) async fn choose_tested(house: &Arc<House>, entry: impl FnOnce(String) -> Audit) -> Result<Tested, Fail> {
    let trial = house.setup.trial.with(|trial| (trial.candidate.clone(), trial.lines()));
    let candidate = match trial {
        Some((candidate, (lines, true))) if !lines.iter().any(|line| line.forbids) => candidate,
        Some(_) => return Ok(Tested::NotYet),
        None => return Ok(Tested::Nothing),
    };
    let detail = match &candidate.backend {
        Backend::Neutrino { .. } => format!("neutrino on {}", candidate.chain.name()),
        Backend::Bitcoind(own) => format!("bitcoind at {} on {}", own.rpc, candidate.chain.name()),
    };
    house.setup.change(entry(detail), |choices| choices.bitcoin = Some(candidate)).await?;
    apply::config(house)?;
    house.setup.trial.set(None);
    let house = house.clone();
    // Nobody waits for it: the unit also starts by itself once the file is there, and the next page follows LND.
    tokio::spawn(async move {
        let asked = house.desk.ask(&house.shared.run_dir, Task::LndRestart, "", RESTART_LIMIT).await;
        if let Err(refused) = asked {
            tracing::warn!(error = refused.0, "LND was not restarted: it takes the new choice at its next start");
        }
    });
    Ok(Tested::Chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(change: impl FnOnce(&mut Typed)) -> Typed {
        let mut typed = Typed::of(None);
        change(&mut typed);
        typed
    }

    #[test]
    fn neutrino_on_mainnet_needs_nothing_typed() {
        let bitcoin = typed(|_| {}).read(None, false).unwrap();
        assert_eq!(bitcoin.chain, Chain::Mainnet);
        assert_eq!(bitcoin.backend, Backend::Neutrino { peers: vec![], fee_url: FEE_URL.into(), headers: true });
    }

    #[test]
    fn the_headers_of_the_system_are_taken_unless_the_box_is_not_checked() {
        let takes = |typed: &Typed, before: Option<&Bitcoin>| {
            let backend = typed.read(before, before.is_some()).unwrap().backend;
            matches!(backend, Backend::Neutrino { headers: true, .. })
        };
        assert!(takes(&typed(|_| {}), None));
        let without = typed(|typed| typed.headers.clear());
        assert!(!takes(&without, None));
        // What was once taken, or not wanted, is not taken again by itself.
        let before = without.read(None, false).unwrap();
        assert!(!takes(&Typed::of(Some(&before)), Some(&before)));
    }

    #[tokio::test]
    async fn the_step_says_that_the_system_brings_headers() {
        let folder = tempfile::tempdir().unwrap();
        let shown = async |shipped| {
            let mut visit = crate::http::tests::visit_with(shipped).await;
            visit.own().await;
            visit.get("/setup/bitcoin").await.text
        };
        assert!(!shown(None).await.contains("name=\"headers\""));
        crate::setup::headers::tests::ship(folder.path(), 500);
        let page = shown(crate::setup::headers::Shipped::find(folder.path())).await;
        assert!(page.contains("up to block 499 of simnet") && page.contains("name=\"headers\""), "{page}");
    }

    #[test]
    fn a_password_that_is_not_typed_again_stays() {
        let mut first = typed(|typed| {
            typed.backend = "bitcoind".into();
            typed.rpc = "10.0.0.7:8332".into();
            typed.user = "alice".into();
            typed.password = "secret".into();
        });
        let bitcoin = first.read(None, false).unwrap();
        first.password.clear();
        let again = first.read(Some(&bitcoin), false).unwrap();
        assert_eq!(bitcoin, again);
    }

    #[test]
    fn an_address_of_postgres_that_is_not_typed_again_stays_until_sqlite_is_chosen() {
        let dsn = "postgres://lnd:secret@10.0.0.7/lnd";
        let mut form = typed(|typed| (typed.database, typed.dsn) = (POSTGRES.into(), dsn.into()));
        let bitcoin = form.read(None, false).unwrap();
        assert_eq!(bitcoin.database, Database::Postgres { dsn: dsn.into() });
        form = Typed::of(Some(&bitcoin));
        assert!(form.dsn.is_empty(), "the password would be on the page");
        assert_eq!(form.read(Some(&bitcoin), false).unwrap(), bitcoin);
        form.database = SQLITE.into();
        assert_eq!(form.read(Some(&bitcoin), false).unwrap().database, Database::Sqlite);
    }

    #[test]
    fn with_a_wallet_chain_and_database_stay_as_they_are() {
        let bitcoin = typed(|_| {}).read(None, false).unwrap();
        let other = typed(|typed| typed.chain = "regtest".into()).read(Some(&bitcoin), true).unwrap();
        assert_eq!(other.chain, Chain::Mainnet);
    }

    #[test]
    fn what_cannot_be_is_a_sentence() {
        let bad: [fn(&mut Typed); 6] = [
            |typed| typed.chain = "moon".into(),
            |typed| typed.peers = "no port".into(),
            |typed| typed.fee_url = "ftp://x".into(),
            |typed| typed.chain = "simnet".into(),
            |typed| (typed.database, typed.dsn) = (POSTGRES.into(), "mysql://x".into()),
            |typed| typed.fee_url = "http://x\ninjected=1".into(),
        ];
        for change in bad {
            assert!(typed(change).read(None, false).is_err());
        }
        let mut own = typed(|typed| {
            typed.backend = "bitcoind".into();
            typed.rpc = "10.0.0.7:8332".into();
            typed.user = "alice".into();
            typed.zmq_block = "tcp://10.0.0.7:28332".into();
        });
        assert!(own.read(None, false).is_err(), "one ZMQ address alone");
        own.zmq_tx = own.zmq_block.clone();
        assert!(own.read(None, false).is_err(), "LND refuses one address for both");
    }
}
