//! The programs of ours that run on the box, built by cargo.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
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

/// cargo's build folder of this checkout. A new checkout begins with a copy of the last one's compiled dependencies:
/// they are the same bytes, and compiling them is most of the time.
pub fn target_folder(source: &Path, cache: &Cache) -> Result<PathBuf, Error> {
    let all = cache.subfolder("cargo")?;
    let name = hex::encode(&Sha256::digest(source.as_os_str().as_encoded_bytes())[..8]);
    let own = all.join(name);
    if own.is_dir() {
        return Ok(own);
    }
    let mut others = Vec::new();
    for entry in fs::read_dir(&all).at("list", &all)?.flatten() {
        if let (true, Ok(Ok(time))) = (entry.path().is_dir(), entry.metadata().map(|data| data.modified())) {
            others.push((time, entry.path()));
        }
    }
    if let Some((_, newest)) = others.into_iter().max() {
        let part = all.with_file_name("cargo.part");
        super::cache::remove(&part)?;
        command::output(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(&newest).arg(&part))?;
        forget_own_crates(source, &part)?;
        fs::rename(&part, &own).at("rename", &part)?;
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
    cargo(context, "homebolt-manager", "")?;
    cargo(context, "homebolt-boot", "-C target-feature=+crt-static")?;
    let folder = context.fixed.target.join(target).join("release");
    let out = context.cache.subfolder("programs")?;
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
    cargo.env("RUSTFLAGS", flags).env("CARGO_TERM_COLOR", "never");
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
