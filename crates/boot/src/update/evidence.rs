//! What starts that failed leave behind: a folder for each on the data partition, and a copy that everybody may read.
//!
//! ```text
//!  initrd gives up            ─► init                                         why, kernel
//!  new version not good yet   ─► update-watch, every 10 s; gone once it is    why, kernel, journal
//!  health gate fails          ─► evidence, before the restart                 why, kernel, journal
//!  kernel stops               ─► firmware's variables ─► update-settle of the next start    why, kernel
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Deserialize;
use twin::Slot;

use crate::{
    console::note,
    error::{At, Error},
    files, marks, program,
};

/// Below the data partition's root.
const FOLDER: &str = "system/failed";
/// So many starts are kept.
const KEPT: usize = 6;
/// A file is never longer, bytes; of one that is, the end is kept.
const LONGEST: usize = 64 * 1024;
const FILES: [&str; 3] = ["why.txt", "kernel.txt", "journal.txt"];
const JOURNALCTL: &str = "/usr/bin/journalctl";

/// Names the folder of a start.
pub fn name(slot: Slot, boot: &str) -> String {
    format!("{slot:?}-{boot}")
}

/// Puts texts into the folder of a start; an empty one is left out. Older folders give way.
pub fn save(data: &Path, name: &str, texts: [&str; 3]) -> Result<(), Error> {
    let folder = files::folder(data.join(FOLDER).join(name))?;
    for (file, text) in FILES.into_iter().zip(texts).filter(|(_, text)| !text.is_empty()) {
        files::write_atomic(&folder.join(file), end(text).as_bytes(), 0o600)?;
    }
    let mut all = folders(data);
    // The newest first. The one just written is the newest, whatever the clock says.
    all.sort_by_key(|(other, at)| (other != name, std::cmp::Reverse(*at)));
    for (old, _) in all.iter().skip(KEPT) {
        remove(data, old)?;
    }
    Ok(())
}

/// The end of a text, from the beginning of a line where there is one.
fn end(text: &str) -> &str {
    let mut start = text.len().saturating_sub(LONGEST);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let tail = &text[start..];
    match tail.find('\n') {
        Some(line) if start > 0 => &tail[line + 1..],
        _ => tail,
    }
}

/// That start was a good one after all.
pub fn remove(data: &Path, name: &str) -> Result<(), Error> {
    let folder = data.join(FOLDER).join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", folder),
        _ => Ok(()),
    }
}

/// All folders, and when they were last written to.
fn folders(data: &Path) -> Vec<(String, SystemTime)> {
    let entries = fs::read_dir(data.join(FOLDER)).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .filter_map(|entry| {
            let at = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            Some((entry.file_name().into_string().ok()?, at))
        })
        .collect()
}

/// The newest folder of a slot that is not older than `since`, seconds since 1970.
pub fn newest(data: &Path, slot: Slot, since: u64) -> Option<String> {
    let of_slot = folders(data).into_iter().filter(|(name, _)| name.starts_with(&format!("{slot:?}-")));
    let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    of_slot.filter(|(_, at)| seconds(*at) >= since).max_by_key(|(_, at)| *at).map(|(name, _)| name)
}

/// Copies all folders to where everybody may read them.
pub fn publish(data: &Path, run: &Path) -> Result<(), Error> {
    let copy = run.join("failed");
    match fs::remove_dir_all(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("remove", copy),
        _ => {}
    }
    for (name, _) in folders(data) {
        let to = files::folder(copy.join(&name))?;
        for file in FILES {
            if let Ok(content) = files::read_limited(&data.join(FOLDER).join(&name).join(file), 2 * LONGEST as u64) {
                files::write_atomic(&to.join(file), &content, 0o644)?;
            }
        }
    }
    Ok(())
}

/// Keeps what the kernel and the journal say now, of this start.
pub fn keep(data: &Path, slot: Slot, why: &str) -> Result<(), Error> {
    let said =
        |words: &[&str]| program::run(JOURNALCTL, words).map_or_else(|error| error.to_string(), |one| one.output);
    let kernel = said(&["--boot", "--dmesg", "--lines=400", "--no-pager", "--output=short-monotonic"]);
    let journal = said(&["--boot", "--lines=300", "--no-pager", "--output=short-monotonic"]);
    save(data, &name(slot, &marks::boot_id()?), [why, &kernel, &journal])
}

/// `gate.json`, as the health gate writes it.
#[derive(Debug, Deserialize)]
pub struct Gate {
    pub good: bool,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    check: String,
    ok: bool,
    message: String,
}

