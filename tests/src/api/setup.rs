//! The setup without a page: from a box that has an owner to a running node, its wallet opened again, and a second box
//! made of its seed.

use std::{fs, path::Path};

use serde_json::{Value, json};
use twin::Sat;

use super::{
    lab::{Lab, Program, SCOPES, SOON, good, problem},
    once::at_once,
};
use crate::{
    backup::servers::{self, fingerprint},
    bitcoind::node::Node as Bitcoind,
    manager::{Manager, sound},
    report::{Outcome, ensure, fails, until},
    road,
    root::FakeRoot,
    visitor,
};

const SETUP: &str = "/api/v1/setup";
const WALLET: &str = "/api/v1/setup/wallet";
const SEED: &str = "/api/v1/setup/wallet/seed";

/// From nothing to a running node.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    let program = lab.program.clone();
    let setup = program.get(SETUP)?;
    ensure!(setup["finished_at"].is_null() && setup["phases"] == json!([]), "a new box says {setup}");
    // Nothing out of its turn.
    problem(&program.send(SEED, "", &json!({}))?, "refused")?;
    problem(&program.send("/api/v1/setup/apply", "", &json!({}))?, "refused")?;
    first_steps(&program)?;
    back_end(&program, &lab.chain)?;
    lab.words = seed(lab)?;
    place(lab)?;
    apply(&program)?;
    let wallet = program.get(WALLET)?;
    ensure!(
        wallet["state"] == "exists" && wallet["origin"] == "new" && wallet["sealed_by"] == "disk",
        "the wallet is {wallet}"
    );
    ensure!(wallet["seed"].is_null(), "the seed is still there: {wallet}");
    // There is one, and never a second.
    problem(&program.send(SEED, "", &json!({}))?, "refused")?;
    let restore = json!({ "words": lab.words.join(" "), "old_box_is_off": true });
    problem(&program.send("/api/v1/setup/wallet/restore", "", &restore)?, "refused")?;
    let other = json!({ "backend": "neutrino", "chain": "mainnet" });
    problem(&program.send("/api/v1/bitcoin/test", "", &other)?, "refused")?;
    lab.until_ok("/api/v1/node/balances")?;
    lab.until_is("/api/v1/node", "/state", &"server_active".into())
}

/// Place, network and disk.
fn first_steps(program: &Program) -> Outcome {
    let here = program.get("/api/v1/settings/place")?;
    let place = json!({ "language": "en", "time_zone": here["time_zone"], "host_name": here["host_name"] });
    program.put("/api/v1/settings/place", &place)?;
    for step in ["network", "disk"] {
        program.post(&format!("{SETUP}/steps/{step}"), "", &json!({}))?;
    }
    for step in ["bitcoin", "wallet", "summary", "tomorrow"] {
        problem(&program.send(&format!("{SETUP}/steps/{step}"), "", &json!({}))?, "not_found")?;
    }
    let setup = program.get(SETUP)?;
    let done = |step: &Value| step["done"] == true;
    let steps = setup["steps"].as_array().cloned().unwrap_or_default();
    ensure!(steps.iter().take(3).all(done) && !steps.iter().skip(3).any(done), "the steps are {setup}");
    Ok(())
}

/// The test's bitcoind, first with a wrong password.
fn back_end(program: &Program, chain: &Bitcoind) -> Outcome {
    let ask = |password: &str| {
        json!({
            "backend": "bitcoind", "chain": "regtest", "rpc": format!("127.0.0.1:{}", chain.rpc), "user": "homebolt",
            "password": password, "zmq_block": format!("tcp://127.0.0.1:{}", chain.blocks),
            "zmq_tx": format!("tcp://127.0.0.1:{}", chain.transactions),
        })
    };
    let tested = |password: &str| -> Outcome<Value> {
        program.post("/api/v1/bitcoin/test", "", &ask(password))?;
        until(SOON, || {
            let test = program.get("/api/v1/bitcoin/test")?;
            ensure!(test["finished"] == true, "the test goes on: {test}");
            Ok(test)
        })
    };
    let bad = |test: &Value| -> Vec<Value> {
        let checks = test["checks"].as_array().into_iter().flatten();
        checks.filter(|check| check["state"] == "bad").map(|check| check["name"].clone()).collect()
    };
    // An own node may be away when it is chosen: what is bad is told, and the owner's to judge.
    let wrong = tested("wrong")?;
    ensure!(bad(&wrong) == ["Access"], "a wrong password gives {wrong}");
    let right = tested(road::DOOR)?;
    ensure!(right["usable"] == true && bad(&right).is_empty(), "the right one gives {right}");
    let chosen = program.post("/api/v1/bitcoin/use", "", &json!({}))?;
    ensure!(chosen["chain"] == "regtest" && chosen["database"] == "sqlite", "chosen is {chosen}");
    program.until_is(WALLET, "/state", &"none".into())
}

