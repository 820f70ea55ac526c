//! Sessions of browsers. The token itself never comes here, only its SHA-256.

use rusqlite::{Connection, params};

use crate::{Audit, Error, Store, audit};

/// SHA-256 of a session's token.
pub type TokenHash = [u8; 32];

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Gave the claim code; may set the first password, nothing else.
    Claim,
    /// The owner.
    Owner,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Owner => "owner",
        }
    }
}

/// One session; times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub token_hash: TokenHash,
    pub kind: Kind,
    /// Where it was begun.
    pub address: String,
    /// What the browser calls itself, in short.
    pub browser: String,
    pub created: u64,
    pub last_seen: u64,
}

impl Store {
    /// All sessions, for the start of the manager.
    pub async fn sessions(&self) -> Result<Vec<Session>, Error> {
        let failed = "read the sessions";
        self.call(move |connection| {
            let sql = "SELECT token_hash, kind, address, created, last_seen, browser FROM sessions";
            let mut statement = connection.prepare(sql).map_err(Error::query(failed))?;
            let rows = statement.query_map([], |row| {
                let kind: String = row.get(1)?;
                Ok(Session {
                    token_hash: row.get(0)?,
                    kind: if kind == "owner" { Kind::Owner } else { Kind::Claim },
                    address: row.get(2)?,
                    created: row.get(3)?,
                    last_seen: row.get(4)?,
                    browser: row.get(5)?,
                })
            });
            rows.and_then(Iterator::collect).map_err(Error::query(failed))
        })
        .await
    }

    /// Keeps a new session together with the line that says so.
    pub async fn begin_session(&self, session: Session, entry: Audit) -> Result<(), Error> {
        let failed = "begin a session";
        self.call(move |connection| {
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            insert(&transaction, &session)?;
            audit::insert(&transaction, &entry)?;
            transaction.commit().map_err(Error::query(failed))
        })
        .await
    }

    pub async fn session_seen(&self, token_hash: TokenHash, at: u64) -> Result<(), Error> {
        self.call(move |connection| {
            connection
                .prepare_cached("UPDATE sessions SET last_seen = ?2 WHERE token_hash = ?1")
                .and_then(|mut statement| statement.execute(params![token_hash, at]))
                .map(drop)
                .map_err(Error::query("note a session's last use"))
        })
        .await
    }

    /// Forgets these sessions and writes `entry`, when there is one, in the same transaction.
    pub async fn end_sessions(&self, token_hashes: Vec<TokenHash>, entry: Option<Audit>) -> Result<(), Error> {
        let failed = "end a session";
        self.call(move |connection| {
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            for token_hash in token_hashes {
                transaction
                    .execute("DELETE FROM sessions WHERE token_hash = ?1", [token_hash])
                    .map_err(Error::query(failed))?;
            }
            if let Some(entry) = entry {
                audit::insert(&transaction, &entry)?;
            }
            transaction.commit().map_err(Error::query(failed))
        })
        .await
    }
}

pub(crate) fn insert(connection: &Connection, session: &Session) -> Result<(), Error> {
    connection
        .prepare_cached("INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .and_then(|mut statement| {
            let Session { token_hash, kind, address, browser, created, last_seen } = session;
            statement.execute(params![token_hash, kind.name(), address, created, last_seen, browser])
        })
        .map(drop)
        .map_err(Error::query("begin a session"))
}
