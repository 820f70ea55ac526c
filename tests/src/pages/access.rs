//! Who may use the box: second factor, forgotten password, sessions; and the other pages of the settings.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    authenticator,
    axe::Axe,
    browser::{Browser, Driver},
    gallery::Gallery,
    http::{Answer, Client},
    manager::{Manager, sound},
    report::{Fault, Outcome, Report, ensure, until},
    visitor::{self, PASSWORD},
};

use super::Start;

const OTHER: &str = "nine slow badgers hum";
/// For the box's pause between tries of one address.
const PAUSE: Duration = Duration::from_secs(60);

pub(super) fn run(report: &mut Report, start: Start) {
    report.test("with a second factor the password alone opens nothing, and no answer tells that it was right", || {
        second_factor(&start(&sound())?)
    });
    report.test("a forgotten password is reset with the code on the screen and with nothing else", || {
        forgotten(&start(&sound())?)
    });
    report.test("sessions are listed with their browser and ended one by one", || sessions(&start(&sound())?));
}

/// The owner's session of a new box.
fn owner(manager: &Manager) -> Outcome<Client> {
    let client = manager.tls();
    let claim = visitor::claim(&client, &manager.code()?)?;
    Ok(client.with_session(&visitor::set_password(&client, &claim)?))
}

/// Sends a form, waiting where there were too many tries.
fn patiently(client: &Client, path: &str, form: &[(&str, &str)]) -> Outcome<Answer> {
    until(PAUSE, || {
        let answer = client.post(path, form)?;
        ensure!(answer.status != 429, "{path} has to wait for {:?} s", answer.header("retry-after"));
        Ok(answer)
    })
}

fn now() -> Outcome<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The text of elements `<code>` or `<code class="copy">` on a page.
fn codes(page: &str) -> Vec<String> {
    let parts = page.split("<code").skip(1).filter_map(|part| part.split_once('>')?.1.split_once("</code>"));
    parts.map(|(text, _)| text.to_owned()).collect()
}

fn second_factor(manager: &Manager) -> Outcome {
    let client = manager.tls();
    let owner = owner(manager)?;
    let refused = patiently(&owner, "/settings/second-factor/begin", &[("proof", "not the password")])?;
    ensure!(
        refused.status == 422 && codes(&refused.text()).is_empty(),
        "a wrong password is answered by {}",
        refused.status
    );
    let shown = patiently(&owner, "/settings/second-factor/begin", &[("proof", PASSWORD)])?.text();
    let key = codes(&shown).first().cloned().ok_or_else(|| Fault::Fails("no key is shown".into()))?;
    ensure!(shown.contains("<svg"), "there is no QR code");
    let wrong = patiently(&owner, "/settings/second-factor/confirm", &[("code", "000000")])?;
    ensure!(wrong.status == 422, "a wrong first code is answered by {}", wrong.status);
    ensure!(visitor::sign_in(&client).is_ok(), "an unconfirmed factor is asked for");
    let first = authenticator::code(&key, now()?)?;
    let on = patiently(&owner, "/settings/second-factor/confirm", &[("code", &first)])?;
    let recovery = codes(&on.text());
    ensure!(recovery.len() == 10, "{} recovery codes are shown", recovery.len());
    ensure!(client.get("/sign-in")?.text().contains("name=\"code\""), "the sign-in does not ask for a code");

    // Right or wrong, the password alone gets the same answer, byte by byte but for the clock.
    let without_clock = |answer: Answer| {
        let text = answer.text();
        let at = text.find(" UTC").unwrap_or(text.len());
        (answer.status, text[..at.saturating_sub(16)].to_owned(), text[at..].to_owned())
    };
    let right = without_clock(patiently(&client, "/sign-in", &[("password", PASSWORD), ("code", "123456")])?);
    let wrong = without_clock(patiently(&client, "/sign-in", &[("password", OTHER), ("code", "123456")])?);
    ensure!(right == wrong && right.0 == 403, "the answers differ:\n{right:?}\n{wrong:?}");
    let used = patiently(&client, "/sign-in", &[("password", PASSWORD), ("code", &first)])?;
    ensure!(used.status == 403, "the code that turned it on is answered by {}", used.status);

    let next = authenticator::code(&key, now()? + 30)?;
    let good = patiently(&client, "/sign-in", &[("password", PASSWORD), ("code", &next)])?;
    ensure!(good.status == 303 && good.session().is_some(), "the next code is answered by {}", good.status);
    let again = patiently(&client, "/sign-in", &[("password", PASSWORD), ("code", &next)])?;
    ensure!(again.status == 403, "the same code a second time is answered by {}", again.status);
    for (status, times) in [(303, "first"), (403, "second")] {
        let answer = patiently(&client, "/sign-in", &[("password", PASSWORD), ("code", &recovery[0])])?;
        ensure!(answer.status == status, "a recovery code's {times} use is answered by {}", answer.status);
    }
    let off = patiently(&owner, "/settings/second-factor/off", &[("proof", PASSWORD), ("code", "")])?;
    ensure!(off.status == 422, "without a code it is turned off: {}", off.status);
    let off = patiently(&owner, "/settings/second-factor/off", &[("proof", PASSWORD), ("code", &recovery[1])])?;
    ensure!(off.status == 303, "with password and code it is not turned off: {}", off.status);
    until(PAUSE, || visitor::sign_in(&client)).map(|_| ())
}

