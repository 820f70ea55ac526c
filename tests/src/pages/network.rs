//! The network's pages in a browser. The root program's own code tries, keeps and takes back; only systemd-networkd and
//! the unit that holds the trial are not there: a thread stands for the unit, and nothing is set up anew.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use homebolt_boot::network::{self, Places};
use serde_json::json;

use crate::{
    browser::{Browser, Driver},
    gallery::Gallery,
    manager::{Manager, sound},
    report::{Outcome, Report, ensure, fails, until},
    visitor::PASSWORD,
};

use super::Start;

pub(super) fn run(report: &mut Report, driver: &Driver, start: Start, gallery: &mut Gallery) {
    report.test("a change of the network is refused, tried, kept by its code from elsewhere, and taken back", || {
        let (manager, browser, elsewhere) = (start(&sound())?, driver.open(true)?, driver.open(true)?);
        let plain = driver.open(false)?;
        let _root = FakeRoot::start(manager.folder());
        sign_in(&manager, &browser)?;
        tour(&manager, &browser, (&elsewhere, &plain), gallery)
    });
}

fn sign_in(manager: &Manager, browser: &Browser) -> Outcome {
    browser.open(&manager.tls().origin())?;
    browser.wait_for("/claim")?;
    browser.fill("#code", &manager.code()?)?;
    browser.click("main button")?;
    browser.wait_for("/password")?;
    browser.fill("#password", PASSWORD)?;
    browser.fill("#again", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for(crate::visitor::FIRST_STEP)
}

/// `elsewhere` has no session, `plain` has no scripts besides: as at a new address on a phone.
fn tour(
    manager: &Manager,
    browser: &Browser,
    (elsewhere, plain): (&Browser, &Browser),
    gallery: &mut Gallery,
) -> Outcome {
    let origin = manager.tls().origin();
    browser.open(&format!("{origin}/setup/network"))?;
    browser.wait_for("/setup/network")?;
    gallery.look(browser, "setup-network")?;
    let card = browser.evaluate("(document.querySelector('input[name=card]') || {}).value || ''")?;
    let Some(card) = card.as_str().map(|card| card.replace(':', "")).filter(|card| !card.is_empty()) else {
        return fails("this computer has no network card that could be shown");
    };
    // The broadcast address of a net that no computer of a test is in.
    try_address(browser, &card, "198.51.100.255")?;
    browser.wait_for_text(&format!("#complaint-{card}"), "broadcast")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "network-refused")?;
    let typed = browser.evaluate(&format!("document.querySelector('#v4_address-{card}').value"))?;
    ensure!(typed == "198.51.100.255", "what was typed is gone: {typed}");

    // A change lasts a minute, and pages are looked at for long on a busy computer: a change for each picture or two.
    let confirm = format!("{origin}/network/confirm");
    attempt(browser, &card, "198.51.100.40")?;
    gallery.look(browser, "network-trial")?;
    withdraw(browser, &origin)?;
    attempt(browser, &card, "198.51.100.40")?;
    live(elsewhere, &confirm)?;
    gallery.look(elsewhere, "network-confirm")?;
    withdraw(browser, &origin)?;
    attempt(browser, &card, "198.51.100.40")?;
    live(elsewhere, &confirm)?;
    elsewhere.fill("#code", "WRNG-WRNG")?;
    elsewhere.click("main button")?;
    elsewhere.wait_for_text("#code-complaint", "Tries left: 4")?;
    gallery.ignore(elsewhere)?;
    gallery.look(elsewhere, "network-confirm-wrong")?;
    withdraw(browser, &origin)?;
    let kept = places(manager.folder()).plans.join(format!("{card}.json"));
    ensure!(!kept.exists(), "root has kept what was withdrawn");

    attempt(browser, &card, "198.51.100.50")?;
    let code = browser.text("#network-code")?;
    ensure!(code.len() == 9, "the code is {code:?}");
    // It is refused until the change is live, some seconds after the page that names the code.
    until(Duration::from_secs(60), || {
        live(plain, &confirm)?;
        plain.fill("#code", &code)?;
        plain.click("main button")?;
        until(Duration::from_secs(15), || {
            let seen = plain.text("main")?;
            ensure!(seen.contains("The settings are kept"), "the page says {seen:?}");
            Ok(())
        })
    })?;
    until(Duration::from_secs(20), || {
        elsewhere.open(&confirm)?;
        let seen = elsewhere.text("h1")?;
        ensure!(seen.contains("There is nothing to confirm"), "the page says {seen:?}");
        Ok(())
    })?;
    gallery.look(elsewhere, "network-nothing")?;
    let plan = fs::read_to_string(&kept)?;
    ensure!(plan.contains("198.51.100.50"), "root has kept {plan}");

    until(Duration::from_secs(20), || {
        browser.open(&format!("{origin}/settings/network"))?;
        let seen = browser.text("main")?;
        ensure!(seen.contains("was confirmed and is kept"), "the page says {seen:?}");
        Ok(())
    })?;
    gallery.look(browser, "settings-network")?;
    attempt(browser, &card, "198.51.100.60")?;
    withdraw(browser, &origin)?;
    let plan = fs::read_to_string(&kept)?;
    ensure!(plan.contains("198.51.100.50"), "what was kept is {plan}");
    browser.open(&format!("{origin}/settings"))?;
    browser.wait_for_text("main", "Look at the network")
}

