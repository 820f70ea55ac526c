//! The box itself over the API: what the pages below the settings do. Root is a fake that refuses what is not for LND; the
//! pages' groups and the image's have better ones.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::lab::{Lab, SOON, problem};
use crate::{
    http::Extra,
    report::{Fault, Outcome, ensure, until},
};

pub(super) fn settings(lab: &mut Lab) -> Outcome {
    let program = &lab.program;
    let limits = json!({ "confirm_above_sat": "5000", "fee_limit_permyriad": 50, "fee_limit_base_sat": "3" });
    let kept = program.put("/api/v1/settings/payments/limits", &limits)?;
    ensure!(kept["confirm_above_sat"] == "5000" && kept["fee_limit_permyriad"] == 50, "it keeps {kept}");
    let page = lab.owner.get("/settings/payments")?.text();
    ensure!(page.contains("value=\"5000\"") && page.contains("value=\"0.5\""), "the page has other limits");
    let wrong = json!({ "confirm_above_sat": "1e3", "fee_limit_permyriad": 50, "fee_limit_base_sat": "3" });
    problem(&program.ask_json("PUT", "/api/v1/settings/payments/limits", &wrong)?, "invalid_value")?;
    let usual = json!({ "confirm_above_sat": "100000", "fee_limit_permyriad": 100, "fee_limit_base_sat": "10" });
    program.put("/api/v1/settings/payments/limits", &usual)?;
    let shown = program.put("/api/v1/settings/payments/shown", &json!({ "unit": "btc" }))?;
    ensure!(shown["unit"] == "btc" && shown["rates"].is_null(), "it keeps {shown}");
    program.put("/api/v1/settings/payments/shown", &json!({ "unit": "sat" }))?;

    let here = program.get("/api/v1/settings/place")?;
    let place = json!({ "language": "en", "time_zone": here["time_zone"], "host_name": here["host_name"] });
    let kept = program.put("/api/v1/settings/place", &place)?;
    ensure!(kept["language"] == "en", "it keeps {kept}");
    for (name, value) in [("time_zone", "Moon/Crater"), ("host_name", "two words"), ("language", "xx")] {
        let mut place = place.clone();
        place[name] = value.into();
        problem(&program.ask_json("PUT", "/api/v1/settings/place", &place)?, "invalid_value")?;
    }
    // Root must agree to another name, and its refusal is told.
    let mut place = place.clone();
    place["host_name"] = "attic".into();
    let refused = problem(&program.ask_json("PUT", "/api/v1/settings/place", &place)?, "refused")?;
    ensure!(refused["detail"] == "Root says no.", "it says {refused}");
    let audit = program.get("/api/v1/audit?limit=20")?.to_string();
    for action in ["payment-limits", "amounts-shown", "place-chosen"] {
        ensure!(audit.contains(action), "the audit log has no {action}: {audit}");
    }
    Ok(())
}