fn forgotten(manager: &Manager) -> Outcome {
    let client = manager.tls();
    let before = owner(manager)?;
    let form = |code: &str| [("code", code.to_owned()), ("password", OTHER.to_owned()), ("again", OTHER.to_owned())];
    let send = |code: &str| {
        let form = form(code);
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        patiently(&client, "/forgot/reset", &form)
    };
    let unasked = send("ABCD-EFGH")?;
    ensure!(unasked.status == 303 && unasked.location() == "/forgot", "unasked it answers {}", unasked.status);
    ensure!(manager.screen()?.reset_code().is_none(), "there is a code on the screen already");
    ensure!(patiently(&client, "/forgot", &[])?.status == 303, "the code cannot be asked for");
    let code = until(Duration::from_secs(10), || {
        let screen = manager.screen()?;
        screen.reset_code().map(str::to_owned).ok_or_else(|| Fault::Fails("no code on the screen".into()))
    })?;
    let wrong = send("WRNG-WRNG")?;
    ensure!(wrong.status == 403, "a wrong code is answered by {}", wrong.status);
    ensure!(before.get("/home")?.status == 200, "a wrong code ended a session");
    let right = send(&code.to_lowercase())?;
    ensure!(
        right.status == 303 && right.location() == "/sign-in?done=reset",
        "it answers {}",
        visitor::complaint(&right)
    );
    ensure!(before.get("/home")?.status == 303, "an old session still works");
    ensure!(send(&code)?.location() == "/forgot", "the code works twice");
    until(Duration::from_secs(10), || {
        ensure!(manager.screen()?.reset_code().is_none(), "the code is still on the screen");
        Ok(())
    })?;
    let old = patiently(&client, "/sign-in", &[("password", PASSWORD)])?;
    ensure!(old.status == 403, "the old password is answered by {}", old.status);
    let new = patiently(&client, "/sign-in", &[("password", OTHER)])?;
    let owner =
        client.with_session(&new.session().ok_or_else(|| Fault::Fails("the new password opens no session".into()))?);
    let home = owner.get("/home")?.text();
    ensure!(home.contains("The password was reset"), "the home page says nothing of it");
    ensure!(owner.get("/audit")?.text().contains("With the code on the screen"), "the audit log says nothing of it");
    ensure!(owner.post("/settings/notice", &[])?.status == 303, "the notice cannot be put away");
    ensure!(!owner.get("/home")?.text().contains("The password was reset"), "the notice is still there");
    Ok(())
}

