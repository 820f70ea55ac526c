//! The wallet's password as a systemd credential: LND's unit gets it in clear at each start, the disk holds it sealed.
//!
//! With a security chip (TPM2) the seal needs that chip and a key on the data partition; without one it is the key alone,
//! which keeps the password out of backups and logs but not from who takes the disk away. The answer says which.

use std::path::Path;

use crate::{
    error::{At, Error},
    files, program,
};

/// The credential's name, known to LND's unit, too. It is sealed with the value.
pub(crate) const NAME: &str = "lnd.wallet-password";
/// The sealed credential, below the root of the data partition.
pub const SEALED: &str = "system/credstore.encrypted/lnd.wallet-password";
/// Where the sealed one is kept. `homebolt-boot unlock` makes it known to systemd.
pub(crate) const FOLDER: &str = "/data/system/credstore.encrypted";
const SYSTEMD_CREDS: &str = "/usr/bin/systemd-creds";

/// LND wants eight characters at least; more than these never come from the manager.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=128;

/// Seals the password and replaces an older one. Returns what to say.
pub fn wallet_password(password: &str) -> Result<String, Error> {
    if !is_plain(password) {
        return Err(Error::Refused("The wallet's password does not have the expected form.".into()));
    }
    let folder = Path::new(FOLDER);
    files::folder(folder)?;
    // Bound to the chip itself and to nothing it measured: an update of the system must not lock the wallet.
    let arguments = ["encrypt", "--with-key=auto", "--tpm2-pcrs=", "--name", NAME, "-", "-"];
    let sealed = program::answer(SYSTEMD_CREDS, &arguments, password.as_bytes())?;
    files::write_atomic(&folder.join(NAME), &sealed, 0o600)?;
    // What cannot be opened again would be found out at the next start only.
    let path = folder.join(NAME);
    let opened = open(&path)?;
    if opened != password.as_bytes() {
        return Err(Error::Refused("The sealed password does not open again.".into()));
    }
    std::fs::File::open("/data/system").and_then(|folder| folder.sync_all()).at("save the folder", "/data/system")?;
    let chip = program::run(SYSTEMD_CREDS, &["has-tpm2", "--quiet"]).is_ok_and(|outcome| outcome.code == Some(0));
    Ok(if chip { "sealed-by-chip" } else { "sealed-by-disk" }.into())
}

/// What is sealed in the file.
pub(crate) fn open(path: &Path) -> Result<Vec<u8>, Error> {
    program::answer(SYSTEMD_CREDS, &["decrypt".as_ref(), path.as_os_str(), "-".as_ref()], b"")
}

/// Printable ASCII without spaces: LND takes the whole file for the password, a line's end included.
fn is_plain(password: &str) -> bool {
    LENGTH.contains(&password.len()) && password.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_with_a_line_s_end_is_refused() {
        assert!(is_plain("ABCD-EFGH-2345"));
        for bad in ["", "short", "with space", "line\nend", "n\u{e4}chste", &"x".repeat(129)] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }
}
