//! The radio's part of the network page, with a root program that answers as the real one does.

use axum::http::StatusCode;
use netconf::{Country, Ending, Last, NotJoined, Plan, Report, Ssid, Try, Wifi};
use twin::{
    Update,
    net::{Radio, Reach, Security, Station},
};

use super::{
    tests::{root, tell},
    *,
};
use crate::http::tests::{Visit, visit};

const MAC: &str = "02:00:00:00:00:00";
const PASSWORD: &str = "correct horse 9";

async fn owned(stations: Option<Vec<Station>>) -> Visit {
    let mut visit = visit().await;
    visit.own().await;
    let radios = vec![Radio { name: "phy0".into(), driver: "iwlwifi".into(), ..Radio::default() }];
    tell(&visit, Update::Wifi(twin::net::Wifi { radios, stations })).await;
    visit
}

fn station() -> Vec<Station> {
    let reach =
        |ssid: &str, security| Reach { ssid: ssid.into(), signal: -55, security, connected: false, known: false };
    let networks = vec![
        reach("Attic", Security::Personal),
        reach("<b>\u{202e}x", Security::Personal),
        reach("Café", Security::Open),
    ];
    vec![Station { card: "wlan0".into(), mac: MAC.into(), powered: true, networks, ..Station::default() }]
}

#[tokio::test]
async fn a_box_without_a_radio_says_so_in_one_line() {
    let mut visit = visit().await;
    visit.own().await;
    let page = visit.get("/settings/network").await.text;
    assert!(page.contains("There is no radio") && !page.contains("/wifi/scan"), "{page}");
}

#[tokio::test]
async fn the_networks_in_reach_are_shown_and_what_comes_through_the_air_is_no_markup() {
    let mut visit = owned(Some(station())).await;
    let page = visit.get("/setup/network").await.text;
    for text in ["iwlwifi", "Attic", "-55 dBm", "use the cable", "everybody near could read", "&lt;b&gt;\\u{202e}x"] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
    let mut away = owned(None).await;
    assert!(away.get("/settings/network").await.text.contains("does not answer"));
}

#[tokio::test]
async fn root_is_asked_with_the_password_and_nobody_else_hears_of_it() {
    let mut visit = owned(Some(station())).await;
    let root = tokio::spawn(root(visit.folder.path().to_owned(), "network-try", true));
    let form = format!("card={MAC}&ssid=Attic&typed=&passphrase=correct+horse+9");
    let answer = visit.post("/settings/network/wifi", &form).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(answer.text.contains("joins Attic") && !answer.text.contains(PASSWORD), "{}", answer.text);
    let asked: Try = serde_json::from_str(&root.await.unwrap()).unwrap();
    assert_eq!(asked.plan.wifi, Some(Wifi { ssid: Ssid::new("Attic").unwrap(), hidden: false }));
    assert_eq!(asked.passphrase.map(String::from).as_deref(), Some(PASSWORD));
    let audit = visit.house.store.audit_log(None, 20).await.unwrap();
    let line = audit.iter().find(|line| line.action == "network-tried").unwrap();
    assert!(line.detail.contains("joins Attic") && !line.detail.contains(PASSWORD), "{line:?}");
}

#[tokio::test]
async fn a_form_with_a_fault_keeps_the_name_and_never_the_password() {
    let mut visit = owned(Some(station())).await;
    let form = format!("card={MAC}&ssid=&typed=Cellar&passphrase=short");
    let answer = visit.post("/settings/network/wifi", &form).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("value=\"Cellar\"") && answer.text.contains("8 to 63 characters"), "{}", answer.text);
    assert!(!answer.text.contains("value=\"short\""));
    assert_eq!(std::fs::read_dir(visit.folder.path().join("manager/request")).unwrap().count(), 0);
}

#[tokio::test]
async fn why_a_radio_did_not_join_is_said() {
    let mut visit = owned(Some(station())).await;
    let wifi = Some(Wifi { ssid: Ssid::new("Attic").unwrap(), hidden: false });
    let plan = Plan { wifi, ..Plan::automatic(MAC.parse().unwrap()) };
    for why in
        [NotJoined::Passphrase, NotJoined::NotInReach, NotJoined::NoAddress, NotJoined::Country, NotJoined::Rules]
    {
        let last = Last { plan: plan.clone(), ending: Ending::Failed, at: uptime(), why: Some(why) };
        tell(&visit, Update::Netconf(Report { last: Some(last), ..Report::default() })).await;
        let page = visit.get("/settings/network").await.text;
        let text = t!(format!("wifi.why.{}", why.key()), name = "Attic").into_owned();
        assert!(!text.contains("wifi.why") && page.contains(&text), "{text} is not in\n{page}");
    }
}

#[tokio::test]
async fn the_country_is_chosen_from_a_list_and_tried_alone() {
    let mut visit = owned(Some(station())).await;
    let page = visit.get("/settings/network").await.text;
    assert!(
        page.contains("only what is allowed everywhere") && page.contains("<option value=\"DE\">DE Deutschland"),
        "{page}"
    );
    let root = tokio::spawn(root(visit.folder.path().to_owned(), "network-try", true));
    let answer =
        visit.post("/settings/network/wifi", &format!("card={MAC}&ssid=&typed=&country=DE&what=country")).await;
    assert!(answer.text.contains("the rules of DE (Deutschland)"), "{}", answer.text);
    let asked: Try = serde_json::from_str(&root.await.unwrap()).unwrap();
    assert!(asked.country == Country::new("DE").ok() && asked.passphrase.is_none() && asked.plan.is_automatic());
    let audit = visit.house.store.audit_log(None, 20).await.unwrap();
    assert!(audit.iter().any(|line| line.action == "network-tried" && line.detail.contains("the rules of DE")));
    tell(&visit, Update::Netconf(Report { country: asked.country, ..Report::default() })).await;
    let page = visit.get("/settings/network").await.text;
    assert!(page.contains("<option value=\"DE\" selected>") && !page.contains("allowed everywhere"), "{page}");
}

#[tokio::test]
async fn a_country_that_is_none_is_named_and_the_form_stays() {
    let mut visit = owned(Some(station())).await;
    let answer = visit.post("/settings/network/wifi", &format!("card={MAC}&ssid=Attic&country=XX&what=country")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("XX is no country whose rules"), "{}", answer.text);
}
