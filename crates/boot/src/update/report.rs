//! What is kept of updates, and what everybody may read of it.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use twin::updates::{Attempt, Report, Stage};

use super::job::Record;
use crate::{
    console::note,
    error::{At, Error},
    fence, files,
};

/// The job, below the root of the data partition. Removed never: the next one takes its place.
pub const JOB: &str = "system/update-job.json";
/// One line for each attempt that has ended, the newest last.
const HISTORY: &str = "system/updates.jsonl";
/// So many of them are kept.
const KEPT: usize = 50;
/// The history is never longer, bytes.
const LIMIT: u64 = 256 * 1024;
/// A reason is cut after so many characters.
const LONGEST: usize = 1000;
/// Below the run folder.
const REPORT: &str = "update.json";
const LOCK: &str = "update.lock";
/// Where LND keeps its databases, below the data partition's root.
const DATABASES: &str = "lnd/data";

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    pub data: PathBuf,
    pub run: PathBuf,
}

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    id: String,
    #[serde(flatten)]
    attempt: Attempt,
}

impl Places {
    pub fn of_box() -> Self {
        Self { data: "/data".into(), run: crate::state::FOLDER.into() }
    }

    /// The job as it stands. One that cannot be read is told and is none: nothing is guessed from it, and the next one takes
    /// its place.
    pub fn job(&self) -> Result<Option<Record>, Error> {
        match files::read_json(&self.data.join(JOB)) {
            Ok(record) => Ok(Some(record)),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error @ Error::Content { .. }) => {
                note(&error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns once it is on the disk.
    pub fn write(&self, record: &Record) -> Result<(), Error> {
        files::write_atomic_json(&self.data.join(JOB), record, 0o600)
    }

    /// Adds a job that has ended to the history, if it is not there.
    pub fn close(&self, record: &Record) -> Result<(), Error> {
        let mut lines = self.lines();
        if lines.iter().any(|line| line.id == record.job.id) {
            return Ok(());
        }
        let mut attempt = record.attempt();
        attempt.reason = attempt.reason.chars().take(LONGEST).collect();
        lines.push(Line { id: record.job.id.clone(), attempt });
        let newest = &lines[lines.len().saturating_sub(KEPT)..];
        let text: String =
            newest.iter().filter_map(|line| serde_json::to_string(line).ok()).map(|line| line + "\n").collect();
        files::write_atomic(&self.data.join(HISTORY), text.as_bytes(), 0o600)
    }

    /// Oldest first. A history that cannot be read is none.
    fn lines(&self) -> Vec<Line> {
        let text = files::read_limited(&self.data.join(HISTORY), LIMIT).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Versions that were started here and did not prove themselves.
    pub fn failed(&self) -> Vec<String> {
        failed(&self.lines())
    }

    /// Writes what everybody may read: of `job`, which may be ahead of its file, or of the file. How large LND's databases
    /// are stays as it was measured last.
    pub fn publish(&self, job: Option<&Record>) -> Result<(), Error> {
        self.publish_with(job, None)
    }

    /// The same, with LND's databases measured, which may take a moment.
    pub fn measure(&self, job: Option<&Record>) -> Result<(), Error> {
        self.publish_with(job, Some(size(&self.data.join(DATABASES))))
    }

    fn publish_with(&self, job: Option<&Record>, database: Option<u64>) -> Result<(), Error> {
        let _lock = self.lock()?;
        let path = self.run.join(REPORT);
        let database = database.or_else(|| read_report(&path)?.database);
        let job = match job {
            Some(record) => Some(record.clone()),
            None => self.job()?,
        };
        let lines = self.lines();
        let failed = failed(&lines);
        let history = lines.into_iter().rev().map(|line| line.attempt).collect();
        // A fence that cannot be read pauses LND, and says so in its own place.
        let fence = fence::least(&self.data).ok().flatten().map(|version| version.to_string());
        files::write_json(&path, &Report { job: job.map(|record| record.job), history, failed, fence, database })
    }

    /// Several programs of root's write the report.
    fn lock(&self) -> Result<Flock<File>, Error> {
        let path = self.run.join(LOCK);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).at("open", &path)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).at("lock", path)
    }
}

fn read_report(path: &Path) -> Option<Report> {
    serde_json::from_slice(&files::read_limited(path, LIMIT * 2).ok()?).ok()
}

/// Bytes of all files below the folder. Links are not followed; what goes away meanwhile counts for nothing.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { size(&entry.path()) } else { metadata.len() })
    });
    sizes.sum()
}

/// One that was committed later has proved itself after all.
fn failed(lines: &[Line]) -> Vec<String> {
    let mut failed = BTreeSet::new();
    for Line { attempt, .. } in lines {
        match attempt.stage {
            Stage::FellBack => failed.insert(attempt.version.clone()),
            Stage::Committed => failed.remove(&attempt.version),
            _ => false,
        };
    }
    failed.into_iter().collect()
}

