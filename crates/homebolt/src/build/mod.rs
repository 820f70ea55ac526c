//! `homebolt build` and `homebolt lock`: from a checkout to an image.
//!
//! ```text
//!  debian.lock ─────────► debs ─► tools root            (cache::step, each by the hash of what goes in)
//!                          └────► debian tree ─┐
//!  image/lnd ─► Go ──────────────► lnd ────────┤
//!  crates ─► cargo ─► manager, boot ───────────┼─► root.img (erofs + verity)
//!  overlays, systemd ──────────────────────────┘        │
//!                     boot ─► initrd ─► boot.img ───────┼─► disk.img ─► .img.zst .bmap manifest SBOM
//!                GRUB, boot state, recovery ─► esp.img ─┘
//! ```

mod board;
pub mod borrowed;
mod buildroot;
mod cache;
pub(crate) mod command;
mod debian;
pub(crate) mod disk;
mod error;
mod firmware;
mod foreign;
mod headers;
mod imager;
mod initrd;
mod lnd;
mod lock;
mod mirror;
mod output;
mod programs;
pub(crate) mod root;
pub(crate) mod sandbox;
pub(crate) mod tools;
pub(crate) mod tree;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Instant, SystemTime},
};

use crate::keys;

pub use board::{Board, Layout};
pub use cache::Cache;
pub(crate) use cache::remove;
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
    homebolt build --out /tmp/images        somewhere else\n  \
    homebolt build --keys keys              for others to use: it takes updates signed with these keys\n  \
    homebolt build --headers headers        with block headers, for a first start in minutes\n  \
    homebolt build --board aarch64          for 64-bit ARM machines with UEFI\n  \
    homebolt build --base buildroot         everything from source: two hours or more, and 20 GB\n\n\
    Without --keys the image takes what this machine's development keys sign, and says so on screen and page.\n\
    The first build takes about a quarter of an hour, most of it LND; later ones take what has changed.\n\
    Downloads and finished steps are kept in ~/.cache/homebolt (or $HOMEBOLT_CACHE).")]
pub struct Args {
    /// The board: a folder in image/boards/
    #[arg(long, default_value = "x86-64")]
    pub board: String,
    /// What the root file system is made of
    #[arg(long, default_value = "debian")]
    pub base: String,
    #[command(flatten)]
    pub buildroot: buildroot::Options,
    /// Where the files go [default: out/<board> in the checkout]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// The folder of `homebolt keys` whose keyring goes into the image [default: this machine's development keys]
    #[arg(long, value_name = "FOLDER")]
    pub keys: Option<PathBuf>,
    /// A folder with block_headers.bin and filter_headers.bin of a chain, in the form that LND imports
    #[arg(long, value_name = "FOLDER")]
    pub headers: Option<PathBuf>,
    /// Where the folders of the boards will be published, for the list that Raspberry Pi Imager reads [default: where they are]
    #[arg(long, value_name = "URL")]
    pub published_at: Option<String>,
    /// The checkout
    #[arg(long, default_value = ".")]
    pub source: PathBuf,
}

/// Renew the lock file: the exact Debian packages of an image
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt lock                           ask the mirror what is newest, and write image/boards/x86-64/debian.lock\n  \
    homebolt lock --board aarch64           the same for another board\n\n\
    Look at the difference with git, build, test, commit.")]
pub struct LockArgs {
    /// The board: a folder in image/boards/
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
    /// Runs programs of the board.
    runner: &'a foreign::Runner,
    board: &'a Board,
    board_folder: PathBuf,
    base: &'a str,
    layout: &'a Layout,
    wanted: &'a Wanted,
    lock: &'a Lock,
    /// The roots whose updates the box takes, PEM.
    keyring: String,
    /// They are those of a machine that made them by itself.
    development_keys: bool,
    /// Of a chain, for a first start with neutrino.
    headers: Option<headers::Headers>,
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
            development_keys: self.development_keys,
            eeprom: self.board.eeprom.map(|day| day.midnight().assume_utc().unix_timestamp().unsigned_abs()),
        }
    }
}

