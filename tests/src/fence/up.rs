//! The way up, and the attempts to go down again.

use twin::Slot::{A, B};

use super::device::{Device, Stage};
use crate::report::{Outcome, Report, ensure};

pub(super) fn run(report: &mut Report, stage: &mut Stage) {
    let device = report.test("the older LND runs behind the fence, opens a channel and pays", || {
        let device = stage.device("alice")?;
        ensure!(device.fence()?.contains("v0.20.1-beta"), "the fence is {}", device.fence()?);
        Ok(device)
    });
    let Some(mut device) = device else { return };
    let mut go =
        |name: &str, test: fn(&mut Device, &Stage) -> Outcome| report.test(name, || test(&mut device, stage)).is_some();
    // Each of these stands on the one before.
    let _ = go(
        "up, the gate fails before the commit: LND of the new slot never ran, that of the old slot goes on paying",
        fails_before_commit,
    ) && go("up: the fence is on the disk before the database is touched, and the channel goes on paying", up)
        && go("rolled back by hand: the older LND is refused with its sentence, and forward again works", back_by_hand)
        && go("without the fence the older LND would have been started, and only its own check would be left", control);
}

/// The new slot is started three times and never found healthy. Its LND waits for the gate, so nothing asks the fence.
fn fails_before_commit(device: &mut Device, stage: &Stage) -> Outcome {
    device.stop(stage)?;
    let (fence, database) = (device.fence()?, device.database()?);
    device.must_run(A, stage)?;
    device.unmoved()?;
    device.pay_both_ways(stage)?;
    device.stop(stage)?;
    ensure!(device.fence()? == fence && device.database()? == database, "the new slot has left something behind");
    Ok(())
}

fn up(device: &mut Device, stage: &Stage) -> Outcome {
    let before = device.database()?;
    device.ask_fence(B)?;
    ensure!(device.fence()?.contains("v0.21.2-beta"), "the fence is {}", device.fence()?);
    ensure!(device.database()? == before, "the database is {:?} already", device.database()?);
    device.must_run(B, stage)?;
    device.unmoved()?;
    device.pay_both_ways(stage)?;
    device.stop(stage)?;
    let after = device.database()?;
    ensure!(after > before, "the database is of version {after:?}, as before: these two LNDs prove nothing");
    device.must_run(B, stage)?;
    device.unmoved()
}

fn back_by_hand(device: &mut Device, stage: &Stage) -> Outcome {
    device.stop(stage)?;
    // However often the owner tries.
    device.must_pause(A)?;
    device.must_pause(A)?;
    device.must_run(B, stage)?;
    device.unmoved()?;
    device.pay_both_ways(stage)
}

fn control(device: &mut Device, stage: &Stage) -> Outcome {
    device.stop(stage)?;
    let (code, said) = device.without_fence(A, stage)?;
    ensure!(code == Some(1) && said.contains("cannot revert to prior version"), "it ends with {code:?}: {said}");
    device.must_run(B, stage)?;
    device.unmoved()
}
