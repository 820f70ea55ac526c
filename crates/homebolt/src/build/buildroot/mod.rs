//! The buildroot base: everything from source, by Buildroot with our additions in `buildroot/`.
//!
//! ```text
//!  configs/homebolt_<board>_defconfig + BR2_… variables ─► .config ─► make ─► images/rootfs.tar, kernel, lnd.modules
//!                                                                              └─► tree, manager, LND, parts list
//! ```
//!
//! make's output folder is kept, so that a build goes on where the last one stopped. It begins anew when the
//! configuration, our additions or Buildroot are others.

mod log;
mod make;
mod settings;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::sbom;

use super::{
    Context,
    cache::Key,
    command, debian,
    error::{At, Error},
    firmware,
    lnd::{self, Lnd},
    programs::Programs,
    root::{self, Base},
    sandbox,
};
use log::Packages;
use make::Make;

/// What the command line says of it.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// A tree of Buildroot, for the buildroot base [default: the pinned release is fetched]
    #[arg(long, value_name = "TREE")]
    pub buildroot: Option<PathBuf>,
    /// How many compilers Buildroot runs at a time [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    pub jobs: Option<usize>,
}

/// Our packages that are built from the checkout: make does not see when their sources change.
const OWN: [&str; 2] = ["homebolt-manager", "lnd"];
/// Says, in the output folder, what it was made of.
const MADE_OF: &str = "homebolt.key";

/// Builds the root tree with all programs in it, or what has changed of it.
pub fn build(context: &Context, options: &Options) -> Result<(Base, Programs, Lnd), Error> {
    let external = context.source.join("buildroot");
    let (buildroot, version) = source::tree(context, &external, options.buildroot.as_deref())?;
    let output = sandbox::place(&context.cache.subfolder(&format!("buildroot/{}", context.board.name))?, "output")?;
    let make = Make { program: "make".into(), buildroot, external, output };
    let packages = configure(context, &make, options.jobs, &version)?;
    let log = context.cache.root().join(format!("buildroot-{}.log", context.board.name));
    eprintln!("{:>14}  {version}, {} packages; all it says: {}", "buildroot", packages.len(), log.display());
    let anew: Vec<String> = OWN
        .iter()
        .filter(|name| make::is_built(&make.output, &packages, name))
        .map(|name| format!("{name}-reconfigure"))
        .collect();
    let goals: Vec<&str> = anew.iter().map(String::as_str).chain(["all"]).collect();
    make.build(&goals, &packages, &log)?;
    take(context, &make.output, &packages)
}

/// Lays down the configuration. An output folder that was made of something else is emptied first.
fn configure(context: &Context, make: &Make, jobs: Option<usize>, version: &str) -> Result<Packages, Error> {
    let board = &context.board.name;
    let defconfig = format!("homebolt_{board}_defconfig");
    if !make.external.join("configs").join(&defconfig).is_file() {
        let path = make.external.join("configs").join(defconfig);
        return Err(Error::File { path, why: format!("board {board} has no configuration for Buildroot yet") });
    }
    let jobs = jobs.or_else(|| std::thread::available_parallelism().map(Into::into).ok()).unwrap_or(1);
    let patches = make.external.join("patches");
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let lines = settings::lines(environment, jobs, &patches.to_string_lossy()).join("\n") + "\n";
    let path = make.output.join(".config");
    let lay_down = || -> Result<String, Error> {
        command::output(&mut make.command(&["--silent", &defconfig]))?;
        let text = fs::read_to_string(&path).at("read", &path)? + &lines;
        fs::write(&path, text).at("write", &path)?;
        command::output(&mut make.command(&["--silent", "olddefconfig"]))?;
        fs::read_to_string(&path).at("read", &path)
    };
    let text = lay_down()?;
    // Kconfig drops without a word what it does not know, or what misses something else. What the caller asks for comes
    // last: it may take the place of a line of ours.
    let asked = make.output.join("asked.config");
    fs::write(&asked, &lines).at("write", &asked)?;
    let mut check = Command::new(make.external.join("scripts/check-config"));
    command::output(
        check
            .arg(&path)
            .arg(make.external.join("configs/common"))
            .arg(context.board_folder.join("buildroot.config"))
            .arg(&asked),
    )?;
    let key = Key::new("buildroot 1").text(version).text(&settings::content(&text)).path(&make.external)?.short();
    let mark = make.output.join(MADE_OF);
    match fs::read_to_string(&mark) {
        Ok(before) if before == key => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !make.output.join("host").exists() => {}
        _ => {
            eprintln!("{:>14}  what it is made of has changed: everything is built anew", "buildroot");
            command::output(&mut make.command(&["--silent", "clean"]))?;
        }
    }
    fs::write(&mark, key).at("write", &mark)?;
    make.packages()
}

