//! The owner's authenticator app.

use totp_rs::{Builder, Secret};

use crate::report::{Fault, Outcome};

/// What it shows for that key (base32) at that time, seconds since 1970.
pub(crate) fn code(key: &str, at: u64) -> Outcome<String> {
    let secret =
        Secret::try_from_base32(key.replace(' ', "")).map_err(|error| Fault::Fails(format!("{key}: {error:?}")))?;
    let totp = Builder::new().with_secret(secret).build().map_err(|error| Fault::Fails(format!("{key}: {error:?}")))?;
    Ok(totp.generate(at).to_string())
}
