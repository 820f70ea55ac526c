//! Group `power-cut`: the power goes at every write of an update, on paper, and at some moments of real ones.
//!
//! ```text
//!  a box: first start ─ slot B ─ fence ─ RAUC ─ restart, commit ─ fence ─ back by hand ─ erased   QEMU records each write
//!     │
//!     ▼
//!  log ─► each prefix, torn sectors, forgotten writes ─► partition table, boot state, slots   on this computer
//!                                         now and then ─► dm-verity, ext4, files
//!
//!  another box: update ─ killed at a random moment ─ starts ─ page answers ─ update ─ …      QEMU again
//! ```

mod boot_state;
mod bytes;
mod check;
mod content;
mod log;
mod look;
mod real;
mod record;
mod sweep;
#[cfg(test)]
mod sweep_tests;
mod tally;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use homebolt::image as images;
use release::Manifest;

use crate::{
    Context,
    image::{
        lab::{GIB, Lab},
        update,
    },
    report::{Outcome, Report, ensure, fails, tail},
    shelf::Shelf,
};

use bytes::Bytes;
use check::Layout;
use content::Version;
use look::Looker;
use record::Recording;
use sweep::{Plan, Sweep};
use tally::Tally;

/// Every disk here has this size.
const SIZE: u64 = 4 * GIB;

/// What the newer version says its LND is, so that the fence rises.
pub(crate) const NEWER_LND: &str = "v0.21.3-beta";

/// What can be chosen of the group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Everything is recorded and replayed.
    pub(crate) replay: bool,
    /// Every write is torn at every sector, and looked at closely more often.
    pub(crate) all: bool,
    /// So many real cuts.
    pub(crate) cuts: u32,
    /// Of their moments.
    pub(crate) seed: Option<u64>,
}

impl Depth {
    fn plan(self) -> Plan {
        Plan { every_sector: self.all, looks: if self.all { 50 } else { 6 } }
    }
}

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("power-cut")?;
    let Some(mut lab) = report.need("there is an image to test", || Lab::open(context)) else { return Ok(()) };
    lab.logs = report.logs();
    let stage = report.need("there are two versions, and a bundle of each", || Stage::new(context, &lab));
    let Some(stage) = stage else { return Ok(()) };
    if context.depth.replay {
        replay(report, &lab, &stage, context.depth)?;
    }
    real::run(report, &lab, &stage, context.depth);
    Ok(())
}

/// Records a box, and cuts its power at every write.
fn replay(report: &mut Report, lab: &Lab, stage: &Stage, depth: Depth) -> Outcome {
    let recorded = report.test(
        "a box runs from its first start through an update, back by hand and back to a new box, recorded",
        || {
            let disk = lab.disk("recorded", SIZE)?;
            Ok((record::record(lab, &disk, &stage.shelf, &stage.newer)?, disk))
        },
    );
    let Some((recording, disk)) = recorded else { return Ok(()) };
    let (bytes, time) = recording.install;
    report.note(&format!(
        "all blocks new: {} MB over the wire, installed in {:.1} s; the transfer alone takes {:.1} s",
        bytes / 1_000_000,
        time.as_secs_f64(),
        recording.transfer.as_secs_f64()
    ));
    sweep(report, lab, stage, &recording, &disk, depth.plan());
    for used in [&disk, &recording.log] {
        fs::remove_file(used)?;
    }
    Ok(())
}