/// Has a change tried, from the page of the network on which `browser` is.
fn attempt(browser: &Browser, card: &str, address: &str) -> Outcome {
    try_address(browser, card, address)?;
    browser.wait_for_text("main", &format!("https://{address}/network/confirm"))
}

/// Waits until the change can be confirmed.
fn live(browser: &Browser, confirm: &str) -> Outcome {
    until(Duration::from_secs(20), || {
        browser.open(confirm)?;
        let seen = browser.text("h1")?;
        ensure!(seen.contains("Keep the network settings?"), "the page says {seen:?}");
        Ok(())
    })
}

/// Takes the change back; `browser` is on the page of the network afterwards.
fn withdraw(browser: &Browser, origin: &str) -> Outcome {
    browser.submit("form[action='/network/withdraw'] button")?;
    until(Duration::from_secs(20), || {
        browser.open(&format!("{origin}/settings/network"))?;
        let seen = browser.text("main")?;
        ensure!(seen.contains("was taken back, as you asked"), "the page says {seen:?}");
        Ok(())
    })
}

fn try_address(browser: &Browser, card: &str, address: &str) -> Outcome {
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")?;
    browser.click(&format!("#v4-static-{card}"))?;
    browser.fill(&format!("#v4_address-{card}"), address)?;
    browser.fill(&format!("#v4_prefix-{card}"), "255.255.255.0")?;
    browser.fill(&format!("#v4_gateway-{card}"), "198.51.100.1")?;
    browser.fill(&format!("#dns-{card}"), "198.51.100.1")?;
    browser.click("form[action$='/network/try'] button")
}

fn places(folder: &Path) -> Places {
    let root = |name: &str| folder.join("root").join(name);
    let run = folder.join("run");
    Places { run, plans: root("network"), networkd: root("networkd"), wifi: root("wifi"), iwd: root("iwd") }
}

/// Does what the manager asks of the network, for as long as this value lives.
struct FakeRoot {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FakeRoot {
    /// `folder`: the manager's, with `run` in it.
    fn start(folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (places, stop) = (places(folder), stop.clone());
            move || {
                let mut number = 0_u64;
                while !stop.load(Ordering::Acquire) {
                    look(&places, &mut number);
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for FakeRoot {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(places: &Places, number: &mut u64) {
    for name in ["network-try", "network-confirm", "network-withdraw"] {
        let path = places.run.join("manager/request").join(name);
        let Ok(content) = fs::read_to_string(&path) else { continue };
        let _ = fs::remove_file(&path);
        let done = match name {
            "network-try" => network::begin(places, &content, || {
                let places = places.clone();
                // As systemd: the trial, and what follows it however it ends.
                thread::spawn(move || {
                    let _ = network::hold(&places, || Ok(()), |_, _| Ok(()));
                    let _ = network::settle(&places, || Ok(()), |_, _| ());
                });
                Ok(())
            }),
            "network-confirm" => network::confirm(places, &content),
            _ => network::withdraw(places),
        };
        let (ok, message) = match done {
            Ok(message) => (true, message),
            Err(error) => (false, error.to_string()),
        };
        *number += 1;
        let answer = json!({ "name": name, "ok": ok, "message": message, "at": 0, "done": true, "number": *number });
        let new = places.run.join(".result.new");
        let _ =
            fs::write(&new, answer.to_string()).and_then(|()| fs::rename(&new, places.run.join("request-result.json")));
    }
}
