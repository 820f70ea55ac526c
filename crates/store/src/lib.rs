//! What the manager keeps on `/data`: settings, sessions and the audit log, in one SQLite file.
//!
//! One thread owns the only connection; [`Store`] sends it closures and awaits their answers. Every change is one
//! transaction with `synchronous=FULL`, so a power cut leaves either the whole change or nothing of it. An error
//! (a full disk, for example) is the answer to one call: the thread lives on and the next call may succeed.

mod audit;
mod keys;
mod owner;
mod requests;
mod schema;
mod sessions;
mod settings;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub use audit::{Audit, Entry, KEPT as AUDIT_KEPT};
pub use keys::ApiKey;
pub use owner::{RESET_NOTICE, SECOND_FACTOR};
pub use requests::{Begun, NewRequest, Noted, RequestState};
pub use sessions::{Kind, Session, TokenHash};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to open the database {path}: {source}")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("failed to start the thread that writes {path}: {source}")]
    Thread { path: PathBuf, source: std::io::Error },
    #[error("the database {path} is damaged: {detail}")]
    Damaged { path: PathBuf, detail: String },
    #[error("the database {path} is not one of ours")]
    Foreign { path: PathBuf },
    #[error(
        "the database {path} has version {found}, this program knows versions up to {known}: start the newer system"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("failed to bring the database {path} to version {version}: {source}")]
    Migrate { path: PathBuf, version: i64, source: rusqlite::Error },
    #[error("the data disk is full: nothing was changed")]
    Full,
    #[error("failed to {action}: {source}")]
    Query { action: &'static str, source: rusqlite::Error },
    #[error("the setting {key:?} does not have the expected form: {source}")]
    Setting { key: String, source: serde_json::Error },
    #[error("this box already has an owner")]
    Owned,
    #[error("the database's thread has stopped")]
    Stopped,
}

impl Error {
    /// Names the action that failed; a full disk keeps its own variant because the owner can do something about it.
    fn query(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Query { action, source },
        }
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle of the open database. Cheap to clone; the file closes when the last clone is gone.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    path: Arc<Path>,
}

impl Store {
    /// Opens `path`, makes it when it is not there, checks it and migrates it. Blocks: call it before serving starts or
    /// from a blocking task.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut connection = schema::open(path)?;
        // Calls wait here while the disk is slow, so the bound limits what a flood of requests can pile up.
        let (jobs, mut inbox) = mpsc::channel::<Job>(64);
        thread::Builder::new()
            .name("store".into())
            .stack_size(512 * 1024)
            .spawn(move || {
                while let Some(job) = inbox.blocking_recv() {
                    job(&mut connection);
                }
                if let Err((_, error)) = connection.close() {
                    tracing::warn!(%error, "the database did not close cleanly");
                }
            })
            .map_err(|source| Error::Thread { path: path.into(), source })?;
        Ok(Self { jobs, path: path.into() })
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers when the writer thread is alive and the database can be read.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call(|connection| {
            connection.query_row("SELECT 1", [], |_| Ok(())).map_err(Error::query("read the database"))
        })
        .await
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // The caller may have gone away; the work is done all the same.
            let _ = answer.send(work(connection));
        });
        self.jobs.send(job).await.map_err(|_| Error::Stopped)?;
        result.await.map_err(|_| Error::Stopped)?
    }
}

#[cfg(test)]
mod tests;
