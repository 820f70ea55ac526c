//! Trials of a plan for a radio.

use std::{fs, os::unix::fs::PermissionsExt, thread, time::Duration};

use netconf::{Country, Ending, NotJoined, Passphrase, Plan, Ssid, Try, Wifi};

use super::{Places, begin, confirm, confirmed, hold, lay, settle, store::report};

const CODE: &str = "ABCDEFGH";
const SECRET: &str = "correct horse";

fn places() -> (tempfile::TempDir, Places) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["run", "data"] {
        fs::create_dir(path(name)).unwrap();
    }
    let places = Places {
        run: path("run"),
        plans: path("data/network"),
        networkd: path("networkd"),
        wifi: path("data/wifi"),
        iwd: path("iwd"),
    };
    (folder, places)
}

fn plan(ssid: Option<&str>) -> Plan {
    let wifi = ssid.map(|ssid| Wifi { ssid: Ssid::new(ssid).unwrap(), hidden: false });
    Plan { wifi, ..Plan::automatic("02:00:00:00:00:00".parse().unwrap()) }
}

fn ask(places: &Places, ssid: Option<&str>, secret: Option<&str>) -> Result<String, crate::error::Error> {
    let passphrase = secret.map(|secret| Passphrase::new(secret).unwrap());
    begin_with(places, Try { code: CODE.into(), plan: plan(ssid), passphrase, country: None })
}

fn begin_with(places: &Places, asked: Try) -> Result<String, crate::error::Error> {
    begin(places, &serde_json::to_string(&asked).unwrap(), || Ok(()))
}

/// A change of the country alone.
fn ask_for(places: &Places, ssid: Option<&str>, country: &str) {
    let country = Some(Country::new(country).unwrap());
    begin_with(places, Try { code: CODE.into(), plan: plan(ssid), passphrase: None, country }).unwrap();
}

/// Tries and confirms, with a radio that joins at once.
fn keep(places: &Places, ssid: Option<&str>, secret: Option<&str>) {
    ask(places, ssid, secret).unwrap();
    confirmed_at_once(places);
}

fn confirmed_at_once(places: &Places) {
    thread::scope(|scope| {
        let trial = scope.spawn(|| hold(places, || Ok(()), |_, _| Ok(())));
        while confirm(places, CODE).is_err() {
            thread::sleep(Duration::from_millis(100));
        }
        trial.join().unwrap().unwrap();
    });
    settle(places, || Ok(()), |_, _| panic!("what is kept is not left")).unwrap();
}

