//! Part `boot`: from a new disk to a box with an owner, through power cuts and a restart.

use std::{path::Path, thread, time::Duration};

use crate::{
    browser::{Browser, Driver},
    gallery::Gallery,
    pages::trust_page,
    report::{Outcome, Report, ensure, until},
    tls,
    visitor::{self, PASSWORD},
};

use super::{
    access, checks,
    lab::{BOOT, GIB, Lab, Live, Options},
    place,
};

/// From power on to the page under emulation, on a computer that does nothing else.
const BAR: Duration = Duration::from_secs(60);

/// What must be the same before and after.
struct Kept {
    words: Vec<String>,
    machine_id: String,
}

pub(crate) fn run(report: &mut Report, lab: &mut Lab) {
    let Some(disk) = report.need("the image is unpacked to a disk of 32 GB", || lab.disk("box", 32 * GIB)) else {
        return;
    };
    let options = Options { wire: true, ..Options::default() };
    let Some(mut live) = report.need("the machine starts", || lab.start(&disk, "boot", options)) else { return };
    let up = report.test("from a new disk the box comes up and answers HTTPS", || live.wait_for_page(BOOT));
    let Some(time) = up else { return };
    let judged = if time <= BAR { "within" } else { "above" };
    report.note(&format!("power on to HTTPS: {:.1} s, {judged} the bar of {} s", time.as_secs_f64(), BAR.as_secs()));

    let paused = report.test("after five wrong codes even the right one waits a minute", || {
        visitor::try_wrong_codes(&live.client(), &live.code()?)
    });
    checks::run(report, lab, &mut live);
    let Some(kept) = console_and_certificate(report, &mut live) else { return };
    report.test("before the claim every closed route is refused without a session", || {
        let routes = live.shell("homebolt-manager routes")?;
        visitor::walk(&live.client(), &routes, None).map(|_| ())
    });
    picture_of_screen(report, &mut live, "screen-unclaimed.ppm");

    let log = report.log("chromedriver.log");
    let Some(driver) = report.need("the browser starts", || Driver::start(&log)) else { return };
    let Some(browser) = report.need("a browser opens", || driver.open(true)) else { return };
    let mut gallery = Gallery::new(report.logs(), None);
    let typed = report.test("the code on the serial console is taken in a browser", || {
        if paused.is_some() {
            thread::sleep(Duration::from_secs(visitor::pause_left(&live.client())?));
        }
        type_code(&live, &browser, &mut gallery)
    });
    if typed.is_none() {
        return;
    }
    let old_code = live.code();
    live.cut_power();

    let Some(mut live) = report.need("the machine starts again", || lab.start(&disk, "boot", Options::default()))
    else {
        return;
    };
    let cut =
        report.test("after a power cut the browser that typed the code goes on, and the code is a new one", || {
            live.wait_for_page(BOOT)?;
            ensure!(old_code.is_ok_and(|old| live.code().is_ok_and(|new| new != old)), "the code is the old one");
            ensure!(live.client().get("/")?.location() == "/claim", "another browser is not asked for the code");
            browser.open(&live.client().origin())?;
            browser.wait_for("/password")?;
            gallery.look(&browser, "password")?;
            browser.fill("#password", PASSWORD)?;
            browser.fill("#again", PASSWORD)?;
            browser.click("main button")?;
            browser.wait_for(visitor::FIRST_STEP)
        });
    // At once: what the page has promised is on the disk.
    live.cut_power();
    if cut.is_none() {
        return;
    }
    let Some(live) = report
        .need("the machine starts again", || lab.start(&disk, "boot", Options { wire: true, ..Options::default() }))
    else {
        return;
    };
    if owned(report, lab, live, &browser, &mut gallery, &kept).is_some() {
        lab.keep_owned(disk);
    }
}

fn console_and_certificate(report: &mut Report, live: &mut Live) -> Option<Kept> {
    let kept = report.test("console and trust page show the same six words", || {
        let words = live.screen()?.words();
        trust_page(&live.client(), &words)?;
        trust_page(&live.plain(), &words)?;
        Ok(Kept { words, machine_id: live.shell("cat /etc/machine-id")? })
    });
    report.test("the downloaded authority vouches for homelab.local, and can vouch for nothing outside", || {
        tls::chain(&live.client(), live.https(), &live.screen()?.words())
    });
    report.test("the console names the box's address, and the page of it", || {
        let screen = live.screen()?.0;
        for line in ["homelab.local", "http://10.0.2.15"] {
            ensure!(screen.contains(line), "the console does not show {line}:\n{screen}");
        }
        Ok(())
    });
    kept
}

