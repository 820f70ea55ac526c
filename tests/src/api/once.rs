//! Nothing is paid twice: not by many tries at once, not after a power cut; and no more than the key may.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::lab::{Lab, Program, SOON, problem};
use crate::{
    http::Answer,
    report::{Fault, Outcome, ensure, until},
};

const PATH: &str = "/api/v1/node/payments";
/// How many try at once.
const TRIES: usize = 12;

/// A ticket for a keysend: there is no invoice that LND would refuse a second time.
fn ticket(lab: &Lab, program: &Program, msat: u64) -> Outcome<Value> {
    let ticket = program.preview(&json!({ "to": lab.bob.key(), "amount_msat": msat.to_string() }))?;
    Ok(json!({ "ticket": ticket["ticket"], "amount_msat": ticket["amount_msat"] }))
}

/// All at the same moment.
pub(super) fn at_once(program: &Program, path: &'static str, tries: Vec<(String, Value)>) -> Outcome<Vec<Answer>> {
    let barrier = Arc::new(Barrier::new(tries.len()));
    let threads: Vec<_> = tries
        .into_iter()
        .map(|(once, body)| {
            let (program, barrier) = (program.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                program.send(path, &once, &body)
            })
        })
        .collect();
    threads.into_iter().map(|one| one.join().map_err(|_| Fault::Fails("a thread ended early".into()))?).collect()
}

/// That bob has exactly so much more, and that it stays so.
fn bob_has_more(lab: &Lab, before: u64, msat: u64) -> Outcome {
    until(SOON, || {
        let now = lab.bobs_local()?;
        ensure!(now.checked_sub(before) == Some(msat), "bob had {before}, has {now}, not {msat} more");
        Ok(())
    })?;
    thread::sleep(Duration::from_secs(2));
    let now = lab.bobs_local()?;
    ensure!(now.checked_sub(before) == Some(msat), "it was paid more than once: {before}, then {now}");
    Ok(())
}

pub(super) fn same_key(lab: &mut Lab) -> Outcome {
    let before = lab.bobs_local()?;
    let body = ticket(lab, &lab.program, 2_000_000)?;
    let tries = (0..TRIES).map(|_| ("same-key-1".to_owned(), body.clone())).collect();
    let answers = at_once(&lab.program, PATH, tries)?;
    for answer in &answers {
        ensure!(matches!(answer.status, 200 | 202), "one of them is answered by {}: {}", answer.status, answer.text());
    }
    bob_has_more(lab, before, 2_000_000)?;
    lab.until_is("/api/v1/requests/same-key-1", "/state", &"done".into())?;
    // The same name with another ticket is refused, and pays nothing.
    let other = ticket(lab, &lab.program, 2_000_000)?;
    problem(&lab.program.send(PATH, "same-key-1", &other)?, "idempotency_key_reused")?;
    bob_has_more(lab, before, 2_000_000)
}

pub(super) fn same_ticket(lab: &mut Lab) -> Outcome {
    let before = lab.bobs_local()?;
    let body = ticket(lab, &lab.program, 3_000_000)?;
    let tries = (0..TRIES).map(|number| (format!("same-ticket-{number}"), body.clone())).collect();
    let answers = at_once(&lab.program, PATH, tries)?;
    let good = answers.iter().filter(|answer| matches!(answer.status, 200 | 202)).count();
    ensure!(good == 1, "{good} of {TRIES} were answered as paid");
    for answer in answers.iter().filter(|answer| answer.status == 409) {
        let text = answer.text();
        ensure!(text.contains("ticket_used") || text.contains("nothing_done"), "one is answered by {text}");
    }
    bob_has_more(lab, before, 3_000_000)
}

pub(super) fn power_cut(lab: &mut Lab) -> Outcome {
    let before = lab.bobs_local()?;
    let body = ticket(lab, &lab.program, 4_000_000)?;
    // The program sends, and the power goes while it waits for the answer.
    let sending = thread::spawn({
        let (program, body) = (lab.program.clone(), body.clone());
        move || program.send(PATH, "power-cut-1", &body)
    });
    thread::sleep(Duration::from_millis(150));
    lab.manager.cut_and_restart()?;
    let _ = sending.join();
    until(SOON, || lab.program.get("/api/v1/node/balances").map(drop))?;
    for _ in 0..3 {
        let answer = lab.program.send(PATH, "power-cut-1", &body)?;
        // Whether it was paid before the cut is a matter of luck. What is told must be what happened.
        if answer.status == 404 {
            problem(&answer, "not_found")?;
            return bob_has_more(lab, before, 0);
        }
        let state = until(SOON, || {
            let noted = lab.program.get("/api/v1/requests/power-cut-1")?;
            ensure!(noted["state"] == "done" || noted["state"] == "failed", "it is {noted}");
            Ok(noted["state"].clone())
        })?;
        bob_has_more(lab, before, if state == "done" { 4_000_000 } else { 0 })?;
    }
    // And one that was done before the cut.
    let before = lab.bobs_local()?;
    let body = ticket(lab, &lab.program, 5_000_000)?;
    let paid = lab.program.post(PATH, "power-cut-2", &body)?;
    ensure!(paid["state"] == "done", "it ends with {paid}");
    lab.manager.cut_and_restart()?;
    let again = until(SOON, || lab.program.post(PATH, "power-cut-2", &body))?;
    ensure!(again["state"] == "done" && again["preimage"] == paid["preimage"], "after the cut it is {again}");
    bob_has_more(lab, before, 5_000_000)
}

pub(super) fn limits(lab: &mut Lab) -> Outcome {
    until(SOON, || lab.program.get("/api/v1/node/balances").map(drop))?;
    let shop = lab.key("shop", &["pay"], Some((1_500, 4_000)))?;
    let before = lab.bobs_local()?;
    let large = ticket(lab, &shop, 1_501_000)?;
    problem(&shop.send(PATH, "limits-large", &large)?, "payment_limit")?;
    // Fees count: 1,495 and the usual limit of 1 % and 10 sat are more than 1,500.
    let nearly = ticket(lab, &shop, 1_495_000)?;
    problem(&shop.send(PATH, "limits-nearly", &nearly)?, "payment_limit")?;
    // Twelve at once: 1,400 each, 4,000 a day.
    let tries = (0..TRIES)
        .map(|number| Ok((format!("limits-{number:04}"), ticket(lab, &shop, 1_400_000)?)))
        .collect::<Outcome<Vec<_>>>()?;
    let answers = at_once(&shop, PATH, tries)?;
    let paid = answers.iter().filter(|answer| matches!(answer.status, 200 | 202)).count();
    let over = answers.iter().filter(|answer| answer.text().contains("day_limit")).count();
    ensure!(paid == 2 && over == TRIES - 2, "{paid} were paid, {over} refused");
    bob_has_more(lab, before, 2_800_000)?;
    let about = shop.get("/api/v1/key")?;
    ensure!(about["spent_msat"] == "2800000", "the key says {about}");
    // A restart forgets nothing of it.
    lab.manager.cut_and_restart()?;
    until(SOON, || lab.program.get("/api/v1/node/balances").map(drop))?;
    let again = ticket(lab, &shop, 1_400_000)?;
    problem(&shop.send(PATH, "limits-again", &again)?, "day_limit")?;
    bob_has_more(lab, before, 2_800_000)
}