/// Takes what Buildroot has made into the cache, as a base for the assembler.
fn take(context: &Context, output: &Path, packages: &Packages) -> Result<(Base, Programs, Lnd), Error> {
    let images = output.join("images");
    let archive = images.join("rootfs.tar");
    let kernel = images.join(&context.board.kernel.file);
    let mut key = Key::new("buildroot root 3").text(&context.epoch.to_string()).path(&archive)?.path(&kernel)?;
    key = context.wanted.root.exclude.iter().fold(key, |key, pattern| key.text(pattern));
    let done = context.cache.step("buildroot", &key, |folder| {
        let tree = folder.join("tree");
        fs::create_dir(&tree).at("create", &tree)?;
        let mut tar = Command::new("tar");
        // Device files are the kernel's to make, and nobody but root may.
        tar.args(["--extract", "--preserve-permissions", "--same-owner", "--numeric-owner", "--exclude=./dev/*"]);
        tar.args(context.wanted.root.exclude.iter().map(|pattern| format!("--exclude={pattern}")));
        command::output(tar.arg("--file").arg(&archive).arg("--directory").arg(&tree))?;
        fs::copy(&kernel, folder.join("vmlinuz")).at("copy", &kernel)?;
        let release = root::only_entry(&tree.join("usr/lib/modules"))?;
        // Some of the modules it was made for were left out.
        command::output(context.tools.command("depmod").arg("-b").arg(&tree).arg(&release))?;
        for leftover in ["etc/fstab", "usr/lib/tmpfiles.d/legacy.conf"] {
            if tree.join(leftover).exists() {
                fs::remove_file(tree.join(leftover)).at("remove", tree.join(leftover))?;
            }
        }
        zones(&tree)?;
        firmware::reduce_built(&tree, &tree.join("usr/lib/modules").join(&release), context.tools)?;
        debian::settings(&tree)
    })?;
    let tree = done.join("tree");
    let release = root::only_entry(&tree.join("usr/lib/modules"))?;
    let programs =
        Programs { manager: tree.join("usr/bin/homebolt-manager"), boot: tree.join("usr/lib/homebolt/homebolt-boot") };
    let modules = images.join("lnd.modules");
    let lnd = Lnd {
        program: tree.join("usr/bin/lnd"),
        version: lnd::version(context)?,
        modules: fs::read_to_string(&modules).at("read", &modules)?,
    };
    let parts = parts(packages);
    let base = Base { kernel: done.join("vmlinuz"), tree, release, key, parts, loader: vec![images] };
    Ok((base, programs, lnd))
}

/// Buildroot's time zones are links into a folder of their own, `posix`, which who lists the zones does not follow. Those
/// that count leap seconds are nobody's.
fn zones(tree: &Path) -> Result<(), Error> {
    let folder = tree.join("usr/share/zoneinfo");
    let (posix, right) = (folder.join("posix"), folder.join("right"));
    if !posix.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&posix).at("list", &posix)?.flatten() {
        let (from, to) = (entry.path(), folder.join(entry.file_name()));
        if to.is_symlink() {
            fs::remove_file(&to).at("remove", &to)?;
            fs::rename(&from, &to).at("move", &from)?;
        }
    }
    [posix, right].iter().filter(|path| path.is_dir()).try_for_each(|path| super::cache::remove(path))
}

/// What is on the box: packages with files in the root tree, but for our own, which the parts list has in more detail.
fn parts(packages: &Packages) -> Vec<sbom::SourcePackage> {
    let on_the_box = packages.iter().filter(|(name, package)| {
        package.kind == "target" && package.install_target && !package.is_virtual && !OWN.contains(&name.as_str())
    });
    let part = |(name, package): (&String, &log::Package)| sbom::SourcePackage {
        name: name.clone(),
        version: package.version.clone(),
        licence: Some(package.licenses.clone()).filter(|licence| !licence.is_empty()),
        cpe: package.cpe.clone(),
    };
    on_the_box.filter(|(_, package)| !package.version.is_empty()).map(part).collect()
}

#[cfg(test)]
mod tests;
