//! `homebolt keys`: the keys that releases are signed with, and the roots that boxes trust.
//!
//! ```text
//!  root-1 ──certifies──► signing-1, signing-2, …       root-N.key.pem: kept offline, used once a year
//!    └─certifies (cross-2) ──► root-2 ──► signing-3    signing-N.key.pem: on the machine that releases
//!  keyring.pem: all roots                              goes into images, and nothing else does
//! ```
//!
//! A box that knows only root-1 believes signing-3 as well: cross-2 travels with every signature. A box whose keyring has
//! both believes either. Nothing is ever overwritten: each new key has the next number.

mod files;
mod make;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use files::{Keys, Signer};

/// Name of the roots that a machine makes by itself for trying.
pub const DEVELOPMENT: &str = "Homebolt development";

/// Make and renew the keys that releases are signed with
///
/// Boxes install only what is signed with a key that leads back to a root in their keyring. The root is made once and kept
/// offline; it certifies signing keys, which do the daily work and are valid for two years. For trying, nothing of this is
/// needed: `homebolt build` makes development keys by itself, and images built with them say so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt keys new keys --name 'Example releases'      a root, a first signing key, and keyring.pem\n  \
    homebolt build --keys keys                            an image that takes what these keys sign\n  \
    homebolt keys signing keys --root /media/stick        once a year: a new signing key by the root\n  \
    homebolt keys root keys --root /media/stick           a new root, vouched for by the old one\n  \
    homebolt keys show keys                               what is there, and until when it is valid\n\n\
    After `new` and `root`: move root-*.key.pem to a medium that lies in a drawer, and a copy of it to another drawer.\n\
    Whoever has the root key decides what runs on every box; whoever lost it cannot renew anything.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a root and its first signing key in a new folder
    New {
        /// The folder; it must not hold keys yet
        folder: PathBuf,
        /// Who signs, as certificates name them
        #[arg(long)]
        name: String,
    },
    /// Make a new signing key, certified by the newest root
    Signing {
        folder: PathBuf,
        /// Where the root's key is [default: the folder itself]
        #[arg(long, value_name = "FOLDER")]
        root: Option<PathBuf>,
    },
    /// Make a new root, vouched for by the one before, and a signing key of it
    Root {
        folder: PathBuf,
        /// Where the old root's key is, and the new one's goes [default: the folder itself]
        #[arg(long, value_name = "FOLDER")]
        root: Option<PathBuf>,
    },
    /// Show what is there
    Show { folder: PathBuf },
}

/// Why keys cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} holds keys already: choose another folder, or make new ones in it with `homebolt keys signing`", .0.display())]
    Exists(PathBuf),
    #[error("{} holds no keys: make some with `homebolt keys new`, or name the right folder", .0.display())]
    None(PathBuf),
    #[error("the root's key {} is not there: connect the medium it is kept on and name its folder with --root", .0.display())]
    RootAway(PathBuf),
    #[error("{} cannot be used: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("failed to make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("no random numbers from this computer")]
    Random,
    #[error("the certificate of {} was valid until {until}: make a new signing key with `homebolt keys signing`", path.display())]
    Over { path: PathBuf, until: String },
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<(), crate::Error> {
    match args.command {
        Command::New { folder, name } => {
            let keys = Keys::new(&folder, &name)?;
            println!("{}", keys.describe()?);
            println!(
                "Move {} to a medium that you keep offline, and a copy to a second one.",
                keys.root_key(1).display()
            );
        }
        Command::Signing { folder, root } => {
            let keys = Keys::open(&folder)?;
            keys.add_signing(root.as_deref())?;
            println!("{}", keys.describe()?);
        }
        Command::Root { folder, root } => {
            let keys = Keys::open(&folder)?;
            keys.add_root(root.as_deref())?;
            println!("{}", keys.describe()?);
            println!("New images take keyring.pem with both roots: build with it, and give that release to all boxes.");
        }
        Command::Show { folder } => println!("{}", Keys::open(&folder)?.describe()?),
    }
    Ok(())
}

/// The development keys of this machine, made when there are none.
pub fn development(cache: &Path) -> Result<Keys, Error> {
    let folder = cache.join("keys");
    match Keys::open(&folder) {
        Err(Error::None(_)) => Keys::new(&folder, DEVELOPMENT),
        found => found,
    }
}

/// The keys that were named, or those for development.
pub fn choose(named: Option<&Path>, cache: &Path) -> Result<Keys, Error> {
    named.map_or_else(|| development(cache), Keys::open)
}
