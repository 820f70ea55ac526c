//! What programs asked for that must not be done twice: payments and channels, each under the key of idempotence that
//! came with it.
//!
//! ```text
//!   begin (limits looked at, audit line, one transaction) ─► running ─► done | failed | unknown
//!     └ the same key again: what became of the first                      ▲
//!                                                   a power cut ──────────┘
//! ```

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{Audit, Error, Store, audit};

pub(crate) const TABLE: &str = "
    CREATE TABLE api_requests (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        -- The number of the API key, or 0 for the owner's own sessions.
        caller   INTEGER NOT NULL,
        name     TEXT NOT NULL,
        action   TEXT NOT NULL,
        content  BLOB NOT NULL CHECK (length(content) = 32),
        subject  TEXT NOT NULL,
        cost     INTEGER NOT NULL,
        state    TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'unknown')),
        answer   TEXT NOT NULL,
        created  INTEGER NOT NULL,
        UNIQUE (caller, name)
    ) STRICT;
    CREATE INDEX api_requests_by_time ON api_requests (caller, created);
    ";

/// Seconds for which a key of idempotence is remembered: a quarter of a year.
const REMEMBERED: u64 = 90 * 86_400;
/// Seconds over which what payments cost is added up.
const DAY: u64 = 86_400;

/// A request to be noted before it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// Number of the API key, or 0 for the owner.
    pub caller: u64,
    /// The key of idempotence.
    pub name: String,
    pub action: &'static str,
    /// SHA-256 of what was asked: the same name for something else is a mistake of the program.
    pub content: [u8; 32],
    /// By what it can be found again, such as a payment hash; may be empty.
    pub subject: String,
    /// The most it may cost, millisatoshis.
    pub cost: u64,
    /// What all requests of this caller within 24 hours may cost, millisatoshis.
    pub day_max: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    Running,
    Done,
    /// Nothing was done.
    Failed,
    /// It may have been done.
    Unknown,
}

impl RequestState {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    fn of(name: &str) -> Self {
        match name {
            "running" => Self::Running,
            "done" => Self::Done,
            "failed" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// A request as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub id: u64,
    pub action: String,
    pub content: [u8; 32],
    pub subject: String,
    pub state: RequestState,
    /// JSON; empty while there is none.
    pub answer: String,
    /// Seconds since 1970.
    pub created: u64,
}

/// What came of noting a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Carry it out, and say with this number what came of it.
    New(u64),
    /// It was asked before under this name: carry nothing out.
    Before(Noted),
    /// It would cost more than is left for these 24 hours, millisatoshis.
    OverDay { left: u64 },
}

impl Store {
    /// Notes a request together with its audit line. At most one caller ever gets [`Begun::New`] for a name.
    pub async fn begin_request(&self, request: NewRequest, entry: Audit) -> Result<Begun, Error> {
        let failed = "note a request";
        self.call(move |connection| {
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            if let Some(noted) = find(&transaction, request.caller, &request.name)? {
                return Ok(Begun::Before(noted));
            }
            let now = entry.at;
            if let Some(max) = request.day_max {
                let left = max.saturating_sub(spent(&transaction, request.caller, now)?);
                if request.cost > left {
                    return Ok(Begun::OverDay { left });
                }
            }
            transaction
                .execute("DELETE FROM api_requests WHERE created < ?1", [now.saturating_sub(REMEMBERED)])
                .map_err(Error::query(failed))?;
            let sql = "INSERT INTO api_requests (caller, name, action, content, subject, cost, state, answer, created) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'running', '', ?7) RETURNING id";
            let NewRequest { caller, name, action, content, subject, cost, .. } = request;
            let values = params![caller, name, action, content, subject, cost, now];
            let id = transaction.query_row(sql, values, |row| row.get(0)).map_err(Error::query(failed))?;
            audit::insert(&transaction, &entry)?;
            transaction.commit().map_err(Error::query(failed))?;
            Ok(Begun::New(id))
        })
        .await
    }

    /// Notes what came of a request; `cost` in millisatoshis, as far as it is known by now.
    pub async fn end_request(
        &self,
        id: u64,
        state: RequestState,
        answer: String,
        cost: Option<u64>,
    ) -> Result<(), Error> {
        self.call(move |connection| {
            let sql = "UPDATE api_requests SET state = ?2, answer = ?3, cost = coalesce(?4, cost) WHERE id = ?1";
            connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute(params![id, state.name(), answer, cost]))
                .map(drop)
                .map_err(Error::query("note what came of a request"))
        })
        .await
    }

    pub async fn request(&self, caller: u64, name: String) -> Result<Option<Noted>, Error> {
        self.call(move |connection| find(connection, caller, &name)).await
    }

    /// What this caller's requests of the 24 hours before `now` cost at most, millisatoshis.
    pub async fn spent(&self, caller: u64, now: u64) -> Result<u64, Error> {
        self.call(move |connection| spent(connection, caller, now)).await
    }

