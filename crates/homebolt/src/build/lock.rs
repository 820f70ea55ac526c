//! The lock file: exactly which Debian packages an image is made of.
//!
//! `packages.toml` says what is wanted, apt (with a state of its own, never the host's) says what that means today, and
//! the lock file keeps it: package, version, SHA-256 and place on the mirror.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

use super::{
    board::{Board, Debian},
    command,
    error::{At, Error, in_toml},
    mirror::Mirrors,
};

/// `packages.toml`.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    pub suite: String,
    pub root: WantedSet,
    #[serde(default)]
    pub firmware: WantedFirmware,
    pub tools: WantedSet,
    pub go: WantedSet,
}

/// What is kept of the firmware that the root's packages bring.
#[derive(Debug, Default, Deserialize)]
pub struct WantedFirmware {
    /// Paths below `/usr/lib/firmware`; `*` at the end stands for all that begins so.
    pub keep: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct WantedSet {
    pub packages: Vec<String>,
    #[serde(default)]
    pub drop: Vec<String>,
    /// tar patterns of paths that are not unpacked.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// `debian.lock` of a board.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lock {
    pub suite: String,
    /// When it was made, seconds since 1970: the lower bound of the times in an image.
    pub made: u64,
    pub root: Vec<Package>,
    pub tools: Vec<Package>,
    pub go: Vec<Package>,
    /// GRUB's modules, where the tools have none for the board.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grub: Vec<Package>,
    /// Runs the board's programs, where the host cannot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emulator: Vec<Package>,
    /// What the board's firmware starts, and the firmware itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loader: Vec<Package>,
}

/// One package as it stands on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub arch: String,
    /// The source package where its name or version differs, as Debian writes it: `glibc`, `gcc-14 (14.2.0-19)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Path below the archive's root.
    pub path: String,
    pub size: u64,
    pub sha256: String,
    /// In the security archive, not in the main one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub security: bool,
}

impl Package {
    /// Its name in the cache.
    pub fn file_name(&self) -> String {
        format!("{}_{}.deb", self.name, &self.sha256[..16.min(self.sha256.len())])
    }
}

impl Wanted {
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).at("read", path)?;
        toml::from_str(&text).map_err(|error| in_toml(path, &text, &error))
    }
}

impl Lock {
    fn all(&self) -> impl Iterator<Item = &Package> {
        let sets = [&self.root, &self.tools, &self.go, &self.grub, &self.emulator, &self.loader];
        sets.into_iter().flatten()
    }

    pub fn read(path: &Path) -> Result<Self, Error> {
        let renew = "take it back with `git checkout`, or make it anew with `homebolt lock`";
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::File { path: path.into(), why: format!("it is not there: {renew}") });
            }
            other => other.at("read", path)?,
        };
        let lock: Self = toml::from_str(&text).map_err(|error| match in_toml(path, &text, &error) {
            Error::File { path, why } => Error::File { path, why: format!("{why}; {renew}") },
            other => other,
        })?;
        for package in lock.all() {
            let hash_ok = package.sha256.len() == 64 && package.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hash_ok || package.path.starts_with('/') || package.path.split('/').any(|part| part == "..") {
                let why = format!("package {} has an impossible hash or path; {renew}", package.name);
                return Err(Error::File { path: path.into(), why });
            }
        }
        Ok(lock)
    }

    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let body = toml::to_string(self).map_err(|error| Error::File { path: path.into(), why: error.to_string() })?;
        // Whole or not at all: what stops half-way leaves the old one.
        let part = path.with_extension("lock.part");
        fs::write(&part, format!("# Made by `homebolt lock`. Not edited by hand.\n{body}")).at("write", &part)?;
        fs::rename(&part, path).at("rename", &part)
    }
}

/// Asks the mirrors what `wanted` means today for a board.
pub fn resolve(wanted: &Wanted, board: &Debian, made: u64, mirrors: &Mirrors, folder: &Path) -> Result<Lock, Error> {
    let set = |wanted_set: &WantedSet, extra: &[&str], arch: &str| {
        Apt::new(folder, arch, &sources(&wanted.suite, extra, mirrors), mirrors)?.resolve(wanted_set, extra)
    };
    // Without what they would draw in.
    let alone = |names: &[String], arch: &str| -> Result<Vec<Package>, Error> {
        if names.is_empty() {
            return Ok(vec![]);
        }
        let mut packages = set(&WantedSet { packages: names.to_vec(), drop: vec![], exclude: vec![] }, &[], arch)?;
        packages.retain(|package| names.contains(&package.name));
        Ok(packages)
    };
    let emulator = board.emulator.as_ref().map(|emulator| emulator.package.clone());
    Ok(Lock {
        suite: wanted.suite.clone(),
        made,
        root: set(&wanted.root, &[&board.kernel], &board.arch)?,
        grub: alone(board.grub.as_slice(), &board.arch)?,
        emulator: alone(emulator.as_slice(), super::HOST_ARCH)?,
        loader: alone(&board.loader, &board.arch)?,
        tools: set(&wanted.tools, &[], super::HOST_ARCH)?,
        go: set(&wanted.go, &[], super::HOST_ARCH)?,
    })
}