/// The names of the passwords in a folder.
fn known(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_radio_that_does_not_join_ends_the_trial_at_once_and_nothing_is_kept() {
    let (_folder, places) = places();
    ask(&places, Some("Home"), Some(SECRET)).unwrap();
    let join = |tried: &Plan, _| {
        assert_eq!(*tried, plan(Some("Home")));
        assert_eq!(known(&places.iwd), ["Home.psk"], "iwd knows it before it is asked to join");
        assert!(confirm(&places, CODE).is_err(), "nothing to confirm before it has joined");
        Err(NotJoined::Passphrase)
    };
    hold(&places, || Ok(()), join).unwrap();
    settle(&places, || Ok(()), |_, _| ()).unwrap();
    let last = report(&places).last.unwrap();
    assert_eq!((last.ending, last.why), (Ending::Failed, Some(NotJoined::Passphrase)));
    assert!(known(&places.iwd).is_empty() && !places.wifi.exists() && confirmed(&places).is_empty());
}

#[test]
fn a_radio_that_does_not_join_goes_back_to_the_network_before() {
    let (_folder, places) = places();
    keep(&places, Some("Home"), Some(SECRET));
    ask(&places, Some("Attic"), Some(SECRET)).unwrap();
    hold(&places, || Ok(()), |_, _| Err(NotJoined::NotInReach)).unwrap();
    let asked = std::cell::RefCell::new(Vec::new());
    settle(&places, || Ok(()), |plan, _| asked.borrow_mut().push(plan.clone())).unwrap();
    assert_eq!(*asked.borrow(), [plan(Some("Home"))]);
    assert_eq!((known(&places.iwd), known(&places.wifi)), (vec!["Home.psk".to_owned()], vec!["Home.psk".to_owned()]));
}

#[test]
fn a_confirmed_network_is_on_the_disk_for_root_alone_and_known_at_the_next_start() {
    let (_folder, places) = places();
    keep(&places, Some("Home"), Some(SECRET));
    let file = places.wifi.join("Home.psk");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let told = fs::read_to_string(places.run.join("network.json")).unwrap();
    let kept = fs::read_to_string(places.plans.join("020000000000.json")).unwrap();
    assert!(told.contains("Home") && !told.contains(SECRET) && !kept.contains(SECRET));
    // A start anew: /run is empty.
    fs::remove_dir_all(&places.iwd).unwrap();
    lay(&places).unwrap();
    let file = places.iwd.join("Home.psk");
    assert!(fs::read_to_string(&file).unwrap().contains("Passphrase=correct\\shorse"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_network_that_is_left_is_forgotten_with_its_password() {
    let (_folder, places) = places();
    keep(&places, Some("Home"), Some(SECRET));
    keep(&places, Some("Attic"), Some(SECRET));
    assert_eq!(known(&places.wifi), ["Attic.psk"]);
    keep(&places, None, None);
    assert!(known(&places.wifi).is_empty() && known(&places.iwd).is_empty() && confirmed(&places).is_empty());
}

#[test]
fn a_network_without_a_password_is_not_tried() {
    let (_folder, places) = places();
    assert!(ask(&places, Some("Home"), None).is_err(), "nobody has given it");
    assert!(ask(&places, None, Some(SECRET)).is_err(), "for no network");
    keep(&places, Some("Home"), Some(SECRET));
    ask(&places, Some("Home"), None).unwrap();
}

#[test]
fn a_country_is_tried_kept_and_told_to_iwd_at_the_next_start() {
    let (_folder, places) = places();
    ask_for(&places, None, "DE");
    assert_eq!(report(&places).trial.unwrap().country, Country::new("DE").ok());
    confirmed_at_once(&places);
    assert_eq!((report(&places).country, report(&places).plans), (Country::new("DE").ok(), vec![]));
    fs::remove_dir_all(&places.iwd).unwrap();
    lay(&places).unwrap();
    assert!(fs::read_to_string(places.iwd.join("main.conf")).unwrap().contains("\nCountry=DE\n"));
    assert_eq!(report(&places).country, Country::new("DE").ok());
    // A network that is joined and forgotten leaves the country alone.
    keep(&places, Some("Home"), Some(SECRET));
    keep(&places, None, None);
    assert_eq!(report(&places).country, Country::new("DE").ok());
}

#[test]
fn a_country_that_is_not_confirmed_is_taken_back_to_the_one_before_or_to_none() {
    let (_folder, places) = places();
    for before in [Country::WORLD, Country::new("DE").unwrap()] {
        ask_for(&places, None, "US");
        hold(&places, || Ok(()), |_, _| Err(NotJoined::Country)).unwrap();
        let asked = std::cell::RefCell::new(Vec::new());
        settle(&places, || Ok(()), |_, country| asked.borrow_mut().push(country)).unwrap();
        assert_eq!(*asked.borrow(), [Some(before)]);
        assert_eq!(report(&places).last.unwrap().why, Some(NotJoined::Country));
        ask_for(&places, None, "DE");
        confirmed_at_once(&places);
    }
}

#[test]
fn a_known_network_out_of_reach_by_another_country_s_rules_is_told_as_such() {
    let (_folder, places) = places();
    keep(&places, Some("Home"), Some(SECRET));
    ask_for(&places, Some("Home"), "US");
    let tried = |_: &Plan, country| {
        assert_eq!(country, Country::new("US").ok());
        Err(NotJoined::NotInReach)
    };
    hold(&places, || Ok(()), tried).unwrap();
    settle(&places, || Ok(()), |_, _| ()).unwrap();
    assert_eq!(report(&places).last.unwrap().why, Some(NotJoined::Rules));
    assert_eq!(known(&places.wifi), ["Home.psk"], "the password is still known");
}
