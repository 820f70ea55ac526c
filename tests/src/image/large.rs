//! Part `large`: a disk of a terabyte, as a node with a whole blockchain has.

use crate::report::{Report, ensure};

use super::{
    checks::data_size,
    lab::{BOOT, GIB, Lab, Options},
};

pub(crate) fn run(report: &mut Report, lab: &Lab) {
    report
        .test("on a disk of 1 TB the box comes up and its data partition has grown to the end", || {
            let disk = lab.disk("large", 1024 * GIB)?;
            let mut live = lab.start(&disk, "large", Options::default())?;
            let time = live.wait_for_page(BOOT)?;
            live.settle()?;
            data_size(&mut live, 1000.0, 1110.0)?;
            let failed = live.shell("systemctl --failed --no-legend --plain")?;
            ensure!(failed.is_empty(), "failed: {failed}");
            live.switch_off()?;
            // The table's copy is at the new end: the disk is whole for every tool that looks.
            crate::disk::partition(&disk, "data")?;
            std::fs::remove_file(&disk)?;
            Ok(time)
        })
        .into_iter()
        .for_each(|time| report.note(&format!("power on to HTTPS with 1 TB: {:.1} s", time.as_secs_f64())));
}
