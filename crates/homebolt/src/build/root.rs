//! The root file system: a base's tree, our programs, units and files; then erofs with its dm-verity tree behind it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use release::HEADERS_FOLDER;
use sha2::{Digest, Sha256};

use crate::sbom::SourcePackage;

use super::{
    Context,
    board::LoaderFile,
    cache::{self, Key},
    command,
    error::{At, Error},
    lnd::Lnd,
    programs::Programs,
    tools::Tools,
    tree,
};

/// What a base hands to the assembler.
#[derive(Debug)]
pub struct Base {
    /// The root file system without anything of ours.
    pub tree: PathBuf,
    /// The kernel image.
    pub kernel: PathBuf,
    /// Kernel release: the name of the folder below `/usr/lib/modules`.
    pub release: String,
    /// Goes into the keys of all that is made of it.
    pub key: Key,
    /// What it is made of, if not of Debian's packages.
    pub parts: Vec<SourcePackage>,
    /// Folders in which the files of the board's loader are.
    pub loader: Vec<PathBuf>,
}

/// The root slot's image.
#[derive(Debug)]
pub struct Root {
    pub image: PathBuf,
    pub root_hash: String,
    /// Where the verity tree begins, bytes.
    pub hash_offset: u64,
}

/// erofs identifiers are fixed: nothing finds the root by them.
const EROFS_UUID: &str = "1b0c1f0e-5a57-4b7e-8d5d-6d0f4b3a7c21";
const VERITY_UUID: &str = "1b0c1f0e-5a57-4b7e-8d5d-6d0f4b3a7c22";

/// RAUC's configuration, in the checkout.
pub const RAUC_CONF: &str = "overlays/common/etc/rauc/system.conf";

/// Folders of `systemd/` and where they go; all others go to `/usr/lib/systemd`.
const BESIDE_SYSTEMD: [&str; 4] = ["modules-load.d", "sysctl.d", "sysusers.d", "tmpfiles.d"];

/// Makes the root slot's image.
pub fn build(context: &Context, base: &Base, programs: &Programs, lnd: &Lnd) -> Result<Root, Error> {
    let release = serde_json::to_vec_pretty(&context.release(lnd)).unwrap_or_default();
    let overlays = ["overlays/common".into(), format!("overlays/{}", context.board.name), "systemd".into()];
    let mut key = base.key.clone().text("root 5").text(&String::from_utf8_lossy(&release)).text(&lnd.version);
    key = key.text(&context.keyring).path(&programs.manager)?.path(&programs.boot)?.path(&lnd.program)?;
    key = context.board.kernel.consoles.iter().fold(key, |key, console| key.text(console));
    for overlay in &overlays {
        let path = context.source.join(overlay);
        if path.is_dir() {
            key = key.path(&path)?;
        }
    }
    for (kind, _, sha256) in context.headers.iter().flat_map(|headers| &headers.files) {
        key = key.text(kind.file_name()).text(sha256);
    }
    let done = context.cache.step("root", &key, |folder| {
        let work = folder.join("tree");
        tree::link(&base.tree, &work)?;
        tree::put(&work, "usr/lib/homebolt/release.json", &release, 0o644)?;
        install(context, &work, programs, lnd, &overlays)?;
        settle(context, &work)?;
        image(context.tools, context.epoch, &work, CLUSTER, folder)?;
        super::cache::remove(&work)
    })?;
    made(&done)
}

/// What [`image`] has left in a folder.
pub(crate) fn made(folder: &Path) -> Result<Root, Error> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).at("read", folder.join(name));
    let offset = text("hash_offset")?;
    let hash_offset = offset.trim().parse();
    let hash_offset =
        hash_offset.map_err(|_| Error::File { path: folder.into(), why: format!("hash offset {offset:?}") })?;
    Ok(Root { image: folder.join("root.img"), root_hash: text("root_hash")?.trim().to_owned(), hash_offset })
}

fn install(context: &Context, root: &Path, programs: &Programs, lnd: &Lnd, overlays: &[String]) -> Result<(), Error> {
    let program = |path: &str, from: &Path| tree::put(root, path, fs::read(from).at("read", from)?, 0o755);
    program("usr/bin/homebolt-manager", &programs.manager)?;
    program("usr/lib/homebolt/homebolt-boot", &programs.boot)?;
    tree::symlink(root, "usr/lib/homebolt/rauc-bootstate", "homebolt-boot")?;
    program("usr/bin/lnd", &lnd.program)?;
    tree::symlink(root, "usr/bin/lncli", "lnd")?;
    for overlay in overlays.iter().filter(|overlay| *overlay != "systemd") {
        let path = context.source.join(overlay);
        if path.is_dir() {
            tree::overlay(&path, root)?;
        }
    }
    for (kind, from, _) in context.headers.iter().flat_map(|headers| &headers.files) {
        let path = format!("{}/{}", HEADERS_FOLDER.trim_start_matches('/'), kind.file_name());
        tree::put(root, &path, fs::read(from).at("read", from)?, 0o644)?;
    }
    trust(context, root)?;
    let name = &context.board.name;
    let version = &context.version;
    let os = format!(
        "NAME=Homebolt\nID=homebolt\nVERSION_ID={version}\nVARIANT_ID={name}\nPRETTY_NAME=\"Homebolt {version}\"\n"
    );
    tree::put(root, "usr/lib/os-release", os, 0o644)?;
    let units = context.source.join("systemd");
    for entry in fs::read_dir(&units).at("list", &units)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let parent = if BESIDE_SYSTEMD.contains(&&*name) { "usr/lib" } else { "usr/lib/systemd" };
        let target = root.join(parent).join(&name);
        fs::create_dir_all(&target).at("create", &target)?;
        tree::overlay(&entry.path(), &target)?;
    }
    for console in &context.board.kernel.consoles {
        let unit = format!("homebolt-console@{console}.service");
        let link = format!("usr/lib/systemd/system/multi-user.target.wants/{unit}");
        tree::symlink(root, &link, "../homebolt-console@.service")?;
    }
    // PID 1 never sets the clock before the time of this file.
    tree::put(root, "usr/lib/clock-epoch", "", 0o644)
}

