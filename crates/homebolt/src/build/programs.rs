//! The programs of ours that run on the box, built by cargo.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use super::{
    Context,
    cache::Cache,
    command,
    error::{At, Error},
};

/// The finished programs.
#[derive(Debug)]
pub struct Programs {
    pub manager: PathBuf,
    /// Linked statically: it is also the first process of the initrd.
    pub boot: PathBuf,
}

/// What nobody asks SQLite for: searching in texts, maps, and statistics of its own pages.
pub const NOT_IN_SQLITE: &str = "-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 \
    -USQLITE_ENABLE_RTREE -USQLITE_ENABLE_DBSTAT_VTAB";

/// Functions of the same code become one, and so do runs of instructions: Rust's generics leave many.
const FOLDED: &str = "-C link-arg=-Wl,--icf=all -C llvm-args=-enable-machine-outliner=always";

/// So many other checkouts keep their build folder: two gigabytes each, which fill a disk in time.
const KEPT: usize = 2;

/// cargo's build folder of this checkout. A new checkout begins with a copy of the last one's compiled dependencies:
/// they are the same bytes, and compiling them is most of the time.
pub fn target_folder(source: &Path, cache: &Cache) -> Result<PathBuf, Error> {
    target_in(&cache.subfolder("cargo")?, source)
}

fn target_in(all: &Path, source: &Path) -> Result<PathBuf, Error> {
    let name = hex::encode(&Sha256::digest(source.as_os_str().as_encoded_bytes())[..8]);
    let own = all.join(name);
    let mut others = Vec::new();
    for entry in fs::read_dir(all).at("list", all)?.flatten() {
        if let (true, Ok(Ok(time))) = (entry.path().is_dir(), entry.metadata().map(|data| data.modified()))
            && entry.path() != own
        {
            others.push((time, entry.path()));
        }
    }
    others.sort_by(|one, other| other.cmp(one));
    if let (false, Some((_, newest))) = (own.is_dir(), others.first()) {
        let part = all.with_file_name("cargo.part");
        super::cache::remove(&part)?;
        command::output(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(newest).arg(&part))?;
        forget_own_crates(source, &part)?;
        fs::rename(&part, &own).at("rename", &part)?;
    }
    fs::create_dir_all(&own).at("create", &own)?;
    // What counts is when it was last used.
    fs::File::open(&own).and_then(|folder| folder.set_modified(SystemTime::now())).at("touch", &own)?;
    for (_, old) in others.iter().skip(KEPT) {
        super::cache::remove(old)?;
    }
    Ok(own)
}

/// cargo judges our own crates by file times, which say nothing across two checkouts: it shall compile them anew.
fn forget_own_crates(source: &Path, target: &Path) -> Result<(), Error> {
    let mut own = Vec::new();
    let crates = source.join("crates");
    for entry in fs::read_dir(&crates).at("list", &crates)?.flatten() {
        let manifest = entry.path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).at("read", &manifest)?;
        own.extend(text.lines().find_map(|line| Some(line.strip_prefix("name = \"")?.strip_suffix('"')?.to_owned())));
    }
    for path in super::tree::walk(target)? {
        let in_fingerprints = path.parent().is_some_and(|parent| parent.ends_with(".fingerprint"));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_own = name.rsplit_once('-').is_some_and(|(name, _)| own.iter().any(|own| own == name));
        if in_fingerprints && is_own {
            super::cache::remove(&path)?;
        }
    }
    Ok(())
}

/// Compiles both programs; what is up to date costs a second.
pub fn build(context: &Context) -> Result<Programs, Error> {
    let target = &context.board.rust.target;
    cargo(context, "homebolt-manager", FOLDED)?;
    cargo(context, "homebolt-boot", "-C target-feature=+crt-static")?;
    let folder = context.fixed.target.join(target).join("release");
    // Those of the host's kind have the folder for themselves: tests and figures look for them there.
    let name = if context.board.rust.linker.is_none() { "programs".into() } else { format!("programs/{target}") };
    let out = context.cache.subfolder(&name)?;
    let take = |name: &str| -> Result<PathBuf, Error> {
        let to = out.join(name);
        fs::copy(folder.join(name), &to).at("copy", folder.join(name))?;
        Ok(to)
    };
    Ok(Programs { manager: take("homebolt-manager")?, boot: take("homebolt-boot")? })
}

fn cargo(context: &Context, package: &str, flags: &str) -> Result<(), Error> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--package", package, "--target", &context.board.rust.target]);
    cargo.current_dir(&context.fixed.source);
    // Of this machine's settings only what leads to compiler and registry: flags would change what comes out, and what
    // an outer `cargo run` sets would have build scripts run anew.
    let leads = |name: &str| {
        matches!(name, "PATH" | "HOME" | "USER" | "RUSTUP_HOME" | "SSL_CERT_FILE" | "SSL_CERT_DIR")
            || name.to_ascii_lowercase().ends_with("_proxy")
            || ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"].iter().any(|prefix| name.starts_with(prefix))
    };
    cargo.env_clear().env("LC_ALL", "C.UTF-8");
    cargo.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(leads)));
    cargo.env("CARGO_HOME", &context.fixed.cargo_home).env("CARGO_TARGET_DIR", &context.fixed.target);
    cargo.env("LIBSQLITE3_FLAGS", NOT_IN_SQLITE).env("RUSTFLAGS", flags).env("CARGO_TERM_COLOR", "never");
    if let Some(linker) = &context.board.rust.linker {
        let target = context.board.rust.target.to_uppercase().replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{target}_LINKER"), linker);
    }
    let mut compiled = 0;
    command::stream(&mut cargo, |line| {
        if line.trim_start().starts_with("Compiling") {
            compiled += 1;
            if compiled % 40 == 0 {
                eprintln!("{:>14}  {package}: {compiled} crates compiled", "");
            }
        }
    })?;
    if compiled > 0 {
        eprintln!("{:>14}  {package}: {compiled} crates compiled", "cargo");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_new_checkout_begins_with_the_newest_folder_and_old_ones_go() {
        let (all, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(source.path().join("crates")).unwrap();
        for (age, name) in ["newest", "second", "third"].iter().enumerate() {
            let folder = all.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("who"), name).unwrap();
            let used = SystemTime::now() - Duration::from_secs(60 * (1 + age as u64));
            fs::File::open(&folder).unwrap().set_modified(used).unwrap();
        }
        let own = target_in(all.path(), source.path()).unwrap();
        assert_eq!(fs::read_to_string(own.join("who")).unwrap(), "newest");
        let is_kept = |name: &str| all.path().join(name).is_dir();
        assert!(is_kept("newest") && is_kept("second") && !is_kept("third"));
        assert!(own.metadata().unwrap().modified().unwrap().elapsed().unwrap() < Duration::from_secs(60));
        assert_eq!(target_in(all.path(), source.path()).unwrap(), own, "the second time it is there");
    }
}
