//! Fund, open, pay both ways, close; every amount in millisatoshis.

use std::{
    thread,
    time::{Duration, Instant},
};

use lnd::client::{Pay, PayTo};
use serde_json::{Value, json};
use twin::MilliSat;

use super::lab::{Lab, SOON, problem};
use crate::report::{Fault, Outcome, ensure, fails, until};

pub(super) fn fund(lab: &mut Lab) -> Outcome {
    let address = lab.program.post("/api/v1/node/addresses", "", &json!({}))?;
    lab.runtime.block_on(lab.chain.call("sendtoaddress", json!([address["address"], 0.05])))?;
    lab.mine(3)?;
    lab.until_is("/api/v1/node/balances", "/chain_confirmed_sat", &"5000000".into())?;
    // Each list comes to the twin on its own.
    lab.until_is("/api/v1/node/transactions", "/items/0/amount_sat", &"5000000".into())?;
    lab.until_is("/api/v1/node/transactions", "/items/0/direction", &"in".into())
}

pub(super) fn open(lab: &mut Lab) -> Outcome {
    let path = "/api/v1/node/channels";
    let body = json!({ "peer": lab.bob.address, "amount_sat": "1000000" });
    let first = lab.program.post(path, "open-number-1", &body)?;
    let point = first["channel_point"].clone();
    ensure!(first["state"] == "done" && point.is_string(), "the first try gives {first}");
    let second = lab.program.post(path, "open-number-1", &body)?;
    ensure!(second["channel_point"] == point, "the second try gives {second}");
    // The same name for something else is a mistake, and does nothing.
    let other = json!({ "peer": lab.bob.address, "amount_sat": "500000" });
    problem(&lab.program.send(path, "open-number-1", &other)?, "idempotency_key_reused")?;
    until(SOON, || {
        let pending = lab.program.get("/api/v1/node/channels/pending")?;
        let items = pending["items"].as_array().map(Vec::len).unwrap_or_default();
        ensure!(items == 1 && pending["items"][0]["state"] == "opening", "pending are {pending}");
        Ok(())
    })?;
    lab.mine(6)?;
    lab.until_is("/api/v1/node/channels", "/items/0/active", &true.into())?;
    let channels = lab.program.get("/api/v1/node/channels")?;
    ensure!(channels["items"].as_array().map(Vec::len) == Some(1), "there are {channels}");
    ensure!(channels["items"][0]["point"] == point, "it is another channel: {channels}");
    Ok(())
}

/// What alice can send, millisatoshis.
fn local(lab: &Lab) -> Outcome<u64> {
    let balances = lab.program.get("/api/v1/node/balances")?;
    Ok(balances["local_msat"].as_str().unwrap_or_default().parse()?)
}

/// The same once nothing is on its way.
fn settled(lab: &Lab) -> Outcome<u64> {
    until(SOON, || {
        let (his, balances) = (lab.bobs_local()?, lab.program.get("/api/v1/node/balances")?);
        let remote: u64 = balances["remote_msat"].as_str().unwrap_or_default().parse()?;
        ensure!(his == remote, "bob has {his}, alice sees {remote}");
        local(lab)
    })
}

