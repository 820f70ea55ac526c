//! Keys for programs. The key itself never comes here, only its SHA-256.

use rusqlite::params;

use crate::{Audit, Error, Store, TokenHash, audit};

pub(crate) const TABLE: &str = "
    -- Only the hash is here, as with sessions. Numbers are never used again: the audit log and `requests` name them.
    CREATE TABLE api_keys (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        token_hash  BLOB UNIQUE NOT NULL CHECK (length(token_hash) = 32),
        name        TEXT NOT NULL,
        scopes      TEXT NOT NULL,
        created     INTEGER NOT NULL,
        expires     INTEGER,
        last_used   INTEGER,
        payment_max INTEGER,
        day_max     INTEGER
    ) STRICT;
    ";

/// One key; times in seconds since 1970, amounts in millisatoshis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Given by the store; 0 for a key that is not kept yet.
    pub id: u64,
    pub token_hash: TokenHash,
    /// What the owner calls it.
    pub name: String,
    /// What it may do, words joined by spaces; what they mean is the manager's matter.
    pub scopes: String,
    pub created: u64,
    /// `None`: until it is revoked.
    pub expires: Option<u64>,
    pub last_used: Option<u64>,
    /// What one payment, and all payments of 24 hours, may cost with fees; `None`: it may not pay.
    pub payment_max: Option<u64>,
    pub day_max: Option<u64>,
}

impl Store {
    /// All keys, oldest first.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        let failed = "read the keys";
        self.call(move |connection| {
            let sql = "SELECT id, token_hash, name, scopes, created, expires, last_used, payment_max, day_max \
                       FROM api_keys ORDER BY id";
            let mut statement = connection.prepare(sql).map_err(Error::query(failed))?;
            let rows = statement.query_map([], |row| {
                Ok(ApiKey {
                    id: row.get(0)?,
                    token_hash: row.get(1)?,
                    name: row.get(2)?,
                    scopes: row.get(3)?,
                    created: row.get(4)?,
                    expires: row.get(5)?,
                    last_used: row.get(6)?,
                    payment_max: row.get(7)?,
                    day_max: row.get(8)?,
                })
            });
            rows.and_then(Iterator::collect).map_err(Error::query(failed))
        })
        .await
    }

    /// Keeps a new key together with the line that says so; gives its number.
    pub async fn add_api_key(&self, key: ApiKey, entry: Audit) -> Result<u64, Error> {
        let failed = "keep a key";
        self.call(move |connection| {
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            let ApiKey { token_hash, name, scopes, created, expires, payment_max, day_max, .. } = key;
            let sql = "INSERT INTO api_keys (token_hash, name, scopes, created, expires, payment_max, day_max) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING id";
            let values = params![token_hash, name, scopes, created, expires, payment_max, day_max];
            let id = transaction.query_row(sql, values, |row| row.get(0)).map_err(Error::query(failed))?;
            audit::insert(&transaction, &entry)?;
            transaction.commit().map_err(Error::query(failed))?;
            Ok(id)
        })
        .await
    }

    /// Forgets a key together with the line that says so.
    pub async fn revoke_api_key(&self, id: u64, entry: Audit) -> Result<(), Error> {
        let failed = "revoke a key";
        self.call(move |connection| {
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            transaction.execute("DELETE FROM api_keys WHERE id = ?1", [id]).map_err(Error::query(failed))?;
            audit::insert(&transaction, &entry)?;
            transaction.commit().map_err(Error::query(failed))
        })
        .await
    }

    pub async fn api_key_used(&self, id: u64, at: u64) -> Result<(), Error> {
        self.call(move |connection| {
            connection
                .prepare_cached("UPDATE api_keys SET last_used = ?2 WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id, at]))
                .map(drop)
                .map_err(Error::query("note a key's last use"))
        })
        .await
    }
}