impl Gate {
    /// `None`: it has not ended.
    pub fn read(run: &Path) -> Option<Self> {
        files::read_json(&run.join("gate.json")).ok()
    }

    /// What did not hold, a line each.
    pub fn why(&self) -> String {
        let failed = self.checks.iter().filter(|check| !check.ok);
        failed.map(|check| format!("{}: {}\n", check.check, check.message)).collect()
    }
}

/// What the kernel left in the firmware's variables when it stopped; it is gone from there afterwards.
///
/// Of which start it is nobody says: of the last one that left a mark, unless that one was found good; else of the slot
/// that was to be tried.
pub fn rescue(pstore: &Path, data: &Path, boot: &str, tried: Slot) -> Result<(), Error> {
    let Some((text, paths)) = left(pstore) else { return Ok(()) };
    let marks = marks::read(data);
    let last = marks.iter().rev().find(|mark| mark.id != boot);
    let was_good = |id: &str| marks.iter().any(|mark| mark.id == id && mark.stage == "gate:ok");
    let name = match last.filter(|mark| !was_good(&mark.id)) {
        Some(mark) => name(mark.slot, &mark.id),
        None => name(tried, &format!("before-{boot}")),
    };
    let known = files::text(data.join(FOLDER).join(&name).join("kernel.txt")).unwrap_or_default();
    let kernel = format!("{known}\n--- kept by the firmware when the kernel stopped:\n{text}");
    save(data, &name, ["The kernel stopped. What it said last is at the end of kernel.txt.\n", &kernel, ""])?;
    // Only now: a lost power in between finds it again.
    for path in paths {
        fs::remove_file(&path).at("remove", path)?;
    }
    Ok(())
}

/// The parts of a kernel's last words in their order, and their files.
fn left(pstore: &Path) -> Option<(String, Vec<PathBuf>)> {
    let entries = fs::read_dir(pstore).into_iter().flatten().flatten();
    let is_log = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dmesg-"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_log).collect();
    paths.sort_by_key(|path| order(path));
    let parts: Vec<String> = paths.iter().filter_map(files::text).collect();
    if parts.is_empty() {
        return None;
    }
    Some((parts.join("\n"), paths))
}

/// Of `dmesg-efi_pstore-<number>`: the number is a time, two digits for the part and three for a count (`generic_id` in the
/// kernel's efi-pstore.c), and the first part is the end of the log.
fn order(path: &Path) -> (u64, std::cmp::Reverse<u64>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number: u64 = name.rsplit('-').next().and_then(|number| number.split('.').next()?.parse().ok()).unwrap_or(0);
    (number / 100_000, std::cmp::Reverse(number / 1000 % 100))
}

