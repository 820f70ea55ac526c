//! The form of the database file: opening, checking, migrating.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::Error;

/// `PRAGMA application_id` of our files: "Hblt".
const APPLICATION_ID: i64 = 0x4862_6C74;

/// Step n brings a file from `user_version` n to n + 1. Steps are only ever added: files in the field have run the old
/// ones.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE settings (
        key   TEXT PRIMARY KEY NOT NULL,
        value TEXT NOT NULL CHECK (json_valid(value))
    ) STRICT, WITHOUT ROWID;

    -- Only the hash of the token is here: who reads this file cannot sign in with it.
    CREATE TABLE sessions (
        token_hash BLOB PRIMARY KEY NOT NULL CHECK (length(token_hash) = 32),
        kind       TEXT NOT NULL CHECK (kind IN ('claim', 'owner')),
        address    TEXT NOT NULL,
        created    INTEGER NOT NULL,
        last_seen  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE audit (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        at     INTEGER NOT NULL,
        actor  TEXT NOT NULL,
        action TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    ",
    crate::keys::TABLE,
    crate::requests::TABLE,
    "
    -- What the browser calls itself, in short; for the owner to recognize a session by.
    ALTER TABLE sessions ADD COLUMN browser TEXT NOT NULL DEFAULT '';

    -- The log loses lines at its old end alone, and never one of the newest 10,000: a disk is finite, and who comes in
    -- must not be able to wash his traces away with a flood of lines in one go.
    DROP TRIGGER audit_is_never_shortened;
    CREATE TRIGGER audit_keeps_its_newest BEFORE DELETE ON audit
        WHEN OLD.id > (SELECT max(id) FROM audit) - 10000
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    ",
];

/// Opens and checks the file at `path`, then migrates it.
pub(crate) fn open(path: &Path) -> Result<Connection, Error> {
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::Damaged { path: path.into(), detail: source.to_string() }
        }
        Some(ErrorCode::DiskFull) => Error::Full,
        _ => Error::Open { path: path.into(), source },
    };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    // One connection for ever: with the lock held, SQLite keeps the index of the log in memory instead of in a file, so
    // that a full disk can still be read (and its owner sign in). It must come before the log is looked at.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(failed)?;
    // Before anything is written: a file that is not ours, or newer than this program, stays as it is.
    let version = check(&connection, path, failed)?;
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "FULL"), ("foreign_keys", "ON")] {
        connection.pragma_update(None, pragma, value).map_err(failed)?;
    }
    // A page cache of 512 kB is plenty for a few hundred rows; the default takes 2 MB of a small box.
    connection.pragma_update(None, "cache_size", -512).map_err(failed)?;
    migrate(&mut connection, path, version)?;
    Ok(connection)
}

fn check(connection: &Connection, path: &Path, failed: impl Fn(rusqlite::Error) -> Error + Copy) -> Result<i64, Error> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let known = MIGRATIONS.len() as i64;
    let version = pragma("user_version")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if tables == 0 && version == 0 {
        return Ok(0);
    }
    if pragma("application_id")? != APPLICATION_ID {
        return Err(Error::Foreign { path: path.into() });
    }
    if version > known {
        return Err(Error::Newer { path: path.into(), found: version, known });
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(Error::Damaged { path: path.into(), detail: verdict });
    }
    Ok(version)
}

fn migrate(connection: &mut Connection, path: &Path, from: i64) -> Result<(), Error> {
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(usize::try_from(from).unwrap_or(0)) {
        let version = step as i64 + 1;
        let run = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()
        };
        run(connection).map_err(|source| match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full,
            _ => Error::Migrate { path: path.into(), version, source },
        })?;
    }
    Ok(())
}