/// What is published, or a line in the journal: who cannot tell the pages of an update does not stop it.
pub fn publish(data: &Path) {
    let places = Places { data: data.to_owned(), ..Places::of_box() };
    if let Err(error) = places.publish(None) {
        note(&format!("the report on updates is not written: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use twin::updates::Trial;

    use super::*;
    use crate::update::toy::{Health, Toy};

    fn places(folder: &tempfile::TempDir) -> Places {
        let places = Places { data: folder.path().join("data"), run: folder.path().join("run") };
        fs::create_dir_all(places.data.join("system")).unwrap();
        fs::create_dir_all(&places.run).unwrap();
        places
    }

    fn record(id: &str, version: &str, stage: Stage) -> Record {
        let mut record = Toy::new(Health::Good).file.unwrap();
        (record.job.id, record.job.version, record.job.stage) = (id.into(), version.into(), stage);
        record
    }

    fn published(places: &Places) -> Report {
        files::read_json(&places.run.join(REPORT)).unwrap()
    }

    #[test]
    fn a_box_that_was_never_updated_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(&folder);
        places.publish(None).unwrap();
        assert_eq!(published(&places), Report::default());
    }

    #[test]
    fn job_history_failed_versions_and_fence_are_told_to_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(&folder);
        fs::write(places.data.join("system/fence.json"), r#"{"lnd_version":"v0.21.2-beta"}"#).unwrap();
        let mut back = record("1", "1.1.0", Stage::FellBack);
        back.job.error = "It hangs.".into();
        back.evidence = Some("B-7".into());
        places.close(&back).unwrap();
        places.close(&back).unwrap();
        places.close(&record("2", "1.0.9", Stage::Refused)).unwrap();
        let job = record("3", "1.2.0", Stage::Installing);
        places.write(&job).unwrap();
        places.publish(None).unwrap();
        let report = published(&places);
        assert_eq!(report.job.unwrap(), job.job);
        let versions: Vec<&str> = report.history.iter().map(|attempt| attempt.version.as_str()).collect();
        assert_eq!(versions, ["1.0.9", "1.1.0"], "newest first, each once");
        assert_eq!(
            (report.history[1].reason.as_str(), report.history[1].evidence.as_deref()),
            ("It hangs.", Some("B-7"))
        );
        assert_eq!((report.failed, report.fence.as_deref()), (vec!["1.1.0".to_owned()], Some("v0.21.2-beta")));
    }

    #[test]
    fn what_lnds_databases_take_is_told_until_it_is_measured_anew() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(&folder);
        places.publish(None).unwrap();
        assert_eq!(published(&places).database, None, "nobody has looked");
        let chain = places.data.join("lnd/data/graph/mainnet");
        fs::create_dir_all(&chain).unwrap();
        fs::write(chain.join("channel.sqlite"), [0; 3000]).unwrap();
        fs::write(places.data.join("big"), [0; 9000]).unwrap();
        std::os::unix::fs::symlink(places.data.join("big"), chain.join("link")).unwrap();
        places.measure(None).unwrap();
        let seen = published(&places).database.unwrap();
        assert!((3000..4000).contains(&seen), "{seen}");
        places.publish(None).unwrap();
        assert_eq!(published(&places).database, Some(seen));
    }

    #[test]
    fn a_version_that_was_committed_later_has_not_failed() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(&folder);
        places.close(&record("1", "1.1.0", Stage::FellBack)).unwrap();
        assert_eq!(places.failed(), ["1.1.0"]);
        places.close(&record("2", "1.1.0", Stage::Committed)).unwrap();
        assert!(places.failed().is_empty());
    }

    #[test]
    fn the_history_is_bounded_and_a_line_that_cannot_be_read_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(&folder);
        fs::write(places.data.join(HISTORY), "{\"id\":\"0\",\"ver").unwrap();
        for number in 0..KEPT + 20 {
            places.close(&record(&number.to_string(), &"9".repeat(30), Stage::Failed)).unwrap();
        }
        let lines = places.lines();
        assert_eq!((lines.len(), lines.last().unwrap().id.as_str()), (KEPT, "69"));
    }

    #[test]
    fn the_job_survives_the_way_through_its_file_and_only_root_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let places = places(&folder);
        assert_eq!(places.job().unwrap(), None);
        let job = record("3", "1.2.0", Stage::Trying);
        places.write(&job).unwrap();
        assert_eq!(places.job().unwrap(), Some(job.clone()));
        let path = places.data.join(JOB);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let trial: Trial = files::read_json(&path).unwrap();
        assert!(trial.is_of(job.job.slot, &job.job.root_hash), "the health gate reads the same file");
        fs::write(path, "{").unwrap();
        assert_eq!(places.job().unwrap(), None);
    }

    #[test]
    fn a_job_that_another_version_has_written_is_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(&folder);
        let text = r#"{"stage":"restarting","slot":"B","root_hash":"ab","boot":"7","of_later_versions":{"x":[1]}}"#;
        fs::write(places.data.join(JOB), text).unwrap();
        let record = places.job().unwrap().unwrap();
        assert_eq!((record.job.stage, record.boot.as_str(), record.starts), (Stage::Restarting, "7", 0));
    }
}
