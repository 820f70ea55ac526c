//! The owner: the one account of a box, and the way to it.

use rusqlite::OptionalExtension;

use crate::{Audit, Error, Session, Store, TokenHash, audit, sessions, settings};

/// Setting with the password's PHC string. That it is there is what makes a box owned.
const PASSWORD: &str = "owner.password";
/// Setting with the second factor of the sign-in; `null` or not there: none is asked for.
pub const SECOND_FACTOR: &str = "owner.second-factor";
/// Setting that tells of a password reset at the console until the owner has read it; `null`: nothing to tell.
pub const RESET_NOTICE: &str = "owner.reset-notice";

impl Store {
    /// The owner's password as a PHC string, or `None` while nobody owns the box.
    pub async fn owner_password(&self) -> Result<Option<String>, Error> {
        self.setting(PASSWORD).await
    }

    /// Makes the first owner: password, session and audit line in one transaction; the claim sessions end with it.
    /// [`Error::Owned`] when somebody was faster.
    pub async fn claim_owner(&self, password_phc: String, session: Session, entry: Audit) -> Result<(), Error> {
        let failed = "save the owner's password";
        let password = settings::encode(PASSWORD, &password_phc)?;
        self.call(move |connection| {
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            let owned: Option<i64> = transaction
                .query_row("SELECT 1 FROM settings WHERE key = ?1", [PASSWORD], |row| row.get(0))
                .optional()
                .map_err(Error::query(failed))?;
            if owned.is_some() {
                return Err(Error::Owned);
            }
            settings::write(&transaction, PASSWORD, &password)?;
            transaction.execute("DELETE FROM sessions", []).map_err(Error::query(failed))?;
            sessions::insert(&transaction, &session)?;
            audit::insert(&transaction, &entry)?;
            transaction.commit().map_err(Error::query(failed))
        })
        .await
    }

    /// Sets a new password for who proved at the console to stand before the box: every session ends, `notice` is left
    /// for the owner, and the second factor goes where `without_factor`. One transaction.
    pub async fn reset_password<N: serde::Serialize>(
        &self,
        password_phc: String,
        notice: &N,
        without_factor: bool,
        entry: Audit,
    ) -> Result<(), Error> {
        let failed = "save the owner's password";
        let password = settings::encode(PASSWORD, &password_phc)?;
        let notice = settings::encode(RESET_NOTICE, notice)?;
        self.call(move |connection| {
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            settings::write(&transaction, PASSWORD, &password)?;
            settings::write(&transaction, RESET_NOTICE, &notice)?;
            if without_factor {
                settings::write(&transaction, SECOND_FACTOR, "null")?;
            }
            transaction.execute("DELETE FROM sessions", []).map_err(Error::query(failed))?;
            audit::insert(&transaction, &entry)?;
            transaction.commit().map_err(Error::query(failed))
        })
        .await
    }

    /// Changes the password and ends every session but `keep`.
    pub async fn change_password(&self, password_phc: String, keep: TokenHash, entry: Audit) -> Result<(), Error> {
        let failed = "save the owner's password";
        let password = settings::encode(PASSWORD, &password_phc)?;
        self.call(move |connection| {
            let transaction = connection.transaction().map_err(Error::query(failed))?;
            settings::write(&transaction, PASSWORD, &password)?;
            transaction.execute("DELETE FROM sessions WHERE token_hash <> ?1", [keep]).map_err(Error::query(failed))?;
            audit::insert(&transaction, &entry)?;
            transaction.commit().map_err(Error::query(failed))
        })
        .await
    }
}
