//! The way out when the sealed password of the wallet is lost.

use std::fs;

use super::{SOON, Stage};
use crate::{
    browser::Browser,
    gallery::Gallery,
    report::{Outcome, ensure, until},
};

pub(super) fn sealed_password_lost(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let password = fs::read_to_string(stage.root.sealed())?;
    fs::remove_file(stage.root.sealed())?;
    stage.root.restart_lnd()?;
    stage.until_text(browser, "/home", "#lnd", "Not running")?;
    browser.click("#problems a[href='/unlock']")?;
    browser.wait_for("/unlock")?;
    gallery.look(browser, "unlock-away")?;
    browser.click("form[action='/unlock/by-hand'] button")?;
    until(SOON, || {
        let seen = browser.text("main")?;
        ensure!(seen.contains("waits for the wallet's password"), "the page says {seen:?}");
        Ok(())
    })?;
    browser.open(&stage.url("/unlock"))?;
    gallery.look(browser, "unlock")?;
    browser.fill("#password", "not-the-password")?;
    browser.click("form[action='/unlock'] button")?;
    browser.wait_for_text("#unlock-complaint", "not the wallet's password")?;
    gallery.ignore(browser)?;
    ensure!(!stage.root.sealed().exists(), "a wrong password was sealed");
    browser.fill("#password", &password)?;
    browser.click("form[action='/unlock'] button")?;
    stage.until_text(browser, "/home", "#lnd", "Running")?;
    until(SOON, || {
        ensure!(fs::read_to_string(stage.root.sealed())? == password, "another password is sealed");
        Ok(())
    })?;
    // From now on by itself again.
    until(SOON, || {
        let conf = fs::read_to_string(stage.manager.folder().join("config/lnd.conf"))?;
        ensure!(conf.contains("wallet-unlock-password-file="), "LND would not unlock by itself:\n{conf}");
        Ok(())
    })?;
    stage.root.restart_lnd()?;
    stage.until_text(browser, "/home", "#lnd", "Running")
}
