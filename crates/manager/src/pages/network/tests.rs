//! The pages of a trial, with a root program that answers as the real one does.

use std::time::Duration;

use axum::http::StatusCode;
use netconf::{Report, Trial, Try};
use twin::{
    Update,
    net::{Assigned, Link},
};

use super::*;
use crate::http::tests::{Visit, visit};

const MAC: &str = "52:54:00:68:62:01";
const FORM: &str = "card=52:54:00:68:62:01&v4=static&v4_address=192.168.1.50&v4_prefix=24&v4_gateway=192.168.1.1&v6=off&dns=192.168.1.1";

async fn owned() -> Visit {
    let mut visit = visit().await;
    visit.own().await;
    let link = Link {
        name: "enp1s0".into(),
        mac: MAC.into(),
        carrier: true,
        addresses: vec![Assigned { address: [192, 168, 1, 5].into(), prefix: 24, from: Origin::Dhcp }],
        gateways: vec![[192, 168, 1, 1].into()],
        ..Link::default()
    };
    tell(&visit, Update::Links(vec![link])).await;
    visit
}

pub(crate) async fn tell(visit: &Visit, update: Update) {
    let mut changes = visit.house.shared.twin.changes();
    visit.twin.send(update).await.unwrap();
    changes.recv().await.unwrap();
}

/// Waits for a request of that name, answers it, and gives what stood in it.
pub(crate) async fn root(run: std::path::PathBuf, name: &'static str, ok: bool) -> String {
    let path = run.join("manager/request").join(name);
    loop {
        if let Ok(content) = std::fs::read_to_string(&path) {
            std::fs::remove_file(&path).unwrap();
            let number = uptime() + content.len() as u64;
            let text = format!(
                r#"{{"name":"{name}","ok":{ok},"message":"root says so","at":1,"done":true,"number":{number}}}"#
            );
            std::fs::write(run.join("request-result.json"), text).unwrap();
            return content;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Begins a trial through the page; gives the code as it shows it and what root was asked.
async fn begun(visit: &mut Visit) -> (String, Try) {
    let root = tokio::spawn(root(visit.folder.path().to_owned(), "network-try", true));
    let answer = visit.post("/setup/network/try", FORM).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let asked: Try = serde_json::from_str(&root.await.unwrap()).unwrap();
    let code = answer.text.split("id=\"network-code\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(answer.text.contains("https://192.168.1.50/network/confirm"), "{}", answer.text);
    let trial = Some(Trial { plan: asked.plan.clone(), until: uptime() + 60, country: None });
    tell(visit, Update::Netconf(Report { trial, ..Report::default() })).await;
    (code, asked)
}

#[tokio::test]
async fn the_code_of_the_page_keeps_the_change_at_the_new_address_where_nobody_is_signed_in() {
    let mut visit = owned().await;
    let (code, asked) = begun(&mut visit).await;
    assert_eq!(code.replace('-', ""), asked.code);
    visit.cookie = None;
    let page = visit.get("/network/confirm").await;
    assert!(page.text.contains("Keep the network settings?") && !page.text.contains(&code), "{}", page.text);
    let wrong = visit.post("/network/confirm", "code=WRONG").await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    assert!(wrong.text.contains("Tries left: 4"), "{}", wrong.text);
    let root = tokio::spawn(root(visit.folder.path().to_owned(), "network-confirm", true));
    let kept = visit.post("/network/confirm", &format!("code={}", code.to_lowercase())).await;
    assert!(kept.text.contains("The settings are kept"), "{}", kept.text);
    assert_eq!(root.await.unwrap(), asked.code, "root is told the code it knows");
    assert!(visit.house.store.audit_log(None, 20).await.unwrap().iter().any(|line| line.action == "network-confirmed"));
}

#[tokio::test]
async fn five_wrong_codes_end_the_guessing_before_root_hears_of_it() {
    let mut visit = owned().await;
    let (code, _) = begun(&mut visit).await;
    let cookie = visit.cookie.take();
    for _ in 0..4 {
        visit.post("/network/confirm", "code=WRONG").await;
    }
    assert!(visit.post("/network/confirm", "code=WRONG").await.text.contains("Too many wrong codes"));
    let right = visit.post("/network/confirm", &format!("code={code}")).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS, "{}", right.text);
    assert_eq!(std::fs::read_dir(visit.folder.path().join("manager/request")).unwrap().count(), 0);
    // Who is signed in has it in the form, and is not kept out by others' guesses.
    visit.cookie = cookie;
    assert!(visit.get("/network/confirm").await.text.contains(&code));
    let root = tokio::spawn(root(visit.folder.path().to_owned(), "network-confirm", true));
    let kept = visit.post("/network/confirm", &format!("code={code}")).await;
    assert!(kept.text.contains("The settings are kept"), "{}", kept.text);
    root.await.unwrap();
}

#[tokio::test]
async fn a_form_with_a_fault_keeps_what_was_typed_and_asks_root_nothing() {
    let mut visit = owned().await;
    let form = FORM.replace("192.168.1.50", "192.168.1.255");
    let answer = visit.post("/settings/network/try", &form).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("broadcast address") && answer.text.contains("value=\"192.168.1.255\""));
    assert_eq!(std::fs::read_dir(visit.folder.path().join("manager/request")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_root_refuses_is_said_and_nothing_is_confirmed_without_a_trial() {
    let mut visit = owned().await;
    let root = tokio::spawn(root(visit.folder.path().to_owned(), "network-try", false));
    let answer = visit.post("/settings/network/try", FORM).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("Root says so."), "{}", answer.text);
    root.await.unwrap();
    let confirm = visit.post("/network/confirm", "code=ABCD-EFGH").await;
    assert_eq!(confirm.status, StatusCode::CONFLICT);
    assert!(confirm.text.contains("There is nothing to confirm"));
}

#[tokio::test]
async fn the_wizard_goes_on_from_the_network_and_remembers_it() {
    let mut visit = owned().await;
    assert!(visit.get("/setup/network").await.text.contains("192.168.1.5"));
    assert!(!visit.house.setup.is_done(Step::Network));
    // To the first step that is not done.
    assert_eq!(visit.post("/setup/network", "").await.location(), Step::Place.path());
    assert!(visit.house.setup.is_done(Step::Network));
}
