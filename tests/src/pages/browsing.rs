//! The pages in a real browser: looked at, with keys only, without scripts, and changing by themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    axe::Axe,
    browser::{Browser, Driver},
    gallery::Gallery,
    manager::{Manager, slots, sound},
    report::{Outcome, Report, ensure, fails, until},
    visitor::PASSWORD,
};

use super::Start;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

pub(super) fn run(report: &mut Report, driver: &Driver, start: Start) {
    let axe = report.need("the checker for accessibility is there", Axe::get);
    let mut gallery = Gallery::new(report.logs(), axe.as_ref());
    report.test("claim, password and home work in a browser, on phone and desktop, by day and by night", || {
        let (manager, browser) = (start(&sound())?, driver.open(true)?);
        tour(&manager, &browser, &mut gallery)
    });
    report.test("the pages of a box without usable data look right, too", || {
        let mut boot = sound();
        boot["data"] = json!({ "state": "damaged", "detail": "The check found errors.", "serial": "S1", "model": "M" });
        let (manager, browser) = (start(&boot)?, driver.open(true)?);
        browser.open(&manager.tls().origin())?;
        browser.wait_for("/")?;
        gallery.look(&browser, "recovery")?;
        browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")?;
        gallery.look(&browser, "recovery-open")
    });
    if axe.is_some() {
        report.test("no page has an accessibility violation", || gallery.no_violations().map(|_| ()));
    }
    report.test("no page makes the browser's console complain", || gallery.no_complaints().map(|_| ()));
    report.test("no page must be moved sideways, on a phone either", || gallery.nothing_sideways().map(|_| ()));
    report.test("the wizard works with the keyboard alone", || {
        let (manager, browser) = (start(&sound())?, driver.open(true)?);
        by_keyboard(&manager, &browser)
    });
    report.test("the wizard and the pages work without scripts", || {
        let (manager, browser) = (start(&sound())?, driver.open(false)?);
        without_scripts(&manager, &browser)
    });
    report.test("a change of the box reaches an open page by itself", || {
        let (manager, browser) = (start(&sound())?, driver.open(true)?);
        wizard(&manager, &browser)?;
        browser.evaluate("window.same = true")?;
        let problem = "Slot B was started 3 times without success: a test says so.";
        manager.replace("slots.json", &slots(Some(problem)))?;
        browser.wait_for_text("#problems", problem)?;
        manager.replace("slots.json", &slots(None))?;
        until(Duration::from_secs(20), || {
            let text = browser.text("#problems")?;
            ensure!(!text.contains("Slot B"), "the problem that is over still shows: {text:?}");
            Ok(())
        })?;
        ensure!(browser.evaluate("window.same === true")? == Value::Bool(true), "the page was loaded again");
        Ok(())
    });
}

/// Through the wizard as far as the home page.
fn wizard(manager: &Manager, browser: &Browser) -> Outcome {
    browser.open(&manager.tls().origin())?;
    browser.wait_for("/claim")?;
    browser.fill("#code", &manager.code()?)?;
    browser.click("main button")?;
    browser.wait_for("/password")?;
    browser.fill("#password", PASSWORD)?;
    browser.fill("#again", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for("/setup/bitcoin")?;
    browser.open(&format!("{}/home", manager.tls().origin()))?;
    browser.wait_for("/home")
}

fn tour(manager: &Manager, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let (origin, plain) = (manager.tls().origin(), manager.plain().origin());
    browser.open(&plain)?;
    browser.wait_for("/")?;
    gallery.look(browser, "trust-80")?;
    browser.open(&format!("{origin}/trust"))?;
    browser.wait_for("/trust")?;
    gallery.look(browser, "trust")?;
    browser.open(&origin)?;
    browser.wait_for("/claim")?;
    gallery.look(browser, "claim")?;
    browser.fill("#code", "WRNG-WRNG")?;
    browser.click("main button")?;
    browser.wait_for_text("#code-complaint", "not the code")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "claim-wrong")?;
    browser.fill("#code", &manager.code()?.to_lowercase().replace('-', " "))?;
    browser.click("main button")?;
    browser.wait_for("/password")?;
    gallery.look(browser, "password")?;
    browser.fill("#password", "passwordpassword")?;
    browser.fill("#again", "passwordpassword")?;
    browser.click("main button")?;
    browser.wait_for_text("[role=alert]", "")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "password-weak")?;
    browser.fill("#password", PASSWORD)?;
    browser.fill("#again", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for("/setup/bitcoin")?;
    gallery.look(browser, "setup-bitcoin")?;
    setup(browser, gallery)?;
    browser.open(&format!("{origin}/home"))?;
    browser.wait_for("/home")?;
    gallery.look(browser, "home")?;
    manager.replace("slots.json", &slots(Some("Slot B was started 3 times without success: a test says so.")))?;
    browser.wait_for_text("#problems", "Slot B was started")?;
    gallery.look(browser, "home-problem")?;
    for name in ["receive", "send", "channels", "audit", "settings", "restart"] {
        browser.open(&format!("{origin}/{name}"))?;
        browser.wait_for(&format!("/{name}"))?;
        gallery.look(browser, name)?;
    }
    browser.open(&format!("{origin}/no-such-page"))?;
    browser.wait_for("/no-such-page")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "not-found")?;
    browser.open(&format!("{origin}/home"))?;
    browser.click("header form button")?;
    browser.wait_for("/sign-in")?;
    gallery.look(browser, "sign-in")?;
    browser.fill("#password", "not the password")?;
    browser.click("main button")?;
    browser.wait_for_text("#password-complaint", "not the password")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "sign-in-wrong")?;
    browser.fill("#password", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for("/home")
}

