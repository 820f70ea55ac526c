//! What root tells about the owner's choices for the network: `network.json` in the run folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use netconf::Report;
use twin::{Sender, Update, source::Health};

use crate::Error;

/// How often the file is looked at: a trial lasts a minute, and its page should not lag behind.
pub const INTERVAL: Duration = Duration::from_millis(500);
const NAME: &str = "network.json";

/// Follows the file in `run_dir`, for as long as the twin lives.
pub async fn run(run_dir: PathBuf, twin: Sender) {
    let mut health = Health::new("netconf", twin);
    let mut interval = tokio::time::interval(INTERVAL);
    let mut seen = None;
    loop {
        interval.tick().await;
        let text = fs::read(run_dir.join(NAME)).ok();
        if seen.as_ref() == Some(&text) {
            continue;
        }
        seen = Some(text);
        let told = match read(&run_dir) {
            Ok(report) => match health.send(Update::Netconf(report)).await {
                Ok(()) => health.connected().await,
                gone => gone,
            },
            Err(error) => health.lost(&error).await.map(drop),
        };
        if told.is_err() {
            return;
        }
    }
}

/// The report as it is now. No file: nothing was ever chosen.
pub fn read(run_dir: &Path) -> Result<Report, Error> {
    let path = run_dir.join(NAME);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Malformed { path, what: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Report::default()),
        Err(source) => Err(Error::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_no_choice_and_a_broken_one_is_an_error() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(read(run.path()).unwrap(), Report::default());
        fs::write(run.path().join(NAME), r#"{"plans":[{"mac":"52:54:00:68:62:01"}]}"#).unwrap();
        assert_eq!(read(run.path()).unwrap().plans.len(), 1);
        fs::write(run.path().join(NAME), "{").unwrap();
        assert!(read(run.path()).is_err());
    }
}
