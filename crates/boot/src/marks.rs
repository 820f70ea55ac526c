//! The record of boot attempts on the data partition, `/data/system/boots.jsonl`: how far each one came.
//!
//! One JSON object a line, one line for each stage an attempt reached. A boot that fails leaves its last line for the
//! next one, which may run from the other slot and say why.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use serde::{Deserialize, Serialize};
use twin::Slot;

use crate::{
    error::{At, Error},
    files,
};

/// The record, below the data partition's root.
pub const RECORD: &str = "system/boots.jsonl";

/// So many lines are kept of each slot, about eight boots. Of each, so that the many good boots of one slot never push
/// out how the other one failed.
const KEPT: usize = 25;

/// The record is never longer than this, bytes.
const LIMIT: u64 = 128 * 1024;

/// A stage is cut after so many characters.
const LONGEST: usize = 400;

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The kernel's id of this boot.
    pub id: String,
    pub slot: Slot,
    /// Seconds since 1970, by the clock as it stood.
    pub at: u64,
    /// A [`Stage`] as text.
    pub stage: String,
}

/// How far a boot came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The initrd runs and has mounted data.
    Initrd,
    /// The root is verified and mounted; the initrd hands over to systemd.
    Root,
    /// The initrd gave up at this step, for this reason.
    InitrdFailed { step: String, error: String },
    /// The health gate marked the slot good.
    GateOk,
    /// The health gate refused, with the check and its reason.
    GateFailed(String),
    /// Anything else that a unit marks.
    Other(String),
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initrd => write!(formatter, "initrd"),
            Self::Root => write!(formatter, "root"),
            Self::InitrdFailed { step, error } => write!(formatter, "stage: {step}, error: {error}"),
            Self::GateOk => write!(formatter, "gate:ok"),
            Self::GateFailed(reason) => write!(formatter, "gate:{reason}"),
            Self::Other(text) => write!(formatter, "{text}"),
        }
    }
}

impl From<&str> for Stage {
    fn from(text: &str) -> Self {
        let failed = text.strip_prefix("stage: ").and_then(|rest| rest.split_once(", error: "));
        match (text, failed, text.strip_prefix("gate:")) {
            ("initrd", ..) => Self::Initrd,
            ("root", ..) => Self::Root,
            ("gate:ok", ..) => Self::GateOk,
            (_, Some((step, error)), _) => Self::InitrdFailed { step: step.to_owned(), error: error.to_owned() },
            (_, _, Some(reason)) => Self::GateFailed(reason.trim().to_owned()),
            _ => Self::Other(text.to_owned()),
        }
    }
}

/// The kernel's id of this boot.
pub fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    files::text(path).ok_or_else(|| Error::Content { path: path.into(), reason: "it cannot be read".into() })
}

/// Adds a line to the record below `data` and returns once it is on the disk.
pub fn append(data: &Path, slot: Slot, stage: &Stage) -> Result<(), Error> {
    let mark = Mark { id: boot_id()?, slot, at: files::now(), stage: one_line(&stage.to_string()) };
    append_to(&data.join(RECORD), &mark)
}

/// Text fit for one line on any console.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(LONGEST).collect()
}

fn append_to(path: &Path, mark: &Mark) -> Result<(), Error> {
    let line = serde_json::to_string(mark)
        .map_err(|error| Error::Content { path: path.to_owned(), reason: error.to_string() })?;
    let old = match fs::metadata(path) {
        Ok(metadata) if metadata.len() <= LIMIT => {
            String::from_utf8_lossy(&files::read_limited(path, LIMIT)?).into_owned()
        }
        // Nothing of ours is that long.
        Ok(_) => return files::write_atomic(path, format!("{line}\n").as_bytes(), 0o644),
        Err(_) => String::new(),
    };
    if old.lines().count() >= 4 * KEPT || old.len() as u64 > LIMIT / 2 {
        return files::write_atomic(path, format!("{}{line}\n", newest(&old)).as_bytes(), 0o644);
    }
    // A line cut off by a lost power ends here, so that it does not spoil this one.
    let start = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
    let mut file = OpenOptions::new().append(true).create(true).open(path).at("open", path)?;
    file.write_all(format!("{start}{line}\n").as_bytes()).at("write", path)?;
    file.sync_all().at("save", path)
}

