//! The power goes around the fence: before its write, within it, behind it, and while the newer LND opens the database.
//!
//! ```text
//!  fence v0.20.1 ─► fence.json.new ─► rename: v0.21.2 ─► LND v0.21.2 opens, migrates ─► pays
//!        1               2                 3                      4                      5      the power goes
//!    A may run       A may run        A never again         A never again          A never again
//! ```

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use twin::Slot::{A, B};

use super::device::{Device, Stage, Start};
use crate::report::{Outcome, Report, ensure, fails};

/// So long after its start LND is killed, one after the other. It opens and changes its database within a tenth of a second on a
/// computer that does nothing else.
const MOMENTS: [Duration; 7] = [
    Duration::from_millis(30),
    Duration::from_millis(60),
    Duration::from_millis(90),
    Duration::from_millis(130),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(2000),
];

pub(super) fn run(report: &mut Report, stage: &mut Stage) {
    let device = report.need("another box with a channel", || stage.device("carol"));
    let Some(mut device) = device else { return };
    let mut go =
        |name: &str, test: fn(&mut Device, &Stage) -> Outcome| report.test(name, || test(&mut device, stage)).is_some();
    // Each of these stands on the one before.
    let _ = go("a power cut before the fence is written: the older LND goes on, and the channel with it", before)
        && go("a power cut between the fence's new file and its rename: the older LND goes on", within)
        && go(
            "a power cut behind the rename: the older LND never runs again, though the database is still its own",
            behind,
        )
        && go("power cuts while the newer LND opens the database: only the newer one goes on", opening)
        && go("a power cut while the newer LND runs: the channel stands where it stood", running);
}

fn before(device: &mut Device, stage: &Stage) -> Outcome {
    device.cut()?;
    device.must_run(A, stage)?;
    device.unmoved()?;
    device.pay_both_ways(stage)
}

fn within(device: &mut Device, stage: &Stage) -> Outcome {
    device.stop(stage)?;
    let stands = device.fence()?;
    let whole = stands.replace("v0.20.1-beta", "v0.21.2-beta");
    ensure!(whole != stands, "the fence is {stands}");
    // What a file system may have of a file that was being written.
    for written in ["", &whole[..whole.len() / 2], &whole] {
        fs::write(device.data().join("system/fence.json.new"), written)?;
        device.ask_fence(A)?;
        ensure!(device.fence()? == stands, "the fence has become {}", device.fence()?);
    }
    device.must_run(A, stage)?;
    device.unmoved()?;
    device.pay_both_ways(stage)?;
    device.stop(stage)
}

fn behind(device: &mut Device, _: &Stage) -> Outcome {
    let before = device.database()?;
    device.ask_fence(B)?;
    ensure!(!device.data().join("system/fence.json.new").exists(), "the file of the cut before lies there still");
    device.must_pause(A)?;
    ensure!(device.database()? == before, "the database has become {:?}", device.database()?);
    Ok(())
}

fn opening(device: &mut Device, stage: &Stage) -> Outcome {
    let first = device.database()?;
    let mut last = first;
    let mut seen = Vec::new();
    for moment in MOMENTS {
        let Start::Runs = device.begin(B)? else { return fails("the newer LND is refused") };
        let started = Instant::now();
        device.open_wallet(stage, moment);
        thread::sleep(moment.saturating_sub(started.elapsed()));
        device.cut()?;
        let now = device.database()?;
        ensure!(now >= last, "the database went back from {last:?} to {now:?}");
        last = now;
        seen.push(now.map_or_else(|| "none".to_owned(), |now| now.to_string()));
        device.must_pause(A)?;
    }
    println!("        killed after {MOMENTS:?}: the database was of version {}", seen.join(", "));
    device.must_run(B, stage)?;
    device.unmoved()?;
    device.pay_both_ways(stage)?;
    device.stop(stage)?;
    ensure!(device.database()? > first, "the database is still of version {first:?}");
    Ok(())
}

fn running(device: &mut Device, stage: &Stage) -> Outcome {
    device.must_run(B, stage)?;
    device.pay_both_ways(stage)?;
    device.cut()?;
    device.must_pause(A)?;
    device.must_run(B, stage)?;
    device.unmoved()?;
    device.pay_both_ways(stage)
}