/// Asks the mirrors for one set only, of any suite.
pub fn resolve_set(
    wanted: &WantedSet,
    suite: &str,
    arch: &str,
    mirrors: &Mirrors,
    folder: &Path,
) -> Result<Vec<Package>, Error> {
    Apt::new(folder, arch, &sources(suite, &[], mirrors), mirrors)?.resolve(wanted, &[])
}

/// Mirrors with the suites that are taken from, the suite itself first; one behind a slash in a package's name, such as
/// `linux-image-arm64/trixie-backports`, too. Not every suite has backports.
fn sources(suite: &str, packages: &[&str], mirrors: &Mirrors) -> Vec<(String, String)> {
    let main = |suite: String| (mirrors.main.clone(), suite);
    let mut sources = vec![main(suite.to_owned()), main(format!("{suite}-updates"))];
    sources.push((mirrors.security.clone(), format!("{suite}-security")));
    sources.extend(packages.iter().filter_map(|name| name.split_once('/')).map(|(_, other)| main(other.to_owned())));
    sources
}

/// apt with folders of its own.
struct Apt {
    options: Vec<String>,
    security: String,
}

impl Apt {
    fn new(folder: &Path, arch: &str, sources: &[(String, String)], mirrors: &Mirrors) -> Result<Self, Error> {
        let suite = sources.first().map(|(_, suite)| suite.as_str()).unwrap_or_default();
        let folder = folder.join(format!("{suite}-{arch}"));
        for sub in ["etc", "state/lists/partial", "cache/archives/partial"] {
            let path = folder.join(sub);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        let status = folder.join("status");
        fs::write(&status, "").at("write", &status)?;
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let mut list_text = String::new();
        for (base, suite) in sources {
            list_text.push_str(&format!("deb [signed-by={keyring}] {base} {suite} main non-free-firmware\n"));
        }
        let list = folder.join("etc/sources.list");
        fs::write(&list, list_text).at("write", &list)?;
        let shown = folder.display();
        let options = [
            format!("Dir={shown}"),
            format!("Dir::State={shown}/state"),
            format!("Dir::State::status={}", status.display()),
            format!("Dir::Cache={shown}/cache"),
            format!("Dir::Etc={shown}/etc"),
            format!("Dir::Etc::parts={shown}/none"),
            "Dir::Etc::trusted=/dev/null".into(),
            format!("APT::Architecture={arch}"),
            format!("APT::Architectures::={arch}"),
            "APT::Install-Recommends=false".into(),
            "APT::Sandbox::User=root".into(),
        ];
        let apt = Self { options: options.into(), security: mirrors.security.clone() };
        // Without this, a list that cannot be fetched is a warning, and the one of last month is taken.
        let mut update = apt.command("apt-get", &["-qq", "-o", "APT::Update::Error-Mode=any", "update"]);
        command::output(&mut update).map_err(|error| match error {
            Error::Failed { program, tail, .. } => {
                let line = |line: &&str| line.starts_with("E: ");
                let reason = tail.lines().find(line).unwrap_or(&tail).trim_start_matches("E: ").to_owned();
                Error::NoIndex { program, reason }
            }
            other => other,
        })?;
        Ok(apt)
    }

    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.args(words).env("LC_ALL", "C.UTF-8");
        command
    }