/// The last [`KEPT`] lines of each slot, in their order.
fn newest(record: &str) -> String {
    let mut seen = [0; 2];
    let mut kept: Vec<&str> = Vec::new();
    for line in record.lines().rev() {
        let Ok(mark) = serde_json::from_str::<Mark>(line) else { continue };
        let count = &mut seen[usize::from(mark.slot == Slot::B)];
        *count += 1;
        if *count <= KEPT {
            kept.push(line);
        }
    }
    kept.iter().rev().flat_map(|line| [line, "\n"]).collect()
}

/// All lines of the record that can be read, oldest first. No record is an empty one.
pub fn read(data: &Path) -> Vec<Mark> {
    files::read_limited(&data.join(RECORD), LIMIT)
        .map(|content| parse(&String::from_utf8_lossy(&content)))
        .unwrap_or_default()
}

fn parse(text: &str) -> Vec<Mark> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(id: &str, stage: &str) -> Mark {
        Mark { id: id.into(), slot: Slot::A, at: 7, stage: stage.into() }
    }

    #[test]
    fn a_line_has_the_shape_the_design_names() {
        let json = serde_json::to_string(&mark("5c8f", "root")).unwrap();
        assert_eq!(json, r#"{"id":"5c8f","slot":"A","at":7,"stage":"root"}"#);
    }

    #[test]
    fn every_stage_survives_the_way_through_its_text() {
        let failed = Stage::InitrdFailed { step: "open the root".into(), error: "exit code 1".into() };
        assert_eq!(failed.to_string(), "stage: open the root, error: exit code 1");
        for stage in [
            Stage::Initrd,
            Stage::Root,
            failed,
            Stage::GateOk,
            Stage::GateFailed("tls failed: old".into()),
            Stage::Other("grow:done".into()),
        ] {
            assert_eq!(Stage::from(stage.to_string().as_str()), stage);
        }
    }

    #[test]
    fn a_line_cut_off_by_a_lost_power_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boots.jsonl");
        append_to(&path, &mark("1", "initrd")).unwrap();
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"id\":\"2\",\"sl".to_vec()].concat()).unwrap();
        append_to(&path, &mark("3", "initrd")).unwrap();
        assert_eq!(parse(&fs::read_to_string(&path).unwrap()), [mark("1", "initrd"), mark("3", "initrd")]);
    }

    #[test]
    fn the_record_stays_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boots.jsonl");
        for number in 0..500 {
            append_to(&path, &mark(&number.to_string(), &"x".repeat(number % LONGEST))).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= LIMIT);
        }
        let marks = parse(&fs::read_to_string(&path).unwrap());
        assert!((KEPT..=4 * KEPT).contains(&marks.len()), "{}", marks.len());
        assert_eq!(marks.last().unwrap().id, "499");
        fs::write(&path, vec![b'x'; 200_000]).unwrap();
        append_to(&path, &mark("last", "initrd")).unwrap();
        assert_eq!(parse(&fs::read_to_string(&path).unwrap()), [mark("last", "initrd")]);
    }

    #[test]
    fn many_boots_of_one_slot_do_not_push_out_the_failure_of_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boots.jsonl");
        append_to(&path, &mark("failed", "initrd")).unwrap();
        for number in 0..300 {
            append_to(&path, &Mark { slot: Slot::B, ..mark(&number.to_string(), "gate:ok") }).unwrap();
        }
        assert_eq!(parse(&fs::read_to_string(&path).unwrap())[0], mark("failed", "initrd"));
    }

    #[test]
    fn a_stage_is_one_bounded_line() {
        assert_eq!(one_line("a\nb\tc"), "a b c");
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), LONGEST);
    }
}