/// `homebolt-boot evidence`: what the health gate's unit does when it has ended, in any way.
pub fn run() -> Result<(), Error> {
    let boot = crate::state::Boot::read()?;
    if boot.data.state != twin::DataState::Ok {
        return Ok(());
    }
    let (data, run) = (Path::new("/data"), Path::new(crate::state::FOLDER));
    if std::env::var("SERVICE_RESULT").is_ok_and(|result| result == "success") {
        return remove(data, &name(boot.slot, &marks::boot_id()?));
    }
    let why = match Gate::read(run) {
        Some(gate) if !gate.good => gate.why(),
        _ => "The health gate did not end in time, or by a fault of its own.\n".into(),
    };
    note("what this start says is kept on the data partition");
    keep(data, boot.slot, &format!("The health gate did not pass.\n{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::RECORD;

    fn data() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("system")).unwrap();
        folder
    }

    fn read(data: &Path, name: &str, file: &str) -> String {
        fs::read_to_string(data.join(FOLDER).join(name).join(file)).unwrap_or_default()
    }

    #[test]
    fn texts_are_bounded_and_begin_with_a_whole_line() {
        let data = data();
        let long: String = (0..20_000).map(|number| format!("ä line {number}\n")).collect();
        save(data.path(), "B-1", ["why", &long, ""]).unwrap();
        let kernel = read(data.path(), "B-1", "kernel.txt");
        assert!(kernel.len() <= LONGEST && kernel.starts_with("ä line ") && kernel.ends_with("ä line 19999\n"));
        assert!(!data.path().join(FOLDER).join("B-1/journal.txt").exists());
        assert_eq!(end(&"x".repeat(LONGEST + 7)).len(), LONGEST, "a line without an end");
    }

    #[test]
    fn the_newest_six_starts_are_kept_and_this_one_among_them() {
        let data = data();
        for number in 0..10 {
            save(data.path(), &format!("B-{number}"), ["why", "", ""]).unwrap();
            assert_eq!(read(data.path(), &format!("B-{number}"), "why.txt"), "why");
        }
        assert_eq!(folders(data.path()).len(), KEPT);
    }

    #[test]
    fn a_good_start_takes_its_own_back() {
        let data = data();
        save(data.path(), "B-1", ["why", "", ""]).unwrap();
        remove(data.path(), "B-1").unwrap();
        remove(data.path(), "B-1").unwrap();
        assert_eq!(folders(data.path()), []);
    }

    #[test]
    fn everybody_may_read_a_copy_and_a_folder_that_is_gone_is_gone_there_too() {
        use std::os::unix::fs::PermissionsExt;
        let (data, run) = (data(), tempfile::tempdir().unwrap());
        save(data.path(), "A-1", ["why", "kernel", "journal"]).unwrap();
        publish(data.path(), run.path()).unwrap();
        let copy = run.path().join("failed/A-1/kernel.txt");
        assert_eq!(fs::read_to_string(&copy).unwrap(), "kernel");
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o644);
        remove(data.path(), "A-1").unwrap();
        publish(data.path(), run.path()).unwrap();
        assert!(!copy.exists());
    }

    #[test]
    fn the_newest_of_a_slot_is_found_unless_it_is_of_an_earlier_time() {
        let data = data();
        save(data.path(), "B-1", ["why", "", ""]).unwrap();
        save(data.path(), "A-2", ["why", "", ""]).unwrap();
        assert_eq!(newest(data.path(), Slot::B, 0).as_deref(), Some("B-1"));
        assert_eq!(newest(data.path(), Slot::B, files::now() + 1000), None);
    }

    #[test]
    fn the_gate_s_own_words_are_the_reason() {
        let run = tempfile::tempdir().unwrap();
        assert!(Gate::read(run.path()).is_none());
        let text = r#"{"at":1,"good":false,"checks":[{"check":"root","ok":true,"message":"well","milliseconds":1},
            {"check":"network","ok":false,"message":"eth0 has no address","milliseconds":40000}]}"#;
        fs::write(run.path().join("gate.json"), text).unwrap();
        assert_eq!(Gate::read(run.path()).unwrap().why(), "network: eth0 has no address\n");
    }

    /// A kernel's last words, in two parts, and those of the next try.
    fn pstore() -> tempfile::TempDir {
        let pstore = tempfile::tempdir().unwrap();
        let part = |number: &str, text: &str| {
            fs::write(pstore.path().join(format!("dmesg-efi_pstore-{number}")), text).unwrap();
        };
        part("172000000002001", "Panic#1 Part2\nearlier\n");
        part("172000000001001", "Panic#1 Part1\nKernel panic\n");
        part("172000006001001", "Panic#1 Part1\nKernel panic again\n");
        fs::write(pstore.path().join("other"), "not ours").unwrap();
        pstore
    }

    #[test]
    fn the_last_words_of_a_kernel_go_to_the_start_that_left_a_mark() {
        let (data, pstore) = (data(), pstore());
        let marks = r#"{"id":"good","slot":"A","at":1,"stage":"gate:ok"}
{"id":"bad","slot":"B","at":2,"stage":"initrd"}
{"id":"now","slot":"A","at":3,"stage":"root"}
"#;
        fs::write(data.path().join(RECORD), marks).unwrap();
        rescue(pstore.path(), data.path(), "now", Slot::B).unwrap();
        let kernel = read(data.path(), "B-bad", "kernel.txt");
        let at = |words: &str| kernel.find(words).unwrap();
        assert!(at("earlier") < at("Kernel panic\n") && at("Kernel panic\n") < at("panic again"), "{kernel}");
        assert_eq!(fs::read_dir(pstore.path()).unwrap().count(), 1, "only the kernel's own were erased");
        rescue(pstore.path(), data.path(), "now", Slot::B).unwrap();
        assert_eq!(folders(data.path()).len(), 1);
    }

    #[test]
    fn without_a_mark_they_are_of_the_slot_that_was_to_be_tried() {
        let (data, pstore) = (data(), pstore());
        let marks = r#"{"id":"good","slot":"A","at":1,"stage":"root"}
{"id":"good","slot":"A","at":1,"stage":"gate:ok"}
"#;
        fs::write(data.path().join(RECORD), marks).unwrap();
        rescue(pstore.path(), data.path(), "now", Slot::B).unwrap();
        assert!(read(data.path(), "B-before-now", "why.txt").contains("kernel stopped"));
    }
}