/// LND uses a channel a moment after it is active; until then a payment fails, and the reason that is told is this one and
/// not a lack of money.
fn until_payable(lab: &Lab) -> Outcome {
    let end = Instant::now() + SOON;
    for number in 1.. {
        let invoice = lab.bobs_invoice(Some(1_000))?;
        let answer = lab.program.pay(&format!("first-try-{number}"), &json!({ "to": invoice.request }))?;
        if answer.status == 200 {
            break;
        }
        let problem = problem(&answer, "nothing_done")?;
        let why = problem["detail"].as_str().unwrap_or_default();
        ensure!(why.contains("does not use it for payments yet"), "right after the open it says: {why}");
        ensure!(Instant::now() < end, "it is not used for {SOON:?}");
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

pub(super) fn pay(lab: &mut Lab) -> Outcome {
    until_payable(lab)?;
    let before = settled(lab)?;
    let invoice = lab.bobs_invoice(Some(12_345_678))?;
    let ticket = lab.program.preview(&json!({ "to": invoice.request }))?;
    ensure!(ticket["amount_msat"] == "12345678" && ticket["kind"] == "lightning", "the ticket is {ticket}");
    ensure!(ticket["receiver"] == lab.bob.key() && ticket["description"] == "a test", "the ticket is {ticket}");
    ensure!(ticket["payment_hash"] == invoice.hash, "the ticket is {ticket}");
    let path = "/api/v1/node/payments";
    // The wrong amount beside the ticket pays nothing.
    let wrong = json!({ "ticket": ticket["ticket"], "amount_msat": "12345679" });
    problem(&lab.program.send(path, "pay-a-wrong-1", &wrong)?, "invalid_value")?;
    let body = json!({ "ticket": ticket["ticket"], "amount_msat": "12345678" });
    let paid = lab.program.post(path, "pay-number-1", &body)?;
    ensure!(paid["state"] == "done" && paid["fee_msat"] == "0", "it ends with {paid}");
    ensure!(paid["preimage"].as_str().is_some_and(|proof| proof.len() == 64), "no proof: {paid}");
    let got = lab.runtime.block_on(lab.bob.client.invoice(invoice.hash.parse()?))?.paid;
    ensure!(got == MilliSat::new(12_345_678), "bob got {got}");
    until(SOON, || {
        let after = local(lab)?;
        ensure!(before.checked_sub(after) == Some(12_345_678), "alice had {before}, has {after}");
        Ok(())
    })?;
    lab.until_is(path, "/items/0/payment_hash", &invoice.hash.clone().into())?;
    let noted = lab.program.get("/api/v1/requests/pay-number-1")?;
    ensure!(noted["state"] == "done" && noted["payment_hash"] == invoice.hash, "noted is {noted}");
    let audit = lab.program.get("/api/v1/audit?limit=5")?.to_string();
    ensure!(audit.contains("key:everything@") && audit.contains(&invoice.hash), "the audit log says {audit}");
    Ok(())
}

pub(super) fn receive(lab: &mut Lab) -> Outcome {
    let before = local(lab)?;
    let body = json!({ "amount_msat": "1234001", "memo": "eggs & milk" });
    let invoice = lab.program.post("/api/v1/node/invoices", "", &body)?;
    let request = invoice["payment_request"].as_str().unwrap_or_default().to_owned();
    let to = PayTo::Invoice { request, amount: None };
    let pay = Pay { to, fee_limit: MilliSat::new(10_000), timeout: std::time::Duration::from_secs(30) };
    let progress = lab.runtime.block_on(async { Ok::<_, Fault>(lab.bob.client.pay(&pay).await?.end().await?) })?;
    ensure!(progress.payment.amount == MilliSat::new(1_234_001), "bob paid {}", progress.payment.amount);
    let path = format!("/api/v1/node/invoices/{}", invoice["payment_hash"].as_str().unwrap_or_default());
    lab.until_is(&path, "/state", &"settled".into())?;
    let seen = lab.program.get(&path)?;
    ensure!(seen["paid_msat"] == "1234001" && seen["memo"] == "eggs & milk", "the invoice is {seen}");
    until(SOON, || {
        let after = local(lab)?;
        ensure!(after.checked_sub(before) == Some(1_234_001), "alice had {before}, has {after}");
        Ok(())
    })
}

pub(super) fn refused(lab: &mut Lab) -> Outcome {
    let path = "/api/v1/node/payments/previews";
    for to in ["what is this", "lnbcrt1not-an-invoice-but-long-enough-to-look-like-one-xxxxxxxxxx"] {
        problem(&lab.program.send(path, "", &json!({ "to": to }))?, "invalid_value")?;
    }
    let keysend = json!({ "to": lab.bob.key() });
    problem(&lab.program.send(path, "", &keysend)?, "invalid_value")?;
    let before = local(lab)?;
    let invoice = lab.bobs_invoice(Some(5_000_000_000))?;
    problem(&lab.program.pay("too-much-1", &json!({ "to": invoice.request }))?, "nothing_done")?;
    // What failed stays failed under its name.
    let noted = lab.program.get("/api/v1/requests/too-much-1")?;
    ensure!(noted["state"] == "failed", "noted is {noted}");
    ensure!(local(lab)? == before, "it cost something");
    let peer = json!({ "peer": "02".repeat(33), "amount_sat": "100000" });
    problem(&lab.program.send("/api/v1/node/channels", "open-nobody-1", &peer)?, "nothing_done")?;
    let point = format!("/api/v1/node/channels/{}:0/close", "ab".repeat(32));
    problem(&lab.program.send(&point, "", &json!({}))?, "idempotency_key_missing")?;
    problem(&lab.program.send(&point, "close-nothing", &json!({}))?, "not_found")?;
    Ok(())
}

pub(super) fn paging(lab: &mut Lab) -> Outcome {
    // More than the twin keeps.
    let made: Vec<String> = (0..70)
        .map(|number| {
            let body = json!({ "amount_msat": "1000", "memo": format!("number {number}") });
            let invoice = lab.program.post("/api/v1/node/invoices", "", &body)?;
            Ok(invoice["payment_hash"].as_str().unwrap_or_default().to_owned())
        })
        .collect::<Outcome<_>>()?;
    let newest = made.last().cloned().unwrap_or_default();
    lab.until_is("/api/v1/node/invoices", "/items/0/payment_hash", &newest.into())?;
    for list in ["node/invoices", "node/payments", "node/transactions", "node/forwards", "audit"] {
        let mut seen: Vec<String> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = lab.program.get(&format!("/api/v1/{list}?limit=20{cursor}"))?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            ensure!(items.len() <= 20, "{} at once", items.len());
            seen.extend(items.iter().map(Value::to_string));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
            ensure!(seen.len() < 1000, "{list} has no end");
        }
        let mut different = seen.clone();
        different.sort();
        different.dedup();
        ensure!(
            different.len() == seen.len(),
            "{list}: {} of {} are twice there",
            seen.len() - different.len(),
            seen.len()
        );
        if list == "node/invoices" {
            let missing = made.iter().filter(|hash| !seen.iter().any(|item| item.contains(*hash))).count();
            ensure!(missing == 0, "{missing} invoices are on no page");
        }
    }
    Ok(())
}

pub(super) fn close(lab: &mut Lab) -> Outcome {
    let channels = lab.until_ok("/api/v1/node/channels")?;
    let point = channels["items"][0]["point"].as_str().unwrap_or_default().to_owned();
    let his = lab.bobs_local()? / 1000;
    let confirmed = |lab: &Lab| -> Outcome<u64> {
        let balances = lab.program.get("/api/v1/node/balances")?;
        Ok(balances["chain_confirmed_sat"].as_str().unwrap_or_default().parse()?)
    };
    let had = confirmed(lab)?;
    let path = format!("/api/v1/node/channels/{point}/close");
    let closing = lab.program.post(&path, "close-number-1", &json!({}))?;
    ensure!(closing["txid"].as_str().is_some_and(|txid| txid.len() == 64), "it answers {closing}");
    // Asked again it is the same close, and no other thing under its name.
    let again = lab.program.post(&path, "close-number-1", &json!({}))?;
    ensure!(again["txid"] == closing["txid"] && again["state"] == "done", "asked again it answers {again}");
    let forced = lab.program.send(&path, "close-number-1", &json!({ "force": true }))?;
    problem(&forced, "idempotency_key_reused")?;
    let call = lab.chain.call("getrawtransaction", json!([closing["txid"], true]));
    let closing = lab.runtime.block_on(call)?;
    let outputs = closing["vout"].as_array().cloned().unwrap_or_default();
    // Eight digits behind the point: exact in 53 bits.
    let mut values: Vec<u64> =
        outputs.iter().filter_map(|one| one["value"].as_f64()).map(|btc| (btc * 1e8).round() as u64).collect();
    let Some(bobs) = values.iter().position(|value| *value == his) else {
        return fails(format!("bob's {his} sat are not among the outputs: {values:?}"));
    };
    values.remove(bobs);
    let hers: u64 = values.iter().sum();
    // The channel's 1,000,000 satoshis are there again, but for the closing transaction's fee, the opener's to pay.
    let fee = 1_000_000_u64.saturating_sub(hers + his);
    ensure!((1..10_000).contains(&fee), "{hers} and {his} sat leave a fee of {fee}");
    lab.mine(6)?;
    lab.until_is("/api/v1/node/channels/pending", "/items", &json!([]))?;
    lab.until_is("/api/v1/node/channels", "/items", &json!([]))?;
    until(SOON, || {
        let more = confirmed(lab)?.saturating_sub(had);
        ensure!(more == hers, "of the {hers} sat of the closing transaction {more} came back");
        Ok(())
    })
}
