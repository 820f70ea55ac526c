//! `homebolt channel`: a folder that any static web server can publish, and that boxes ask for news.
//!
//! ```text
//!  FOLDER/stable.json                          what there is and for whom; signed, replaced as a whole
//!  FOLDER/files/homebolt-0.2.0-x86-64.raucb    never changed once it is there
//!                              ….update.json   the same description as in the list, for USB sticks
//! ```
//!
//! A release is added in the order bundle, description, list: a box never reads of something that is not there.

mod folder;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use release::{Version, Wave};

use crate::{build::Cache, keys};
use folder::Folder;

/// Publish updates: a folder for any static web server
///
/// Boxes fetch the signed list of their channel (for example stable.json) once a day and decide by themselves what is for
/// them. Nothing runs on the server; copy the folder to it, the list last. Each command signs the list anew, which also moves
/// its expiry: run `renew` at least once a month, or boxes say that news are kept from them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt channel new public --name stable                                a new, empty channel\n  \
    homebolt channel add public out/x86-64/*.update.json                     for all boxes, at once\n  \
    homebolt channel add public out/x86-64/*.update.json --waves 5:0,50:3    5 of 100 now, 50 in three days, no more yet\n  \
    homebolt channel waves public 1.4.0 100:0                                now for all\n  \
    homebolt channel block public 1.4.0 --why 'It loses the time zone.'      nobody shall install it any more\n  \
    homebolt channel renew public                                            sign the list anew, as it is\n  \
    homebolt channel verify public --keyring keys/keyring.pem                check everything, as a box would")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What all commands that sign need.
#[derive(Debug, clap::Args)]
struct Signing {
    /// The folder that is published
    folder: PathBuf,
    /// The channel
    #[arg(long, default_value = "stable")]
    name: String,
    /// The folder of `homebolt keys` to sign with [default: this machine's development keys]
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// So many days the list is valid
    #[arg(long, value_name = "DAYS", default_value_t = 45, value_parser = clap::value_parser!(u64).range(1..=400))]
    expires: u64,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an empty channel
    New {
        #[command(flatten)]
        signing: Signing,
    },
    /// Add an update: copies the bundle, then signs the list
    Add {
        #[command(flatten)]
        signing: Signing,
        /// The .update.json of `homebolt bundle`, with its bundle beside it
        update: PathBuf,
        /// Percent of boxes and days from now: 5:0,50:3,100:7 [default: all, at once]
        #[arg(long, value_name = "PERCENT:DAYS", value_delimiter = ',', value_parser = wave)]
        waves: Vec<(u8, u64)>,
    },
    /// Change who gets a version, and when
    Waves {
        #[command(flatten)]
        signing: Signing,
        #[arg(value_name = "VERSION")]
        release: Version,
        /// Percent of boxes and days from now: 5:0,50:3,100:7
        #[arg(required = true, value_name = "PERCENT:DAYS", value_delimiter = ',', value_parser = wave)]
        waves: Vec<(u8, u64)>,
    },
    /// Withdraw a version: no box installs it any more
    Block {
        #[command(flatten)]
        signing: Signing,
        #[arg(value_name = "VERSION")]
        release: Version,
        /// Why, in English: shown to those who have it
        #[arg(long)]
        why: String,
    },
    /// Say which version is the least that is still looked after
    Least {
        #[command(flatten)]
        signing: Signing,
        #[arg(value_name = "VERSION")]
        release: Version,
    },
    /// Sign the list anew, as it is
    Renew {
        #[command(flatten)]
        signing: Signing,
    },
    /// Check all lists, descriptions and bundles in a folder
    Verify {
        folder: PathBuf,
        /// The keyring that boxes have [default: that of this machine's development keys]
        #[arg(long, value_name = "FILE")]
        keyring: Option<PathBuf>,
    },
}

/// Why a channel cannot be changed or is not sound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Build(#[from] crate::build::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: release::OpenError },
    #[error("{} is there already: add to it with `homebolt channel add`", .0.display())]
    Exists(PathBuf),
    #[error("there is no channel {}: make it with `homebolt channel new`", .0.display())]
    None(PathBuf),
    #[error("the channel would make no sense")]
    Content(#[from] release::Error),
    #[error("{version} for {board} is in the channel already: a version never changes once it is out; make a new one")]
    Twice { version: String, board: String },
    #[error("version {0} is not in the channel")]
    NoVersion(Version),
    #[error("version {0} was withdrawn, which is not taken back: give the repaired one a new number")]
    Blocked(Version),
    #[error("{} is not the bundle that its description means ({why}): make both anew with `homebolt bundle`", path.display())]
    Bundle { path: PathBuf, why: String },
    #[error("{} is there already with other content: a published file never changes", .0.display())]
    Changed(PathBuf),
    #[error("{failed} of {all} checks failed")]
    Unsound { failed: usize, all: usize },
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<(), crate::Error> {
    match args.command {
        Command::Verify { folder, keyring } => verify(&folder, keyring.as_deref())?,
        command => change(command)?,
    }
    Ok(())
}

fn change(command: Command) -> Result<(), Error> {
    let open = |signing: Signing| -> Result<Folder, Error> {
        let keys = keys::choose(signing.keys.as_deref(), &Cache::folder())?;
        Ok(Folder::new(&signing.folder, &signing.name, signing.expires, keys))
    };
    match command {
        Command::New { signing } => open(signing)?.create(),
        Command::Add { signing, update, waves } => open(signing)?.add(&update, &from_now(&waves)),
        Command::Waves { signing, release, waves } => open(signing)?.set_waves(&release, &from_now(&waves)),
        Command::Block { signing, release, why } => open(signing)?.block(&release, why),
        Command::Least { signing, release } => open(signing)?.set_least(release),
        Command::Renew { signing } => open(signing)?.change(|_| Ok(())),
        Command::Verify { .. } => Ok(()),
    }
}

fn verify(folder: &Path, keyring: Option<&Path>) -> Result<(), Error> {
    let keyring = match keyring {
        None => keys::development(&Cache::folder())?.keyring()?.1,
        Some(path) => {
            let read = |source| Error::Io { action: "read", path: path.into(), source };
            let pem = std::fs::read(path).map_err(read)?;
            let wrong = |source: release::SignatureError| Error::File { path: path.into(), source: source.into() };
            release::Keyring::parse(&pem).map_err(wrong)?
        }
    };
    let lines = folder::verify(folder, &keyring, crate::bundle::now())?;
    for line in &lines {
        match line {
            Ok(line) => println!("ok      {line}"),
            Err(line) => println!("FAILED  {line}"),
        }
    }
    match lines.iter().filter(|line| line.is_err()).count() {
        0 => Ok(()),
        failed => Err(Error::Unsound { failed, all: lines.len() }),
    }
}

/// `50:3` is half of all boxes in three days.
fn wave(text: &str) -> Result<(u8, u64), String> {
    let parts = text.split_once(':').and_then(|(percent, days)| Some((percent.parse().ok()?, days.parse().ok()?)));
    match parts {
        Some((percent @ 0..=100, days @ 0..=3650)) => Ok((percent, days)),
        _ => Err("a wave is PERCENT:DAYS, for example 50:3 for half of all boxes in three days".into()),
    }
}

fn from_now(waves: &[(u8, u64)]) -> Vec<Wave> {
    let now = crate::bundle::now();
    waves.iter().map(|(percent, days)| Wave { percent: *percent, from: now + days * 86_400 }).collect()
}
