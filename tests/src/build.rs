//! Group `build`: the builder, when all is well and when something is not. Every run is a real one of the real program.
//!
//! ```text
//!  checkout ── scripts/build ──► out/x86-64 ◄───────────── the same bytes? ─────────────┐
//!     └─ clone, elsewhere ──┬─► empty cache, fake mirror: dies, lies, has lost one      │
//!                           ├─► cache on a disk that is full                            │
//!                           └─► cache with downloads and LND only: killed, goes on ─────┘
//! ```

mod lab;
mod mirror;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    Context,
    report::{Outcome, Report, ensure, fails, tail},
};
use lab::{Ended, Lab, Running, names};
use mirror::{FakeMirror, Mischief, Package};

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("build")?;
    let Some(lab) = report.need("the image is built from this checkout", || Lab::open(context)) else {
        return Ok(());
    };
    report.test("a build with nothing changed does no step again", || unchanged(&lab));
    report.test("an unknown board and an unknown base are named with those there are", || unknown(&lab));
    report.test("a second build waits for the first", || waiting(&lab));
    if report.need("the checkout can be cloned into another folder", || lab.clone_checkout()).is_none() {
        return Ok(());
    }
    report.test("a damaged lock file says how to renew it", || damaged_lock(&lab));
    downloads(report, &lab)?;
    report.test("a full disk is one clear line each time, and more room is all it takes to go on", || full_disk(&lab));
    let cache = report.test("an interrupted build goes on where it stood", || interrupted(&lab));
    if cache.is_some() {
        report.test("two builds in different folders give the same bytes", || same(&lab.out(), &lab.clone_out()));
    }
    Ok(())
}

fn unchanged(lab: &Lab) -> Outcome {
    let mut build = Command::new(lab.root.join("scripts/build"));
    build.args(["--board", &lab.board, "--base", &lab.base]).current_dir(&lab.root);
    let said = lab.run("unchanged", &mut build)?;
    said.succeeded()?;
    for step in ["tools", "debian", "lnd", "cargo", "root", "initrd", "disk", "output"] {
        ensure!(!names(&said.words, step), "the step {step} was done again: {}", tail(&said.words, 10));
    }
    Ok(())
}

fn unknown(lab: &Lab) -> Outcome {
    let cache = lab.work.path().join("never made");
    let mut board = Command::new(&lab.builder);
    board.args(["build", "--board", "toaster"]).current_dir(&lab.root).env("HOMEBOLT_CACHE", &cache);
    lab.run("unknown-board", &mut board)?.says(&["no board \"toaster\"", "there are: aarch64, rpi4, rpi5, x86-64"])?;
    let mut base = Command::new(&lab.builder);
    base.args(["build", "--base", "gentoo"]).current_dir(&lab.root).env("HOMEBOLT_CACHE", &cache);
    lab.run("unknown-base", &mut base)?.says(&["no base \"gentoo\"", "there are: debian, buildroot"])?;
    ensure!(!cache.exists(), "a cache was begun for it");
    Ok(())
}

fn waiting(lab: &Lab) -> Outcome {
    let lock = File::create(lab.cache.join("lock"))?;
    lock.lock()?;
    let mut child = Running::start(&mut lab.build(&lab.root, &lab.cache))?;
    child.wait_for("it to say that it waits", |words| words.contains("another build is running"))?;
    thread::sleep(Duration::from_millis(500));
    ensure!(child.child.try_wait()?.is_none(), "it did not wait");
    lock.unlock()?;
    let ended = child.end()?;
    ended.succeeded()
}

fn damaged_lock(lab: &Lab) -> Outcome {
    let lock = lab.lock(&lab.clone());
    let whole = fs::read_to_string(&lock)?;
    let cache = lab.work.path().join("for no lock");
    for (name, text) in [
        ("lock-cut", whole[..whole.len() / 2].to_owned()),
        ("lock-word", whole.replacen("sha256 = \"", "sha256 = \"no hash ", 1)),
        ("lock-conflict", format!("<<<<<<< HEAD\n{whole}")),
    ] {
        fs::write(&lock, text)?;
        let ended = lab.run(name, &mut lab.build(&lab.clone(), &cache));
        fs::write(&lock, &whole)?;
        ended?.says(&[&lock.to_string_lossy(), "`homebolt lock`"])?;
    }
    fs::remove_file(&lock)?;
    let ended = lab.run("lock-missing", &mut lab.build(&lab.clone(), &cache));
    fs::write(&lock, &whole)?;
    ended?.says(&[&lock.to_string_lossy(), "not there", "`homebolt lock`"])
}

