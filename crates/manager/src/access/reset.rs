//! The way back for who forgot the password: a code on the box's own screen, as with the claim.
//!
//! ```text
//!  nothing ── asked for ──► code on the screen, ten minutes ── code and new password ──► reset, all sessions end
//!     ▲                                  │
//!     └────────── time is over ──────────┘
//! ```
//!
//! Asking changes nothing and proves nothing; anybody in the network may do it. Only who sees the screen can go on.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use store::{Audit, RESET_NOTICE, Store};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use crate::{
    claim::{Claim, Refusal},
    error::Error,
};

/// So long the code stays on the screen.
pub(crate) const TIME: Duration = Duration::from_secs(10 * 60);

/// What the screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) code: String,
    /// Who asked for it.
    pub(crate) address: IpAddr,
}

/// Tells the owner, at the next visit, of a reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// Seconds since 1970.
    pub(crate) at: u64,
    pub(crate) address: String,
}

pub(crate) struct Reset {
    store: Store,
    /// In the run folder: how often a wrong code was typed.
    file: PathBuf,
    asked: Mutex<Option<Asked>>,
    shown: watch::Sender<Option<Shown>>,
    notice: Mutex<Option<Notice>>,
}

struct Asked {
    claim: Arc<Claim>,
    until: Instant,
}

/// Why a code is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no code on the screen: it must be asked for (again).
    NoCode,
    Code(Refusal),
}

impl Reset {
    pub(crate) async fn open(store: Store, run_dir: &Path) -> Result<Self, Error> {
        let notice = store.setting::<Option<Notice>>(RESET_NOTICE).await?.flatten();
        let file = run_dir.join("manager/reset.json");
        let shown = watch::Sender::new(None);
        Ok(Self { store, file, asked: Mutex::default(), shown, notice: Mutex::new(notice) })
    }

    /// What the screen is to show.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Shown>> {
        self.shown.subscribe()
    }

    /// Puts a code on the screen; one that is there already stays, with the time and the tries it has left.
    pub(crate) fn ask(self: &Arc<Self>, address: IpAddr) -> Result<(), Error> {
        let mut asked = self.asked();
        if asked.as_ref().is_some_and(|asked| Instant::now() < asked.until) {
            return Ok(());
        }
        match std::fs::remove_file(&self.file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &self.file)(source));
            }
            _ => {}
        }
        let claim = Arc::new(Claim::open(&self.file)?);
        self.shown.send_replace(Some(Shown { code: claim.shown(), address }));
        let until = Instant::now() + TIME;
        *asked = Some(Asked { claim, until });
        let reset = self.clone();
        tokio::spawn(async move {
            time::sleep_until(until).await;
            let is_same = reset.asked().as_ref().is_some_and(|asked| asked.until == until);
            if is_same {
                reset.end();
            }
        });
        Ok(())
    }

    /// Whether a code is on the screen.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked().as_ref().is_some_and(|asked| Instant::now() < asked.until)
    }

    /// Compares what was typed with the code on the screen.
    pub(crate) fn check(&self, typed: &str) -> Result<(), Refused> {
        let claim = self.asked().as_ref().filter(|asked| Instant::now() < asked.until).map(|asked| asked.claim.clone());
        claim.ok_or(Refused::NoCode)?.check(typed).map_err(Refused::Code)
    }

    /// Takes the code off the screen: it is used, or its time is over.
    pub(crate) fn end(&self) {
        *self.asked() = None;
        self.shown.send_replace(None);
        let _ = std::fs::remove_file(&self.file);
    }

    /// What the owner has not been told yet, or has not said to have read.
    pub(crate) fn notice(&self) -> Option<Notice> {
        self.notice.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store has it already.
    pub(crate) fn tell(&self, notice: Notice) {
        *self.notice.lock().unwrap_or_else(PoisonError::into_inner) = Some(notice);
    }

    /// The owner has read it.
    pub(crate) async fn read(&self, entry: Audit) -> Result<(), Error> {
        self.store.set(RESET_NOTICE, &None::<Notice>, Some(entry)).await?;
        *self.notice.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Option<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn reset() -> (tempfile::TempDir, Arc<Reset>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("manager")).unwrap();
        let store = Store::open(&folder.path().join("manager.db")).unwrap();
        let reset = Arc::new(Reset::open(store, folder.path()).await.unwrap());
        (folder, reset)
    }

    #[tokio::test]
    async fn without_asking_no_code_is_right() {
        let (_folder, reset) = reset().await;
        assert_eq!(reset.check(""), Err(Refused::NoCode));
        assert_eq!(reset.check("ABCD-EFGH"), Err(Refused::NoCode));
    }

    #[tokio::test]
    async fn the_code_is_on_the_screen_for_its_time_and_asking_again_gives_no_new_tries() {
        let (_folder, reset) = reset().await;
        let screen = reset.watch();
        reset.ask(HOME).unwrap();
        let code = screen.borrow().as_ref().unwrap().code.clone();
        for _ in 0..4 {
            assert!(matches!(reset.check("WRNG-WRNG"), Err(Refused::Code(Refusal::Wrong { .. }))));
        }
        reset.ask(HOME).unwrap();
        assert_eq!(screen.borrow().as_ref().unwrap().code, code);
        assert!(matches!(reset.check("WRNG-WRNG"), Err(Refused::Code(Refusal::Wait(_)))));
        tokio::time::pause();
        tokio::time::advance(TIME - Duration::from_secs(1)).await;
        assert_eq!(reset.check(&code), Ok(()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*screen.borrow(), None, "the time is over");
        assert_eq!(reset.check(&code), Err(Refused::NoCode));
    }

    #[tokio::test]
    async fn another_request_has_another_code() {
        let (_folder, reset) = reset().await;
        reset.ask(HOME).unwrap();
        let first = reset.watch().borrow().clone();
        reset.end();
        assert_eq!(*reset.watch().borrow(), None);
        reset.ask(HOME).unwrap();
        assert_ne!(*reset.watch().borrow(), first);
    }
}
