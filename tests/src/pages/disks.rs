//! The page of disks, with everything that a disk can have on it. The root program is a fake: its reports are written here.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    gallery::Gallery,
    manager::Manager,
    report::{Outcome, ensure, until},
};

const FILMS: &str = "WD-FILMS-1";

fn disk(name: &str, serial: &str, parts: &Value) -> Value {
    json!({
        "name": name, "model": "Test disk", "serial": serial, "size": 64_000_000_000_u64, "booted": false, "live": false,
        "empty": parts.as_array().is_some_and(Vec::is_empty), "parts": parts, "obstacle": null,
    })
}

fn data(standing: &str, own: bool, moved: Option<u64>) -> Value {
    json!([{
        "label": "data", "size": 60_000_000_000_u64, "content": "ext4",
        "data": {
            "partition": "11111111-2222-3333-4444-555555555555", "standing": standing, "own": own, "host": "attic",
            "wallet": true, "moved_at": moved, "moved_to": "Other SSD (serial number 77)",
        },
    }])
}

/// All kinds of disks at once.
fn disks() -> Value {
    let mut home = disk("vda", "TEST-1", &data("live", true, None));
    (home["booted"], home["live"]) = (json!(true), json!(true));
    let films = json!([
        { "label": "", "size": 60_000_000_000_u64, "content": "ntfs \u{201c}films\u{201d}", "data": null },
        { "label": "a label of no less than forty letters, really", "size": 4_000_000_000_u64, "content": "", "data": null },
    ]);
    let mut small = disk("vdg", "", &json!([]));
    small["obstacle"] = json!({ "small": 1_073_741_824_u64 });
    json!({
        "at": 1_763_740_000, "used": 2_000_000_000_u64, "wallet": false,
        "disks": [
            home, disk("vdb", FILMS, &films), disk("vdc", "EMPTY", &json!([])),
            disk("vdd", "OTHER-BOX", &data("live", false, None)),
            disk("vde", "OLD", &data("moved", true, Some(1_763_000_000))),
            disk("vdf", "", &data("arriving", true, None)), small,
        ],
    })
}

fn moving(phase: &str, error: &str) -> Value {
    json!({ "phase": phase, "done": 1_000_000_000_u64, "total": 4_000_000_000_u64, "error": error, "disk": "Test disk", "at": 7 })
}

/// From the wizard's step, with all its faces, to its end.
pub(super) fn tour(manager: &Manager, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let origin = manager.tls().origin();
    let open = || -> Outcome {
        browser.open(&format!("{origin}/setup/disk"))?;
        browser.wait_for("/setup/disk")
    };
    let open_all = "document.querySelectorAll('details').forEach(part => { part.open = true })";
    gallery.look(browser, "setup-disk-not-looked")?;
    manager.replace("disks.json", &disks())?;
    std::thread::sleep(Duration::from_secs(2));
    open()?;
    browser.wait_for_text("main", FILMS)?;
    gallery.look(browser, "setup-disk")?;
    browser.run(open_all)?;
    gallery.look(browser, "setup-disk-open")?;
    browser.fill("#confirm-vdb", "something else")?;
    browser.click("form[action='/disk/move']:has(#confirm-vdb) button")?;
    browser.wait_for_text("#disk-complaint", FILMS)?;
    let kept = browser.evaluate("document.querySelector('#confirm-vdb').value")?;
    ensure!(kept == "something else", "the form has lost what was typed: {kept}");
    gallery.ignore(browser)?;
    gallery.look(browser, "setup-disk-refused")?;
    for phase in ["copy", "switch"] {
        manager.replace("move.json", &moving(phase, ""))?;
        std::thread::sleep(Duration::from_secs(2));
        open()?;
        gallery.look(browser, &format!("setup-disk-{phase}"))?;
    }
    manager.replace("move.json", &moving("failed", "the disk Test disk was unplugged"))?;
    std::thread::sleep(Duration::from_secs(2));
    browser.open(&format!("{origin}/settings/disk"))?;
    browser.wait_for_text("main", "was unplugged")?;
    gallery.look(browser, "settings-disk-failed")?;
    open()?;
    browser.click("form[action='/setup/disk/stay'] button")?;
    // To the next step that is not done.
    until(Duration::from_secs(20), || {
        let path = browser.path()?;
        ensure!(path.starts_with("/setup/") && path != "/setup/disk", "the wizard does not go on from {path}");
        Ok(())
    })
}
