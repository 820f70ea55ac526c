//! Password, second factor and keys over the API: each change needs what only the owner knows.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::lab::{Lab, Program, good, problem};
use crate::{
    authenticator,
    report::{Outcome, ensure, fails},
    visitor::{self, PASSWORD},
};

const OTHER: &str = "nine slow badgers hum";

/// A key is made, works by its scopes, and is revoked.
pub(super) fn keys(lab: &mut Lab) -> Outcome {
    let path = "/api/v1/keys";
    let ask = |password: &str, name: &str, scopes: &[&str]| {
        let body = json!({ "password": password, "name": name, "scopes": scopes, "days": 1 });
        lab.program.patiently("POST", path, &body)
    };
    problem(&ask("not the password", "till", &["read"])?, "proof_wrong")?;
    for (name, scopes) in [("", &["read"][..]), ("till", &[]), ("till", &["pay"]), ("everything", &["read"])] {
        problem(&ask(PASSWORD, name, scopes)?, "invalid_value")?;
    }
    let made = good(path, &ask(PASSWORD, "till", &["read"])?)?;
    let till = Program { http: lab.manager.tls(), key: made["key"].as_str().unwrap_or_default().to_owned() };
    lab.keys.borrow_mut().push(till.key.clone());
    let list = lab.program.get(path)?;
    ensure!(list["items"][0]["name"] == "till" && list["items"][0]["used_at"].is_null(), "a new key is {list}");
    ensure!(till.get("/api/v1/key")?["scopes"] == json!(["read"]), "the key says {}", till.get("/api/v1/key")?);
    problem(&till.ask("GET", path)?, "scope_missing")?;
    let list = lab.program.get(path)?;
    ensure!(list["items"][0]["id"] == made["id"] && !list.to_string().contains(&till.key), "the list is {list}");
    let one = format!("{path}/{}", made["id"].as_str().unwrap_or_default());
    ensure!(lab.program.ask("DELETE", &one)?.status == 204, "the key is not revoked");
    problem(&lab.program.ask("DELETE", &one)?, "not_found")?;
    problem(&till.ask("GET", "/api/v1/key")?, "unauthorized")?;
    Ok(())
}

/// With a second factor the password alone changes nothing; then another password, and all as it was.
pub(super) fn factor(lab: &mut Lab) -> Outcome {
    let program = &lab.program;
    let path = "/api/v1/second-factor";
    ensure!(program.get(path)?["on"] == false, "it is on: {}", program.get(path)?);
    let confirm = |code: &str| program.patiently("POST", &format!("{path}/confirm"), &json!({ "code": code }));
    let secret = good(path, &program.patiently("POST", path, &json!({ "password": PASSWORD }))?)?;
    let secret = secret["secret"].as_str().unwrap_or_default().to_owned();
    problem(&confirm("000000")?, "proof_wrong")?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let codes = good(path, &confirm(&authenticator::code(&secret, at)?)?)?;
    let codes: Vec<&str> =
        codes["recovery_codes"].as_array().into_iter().flatten().filter_map(|code| code.as_str()).collect();
    ensure!(codes.len() == 10, "there are {} recovery codes", codes.len());
    lab.keys.borrow_mut().extend(codes.iter().map(|code| (*code).to_owned()));

    let change = |old: &str, code: &str, new: &str| {
        let body = json!({ "password": old, "code": code, "new_password": new });
        program.patiently("PUT", "/api/v1/password", &body)
    };
    problem(&change(PASSWORD, "", OTHER)?, "proof_wrong")?;
    problem(&change(PASSWORD, codes[0], "short")?, "invalid_value")?;
    ensure!(lab.owner.get("/settings")?.status == 200, "a refused change ended the owner's session");
    ensure!(change(PASSWORD, codes[1], OTHER)?.status == 204, "the password is not changed");
    ensure!(lab.owner.get("/settings")?.status == 303, "another password leaves the old sessions open");
    ensure!(program.get(path)?["recovery_codes_left"] == 9, "left are {}", program.get(path)?);
    ensure!(change(OTHER, codes[2], PASSWORD)?.status == 204, "the password is not changed back");
    let off = json!({ "password": PASSWORD, "code": codes[0] });
    let off = program.patiently("POST", &format!("{path}/off"), &off)?;
    if off.status != 204 {
        return fails(format!("it does not go off: {}", off.text()));
    }
    ensure!(program.get(path)?["on"] == false, "it is still on");
    let audit = program.get("/api/v1/audit?limit=20")?.to_string();
    for action in ["second-factor-on", "password-changed", "second-factor-off"] {
        ensure!(audit.contains(action), "the audit log has no {action}: {audit}");
    }
    // The owner is back in.
    let token = crate::report::until(super::lab::SOON, || visitor::sign_in(&lab.manager.tls()))?;
    lab.owner = lab.manager.tls().with_session(&token);
    Ok(())
}
