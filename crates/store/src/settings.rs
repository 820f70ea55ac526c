//! Settings: JSON values by name.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Audit, Error, Store, audit};

impl Store {
    /// The setting `key`, or `None` when it was never set.
    pub async fn setting<T: DeserializeOwned + Send + 'static>(&self, key: &'static str) -> Result<Option<T>, Error> {
        self.call(move |connection| read(connection, key)).await
    }

    /// Sets `key`, and writes `audit` in the same transaction where the change is the owner's.
    pub async fn set<T: Serialize>(&self, key: &'static str, value: &T, audit: Option<Audit>) -> Result<(), Error> {
        let value = encode(key, value)?;
        self.call(move |connection| {
            let failed = "save a setting";
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            write(&transaction, key, &value)?;
            if let Some(entry) = audit {
                audit::insert(&transaction, &entry)?;
            }
            transaction.commit().map_err(Error::query(failed))
        })
        .await
    }
}

pub(crate) fn encode<T: Serialize>(key: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Setting { key: key.into(), source })
}

pub(crate) fn read<T: DeserializeOwned>(connection: &Connection, key: &str) -> Result<Option<T>, Error> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM settings WHERE key = ?1", [key], |row| row.get(0))
        .optional()
        .map_err(Error::query("read a setting"))?;
    text.map(|text| serde_json::from_str(&text).map_err(|source| Error::Setting { key: key.into(), source }))
        .transpose()
}

pub(crate) fn write(connection: &Connection, key: &str, json: &str) -> Result<(), Error> {
    connection
        .prepare_cached("INSERT INTO settings VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
        .and_then(|mut statement| statement.execute(params![key, json]))
        .map(drop)
        .map_err(Error::query("save a setting"))
}
