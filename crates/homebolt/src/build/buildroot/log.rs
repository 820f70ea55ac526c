//! What Buildroot's make says, read line by line: which package it is at, how many are done, and why it stopped.
//!
//! ```text
//!  >>> busybox 1.38.0 Building          a step of a package begins
//!  make[1]: *** [package/pkg-generic.mk:273: …/build/busybox-1.38.0/.stamp_built] Error 2
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;

/// How many of the last lines are shown when it stops.
const TAIL_LINES: usize = 15;

/// A step, in the words of make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Empty for what belongs to no package, such as the archive of the tree.
    pub package: String,
    pub doing: String,
}

/// The step that a line begins, if it does.
pub fn step(line: &str) -> Option<Step> {
    // Before and behind it there may be what makes a terminal bold.
    let rest = line.split_once(">>> ")?.1;
    let plain = rest.split('\u{1b}').next().unwrap_or_default();
    // A version may be missing; then there are two spaces.
    let mut words = plain.splitn(3, ' ');
    let (package, _version, doing) = (words.next()?, words.next()?, words.next()?);
    Some(Step { package: package.trim().to_owned(), doing: doing.trim().to_owned() })
}

/// One package as `make show-info` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Package {
    #[serde(rename = "type")]
    pub kind: String,
    /// Stands for others, as `toolchain` does.
    #[serde(default, rename = "virtual")]
    pub is_virtual: bool,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub licenses: String,
    /// Where its marks are, below the output folder.
    #[serde(default)]
    pub stamp_dir: String,
    #[serde(default, rename = "cpe-id")]
    pub cpe: Option<String>,
    #[serde(default)]
    pub install_target: bool,
}

/// All packages by their names; those of the host begin with `host-`.
pub type Packages = BTreeMap<String, Package>;

/// What `make show-info` printed, without the file systems, which are no packages.
pub fn packages(text: &str) -> Result<Packages, serde_json::Error> {
    let mut packages: Packages = serde_json::from_str(text)?;
    packages.retain(|_, package| package.kind != "rootfs");
    Ok(packages)
}

/// How far a build is, and what it said last.
#[derive(Debug)]
pub struct Watch {
    /// By the name of the folder its marks are in.
    by_folder: BTreeMap<String, String>,
    done: BTreeSet<String>,
    current: Option<Step>,
    installed: bool,
    tail: VecDeque<String>,
}

