//! The radios as a program meets them, with a root program that answers as the real one does.

use axum::http::{Method, StatusCode};
use netconf::{Country, Plan, Report, Ssid, Try, Wifi};
use serde_json::Value;
use twin::{
    Update,
    net::{Blocked, Radio, Reach, Security, Station},
};

use super::{
    keys::Scope,
    tests::{call, code, key},
};
use crate::{
    http::tests::{Visit, visit},
    pages::network::tests::{root, tell},
};

const MAC: &str = "02:00:00:00:00:00";
const PASSWORD: &str = "correct horse 9";

async fn with_radio() -> Visit {
    let visit = visit().await;
    let radios = vec![Radio { name: "phy0".into(), driver: "iwlwifi".into(), blocked: Blocked::No }];
    let reach =
        |ssid: &str, security| Reach { ssid: ssid.into(), signal: -55, security, connected: false, known: false };
    let networks = vec![reach("Attic", Security::Personal), reach("Café", Security::Open)];
    let station = Station { card: "wlan0".into(), mac: MAC.into(), powered: true, networks, ..Station::default() };
    tell(&visit, Update::Wifi(twin::net::Wifi { radios, stations: Some(vec![station]) })).await;
    visit
}

/// Posts to a path below `network/wifi` with a root program that says yes; gives the answer and what root was asked.
async fn tried(visit: &Visit, path: &str, body: &str) -> (Value, Try) {
    let token = key(visit, &[Scope::Settings]).await;
    let root = tokio::spawn(root(visit.folder.path().to_owned(), "network-try", true));
    let answer = call(visit, Method::POST, &format!("/api/v1/network/wifi/{path}"), Some(&token), body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert!(!answer.text.contains(PASSWORD));
    (serde_json::from_str(&answer.text).unwrap(), serde_json::from_str(&root.await.unwrap()).unwrap())
}

#[tokio::test]
async fn radios_networks_in_reach_and_what_is_kept_are_told() {
    let visit = with_radio().await;
    let wifi = Some(Wifi { ssid: Ssid::new("Attic").unwrap(), hidden: true });
    let plans = vec![Plan { wifi, ..Plan::automatic(MAC.parse().unwrap()) }];
    let country = Country::new("DE").ok();
    tell(&visit, Update::Netconf(Report { plans, country, ..Report::default() })).await;
    let token = key(&visit, &[Scope::Read]).await;
    let answer = call(&visit, Method::GET, "/api/v1/network/wifi", Some(&token), "").await;
    let told: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!((&told["country"], &told["radios"][0]["driver"]), (&"DE".into(), &"iwlwifi".into()));
    let station = &told["stations"][0];
    assert_eq!(station["joins"], serde_json::json!({ "ssid": "Attic", "hidden": true }));
    assert_eq!(
        (&station["networks"][0]["signal_dbm"], &station["networks"][0]["unfit"]),
        (&(-55).into(), &Value::Null)
    );
    assert_eq!(station["networks"][1]["security"], "open");
    assert!(station["networks"][1]["unfit"].as_str().unwrap().contains("could read"), "{told}");
}

#[tokio::test]
async fn a_box_whose_wifi_service_is_away_says_null_and_not_that_nothing_is_in_reach() {
    let visit = visit().await;
    let token = key(&visit, &[Scope::Read]).await;
    let answer = call(&visit, Method::GET, "/api/v1/network/wifi", Some(&token), "").await;
    assert_eq!(answer.text, r#"{"radios":[],"country":null,"stations":null}"#);
}

#[tokio::test]
async fn a_network_is_tried_and_the_code_that_keeps_it_is_told() {
    let visit = with_radio().await;
    let body = format!(r#"{{"mac":"{MAC}","ssid":"Attic","passphrase":"{PASSWORD}","country":"DE"}}"#);
    let (told, asked) = tried(&visit, "join", &body).await;
    assert_eq!((told["code"].as_str().unwrap().replace('-', ""), &told["seconds"]), (asked.code, &60.into()));
    assert_eq!(asked.plan.wifi, Some(Wifi { ssid: Ssid::new("Attic").unwrap(), hidden: false }));
    assert_eq!(asked.passphrase.map(String::from).as_deref(), Some(PASSWORD));
    assert_eq!(asked.country, Country::new("DE").ok());
    let audit = visit.house.store.audit_log(None, 20).await.unwrap();
    let line = audit.iter().find(|line| line.action == "network-tried").unwrap();
    assert!(line.actor.starts_with("key:") && !line.detail.contains(PASSWORD), "{line:?}");
}

#[tokio::test]
async fn a_network_that_hides_is_asked_for_by_its_name() {
    let visit = with_radio().await;
    let body = format!(r#"{{"mac":"{MAC}","ssid":"Cellar","passphrase":"{PASSWORD}"}}"#);
    let (_, asked) = tried(&visit, "join", &body).await;
    assert_eq!(asked.plan.wifi, Some(Wifi { ssid: Ssid::new("Cellar").unwrap(), hidden: true }));
}

#[tokio::test]
async fn a_network_is_forgotten_and_a_country_tried_alone() {
    let visit = with_radio().await;
    let (_, asked) = tried(&visit, "forget", &format!(r#"{{"mac":"{MAC}"}}"#)).await;
    assert!(asked.plan.is_automatic() && asked.passphrase.is_none() && asked.country.is_none());
    let (_, asked) = tried(&visit, "country", &format!(r#"{{"mac":"{MAC}","country":"BR"}}"#)).await;
    assert!(asked.plan.is_automatic() && asked.country == Country::new("BR").ok());
}

#[tokio::test]
async fn what_cannot_be_joined_is_a_problem_that_does_not_repeat_the_password() {
    let visit = with_radio().await;
    let token = key(&visit, &[Scope::Settings]).await;
    for (path, body) in [
        ("join", format!(r#"{{"mac":"{MAC}","ssid":"Attic","passphrase":"short"}}"#)),
        ("join", format!(r#"{{"mac":"{MAC}","ssid":"Café","passphrase":"{PASSWORD}"}}"#)),
        ("join", format!(r#"{{"mac":"{MAC}","ssid":"","passphrase":"{PASSWORD}"}}"#)),
        ("join", format!(r#"{{"mac":"{MAC}","ssid":"Attic","passphrase":"{PASSWORD}","country":"XX"}}"#)),
        ("join", format!(r#"{{"mac":"02:00:00:00:00:09","ssid":"Attic","passphrase":"{PASSWORD}"}}"#)),
        ("join", format!(r#"{{"mac":"{MAC}","ssid":"Attic","passphrase":"{PASSWORD}","hiden":true}}"#)),
        ("country", format!(r#"{{"mac":"{MAC}","country":"Germany"}}"#)),
        ("country", format!(r#"{{"mac":"{MAC}","country":""}}"#)),
        ("forget", r#"{"mac":"x"}"#.to_owned()),
    ] {
        let answer = call(&visit, Method::POST, &format!("/api/v1/network/wifi/{path}"), Some(&token), &body).await;
        assert_eq!(code(&answer), "invalid_value", "{path} {body}: {}", answer.text);
        assert!(!answer.text.contains(PASSWORD) && !answer.text.contains("short"), "{}", answer.text);
    }
    assert_eq!(std::fs::read_dir(visit.folder.path().join("manager/request")).unwrap().count(), 0);
}

#[tokio::test]
async fn one_change_is_tried_at_a_time() {
    let visit = with_radio().await;
    let plan = Plan::automatic(MAC.parse().unwrap());
    let trial = Some(netconf::Trial { plan, until: u64::MAX, country: None });
    tell(&visit, Update::Netconf(Report { trial, ..Report::default() })).await;
    let token = key(&visit, &[Scope::Settings]).await;
    let body = format!(r#"{{"mac":"{MAC}"}}"#);
    let answer = call(&visit, Method::POST, "/api/v1/network/wifi/forget", Some(&token), &body).await;
    assert_eq!((answer.status, code(&answer).as_str()), (StatusCode::CONFLICT, "refused"));
}