/// The wizard's second part, as far as it goes without LND: a refused form, tests that fail and one that does not.
fn setup(browser: &Browser, gallery: &mut Gallery) -> Outcome {
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")?;
    browser.fill("#dsn", "mysql://somewhere")?;
    browser.click("main form button")?;
    browser.wait_for_text("#bitcoin-complaint", "postgres://")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "setup-bitcoin-refused")?;
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")?;
    browser.fill("#dsn", "")?;
    // Nobody listens on this port.
    browser.fill("#peers", "127.0.0.1:1")?;
    browser.click("main form button")?;
    browser.wait_for("/setup/bitcoin/test")?;
    browser.wait_for_text("main", "connection refused")?;
    gallery.look(browser, "setup-bitcoin-fault")?;
    browser.click("main form a")?;
    browser.wait_for("/setup/bitcoin")?;
    browser.click("main form button")?;
    browser.wait_for_text("main", "Everything that is needed works")?;
    gallery.look(browser, "setup-bitcoin-good")?;
    browser.click("main form button")?;
    browser.wait_for("/setup/wallet")?;
    browser.wait_for_text("main", "Lightning is starting")?;
    gallery.look(browser, "setup-wallet-waiting")
}

fn by_keyboard(manager: &Manager, browser: &Browser) -> Outcome {
    browser.open(&manager.tls().origin())?;
    browser.wait_for("/claim")?;
    tab_to(browser, "code")?;
    browser.keys(&format!("{}{ENTER}", manager.code()?))?;
    browser.wait_for("/password")?;
    tab_to(browser, "password")?;
    browser.keys(PASSWORD)?;
    tab_to(browser, "again")?;
    browser.keys(&format!("{PASSWORD}{ENTER}"))?;
    browser.wait_for("/setup/bitcoin")?;
    // The first stop leads past the navigation.
    browser.open(&format!("{}/home", manager.tls().origin()))?;
    browser.wait_for("/home")?;
    browser.keys(TAB)?;
    let first = browser.evaluate("document.activeElement.className")?;
    ensure!(first == "skip", "the first stop of the home page is {first}");
    let outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")?;
    ensure!(outline != "none", "the place of the keyboard cannot be seen");
    browser.keys(ENTER)?;
    let at = browser.evaluate("location.hash")?;
    ensure!(at == "#main", "the skip link leads to {at}");
    Ok(())
}

/// Presses Tab until the element with that id has the keyboard.
fn tab_to(browser: &Browser, id: &str) -> Outcome {
    for _ in 0..20 {
        if browser.evaluate("document.activeElement.id")? == id {
            return Ok(());
        }
        browser.keys(TAB)?;
    }
    fails(format!("#{id} of {} is not reached by 20 times Tab", browser.path()?))
}

fn without_scripts(manager: &Manager, browser: &Browser) -> Outcome {
    // The proof that the browser really runs none.
    browser.open("data:text/html,<h1>off</h1><script>document.querySelector('h1').textContent='on'</script>")?;
    ensure!(browser.text("h1")? == "off", "the browser runs scripts after all");
    wizard(manager, browser)?;
    for card in ["#lnd", "#network", "#system", "#resources", "#units"] {
        ensure!(!browser.text(card)?.is_empty(), "{card} of the home page is empty");
    }
    let origin = manager.tls().origin();
    browser.open(&format!("{origin}/audit"))?;
    browser.wait_for_text("main", "owner")?;
    browser.open(&format!("{origin}/home"))?;
    browser.click("header form button")?;
    browser.wait_for("/sign-in")?;
    browser.fill("#password", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for("/home")
}
