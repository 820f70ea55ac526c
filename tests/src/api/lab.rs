//! A new box with an owner and no more, another LND, a chain, and programs with keys.

use std::{cell::RefCell, path::Path, time::Duration};

use bitcoind::Network;
use lnd::client::NewInvoice;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::runtime::Runtime;
use twin::{MilliSat, node::Invoice};

use crate::{
    backup::servers::{Server, sshd},
    bitcoind::node::Node as Bitcoind,
    http::{Answer, Client as Http, Extra},
    manager::{Manager, sound},
    peer::Peer,
    report::{Outcome, ensure, fails, until},
    road,
    root::FakeRoot,
    visitor,
};

/// For what a node does by itself on a slow computer.
pub(super) const SOON: Duration = Duration::from_secs(90);

/// All there are.
pub(super) const SCOPES: [&str; 7] = ["read", "invoices", "pay", "channels", "settings", "wallet", "access"];

/// Everything the tests stand on.
pub(super) struct Lab {
    pub(super) manager: Manager,
    /// Runs the box's LND (alice) as the setup configures it.
    pub(super) root: FakeRoot,
    pub(super) bob: Peer,
    pub(super) chain: Bitcoind,
    pub(super) runtime: Runtime,
    /// The owner's browser.
    pub(super) owner: Http,
    /// May do everything, with limits that no test meets by chance.
    pub(super) program: Program,
    /// All keys and other secrets that ever passed here.
    pub(super) keys: RefCell<Vec<String>>,
    /// Where the channel backup goes: without it no channel may be opened.
    pub(super) copies: Server,
    /// The wallet's.
    pub(super) words: Vec<String>,
}

impl Lab {
    pub(super) fn start(program: &Path, lnd: &Path, bitcoind: &Path, logs: &Path) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let door = format!("-rpcpassword={}", road::DOOR);
        let arguments = ["-rpcuser=homebolt", &door, "-txindex=1"];
        let mut chain = Bitcoind::new(bitcoind, logs, "api", Network::Regtest, &arguments)?;
        runtime.block_on(async {
            chain.start().await?;
            chain.fund().await
        })?;
        let manager = Manager::start(program, &logs.join("manager.log"), &sound())?;
        let root = FakeRoot::grudging(manager.folder(), lnd, &logs.join("alice.log"));
        let bob = Peer::new(lnd, &chain, logs, "bob", &runtime)?;
        let client = manager.tls();
        let claim = visitor::claim(&client, &manager.code()?)?;
        let owner = client.with_session(&visitor::set_password(&client, &claim)?);
        let nobody = Program { http: client, key: String::new() };
        let (keys, words) = (RefCell::default(), Vec::new());
        let copies = sshd(&logs.join("sshd.log"), "")?;
        let mut lab = Self { manager, root, bob, chain, runtime, owner, program: nobody, keys, copies, words };
        lab.program = lab.key("everything", &SCOPES, Some((100_000_000, 100_000_000)))?;
        Ok(lab)
    }

    /// Makes a key on the page, with limits in satoshis.
    pub(super) fn key(&self, name: &str, scopes: &[&str], limits: Option<(u64, u64)>) -> Outcome<Program> {
        let program = Program::made(&self.manager, &self.owner, name, scopes, limits)?;
        self.keys.borrow_mut().push(program.key.clone());
        Ok(program)
    }

    pub(super) fn mine(&self, blocks: u32) -> Outcome {
        self.runtime.block_on(self.chain.mine(blocks)).map(drop)
    }

    pub(super) fn bobs_invoice(&self, msat: Option<u64>) -> Outcome<Invoice> {
        let invoice = NewInvoice {
            amount: msat.map(MilliSat::new),
            memo: "a test".into(),
            expiry: Duration::from_secs(3600),
            private: false,
        };
        Ok(self.runtime.block_on(self.bob.client.add_invoice(invoice))?)
    }

    /// What bob has in his channels, millisatoshis.
    pub(super) fn bobs_local(&self) -> Outcome<u64> {
        Ok(self.runtime.block_on(self.bob.client.balances())?.local.get())
    }

    pub(super) fn until_ok(&self, path: &str) -> Outcome<Value> {
        until(SOON, || self.program.get(path))
    }

    pub(super) fn until_is(&self, path: &str, pointer: &str, wanted: &Value) -> Outcome {
        self.program.until_is(path, pointer, wanted)
    }

    /// LND starts again, and all of it runs: nothing of what is told is from before.
    pub(super) fn restart_lnd(&self) -> Outcome {
        self.root.restart_lnd()?;
        let started = OffsetDateTime::now_utc();
        until(SOON, || {
            let (node, channels) = (self.program.get("/api/v1/node")?, self.program.get("/api/v1/node/channels")?);
            let as_of = OffsetDateTime::parse(channels["as_of"].as_str().unwrap_or_default(), &Rfc3339)?;
            ensure!(node["state"] == "server_active" && as_of > started, "LND is not back: {node}");
            ensure!(channels["items"][0]["active"] == true, "the channel is not active: {channels}");
            Ok(())
        })
    }

    pub(super) fn end(mut self) -> Outcome {
        self.runtime.block_on(async { self.chain.stop().await })
    }
}

