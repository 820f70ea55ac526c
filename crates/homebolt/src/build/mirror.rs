//! Debian packages from the mirror that this machine's apt uses, into the cache, checked by hash.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    cache::{self, Cache},
    command,
    error::{At, Error},
    lock::Package,
};

/// How many files one run of the fetcher is asked for: often enough to show progress.
const BATCH: usize = 24;
/// How long nothing may come before a mirror counts as silent.
const SILENCE: Duration = Duration::from_secs(60);
const SILENT: &str = "nothing came for a minute";

/// Roots of the archives, without a slash at the end.
#[derive(Debug, Clone)]
pub struct Mirrors {
    pub main: String,
    pub security: String,
}

impl Mirrors {
    /// `$HOMEBOLT_MIRROR` (and `$HOMEBOLT_SECURITY_MIRROR`), otherwise the ones of the host's apt.
    pub fn find() -> Result<Self, Error> {
        let format = "$(REPO_URI) $(ORIGIN) $(LABEL) $(CODENAME)";
        let targets = command::output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        choose(&targets, variable("HOMEBOLT_MIRROR"), variable("HOMEBOLT_SECURITY_MIRROR")).ok_or(Error::NoMirror)
    }

    /// The archive that a package is in.
    fn of(&self, package: &Package) -> &str {
        if package.security { &self.security } else { &self.main }
    }
}

/// Picks from lines of `URI origin label codename`. apt names the origin only once it has an index: until then the last
/// part of the URI tells the archives apart.
fn choose(targets: &str, main: Option<String>, security: Option<String>) -> Option<Mirrors> {
    let uris =
        || targets.lines().filter_map(|line| line.split_whitespace().next()).map(|uri| uri.trim_end_matches('/'));
    let main = main.or_else(|| uris().find(|uri| uri.ends_with("/debian")).map(str::to_owned))?;
    let main = main.trim_end_matches('/').to_owned();
    let security = security
        .or_else(|| uris().find(|uri| uri.ends_with("debian-security")).map(str::to_owned))
        .unwrap_or_else(|| format!("{main}-security"));
    Some(Mirrors { main, security: security.trim_end_matches('/').to_owned() })
}

/// Sees to it that every package is in the cache and gives its file. What is there, and right, is not fetched again.
pub fn fetch(packages: &[Package], cache: &Cache) -> Result<Vec<PathBuf>, Error> {
    let folder = cache.subfolder("debs")?;
    let mut missing = Vec::new();
    for package in packages {
        let path = folder.join(package.file_name());
        if !path.is_file() {
            missing.push(package);
        } else if cache::sha256(&path)? != package.sha256 {
            eprintln!("{:>14}  {} in the cache is damaged: fetching it again", "fetching", package.name);
            fs::remove_file(&path).at("remove", &path)?;
            missing.push(package);
        }
    }
    if !missing.is_empty() {
        download(&missing, packages.len(), &folder)?;
    }
    Ok(packages.iter().map(|package| folder.join(package.file_name())).collect())
}

fn download(missing: &[&Package], all: usize, folder: &Path) -> Result<(), Error> {
    let mirrors = Mirrors::find()?;
    let megabytes = |packages: &[&Package]| packages.iter().map(|package| package.size).sum::<u64>() / 1_000_000;
    eprintln!("{:>14}  {} packages, {} MB", "fetching", missing.len(), megabytes(missing));
    let mut so_far = 0;
    for batch in missing.chunks(BATCH) {
        // One bad file fails the whole batch: each is looked at by itself, and what is good is kept.
        let said = ask(batch, &mirrors, folder)?;
        let mut failed = Vec::new();
        for package in batch {
            match accept(package, folder, &said)? {
                None => so_far += 1,
                Some(fault) => failed.push((fault, *package)),
            }
        }
        if said.contains("No space left on device") {
            return Err(Error::DiskFull { path: folder.into() });
        }
        // A package that is wrong says more than the network's moods.
        if let Some((fault, package)) = failed.into_iter().min_by_key(|(fault, _)| fault.rank()) {
            return Err(fault.into_error(package, mirrors.of(package), missing.len() - so_far, all));
        }
        eprintln!("{:>14}  {so_far} of {} packages, {} MB", "", missing.len(), megabytes(&missing[..so_far]));
    }
    Ok(())
}

/// Has apt fetch a batch; gives what it complained of.
fn ask(batch: &[&Package], mirrors: &Mirrors, folder: &Path) -> Result<String, Error> {
    let mut helper = Command::new("/usr/lib/apt/apt-helper");
    helper.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    // Plain files, as whoever runs the build: apt's own user cannot write into the cache.
    for option in ["APT::Sandbox::User=root", "Acquire::Retries=2", "Acquire::http::Timeout=20"] {
        helper.args(["-o", option]);
    }
    helper.arg("download-file");
    for package in batch {
        let part = part(package, folder);
        // What an interrupted run has left.
        for old in [failed(&part), part.clone()] {
            if old.exists() {
                fs::remove_file(&old).at("remove", &old)?;
            }
        }
        let url = format!("{}/{}", mirrors.of(package), package.path);
        helper.arg(url).arg(part).arg(format!("SHA256:{}", package.sha256));
    }
    watch(&mut helper, folder)
}

