//! Part `fallback`: a system that does not start, three times, and the other one that says why.

use std::{path::Path, time::Duration};

use crate::{
    disk::{Damage, file_in_fat, get, partition},
    report::{Outcome, Report, ensure, until},
    visitor,
};

use super::lab::{BOOT, Lab, Live, Options};

/// Three failed starts and a good one.
const PATIENCE: Duration = Duration::from_secs(540);

pub(crate) fn run(report: &mut Report, lab: &Lab, disk: &Path) {
    report.test("a damaged block of the root: three tries, then system B, and the page says why", || {
        let root = partition(disk, "root-a")?;
        let mut damage = Damage::new(disk);
        // In the block that every start reads first, but not in the part that the mount looks at.
        damage.flip(root.start + 3000, 16)?;
        falls_back(lab, disk, "fallback-root", "does not match its root hash")
    });
    report.test("a broken initrd: three tries, then system B, and the page says why", || {
        let boot = partition(disk, "boot-a")?;
        let initrd = file_in_fat(disk, boot.start, &["INITRD     "])?;
        let mut damage = Damage::new(disk);
        damage.write(initrd, &[0x5a; 65_536])?;
        falls_back(lab, disk, "fallback-initrd", "kernel or initrd is broken")
    });
    report.test("with the tries of both systems used up the boot loader begins again after a pause", || {
        let esp = partition(disk, "esp")?;
        let count = file_in_fat(disk, esp.start, &["GRUB       ", "GRUBENV    "])?;
        let block = String::from_utf8_lossy(&get(disk, count, 1024)?).into_owned();
        ensure!(block.contains("A_TRY=0") && block.contains("B_TRY=0"), "the counts before are {block}");
        let mut damage = Damage::new(disk);
        damage.write(count, block.replace("_TRY=0", "_TRY=3").as_bytes())?;
        let mut live = lab.start(disk, "fallback-used-up", Options { throw_away: true, ..Options::default() })?;
        live.wait_for_page(PATIENCE)?;
        let console = live.console();
        ensure!(console.contains("beginning again in 30 seconds"), "the boot loader does not say that it begins again");
        ensure!(console.matches("homebolt: starting system").count() == 1, "more than one start:\n{console}");
        live.wait_for_shell(BOOT)?;
        marked_good(&mut live, "A")
    });
}

fn falls_back(lab: &Lab, disk: &Path, name: &str, reason: &str) -> Outcome {
    let mut live = lab.start(disk, name, Options { throw_away: true, ..Options::default() })?;
    live.wait_for_page(PATIENCE)?;
    let console = live.console();
    let starts = |system: &str| console.matches(&format!("homebolt: starting system {system}")).count();
    ensure!((starts("A"), starts("B")) == (3, 1), "{} starts of A, {} of B", starts("A"), starts("B"));
    live.wait_for_shell(BOOT)?;
    let report = live.shell("cat /run/homebolt/boot.json")?;
    ensure!(report.contains("\"slot\":\"B\""), "the initrd says {report}");
    let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
    says_why(&live, &owner, reason)?;
    // It is a whole box: found healthy, and the failures of the other are not forgotten.
    marked_good(&mut live, "B")?;
    let env = live.shell("cat /efi/grub/grubenv | tr -d '#'")?;
    ensure!(env.contains("A_TRY=3"), "the tries of A are forgotten:\n{env}");
    Ok(())
}

/// Waits until the health gate has set the tries of that system back.
fn marked_good(live: &mut Live, system: &str) -> Outcome {
    until(Duration::from_secs(180), || {
        let env = live.shell("cat /efi/grub/grubenv | tr -d '#'")?;
        let good = [format!("{system}_OK=1"), format!("{system}_TRY=0")];
        ensure!(good.iter().all(|setting| env.contains(setting)), "{system} is not marked good:\n{env}");
        Ok(())
    })
}

fn says_why(live: &Live, owner: &crate::http::Client, reason: &str) -> Outcome {
    // The whole image of A is checked for it, which takes a while.
    until(Duration::from_secs(300), || {
        let page = owner.get("/home")?.text();
        ensure!(page.contains("System A did not start"), "the home page does not mention it");
        let at = page.find("System A did not start").unwrap_or_default();
        let seen: String = page.chars().skip(at).take(400).collect();
        ensure!(page.contains("Slot A was started 3 times without success"), "the page says {seen}");
        ensure!(page.contains(reason), "the page gives another reason: {seen}");
        Ok(())
    })?;
    let screen = live.screen()?.0;
    ensure!(screen.contains("System A did not start"), "the console does not say it:\n{screen}");
    Ok(())
}
