//! What root says of updates: `update.json`, which it writes at each start and with each step of an update.

use std::{path::PathBuf, sync::Arc, time::Duration};

use twin::{Sender, Update, updates::Report};

use crate::disks::{read, stamp};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
const NAME: &str = "update.json";

/// Follows the file in `run_dir`, for as long as the twin lives. No file is a box that was never updated.
pub async fn run(run_dir: PathBuf, twin: Sender) {
    let file = run_dir.join(NAME);
    let mut seen = None;
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let now = stamp(&file);
        if seen == now {
            continue;
        }
        seen = now;
        if twin.send(Update::Updates(Arc::new(read::<Report>(&file)))).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use twin::updates::Stage;

    use super::*;

    #[tokio::test]
    async fn what_root_wrote_reaches_the_twin_and_what_cannot_be_read_is_nothing() {
        let run = tempfile::tempdir().unwrap();
        let (twin, sender, reader) = twin::Twin::new();
        tokio::spawn(twin.run());
        let mut changes = reader.changes();
        tokio::spawn(super::run(run.path().to_owned(), sender));
        let until = async |stage: Option<Stage>, changes: &mut tokio::sync::broadcast::Receiver<_>| {
            while reader.state().updates.job.as_ref().map(|job| job.stage) != stage {
                tokio::time::timeout(Duration::from_secs(10), changes.recv()).await.expect("no news").unwrap();
            }
        };
        let write = |text: &str| {
            fs::write(run.path().join("new"), text).unwrap();
            fs::rename(run.path().join("new"), run.path().join(NAME)).unwrap();
        };
        write(r#"{"job":{"version":"1.1.0","stage":"installing","percent":7},"failed":["1.0.9"]}"#);
        until(Some(Stage::Installing), &mut changes).await;
        assert_eq!(reader.state().updates.failed, ["1.0.9"]);
        write("{");
        until(None, &mut changes).await;
    }
}