/// A program with a key.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) http: Http,
    pub(super) key: String,
}

impl Program {
    /// A key of the page /settings/keys, with limits in satoshis.
    pub(super) fn made(
        manager: &Manager,
        owner: &Http,
        name: &str,
        scopes: &[&str],
        limits: Option<(u64, u64)>,
    ) -> Outcome<Self> {
        let (payment, day) = limits.map_or_else(Default::default, |(one, day)| (one.to_string(), day.to_string()));
        let mut form = vec![("name", name), ("payment", &payment), ("day", &day), ("days", "30")];
        form.extend(scopes.iter().map(|scope| (*scope, "yes")));
        let answer = owner.post("/settings/keys", &form)?;
        let text = answer.text();
        let key = text.split_once("id=\"made-key\">").and_then(|(_, rest)| rest.split_once('<')).map(|(key, _)| key);
        match key {
            Some(key) => Ok(Self { http: manager.tls(), key: key.to_owned() }),
            None => fails(format!("the page makes no key: {} {}", answer.status, visitor::complaint(&answer))),
        }
    }

    pub(super) fn ask(&self, method: &str, path: &str) -> Outcome<Answer> {
        let bearer = format!("Bearer {}", self.key);
        self.http.send(method, path, &Extra { headers: &[("Authorization", &bearer)], form: &[] })
    }

    /// The JSON of a good answer.
    pub(super) fn get(&self, path: &str) -> Outcome<Value> {
        good(path, &self.ask("GET", path)?)
    }

    /// A field of an answer, once it is so.
    pub(super) fn until_is(&self, path: &str, pointer: &str, wanted: &Value) -> Outcome {
        until(SOON, || {
            let seen = self.get(path)?;
            ensure!(seen.pointer(pointer) == Some(wanted), "{pointer} of {path} is not {wanted}: {seen}");
            Ok(())
        })
    }

    /// Sends JSON, waiting where the box says that there were too many tries.
    pub(super) fn patiently(&self, method: &str, path: &str, body: &Value) -> Outcome<Answer> {
        until(SOON, || {
            let answer = self.ask_json(method, path, body)?;
            ensure!(answer.status != 429, "{path} has to wait for {:?} s", answer.header("retry-after"));
            Ok(answer)
        })
    }

    /// Sends JSON; `once`: the Idempotency-Key.
    pub(super) fn send(&self, path: &str, once: &str, body: &Value) -> Outcome<Answer> {
        let bearer = format!("Bearer {}", self.key);
        let mut headers = vec![("Authorization", bearer.as_str())];
        if !once.is_empty() {
            headers.push(("Idempotency-Key", once));
        }
        self.http.post_json(path, &headers, &body.to_string())
    }

    pub(super) fn post(&self, path: &str, once: &str, body: &Value) -> Outcome<Value> {
        good(path, &self.send(path, once, body)?)
    }

    /// Sends JSON by any method.
    pub(super) fn ask_json(&self, method: &str, path: &str, body: &Value) -> Outcome<Answer> {
        let bearer = format!("Bearer {}", self.key);
        self.http.send_json(method, path, &[("Authorization", bearer.as_str())], &body.to_string())
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Outcome<Value> {
        good(path, &self.ask_json("PUT", path, body)?)
    }

    /// A ticket for what is to be paid: its number and its amount.
    pub(super) fn preview(&self, body: &Value) -> Outcome<Value> {
        self.post("/api/v1/node/payments/previews", "", body)
    }

    /// Preview and payment in one.
    pub(super) fn pay(&self, once: &str, to: &Value) -> Outcome<Answer> {
        let ticket = self.preview(to)?;
        let body = json!({ "ticket": ticket["ticket"], "amount_msat": ticket["amount_msat"] });
        self.send("/api/v1/node/payments", once, &body)
    }
}

pub(super) fn good(path: &str, answer: &Answer) -> Outcome<Value> {
    ensure!((200..300).contains(&answer.status), "{path} answers {}: {}", answer.status, answer.text());
    Ok(serde_json::from_slice(&answer.body)?)
}

/// That the answer is a problem with this code.
pub(super) fn problem(answer: &Answer, code: &str) -> Outcome<Value> {
    let kind = answer.header("content-type").unwrap_or_default();
    ensure!(kind == "application/problem+json", "{} of the kind {kind:?}: {}", answer.status, answer.text());
    let problem: Value = serde_json::from_slice(&answer.body)?;
    ensure!(problem["code"] == code, "not {code} but {problem}");
    ensure!(problem["status"] == answer.status, "its status is {}: {problem}", answer.status);
    Ok(problem)
}