    /// At the start of the manager: what was running when it ended may have been done.
    pub async fn orphan_requests(&self) -> Result<(), Error> {
        self.call(|connection| {
            connection
                .execute("UPDATE api_requests SET state = 'unknown' WHERE state = 'running'", [])
                .map(drop)
                .map_err(Error::query("mark unfinished requests"))
        })
        .await
    }
}

fn find(connection: &Connection, caller: u64, name: &str) -> Result<Option<Noted>, Error> {
    let sql = "SELECT id, action, content, subject, state, answer, created FROM api_requests \
               WHERE caller = ?1 AND name = ?2";
    let noted = |row: &Row<'_>| {
        let state: String = row.get(4)?;
        Ok(Noted {
            id: row.get(0)?,
            action: row.get(1)?,
            content: row.get(2)?,
            subject: row.get(3)?,
            state: RequestState::of(&state),
            answer: row.get(5)?,
            created: row.get(6)?,
        })
    };
    connection.query_row(sql, params![caller, name], noted).optional().map_err(Error::query("read a request"))
}

/// Of requests that come from a future of this clock, nothing is known: they count.
fn spent(connection: &Connection, caller: u64, now: u64) -> Result<u64, Error> {
    let sql = "SELECT cost FROM api_requests WHERE caller = ?1 AND created > ?2 AND state <> 'failed'";
    let mut statement = connection.prepare_cached(sql).map_err(Error::query("add up payments"))?;
    let rows = statement.query_map(params![caller, now.saturating_sub(DAY)], |row| row.get::<_, u64>(0));
    let costs: Vec<u64> = rows.and_then(Iterator::collect).map_err(Error::query("add up payments"))?;
    Ok(costs.into_iter().fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, cost: u64) -> NewRequest {
        NewRequest {
            caller: 1,
            name: name.into(),
            action: "pay",
            content: [7; 32],
            subject: "hash".into(),
            cost,
            day_max: Some(1000),
        }
    }

    fn entry(at: u64) -> Audit {
        Audit { at, actor: "key:shop".into(), action: "payment", detail: String::new() }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("manager.db")).unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn of_many_at_once_under_one_name_one_is_new_and_leaves_one_audit_line() {
        let (_folder, store) = store();
        let tries = (0..20).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.begin_request(request("a", 10), entry(100)).await.unwrap() })
        });
        let mut new = 0;
        for begun in tries.collect::<Vec<_>>() {
            new += usize::from(matches!(begun.await.unwrap(), Begun::New(_)));
        }
        assert_eq!(new, 1);
        assert_eq!(store.audit_log(None, 100).await.unwrap().len(), 1);
        // Another caller may use the same name.
        let other = NewRequest { caller: 2, ..request("a", 10) };
        assert!(matches!(store.begin_request(other, entry(100)).await.unwrap(), Begun::New(_)));
    }

    #[tokio::test]
    async fn a_day_has_its_limit_and_what_failed_does_not_count() {
        let (_folder, store) = store();
        let Begun::New(first) = store.begin_request(request("a", 700), entry(100_000)).await.unwrap() else { panic!() };
        let over = store.begin_request(request("b", 400), entry(100_001)).await.unwrap();
        assert_eq!(over, Begun::OverDay { left: 300 });
        assert_eq!(store.request(1, "b".into()).await.unwrap(), None, "a refusal is no request");
        store.end_request(first, RequestState::Failed, "{}".into(), None).await.unwrap();
        let Begun::New(second) = store.begin_request(request("b", 1000), entry(100_001)).await.unwrap() else {
            panic!()
        };
        store.end_request(second, RequestState::Done, "{}".into(), Some(900)).await.unwrap();
        assert_eq!(store.spent(1, 100_002).await.unwrap(), 900);
        let over = store.begin_request(request("c", 101), entry(100_002)).await.unwrap();
        assert_eq!(over, Begun::OverDay { left: 100 });
        // A day later it is forgotten; a clock that went back forgets nothing.
        assert_eq!(store.spent(1, 100_001 + DAY).await.unwrap(), 0);
        assert_eq!(store.spent(1, 5).await.unwrap(), 900);
    }

    #[tokio::test]
    async fn after_a_power_cut_a_running_request_is_unknown_and_still_not_new() {
        let (folder, store) = store();
        assert!(matches!(store.begin_request(request("a", 10), entry(100)).await.unwrap(), Begun::New(_)));
        let after = folder.path().join("after.db");
        for suffix in ["", "-wal"] {
            let name = |file: &str| folder.path().join(format!("{file}{suffix}"));
            std::fs::copy(name("manager.db"), name("after.db")).unwrap();
        }
        let again = Store::open(&after).unwrap();
        again.orphan_requests().await.unwrap();
        let Begun::Before(noted) = again.begin_request(request("a", 10), entry(101)).await.unwrap() else { panic!() };
        assert_eq!((noted.state, noted.subject.as_str()), (RequestState::Unknown, "hash"));
        assert_eq!(again.spent(1, 101).await.unwrap(), 10, "what may have been paid counts");
    }
}
