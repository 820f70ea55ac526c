//! What the root programs say of the disks: `disks.json`, and `move.json` while the data is moved.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use twin::{
    Sender, Update,
    disks::{Disks, Move},
};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Neither is ever longer, bytes.
const LIMIT: u64 = 1 << 20;

/// Follows both files in `run_dir`, for as long as the twin lives.
pub async fn run(run_dir: PathBuf, twin: Sender) {
    let files = [run_dir.join("disks.json"), run_dir.join("move.json")];
    let mut seen = [None; 2];
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        for (file, seen) in files.iter().zip(&mut seen) {
            let now = stamp(file);
            if *seen == now {
                continue;
            }
            *seen = now;
            let update = if file.ends_with("move.json") {
                Update::Move(read::<Move>(file))
            } else {
                Update::Disks(read::<Disks>(file))
            };
            if twin.send(update).await.is_err() {
                return;
            }
        }
    }
}

pub(crate) fn stamp(file: &Path) -> Option<(u64, SystemTime)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.modified().ok()?))
}

/// A file that is not there, or says nothing readable, is as if nobody had looked: the page says so and offers a new look.
pub(crate) fn read<T: Default + serde::de::DeserializeOwned>(file: &Path) -> T {
    let small = fs::metadata(file).is_ok_and(|metadata| metadata.len() <= LIMIT);
    let content = small.then(|| fs::read(file).ok()).flatten();
    content.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_root_programs_wrote_reaches_the_twin() {
        let run = tempfile::tempdir().unwrap();
        let (twin, sender, reader) = twin::Twin::new();
        tokio::spawn(twin.run());
        let mut changes = reader.changes();
        tokio::spawn(super::run(run.path().to_owned(), sender));
        let disks = Disks { at: 7, used: 9, wallet: true, disks: vec![twin::disks::Disk::default()] };
        fs::write(run.path().join("disks.json"), serde_json::to_vec(&disks).unwrap()).unwrap();
        let until = async |wanted: &dyn Fn(&twin::State) -> bool, changes: &mut tokio::sync::broadcast::Receiver<_>| {
            while !wanted(&reader.state()) {
                tokio::time::timeout(Duration::from_secs(10), changes.recv()).await.expect("no news").unwrap();
            }
        };
        until(&|state| *state.disks == disks, &mut changes).await;
        fs::write(run.path().join("move.json"), r#"{"phase":"copy","done":1,"total":2,"error":"","disk":"S","at":1}"#)
            .unwrap();
        until(&|state| state.moving.is_running() && state.moving.total == 2, &mut changes).await;
        fs::write(run.path().join("new"), "{").unwrap();
        fs::rename(run.path().join("new"), run.path().join("disks.json")).unwrap();
        until(&|state| state.disks.at == 0, &mut changes).await;
    }
}
