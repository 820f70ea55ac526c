//! Part `fallback`: a system that does not start, three times, and the other one that says why; and what happens when neither
//! does.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bootstate::{COPIES, Counter, LENGTH, ROUNDS, State, TRIES};

use crate::{
    Context,
    disk::{Damage, file_in_fat, get, partition, remove_partition},
    http::Extra,
    report::{Outcome, Report, ensure, tail, until},
    visitor,
};

use super::{
    lab::{BOOT, Lab, Live, Options},
    update,
};

/// Three failed starts and a good one.
const PATIENCE: Duration = Duration::from_secs(540);

pub(crate) fn run(report: &mut Report, lab: &Lab, disk: &Path, context: &Context) {
    report.test("a damaged block of the root: three tries, then system B, and the page says why", || {
        let root = partition(disk, "root-a")?;
        let mut damage = Damage::new(disk);
        // In the block that every start reads first, but not in the part that the mount looks at.
        damage.flip(root.start + 3000, 16)?;
        falls_back(lab, disk, "fallback-root", "does not match its root hash")
    });
    report.test("a broken initrd: three tries, then system B, and the page says why", || {
        let boot = partition(disk, "boot-a")?;
        let initrd = file_in_fat(disk, boot.start, &["INITRD"])?;
        let mut damage = Damage::new(disk);
        damage.write(initrd, &[0x5a; 65_536])?;
        falls_back(lab, disk, "fallback-initrd", "kernel or initrd is broken")
    });
    report.test("with the tries of both systems used up the boot loader goes round once more after a pause", || {
        let mut damage = Damage::new(disk);
        set_boot_state(disk, &mut damage, State { a: USED_UP, b: USED_UP, ..State::LOST })?;
        let mut live = lab.start(disk, "fallback-used-up", Options { throw_away: true, ..Options::default() })?;
        live.wait_for_page(PATIENCE)?;
        let console = live.console();
        ensure!(console.contains("beginning again in 30 seconds"), "the boot loader does not say that it begins again");
        ensure!(console.matches("homebolt: starting system").count() == 1, "more than one start:\n{console}");
        live.wait_for_shell(BOOT)?;
        marked_good(&mut live, "A")?;
        let state = live.boot_state()?;
        ensure!(state.contains("ROUND=0"), "the round is not over:\n{state}");
        Ok(())
    });
    report.test("a system that hangs is restarted by the hardware watchdog, which the initrd had armed", || {
        let options = Options { throw_away: true, watchdog: true, ..Options::default() };
        let mut live = lab.start(disk, "fallback-hang", options)?;
        live.wait_for_page(PATIENCE)?;
        live.wait_for_shell(BOOT)?;
        let log = live.shell("dmesg")?;
        let at = |words: &str| log.find(words);
        let (armed, handed) = (at("homebolt: the hardware watchdog is armed"), at("homebolt: hand over to systemd"));
        ensure!(armed.is_some() && armed < handed, "the initrd did not arm the watchdog:\n{}", tail(&log, 30));
        let state = live.shell("cat /sys/class/watchdog/watchdog0/state")?;
        ensure!(state == "active", "under systemd the watchdog is {state}");
        // systemd stops all it does when it crashes, and nobody is left to write to the watchdog.
        let _ = live.ask("kill -SEGV 1");
        until(Duration::from_secs(180), || {
            let starts = live.console().matches("homebolt: boot loader").count();
            ensure!(starts == 2, "the box was started {starts} times");
            Ok(())
        })?;
        live.wait_for_page(PATIENCE).map(|_| ())
    });
    recovers(report, lab, disk, context);
}

const USED_UP: Counter = Counter { ok: true, tries: TRIES };