fn type_code(live: &Live, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    browser.open(&live.client().origin())?;
    browser.wait_for("/claim")?;
    gallery.look(browser, "claim")?;
    browser.fill("#code", &live.code()?)?;
    browser.click("main button")?;
    browser.wait_for("/password")
}

/// The box has an owner now.
fn owned(
    report: &mut Report,
    lab: &Lab,
    mut live: Live,
    browser: &Browser,
    gallery: &mut Gallery,
    kept: &Kept,
) -> Option<()> {
    report.test("after a power cut right behind the password the box has its owner", || {
        live.wait_for_page(BOOT)?;
        same_box(&mut live, kept)?;
        visitor::sign_in(&live.client()).map(|_| ())
    })?;
    report.test("a signed-in owner sees the box on the home page", || {
        browser.open(&live.client().origin())?;
        browser.wait_for("/home")?;
        // What it said while the box had no power.
        gallery.ignore(browser)?;
        browser.wait_for_text("#system", &lab.manifest.release.version)?;
        browser.wait_for_text("#system", "System A")?;
        browser.wait_for_text("#network", "10.0.2.15")?;
        browser.wait_for_text("#units", "homebolt-manager.service")?;
        until(Duration::from_secs(60), || {
            ensure!(!browser.text("#resources")?.contains("not known yet"), "disk and memory are not known");
            Ok(())
        })
    });
    report.test("the home page looks right on phone and desktop, without complaints of the browser", || {
        gallery.look(browser, "home")?;
        gallery.nothing_sideways()?;
        gallery.no_complaints().map(|_| ())
    });
    report.test("a unit that stops is seen on the open page", || {
        browser.wait_for_text("#units", "systemd-timesyncd.service")?;
        let before = browser.text("#units")?;
        live.shell("systemctl stop systemd-timesyncd.service")?;
        until(Duration::from_secs(30), || {
            ensure!(browser.text("#units")? != before, "the page still shows\n{before}");
            Ok(())
        })?;
        live.shell("systemctl start systemd-timesyncd.service").map(|_| ())
    });
    report.test("the claim code has vanished from the console", || {
        let screen = live.screen()?;
        ensure!(screen.code().is_none(), "the console shows {:?}", screen.code());
        ensure!(live.client().get("/claim")?.status == 303, "the claim page is still there");
        Ok(())
    });
    report.test("after the claim every closed route is refused without a session", || {
        let routes = live.shell("homebolt-manager routes")?;
        visitor::walk(&live.client(), &routes, None).map(|_| ())
    });
    report.test("slot B is filled after the cuts", || live.wait_for_both_systems())?;
    picture_of_screen(report, &mut live, "screen-claimed.ppm");
    report.test("the restart that the owner asks for keeps everything, and the page comes back by itself", || {
        let boot = live.shell("cat /proc/sys/kernel/random/boot_id")?;
        browser.open(&format!("{}/restart", live.client().origin()))?;
        browser.wait_for("/restart")?;
        browser.click("main form button")?;
        until(BOOT, || {
            let path = browser.path()?;
            ensure!(path == "/home" || path == "/sign-in", "the browser waits at {path}");
            Ok(())
        })?;
        live.wait_for_shell(BOOT)?;
        ensure!(live.shell("cat /proc/sys/kernel/random/boot_id")? != boot, "the box has not restarted");
        same_box(&mut live, kept)?;
        let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
        let audit = owner.get("/audit")?.text();
        ensure!(audit.contains("Claimed."), "the audit log has forgotten the claim");
        ensure!(live.screen()?.code().is_none(), "an owned box shows a claim code");
        live.settle().map(|_| ())
    })?;
    place::run(report, &mut live)?;
    access::run(report, &mut live, browser);
    report.test("the box switches itself off", || {
        // Else the disk goes to the other parts with a start that was not found good.
        super::fallback::marked_good(&mut live, "A")?;
        live.switch_off()
    })
}

fn same_box(live: &mut Live, kept: &Kept) -> Outcome {
    let words = live.screen()?.words();
    ensure!(words == kept.words, "the certificate is another one: {words:?}");
    live.wait_for_shell(BOOT)?;
    let id = live.shell("cat /etc/machine-id")?;
    ensure!(id == kept.machine_id, "the machine id is another one");
    Ok(())
}

/// What HDMI shows, for people to look at.
fn picture_of_screen(report: &Report, live: &mut Live, name: &str) {
    let path = report.log(name);
    let taken = live.running().and_then(|running| Ok(running.monitor().screenshot(Path::new(&path))?));
    if taken.is_err() {
        report.note(&format!("no picture of the screen: {name}"));
    }
}
