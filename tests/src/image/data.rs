//! Part `data`: a data partition that is wiped, damaged or missing. The box says so and never begins as if it were new.

use std::{path::Path, time::Duration};

use crate::{
    disk::{Damage, partition, remove_partition},
    pages::recovery,
    report::{Outcome, Report, ensure, until},
    visitor,
};

use super::lab::{BOOT, Lab, Live, Options, SERIAL};

/// Where ext4 with 4 KiB blocks keeps the copy of its first block.
const COPY: u64 = 32768 * 4096;

pub(crate) fn run(report: &mut Report, lab: &Lab, disk: &Path) {
    report.test("a wiped data partition: the box says so; with code and serial number it starts empty", || {
        let data = partition(disk, "data")?;
        let mut damage = Damage::new(disk);
        damage.write(data.start, &[0; 1 << 20])?;
        damage.write(data.start + COPY, &[0; 1 << 16])?;
        let mut live = start(lab, disk, "data-foreign")?;
        faulty(&mut live, "The data partition holds something else", "nothing that this box knows")?;
        let old = live.code()?;
        for wrong in ["", "ERASE", "HOMEBOLT-TEST-2"] {
            let form = [("action", "data-format"), ("code", old.as_str()), ("confirm", wrong)];
            let answer = live.client().post("/recovery", &form)?;
            ensure!(answer.status == 422, "erasing with the serial number {wrong:?} is answered by {}", answer.status);
        }
        let begin = live.shell("head -c 1048576 /dev/homebolt/data | tr -d '\\0' | wc -c")?;
        ensure!(begin.trim() == "0", "the partition was changed: {begin} bytes at its beginning");
        act(&mut live, &[("action", "data-format"), ("code", &old), ("confirm", SERIAL)], "/claim")?;
        // The console's last picture may still be the one from before the restart.
        let code = until(Duration::from_secs(60), || {
            let code = live.code()?;
            ensure!(code != old, "the console still shows the code from before the erasure");
            Ok(code)
        })?;
        visitor::set_password(&live.client(), &visitor::claim(&live.client(), &code)?)?;
        live.wait_for_shell(BOOT)?;
        let report = live.shell("cat /run/homebolt/boot.json")?;
        ensure!(report.contains("\"state\":\"ok\""), "the initrd says {report}");
        live.switch_off()
    });
    report.test("a damaged data partition: the box says so, and the repair brings the owner's data back", || {
        let data = partition(disk, "data")?;
        let mut damage = Damage::new(disk);
        damage.write(data.start, &[0; 4096])?;
        let mut live = start(lab, disk, "data-damaged")?;
        faulty(&mut live, "The data partition is damaged", "a repair may bring it back")?;
        let code = live.code()?;
        act(&mut live, &[("action", "data-repair"), ("code", &code)], "/sign-in")?;
        visitor::sign_in(&live.client()).map(|_| ())
    });
    report.test("a missing data partition: the box says so and starts no wallet", || {
        let mut damage = Damage::new(disk);
        // Both tables: 34 sectors at the start, 33 at the end.
        let length = std::fs::metadata(disk)?.len();
        damage.protect(0, 34 * 512)?;
        damage.protect(length - 33 * 512, 33 * 512)?;
        remove_partition(disk, "data")?;
        let mut live = start(lab, disk, "data-missing")?;
        faulty(&mut live, "The data partition is missing", "")
    });
}

fn start(lab: &Lab, disk: &Path, name: &str) -> Outcome<Live> {
    let mut live = lab.start(disk, name, Options { throw_away: true, ..Options::default() })?;
    live.wait_for_page(BOOT)?;
    Ok(live)
}

/// That console and page say what is wrong, that no wallet and no wizard starts, and that the system is found well.
pub(super) fn faulty(live: &mut Live, title: &str, detail: &str) -> Outcome {
    recovery(&live.client(), title, detail)?;
    until(Duration::from_secs(30), || {
        let screen = live.screen()?.0;
        ensure!(screen.contains(title), "the console does not say it:\n{screen}");
        Ok(())
    })?;
    for (path, field) in [("/claim", "code"), ("/password", "password"), ("/sign-in", "password")] {
        let code = live.code()?;
        let answer = live.client().post(path, &[(field, code.as_str()), ("again", &code)])?;
        ensure!(
            answer.status == 503 && answer.session().is_none(),
            "{path} with the right code is answered by {} to {:?}",
            answer.status,
            answer.location()
        );
    }
    let state = live.settle()?;
    let failed = live.shell("systemctl list-units --failed --no-legend --plain")?;
    ensure!(state == "running", "the box is {state}; failed:\n{failed}");
    let lnd = live.ask("systemctl is-active lnd.service")?.text;
    ensure!(lnd.trim() == "inactive", "LND is {lnd}");
    let processes = live.shell("cat /proc/[0-9]*/comm")?;
    ensure!(!processes.lines().any(|name| name == "lnd"), "an lnd runs");
    // The boot loader had raised the count for this start: the gate has set it back.
    let boot = live.shell("cat /run/homebolt/boot.json")?;
    let system = if boot.contains("\"slot\":\"B\"") { "B" } else { "A" };
    let slots = live.boot_state()?;
    ensure!(
        slots.contains(&format!("{system}_TRY=0")),
        "the fault of the data is counted against the system:\n{slots}"
    );
    Ok(())
}

/// Asks for something on the page and waits until the box has restarted and its start page leads to `door`.
fn act(live: &mut Live, form: &[(&str, &str)], door: &str) -> Outcome {
    let answer = live.client().post("/recovery", form)?;
    ensure!(answer.status == 303, "it is answered by {}: {}", answer.status, visitor::complaint(&answer));
    let led = until(BOOT, || {
        let answer = live.client().within(Duration::from_secs(4)).get("/")?;
        let page = answer.text();
        let at = page.find("That did not work").or_else(|| page.find("<h1>")).unwrap_or_default();
        let seen: String = page[at..].chars().take(300).collect();
        ensure!(answer.location() == door, "the start page answers {}: {seen}", answer.status);
        Ok(())
    });
    live.or_why(led)
}
