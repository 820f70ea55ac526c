//! `homebolt flash`: writes an image to a disk, and proves that it is there.

mod copy;
mod medium;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use release::Manifest;

pub use copy::Doing;
use copy::{Copy, Done, Fault};
use medium::{Aligned, Device, Medium};

use crate::bmap::Bmap;
use crate::disks::{self, Disk, Refusal};
use crate::image;
use crate::progress::size;
use crate::verify;

/// Write an image to a USB stick or disk, and read it back to prove it
///
/// Without a device it lists the disks that could be meant and writes nothing. It never writes to the disk this computer
/// runs from, nor to one that is mounted or in use. A disk that holds anything at all is only overwritten when you type
/// its serial number, on the question or with --serial: no flag skips that.
///
/// The image is checked against its manifest first. It is decompressed while it is written; afterwards all of it is read
/// back from the disk and compared. The partition table comes last, so that a half-written disk never looks whole.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt flash homebolt-0.1.0-x86-64.img.zst                  list the disks it could go to\n  \
    homebolt flash homebolt-0.1.0-x86-64.img.zst /dev/sdb         write it to /dev/sdb\n  \
    homebolt flash homebolt-0.1.0-x86-64.img.zst /dev/sdb --serial 4C530001230922107141\n                             \
                                     the same in a script, over whatever is on it")]
pub struct Args {
    /// The image: a .img.zst, or a raw .img
    pub image: PathBuf,
    /// The disk to write to, for example /dev/sdb
    pub device: Option<PathBuf>,
    /// The image's manifest [default: the .manifest.json of the same name beside the image]
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// The disk's serial number as the list shows it (its name, for example sdb, if it has none)
    #[arg(long, value_name = "SERIAL")]
    pub serial: Option<String>,
    /// Do not ask before writing to an empty disk
    #[arg(long)]
    pub yes: bool,
}

/// Why an image is not, or not completely, on the disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Disks(#[from] disks::Error),
    #[error("nothing is written to {}", disk.display())]
    Refused { disk: PathBuf, source: Refusal },
    #[error("failed to open {} alone: run as root ('sudo homebolt flash ...')", .0.display())]
    NotRoot(PathBuf),
    #[error("{} is in use by another program: close or unmount what stands on it", .0.display())]
    Busy(PathBuf),
    #[error("failed to open and look at {}", disk.display())]
    Open { disk: PathBuf, source: io::Error },
    #[error("{} is another disk than a moment ago; nothing was written: look at the list again", .0.display())]
    Changed(PathBuf),
    #[error(
        "{} is not empty ({holds}); nothing was written: to overwrite it, name its serial number with --serial {token}",
        disk.display()
    )]
    SerialNeeded { disk: PathBuf, holds: String, token: String },
    #[error("{} goes by {token}, not by {typed:?}; nothing was written", disk.display())]
    WrongSerial { disk: PathBuf, token: String, typed: String },
    #[error("nothing was written: confirm with y, or with --yes in a script")]
    NotConfirmed,
    #[error("failed to watch for Ctrl-C")]
    Signals(#[source] nix::Error),
    #[error("the image can no longer be read as it was checked: {} holds part of it and does not boot", disk.display())]
    Source { disk: PathBuf, source: io::Error },
    #[error("the device vanished at {} of {}: plug it in and run the same command again", size(*.at), size(*.of))]
    Vanished { at: u64, of: u64 },
    #[error(
        "{} failed {} at {} of {}: try another port or cable; if it stays, the disk is worn out",
        disk.display(), verb(.doing), size(*.at), size(*.of)
    )]
    Medium { disk: PathBuf, doing: Doing, at: u64, of: u64, source: io::Error },
    #[error(
        "{} does not give back what was written to it, between byte {first} and {end}: it is worn out or not as large as \
         it claims; use another",
        disk.display()
    )]
    Differs { disk: PathBuf, first: u64, end: u64 },
    #[error(
        "stopped {} {} at {} of {}: it holds part of the image and does not boot; run the same command again",
        verb(.doing), disk.display(), size(*.at), size(*.of)
    )]
    Interrupted { disk: PathBuf, doing: Doing, at: u64, of: u64 },
}

