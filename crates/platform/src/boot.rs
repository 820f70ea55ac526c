//! What the start of the system left to read: `boot.json` from the initrd and `slots.json` about the boot loader.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use twin::{Boot, Data, DataState, Sender, Slot, SlotStatus, Update, source::Health};

use crate::Error;

/// How often the two files are looked at. They change a few times in the life of a boot.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// `boot.json`: a [`Boot`] without its `slots`.
#[derive(serde::Deserialize)]
struct Report {
    slot: Option<Slot>,
    disk: String,
    root_hash: String,
    data: Data,
}

impl From<Report> for Boot {
    fn from(Report { slot, disk, root_hash, data }: Report) -> Self {
        Self { slot, disk, root_hash, data, slots: Vec::new() }
    }
}

/// Follows `boot.json` and `slots.json` in `run_dir`, for as long as the twin lives.
pub async fn run(run_dir: PathBuf, twin: Sender) {
    let mut health = Health::new("boot", twin);
    let mut interval = tokio::time::interval(INTERVAL);
    let files = [run_dir.join("boot.json"), run_dir.join("slots.json")];
    let mut seen = None;
    loop {
        interval.tick().await;
        let now = files.each_ref().map(|file| fs::metadata(file).ok().as_ref().map(stamp));
        if seen == Some(now) {
            continue;
        }
        seen = Some(now);
        let (boot, error) = read(&run_dir);
        let told = match &error {
            None => health.connected().await,
            Some(error) => health.lost(error).await.map(drop),
        };
        if told.is_err() || health.send(Update::Boot(boot)).await.is_err() {
            return;
        }
    }
}

/// What tells two contents of one file apart; each is written anew and renamed, so the inode alone nearly does.
fn stamp(metadata: &Metadata) -> (u64, u64, i64, i64) {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// Reads both files of `run_dir`. What could not be read is named by the error, and a report on the data partition that
/// is there but says nothing readable counts as damage: the wizard must not take its silence for a new box.
pub fn read(run_dir: &Path) -> (Boot, Option<Error>) {
    let mut error = None;
    let mut boot = match report(run_dir) {
        Ok(boot) => boot,
        Err(failed) => {
            let absent = matches!(&failed, Error::Read { source, .. } if source.kind() == io::ErrorKind::NotFound);
            let data = if absent { Data::default() } else { unreadable(&failed) };
            error = Some(failed);
            Boot { data, ..Boot::default() }
        }
    };
    match text(&run_dir.join("slots.json")).and_then(|(path, json)| parse_slots(&path, &json)) {
        Ok(slots) => boot.slots = slots,
        // It is written some time after the start: its absence is no fault.
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(failed) => error = error.or(Some(failed)),
    }
    (boot, error)
}

/// What the initrd wrote, alone: a [`Boot`] without slots.
pub fn report(run_dir: &Path) -> Result<Boot, Error> {
    text(&run_dir.join("boot.json")).and_then(|(path, json)| parse_boot(&path, &json))
}

fn unreadable(error: &Error) -> Data {
    Data { state: DataState::Damaged, detail: twin::source::sentence(error), ..Data::default() }
}

fn text(path: &Path) -> Result<(PathBuf, Vec<u8>), Error> {
    let read = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok((path.to_owned(), read))
}

fn parse_boot(path: &Path, json: &[u8]) -> Result<Boot, Error> {
    parse::<Report>(path, json).map(Boot::from)
}

fn parse_slots(path: &Path, json: &[u8]) -> Result<Vec<SlotStatus>, Error> {
    parse(path, json)
}

fn parse<'a, T: serde::Deserialize<'a>>(path: &Path, json: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Error::Malformed { path: path.to_owned(), what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twin::Twin;

    use super::*;

    const REPORT: &str = r#"{"slot":"B","disk":"/dev/vda","root_hash":"ab12","data":{"state":"foreign","detail":"an NTFS file system","serial":"S1","model":"Stick"}}"#;
    const SLOTS: &str = r#"[{"slot":"A","booted":false,"ok":true,"tries":3,"version":null,"problem":"panicked"},
                            {"slot":"B","booted":true,"ok":true,"tries":1,"version":"0.1.0","problem":null}]"#;

    #[test]
    fn both_files_become_one_boot() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("boot.json"), REPORT).unwrap();
        fs::write(dir.path().join("slots.json"), SLOTS).unwrap();
        let (boot, error) = read(dir.path());
        assert!(error.is_none(), "{error:?}");
        assert_eq!((boot.slot, boot.disk.as_str(), boot.root_hash.as_str()), (Some(Slot::B), "/dev/vda", "ab12"));
        assert_eq!((boot.data.state, boot.data.serial.as_str()), (DataState::Foreign, "S1"));
        assert_eq!(boot.slots[0].problem.as_deref(), Some("panicked"));
        assert_eq!((boot.slots[1].slot, boot.slots[1].booted, boot.slots[1].tries), (Slot::B, true, 1));
    }

    #[test]
    fn a_broken_report_never_passes_for_good_data() {
        let dir = tempfile::tempdir().unwrap();
        for broken in ["", "{}", r#"{"slot":"A","disk":"/dev/vda","root_hash":"","data":{"state":"fine"}}"#] {
            fs::write(dir.path().join("boot.json"), broken).unwrap();
            let (boot, error) = read(dir.path());
            assert_eq!(boot.data.state, DataState::Damaged, "{broken:?}");
            assert!(error.unwrap().to_string().contains("boot.json is not what it should be"));
        }
    }

    #[test]
    fn without_slots_the_report_still_stands() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("boot.json"), REPORT).unwrap();
        assert!(matches!(read(dir.path()), (Boot { slot: Some(Slot::B), .. }, None)));
        fs::write(dir.path().join("slots.json"), "[{}]").unwrap();
        assert!(matches!(read(dir.path()), (Boot { slot: Some(Slot::B), .. }, Some(Error::Malformed { .. }))));
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_vanished_one_reported() {
        let dir = tempfile::tempdir().unwrap();
        let (twin, sender, reader) = Twin::new();
        tokio::spawn(twin.run());
        tokio::spawn(run(dir.path().to_owned(), sender));
        let until = async |wanted: &dyn Fn(&twin::State) -> bool| {
            let mut changes = reader.changes();
            tokio::time::timeout(Duration::from_secs(10), async {
                while !wanted(&reader.state()) {
                    let _ = changes.recv().await;
                }
            })
            .await
            .expect("the twin did not follow the file")
        };
        until(&|state| state.sources.get("boot").is_some_and(|health| !health.connected)).await;
        fs::write(dir.path().join("new"), REPORT).unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("boot.json")).unwrap();
        until(&|state| state.boot.slot == Some(Slot::B) && state.sources["boot"].connected).await;
        fs::write(dir.path().join("new"), REPORT.replace("\"B\"", "\"A\"")).unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("boot.json")).unwrap();
        until(&|state| state.boot.slot == Some(Slot::A)).await;
        fs::remove_file(dir.path().join("boot.json")).unwrap();
        until(&|state| state.boot.slot.is_none() && !state.sources["boot"].connected).await;
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_fall_over(bytes: Vec<u8>) {
            let path = Path::new("boot.json");
            let _ = parse_boot(path, &bytes);
            let _ = parse_slots(path, &bytes);
        }
    }
}
