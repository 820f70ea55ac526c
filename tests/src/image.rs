//! Group `image`: the built image in QEMU. Machines are few and much is looked at in each.
//!
//! ```text
//!  boot      new disk ─ many checks ─ code typed ─ power cut ─ password ─ power cut ─ home, LND ─ restart ─┐
//!  fallback  ◄── that disk, changes thrown away: root damaged; initrd damaged; tries used up; a hang ◄─────┤
//!                both roots damaged ─ recovery ─ bundle uploaded ─ runs; the same without a data partition
//!  data      ◄── that disk, changes thrown away: wiped, damaged, missing ◄─────────────────────────────────┘
//!  wifi      new disk, the kernel's test radios ─ wrong password, right one ─ power cut, joined by itself ─ forgotten ─
//!            a network that hides, a country ─ power cut, both again
//!  large     new disk of 1 TB
//!  node      new disk, security chip ─ wizard with a bitcoind on this computer ─ wallet ─ channel ─ restart, unlocked by
//!            itself ─ moved to another disk, channel active ─ the chip gone: locked, and a way out
//!  disk      new disk, a second one ─ step of the wizard ─ moved ─ pulled ─ back ─ power cuts while it moves
//!  network   new disk ─ another address: not confirmed, killed, power cut, confirmed ─ restart ─ back to the router's
//!  bad       ◄── that disk, changes thrown away: releases broken in many ways; only when it is chosen
//!  update    new disk ─ bundles from a web server: another signer, truncated, the right one ─ restart, system B
//!  u-boot    new disk, U-Boot in place of UEFI firmware ─ code, password ─ system B by hand ─ power cut; ARM boards only
//! ```

mod access;
mod bad;
mod boot;
mod checks;
mod chip;
mod data;
mod disk;
pub(crate) mod fallback;
mod hidden;
pub(crate) mod lab;
pub(crate) mod lanes;
mod large;
mod network;
mod neutrino;
mod node;
mod place;
mod u_boot;
pub(crate) mod update;
mod wifi;

use crate::{
    Context,
    report::{Outcome, Report, ensure},
};

use lab::Lab;

/// What can be chosen with `--part`.
pub(crate) const PARTS: [&str; 12] =
    ["boot", "fallback", "data", "wifi", "large", "node", "disk", "network", "update", "u-boot", "neutrino", "bad"];

/// Of these, what takes half an hour and nearly an hour: never by itself.
const LONG: [&str; 2] = ["neutrino", "bad"];

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("image")?;
    let Some(mut lab) = report.need("there is an image to test", || Lab::open(context)) else { return Ok(()) };
    let chosen = |part: &str| context.parts.iter().any(|chosen| chosen == part);
    let wanted = |part: &str| context.parts.is_empty() || chosen(part);
    if wanted("boot") {
        boot::run(report, &mut lab);
    }
    if ["fallback", "data"].into_iter().any(wanted) || LONG.into_iter().any(chosen) {
        let disk = report.need("there is the disk of an owned box", || lab.owned_disk());
        if let Some(disk) = disk {
            if wanted("fallback") {
                fallback::run(report, &lab, &disk, context);
            }
            if wanted("data") {
                data::run(report, &lab, &disk);
            }
            if chosen("neutrino") {
                neutrino::run(report, &lab, &disk);
            }
            if chosen("bad") {
                bad::run(report, &lab, context, &disk);
            }
        }
    }
    if wanted("wifi") {
        wifi::run(report, &lab);
    }
    if wanted("large") {
        large::run(report, &lab);
    }
    if wanted("node") {
        node::run(report, &lab, context);
    }
    if wanted("disk") {
        disk::run(report, &lab);
    }
    if wanted("network") {
        network::run(report, &lab);
    }
    if wanted("update") {
        update::run(report, &lab, context);
    }
    if lab.has_u_boot() && wanted("u-boot") || chosen("u-boot") {
        u_boot::run(report, &lab);
    }
    ensure!(lab.logs.is_dir(), "the logs are gone");
    Ok(())
}