/// Runs the fetcher for as long as something comes. By itself it would try a mirror that accepts and then says nothing
/// again and again, for each file in turn.
fn watch(helper: &mut Command, folder: &Path) -> Result<String, Error> {
    let advice = |error| format!("{error}; a build needs Debian's apt");
    let missing = |error| Error::Missing { program: "apt-helper".into(), advice: advice(error) };
    let mut child = helper.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(missing)?;
    let (mut size, mut last) = (0, Instant::now());
    let mut silent = false;
    while child.try_wait().at("wait for", "apt-helper")?.is_none() {
        let now = fs::read_dir(folder).at("list", folder)?.flatten();
        let now = now.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum::<u64>();
        if now != size {
            (size, last) = (now, Instant::now());
        } else if last.elapsed() > SILENCE {
            silent = true;
            child.kill().at("stop", "apt-helper")?;
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // A line or two for each file: that much a pipe holds until here.
    let said = child.wait_with_output().at("read", "the words of apt-helper")?.stderr;
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok(if silent { said + SILENT } else { said })
}

fn part(package: &Package, folder: &Path) -> PathBuf {
    folder.join(format!("{}.part", package.file_name()))
}

/// Where apt puts a file with a wrong hash.
fn failed(part: &Path) -> PathBuf {
    format!("{}.FAILED", part.display()).into()
}

/// Why a package did not come.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Mismatch { found: String },
    Vanished,
    Unreachable { reason: String },
}

impl Fault {
    fn rank(&self) -> u8 {
        match self {
            Self::Mismatch { .. } => 0,
            Self::Vanished => 1,
            Self::Unreachable { .. } => 2,
        }
    }

    fn into_error(self, package: &Package, mirror: &str, missing: usize, all: usize) -> Error {
        let (name, mirror) = (package.name.clone(), mirror.to_owned());
        match self {
            Self::Mismatch { found } => {
                Error::Mismatch { file: package.path.clone(), expected: package.sha256.clone(), found }
            }
            Self::Vanished => Error::Vanished { package: name, version: package.version.clone(), mirror },
            Self::Unreachable { reason } => Error::Unreachable { mirror, reason, missing, all, first: name },
        }
    }
}

/// Takes a fetched file into the cache when its hash is right, and leaves nothing of it otherwise.
fn accept(package: &Package, folder: &Path, said: &str) -> Result<Option<Fault>, Error> {
    let part = part(package, folder);
    let wrong = failed(&part);
    if part.is_file() && cache::sha256(&part)? == package.sha256 {
        let path = folder.join(package.file_name());
        return fs::rename(&part, &path).at("rename", &part).map(|()| None);
    }
    let fault = if wrong.is_file() { Fault::Mismatch { found: cache::sha256(&wrong)? } } else { judge(package, said) };
    for rest in [part, wrong] {
        if rest.exists() {
            fs::remove_file(&rest).at("remove", &rest)?;
        }
    }
    Ok(Some(fault))
}

/// What apt's complaint about a package means: `E: Failed to fetch <URL>  <reason>`.
fn judge(package: &Package, said: &str) -> Fault {
    let base = package.path.rsplit('/').next().unwrap_or_default();
    let reason = |line: &str| {
        let (url, reason) = line.strip_prefix("E: Failed to fetch ")?.split_once("  ")?;
        // As apt asks for it, a plus in a version is %2b.
        url.replace("%2b", "+").replace("%7e", "~").ends_with(base).then(|| reason.trim().to_owned())
    };
    match said.lines().find_map(reason) {
        Some(reason) if reason.starts_with("404") || reason.starts_with("410") => Fault::Vanished,
        Some(reason) => Fault::Unreachable { reason },
        None if said.ends_with(SILENT) => Fault::Unreachable { reason: SILENT.into() },
        None => Fault::Unreachable { reason: "the fetcher stopped".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_gone_is_told_from_a_mirror_that_is() {
        let package = Package {
            name: "dbus".into(),
            version: "1.404-2+b1".into(),
            arch: "amd64".into(),
            source: None,
            path: "pool/main/d/dbus/dbus_1.404-2+b1_amd64.deb".into(),
            size: 1,
            sha256: "00".repeat(32),
            security: false,
        };
        let path = package.path.replace('+', "%2b");
        let said = |reason: &str| format!("E: Failed to fetch http://a.example/x/{path}  {reason}\nE: Nothing");
        assert_eq!(judge(&package, &said("404  Not Found [IP: 127.0.0.1 80]")), Fault::Vanished);
        let reason = "Could not connect to 127.0.0.1:80 (127.0.0.1). - connect (111: Connection refused)".to_owned();
        assert_eq!(judge(&package, &said(&reason)), Fault::Unreachable { reason });
        assert!(matches!(judge(&package, ""), Fault::Unreachable { .. }));
    }

    #[test]
    fn the_mirror_of_the_host_is_taken_and_a_named_one_wins() {
        let targets = "http://a.example/debian/ Debian Debian bookworm\nhttp://a.example/debian-security/ Debian x y\n";
        let found = choose(targets, None, None).unwrap();
        assert_eq!((&*found.main, &*found.security), ("http://a.example/debian", "http://a.example/debian-security"));
        let named = choose("", Some("http://b.example/debian/".into()), None).unwrap();
        assert_eq!((&*named.main, &*named.security), ("http://b.example/debian", "http://b.example/debian-security"));
        assert!(choose("http://other.example/node nodistro", None, None).is_none());
    }
}
