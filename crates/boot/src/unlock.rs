//! `homebolt-boot unlock`: LND is told to unlock its wallet by the sealed password only if that password can be opened.
//!
//! ```text
//!  sealed, opens        ─► known to systemd as a credential of LND's unit           ─► LND unlocks by itself
//!  sealed, opens not    ─► not known; LND's option is taken back; a sentence why    ─► LND waits, locked, for the owner
//!  nothing sealed       ─► neither
//! ```
//! A credential that cannot be opened would keep LND's unit from starting, and so the owner from unlocking the wallet by
//! hand: the chip may be gone (another board, a cleared TPM) or the key on the data partition damaged.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use serde::Serialize;

use crate::{
    error::{At, Error},
    files, seal,
};

/// Where systemd looks for sealed credentials.
const KNOWN: &str = "/run/credstore.encrypted";
/// Words for LND's command line, read by its unit.
const WORDS: &str = "/run/homebolt/lnd.env";
const RESULT: &str = "/run/homebolt/unlock.json";

/// What the pages show.
#[derive(Debug, Serialize)]
struct Report {
    /// False: there is a sealed password and it cannot be opened.
    ok: bool,
    message: String,
}

/// Runs before LND.
pub fn run() -> Result<(), Error> {
    let message = offer(Path::new(seal::FOLDER), Path::new(KNOWN), Path::new(WORDS), |path| {
        seal::open(path).map(|password| !password.is_empty())
    })?;
    files::write_json(Path::new(RESULT), &Report { ok: message.is_none(), message: message.unwrap_or_default() })
}

/// Makes the sealed password below `sealed` known below `known` if `opens` says that it can be opened. Returns why not.
fn offer(
    sealed: &Path,
    known: &Path,
    words: &Path,
    opens: impl Fn(&Path) -> Result<bool, Error>,
) -> Result<Option<String>, Error> {
    let (file, link) = (sealed.join(seal::NAME), files::folder(known)?.join(seal::NAME));
    remove(&link)?;
    let why = match file.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        _ => match opens(&file) {
            Ok(true) => {
                symlink(&file, &link).at("make the link", &link)?;
                None
            }
            Ok(false) => Some("it is empty".to_owned()),
            Err(error) => Some(error.to_string()),
        },
    };
    // An option on the command line wins over LND's configuration; an empty one is none.
    let line = if why.is_some() { "UNLOCK=--wallet-unlock-password-file=\n" } else { "" };
    files::write_atomic(words, line.as_bytes(), 0o644)?;
    Ok(why.map(|why| format!("The sealed password of the wallet cannot be opened: {why}.")))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct House {
        folder: tempfile::TempDir,
    }

    impl House {
        fn offer(&self, opens: Result<bool, Error>) -> Option<String> {
            let path = self.folder.path();
            let opens = std::cell::Cell::new(Some(opens));
            offer(&path.join("sealed"), &path.join("known"), &path.join("env"), |_| opens.take().unwrap()).unwrap()
        }

        fn stands(&self) -> (bool, String) {
            let path = self.folder.path();
            (path.join("known").join(seal::NAME).exists(), fs::read_to_string(path.join("env")).unwrap())
        }
    }

    #[test]
    fn only_a_password_that_opens_is_offered_and_lnd_starts_without_it_all_the_same() {
        let house = House { folder: tempfile::tempdir().unwrap() };
        // No wallet yet.
        assert_eq!((house.offer(Ok(true)), house.stands()), (None, (false, String::new())));
        let sealed = house.folder.path().join("sealed");
        fs::create_dir(&sealed).unwrap();
        fs::write(sealed.join(seal::NAME), "sealed").unwrap();
        assert_eq!((house.offer(Ok(true)), house.stands()), (None, (true, String::new())));
        // Again, as at each start of LND.
        assert_eq!((house.offer(Ok(true)), house.stands()), (None, (true, String::new())));
        let chip_gone = Err(Error::Refused("no TPM2 device found".into()));
        let why = house.offer(chip_gone).unwrap();
        assert!(why.contains("no TPM2 device found"), "{why}");
        assert_eq!(house.stands(), (false, "UNLOCK=--wallet-unlock-password-file=\n".into()));
        // The sealed one is kept: the chip may come back.
        assert_eq!((house.offer(Ok(true)), house.stands()), (None, (true, String::new())));
    }
}
