//! The pages in a real browser: looked at, with keys only, without scripts, and changing by themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    axe::Axe,
    browser::{Browser, Driver},
    gallery::Gallery,
    manager::{Manager, slots, sound},
    report::{Outcome, Report, ensure, fails, until},
    visitor::{FIRST_STEP, PASSWORD},
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
    report.test(
        "a browser that asks for German gets it before the claim, and the owner's language is that of all pages",
        || {
            let (manager, browser) = (start(&sound())?, driver.open_in("de-DE,de")?);
            in_german(&manager, &browser, &mut gallery)
        },
    );
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
    super::network::run(report, driver, start, &mut gallery);
    super::updates::run(report, driver, start, &mut gallery);
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

/// The pages of the channel backup, which all work without LND.
const BACKUP: [&str; 8] = [
    "/setup/backup",
    "/setup/backup/stick",
    "/setup/backup/sftp",
    "/setup/backup/webdav",
    "/setup/backup/s3",
    "/setup/backup/mail",
    "/backups",
    "/unlock",
];

/// Through the wizard as far as the home page.
pub(super) fn wizard(manager: &Manager, browser: &Browser) -> Outcome {
    browser.open(&manager.tls().origin())?;
    browser.wait_for("/claim")?;
    browser.fill("#code", &manager.code()?)?;
    browser.click("main button")?;
    browser.wait_for("/password")?;
    browser.fill("#password", PASSWORD)?;
    browser.fill("#again", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for(FIRST_STEP)?;
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
    browser.wait_for("/setup/place")?;
    gallery.look(browser, "setup-place")?;
    browser.fill("#name", "two words")?;
    browser.click("main form button")?;
    browser.wait_for_text("#place-complaint", "dash")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "setup-place-refused")?;
    browser.open(&format!("{origin}/setup/place"))?;
    take_place(browser, "en")?;
    browser.open(&format!("{origin}/setup/disk"))?;
    super::disks::tour(manager, browser, gallery)?;
    browser.open(&format!("{origin}/setup/bitcoin"))?;
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
    keys(&origin, browser, gallery)?;
    for path in BACKUP {
        browser.open(&format!("{origin}{path}"))?;
        browser.wait_for(path)?;
        gallery.look(browser, path.trim_start_matches('/').replace('/', "-").as_str())?;
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

/// Keys for programs: a refused form keeps what was typed, a key is shown once and revoked; and the page of the API.
fn keys(origin: &str, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let page = format!("{origin}/settings/keys");
    browser.open(&page)?;
    browser.wait_for("/settings/keys")?;
    gallery.look(browser, "keys")?;
    browser.fill("#name", "a shop")?;
    browser.click("#scope-pay")?;
    browser.click("form[action='/settings/keys'] button")?;
    browser.wait_for_text("#key-complaint", "both limits")?;
    gallery.ignore(browser)?;
    let kept = browser.evaluate("document.querySelector('#name').value")?;
    ensure!(kept == "a shop", "the form forgot the name: {kept}");
    gallery.look(browser, "keys-refused")?;
    browser.fill("#payment", "1,000")?;
    browser.fill("#day", "5,000")?;
    browser.click("form[action='/settings/keys'] button")?;
    browser.wait_for_text("#made-key", "hbk_")?;
    gallery.look(browser, "keys-made")?;
    browser.open(&page)?;
    browser.wait_for_text("main", "a shop")?;
    ensure!(!browser.text("main")?.contains("hbk_"), "the key is shown again");
    browser.click("form[action='/settings/keys/revoke'] button")?;
    browser.wait_for_text("main", "There are no keys")?;
    browser.open(&format!("{origin}/api"))?;
    browser.wait_for_text("main", "/api/v1/node/payments")?;
    gallery.look(browser, "api")
}

/// Goes on from the step of language, zone and name with nothing changed but the language: nobody here could rename the
/// computer.
fn take_place(browser: &Browser, language: &str) -> Outcome {
    browser.wait_for("/setup/place")?;
    browser.run(&format!(
        "document.querySelector('#language').value = '{language}'; document.querySelector('#zone').value = 'UTC'"
    ))?;
    browser.click("main form button")?;
    until(Duration::from_secs(20), || {
        let path = browser.path()?;
        ensure!(path != "/setup/place", "the wizard does not go on: {}", browser.text("main")?);
        Ok(())
    })
}

/// The owner's pages that are there without a wallet.
const IN_GERMAN: [&str; 26] = [
    "home",
    "receive",
    "send",
    "channels",
    "audit",
    "logs",
    "restart",
    "setup/network",
    "setup/disk",
    "setup/bitcoin",
    "setup/backup",
    "settings",
    "settings/place",
    "settings/network",
    "settings/disk",
    "settings/backup",
    "settings/keys",
    "settings/sessions",
    "settings/second-factor",
    "settings/phones",
    "settings/services",
    "settings/support",
    "settings/payments",
    "settings/updates",
    "settings/updates/stick",
    "settings/reset",
];

/// German has the longest words: before the claim by the browser's wish, after it by the owner's.
fn in_german(manager: &Manager, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let speaks = |language: &str| {
        let said = browser.evaluate("document.documentElement.lang")?;
        ensure!(said == language, "{} speaks {said}", browser.path()?);
        Ok(())
    };
    let origin = manager.tls().origin();
    browser.open(&manager.plain().origin())?;
    browser.wait_for_text("h1", "Ist das Ihre Box?")?;
    gallery.look(browser, "de-trust-80")?;
    browser.open(&origin)?;
    browser.wait_for("/claim")?;
    speaks("de")?;
    gallery.look(browser, "de-claim")?;
    browser.fill("#code", &manager.code()?)?;
    browser.click("main button")?;
    browser.wait_for("/password")?;
    gallery.look(browser, "de-password")?;
    browser.fill("#password", PASSWORD)?;
    browser.fill("#again", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for("/setup/place")?;
    let chosen = browser.evaluate("document.querySelector('#language').value")?;
    ensure!(chosen == "de", "the step proposes {chosen}");
    gallery.look(browser, "de-setup-place")?;
    take_place(browser, "de")?;
    for name in IN_GERMAN {
        browser.open(&format!("{origin}/{name}"))?;
        speaks("de")?;
        gallery.look(browser, &format!("de-{}", name.replace('/', "-")))?;
    }
    browser.open(&format!("{origin}/home"))?;
    browser.wait_for_text("#units h2", "Dienste")?;
    // The stream has replaced the cards by now, in the same language.
    let problem = "Slot B was started 3 times without success: a test says so.";
    manager.replace("slots.json", &slots(Some(problem)))?;
    browser.wait_for_text("#problems", "System B ist nicht gestartet")?;
    for (language, word) in [("fr", "Services"), ("pt", "Servi\u{e7}os"), ("es", "Servicios"), ("en", "Services")] {
        browser.open(&format!("{origin}/settings/place"))?;
        browser.wait_for("/settings/place")?;
        browser.run(&format!("document.querySelector('#language').value = '{language}'"))?;
        browser.click("main form button")?;
        browser.wait_for("/settings")?;
        speaks(language)?;
        gallery.look(browser, &format!("{language}-settings"))?;
        browser.open(&format!("{origin}/home"))?;
        browser.wait_for_text("#units h2", word)?;
        gallery.look(browser, &format!("{language}-home"))?;
    }
    Ok(())
}

/// The wizard's second part, as far as it goes without LND: a refused form, tests that fail and one that does not.
fn setup(browser: &Browser, gallery: &mut Gallery) -> Outcome {
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")?;
    let database = |name: &str| browser.run(&format!("document.querySelector('#database').value = '{name}'"));
    database("postgres")?;
    browser.fill("#dsn", "mysql://somewhere")?;
    browser.click("main form button")?;
    browser.wait_for_text("#bitcoin-complaint", "postgres://")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "setup-bitcoin-refused")?;
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")?;
    database("sqlite")?;
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
    browser.wait_for(FIRST_STEP)?;
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