/// A seed that is written down; gives its words.
fn seed(lab: &Lab) -> Outcome<Vec<String>> {
    let program = &lab.program;
    let words = |told: &Value| -> Vec<String> {
        told["words"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    // The first three of each line, as people would leave them lying about.
    let note = |words: &[String]| {
        let three = [" ", "\",\"", ", "].map(|between| words.iter().take(3).cloned().collect::<Vec<_>>().join(between));
        lab.keys.borrow_mut().extend(three);
    };
    let before = program.get(WALLET)?;
    let first = until(SOON, || program.post(SEED, "", &json!({})))?;
    problem(&program.send(&format!("{SEED}/check"), "", &json!({ "words": ["a", "b", "c", "d"] }))?, "refused")?;
    // Two ask at once: each is told a seed of its own, of which the later one is to be the wallet.
    let answers = at_once(program, SEED, vec![(String::new(), json!({ "passphrase": "" })); 2])?;
    let told = answers.iter().map(|answer| good(SEED, answer)).collect::<Outcome<Vec<Value>>>()?;
    let seeds: Vec<_> = [&first].into_iter().chain(&told).map(words).collect();
    ensure!(seeds.iter().all(|seed| seed.len() == 24), "not each has 24 words");
    ensure!(seeds[0] != seeds[1] && seeds[0] != seeds[2] && seeds[1] != seeds[2], "two seeds are the same");
    seeds.iter().for_each(|seed| note(seed));
    let passwords = told.iter().map(|told| told["wallet_password"].as_str().unwrap_or_default().to_owned());
    lab.keys.borrow_mut().extend(passwords);
    // Told once.
    let mut wallet = program.get(WALLET)?;
    let stage = std::mem::replace(&mut wallet["seed"], before["seed"].clone());
    ensure!(stage == "told" && wallet == before, "with a seed that is {stage} the wallet is {wallet}, before {before}");
    let asked = program.post(&format!("{SEED}/written"), "", &json!({}))?;
    let places: Vec<usize> =
        asked["asked"].as_array().into_iter().flatten().filter_map(Value::as_u64).map(|at| at as usize).collect();
    ensure!(places.len() == 4 && places.iter().all(|at| (1..=24).contains(at)), "asked for {asked}");
    let check = |words: &[&str]| program.send(&format!("{SEED}/check"), "", &json!({ "words": words }));
    let wrong = problem(&check(&["wrong"; 4])?, "invalid_value")?;
    ensure!(wrong["detail"].as_str().is_some_and(|detail| detail.contains('2')), "it says {wrong}");
    for seed in &seeds[1..] {
        let words: Vec<&str> = places.iter().map(|at| seed[at - 1].as_str()).collect();
        let answer = check(&words)?;
        if answer.status == 422 {
            problem(&answer, "invalid_value")?;
            continue;
        }
        let ready = good(SEED, &answer)?;
        ensure!(ready["seed"] == "ready", "the right words give {ready}");
        return Ok(seed.clone());
    }
    fails("neither of both seeds that were told is the one that counts")
}

/// The lab's SFTP server, by the box's own key; the server's key is confirmed.
fn place(lab: &Lab) -> Outcome {
    let (program, server) = (&lab.program, &lab.copies);
    let key = program.get("/api/v1/backups/place/ssh-key")?;
    let line = key["public_key"].as_str().unwrap_or_default();
    fs::write(server.path().join("authorized_keys"), format!("{line}\n"))?;
    let ask = json!({
        "kind": "sftp", "host": "127.0.0.1", "port": server.port, "user": servers::USER, "folder": "homebolt",
    });
    program.post("/api/v1/backups/place/test", "", &ask)?;
    let test = "/api/v1/backups/place/test";
    program.until_is(test, "/state", &"host_key".into())?;
    let shown = program.get(test)?;
    ensure!(
        shown["host_key_fingerprint"] == fingerprint(server.path(), "ed25519")?,
        "the test shows another key: {shown}"
    );
    let other = json!({ "fingerprint": "SHA256:of-somebody-else" });
    problem(&program.send("/api/v1/backups/place/host-key", "", &other)?, "refused")?;
    let same = json!({ "fingerprint": shown["host_key_fingerprint"] });
    program.post("/api/v1/backups/place/host-key", "", &same)?;
    program.until_is(test, "/state", &"good".into())?;
    program.post("/api/v1/backups/place/use", "", &json!({}))?;
    Ok(())
}

fn apply(program: &Program) -> Outcome {
    let begun = program.post("/api/v1/setup/apply", "", &json!({}))?;
    ensure!(begun["finished_at"].is_null(), "it was applied at once: {begun}");
    until(SOON, || {
        let setup = program.get(SETUP)?;
        ensure!(setup["finished_at"].is_string(), "the setup is {setup}");
        let phases = setup["phases"].as_array().cloned().unwrap_or_default();
        ensure!(phases.len() == 6 && phases.iter().all(|phase| phase["state"] == "done"), "the phases are {setup}");
        Ok(())
    })
}

/// Without its sealed password the wallet is opened by the one that was told.
pub(super) fn unlock(lab: &mut Lab) -> Outcome {
    let password = fs::read_to_string(lab.root.sealed())?;
    ensure!(lab.keys.borrow().contains(&password), "another password is sealed than the one that was told");
    fs::remove_file(lab.root.sealed())?;
    lab.root.restart_lnd()?;
    lab.until_is("/api/v1/node", "/state", &"unreachable".into())?;
    let unlock = |password: &str| {
        let ask = json!({ "password": password });
        lab.program.patiently("POST", "/api/v1/wallet/unlock", &ask)
    };
    problem(&unlock(&password)?, "refused")?;
    ensure!(lab.program.send("/api/v1/wallet/by-hand", "", &json!({}))?.status == 204, "LND is not started");
    lab.until_is("/api/v1/node", "/state", &"locked".into())?;
    let wrong = problem(&unlock("not-the-password")?, "node_refused")?;
    ensure!(!lab.root.sealed().exists(), "a wrong password was sealed: {wrong}");
    ensure!(unlock(&password)?.status == 204, "the right password does not open it");
    lab.until_is("/api/v1/node", "/state", &"server_active".into())?;
    until(SOON, || {
        ensure!(fs::read_to_string(lab.root.sealed())? == password, "another password is sealed");
        Ok(())
    })?;
    // From now on by itself again.
    lab.restart_lnd()
}

/// A second box of the same seed has the same money. The first one is off for good.
pub(super) fn restore(lab: &mut Lab, program: &Path, lnd: &Path, logs: &Path) -> Outcome {
    let confirmed = |program: &Program| -> Outcome<Sat> {
        let balances = program.get("/api/v1/node/balances")?;
        Ok(Sat::new(balances["chain_confirmed_sat"].as_str().unwrap_or_default().parse()?))
    };
    let had = until(SOON, || confirmed(&lab.program))?;
    ensure!(had > Sat::ZERO, "there is nothing to bring back");
    let key = lab.program.get("/api/v1/node")?["public_key"].clone();
    let backup = lab.program.get("/api/v1/backups/current")?["backup"].clone();
    lab.root.kill_lnd()?;

    let manager = Manager::start(program, &logs.join("manager-second.log"), &sound())?;
    let _root = FakeRoot::grudging(manager.folder(), lnd, &logs.join("alice-second.log"));
    let claim = visitor::claim(&manager.tls(), &manager.code()?)?;
    let owner = manager.tls().with_session(&visitor::set_password(&manager.tls(), &claim)?);
    let second = Program::made(&manager, &owner, "second", &SCOPES, Some((1, 1)))?;
    lab.keys.borrow_mut().push(second.key.clone());
    first_steps(&second)?;
    back_end(&second, &lab.chain)?;
    let path = "/api/v1/setup/wallet/restore";
    let words = lab.words.join(" ");
    for wrong in [
        json!({ "words": words, "backup": backup, "old_box_is_off": false }),
        json!({ "words": words, "backup": "c2hvcnQ=", "old_box_is_off": true }),
        json!({ "words": lab.words[..23].join(" "), "old_box_is_off": true }),
        json!({ "words": words.replace(&lab.words[5], "abilty"), "old_box_is_off": true }),
    ] {
        problem(&second.send(path, "", &wrong)?, "invalid_value")?;
    }
    let told = second.post(path, "", &json!({ "words": words, "backup": backup, "old_box_is_off": true }))?;
    lab.keys.borrow_mut().push(told["wallet_password"].as_str().unwrap_or_default().to_owned());
    second.post("/api/v1/setup/steps/backup", "", &json!({}))?;
    apply(&second)?;
    ensure!(second.get(WALLET)?["origin"] == "restored", "the wallet is {}", second.get(WALLET)?);
    let now = until(SOON, || Ok(second.get("/api/v1/node")?["public_key"].clone()))?;
    ensure!(now == key && key.is_string(), "it is another wallet: {now}, not {key}");
    until(SOON, || {
        let found = confirmed(&second)?;
        ensure!(found == had, "{found} of {had} came back");
        Ok(())
    })?;
    second.until_is("/api/v1/backups/copies", "/given/state", &"done".into())?;
    // It only brings money back.
    let open = json!({ "peer": lab.bob.address, "amount_sat": "100000" });
    let refused = second.send("/api/v1/node/channels", "restored-open-1", &open)?;
    match refused.status {
        409 => Ok(()),
        status => fails(format!("a restored wallet opens a channel: {status} {}", refused.text())),
    }
}