fn sessions(manager: &Manager) -> Outcome {
    let client = manager.tls();
    let owner = owner(manager)?;
    let other = client.with_session(&visitor::sign_in(&client)?);
    ensure!(other.get("/home")?.status == 200, "the second session does not work");
    let page = owner.get("/settings/sessions")?.text();
    let names: Vec<&str> =
        page.split("name=\"name\" value=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    ensure!(names.len() == 1 && page.contains("127.0.0.1"), "the list shows {names:?}");
    let answer = owner.post("/settings/sessions/end", &[("name", names[0])])?;
    ensure!(answer.status == 303, "ending it answers {}", answer.status);
    ensure!(other.get("/home")?.status == 303, "the ended session still works");
    ensure!(owner.get("/home")?.status == 200, "one's own session ended, too");
    ensure!(owner.get("/audit")?.text().contains("127.0.0.1"), "the audit log says nothing of it");
    Ok(())
}

/// The pages in a browser.
pub(super) fn tour(report: &mut Report, driver: &Driver, start: Start) {
    let axe = report.need("the checker for accessibility is there for the settings", Axe::get);
    let mut gallery = Gallery::new(report.logs(), axe.as_ref());
    report.test("the pages of the settings work in a browser, and look right on a phone, too", || {
        let (manager, browser) = (start(&sound())?, driver.open(true)?);
        settings(&manager, &browser, &mut gallery)
    });
    if axe.is_some() {
        report.test("no page of the settings has an accessibility violation", || gallery.no_violations().map(|_| ()));
    }
    report.test("no page of the settings complains or must be moved sideways", || {
        gallery.nothing_sideways()?;
        gallery.no_complaints().map(|_| ())
    });
    report.test("a second factor and a forgotten password work without scripts", || {
        let (manager, browser) = (start(&sound())?, driver.open(false)?);
        super::browsing::wizard(&manager, &browser)?;
        let (key, _) = turn_on(&manager, &browser, None)?;
        ensure!(!key.is_empty(), "there is no key");
        lost(&manager, &browser, None)
    });
}

fn settings(manager: &Manager, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    super::browsing::wizard(manager, browser)?;
    let origin = manager.tls().origin();
    for path in
        ["settings", "settings/second-factor", "settings/sessions", "settings/phones", "settings/services", "logs"]
    {
        browser.open(&format!("{origin}/{path}"))?;
        browser.wait_for(&format!("/{path}"))?;
        gallery.look(browser, &path.replace('/', "-"))?;
    }
    browser.open(&format!("{origin}/settings/support"))?;
    gallery.look(browser, "settings-support")?;
    browser.click("form[action='/settings/support'] button")?;
    browser.wait_for_text("main", "versions.txt")?;
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")?;
    gallery.look(browser, "settings-support-preview")?;
    ensure!(browser.text("main")?.contains("Homebolt 0.1.0"), "the preview does not show the version");
    turn_on(manager, browser, Some(gallery))?;
    lost(manager, browser, Some(gallery))
}

/// Turns the second factor on; gives its key and the recovery codes.
fn turn_on(manager: &Manager, browser: &Browser, mut gallery: Option<&mut Gallery>) -> Outcome<(String, Vec<String>)> {
    let mut look = |name: &str| gallery.as_mut().map_or(Ok(()), |gallery| gallery.look(browser, name));
    browser.open(&format!("{}/settings/second-factor", manager.tls().origin()))?;
    browser.fill("#proof", PASSWORD)?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Scan this")?;
    look("second-factor-scan")?;
    let key = browser.text(".copy")?;
    browser.fill("#code", &authenticator::code(&key, now()?)?)?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "recovery codes")?;
    look("second-factor-recovery")?;
    let codes: Vec<String> = browser.text("main ol")?.split_whitespace().map(str::to_owned).collect();
    browser.click("main .row a")?;
    browser.wait_for("/settings/second-factor")?;
    look("second-factor-on")?;
    Ok((key, codes))
}

/// Password, phone and recovery codes are lost: the way back is the box's own screen.
fn lost(manager: &Manager, browser: &Browser, mut gallery: Option<&mut Gallery>) -> Outcome {
    let mut look = |name: &str| gallery.as_mut().map_or(Ok(()), |gallery| gallery.look(browser, name));
    browser.open(&format!("{}/home", manager.tls().origin()))?;
    browser.click("header form button")?;
    browser.wait_for("/sign-in")?;
    look("sign-in-code")?;
    browser.click("a[href='/forgot']")?;
    browser.wait_for("/forgot")?;
    look("forgot")?;
    browser.click("main form button")?;
    browser.wait_for_text("main", "Type the code")?;
    look("forgot-code")?;
    let code = manager
        .screen()?
        .reset_code()
        .map(str::to_owned)
        .ok_or_else(|| Fault::Fails("no code on the screen".into()))?;
    browser.fill("#code", &code)?;
    browser.fill("#password", OTHER)?;
    browser.fill("#again", OTHER)?;
    browser.click("#without")?;
    browser.click("main form button")?;
    browser.wait_for("/sign-in")?;
    look("sign-in-after-reset")?;
    ensure!(!browser.has("#code"), "the second factor is still asked for");
    browser.fill("#password", OTHER)?;
    browser.click("main button")?;
    browser.wait_for("/home")?;
    browser.wait_for_text("main", "The password was reset")?;
    look("home-reset-notice")
}