/// Builds an image.
pub fn run(args: Args) -> Result<(), Error> {
    sandbox::enter()?;
    let start = Instant::now();
    let source = checkout(&args.source)?;
    let board = Board::read(&source, &args.board)?;
    if !["debian", "buildroot"].contains(&&*args.base) {
        return Err(Error::NoBase(args.base));
    }
    let layout = Layout::read(&source)?;
    let wanted = Wanted::read(&source.join("image/debian/packages.toml"))?;
    let lock = Lock::read(&lock::path(&source, &board.name))?;
    let epoch = lock.made.max(commit_time(&source).unwrap_or_default());
    let cache = Cache::open()?;
    let keys = keys::choose(args.keys.as_deref(), cache.root())?;
    // Before the long steps: a wrong file is told at once.
    let headers = args.headers.as_deref().map(headers::read).transpose()?;
    let fixed = sandbox::fix(&source, &programs::target_folder(&source, &cache)?)?;
    let tools = Tools::prepare("tools", &wanted.tools, &lock.tools, &[], epoch, &cache)?;
    let runner = foreign::Runner::prepare(&board, &lock, &cache)?;
    let all = source.join("out");
    let out = args.out.clone().unwrap_or_else(|| all.join(&board.name));
    let context = Context {
        source: &fixed.source,
        fixed: &fixed,
        cache: &cache,
        tools: &tools,
        runner: &runner,
        board: &board,
        board_folder: Board::folder(&fixed.source, &board.name),
        base: &args.base,
        layout: &layout,
        wanted: &wanted,
        lock: &lock,
        keyring: keys.keyring()?.0,
        development_keys: keys.development()?,
        headers,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch,
    };
    let (base, programs, lnd) = match &*args.base {
        "buildroot" => buildroot::build(&context, &args.buildroot)?,
        _ => {
            let base = debian::build(&context)?;
            // Beside each other: the end of cargo's work, the linker's, leaves all cores but one to Go.
            let (programs, lnd) = std::thread::scope(|scope| {
                let lnd = scope.spawn(|| lnd::build(&context));
                let programs = programs::build(&context);
                (programs, lnd.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            });
            (base, programs?, lnd?)
        }
    };
    let (root, initrds) = std::thread::scope(|scope| {
        let initrds = scope.spawn(|| -> Result<_, Error> {
            let initrd = initrd::build(&context, &base, &programs)?;
            Ok((initrd, initrd::recovery(&context, &base, &programs, &context.release(&lnd))?))
        });
        let root = root::build(&context, &base, &programs, &lnd);
        (root, initrds.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (root, (initrd, recovery)) = (root?, initrds?);
    let images = disk::build(&context, &base, &root, &initrd, &recovery)?;
    output::write(&context, &base, &lnd, &root, &images, &out)?;
    if args.out.is_none() {
        imager::write(&source, &all, args.published_at.as_deref())?;
    }
    eprintln!("{:>14}  {} in {:.1} s", "done", out.display(), start.elapsed().as_secs_f32());
    Ok(())
}

/// The tools root of a checkout, with the host's folders in sight that are named. All times in what it makes are `epoch`.
pub(crate) fn tools(source: &Path, shared: &[&Path], epoch: u64, cache: &Cache) -> Result<Tools, Error> {
    let source = checkout(source)?;
    let wanted = Wanted::read(&source.join("image/debian/packages.toml"))?;
    // The tools are those of the machine that builds: every board's lock file has the same.
    let lock = Lock::read(&lock::path(&source, "x86-64"))?;
    Tools::prepare("tools", &wanted.tools, &lock.tools, shared, epoch, cache)
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
    let lock = lock::resolve(&wanted, &board.debian, now, &mirrors, &folder)?;
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
