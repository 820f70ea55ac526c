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

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

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

/// Runs the group: one part after the other, and two beside each other once the other groups leave a processor free.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("image")?;
    let Some(lab) = report.need("there is an image to test", || Lab::open(context)) else { return Ok(()) };
    let parts = Parts::new(&lab, context);
    let mut second = report.beside();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !context.others_are_done() && parts.are_left() {
                thread::sleep(Duration::from_millis(250));
            }
            parts.work(&mut second);
        });
        parts.work(report);
    });
    report.add(second);
    ensure!(lab.logs.is_dir(), "the logs are gone");
    Ok(())
}

type Part<'a> = Box<dyn FnOnce(&mut Report) + Send + 'a>;

/// The parts that nobody has begun. None needs anything of another.
struct Parts<'a>(Mutex<VecDeque<Part<'a>>>);

impl<'a> Parts<'a> {
    /// What is chosen, the longest first.
    fn new(lab: &'a Lab, context: &'a Context) -> Self {
        let mut parts: VecDeque<Part<'a>> = VecDeque::from([Box::new(|report: &mut Report| {
            of_one_disk(report, lab, context);
        }) as Part<'a>]);
        let mut add = |name: &str, run: fn(&mut Report, &Lab, &Context)| {
            if context.wants(name) && (name != "u-boot" || lab.has_u_boot()) || context.chooses(name) {
                parts.push_back(Box::new(move |report| {
                    if let Some(lab) = report.need("there is room for one more machine", || lab.beside(1)) {
                        run(report, &lab, context);
                    }
                }));
            }
        };
        add("node", node::run);
        add("disk", |report, lab, _| disk::run(report, lab));
        add("wifi", |report, lab, _| wifi::run(report, lab));
        add("update", update::run);
        add("network", |report, lab, _| network::run(report, lab));
        add("large", |report, lab, _| large::run(report, lab));
        add("u-boot", |report, lab, _| u_boot::run(report, lab));
        Self(Mutex::new(parts))
    }

    fn are_left(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn next(&self) -> Option<Part<'a>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn work(&self, report: &mut Report) {
        while let Some(part) = self.next() {
            part(report);
        }
    }
}

/// The parts that share the disk of a box with an owner. Their machines have two cores, as boxes do.
fn of_one_disk(report: &mut Report, lab: &Lab, context: &Context) {
    let Some(mut lab) = report.need("there is room for a machine", || lab.beside(2)) else { return };
    if context.wants("boot") {
        boot::run(report, &mut lab);
    }
    if !["fallback", "data"].into_iter().any(|part| context.wants(part))
        && !LONG.into_iter().any(|part| context.chooses(part))
    {
        return;
    }
    let Some(disk) = report.need("there is the disk of an owned box", || lab.owned_disk()) else { return };
    if context.wants("fallback") {
        fallback::run(report, &lab, &disk, context);
    }
    if context.wants("data") {
        data::run(report, &lab, &disk);
    }
    if context.chooses("neutrino") {
        neutrino::run(report, &lab, &disk);
    }
    if context.chooses("bad") {
        bad::run(report, &lab, context, &disk);
    }
}
