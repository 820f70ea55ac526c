//! Who may use the box, beside the password and its sessions: the second factor, the way back for who forgot the
//! password, and phones.

pub(crate) mod factor;
pub(crate) mod gate;
pub(crate) mod phones;
pub(crate) mod reset;
mod rest;

use std::net::IpAddr;

use rust_i18n::t;
use store::{Audit, TokenHash};

use crate::{error::Error, http::fail::Fail, password, secret::Secret, shared::House};

/// What the audit log says, in the one language it has.
pub(crate) mod told {
    pub(crate) const WRONG_PASSWORD: &str = "Wrong password.";
    pub(crate) const WRONG_CODE: &str = "The password was right, the code was not.";
    pub(crate) const RESET_ASKED: &str = "A code for a new password was put on the screen.";
    pub(crate) const RESET: &str = "With the code on the screen. All sessions were ended.";
    pub(crate) const RESET_WITHOUT_FACTOR: &str =
        "With the code on the screen. All sessions were ended, the second factor is off.";
    pub(crate) const RESET_WRONG_CODE: &str = "Wrong code.";
}

/// Lets the owner prove once more that it is they, before something that a session left open must not be enough for.
/// Gives a sentence when what was typed is not right. `address`: where it was typed; nobody may try them all.
pub(crate) async fn prove(
    house: &House,
    address: IpAddr,
    typed: Secret<String>,
    code: &Secret<String>,
) -> Result<Option<String>, Fail> {
    house.limits.take(address).map_err(Fail::Wait)?;
    Ok((!right(house, typed, code).await?).then(|| {
        if house.factor.is_on() { t!("access.prove.wrong_both") } else { t!("access.prove.wrong") }.into_owned()
    }))
}

async fn right(house: &House, typed: Secret<String>, code: &Secret<String>) -> Result<bool, Error> {
    let phc = house.store.owner_password().await?.unwrap_or_default();
    if !password::verify(typed, &phc).await? {
        return Ok(false);
    }
    Ok(!house.factor.is_on() || house.factor.check(code).await?.is_some())
}

/// Sets another password, which must have been found good, and ends all sessions but `keep`.
pub(crate) async fn set_password(
    house: &House,
    new: Secret<String>,
    keep: TokenHash,
    entry: Audit,
) -> Result<(), Error> {
    let phc = password::hash(new).await?;
    house.store.change_password(phc, keep, entry).await?;
    house.sessions.drop_others(Some(keep));
    Ok(())
}
