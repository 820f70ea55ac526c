//! Who may do what; events, figures, and the node away.

use std::{fs, path::Path, thread, time::Duration};

use serde_json::{Value, json};

use super::lab::{Lab, SCOPES, SOON, problem};
use crate::{
    http::Extra,
    report::{Fault, Outcome, ensure, until},
    visitor,
};

pub(super) fn scopes(lab: &mut Lab) -> Outcome {
    visitor::walk(&lab.manager.tls(), &lab.manager.routes()?, None)?;
    let routes = lab.manager.routes()?;
    let routes: Vec<Value> = routes.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut closed = 0;
    for scope in SCOPES.into_iter().filter(|scope| *scope != "pay") {
        let program = lab.key(&format!("only {scope}"), &[scope], None)?;
        for route in routes.iter().filter(|route| route["access"] == "key" && route["scope"].is_string()) {
            if route["scope"] == scope {
                continue;
            }
            let path = visitor::fill(route["path"].as_str().unwrap_or_default());
            let answer = program.ask(route["method"].as_str().unwrap_or_default(), &path)?;
            let problem = problem(&answer, "scope_missing")?;
            ensure!(problem["scope"] == route["scope"], "{path}: {problem}");
            closed += 1;
        }
        let about = program.get("/api/v1/key")?;
        ensure!(about["scopes"] == json!([scope]), "the key says {about}");
    }
    ensure!(closed > 60, "only {closed} closed doors were tried");
    // A program never reaches the pages.
    let answer = lab.program.ask("GET", "/settings/keys")?;
    ensure!(answer.status == 303, "a key opens the page of keys: {}", answer.status);
    Ok(())
}

pub(super) fn session(lab: &mut Lab) -> Outcome {
    let answer = lab.owner.get("/api/v1/system/info")?;
    ensure!(answer.status == 200, "the owner's session gets {}", answer.status);
    for headers in [&[][..], &[("Origin", "https://evil.example")], &[("Sec-Fetch-Site", "cross-site")]] {
        let answer = lab.owner.post_json("/api/v1/node/addresses", headers, "{}")?;
        problem(&answer, "foreign_origin")?;
    }
    let origin = lab.owner.origin();
    let answer = lab.owner.post_json("/api/v1/node/addresses", &[("Origin", origin.as_str())], "{}")?;
    ensure!(answer.status == 201, "from its own page it gets {}: {}", answer.status, answer.text());
    Ok(())
}

pub(super) fn events(lab: &mut Lab) -> Outcome {
    until(SOON, || lab.program.get("/api/v1/node/balances").map(drop))?;
    let listener = lab.key("listener", &["read"], None)?;
    let listening = thread::spawn({
        let listener = listener.clone();
        // The answer is read to its end, which is the key's.
        move || listener.ask("GET", "/api/v1/events")
    });
    thread::sleep(Duration::from_secs(1));
    lab.program.post("/api/v1/node/invoices", "", &json!({ "amount_msat": "1000" }))?;
    thread::sleep(Duration::from_secs(3));
    ensure!(!listening.is_finished(), "the stream ended early");
    let page = lab.owner.get("/settings/keys")?.text();
    let id = page.split("<strong>listener</strong>").nth(1).and_then(|rest| rest.split("name=\"id\" value=\"").nth(1));
    let id = id.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
    let answer = lab.owner.post("/settings/keys/revoke", &[("id", &id)])?;
    ensure!(answer.status == 303, "revoking is answered by {}", answer.status);
    problem(&listener.ask("GET", "/api/v1/node")?, "unauthorized")?;
    until(Duration::from_secs(10), || {
        ensure!(listening.is_finished(), "the stream of a revoked key goes on");
        Ok(())
    })?;
    let answer = listening.join().map_err(|_| Fault::Fails("the listener ended early".into()))??;
    let text = answer.text();
    ensure!(text.contains("\"topic\":\"invoices\""), "the stream told {text:?}");
    let audit = lab.program.get("/api/v1/audit?limit=10")?.to_string();
    ensure!(audit.contains("key-revoked"), "the audit log says {audit}");
    Ok(())
}

pub(super) fn figures(lab: &mut Lab) -> Outcome {
    let balances = lab.until_ok("/api/v1/node/balances")?;
    let local = balances["local_msat"].as_str().unwrap_or_default();
    let local: f64 = local.parse()?;
    until(SOON, || {
        let answer = lab.program.ask("GET", "/metrics")?;
        let text = answer.text();
        let value = |start: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(start)?.trim().parse().ok())
        };
        for (figure, wanted) in [
            ("homebolt_channel_balance_msat{side=\"local\"}", local),
            ("homebolt_channels{state=\"active\"}", 1.0),
            ("homebolt_lnd_state{state=\"server_active\"}", 1.0),
            ("homebolt_peers", 1.0),
            ("homebolt_backup_channels", 1.0),
            ("homebolt_backup_saved_channels", 1.0),
            ("homebolt_alerts{severity=\"failing\"}", 0.0),
        ] {
            ensure!(value(figure) == Some(wanted), "{figure} is {:?}, not {wanted}", value(figure));
        }
        let age = value("homebolt_backup_saved_age_seconds");
        ensure!(age.is_some_and(|age| age < 600.0), "the last copy of the channel backup is {age:?} seconds old");
        ensure!(text.ends_with("# EOF\n"), "the text has no end");
        ensure!(text.contains("homebolt_http_answer_seconds_bucket"), "the answers' times are missing");
        Ok(())
    })
}

pub(super) fn away(lab: &mut Lab) -> Outcome {
    let before = lab.until_ok("/api/v1/node/channels")?;
    lab.root.kill_lnd()?;
    let waited = until(SOON, || {
        let node = lab.program.get("/api/v1/node")?;
        ensure!(node["state"] == "unreachable", "the node is {node}");
        let alerts = lab.program.get("/api/v1/node/alerts")?.to_string();
        ensure!(alerts.contains("\"lightning\""), "the alerts are {alerts}");
        Ok(())
    });
    // First of all it must run again, for the tests behind this one.
    let seen = waited.and_then(|()| {
        let after = lab.program.get("/api/v1/node/channels")?;
        ensure!(
            after["items"].as_array().map(Vec::len) == before["items"].as_array().map(Vec::len),
            "it shows {after}"
        );
        ensure!(after["as_of"].is_string(), "it does not say of when it is: {after}");
        problem(&lab.program.send("/api/v1/node/invoices", "", &json!({ "amount_msat": "1000" }))?, "node_away")?;
        let open = json!({ "peer": lab.bob.address, "amount_sat": "100000" });
        problem(&lab.program.send("/api/v1/node/channels", "away-open-1", &open)?, "node_away")
    });
    lab.restart_lnd()?;
    seen.map(drop)
}

/// No key, and no other secret of the run, may be found in the manager's folders or in any log.
pub(super) fn secrets(lab: &Lab, logs: &Path) -> Outcome {
    let keys = lab.keys.borrow();
    ensure!(keys.len() > 5, "only {} keys were made", keys.len());
    let mut open = vec![lab.manager.folder().to_owned(), logs.to_owned()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            // Where the fake root seals: on a box it is no file of the manager's, and encrypted.
            if path == lab.root.sealed() {
                continue;
            }
            seen += 1;
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            ensure!(!keys.iter().any(|key| text.contains(key)), "a key is in {}", path.display());
        }
    }
    ensure!(seen > 10, "only {seen} files were looked at");
    let answer = lab.manager.tls().send("GET", "/api/v1/key", &Extra::default())?;
    ensure!(answer.status == 401, "without a key it answers {}", answer.status);
    Ok(())
}
