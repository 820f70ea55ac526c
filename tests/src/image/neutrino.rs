//! Part `neutrino`: LND with its own Bitcoin client, as the wizard proposes it, up to the wallet. Slow: on its very first start
//! LND lays out its header store (65,536 tables within a table), 7 s of a real processor and minutes of an emulated one.

use std::{path::Path, time::Duration};

use crate::{
    browser::Driver,
    gallery::Gallery,
    report::{Outcome, Report, ensure, until},
    visitor,
};

use super::lab::{BOOT, Lab, Live, Options};

/// For LND's first start, on a computer that has other things to do.
const START: Duration = Duration::from_secs(1800);

const LOG: &str = "systemctl status lnd.path lnd.service --no-pager -n 8 2>&1 | cat";

pub(crate) fn run(report: &mut Report, lab: &Lab, disk: &Path) {
    let started = report.need("the box of an owner starts", || {
        let mut live = lab.start(disk, "neutrino", Options { throw_away: true, ..Options::default() })?;
        live.wait_for_page(BOOT)?;
        live.settle()?;
        Ok(live)
    });
    let Some(mut live) = started else { return };
    let log = report.log("chromedriver.log");
    let Some(driver) = report.need("the browser starts", || Driver::start(&log)) else { return };
    let mut gallery = Gallery::new(report.logs(), None);
    let up = report.test("with neutrino chosen in the wizard LND starts and waits for a wallet", || {
        choose(&mut live, &driver, &mut gallery)
    });
    if up.is_some() {
        report.test("what the owner chose is still there after a restart, and LND starts by itself", || {
            let boot = live.boot_id()?;
            // The shell ends with the rest: its answer may not come any more.
            let _ = live.ask("systemctl reboot");
            live.wait_for_other_boot(&boot, BOOT)?;
            live.shell("grep -q neutrino /data/config/lnd.conf")?;
            waits_for_wallet(&mut live, Duration::from_secs(300))
        });
        report.test("the box with an LND that has no wallet switches itself off", || live.switch_off());
    }
}

fn choose(live: &mut Live, driver: &Driver, gallery: &mut Gallery) -> Outcome {
    let browser = driver.open(true)?;
    let origin = live.client().origin();
    browser.open(&format!("{origin}/sign-in"))?;
    browser.fill("#password", visitor::PASSWORD)?;
    browser.click("main button")?;
    until(Duration::from_secs(30), || {
        let path = browser.path()?;
        ensure!(path != "/sign-in", "the browser is still at {path}");
        Ok(())
    })?;
    browser.open(&format!("{origin}/setup/bitcoin"))?;
    browser.wait_for("/setup/bitcoin")?;
    browser.click("main form button")?;
    browser.wait_for_text("main", "Everything that is needed works")?;
    browser.click("main form button")?;
    browser.wait_for("/setup/wallet")?;
    until(START, || {
        let seen = browser.text("main")?;
        ensure!(seen.contains("Make a seed"), "the page says {seen:?}: {}", live.shell(LOG)?);
        Ok(())
    })?;
    gallery.look(&browser, "setup-wallet")?;
    waits_for_wallet(live, Duration::from_secs(30))
}

fn waits_for_wallet(live: &mut Live, limit: Duration) -> Outcome {
    until(limit, || {
        let state = live.shell("lncli --lnddir=/data/lnd --rpcserver=127.0.0.1:10009 state 2>&1 || true")?;
        ensure!(state.contains("NON_EXISTING"), "lncli says {state}");
        Ok(())
    })
}
