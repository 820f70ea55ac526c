//! `homebolt build` and `homebolt lock`: from a checkout to an image.
//!
//! ```text
//!  image/debian/*.lock ─► debs ─► tools root            (cache::step, each by the hash of what goes in)
//!                          └────► debian tree ─┐
//!  image/lnd ─► Go ──────────────► lnd ────────┤
//!  crates ─► cargo ─► manager, boot ───────────┼─► root.img (erofs + verity)
//!  overlays, systemd ──────────────────────────┘        │
//!                     boot ─► initrd ─► boot.img ───────┼─► disk.img ─► .img.zst .bmap manifest SBOM
//!                              GRUB ─► esp.img ─────────┘
//! ```

pub mod bitcoind;
mod board;
mod cache;
mod command;
mod debian;
mod disk;
mod error;
mod initrd;
mod lnd;
mod lock;
mod mirror;
mod output;
mod programs;
mod root;
mod sandbox;
mod tools;
mod tree;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Instant, SystemTime},
};

pub use board::{Board, Layout};
pub use cache::Cache;
pub use error::Error;

use self::{
    lock::{Lock, Wanted},
    tools::Tools,
};

/// Debian's name for the architecture of the machine that builds.
const HOST_ARCH: &str = "amd64";

/// Build an image that can be flashed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt build                          the default: x86-64 on the debian base, into out/x86-64/\n  \
    homebolt build --out /tmp/images        somewhere else\n\n\
    The first build takes about a quarter of an hour, most of it LND; later ones take what has changed.\n\
    Downloads and finished steps are kept in ~/.cache/homebolt (or $HOMEBOLT_CACHE).")]
pub struct Args {
    /// The board: a file in image/boards/
    #[arg(long, default_value = "x86-64")]
    pub board: String,
    /// What the root file system is made of
    #[arg(long, default_value = "debian")]
    pub base: String,
    /// Where the files go [default: out/<board> in the checkout]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// The checkout
    #[arg(long, default_value = ".")]
    pub source: PathBuf,
}

/// Renew the lock file: the exact Debian packages of an image
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt lock                           ask the mirror what is newest, and write image/debian/x86-64.lock\n\n\
    Look at the difference with git, build, test, commit.")]
pub struct LockArgs {
    /// The board: a file in image/boards/
    #[arg(long, default_value = "x86-64")]
    pub board: String,
    /// The checkout
    #[arg(long, default_value = ".")]
    pub source: PathBuf,
}

/// Everything the steps of a build need to know.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The checkout, at its fixed place.
    source: &'a Path,
    fixed: &'a sandbox::Fixed,
    cache: &'a Cache,
    tools: &'a Tools,
    board: &'a Board,
    board_file: PathBuf,
    base: &'a str,
    layout: &'a Layout,
    wanted: &'a Wanted,
    lock: &'a Lock,
    /// The product's version.
    version: String,
    /// All times in the image, seconds since 1970.
    epoch: u64,
}

impl Context<'_> {
    fn release(&self, lnd: &lnd::Lnd) -> release::Release {
        release::Release {
            version: self.version.clone(),
            board: self.board.name.clone(),
            base: self.base.to_owned(),
            built: self.epoch,
            lnd_version: lnd.version.clone(),
        }
    }
}

/// Builds an image.
pub fn run(args: Args) -> Result<(), Error> {
    sandbox::enter()?;
    let start = Instant::now();
    let source = checkout(&args.source)?;
    let board = Board::read(&source, &args.board)?;
    if args.base != "debian" {
        return Err(Error::NoBase(args.base));
    }
    let layout = Layout::read(&source)?;
    let wanted = Wanted::read(&source.join("image/debian/packages.toml"))?;
    let lock = Lock::read(&lock::path(&source, &board.name))?;
    let epoch = lock.made.max(commit_time(&source).unwrap_or_default());
    let cache = Cache::open()?;
    let fixed = sandbox::fix(&source, &programs::target_folder(&source, &cache)?)?;
    let tools = Tools::prepare("tools", &wanted.tools, &lock.tools, &[], epoch, &cache)?;
    let out = args.out.unwrap_or_else(|| source.join("out").join(&board.name));
    let context = Context {
        source: &fixed.source,
        fixed: &fixed,
        cache: &cache,
        tools: &tools,
        board: &board,
        board_file: fixed.source.join("image/boards").join(format!("{}.toml", board.name)),
        base: &args.base,
        layout: &layout,
        wanted: &wanted,
        lock: &lock,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch,
    };
    let base = debian::build(&context)?;
    let lnd = lnd::build(&context)?;
    let programs = programs::build(&context)?;
    let root = root::build(&context, &base, &programs, &lnd)?;
    let initrd = initrd::build(&context, &base, &programs)?;
    let images = disk::build(&context, &base, &root, &initrd)?;
    output::write(&context, &lnd, &root, &images, &out)?;
    eprintln!("{:>14}  {} in {:.1} s", "done", out.display(), start.elapsed().as_secs_f32());
    Ok(())
}

/// Renews a board's lock file.
pub fn run_lock(args: LockArgs) -> Result<(), Error> {
    let source = checkout(&args.source)?;
    let board = Board::read(&source, &args.board)?;
    let wanted = Wanted::read(&source.join("image/debian/packages.toml"))?;
    let cache = Cache::open()?;
    let mirrors = mirror::Mirrors::find()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let folder = cache.subfolder("apt")?;
    let lock = lock::resolve(&wanted, &board.debian.arch, &board.debian.kernel, now, &mirrors, &folder)?;
    let path = lock::path(&source, &board.name);
    lock.write(&path)?;
    eprintln!("{}: {} packages in the image", path.display(), lock.root.len());
    Ok(())
}

/// The absolute path of the checkout, or a word on what was named instead.
fn checkout(path: &Path) -> Result<PathBuf, Error> {
    use error::At;
    let path = path.canonicalize().at("find", path)?;
    if path.join("image/layout.toml").is_file() {
        return Ok(path);
    }
    Err(Error::File { path, why: "it is no checkout of Homebolt: run this in one, or name one with --source".into() })
}

/// When the checked-out commit was made: the same for everyone who builds it. None without git.
fn commit_time(source: &Path) -> Option<u64> {
    // The checkout may belong to another user than the one root that the sandbox has.
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"]).current_dir(source);
    command::output(&mut git).ok()?.trim().parse().ok()
}
