//! The first part of the wizard: from a box of nobody to a box with an owner.
//!
//! ```text
//!   Claim ── right code ──► Password ── password kept ──► Done
//!     ▲                        │
//!     └──── 15 minutes ────────┘
//! ```
//!
//! The state is what is on the disk, and every arrow is one transaction, so a power cut leaves the box in one of the
//! three boxes: the claim session (kept by its hash, so the browser that typed the code goes on after the cut) means
//! `Password`, the owner's password means `Done`.

use std::net::IpAddr;

use store::{Audit, Kind, Store};
use tokio::sync::watch;

use crate::{
    error::{Error, now},
    password,
    secret::Secret,
    session::{Current, Sessions},
};

/// Where a visitor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Type the code from the console.
    Claim,
    /// Choose the password.
    Password,
    /// The box has an owner.
    Done,
}

impl Step {
    /// The page of this step.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Claim => "/claim",
            Self::Password => "/password",
            Self::Done => "/sign-in",
        }
    }
}

pub(crate) struct Wizard {
    store: Store,
    owned: watch::Sender<bool>,
}

impl Wizard {
    /// Reads where the box stands.
    pub(crate) async fn open(store: Store) -> Result<Self, Error> {
        let owned = store.owner_password().await?.is_some();
        Ok(Self { store, owned: watch::Sender::new(owned) })
    }

    pub(crate) fn is_owned(&self) -> bool {
        *self.owned.borrow()
    }

    /// Follows [`Self::is_owned`].
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.owned.subscribe()
    }

    pub(crate) fn step(&self, session: Option<&Current>) -> Step {
        match session {
            _ if self.is_owned() => Step::Done,
            Some(session) if session.kind == Kind::Claim => Step::Password,
            _ => Step::Claim,
        }
    }

    /// The code was right: begins the session that may set the password, and returns its token.
    pub(crate) async fn code_was_right(&self, sessions: &Sessions, address: IpAddr) -> Result<Secret<String>, Error> {
        let entry = Audit {
            at: now(),
            actor: format!("console@{address}"),
            action: "claim-code",
            detail: "The claim code was typed.".into(),
        };
        sessions.begin(Kind::Claim, address, entry).await
    }

    /// Makes the box owned and returns the token of the owner's first session.
    pub(crate) async fn set_password(
        &self,
        sessions: &Sessions,
        password: Secret<String>,
        address: IpAddr,
    ) -> Result<Secret<String>, Error> {
        let phc = password::hash(password).await?;
        let (token, session) = Sessions::prepare(Kind::Owner, address)?;
        let entry = Audit {
            at: now(),
            actor: format!("owner@{address}"),
            action: "claimed",
            detail: "The first password was set; this box has an owner now.".into(),
        };
        self.store.claim_owner(phc, session.clone(), entry).await?;
        sessions.drop_others(None);
        sessions.admit(&session);
        self.owned.send_replace(true);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Opens what is on the disk, as a start after a power cut does.
    async fn start(folder: &Path) -> (Wizard, Sessions) {
        let store = Store::open(&folder.join("manager.db")).unwrap();
        (Wizard::open(store.clone()).await.unwrap(), Sessions::load(store).await.unwrap())
    }

    /// The disk as it is at this moment, in another folder: what a power cut leaves.
    fn cut(folder: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    #[tokio::test]
    async fn a_power_cut_at_any_step_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (wizard, _) = start(folder.path()).await;
        assert_eq!(wizard.step(None), Step::Claim);

        let folder = cut(folder.path());
        let (wizard, sessions) = start(folder.path()).await;
        assert_eq!(wizard.step(None), Step::Claim);
        let token = wizard.code_was_right(&sessions, HOME).await.unwrap();

        let folder = cut(folder.path());
        let (wizard, sessions) = start(folder.path()).await;
        let current = sessions.find(token.expose(), HOME);
        assert_eq!(wizard.step(current.as_ref()), Step::Password, "the browser that typed the code goes on");
        assert_eq!(wizard.step(None), Step::Claim, "another one does not");
        let secret = Secret::new("correct horse battery".to_owned());
        let owner = wizard.set_password(&sessions, secret, HOME).await.unwrap();
        assert!(*wizard.watch().borrow());

        let folder = cut(folder.path());
        let (wizard, sessions) = start(folder.path()).await;
        assert_eq!(wizard.step(None), Step::Done);
        assert_eq!(sessions.find(owner.expose(), HOME).unwrap().kind, Kind::Owner);
        assert!(sessions.find(token.expose(), HOME).is_none(), "the claim session ended with the claim");
    }

    #[tokio::test]
    async fn of_two_people_with_the_code_one_becomes_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let (wizard, sessions) = start(folder.path()).await;
        let set = |text: &str| wizard.set_password(&sessions, Secret::new(text.into()), HOME);
        let (one, two) = tokio::join!(set("correct horse battery"), set("another good password"));
        assert!(one.is_ok() != two.is_ok());
        assert_eq!(sessions.count(), 1);
    }
}