fn verb(doing: &Doing) -> &'static str {
    match doing {
        Doing::Writing => "writing",
        Doing::ReadingBack => "reading back",
    }
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<(), crate::Error> {
    let manifest = image::manifest(&args.image, args.manifest.as_deref()).map_err(verify::Error::from)?;
    let Some(device) = &args.device else {
        print!("{}", candidates(disks::list().map_err(Error::from)?, &args.image, manifest.disk.size));
        return Ok(());
    };
    let disk = disks::find(device).map_err(Error::from)?;
    if let Some(source) = disk.refusal(manifest.disk.size) {
        return Err(Error::Refused { disk: disk.path, source }.into());
    }
    println!("{}", disk.line());
    let mut medium = open(&disk)?;
    // The name may have passed to another disk in between; once it is open, it cannot.
    if disks::find(device).map_err(Error::from)? != disk {
        return Err(Error::Changed(disk.path).into());
    }
    let holds = holdings(&disk, &mut medium)?;
    permit(&disk, holds.as_deref(), &args, &mut Terminal)?;

    let report = verify::inspect(&args.image, &manifest)?;
    if report.failed() > 0 {
        print!("{}", report.lines());
    }
    let report = report.passed(&args.image)?;
    println!(
        "the image is as its manifest says: {} of {} to write",
        size(report.map.mapped_bytes()),
        size(manifest.disk.size)
    );

    let done = write(&args.image, &manifest, &report.map, &disk, &mut medium)?;
    println!("written: {}", done.written);
    println!("read back and right: {}", done.read_back);
    if done.swept > 0 {
        println!("old data in unused places, now zero: {}", size(done.swept));
    }
    println!("{} is ready: put it into the box, switch on, and open https://homelab.local", disk.path.display());
    Ok(())
}

/// What is shown when no device is named.
fn candidates(disks: Vec<Disk>, image: &Path, needed: u64) -> String {
    let (mut fit, mut unfit) = (String::new(), String::new());
    for disk in disks.iter().filter(|disk| disk.kind == "disk") {
        match disk.refusal(needed) {
            None => fit.push_str(&format!("  {}\n", disk.line())),
            Some(refusal) => unfit.push_str(&format!("  {}: {refusal}\n", disk.path.display())),
        }
    }
    let mut text = match fit.is_empty() {
        true => format!("No disk that could take the image ({}): plug one in.\n", size(needed)),
        false => {
            let image = image.display();
            format!("Disks the image could go to:\n{fit}Write it with: homebolt flash {image} <device>\n")
        }
    };
    if !unfit.is_empty() {
        text.push_str(&format!("Not these:\n{unfit}"));
    }
    text
}

fn open(disk: &Disk) -> Result<Device, Error> {
    Device::open(disk).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NotRoot(disk.path.clone()),
        io::ErrorKind::ResourceBusy => Error::Busy(disk.path.clone()),
        _ => Error::Open { disk: disk.path.clone(), source },
    })
}

/// What is on the disk; nothing only if lsblk sees nothing and all samples are blank: a lost partition table does not
/// make a disk empty.
fn holdings(disk: &Disk, medium: &mut dyn Medium) -> Result<Option<String>, Error> {
    const SAMPLES: u64 = 64;
    if let Some(holds) = disk.holdings() {
        return Ok(Some(holds));
    }
    let mut buffer = Aligned::zeroed((1 << 20).min(disk.size as usize / 512 * 512));
    let last = disk.size / 512 * 512 - buffer.len() as u64;
    for sample in 0..=SAMPLES {
        let offset = last / SAMPLES * sample / 512 * 512;
        let read = medium.read_at(if sample == SAMPLES { last } else { offset }, &mut buffer);
        read.map_err(|source| Error::Open { disk: disk.path.clone(), source })?;
        // Flash memory that was never written reads as ones.
        let (blocks, rest) = buffer.as_chunks::<512>();
        let blank = |byte: u8| blocks.iter().all(|block| *block == [byte; 512]) && rest.is_empty();
        if !blank(0) && !blank(0xff) {
            return Ok(Some("data of an unknown kind".into()));
        }
    }
    Ok(None)
}