pub(super) fn machine(lab: &mut Lab) -> Outcome {
    let program = &lab.program;
    for path in ["network", "network/wifi", "disks", "phones", "sessions", "backups/copies", "setup", "system/units"] {
        program.get(&format!("/api/v1/{path}"))?;
    }
    for (path, body) in [
        ("system/units/avahi-daemon.service/restart", json!({})),
        ("disks/scan", json!({})),
        ("disks/cancel", json!({})),
        ("disks/move", json!({ "disk": "sdz", "serial": "none" })),
        ("disks/adopt", json!({ "disk": "sdz", "serial": "none", "partition": "none", "other_box_is_off": true })),
        ("backups/place/sticks", json!({})),
        ("backups/place/code", json!({ "code": "ABCD-EFGH" })),
        ("backups/restore", json!({ "backup": "00".repeat(64) })),
        ("network/confirm", json!({ "code": "ABCD-EFGH" })),
        ("bitcoin/use", json!({})),
        ("backups/place/use", json!({})),
    ] {
        problem(&program.send(&format!("/api/v1/{path}"), "", &body)?, "refused")?;
    }
    problem(&program.send("/api/v1/system/units/ssh.service/restart", "", &json!({}))?, "not_found")?;
    let card = json!({ "mac": "52:54:00:00:00:00", "v4": "dhcp", "v6": "auto" });
    problem(&program.send("/api/v1/network/trial", "", &card)?, "invalid_value")?;
    // A computer without a radio, or without its service: told as it is, and nothing is joined.
    let wifi = program.post("/api/v1/network/wifi/scan", "", &json!({}))?;
    ensure!(wifi["stations"].is_null() && wifi["country"].is_null(), "the radios are {wifi}");
    let radio = "02:00:00:00:00:00";
    for (path, body) in [
        ("join", json!({ "mac": radio, "ssid": "Attic", "passphrase": "correct horse 9", "country": "DE" })),
        ("forget", json!({ "mac": radio })),
        ("country", json!({ "mac": radio, "country": "DE" })),
    ] {
        problem(&program.send(&format!("/api/v1/network/wifi/{path}"), "", &body)?, "invalid_value")?;
    }
    let restart = program.get("/api/v1/system/health")?["restart"].clone();
    let is_light = ["safe", "wait", "risk"].iter().any(|light| restart["light"] == *light);
    ensure!(is_light && restart["reasons"].is_array(), "whether a restart is safe is {restart}");
    let bundle = program.post("/api/v1/system/support", "", &json!({}))?;
    ensure!(bundle["files"][0]["name"] == "versions.txt", "the bundle is {bundle}");
    // A program with a narrow key reaches none of it.
    let reader = lab.key("reader", &["read"], None)?;
    for path in [
        "system/support",
        "disks/scan",
        "network/withdraw",
        "network/wifi/scan",
        "bitcoin/use",
        "phones",
        "backups/place/use",
        "setup/wallet/seed",
        "setup/apply",
        "wallet/unlock",
        "keys",
        "second-factor",
    ] {
        problem(&reader.send(&format!("/api/v1/{path}"), "", &json!({}))?, "scope_missing")?;
    }
    Ok(())
}

/// The place that the lab chose is told, its newest copy is read back on demand.
pub(super) fn copies(lab: &mut Lab) -> Outcome {
    let copies = lab.program.get("/api/v1/backups/copies")?;
    ensure!(copies["saved"]["channels"] == 1 && copies["pending"].is_null(), "the copies are {copies}");
    lab.program.post("/api/v1/backups/verify", "", &json!({}))?;
    until(SOON, || {
        let copies = lab.program.get("/api/v1/backups/copies")?;
        ensure!(copies["verified"]["good"] == true, "the copies are {copies}");
        Ok(())
    })?;
    // The test of another place tells what is wrong with it, and changes nothing.
    let nowhere =
        json!({ "kind": "webdav", "url": "https://127.0.0.1:1/dav", "user": "ann", "password": "hunter2-of-a-test" });
    lab.program.post("/api/v1/backups/place/test", "", &nowhere)?;
    until(SOON, || {
        let test = lab.program.get("/api/v1/backups/place/test")?;
        ensure!(test["state"] == "failed" && !test.to_string().contains("hunter2"), "the test is {test}");
        Ok(())
    })?;
    problem(&lab.program.send("/api/v1/backups/place/use", "", &json!({}))?, "refused")?;
    let after = lab.program.get("/api/v1/backups/copies")?;
    ensure!(after["place"] == copies["place"], "the place is {after}");
    Ok(())
}

