//! The support bundle: what helps somebody else to help, without a secret. It is made once, looked at file by file, and
//! what is downloaded is what was looked at.

use std::{
    fmt::Write,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use store::TokenHash;
use tokio::time::Instant;

use crate::{
    error::{Error, now},
    journal::{self, Level, Query},
    pages::{logs::written, words},
    scrub::scrub,
    setup::{bitcoin::Backend, lnd_conf::covered},
    shared::House,
};

/// So long it can be downloaded.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// Lines of each log.
const LINES: usize = 1000;
/// Bytes of one file; the end of a longer one is left out.
const MOST: usize = 512 * 1024;
/// Lists of what was paid to whom: nobody else's business.
const PRIVATE: [&str; 3] = ["invoices", "payments", "transactions"];
/// Covers known secrets of at least so many letters: a shorter one stands in every text.
const SHORTEST: usize = 6;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// The bundle that was made last.
#[derive(Default)]
pub(crate) struct Bundles(Mutex<Option<Bundle>>);

struct Bundle {
    session: TokenHash,
    made: Instant,
    files: Vec<File>,
}

impl Bundles {
    /// Keeps it for who asked for it.
    pub(crate) fn keep(&self, session: TokenHash, files: Vec<File>) {
        *self.lock() = Some(Bundle { session, made: Instant::now(), files });
    }

    /// What this session made lately.
    pub(crate) fn of(&self, session: TokenHash) -> Option<Vec<File>> {
        let bundle = self.lock();
        let bundle = bundle.as_ref().filter(|one| one.session == session && one.made.elapsed() < FRESH)?;
        Some(bundle.files.clone())
    }

    /// Gives its memory back when its time is over.
    pub(crate) fn sweep(&self) {
        let mut bundle = self.lock();
        if bundle.as_ref().is_some_and(|bundle| bundle.made.elapsed() >= FRESH) {
            *bundle = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Bundle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gathers the files. What cannot be had is a sentence in its file.
pub(crate) async fn gather(house: &House) -> Result<Vec<File>, Error> {
    let known = known(house);
    let logs = |unit: &str, level| log(Query { unit: unit.into(), level, search: String::new() });
    let files = [
        ("versions.txt", versions(house)),
        ("units.txt", units(house)),
        ("state.json", state(house)),
        ("lnd.conf.txt", conf(house).await),
        ("audit.txt", audit(house).await?),
        ("log-manager.txt", logs("homebolt-manager.service", Level::All).await),
        ("log-lnd.txt", logs("lnd.service", Level::All).await),
        ("log-warnings.txt", logs("", Level::Warning).await),
    ];
    Ok(files.into_iter().map(|(name, text)| File { name, text: cleaned(text, &known) }).collect())
}

/// All files as one text.
pub(crate) fn joined<'a>(files: impl Iterator<Item = &'a File>) -> String {
    files.fold(String::new(), |mut all, file| {
        let _ = write!(all, "===== {} =====\n{}\n\n", file.name, file.text.trim_end());
        all
    })
}

/// Without secrets: those the manager knows, and what looks like one.
fn cleaned(mut text: String, known: &[String]) -> String {
    for secret in known.iter().filter(|secret| secret.len() >= SHORTEST) {
        text = text.replace(secret.as_str(), "[covered]");
    }
    text.truncate(text.floor_char_boundary(MOST));
    scrub(&text)
}

fn known(house: &House) -> Vec<String> {
    let code = house.shared.claim.shown();
    let mut known = vec![code.replace('-', ""), code];
    if let Ok(macaroon) = std::fs::read(house.node.own_macaroon()) {
        known.extend([hex::encode(&macaroon), URL_SAFE_NO_PAD.encode(&macaroon)]);
    }
    if let Some(Backend::Bitcoind(own)) = house.setup.choices().bitcoin.map(|bitcoin| bitcoin.backend) {
        known.push(own.password);
    }
    known
}

fn versions(house: &House) -> String {
    let release = &house.shared.release;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let info = &house.shared.twin.state().node.info;
    format!(
        "Homebolt {} ({}, {})\nkernel {}\nLND {} in the image, running: {}\nmade {}\n",
        release.version,
        release.board,
        release.base,
        kernel.trim(),
        release.lnd_version,
        if info.version.is_empty() { "unknown" } else { &info.version },
        words::moment(now())
    )
}

fn units(house: &House) -> String {
    let state = house.shared.twin.state();
    let line = |(name, unit): (&String, &twin::Unit)| {
        format!("{name}: {} ({}) since {}\n", unit.active, unit.sub, words::moment(unit.since))
    };
    state.units.iter().map(line).collect()
}

/// The twin, without what was paid to whom.
fn state(house: &House) -> String {
    let mut state = serde_json::to_value(&*house.shared.twin.state()).unwrap_or_default();
    for name in PRIVATE {
        if let Some(newest) = state.pointer_mut(&format!("/node/{name}/value/newest")) {
            *newest = Value::String("left out".into());
        }
    }
    serde_json::to_string_pretty(&state).unwrap_or_default()
}

async fn conf(house: &House) -> String {
    match tokio::fs::read_to_string(house.setup.config_dir.join("lnd.conf")).await {
        Ok(text) => covered(&text),
        Err(error) => format!("lnd.conf cannot be read: {error}\n"),
    }
}

async fn audit(house: &House) -> Result<String, Error> {
    let lines = house.store.audit_log(None, 200).await?;
    let line =
        |line: &store::Entry| format!("{} {} {} {}\n", words::moment(line.at), line.actor, line.action, line.detail);
    Ok(lines.iter().map(line).collect())
}

async fn log(query: Query) -> String {
    match journal::newest(&query, None, LINES).await {
        Ok(found) => found.lines.iter().rev().map(written).collect(),
        Err(error) => format!("{error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::visit;

    #[tokio::test]
    async fn a_bundle_has_every_file_and_no_secret() {
        let visit = visit().await;
        let code = visit.house.shared.claim.shown();
        let conf = "bitcoind.rpcuser=alice\nbitcoind.rpcpass=hunter2\n";
        std::fs::write(visit.folder.path().join("lnd.conf"), conf).unwrap();
        std::fs::write(visit.folder.path().join("lnd.macaroon"), b"\x02\x01\x03lnd and more").unwrap();
        let files = gather(&visit.house).await.unwrap();
        let all = joined(files.iter());
        for name in ["versions.txt", "state.json", "lnd.conf.txt", "log-lnd.txt"] {
            assert!(all.contains(&format!("===== {name} =====")), "{name}");
        }
        assert!(all.contains("Homebolt 0.1.0") && all.contains("bitcoind.rpcuser=alice"));
        assert!(!all.contains("hunter2") && !all.contains(&code));
        let told = cleaned(
            format!("the code is {code}, the key {}", hex::encode(b"\x02\x01\x03lnd and more")),
            &known(&visit.house),
        );
        assert_eq!(told, "the code is [covered], the key [covered]");
    }

    #[tokio::test]
    async fn a_bundle_is_for_the_session_that_made_it() {
        let bundles = Bundles::default();
        bundles.keep([1; 32], vec![File { name: "a", text: "b".into() }]);
        assert!(bundles.of([1; 32]).is_some() && bundles.of([2; 32]).is_none());
        tokio::time::pause();
        tokio::time::advance(FRESH).await;
        assert!(bundles.of([1; 32]).is_none());
        bundles.sweep();
        assert!(bundles.lock().is_none());
    }
}
