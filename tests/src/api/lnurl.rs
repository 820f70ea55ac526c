//! Lightning addresses over the API: terms, a ticket, one payment; the service is at home, which the owner says first.

use serde_json::json;

use super::lab::{Lab, SOON, problem};
use crate::{
    report::{Outcome, ensure, until},
    wizard::lnurl::Service,
};

pub(super) fn run(lab: &mut Lab) -> Outcome {
    let service = lab.runtime.block_on(Service::start(lab.bob.client.clone()))?;
    let (terms, previews) = ("/api/v1/node/payments/terms", "/api/v1/node/payments/previews");
    let ann = service.address("ann");
    // A stranger's service on this computer is not asked.
    let refused = problem(&lab.program.send(terms, "", &json!({ "to": ann }))?, "invalid_value")?;
    ensure!(refused.to_string().contains("private address"), "it says {refused}");
    let servers = json!({
        "own_servers": [format!("localhost:{}", service.port)], "own_servers_ca": service.certificate,
    });
    let kept = lab.program.put("/api/v1/settings/payments/servers", &servers)?;
    ensure!(kept["own_servers"] == servers["own_servers"], "it keeps {kept}");

    let told = lab.program.post(terms, "", &json!({ "to": ann }))?;
    ensure!(told["min_msat"] == "1000" && told["max_msat"] == "200000000", "the terms are {told}");
    ensure!(told["comment_max"] == 30 && told["description"] == "Eggs & milk from ann", "the terms are {told}");
    for wrong in [
        json!({ "to": ann }),
        json!({ "to": ann, "amount_msat": "300000000000" }),
        json!({ "to": ann, "amount_msat": "2000000", "comment": "x".repeat(31) }),
        json!({ "to": service.address("more"), "amount_msat": "2000000" }),
        json!({ "to": service.address("other"), "amount_msat": "2000000" }),
        json!({ "to": lab.bob.key(), "amount_msat": "2000000", "comment": "hello" }),
    ] {
        problem(&lab.program.send(previews, "", &wrong)?, "invalid_value")?;
    }
    let before = lab.bobs_local()?;
    let ticket = lab.program.preview(&json!({ "to": ann, "amount_msat": "2000000", "comment": "for the eggs" }))?;
    ensure!(ticket["service"].as_str().is_some_and(|host| host.contains("localhost")), "the ticket is {ticket}");
    ensure!(ticket["description"] == "Eggs & milk from ann", "the ticket is {ticket}");
    let body = json!({ "ticket": ticket["ticket"], "amount_msat": "2000000" });
    for _ in 0..2 {
        let paid = lab.program.post("/api/v1/node/payments", "lnurl-number-1", &body)?;
        ensure!(paid["state"] == "done" && paid["message"] == "Thank you, <b>friend</b>", "it ends with {paid}");
    }
    // What is fixed may have parts of a satoshi, and needs no amount.
    let fixed = lab.program.pay("lnurl-number-2", &json!({ "to": service.address("fixed") }))?;
    ensure!(fixed.status == 200 && fixed.text().contains("Your ticket"), "it ends with {}", fixed.text());
    until(SOON, || {
        let now = lab.bobs_local()?;
        ensure!(now.checked_sub(before) == Some(2_001_500), "bob had {before}, has {now}");
        Ok(())
    })
}