/// A phone is paired once, works by what was told, and is ended; a wider one than its key is not.
pub(super) fn phones(lab: &mut Lab) -> Outcome {
    let paired = lab.program.post("/api/v1/phones", "", &json!({ "name": "Wall", "rights": "read" }))?;
    let url = paired["lndconnect"].as_str().unwrap_or_default().to_owned();
    let Some((_, macaroon)) = url.split_once("macaroon=") else {
        return Err(Fault::Fails(format!("the code has no macaroon: {}", url.len())));
    };
    lab.keys.borrow_mut().push(macaroon.to_owned());
    let list = lab.program.get("/api/v1/phones")?;
    let wall = list["items"].as_array().into_iter().flatten().find(|phone| phone["name"] == "Wall").cloned();
    let Some(wall) = wall else { return Err(Fault::Fails(format!("the list is {list}"))) };
    ensure!(!list.to_string().contains(macaroon), "the list has the secret");
    problem(&lab.program.send("/api/v1/phones", "", &json!({ "name": "Wall", "rights": "read" }))?, "invalid_value")?;
    problem(
        &lab.program.send("/api/v1/phones", "", &json!({ "name": "All", "rights": "everything" }))?,
        "invalid_value",
    )?;
    // One that may do everything is for the owner alone to pair.
    let all = json!({ "name": "All", "rights": "all", "password": "not the password" });
    problem(&lab.program.send("/api/v1/phones", "", &all)?, "proof_wrong")?;
    let narrow = lab.key("narrow", &["settings"], None)?;
    problem(&narrow.send("/api/v1/phones", "", &json!({ "name": "Sly", "rights": "read" }))?, "scope_missing")?;
    // What was told opens LND's REST, and no more of it than it should.
    let macaroon = hex::encode(URL_SAFE_NO_PAD.decode(macaroon)?);
    let ask = |method: &str, path: &str| {
        let headers = [("Grpc-Metadata-macaroon", macaroon.as_str())];
        lab.manager.tls().send(method, path, &Extra { headers: &headers, form: &[] })
    };
    let info = ask("GET", "/v1/getinfo")?;
    ensure!(info.status == 200 && info.text().contains("identity_pubkey"), "{}: {}", info.status, info.text());
    let invoice = ask("POST", "/v1/invoices")?;
    ensure!(invoice.text().contains("permission denied"), "a reader gets {}: {}", invoice.status, invoice.text());
    for path in ["/v1/unlockwallet", "/v1/%75nlockwallet", "/v1/macaroon"] {
        ensure!(ask("POST", path)?.status == 403, "{path} is open");
    }
    let listening = [("Grpc-Metadata-Macaroon", macaroon.as_str())];
    let mut socket = lab.manager.tls().connect()?.socket("/v1/transactions/subscribe?method=GET", &listening)?;
    socket.say("{}")?;
    let path = format!("/api/v1/phones/{}", wall["key"].as_str().unwrap_or_default());
    ensure!(lab.program.ask("DELETE", &path)?.status == 204, "the phone is not ended");
    problem(&lab.program.ask("DELETE", &path)?, "not_found")?;
    ensure!(socket.hear()?.is_none(), "an ended phone still listens");
    ensure!(ask("GET", "/v1/getinfo")?.status == 401, "an ended phone still gets in");
    Ok(())
}

/// The owner's other browser is seen and ended; a key has no session of its own.
pub(super) fn sessions(lab: &mut Lab) -> Outcome {
    let other = lab.manager.tls();
    let token = crate::visitor::sign_in(&other)?;
    let other = other.with_session(&token);
    ensure!(other.get("/settings")?.status == 200, "the other browser is not signed in");
    let list = lab.program.get("/api/v1/sessions")?;
    let all = list["items"].as_array().cloned().unwrap_or_default();
    ensure!(all.len() == 2 && all.iter().all(|session| session["own"] == false), "the sessions are {list}");
    let newest = all.iter().max_by_key(|session| session["begun_at"].to_string());
    let name = newest.and_then(|session| session["name"].as_str()).unwrap_or_default().to_owned();
    ensure!(lab.program.ask("DELETE", &format!("/api/v1/sessions/{name}"))?.status == 204, "it is not ended");
    ensure!(other.get("/settings")?.status == 303, "an ended session goes on");
    ensure!(lab.owner.get("/settings")?.status == 200, "the wrong session was ended");
    problem(&lab.program.ask("DELETE", &format!("/api/v1/sessions/{name}"))?, "not_found")?;
    Ok(())
}