/// One empty cache that fills from test to test, as a person's would who tries again.
fn downloads(report: &mut Report, lab: &Lab) -> Outcome {
    let tools = mirror::packages(&lab.lock(&lab.root), "tools", &lab.cache.join("debs"))?;
    let mirror = FakeMirror::start(&tools)?;
    let cache = lab.work.path().join("empty cache");
    let debs = cache.join("debs");
    let run = |name: &str| lab.run(name, &mut lab.build_from(&mirror, &cache));
    let kept = |wrong: Option<&Package>| kept(&debs, &tools, wrong);
    // Beyond the first batch that apt is asked for, and not the last ones.
    let (many, altered, gone) = (30, &tools[tools.len() - 10], &tools[tools.len() - 5]);
    report.test("a mirror that stops answering is one clear line, and what came is kept", || {
        mirror.set(Mischief::Dies { after: many });
        let ended = run("mirror-dies")?;
        let kept = kept(None)?;
        // A connection that breaks takes with it what was on the wire.
        ensure!((many - 5..=many).contains(&kept), "{many} packages were sent whole, {kept} were kept");
        let count = format!("{} of {} packages are missing", tools.len() - kept, tools.len());
        ended.says(&[&mirror.url, &count, "check the network", "goes on from here"])
    });
    report.test("a package with a wrong hash is named, deleted and not used", || {
        let before = kept(None)?;
        mirror.set(Mischief::Altered(altered.path.clone()));
        let ended = run("mirror-lies")?;
        ended.says(&[&altered.path, &altered.sha256, "was deleted"])?;
        ensure!(ended.words.contains(&format!("fetching  {} packages", tools.len() - before)), "it began anew");
        ensure!(!ended.names("tools"), "the tools were made without it");
        kept(Some(altered)).map(drop)
    });
    report.test("a version that vanished from the mirror is named with the way out", || {
        // It may have come already with the batch of the one that was wrong.
        if gone.file.file_name().is_some_and(|name| debs.join(name).exists()) {
            fs::remove_file(debs.join(gone.file.file_name().unwrap_or_default()))?;
        }
        mirror.set(Mischief::Gone(gone.path.clone()));
        let ended = run("mirror-lost-one")?;
        ended.says(&[&gone.version, "no longer on the mirror", "`homebolt lock`"])?;
        kept(Some(gone)).map(drop)
    });
    report.test("a damaged package in the cache is fetched again, and nothing else", || {
        let left = tools.len() - kept(Some(gone))?;
        let damaged = debs.join(tools[0].file.file_name().unwrap_or_default());
        fs::write(&damaged, "not what it was")?;
        mirror.set(Mischief::None);
        let mut child = Running::start(&mut lab.build_from(&mirror, &cache))?;
        child.wait_for("the tools to be made", |words| names(words, "tools"))?;
        child.kill()?;
        ensure!(mirror.served() > left, "{left} were missing and one damaged, {} were fetched", mirror.served());
        // The packages of the next step may be on their way when the build is stopped: the mirror has none of them.
        ensure!(mirror.served() == left + 1, "{} were fetched to replace {}", mirror.served(), left + 1);
        ensure!(kept(None)? == tools.len(), "not all packages are there");
        Ok(())
    });
    Ok(())
}

/// How many packages are in the folder. Each must be right, and of the wrong one there must be no trace.
fn kept(debs: &Path, packages: &[Package], wrong: Option<&Package>) -> Outcome<usize> {
    let mut count = 0;
    for entry in fs::read_dir(debs)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let package = packages.iter().find(|package| package.file.file_name() == path.file_name());
        let Some(package) = package else { return fails(format!("{name} was left behind")) };
        ensure!(Some(package) != wrong, "{name} is there");
        ensure!(hex(&Sha256::digest(fs::read(&path)?)) == package.sha256, "{name} has a wrong hash");
        count += 1;
    }
    Ok(count)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The cache on a small disk that grows: it is full while fetching, while unpacking, and far behind.
fn full_disk(lab: &Lab) -> Outcome {
    let tools = mirror::packages(&lab.lock(&lab.root), "tools", &lab.cache.join("debs"))?;
    let root = mirror::packages(&lab.lock(&lab.root), "root", &lab.cache.join("debs"))?;
    let mirror = FakeMirror::start(&[tools, root].concat())?;
    let disk = lab.work.path().join("small disk");
    fs::create_dir(&disk)?;
    let build = lab.build_from(&mirror, &disk);
    let script = "mount -t tmpfs -o size=16M small \"$1\" && shift && for size in 16M 48M 240M; do \
                  mount -o remount,size=$size \"$HOMEBOLT_CACHE\" || exit 9; \
                  \"$@\"; echo \"exit $?\" >&2; done";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !is_root()? {
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command.args(["sh", "-c", script, "sh"]).arg(&disk).arg(build.get_program()).args(build.get_args());
    command.current_dir(lab.clone());
    build.get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap_or_default());
    });
    let all = lab.run("full-disk", &mut command)?;
    let runs: Vec<Ended> = all
        .words
        .split_inclusive("exit 1\n")
        .map(|words| Ended { code: Some(1), words: words.trim_end_matches("exit 1\n").to_owned() })
        .collect();
    ensure!(all.code == Some(0) && runs.len() == 3, "three failures were expected: {}", tail(&all.words, 8));
    for run in &runs {
        run.says(&["no space left", &disk.to_string_lossy(), "HOMEBOLT_CACHE", "goes on from here"])?;
    }
    let fetched =
        |run: &Ended| -> Option<usize> { run.words.split_once("fetching  ")?.1.split_once(' ')?.0.parse().ok() };
    let (first, second) = (fetched(&runs[0]).unwrap_or_default(), fetched(&runs[1]).unwrap_or_default());
    ensure!(0 < second && second < first, "{first} packages were fetched at first and {second} then");
    ensure!(!runs[1].names("tools") && runs[2].names("tools"), "more room did not bring it further");
    Ok(())
}

