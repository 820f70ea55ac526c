//! Part `update`: a box is asked to update itself as its manager asks, with the real RAUC and a plain web server. It refuses
//! what it must, goes on when the server comes back, restarts, and keeps what has proved itself.

use std::{
    fs::{self, OpenOptions},
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use homebolt::image;
use twin::updates::{Job, Report as Updates, Stage};

use crate::{
    Context,
    bench::field,
    pages::updates::ADDED,
    report::{Outcome, Report, ensure, fails, tail, until},
    shelf::Shelf,
};

use super::{
    checks,
    lab::{BOOT, GIB, Lab, Live, Options, STOP},
};

/// The computer that the machine runs on, as the machine sees it.
pub(crate) const HOST: &str = "10.0.2.2";
pub(super) const INSTALL: Duration = Duration::from_secs(900);
/// Off, through the boot loader, and on again.
const RESTART: Duration = Duration::from_secs(STOP.as_secs() + BOOT.as_secs());
/// A server that leaves after so many bytes leaves in the middle: the index of blocks alone is longer.
const MIDDLE: i64 = 300_000;
/// Of a bundle, what a release that changes the manager alone may cost on the wire, percent.
const SHARE: u64 = 12;

pub(crate) fn run(report: &mut Report, lab: &Lab, context: &Context) {
    let Some(folder) = report.need("there is room for bundles", || lab.room()) else { return };
    let made =
        report.need("homebolt bundle makes a signed bundle of the image", || bundles(context, lab, folder.path()));
    let Some(shelf) = made else { return };
    let from = context.from.as_ref().unwrap_or(&lab.image);
    let disk = report.need("a new disk", || lab.disk_of(from, "update", 8 * GIB));
    let Some(disk) = disk else { return };
    let Some(mut live) = report.need("the box runs, with both systems filled", || {
        let mut live = lab.start(&disk, "update", Options::default())?;
        live.wait_for_page(BOOT)?;
        live.wait_for_both_systems()?;
        Ok(live)
    }) else {
        return;
    };
    refusals(report, &mut live, &shelf);
    let installed = report.test(
        "a server that stops in the middle costs time, and the job goes on by itself when it is back",
        || {
            let size = fs::metadata(folder.path().join("good.raucb"))?.len();
            let sent = install(&mut live, &shelf, size)?;
            ensure!(
                context.from.is_none() || sent * 100 <= size * SHARE,
                "more than {SHARE} % of the bundle was fetched"
            );
            Ok(())
        },
    );
    let kept = installed.and_then(|()| {
        report.test("the new system starts, passes its health gate, and the report says that it is kept", || {
            restart(&mut live)
        })
    });
    if kept.is_some() {
        report.test("the owner goes back to the other system by typing its version", || {
            go_back(&mut live, &image::manifest(from, None)?.release.version)
        });
    }
    live.cut_power();
}

fn refusals(report: &mut Report, live: &mut Live, shelf: &Shelf) {
    report.test("nobody but root may tell RAUC what to do", || {
        let words = "busctl call de.pengutronix.rauc / de.pengutronix.rauc.Installer Mark ss bad other";
        let output = live.ask(&format!("busybox su -s /bin/sh homebolt -c '{words}'"))?;
        ensure!(output.code != 0, "the manager's user may: {}", output.text);
        Ok(())
    });
    report.test("a document that nobody trusted has signed is refused at once", || {
        fetch(live, shelf, "other.json", "update.json")?;
        refused(live, &wish(shelf, "good.raucb"), "does not trust")
    });
    report.test("a version that is not newer is refused unless the owner confirms it", || {
        fetch(live, shelf, "good.json", "update.json")?;
        refused(live, &wish(shelf, "good.raucb").replace("\"older\":true", "\"older\":false"), "not newer")
    });
    report.test("a bundle of another signer is refused and changes nothing", || {
        fetch(live, shelf, "good.json", "update.json")?;
        refused(live, &wish(shelf, "other.raucb"), "signature verification failed")
    });
    report.test("a truncated bundle is refused and changes nothing", || {
        refused(live, &wish(shelf, "short.raucb"), "RAUC:")
    });
    report.test("an upload that was cut off is refused before RAUC sees it", || {
        live.shell("head -c 100000 /dev/zero >/data/homebolt/update/bundle.raucb")?;
        refused(live, r#"{"source":"upload","older":true,"by_hand":true}"#, "cut off on its way")
    });
}

/// A good one, one of another signer, one that ends too early; the signed documents of the first two.
fn bundles(context: &Context, lab: &Lab, folder: &Path) -> Outcome<Shelf> {
    ensure!(lab.manifest.release.development_keys, "the image is a release: it takes no bundle that a test can sign");
    named(context, &lab.image, folder, "good", None)?;
    // Keys of the same name, made by somebody else.
    let keys = folder.join("keys");
    homebolt(context, |command| command.arg("keys").arg("new").arg(&keys).args(["--name", "Homebolt development"]))?;
    named(context, &lab.image, folder, "other", Some(&keys))?;
    let short = folder.join("short.raucb");
    fs::copy(folder.join("good.raucb"), &short)?;
    let length = fs::metadata(&short)?.len();
    OpenOptions::new().write(true).open(&short)?.set_len(length / 2)?;
    Shelf::open(folder)
}

/// Makes `<name>.raucb` and `<name>.json` in the folder.
fn named(context: &Context, image: &Path, folder: &Path, name: &str, keys: Option<&Path>) -> Outcome {
    let raucb = bundle(context, image, &folder.join(name), keys)?;
    fs::rename(raucb.with_extension("update.json"), folder.join(format!("{name}.json")))?;
    Ok(fs::rename(raucb, folder.join(format!("{name}.raucb")))?)
}

/// Gives the bundle that `homebolt bundle` makes; its description lies beside it.
pub(crate) fn bundle(context: &Context, image: &Path, out: &Path, keys: Option<&Path>) -> Outcome<PathBuf> {
    homebolt(context, |command| {
        let command = command.arg("bundle").arg(image).arg("--out").arg(out);
        match keys {
            Some(keys) => command.arg("--keys").arg(keys),
            None => command,
        }
    })?;
    let name = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "raucb");
    let found = fs::read_dir(out)?.flatten().map(|entry| entry.path()).find(name);
    found.map_or_else(|| fails("homebolt bundle left no bundle"), Ok)
}

/// Runs the tool that people have.
pub(crate) fn homebolt(context: &Context, words: impl FnOnce(&mut Command) -> &mut Command) -> Outcome {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--bin", "homebolt", "--"]).current_dir(&context.root);
    let output = words(&mut command).output()?;
    ensure!(output.status.success(), "homebolt failed: {}", tail(&String::from_utf8_lossy(&output.stderr), 10));
    Ok(())
}

/// Lets RAUC install it by hand; gives its exit code and its words.
pub(crate) fn rauc(live: &mut Live, shelf: &Shelf, name: &str) -> Outcome<(i32, String)> {
    // In the background: on an emulated processor it takes longer than one question may.
    let url = format!("http://{HOST}:{}/{name}", shelf.port);
    live.shell(&format!(
        "rm -f /run/update.*; (rauc install {url} >/run/update.log 2>&1; echo $? >/run/update.code) &"
    ))?;
    until(INSTALL, || {
        let code = live.ask("cat /run/update.code")?.text.trim().to_owned();
        let said = live.ask("cat /run/update.log")?.text;
        match code.parse() {
            Ok(code) => Ok((code, said)),
            Err(_) => fails(format!("RAUC is not done:\n{said}")),
        }
    })
}

/// What the manager would ask for: this bundle from the server. The image is of the version that runs, so it counts as one
/// that the owner has confirmed.
pub(super) fn wish(shelf: &Shelf, name: &str) -> String {
    format!(r#"{{"source":{{"url":"http://{HOST}:{}/{name}"}},"older":true,"by_hand":true}}"#, shelf.port)
}

/// Puts a file from the server where the manager puts what it has fetched.
pub(super) fn fetch(live: &mut Live, shelf: &Shelf, name: &str, to: &str) -> Outcome {
    let folder = "/data/homebolt/update";
    live.shell(&format!(
        "mkdir -p {folder} && busybox wget -q -O {folder}/{to} http://{HOST}:{}/{name} && chown -R 800:800 {folder}",
        shelf.port
    ))?;
    Ok(())
}

/// Leaves a request as the manager does; gives whether it was taken, and what root answers in the end.
pub(super) fn ask(live: &mut Live, name: &str, content: &str) -> Outcome<(bool, String)> {
    let result = "/run/homebolt/request-result.json";
    let before = live.ask(&format!("cat {result}"))?.text;
    let folder = "/run/homebolt/manager";
    live.shell(&format!(
        "printf %s '{content}' >{folder}/.{name}.new && mv {folder}/.{name}.new {folder}/request/{name}"
    ))?;
    until(Duration::from_secs(90), || {
        let text = live.shell(&format!("cat {result}"))?;
        ensure!(text != before.trim_end(), "root does not answer");
        let answer: serde_json::Value = serde_json::from_str(&text)?;
        ensure!(answer["done"] == true && answer["name"] == name, "the last answer is {text}");
        Ok((answer["ok"] == true, answer["message"].as_str().unwrap_or_default().to_owned()))
    })
}

fn updates(live: &mut Live) -> Outcome<Updates> {
    Ok(serde_json::from_str(&live.shell("cat /run/homebolt/update.json")?)?)
}

/// The job, once it is in one of these stages.
pub(super) fn job(live: &mut Live, stages: &[Stage], limit: Duration) -> Outcome<Job> {
    until(limit, || {
        let Some(job) = updates(live)?.job else { return fails("there is no job") };
        ensure!(stages.contains(&job.stage), "the job is {job:?}");
        Ok(job)
    })
}

pub(super) const ENDED: [Stage; 4] = [Stage::Refused, Stage::Failed, Stage::Cancelled, Stage::Installed];

/// Asks, and finds it refused with this reason, at once or by the job; nothing is changed, and the history tells it.
pub(super) fn refused(live: &mut Live, wish: &str, reason: &str) -> Outcome {
    let before = live.boot_state()?;
    let history = updates(live)?.history.len();
    let (taken, said) = ask(live, "update-install", wish)?;
    if taken {
        let job = job(live, &ENDED, INSTALL)?;
        ensure!(job.stage == Stage::Refused && job.error.contains(reason), "the job is {job:?}");
    } else {
        ensure!(said.contains(reason), "refused for another reason: {said}");
    }
    let attempts = until(Duration::from_secs(20), || {
        let attempts = updates(live)?.history;
        ensure!(attempts.len() == history + 1, "the history has {} lines and not one more", attempts.len());
        Ok(attempts)
    })?;
    ensure!(attempts[0].stage == Stage::Refused && attempts[0].reason.contains(reason), "it says {:?}", attempts[0]);
    let after = live.boot_state()?;
    ensure!(before == after, "the boot loader's settings changed from\n{before}\nto\n{after}");
    Ok(())
}

/// `size`: of the whole bundle, bytes. Returns how many of them went over the wire.
fn install(live: &mut Live, shelf: &Shelf, size: u64) -> Outcome<u64> {
    fetch(live, shelf, "good.json", "update.json")?;
    let manager = live.shell("systemctl show --value -p MainPID homebolt-manager.service")?;
    let memory = |live: &mut Live, name: &str| field(&live.shell(&format!("cat /proc/{manager}/status"))?, name);
    // The peak counts from now on.
    live.shell(&format!("echo 5 >/proc/{manager}/clear_refs"))?;
    let before = memory(live, "VmRSS")?;
    shelf.sent();
    shelf.leave_after(MIDDLE);
    let start = Instant::now();
    let (taken, said) = ask(live, "update-install", &wish(shelf, "good.raucb"))?;
    ensure!(taken, "refused: {said}");
    let (twice, _) = ask(live, "update-install", &wish(shelf, "good.raucb"))?;
    ensure!(!twice, "two updates at once");
    let waits = until(INSTALL, || {
        let job = job(live, &[Stage::Installing], Duration::from_secs(1))?;
        ensure!(shelf.is_away() && !job.error.is_empty(), "the job has not lost its server: {job:?}");
        Ok(job)
    })?;
    println!("        without the server: {}", waits.error);
    shelf.come_back();
    let job = job(live, &ENDED, INSTALL)?;
    if job.stage != Stage::Installed {
        let journal = live.ask("journalctl -u rauc -u homebolt-update --no-pager -n 40")?.text;
        return fails(format!("the job ends with {job:?}:\n{journal}"));
    }
    ensure!(job.tries > waits.tries && job.percent == 100 && job.error.is_empty(), "the job is {job:?}");
    let (sent, seconds) = (shelf.sent(), start.elapsed().as_secs());
    let added = memory(live, "VmHWM")?.saturating_sub(before);
    ensure!(added <= ADDED, "the update adds {added} kB to the manager's memory");
    let journal = live.ask("journalctl -b -u rauc --no-pager")?.text;
    ensure!(!journal.contains("Building new hash index"), "RAUC hashes whole partitions:\n{journal}");
    println!(
        "        {} kB of {} kB over the wire in {seconds} s, with {} tries; {added} kB more of memory for the manager",
        sent / 1000,
        size / 1000,
        job.tries
    );
    is_next(live)?;
    Ok(sent)
}

/// Root has told the boot loader, which it does after the job is through, to take system B.
pub(super) fn is_next(live: &mut Live) -> Outcome {
    until(Duration::from_secs(30), || {
        let env = live.boot_state()?;
        ensure!(env.contains("ORDER=B A") && env.contains("B_OK=1"), "system B is not the next to start:\n{env}");
        Ok(())
    })
}

fn restart(live: &mut Live) -> Outcome {
    let boot = live.boot_id()?;
    // The connection may end before the answer is read.
    if let Ok((false, said)) = ask(live, "update-restart", "") {
        return fails(format!("refused: {said}"));
    }
    live.wait_for_start("B", 0, RESTART)?;
    live.wait_for_other_boot(&boot, BOOT)?;
    kept(live, "B")
}

/// The system in that slot runs, is marked good, and is told to be kept.
fn kept(live: &mut Live, slot: &str) -> Outcome {
    let job = job(live, &[Stage::Committed, Stage::FellBack], BOOT)?;
    ensure!(job.stage == Stage::Committed, "the job ends with {job:?}");
    let attempt = until(Duration::from_secs(20), || {
        let first = updates(live)?.history.into_iter().next();
        first.map_or_else(|| fails("the history is empty"), Ok)
    })?;
    ensure!(attempt.stage == Stage::Committed, "the history begins with {attempt:?}");
    let gate: serde_json::Value = serde_json::from_str(&live.shell("cat /run/homebolt/gate.json")?)?;
    let said = |check: &str| {
        let found = gate["checks"].as_array().and_then(|all| all.iter().find(|one| one["check"] == check));
        found.and_then(|one| one["message"].as_str()).map_or_else(|| fails(format!("no check {check}: {gate}")), Ok)
    };
    said("network")?;
    said("write")?;
    // IPv6 has its address some seconds before the router gives one of IPv4: avahi names what it knows.
    // On a busy computer avahi may have lost it for a moment to an announcement of its own.
    let text = said("name")?;
    let at = text.strip_prefix("the manager answers as homelab").and_then(|text| text.split_once(".local on "));
    let at = at.and_then(|(_, at)| at.parse::<IpAddr>().ok());
    ensure!(at.is_some_and(|at| !at.is_loopback()), "the gate says of the box's name: {text}");
    until(Duration::from_secs(120), || checks::named(live, "homelab.local"))?;
    let env = live.boot_state()?;
    let good = [format!("{slot}_OK=1"), format!("{slot}_TRY=0")];
    ensure!(good.iter().all(|setting| env.contains(setting)), "{slot} is not marked good:\n{env}");
    let boot = live.shell("cat /run/homebolt/boot.json")?;
    ensure!(boot.contains(&format!("\"slot\":\"{slot}\"")), "the initrd says {boot}");
    // Whoever keeps what a new version says looks every ten seconds.
    until(Duration::from_secs(30), || {
        let left = live.ask("ls /data/system/failed")?.text;
        ensure!(!left.contains(&format!("{slot}-")), "a good start left what failed ones leave: {left}");
        Ok(())
    })
}

fn go_back(live: &mut Live, version: &str) -> Outcome {
    let (taken, said) = ask(live, "slot-switch", "9.9.9")?;
    ensure!(!taken && said.contains("is not the version"), "{said}");
    let boot = live.boot_id()?;
    let (taken, said) = ask(live, "slot-switch", version)?;
    ensure!(taken, "refused: {said}");
    live.wait_for_other_boot(&boot, RESTART)?;
    kept(live, "A")
}
