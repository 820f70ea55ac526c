//! Group `image`: the built image in QEMU. Machines are few and much is looked at in each.
//!
//! ```text
//!  boot      new disk ─ many checks ─ code typed ─ power cut ─ password ─ power cut ─ home, LND ─ restart ─┐
//!  fallback  ◄── that disk, changes thrown away: root damaged; initrd damaged ◄────────────────────────────┤
//!  data      ◄── that disk, changes thrown away: wiped, damaged, missing ◄─────────────────────────────────┘
//!  large     new disk of 1 TB
//!  node      new disk ─ wizard with a bitcoind on this computer ─ wallet ─ restart, unlocked by itself
//! ```

mod boot;
mod checks;
mod data;
mod fallback;
mod lab;
mod large;
mod node;

use crate::{
    Context,
    report::{Outcome, Report, ensure},
};

use lab::Lab;

/// What can be chosen with `--part`.
pub(crate) const PARTS: [&str; 5] = ["boot", "fallback", "data", "large", "node"];

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("image")?;
    let Some(mut lab) = report.need("there is an image to test", || Lab::open(context)) else { return Ok(()) };
    let wanted = |part: &str| context.parts.is_empty() || context.parts.iter().any(|chosen| chosen == part);
    if wanted("boot") {
        boot::run(report, &mut lab);
    }
    if wanted("fallback") || wanted("data") {
        let disk = report.need("there is the disk of an owned box", || lab.owned_disk());
        if let Some(disk) = disk {
            if wanted("fallback") {
                fallback::run(report, &lab, &disk);
            }
            if wanted("data") {
                data::run(report, &lab, &disk);
            }
        }
    }
    if wanted("large") {
        large::run(report, &lab);
    }
    if wanted("node") {
        node::run(report, &lab, context);
    }
    ensure!(lab.logs.is_dir(), "the logs are gone");
    Ok(())
}