fn is_root() -> Outcome<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout == b"0\n")
}

/// A cache with downloads and LND, which has no end of its own; everything else is made in it, with a kill between.
fn interrupted(lab: &Lab) -> Outcome<PathBuf> {
    let cache = lab.work.path().join("second cache");
    let steps = cache.join("steps");
    fs::create_dir_all(&steps)?;
    let mut link = Command::new("cp");
    // The development keys as well: the image trusts them, and another machine's would make other bytes.
    link.args(["--archive", "--link"]).args(["debs", "keys"].map(|name| lab.cache.join(name))).arg(&cache);
    ensure!(link.status()?.success(), "downloads and keys cannot be linked into another cache");
    for step in fs::read_dir(lab.cache.join("steps"))?.flatten() {
        if step.file_name().to_string_lossy().starts_with("lnd-") {
            let mut link = Command::new("cp");
            link.args(["--archive", "--link"]).arg(step.path()).arg(&steps);
            ensure!(link.status()?.success(), "LND cannot be linked into another cache");
        }
    }
    let mut child = Running::start(&mut lab.build(&lab.clone(), &cache))?;
    let half = steps.join("debian.part/tree/usr/share");
    child.wait_for("it to be half-way through the packages", |_| half.is_dir())?;
    let before = child.kill()?;
    ensure!(names(&before, "tools") && !names(&before, "debian"), "it was not stopped where it should: {before}");
    // The second builder lives in another place, sees another clock and keeps its files to itself.
    let build = lab.build(&lab.clone(), &cache);
    let mut strange = Command::new("sh");
    strange.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(build.get_program()).args(build.get_args());
    strange.current_dir(lab.clone()).env("HOMEBOLT_CACHE", &cache).env("TZ", "Asia/Tokyo").env("LANG", "C");
    let ended = lab.run("again", &mut strange)?;
    ended.succeeded()?;
    ensure!(ended.names("debian"), "what was interrupted was taken for finished");
    ensure!(!ended.names("tools") && !ended.names("lnd"), "what was finished was made again");
    Ok(cache)
}

/// Compares two folders of results, byte by byte; what differs is named by the manifests.
fn same(one: &Path, other: &Path) -> Outcome {
    let list = |folder: &Path| -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    let names = list(one)?;
    ensure!(names == list(other)?, "the files are {names:?} and {:?}", list(other)?);
    for end in ["SHA256SUMS", ".manifest.json", ".img.zst", ".img.bmap", ".cdx.json"] {
        ensure!(names.iter().any(|name| name.ends_with(end)), "there is no {end} in {}", one.display());
    }
    let manifest = |folder: &Path| -> Outcome<serde_json::Value> {
        let name = names.iter().find(|name| name.ends_with(".manifest.json")).cloned().unwrap_or_default();
        Ok(serde_json::from_slice(&fs::read(folder.join(name))?)?)
    };
    let (a, b) = (manifest(one)?, manifest(other)?);
    for part in ["/built", "/version", "/slots/0", "/slots/1", "/root_hash", "/disk", "/compressed"] {
        ensure!(a.pointer(part) == b.pointer(part), "{part}: {:?} and {:?}", a.pointer(part), b.pointer(part));
    }
    ensure!(
        a.pointer("/slots/1/sha256").is_some() && a.pointer("/disk/sha256").is_some(),
        "the manifest names no hashes"
    );
    for name in &names {
        ensure!(fs::read(one.join(name))? == fs::read(other.join(name))?, "{name} differs");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_differ_in_one_byte_are_not_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let fill = |name: &str, image: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            let manifest = r#"{"slots":[{"sha256":"0"},{"sha256":"1"}],"disk":{"sha256":"2"}}"#;
            for (name, text) in [("SHA256SUMS", ""), ("a.manifest.json", manifest), ("a.img.zst", image)] {
                fs::write(path.join(name), text).unwrap();
            }
            for name in ["a.img.bmap", "a.cdx.json"] {
                fs::write(path.join(name), name).unwrap();
            }
            path
        };
        let (one, two, other) = (fill("one", "x"), fill("two", "x"), fill("other", "y"));
        assert!(same(&one, &two).is_ok());
        assert!(same(&one, &other).is_err());
        fs::remove_file(two.join("a.cdx.json")).unwrap();
        assert!(same(&one, &two).is_err());
    }
}
