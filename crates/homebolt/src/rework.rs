//! `homebolt rework`: a finished image with other files in it, within half a minute. What comes out is for tests of updates.
//!
//! ```text
//!  .img.zst ─► root.img ─► tree ─► files laid over it ─► root.img and its verity tree ─┐
//!              boot.img ─► kernel, initrd ─► files laid over them, slot.cfg ─► boot.img ─┴─► .img, manifest
//! ```

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use release::Manifest;

use crate::{
    atomic,
    build::{self, Cache, command, disk, root, sandbox, tree},
    bundle,
    image::{self, CHUNK},
    run,
    verify::slots,
};

/// Make another version of a finished image, with some files changed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt rework out/x86-64/*.img.zst --new-version 0.1.1 --out /tmp/newer\n  \
    homebolt rework out/x86-64/*.img.zst --new-version 0.1.1 --root files --out /tmp/newer   lays what is in files/ over the root\n\n\
    For tests: what comes out is no release. 'homebolt bundle' takes it.")]
pub struct Args {
    /// The image, with its .manifest.json beside it
    pub image: PathBuf,
    /// What the new one says its version is
    #[arg(long, value_name = "VERSION")]
    pub new_version: String,
    /// What it says its LND is, whatever is inside
    #[arg(long, value_name = "VERSION")]
    pub lnd: Option<String>,
    /// Files laid over the root file system
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// Files laid over the boot partition
    #[arg(long, value_name = "FOLDER")]
    pub boot: Option<PathBuf>,
    /// Compress the root file system in smaller pieces: hardly a block of it is one of the old one's
    #[arg(long)]
    pub all_blocks: bool,
    /// Where the files go
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// The checkout, for the list of tools
    #[arg(long, default_value = ".")]
    pub source: PathBuf,
}

/// Why there is no other version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Build(#[from] build::Error),
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Run(#[from] run::Error),
    #[error("the system cannot be taken out of {}: {why}", image.display())]
    Slots { image: PathBuf, why: String },
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<(), Error> {
    sandbox::enter()?;
    let cache = Cache::open()?;
    let work = cache.subfolder("rework")?;
    build::remove(&work)?;
    let made = make(&args, &cache, &cache.subfolder("rework")?);
    build::remove(&work)?;
    made
}

fn make(args: &Args, cache: &Cache, work: &Path) -> Result<(), Error> {
    let mut manifest = image::manifest(&args.image, None)?;
    let epoch = manifest.release.built;
    let tools = build::tools(&args.source, &[], epoch, cache)?;
    let taken = bundle::slots::extract(&args.image, &manifest, work);
    taken.map_err(|error| Error::Slots { image: args.image.clone(), why: crate::error::sentence(&error) })?;
    manifest.release.version.clone_from(&args.new_version);
    if let Some(lnd) = &args.lnd {
        manifest.release.lnd_version.clone_from(lnd);
    }

    let (inside, new) = (work.join("tree"), cache.subfolder("rework/new")?);
    let mut unpack = tools.command("fsck.erofs");
    unpack.arg(format!("--extract={}", inside.display())).args(["--overwrite", "--preserve"]);
    command::output(unpack.arg(work.join("root.img")))?;
    tree::put(&inside, "usr/lib/homebolt/release.json", bundle::json(&manifest.release), 0o644)?;
    if let Some(files) = &args.root {
        tree::overlay(files, &inside)?;
    }
    let cluster = if args.all_blocks { root::CLUSTER / 2 } else { root::CLUSTER };
    root::image(&tools, epoch, &inside, cluster, &new)?;
    let root = root::made(&new)?;

    let boot = work.join("boot.img");
    let files = cache.subfolder("rework/boot.files")?;
    for name in ["vmlinuz", "initrd"] {
        command::output(tools.command("mcopy").arg("-i").arg(&boot).arg(format!("::/{name}")).arg(files.join(name)))?;
    }
    tree::put(&files, "slot.cfg", disk::slot_cfg(&root, &args.new_version)?, 0o644)?;
    if let Some(over) = &args.boot {
        tree::overlay(over, &files)?;
    }
    if !files.join("sha256sums").exists() {
        disk::sums(&files)?;
    }
    let length = fs::metadata(&boot).map_err(io("read", &boot))?.len();
    let boot = new.join("boot.img");
    disk::fat_of(&tools, epoch, &files, "BOOT", length, &boot)?;

    (manifest.root_hash, manifest.hash_offset) = (root.root_hash.clone(), root.hash_offset);
    manifest.slots = vec![named("boot", &boot)?, named("root", &root.image)?];
    write(args, manifest, &boot, &root.image)
}

/// The disk with both partitions exchanged, and its manifest.
fn write(args: &Args, mut manifest: Manifest, boot: &Path, root: &Path) -> Result<(), Error> {
    fs::create_dir_all(&args.out).map_err(io("create", &args.out))?;
    let name = format!("homebolt-{}-{}.img", args.new_version, manifest.release.board);
    let to = args.out.join(&name);
    run::unpack(&args.image, &to)?;
    let disk = fs::File::options().read(true).write(true).open(&to).map_err(io("open", &to))?;
    let mut head = vec![0; CHUNK];
    disk.read_exact_at(&mut head, 0).map_err(io("read", &to))?;
    let places = slots(&head, &manifest);
    let (boot_at, root_at) = places.map_err(|why| Error::Slots { image: to.clone(), why })?;
    for (from, at) in [(boot, boot_at.start), (root, root_at.start)] {
        copy(from, &disk, at).map_err(io("write", &to))?;
    }
    manifest.disk = named(&name, &to)?;
    manifest.compressed = manifest.disk.clone();
    let path = image::beside(&to, "manifest.json");
    atomic::write(&path, bundle::json(&manifest).as_bytes()).map_err(io("write", &path))?;
    println!("{}", to.display());
    Ok(())
}

fn copy(from: &Path, mut disk: &fs::File, at: u64) -> std::io::Result<()> {
    disk.seek(SeekFrom::Start(at))?;
    let mut from = fs::File::open(from)?;
    let mut piece = vec![0; CHUNK];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            length => disk.write_all(&piece[..length])?,
        }
    }
}

fn named(name: &str, path: &Path) -> Result<release::Image, Error> {
    let sum = image::sum(path).map_err(io("read", path))?;
    Ok(release::Image { name: name.to_owned(), size: sum.size, sha256: sum.sha256 })
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
