//! Buildroot itself: a tree that was named, or the release that ours is pinned to.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::super::{
    Context,
    cache::{self, Key},
    command,
    error::{At, Error, in_toml},
};

/// `buildroot/release.toml`.
#[derive(Debug, Deserialize)]
pub struct Pinned {
    pub version: String,
    pub archive: String,
    /// Of the tar in the archive.
    pub sha256: String,
}

impl Pinned {
    pub fn read(external: &Path) -> Result<Self, Error> {
        let path = external.join("release.toml");
        let text = fs::read_to_string(&path).at("read", &path)?;
        toml::from_str(&text).map_err(|error| in_toml(&path, &text, &error))
    }
}

/// The tree that a build uses, and its version.
pub fn tree(context: &Context, external: &Path, named: Option<&Path>) -> Result<(PathBuf, String), Error> {
    let pinned = Pinned::read(external)?;
    let Some(named) = named else { return fetch(context, &pinned).map(|tree| (tree, pinned.version)) };
    let path = named.canonicalize().at("find", named)?;
    let makefile = path.join("Makefile");
    let text = fs::read_to_string(&makefile).at("read", &makefile)?;
    let why =
        || Error::File { path: path.clone(), why: "it is no tree of Buildroot: name one with --buildroot".into() };
    let found = version(&text).ok_or_else(why)?.to_owned();
    if found != pinned.version {
        eprintln!("{:>14}  {found}, our configurations are made for {}", "buildroot", pinned.version);
    }
    Ok((path, found))
}

/// The version in Buildroot's own Makefile.
fn version(makefile: &str) -> Option<&str> {
    makefile.lines().find_map(|line| line.strip_prefix("export BR2_VERSION := ")).map(str::trim)
}

/// The pinned release from its server, or from the cache.
fn fetch(context: &Context, pinned: &Pinned) -> Result<PathBuf, Error> {
    let key = Key::new("buildroot source 1").text(&pinned.sha256);
    let done = context.cache.step("buildroot.source", &key, |folder| {
        eprintln!("{:>14}  Buildroot {}", "fetching", pinned.version);
        let (packed, tar) = (folder.join("archive.tar.gz"), folder.join("archive.tar"));
        let mut helper = Command::new("/usr/lib/apt/apt-helper");
        helper.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2", "download-file", &pinned.archive]);
        let fetched = command::output(helper.arg(&packed).env("LC_ALL", "C.UTF-8"));
        fetched.map_err(|error| not_fetched(pinned, &error))?;
        let out = File::create(&tar).at("create", &tar)?;
        let mut gzip = Command::new("gzip");
        gzip.args(["--decompress", "--stdout"]).arg(&packed).stdin(Stdio::null()).stdout(out);
        let status = gzip.status().at("unpack", &packed)?;
        let found = cache::sha256(&tar)?;
        if !status.success() || found != pinned.sha256 {
            return Err(Error::BuildrootMismatch {
                archive: pinned.archive.clone(),
                expected: pinned.sha256.clone(),
                found,
            });
        }
        let into = folder.join("tree");
        fs::create_dir(&into).at("create", &into)?;
        let mut extract = Command::new("tar");
        extract.args(["--extract", "--strip-components=1", "--no-same-owner", "--file"]).arg(&tar);
        command::output(extract.arg("--directory").arg(&into))?;
        [packed, tar].into_iter().try_for_each(|path| fs::remove_file(&path).at("remove", &path))
    })?;
    Ok(done.join("tree"))
}

fn not_fetched(pinned: &Pinned, error: &Error) -> Error {
    let reason = match error {
        Error::Failed { tail, .. } => tail.lines().find(|line| line.starts_with("E: ")).unwrap_or(tail).to_owned(),
        other => other.to_string(),
    };
    Error::NoBuildroot { archive: pinned.archive.clone(), reason, version: pinned.version.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_makefile_of_a_tree() {
        let text = "# Makefile for buildroot\n\n# Set and export the version string\nexport BR2_VERSION := 2026.05.1\n";
        assert_eq!(version(text), Some("2026.05.1"));
        assert_eq!(version("all:\n\ttrue\n"), None);
    }

    #[test]
    fn the_pinned_release_is_of_the_version_it_names() {
        let pinned = Pinned::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../buildroot")).unwrap();
        assert!(pinned.archive.ends_with(&format!("/{}.tar.gz", pinned.version)), "{}", pinned.archive);
        assert!(pinned.sha256.len() == 64 && pinned.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
