//! Part `u-boot`: the disk that UEFI firmware starts on other machines is started by U-Boot, as on single-board computers.
//! There is no root shell: the box is seen as its owner sees it.

use serde_json::Value;

use crate::{
    http::Client,
    report::{Outcome, Report, ensure, fails, until},
    visitor,
};

use super::lab::{BOOT, GIB, Lab, Live, Options, STOP};

pub(crate) fn run(report: &mut Report, lab: &Lab) {
    let disk = report.need("a new disk", || lab.disk("u-boot", 4 * GIB));
    let Some(disk) = disk else { return };
    let live = report.need("U-Boot starts GRUB, and GRUB system A: its page answers", || {
        let mut live = lab.start(&disk, "u-boot", Options { u_boot: true, ..Options::default() })?;
        let time = live.wait_for_page(BOOT)?;
        ensure!(live.console().contains("U-Boot"), "U-Boot has not been here");
        ensure!(live.starts("A") == 1, "system A was started {} times", live.starts("A"));
        println!("        power on to HTTPS: {:.1} s", time.as_secs_f64());
        Ok(live)
    });
    let Some(mut live) = live else { return };
    let owner = report.need("the code on its console is taken, and a password", || {
        let claim = visitor::claim(&live.client(), &live.code()?)?;
        Ok(live.client().with_session(&visitor::set_password(&live.client(), &claim)?))
    });
    let Some(owner) = owner else { return };
    report.test("GRUB below U-Boot reads and writes the boot state: system B by hand, and it is kept", || {
        to_the_other(&mut live, &owner)
    });
    report.test("after a power cut U-Boot starts system B again", || {
        live.cut_power();
        let mut live = lab.start(&disk, "u-boot", Options { u_boot: true, ..Options::default() })?;
        live.wait_for_page(BOOT)?;
        ensure!((live.starts("A"), live.starts("B")) == (0, 1), "the console says\n{}", live.console());
        live.cut_power();
        Ok(())
    });
}

/// The owner goes to the system in the other slot by typing its version, and sees it kept.
fn to_the_other(live: &mut Live, owner: &Client) -> Outcome {
    let other = until(BOOT, || {
        let b = slot_b(owner)?;
        ensure!(b["ok"] == true, "slot B is not filled: {b}");
        b["version"].as_str().map_or_else(|| fails(format!("slot B has no version: {b}")), |it| Ok(it.to_owned()))
    })?;
    let answer = owner.post("/settings/updates/switch", &[("version", &other)])?;
    ensure!(answer.status == 303, "the switch answers with {}: {}", answer.status, visitor::complaint(&answer));
    live.wait_for_start("B", 0, STOP)?;
    live.wait_for_page(BOOT)?;
    until(BOOT, || {
        let b = slot_b(&live.client().with_session(&visitor::sign_in(&live.client())?))?;
        ensure!(b["booted"] == true && b["ok"] == true && b["tries"] == 0, "system B is not kept: {b}");
        Ok(())
    })
}

/// What the API tells of it.
fn slot_b(owner: &Client) -> Outcome<Value> {
    let answer = owner.get("/api/v1/system/slots")?.text();
    let slots: Value = serde_json::from_str(&answer)?;
    let found = slots["items"].as_array().and_then(|all| all.iter().find(|slot| slot["slot"] == "b")).cloned();
    found.map_or_else(|| fails(format!("there is no slot B in {answer}")), Ok)
}