/// The person at the keyboard, or nobody.
trait Person {
    /// The answer to a question; nothing where there is nobody to ask.
    fn ask(&mut self, question: &str) -> Option<String>;
}

struct Terminal;

impl Person for Terminal {
    fn ask(&mut self, question: &str) -> Option<String> {
        if !io::stdin().is_terminal() {
            return None;
        }
        print!("{question}");
        io::stdout().flush().ok()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }
}

/// The rule: a disk that holds something takes its serial number, an empty one a yes. A wrong number stops both.
fn permit(disk: &Disk, holds: Option<&str>, args: &Args, person: &mut dyn Person) -> Result<(), Error> {
    let (path, token) = (disk.path.clone(), disk.token().to_owned());
    let typed = match (&args.serial, holds) {
        (Some(serial), _) => serial.clone(),
        (None, None) if args.yes => return Ok(()),
        (None, None) => {
            let answer = person.ask(&format!("{} is empty. Write the image to it? [y/N] ", path.display()));
            let yes = answer.is_some_and(|answer| matches!(answer.to_lowercase().as_str(), "y" | "yes"));
            return if yes { Ok(()) } else { Err(Error::NotConfirmed) };
        }
        (None, Some(holds)) => {
            let wallet =
                if disk.is_ours() { "A wallet and its channels may be on it: their money goes too.\n" } else { "" };
            let number = if token == disk.name { "name" } else { "serial number" };
            let question = format!(
                "{} is not empty: {holds}.\n{wallet}All of it will be lost. Type its {number} ({token}) to overwrite it: ",
                path.display()
            );
            match person.ask(&question) {
                Some(answer) => answer,
                None => return Err(Error::SerialNeeded { disk: path, holds: holds.to_owned(), token }),
            }
        }
    };
    if typed == token { Ok(()) } else { Err(Error::WrongSerial { disk: path, token, typed }) }
}

/// Writes and proves. Ctrl-C ends it between two steps.
fn write(
    image: &Path,
    manifest: &Manifest,
    map: &Bmap,
    disk: &Disk,
    medium: &mut dyn Medium,
) -> Result<Done, crate::Error> {
    let mut source = image::Disk::open(image).map_err(verify::Error::from)?;
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(Error::Signals)?;
    let waiting =
        SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(Error::Signals)?;
    let mut stopped = || matches!(waiting.read_signal(), Ok(Some(_)));
    let copy = Copy { medium, size: disk.size, map, stopped: &mut stopped };
    // The signals stay blocked: all that follows is a line of output, which a late Ctrl-C shall not swallow.
    Ok(copy.run(&mut source).map_err(|fault| explain(fault, disk, manifest.disk.size))?)
}

/// A fault in the words of the person who sees it. `of`: bytes of the image.
fn explain(fault: Fault, disk: &Disk, of: u64) -> Error {
    let path = disk.path.clone();
    match fault {
        Fault::Source(source) => Error::Source { disk: path, source },
        Fault::Medium { at, gone: true, .. } => Error::Vanished { at, of },
        Fault::Medium { doing, at, source, .. } => Error::Medium { disk: path, doing, at, of, source },
        Fault::Differs(bytes) => Error::Differs { disk: path, first: bytes.start, end: bytes.end },
        Fault::Interrupted { doing, at } => Error::Interrupted { disk: path, doing, at, of },
    }
}
