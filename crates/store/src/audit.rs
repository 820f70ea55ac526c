//! The audit log: who did what. Lines are only added, until there are [`KEPT`]; then the oldest go. Two triggers hold
//! even this program to it.

use rusqlite::{Connection, params};
use serde::Serialize;

use crate::{Error, Store};

/// So many of the newest lines are kept. The trigger of the schema has the same number.
pub const KEPT: u64 = 10_000;

/// A line to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Seconds since 1970.
    pub at: u64,
    /// Who: `owner@192.168.1.7`, `console`, ...
    pub actor: String,
    /// What, in a fixed word: `sign-in`, `password-changed`, ...
    pub action: &'static str,
    /// More, in plain words; never a secret.
    pub detail: String,
}

/// A line as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub id: u64,
    /// Seconds since 1970.
    pub at: u64,
    pub actor: String,
    pub action: String,
    pub detail: String,
}

impl Store {
    pub async fn audit(&self, entry: Audit) -> Result<(), Error> {
        self.call(move |connection| insert(connection, &entry)).await
    }

    /// At most `limit` lines older than line `before` (`None`: from the newest), newest first.
    pub async fn audit_log(&self, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, Error> {
        let failed = "read the audit log";
        self.call(move |connection| {
            let sql = "SELECT id, at, actor, action, detail FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            let before = before.and_then(|id| i64::try_from(id).ok()).unwrap_or(i64::MAX);
            let mut statement = connection.prepare_cached(sql).map_err(Error::query(failed))?;
            let rows = statement.query_map(params![before, limit], |row| {
                Ok(Entry {
                    id: row.get(0)?,
                    at: row.get(1)?,
                    actor: row.get(2)?,
                    action: row.get(3)?,
                    detail: row.get(4)?,
                })
            });
            rows.and_then(Iterator::collect).map_err(Error::query(failed))
        })
        .await
    }
}

pub(crate) fn insert(connection: &Connection, entry: &Audit) -> Result<(), Error> {
    connection
        .prepare_cached("INSERT INTO audit (at, actor, action, detail) VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut statement| statement.execute(params![entry.at, entry.actor, entry.action, entry.detail]))
        .map_err(Error::query("write the audit log"))?;
    let newest = connection.last_insert_rowid();
    connection
        .prepare_cached("DELETE FROM audit WHERE id <= ?1")
        .and_then(|mut statement| statement.execute([newest.saturating_sub_unsigned(KEPT)]))
        .map(drop)
        .map_err(Error::query("shorten the audit log"))
}