    fn resolve(&self, wanted: &WantedSet, extra: &[&str]) -> Result<Vec<Package>, Error> {
        let mut words = vec!["-y", "-qq", "--print-uris", "install"];
        words.extend(wanted.packages.iter().map(String::as_str));
        words.extend(extra);
        let uris = command::output(&mut self.command("apt-get", &words))?;
        let mut names = BTreeMap::new();
        for line in uris.lines() {
            let (uri, file) = parse_uri(line).ok_or_else(|| unexpected("apt-get --print-uris", line))?;
            let mut parts = file.split('_');
            let name = parts.next().unwrap_or_default();
            let version = parts.next().unwrap_or_default().replace("%3a", ":");
            names.insert(name.to_owned(), (version, uri.starts_with(&self.security)));
        }
        names.retain(|name, _| !wanted.drop.contains(name));
        let pairs: Vec<String> = names.iter().map(|(name, (version, _))| format!("{name}={version}")).collect();
        let mut words = vec!["show", "--no-all-versions"];
        words.extend(pairs.iter().map(String::as_str));
        let shown = command::output(&mut self.command("apt-cache", &words))?;
        let mut packages = Vec::new();
        for stanza in shown.split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
            let mut package = parse_stanza(stanza).ok_or_else(|| unexpected("apt-cache show", stanza))?;
            package.security = names.get(&package.name).is_some_and(|(_, security)| *security);
            packages.push(package);
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        packages.dedup_by(|a, b| a.name == b.name);
        if packages.len() != names.len() {
            return Err(unexpected("apt-cache show", &format!("{} of {} packages", packages.len(), names.len())));
        }
        Ok(packages)
    }
}

fn unexpected(program: &str, line: &str) -> Error {
    Error::Failed {
        program: program.into(),
        status: "unexpected output".into(),
        tail: line.chars().take(300).collect(),
    }
}

/// `'http://…/x.deb' x_1_amd64.deb 123 SHA256:…` → (URI, file name).
fn parse_uri(line: &str) -> Option<(&str, &str)> {
    let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    Some((uri, rest.split(' ').next()?))
}

fn parse_stanza(stanza: &str) -> Option<Package> {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        arch: field("Architecture")?.to_owned(),
        source: field("Source").map(str::to_owned),
        path: field("Filename")?.to_owned(),
        size: field("Size")?.parse().ok()?,
        sha256: field("SHA256")?.to_owned(),
        security: false,
    })
}

/// Where the lock file of a board stands.
pub fn path(source: &Path, board: &str) -> PathBuf {
    Board::folder(source, board).join("debian.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backports_are_asked_only_where_a_package_is_taken_from_them() {
        let mirrors = Mirrors { main: "m".into(), security: "s".into() };
        let suites = |suite: &str, packages: &[&str]| -> Vec<String> {
            sources(suite, packages, &mirrors).into_iter().map(|(base, suite)| format!("{base} {suite}")).collect()
        };
        let own = ["m trixie", "m trixie-updates", "s trixie-security"];
        assert_eq!(suites("trixie", &["linux-image-arm64"]), own);
        assert_eq!(suites("trixie", &["linux-image-arm64/trixie-backports"])[3..], ["m trixie-backports"]);
        assert_eq!(suites("forky", &[]), ["m forky", "m forky-updates", "s forky-security"]);
    }

    #[test]
    fn a_line_of_apt_gives_uri_and_file() {
        let line =
            "'http://mirror.example/pool/main/d/dbus/dbus_1.16.2-2_amd64.deb' dbus_1.16.2-2_amd64.deb 71632 SHA256:ab";
        assert_eq!(
            parse_uri(line),
            Some(("http://mirror.example/pool/main/d/dbus/dbus_1.16.2-2_amd64.deb", "dbus_1.16.2-2_amd64.deb"))
        );
        assert_eq!(parse_uri("E: nothing"), None);
    }

    #[test]
    fn a_stanza_without_a_hash_is_no_package() {
        let whole = "Package: a\nVersion: 1\nArchitecture: all\nFilename: pool/a.deb\nSize: 3\nSHA256: 00\n";
        assert!(parse_stanza(whole).is_some());
        assert!(parse_stanza(&whole.replace("SHA256", "MD5sum")).is_none());
    }

    #[test]
    fn a_lock_whose_path_leaves_the_mirror_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.lock");
        let package = Package {
            name: "a".into(),
            version: "1".into(),
            arch: "all".into(),
            source: None,
            path: "pool/../../etc/passwd".into(),
            size: 1,
            sha256: "00".repeat(32),
            security: false,
        };
        let lock = Lock {
            suite: "trixie".into(),
            made: 1,
            root: vec![package],
            tools: vec![],
            go: vec![],
            grub: vec![],
            emulator: vec![],
            loader: vec![],
        };
        lock.write(&file).unwrap();
        assert!(matches!(Lock::read(&file), Err(Error::File { .. })));
    }
}