/// Both systems do not start; a bundle brings the box back.
fn recovers(report: &mut Report, lab: &Lab, disk: &Path, context: &Context) {
    let Some(folder) = report.need("there is room for a bundle", || lab.room()) else { return };
    let made = report.need("homebolt bundle makes a signed bundle of the image", || {
        update::bundle(context, &lab.image, folder.path(), None)
    });
    let Some(bundle) = made else { return };
    report.test(
        "with both roots damaged the recovery says why, and a bundle sent by the browser brings the box back",
        || {
            let mut damage = Damage::new(disk);
            damage_roots(disk, &mut damage)?;
            // One try of each is left.
            let last = Counter { ok: true, tries: TRIES - 1 };
            set_boot_state(disk, &mut damage, State { a: last, b: last, round: ROUNDS - 1, ..State::LOST })?;
            let mut live = lab.start(disk, "fallback-recovery", Options { throw_away: true, ..Options::default() })?;
            let page = reasons(&mut live)?;
            for slot in ["A", "B"] {
                let reason = format!("Slot {slot} was started 3 times without success: its system image is damaged");
                ensure!(page.contains(&reason), "of system {slot} the page does not say so: {page}");
            }
            ensure!(page.contains("data partition is there and sound"), "the page does not see the data: {page}");
            ensure!(page.contains("<td>gate:ok</td>"), "the page does not show the last starts: {page}");
            // The page may answer before the screen is drawn anew.
            until(Duration::from_secs(60), || {
                let console = live.console();
                for words in ["RECOVERY. Neither of the two systems", "http://10.0.2.15"] {
                    ensure!(console.contains(words), "the console does not say {words:?}:\n{}", tail(&console, 5));
                }
                Ok(())
            })?;

            let broken = folder.path().join("broken.raucb");
            fs::write(&broken, vec![7; 100_000])?;
            upload(&live, &broken)?;
            until(Duration::from_secs(60), || {
                let page = live.plain().get("/")?.text();
                ensure!(
                    page.contains("Nothing was installed. The bundle is refused"),
                    "what is no bundle is taken: {page}"
                );
                Ok(())
            })?;
            upload(&live, &bundle)?;
            comes_back(&mut live, "B")?;
            let owner = visitor::sign_in(&live.client())?;
            ensure!(!owner.is_empty(), "the owner cannot sign in any more");
            Ok(())
        },
    );
    report.test("without a data partition the recovery says so and takes a bundle into memory", || {
        let mut damage = Damage::new(disk);
        damage_roots(disk, &mut damage)?;
        set_boot_state(disk, &mut damage, State { a: USED_UP, b: USED_UP, round: ROUNDS - 1, ..State::LOST })?;
        // Both tables: 34 sectors at the start, 33 at the end.
        let length = fs::metadata(disk)?.len();
        damage.protect(0, 34 * 512)?;
        damage.protect(length - 33 * 512, 33 * 512)?;
        remove_partition(disk, "data")?;
        let mut live = lab.start(disk, "fallback-no-data", Options { throw_away: true, ..Options::default() })?;
        let page = reasons(&mut live)?;
        ensure!(page.contains("The disk has no data partition."), "the page does not say what is missing: {page}");
        upload(&live, &bundle)?;
        comes_back(&mut live, "B")
    });
    report.test("asked to try again, the recovery lets the boot loader start both systems anew", || {
        let mut damage = Damage::new(disk);
        set_boot_state(disk, &mut damage, State { a: USED_UP, b: USED_UP, round: ROUNDS - 1, ..State::LOST })?;
        let mut live = lab.start(disk, "fallback-again", Options { throw_away: true, ..Options::default() })?;
        reasons(&mut live)?;
        let foreign = Extra { headers: &[("Origin", "http://evil.example")], form: &[] };
        let answer = live.plain().send("POST", "/again", &foreign)?;
        ensure!(answer.status == 403, "another page may ask for it: {}", answer.status);
        let answer = live.plain().post("/again", &[])?;
        ensure!(answer.status == 303, "it is answered by {}", answer.status);
        comes_back(&mut live, "A")
    });
}

fn damage_roots(disk: &Path, damage: &mut Damage) -> Outcome {
    ["root-a", "root-b"].into_iter().try_for_each(|name| damage.flip(partition(disk, name)?.start + 3000, 16))
}

