//! Real cuts: QEMU is killed while a box updates itself, again and again, each time at another moment.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    image::{
        fallback::marked_good,
        lab::{BOOT, GIB, Lab, Live, Options},
        lanes::{self, Case},
        update::rauc,
    },
    report::{Fault, Outcome, Report, ensure, until},
    visitor,
};

use super::{Depth, Stage, record};

/// Three failed starts of one system, and one of the other.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn run(report: &mut Report, lab: &Lab, stage: &Stage, depth: Depth) {
    if depth.cuts == 0 {
        return;
    }
    let seed = depth
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |now| now.as_secs()));
    report.note(&format!("real cuts: --cuts {} --seed {seed}", depth.cuts));
    let time = report.test("RAUC installs a bundle of which every block is new, with nobody recording", || {
        let disk = lab.disk("installed", 4 * GIB)?;
        let mut live = lab.start(&disk, "installed", Options::default())?;
        live.wait_for_page(BOOT)?;
        live.wait_for_both_systems()?;
        let start = Instant::now();
        let (code, said) = rauc(&mut live, &stage.shelf, &stage.newer)?;
        ensure!(code == 0, "RAUC ends with {code}:\n{said}");
        live.cut_power();
        Ok(start.elapsed())
    });
    if let Some(time) = time {
        report.note(&format!("installed in {:.1} s", time.as_secs_f64()));
    }
    let cases: Vec<Case<'_>> = (0..depth.cuts.min(2))
        .map(|number| {
            // Of an odd number the first has one more.
            let cuts = (depth.cuts + 1 - number) / 2;
            let name = format!(
                "box {}, killed at {cuts} random moments of an update, starts again, and its page answers",
                number + 1
            );
            Case::new(name, move |lab| {
                box_of(lab, stage, &format!("killed-{}", number + 1), cuts, seed + u64::from(number))
            })
        })
        .collect();
    lanes::run(report, lab, &cases);
}

fn options() -> Options {
    Options { uncached: true, ..Options::default() }
}

/// A new box with an owner; then its power goes so many times.
fn box_of(lab: &Lab, stage: &Stage, name: &str, cuts: u32, seed: u64) -> Outcome {
    let disk = lab.disk(name, 4 * GIB)?;
    let mut live = lab.start(&disk, name, options())?;
    live.wait_for_page(BOOT)?;
    let claim = visitor::claim(&live.client(), &live.code()?)?;
    visitor::set_password(&live.client(), &claim)?;
    live.wait_for_both_systems()?;
    let update = whole_update(&mut live, stage)?;
    println!("        {name}: an update takes {:.0} s until it is kept", update.as_secs_f64());
    live.cut_power();
    let mut noise = seed.max(1);
    for number in 1..=cuts {
        let moment = update.mul_f64((next(&mut noise) % 10_000) as f64 / 10_000.0);
        let seconds = moment.as_secs_f64();
        let slot = cut(lab, stage, &disk, name, moment).map_err(|fault| match fault {
            Fault::Fails(why) => {
                Fault::Fails(format!("before or after cut {number}, {seconds:.1} s into the update: {why}"))
            }
            skip => skip,
        })?;
        println!("        {name}: cut {number} of {cuts}, system {slot}, {seconds:.0} s into the update");
    }
    // What the last cut has left.
    starts(lab, &disk, name).map(|live| live.0.cut_power())
}

/// A new box updates itself, and its power stays: how long that takes until the new system is kept. The cuts fall within.
fn whole_update(live: &mut Live, stage: &Stage) -> Outcome<Duration> {
    let begun = Instant::now();
    let before = live.starts("B");
    begin(live, stage, &stage.versions[0].name)?;
    live.wait_for_start("B", before, PATIENCE)?;
    live.wait_for_shell(BOOT)?;
    marked_good(live, "B")?;
    Ok(begun.elapsed())
}

/// Begins an update from that version to the other one, so that each update writes.
fn begin(live: &mut Live, stage: &Stage, version: &str) -> Outcome {
    let bundle = if version == stage.versions[0].name { &stage.newer } else { &stage.older };
    let url = record::url(&stage.shelf, bundle);
    live.shell(&format!(
        "(rauc install {url} && rauc status mark-active other && systemctl reboot) >/run/update.log 2>&1 &"
    ))
    .map(drop)
}

/// A box must come up from whatever the last cut has left; then it updates itself, until its power goes. Gives the slot that
/// it ran from.
fn cut(lab: &Lab, stage: &Stage, disk: &Path, name: &str, moment: Duration) -> Outcome<String> {
    let (mut live, slot, version) = starts(lab, disk, name)?;
    begin(&mut live, stage, &version)?;
    let begun = Instant::now();
    thread::sleep(moment.saturating_sub(begun.elapsed()));
    live.running()?.check()?;
    live.cut_power();
    Ok(slot)
}

/// Starts the box, and sees that its owner gets in; gives the slot and the version that run.
fn starts(lab: &Lab, disk: &Path, name: &str) -> Outcome<(Live, String, String)> {
    let mut live = lab.start(disk, name, options())?;
    live.wait_for_page(PATIENCE)?;
    live.wait_for_shell(BOOT)?;
    until(Duration::from_secs(60), || visitor::sign_in(&live.client()).map(drop))?;
    let boot = live.shell("cat /run/homebolt/boot.json")?;
    let slot = if boot.contains("\"slot\":\"B\"") { "B" } else { "A" };
    let release: release::Release = serde_json::from_str(&live.shell("cat /usr/lib/homebolt/release.json")?)?;
    ensure!(boot.contains(&format!("\"slot\":\"{slot}\"")), "the initrd says {boot}");
    // An update is not begun by a system that is still on trial.
    marked_good(&mut live, slot)?;
    Ok((live, slot.to_owned(), release.version))
}

/// The next of a row of numbers that look random (xorshift).
pub(super) fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