fn sweep(report: &mut Report, lab: &Lab, stage: &Stage, recording: &Recording, disk: &Path, plan: Plan) {
    let mut tally = Tally::new(&recording.phases);
    let replayed =
        report.test("every cut leaves a partition table, a boot state and a slot that starts, and the data", || {
            let (replayed, forgetful) = (lab.disk("replayed", SIZE)?, lab.disk("forgetful", SIZE)?);
            let work = tempfile::tempdir_in(replayed.parent().unwrap_or(Path::new(".")))?;
            let open = |path: &Path| File::options().read(true).write(true).open(path);
            let sweep = Sweep {
                log: &recording.log,
                disk: &open(&replayed)?,
                forgetful: &open(&forgetful)?,
                versions: &stage.versions,
                phases: &recording.phases.iter().map(|(_, start)| *start).collect::<Vec<_>>(),
                plan,
            };
            let (promises, erasure) = (&recording.promises, recording.erasure.as_ref());
            let looker = Looker { work: work.path(), promises, erasure };
            let swept = sweep.run(&mut tally, |side, place| looker.look(side, place));
            fs::remove_file(forgetful)?;
            swept?;
            ensure!(
                tally.survived() == tally.cuts(),
                "of those that were not survived, the first:\n{}",
                tally.faults()
            );
            Ok(replayed)
        });
    tally.lines().iter().for_each(|line| report.note(line));
    if let Some(replayed) = replayed {
        report.test("the replayed disk is, byte by byte, the one that the machine has left", || same(disk, &replayed));
        let _ = fs::remove_file(replayed);
    }
}

/// What both boxes are given.
struct Stage {
    versions: [Version; 2],
    shelf: Shelf,
    /// Names of the bundles on it.
    older: String,
    newer: String,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new(context: &Context, lab: &Lab) -> Outcome<Self> {
        ensure!(
            lab.manifest.release.development_keys,
            "the image is a release: it takes no bundle that a test can sign"
        );
        let folder = lab.room()?;
        let at = |name: &str| folder.path().join(name);
        let other = rework(context, lab, folder.path())?;
        let (older, newer) = ("older.raucb".to_owned(), "newer.raucb".to_owned());
        fs::create_dir(at("shelf"))?;
        for (image, name) in [(&lab.image, &older), (&other, &newer)] {
            let bundle = update::bundle(context, image, &at(name), None)?;
            fs::rename(bundle, at("shelf").join(name))?;
        }
        let first = lab.disk("first", SIZE)?;
        let versions = [
            version(&first, &lab.manifest, folder.path())?,
            version(&other, &images::manifest(&other, None)?, folder.path())?,
        ];
        fs::remove_file(first)?;
        fs::remove_file(other)?;
        Ok(Self { versions, shelf: Shelf::open(&at("shelf"))?, older, newer, _folder: folder })
    }
}

/// Makes a version of the image of whose root hardly a block is one of the image's.
fn rework(context: &Context, lab: &Lab, folder: &Path) -> Outcome<PathBuf> {
    let out = folder.join("reworked");
    update::homebolt(context, |command| {
        command.arg("rework").arg(&lab.image).args(["--new-version", "0.1.1", "--lnd", NEWER_LND]);
        command.arg("--all-blocks").arg("--out").arg(&out)
    })?;
    let made = fs::read_dir(&out)?.flatten().map(|entry| entry.path());
    let image = made.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "img"));
    image.map_or_else(|| fails("homebolt rework left no image"), Ok)
}

/// Takes the images of both partitions out of a disk as it was flashed.
fn version(disk: &Path, manifest: &Manifest, folder: &Path) -> Outcome<Version> {
    let disk = File::open(disk)?;
    let starts = Layout::of(&disk).map_err(crate::report::Fault::Fails)?.slots[0];
    let take = |name: &'static str, start: u64| -> Outcome<File> {
        let path = folder.join(format!("{}-{name}", manifest.release.version));
        look::copy_sparse(&disk, start, manifest.slot(name)?.size, &path)?;
        Ok(File::open(path)?)
    };
    let (boot, root) = (take("boot", starts.boot)?, take("root", starts.root)?);
    Ok(Version { name: manifest.release.version.clone(), boot, root })
}

/// Both disks have the same content.
fn same(one: &Path, other: &Path) -> Outcome {
    let (one, other) = (File::open(one)?, File::open(other)?);
    let (length, mut differing) = (one.length()?, Vec::new());
    ensure!(other.length()? == length, "one has {length} bytes, the other {}", other.length()?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..length).step_by(1 << 20) {
        let size = (length - at).min(1 << 20) as usize;
        one.read(at, &mut left[..size])?;
        other.read(at, &mut right[..size])?;
        if left[..size] != right[..size] {
            differing.push(at.to_string());
        }
    }
    ensure!(differing.is_empty(), "they differ at {}", tail(&differing.join("\n"), 10));
    Ok(())
}