/// Writes both copies of the boot state.
fn set_boot_state(disk: &Path, damage: &mut Damage, state: State) -> Outcome {
    let esp = partition(disk, "esp")?;
    for copy in COPIES {
        let at = file_in_fat(disk, esp.start, &copy)?;
        let known = bootstate::decode(&get(disk, at, LENGTH)?);
        ensure!(known.is_some(), "the image's boot state cannot be read in {}", copy.join("/"));
        damage.write(at, &bootstate::encode(&state, 500_000))?;
    }
    Ok(())
}

/// Waits until the recovery has found out what is wrong; gives its page.
fn reasons(live: &mut Live) -> Outcome<String> {
    until(PATIENCE, || {
        live.running()?.check()?;
        let page = live.plain().within(Duration::from_secs(4)).get("/")?.text();
        ensure!(page.contains("Homebolt recovery"), "the page is not the recovery's: {page}");
        ensure!(page.contains("<h3>System B"), "the recovery has not looked at both systems: {page}");
        Ok(page)
    })
}

fn upload(live: &Live, bundle: &Path) -> Outcome {
    let answer = live.plain().within(Duration::from_secs(300)).connect()?.upload("/bundle", "bundle", bundle)?;
    ensure!(answer.status == 303, "the bundle is answered by {}: {}", answer.status, answer.text());
    Ok(())
}

/// Waits until the box has left the recovery, runs that system, and has marked it good.
fn comes_back(live: &mut Live, system: &str) -> Outcome {
    let end = Instant::now() + PATIENCE;
    let mut last = String::new();
    while live.client().within(Duration::from_secs(4)).get("/healthz").is_err() {
        live.running()?.check()?;
        if let Ok(page) = live.plain().within(Duration::from_secs(4)).get("/") {
            last = page.text();
            ensure!(!last.contains("Nothing was installed"), "the recovery gives up: {last}");
        }
        ensure!(Instant::now() < end, "the box does not come back; its last page: {last}");
        thread::sleep(Duration::from_secs(1));
    }
    live.wait_for_shell(BOOT)?;
    let report = live.shell("cat /run/homebolt/boot.json")?;
    ensure!(report.contains(&format!("\"slot\":\"{system}\"")), "the initrd says {report}");
    marked_good(live, system)?;
    let state = live.boot_state()?;
    ensure!(state.contains(&format!("ORDER={system} ")) && state.contains("ROUND=0"), "the boot state is\n{state}");
    Ok(())
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
    says_why(&live, &owner, "A", reason)?;
    // It is a whole box: found healthy, and the failures of the other are not forgotten.
    marked_good(&mut live, "B")?;
    let env = live.boot_state()?;
    ensure!(env.contains("A_TRY=3"), "the tries of A are forgotten:\n{env}");
    Ok(())
}

/// Waits until the health gate has set the tries of that system back.
pub(crate) fn marked_good(live: &mut Live, system: &str) -> Outcome {
    until(Duration::from_secs(180), || {
        let env = live.boot_state()?;
        let good = [format!("{system}_OK=1"), format!("{system}_TRY=0")];
        ensure!(good.iter().all(|setting| env.contains(setting)), "{system} is not marked good:\n{env}");
        Ok(())
    })
}

/// That the home page says of that system why it did not start.
pub(super) fn says_why(live: &Live, owner: &crate::http::Client, system: &str, reason: &str) -> Outcome {
    let title = format!("System {system} did not start");
    // The whole image of the system is checked for it, which takes a while.
    until(Duration::from_secs(300), || {
        let page = owner.get("/home")?.text();
        ensure!(page.contains(&title), "the home page does not mention it");
        let at = page.find(&title).unwrap_or_default();
        let seen: String = page.chars().skip(at).take(400).collect();
        let begin = format!("Slot {system} was started 3 times without success");
        ensure!(page.contains(&begin), "the page says {seen}");
        ensure!(page.contains(reason), "the page gives another reason: {seen}");
        Ok(())
    })?;
    // It is drawn anew some time after the page has changed.
    until(Duration::from_secs(30), || {
        let screen = live.screen()?.0;
        ensure!(screen.contains(&title), "the console does not say it:\n{screen}");
        Ok(())
    })
}
