//! LND's database from outside: which version it has, and whether anybody has touched it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::report::{Outcome, ensure, fails};

/// Channels, below LND's folder.
const CHANNELS: &str = "data/graph/regtest/channel.sqlite";

/// The version of the channels' database: LND itself refuses one that is newer than it knows. LND before v0.21 writes none into
/// a database that it has made itself: `None`. Only while LND does not run.
pub(super) fn version(lnd: &Path) -> Outcome<Option<u32>> {
    // A copy, with the log of a killed LND: to look at it is to write to it.
    let copy = tempfile::tempdir()?;
    let file = copy.path().join("channel.sqlite");
    fs::copy(lnd.join(CHANNELS), &file)?;
    let log = lnd.join(format!("{CHANNELS}-wal"));
    if log.exists() {
        fs::copy(log, copy.path().join("channel.sqlite-wal"))?;
    }
    let question = "SELECT version.value FROM channeldb_kv version JOIN channeldb_kv bucket ON version.parent_id = bucket.id \
                    WHERE bucket.parent_id IS NULL AND bucket.key = CAST('metadata' AS BLOB) \
                    AND version.key = CAST('dbp' AS BLOB)";
    let database = Connection::open(&file)?;
    let buckets: u32 =
        database.query_row("SELECT count(*) FROM channeldb_kv WHERE parent_id IS NULL", [], |row| row.get(0))?;
    ensure!(buckets > 0, "the database of the channels is empty");
    let value: Option<Vec<u8>> = database.query_row(question, [], |row| row.get(0)).optional()?;
    match value.as_deref().map(<[u8; 4]>::try_from) {
        None => Ok(None),
        Some(Ok(bytes)) => Ok(Some(u32::from_be_bytes(bytes))),
        Some(Err(_)) => fails(format!("the database's version is {value:?}")),
    }
}

/// A hash over all files of LND's databases.
pub(super) fn fingerprint(lnd: &Path) -> Outcome<String> {
    let (mut folders, mut files) = (vec![lnd.join("data")], Vec::<PathBuf>::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "there is no database");
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update(Sha256::digest(fs::read(&file)?));
    }
    Ok(hex::encode(hash.finalize()))
}