impl Watch {
    /// `done` were there before.
    pub fn new(packages: &Packages, done: impl IntoIterator<Item = String>) -> Self {
        let folder = |package: &Package| package.stamp_dir.rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            by_folder: packages.iter().map(|(name, package)| (folder(package), name.clone())).collect(),
            done: done.into_iter().collect(),
            current: None,
            installed: false,
            tail: VecDeque::new(),
        }
    }

    /// Takes a line; gives the step that it begins.
    pub fn line(&mut self, line: &str) -> Option<&Step> {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        // That the outermost make has failed, too, and leaves, is no news.
        if !line.starts_with("make: ") && !line.trim().is_empty() {
            self.tail.push_back(line.to_owned());
        }
        let begun = step(line)?;
        if let Some(before) = self.current.replace(begun.clone())
            && before.package != begun.package
        {
            self.leave(before.package);
        }
        self.installed |= begun.doing.starts_with("Installing to");
        self.current.as_ref()
    }

    /// Its last steps are installations; make goes to others before them, for what it needs.
    fn leave(&mut self, package: String) {
        if std::mem::take(&mut self.installed) && !package.is_empty() {
            self.done.insert(package);
        }
    }

    /// So many of so many packages.
    pub fn count(&self) -> (usize, usize) {
        let known = self.by_folder.len();
        (self.done.len().min(known), known)
    }

    /// What it stopped at: the package and its step, and the last lines.
    pub fn failure(&self) -> (String, String, String) {
        let blamed = self.tail.iter().rev().find_map(|line| self.blamed(line));
        let current = self.current.clone().unwrap_or(Step { package: String::new(), doing: "Beginning".into() });
        let Step { package, doing } = blamed.unwrap_or(current);
        let package = if package.is_empty() { "the system".into() } else { package };
        (package, doing, self.tail.iter().cloned().collect::<Vec<_>>().join("\n"))
    }

    /// The step whose mark a line of make says could not be made.
    fn blamed(&self, line: &str) -> Option<Step> {
        let target = line.split_once(" *** [")?.1.split_once(']')?.0;
        let (folder, mark) = target.rsplit_once("/.stamp_")?;
        let package = self.by_folder.get(folder.rsplit('/').next()?)?;
        let doing = match mark {
            "downloaded" => "Downloading",
            "extracted" | "rsynced" => "Extracting",
            "patched" => "Patching",
            "built" => "Building",
            mark if mark.ends_with("_installed") || mark == "installed" => "Installing",
            // Kconfig's own marks, too.
            _ => "Configuring",
        };
        Some(Step { package: package.clone(), doing: doing.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = r#"{
        "busybox": {"type": "target", "virtual": false, "version": "1.38.0", "licenses": "GPL-2.0",
                    "stamp_dir": "build/busybox-1.38.0", "install_target": true, "dependencies": ["toolchain"]},
        "host-tar": {"type": "host", "name": "tar", "version": "1.35", "stamp_dir": "build/host-tar-1.35"},
        "toolchain": {"type": "target", "virtual": true, "stamp_dir": "build/toolchain"},
        "rootfs-tar": {"type": "rootfs", "image_name": "rootfs.tar"}
    }"#;

    fn watch() -> Watch {
        Watch::new(&packages(INFO).unwrap(), [])
    }

    #[test]
    fn a_step_is_read_with_and_without_a_version_and_with_bold_letters() {
        let read = |line| step(line).map(|step| (step.package, step.doing));
        let pair = |package: &str, doing: &str| Some((package.to_owned(), doing.to_owned()));
        assert_eq!(read(">>> busybox 1.38.0 Installing to target"), pair("busybox", "Installing to target"));
        assert_eq!(read(">>> toolchain  Configuring"), pair("toolchain", "Configuring"));
        assert_eq!(read("\u{1b}[7m>>> host-tar 1.35 Building\u{1b}[27m"), pair("host-tar", "Building"));
        assert_eq!(read(">>>   Finalizing target directory"), pair("", "Finalizing target directory"));
        assert_eq!(read("  CC  applets/applets.o"), None);
    }

    #[test]
    fn file_systems_are_no_packages() {
        assert_eq!(packages(INFO).unwrap().into_keys().collect::<Vec<_>>(), ["busybox", "host-tar", "toolchain"]);
    }

    #[test]
    fn a_package_counts_once_it_was_installed_and_another_began() {
        let mut watch = watch();
        for line in
            [">>> busybox 1.38.0 Extracting", ">>> toolchain  Configuring", ">>> toolchain  Installing to target"]
        {
            watch.line(line);
        }
        assert_eq!(watch.count(), (0, 3), "busybox was left for what it needs");
        watch.line(">>> busybox 1.38.0 Configuring");
        assert_eq!(watch.count(), (1, 3));
        watch.line(">>> busybox 1.38.0 Installing to target");
        watch.line(">>>   Finalizing target directory");
        assert_eq!(watch.count(), (2, 3));
    }

    #[test]
    fn what_an_earlier_run_has_built_counts_from_the_start() {
        let watch = Watch::new(&packages(INFO).unwrap(), ["host-tar".to_owned()]);
        assert_eq!(watch.count(), (1, 3));
    }

    #[test]
    fn a_failure_names_the_package_whose_mark_is_missing() {
        let mut watch = watch();
        watch.line(">>> toolchain  Installing to target");
        watch.line("a.c:1: error: expected ';'");
        watch.line("make[1]: *** [package/pkg-generic.mk:273: /mnt/output/build/busybox-1.38.0/.stamp_built] Error 2");
        watch.line("make: *** [Makefile:23: _all] Error 2");
        let (package, step, tail) = watch.failure();
        assert_eq!((&*package, &*step), ("busybox", "Building"));
        assert!(tail.starts_with(">>> toolchain") && tail.contains("expected ';'") && !tail.contains("_all"), "{tail}");
    }

    #[test]
    fn a_failure_without_a_mark_is_that_of_the_step_it_was_in() {
        let mut watch = watch();
        watch.line(">>>   Generating filesystem image rootfs.tar");
        watch.line("make[1]: *** [fs/tar/tar.mk:20: /mnt/output/images/rootfs.tar] Error 1");
        assert_eq!(watch.failure().0, "the system");
        assert_eq!(watch.failure().1, "Generating filesystem image rootfs.tar");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut watch = watch();
        for number in 0..100 {
            watch.line(&format!("line {number}"));
        }
        let tail = watch.failure().2;
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 99"));
    }
}
