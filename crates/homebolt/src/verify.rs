//! `homebolt verify`: checks an image against its manifest. The disk is decompressed as a stream, twice: once for all
//! checksums, once more for the verity tree, whose salt stands behind the data it is for.

mod contents;
mod sums;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use contents::{overlap, slots};

use std::path::{Path, PathBuf};

use release::Manifest;

use crate::bmap::Bmap;
use crate::image::{self, Sum};
use crate::progress::size;

/// Check an image against its manifest
///
/// Decompresses the image without writing anything and compares everything in it with what the manifest says: the file,
/// the disk, the slot images on it, the dm-verity tree with its root hash, the block map and SHA256SUMS. One line for each
/// check; the exit code is 0 if all is well and 1 if anything is not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt verify out/x86-64/homebolt-0.1.0-x86-64.img.zst\n  \
    homebolt verify disk.img --manifest homebolt-0.1.0-x86-64.manifest.json")]
pub struct Args {
    /// The image: a .img.zst, or a raw .img
    pub image: PathBuf,
    /// Its manifest [default: the .manifest.json of the same name beside the image]
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
}

/// Why an image is not verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error("{} is not what its manifest says ({failed} of {all} checks failed)", image.display())]
    Failed { image: PathBuf, failed: usize, all: usize },
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With what was seen.
    Passed(String),
    /// With why it could not be checked; no fault of the image.
    Skipped(String),
    /// With what differs and what to do.
    Failed(String),
}

/// One check of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub outcome: Outcome,
}

/// Everything that was found out about an image.
#[derive(Debug)]
pub struct Report {
    pub checks: Vec<Check>,
    /// What must be written of the disk: the map beside the image, or, without one, all that is not zero.
    pub map: Bmap,
}

impl Report {
    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_))).count()
    }

    /// One line for each check.
    pub fn lines(&self) -> String {
        let line = |check: &Check| {
            let (word, text) = match &check.outcome {
                Outcome::Passed(text) => ("ok", text),
                Outcome::Skipped(text) => ("skipped", text),
                Outcome::Failed(text) => ("FAILED", text),
            };
            format!("{word:<8} {:<16} {text}\n", check.name)
        };
        self.checks.iter().map(line).collect()
    }

    /// The report, or the error that says how many checks failed.
    pub fn passed(self, image: &Path) -> Result<Self, Error> {
        match self.failed() {
            0 => Ok(self),
            failed => Err(Error::Failed { image: image.into(), failed, all: self.checks.len() }),
        }
    }
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<(), crate::Error> {
    let manifest = image::manifest(&args.image, args.manifest.as_deref()).map_err(Error::from)?;
    let release = &manifest.release;
    println!("Homebolt {} for {} ({} base, LND {})", release.version, release.board, release.base, release.lnd_version);
    let report = inspect(&args.image, &manifest)?;
    print!("{}", report.lines());
    report.passed(&args.image)?;
    Ok(())
}

/// Checks an image against `manifest`, and against the block map and SHA256SUMS beside it. What is wrong with the image
/// is in the report; an error means that it could not be read at all.
pub fn inspect(image: &Path, manifest: &Manifest) -> Result<Report, Error> {
    let bmap = image::bmap_beside(image);
    let bmap = bmap
        .map(|path| match std::fs::read(&path) {
            Ok(bytes) => Ok((path, Bmap::parse(&bytes))),
            Err(source) => Err(image::Error::Beside { path, source }),
        })
        .transpose()?;
    let parsed = bmap.as_ref().and_then(|(_, parsed)| parsed.as_ref().ok());
    let found = contents::read(image, manifest, parsed)?;

    let mut checks = Vec::new();
    let mut check = |name, outcome| checks.push(Check { name, outcome });
    check(
        "file",
        match found.compressed {
            true => compare(&found.file, manifest.compressed.size, &manifest.compressed.sha256),
            false => Outcome::Skipped("a raw image: the manifest's sum is that of the compressed file".into()),
        },
    );
    check("disk", found.disk);
    check("boot slot", found.boot_slot);
    check("root slot", found.root_slot);
    check("verity tree", found.verity);
    check(
        "block map",
        match &bmap {
            None => Outcome::Skipped("none beside the image: it is made from the image's zero blocks".into()),
            Some((path, Err(error))) => Outcome::Failed(format!("{}: {error}; {AGAIN}", path.display())),
            Some((_, Ok(map))) if *map == found.map => {
                Outcome::Passed(format!("{} ranges, {} to write", map.ranges.len(), size(map.mapped_bytes())))
            }
            Some((path, Ok(_))) => Outcome::Failed(format!("{} is not the map of this image; {AGAIN}", path.display())),
        },
    );
    check("SHA256SUMS", sums::check(image, &found.file)?);
    Ok(Report { checks, map: found.map })
}

const AGAIN: &str = "download it again, or build it anew";

/// Compares a sum with the manifest's.
fn compare(found: &Sum, expected_size: u64, expected: &str) -> Outcome {
    if found.size != expected_size {
        Outcome::Failed(format!("{} bytes instead of {expected_size}; {AGAIN}", found.size))
    } else if found.sha256 != expected {
        Outcome::Failed(format!("sha256 {} instead of {expected}; {AGAIN}", found.sha256))
    } else {
        Outcome::Passed(format!("{}, sha256 {expected}", size(expected_size)))
    }
}