/// Whose bundles are taken: RAUC's configuration and the keyring, the same in a slot and in the recovery.
pub fn trust(context: &Context, root: &Path) -> Result<(), Error> {
    let path = context.source.join(RAUC_CONF);
    let text = fs::read_to_string(&path).at("read", &path)?;
    tree::put(root, "etc/rauc/system.conf", text.replace("@board@", &context.board.name), 0o644)?;
    tree::put(root, "etc/rauc/keyring.pem", &context.keyring, 0o644)
}

/// What package scripts and a first boot would do, done once and the same way for everyone.
fn settle(context: &Context, root: &Path) -> Result<(), Error> {
    for folder in ["data", "dev", "etc", "proc", "run", "sys", "tmp", "var", "root"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).at("create", &path)?;
    }
    let root_option = format!("--root={}", root.display());
    let tools = context.tools;
    command::output(tools.command("systemd-sysusers").arg(&root_option))?;
    command::output(tools.command("systemctl").args([&root_option, "preset-all"]))?;
    // The tools' own passes over libraries of another architecture. Without a cache the loader looks into the two folders
    // it was built with, and they are all there.
    if !context.runner.is_foreign() {
        command::output(tools.command("ldconfig").arg("-r").arg(root))?;
    }
    for leftover in ["var/cache/ldconfig", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock"]
    {
        let path = root.join(leftover);
        if path.is_dir() {
            super::cache::remove(&path)?;
        } else if path.exists() {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    // Locked and dated like everything else: systemd-sysusers writes the day of the build into it.
    let shadow = root.join("etc/shadow");
    let text = fs::read_to_string(&shadow).at("read", &shadow)?;
    let day = context.epoch / 86_400;
    let locked: String =
        text.lines().filter_map(|line| line.split(':').next()).map(|user| format!("{user}:!*:{day}::::::\n")).collect();
    tree::put(root, "etc/shadow", locked, 0o600)
}

/// So many bytes are compressed at a time.
pub(crate) const CLUSTER: u32 = 65_536;

/// Makes `root.img` of a tree, compressed in clusters of so many bytes. All times in it are `epoch`.
pub(crate) fn image(tools: &Tools, epoch: u64, tree: &Path, cluster: u32, folder: &Path) -> Result<(), Error> {
    let image = folder.join("root.img");
    let epoch = epoch.to_string();
    // A higher level costs a minute a build and gains four hundredths.
    // With this variable set, -T is a bound and not the time of all files: those of a base unpacked before the last
    // commit would keep the hour of that.
    let mut mkfs = tools.command("env");
    mkfs.args(["--unset=SOURCE_DATE_EPOCH", "mkfs.erofs"]);
    mkfs.args(["--quiet", "-zzstd,level=3", "--all-root", "-U", EROFS_UUID, "-T", &epoch]).arg(format!("-C{cluster}"));
    command::output(mkfs.arg(&image).arg(tree))?;
    let size = fs::metadata(&image).at("read", &image)?.len().next_multiple_of(4096);
    fs::OpenOptions::new().write(true).open(&image).and_then(|file| file.set_len(size)).at("extend", &image)?;
    // The salt is taken from the data: random enough against tables made in advance, and the same in every build.
    let salt = hex::encode(Sha256::digest(cache::sha256(&image)?));
    let mut verity = tools.command("veritysetup");
    verity.args(["format", "--salt", &salt, "--uuid", VERITY_UUID, &format!("--hash-offset={size}")]);
    let said = command::output(verity.arg(&image).arg(&image))?;
    let hash = said.lines().find_map(|line| line.strip_prefix("Root hash:")).map(str::trim);
    let hash = hash.ok_or_else(|| Error::File { path: image, why: "veritysetup named no root hash".into() })?;
    for (name, value) in [("root_hash", hash.to_owned()), ("hash_offset", size.to_string())] {
        let path = folder.join(name);
        fs::write(&path, value).at("write", &path)?;
    }
    Ok(())
}

impl Base {
    /// Where a file of the board's loader is.
    pub fn loader_file(&self, context: &Context, name: &str, file: &LoaderFile) -> Result<PathBuf, Error> {
        let path = match file {
            LoaderFile::Here { here } => return Ok(context.board_folder.join(here)),
            LoaderFile::Made { buildroot, .. } if context.base == "buildroot" => buildroot,
            LoaderFile::Made { debian, .. } => debian,
        };
        let found = self.loader.iter().map(|folder| folder.join(path)).find(|path| path.is_file());
        let why = || format!("it names {path} for {name}, which is in none of {:?}", self.loader);
        found.ok_or_else(|| Error::File { path: context.board_folder.join("board.toml"), why: why() })
    }

    /// Where modules are, below the tree.
    pub fn modules(&self) -> PathBuf {
        self.tree.join("usr/lib/modules").join(&self.release)
    }
}

/// The name of the one entry in a folder.
pub(crate) fn only_entry(folder: &Path) -> Result<String, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)?.flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    match names.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(Error::File { path: folder.into(), why: format!("one entry was expected, found {names:?}") }),
    }
}
