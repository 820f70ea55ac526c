//! `homebolt bundle`: what a running box installs, made of an image.
//!
//! ```text
//!  .img.zst ─► boot.img, root.img ─┬─► rauc (tools root): squashfs + verity + CMS signature ─► .raucb
//!  manifest, notes ────────────────┴─► update document ─► signed with the same key ─────────► .update.json
//! ```
//!
//! The images are taken out of the disk image and compared with its manifest, so a bundle carries what was tested, byte for
//! byte. What RAUC makes of them is the same each time (squashfs, times, order); its verity salt and its signature are not.

pub(crate) mod slots;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use release::{Manifest, Purpose, Texts, UPDATE_FORMAT, Update, Version};

use crate::{
    atomic,
    build::{self, Cache, command, sandbox},
    image,
    keys::{self, Keys, Signer},
    progress::size,
};

/// Make a signed bundle of an image: what boxes install as an update
///
/// Takes the system out of an image, has RAUC make a signed bundle of it, and writes the signed description beside it. A box
/// that runs an older version installs it from a channel (`homebolt channel add`), from a USB stick, or by upload.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt bundle out/x86-64/*.img.zst                             with this machine's development keys\n  \
    homebolt bundle out/x86-64/*.img.zst --keys keys --notes notes   a release; notes/ holds en.txt, de.txt, …\n  \
    homebolt bundle out/x86-64/*.img.zst --least-version 1.4.0       boxes below 1.4.0 must take that one first\n\n\
    Writes homebolt-<version>-<board>.raucb and .update.json beside the image, or where --out says.")]
pub struct Args {
    /// The image: a .img.zst with its .manifest.json beside it
    pub image: PathBuf,
    /// The folder of `homebolt keys` to sign with [default: this machine's development keys]
    #[arg(long, value_name = "FOLDER")]
    pub keys: Option<PathBuf>,
    /// A folder with what is new in it: en.txt, and one file for each further language
    #[arg(long, value_name = "FOLDER")]
    pub notes: Option<PathBuf>,
    /// The least version a box must have to take it
    #[arg(long, value_name = "VERSION")]
    pub least_version: Option<Version>,
    /// There is no way back from it, even with the same LND: something it stores cannot be read by older versions
    #[arg(long)]
    pub one_way: bool,
    /// So many days it is offered
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub expires: u64,
    /// Where the files go [default: beside the image]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// The checkout, for the list of tools
    #[arg(long, default_value = ".")]
    pub source: PathBuf,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Build(#[from] build::Error),
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error("{} is not what its manifest says ({why}): download it again, or build it anew", image.display())]
    Damaged { image: PathBuf, why: String },
    #[error(
        "the image takes updates signed with development keys, and these are release keys: boxes that install it would trust the machine that built it. Build the image with `homebolt build --keys {}` first", .0.display()
    )]
    DevelopmentImage(PathBuf),
    #[error(
        "the image takes updates by its own keys: name their folder with --keys; development keys are of no use for it"
    )]
    ReleaseImage,
    #[error("{} holds no en.txt: English is the text that everyone gets", .0.display())]
    NoEnglish(PathBuf),
    #[error("what was made cannot be used")]
    Update(#[from] release::Error),
    #[error("the new description does not stand its own check")]
    Open(#[from] release::OpenError),
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<(), crate::Error> {
    Ok(make(&args)?)
}

fn make(args: &Args) -> Result<(), Error> {
    sandbox::enter()?;
    let manifest = image::manifest(&args.image, None)?;
    let notes = args.notes.as_deref().map_or_else(|| Ok(plain_notes(&manifest)), read_notes)?;
    let cache = Cache::open()?;
    let keys = keys::choose(args.keys.as_deref(), cache.root())?;
    let folder = args.keys.clone().unwrap_or_default();
    match (manifest.release.development_keys, keys.development()?) {
        (true, false) => return Err(Error::DevelopmentImage(folder)),
        (false, true) => return Err(Error::ReleaseImage),
        _ => {}
    }
    let signer = keys.signer()?;
    let out = args.out.as_deref().or(args.image.parent()).unwrap_or(Path::new("."));
    fs::create_dir_all(out).map_err(io("create", out))?;
    let stem = format!("homebolt-{}-{}", manifest.release.version, manifest.release.board);
    let bundle = out.join(format!("{stem}.raucb"));

    let work = cache.subfolder("bundle")?;
    let made = by_rauc(args, &manifest, &keys, &signer, &cache, &work);
    let made = made.and_then(|made| copy(&made, &bundle));
    build::remove(&work)?;
    made?;

    let sum = image::sum(&bundle).map_err(io("read", &bundle))?;
    let name = format!("{stem}.raucb");
    let now = now();
    let update = Update {
        format: UPDATE_FORMAT,
        release: manifest.release.clone(),
        bundle: release::Image { name, size: sum.size, sha256: sum.sha256 },
        root_hash: manifest.root_hash.clone(),
        one_way: args.one_way,
        least_version: args.least_version.clone(),
        notes,
        made: now,
        expires: now + args.expires * 86_400,
    };
    let document = json(&update);
    Update::parse(document.as_bytes())?;
    let file = json(&signer.sign(Purpose::Update, document)?);
    Update::open(file.as_bytes(), &keys.keyring()?.1)?;
    let path = out.join(format!("{stem}.update.json"));
    atomic::write(&path, file.as_bytes()).map_err(io("write", &path))?;
    println!("{} ({})", bundle.display(), size(sum.size));
    println!("{}", path.display());
    Ok(())
}

/// Has RAUC make the bundle, and look at it as a box would. Gives where it is.
fn by_rauc(
    args: &Args,
    manifest: &Manifest,
    keys: &Keys,
    signer: &Signer,
    cache: &Cache,
    work: &Path,
) -> Result<PathBuf, Error> {
    build::remove(work)?;
    let content = cache.subfolder("bundle/content")?;
    slots::extract(&args.image, manifest, &content)?;
    let text = rauc_manifest(args, manifest);
    put(&content.join("manifest.raucm"), &text)?;
    let built = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(manifest.release.built);
    for name in ["boot.img", "root.img", "manifest.raucm", ""] {
        let path = content.join(name);
        fs::File::open(&path).and_then(|file| file.set_modified(built)).map_err(io("date", &path))?;
    }
    let (bundle, keyring, certificate) =
        (work.join("bundle.raucb"), work.join("keyring.pem"), work.join("signing.pem"));
    put(&keyring, &keys.keyring()?.0)?;
    put(&certificate, &signer.chain[0])?;
    let key = signer.key_file.canonicalize().map_err(io("find", &signer.key_file))?;
    let tools = build::tools(&args.source, &[key.parent().unwrap_or(Path::new("/"))], manifest.release.built, cache)?;

    // As on the box: only keys for signing code.
    let config = work.join("system.conf");
    put(&config, "[system]\ncompatible=homebolt\nbootloader=noop\n\n[keyring]\ncheck-purpose=codesign\n")?;
    let mut rauc = tools.command("rauc");
    rauc.arg(option("conf", &config))
        .arg("bundle")
        .arg(option("cert", &certificate))
        .arg(option("key", &key))
        .arg(option("keyring", &keyring));
    for (number, certificate) in signer.chain.iter().enumerate().skip(1) {
        let path = work.join(format!("between-{number}.pem"));
        put(&path, certificate)?;
        rauc.arg(option("intermediate", &path));
    }
    // Small blocks: a box that lacks one of them fetches no more than these bytes. What is inside is compressed already.
    rauc.arg("--mksquashfs-args=-comp zstd -Xcompression-level 3 -b 64K -processors 2");
    command::output(rauc.arg(&content).arg(&bundle))?;
    let mut info = tools.command("rauc");
    command::output(info.arg(option("conf", &config)).arg("info").arg(option("keyring", &keyring)).arg(&bundle))?;
    Ok(bundle)
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(format!("--{name}="));
    option.push(path);
    option
}

/// RAUC's own manifest: what goes where, and, for a bundle that comes without its description, what it is.
fn rauc_manifest(args: &Args, manifest: &Manifest) -> String {
    let release::Release { version, board, base, built, lnd_version, development_keys, .. } = &manifest.release;
    let least = args.least_version.as_ref().map(|least| format!("least-version={least}\n")).unwrap_or_default();
    format!(
        "[update]\n\
         compatible=homebolt-{board}\n\
         version={version}\n\
         build={built}\n\n\
         [bundle]\n\
         format=verity\n\n\
         [image.rootfs]\n\
         filename=root.img\n\
         adaptive=block-hash-index\n\n\
         [image.boot]\n\
         filename=boot.img\n\
         adaptive=block-hash-index\n\n\
         [meta.homebolt]\n\
         board={board}\n\
         base={base}\n\
         lnd={lnd_version}\n\
         root-hash={}\n\
         one-way={}\n\
         development-keys={development_keys}\n\
         {least}",
        manifest.root_hash, args.one_way
    )
}

fn plain_notes(manifest: &Manifest) -> Texts {
    let release = &manifest.release;
    let text = format!("Homebolt {} with LND {}.", release.version, release.lnd_version);
    Texts::from([("en".to_owned(), text)])
}

fn read_notes(folder: &Path) -> Result<Texts, Error> {
    let mut notes = Texts::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(language) = name.strip_suffix(".txt") {
            let text = fs::read_to_string(&path).map_err(io("read", &path))?;
            notes.insert(language.to_owned(), text.trim().to_owned());
        }
    }
    if notes.contains_key("en") { Ok(notes) } else { Err(Error::NoEnglish(folder.into())) }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let copied = atomic::with(to, |file| std::io::copy(&mut fs::File::open(from)?, file).map(drop));
    copied.map_err(io("write", to))
}

fn put(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(io("write", path))
}

/// Our documents always become JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
