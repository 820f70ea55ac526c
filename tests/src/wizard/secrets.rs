//! Everything secret that a run of the wizard knows, and where it must not be after it.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use super::{Stage, phones};
use crate::{
    browser::Browser,
    http::Client,
    report::{Outcome, ensure},
    visitor::PASSWORD,
};

/// What was secret, told by those who made it.
#[derive(Default)]
pub(super) struct Secrets(RefCell<Vec<Secret>>);

#[derive(Clone)]
struct Secret {
    /// For a message: the text itself is never printed.
    what: String,
    text: String,
    /// Ends of the paths in which it may stand, because it is kept there.
    home: &'static [&'static str],
}

impl Secrets {
    pub(super) fn note(&self, what: &str, text: &str, home: &'static [&'static str]) -> Outcome {
        // What is short is found by chance, in pictures and databases.
        ensure!(text.len() > 7, "{what} is too short to be looked for");
        self.0.borrow_mut().push(Secret { what: what.to_owned(), text: text.to_owned(), home });
        Ok(())
    }

    /// A word alone is in many texts, three in a row are not.
    pub(super) fn seed(&self, what: &str, words: &[String]) -> Outcome {
        ensure!(words.len() == 24, "{what} has {} words", words.len());
        for row in words.windows(3) {
            for between in [" ", "\n", "\",\"", "+", "%20", "</li><li>"] {
                self.note(what, &row.join(between), &[])?;
            }
        }
        Ok(())
    }

    /// In each form in which programs write a macaroon.
    pub(super) fn macaroon(&self, what: &str, macaroon: &[u8]) -> Outcome {
        let forms = [hex::encode(macaroon), URL_SAFE_NO_PAD.encode(macaroon), STANDARD.encode(macaroon)];
        forms.iter().try_for_each(|form| self.note(what, form, &[]))
    }

    /// What stands in this text and should not; `path`: of a file.
    fn found(&self, text: &str, path: Option<&Path>) -> Option<String> {
        let at_home = |secret: &Secret| {
            path.is_some_and(|path| secret.home.iter().any(|home| path.to_string_lossy().ends_with(home)))
        };
        self.0
            .borrow()
            .iter()
            .find(|secret| !at_home(secret) && text.contains(&secret.text))
            .map(|one| one.what.clone())
    }

    /// That none is in a file below these folders; gives how many were looked at.
    fn in_no_file(&self, folders: &[&Path]) -> Outcome<usize> {
        let mut open: Vec<PathBuf> = folders.iter().map(|folder| folder.to_path_buf()).collect();
        let mut seen = 0;
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder)?.flatten() {
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() {
                    open.push(path);
                    continue;
                }
                // Those of programs that run may go at any time.
                let Ok(bytes) = kind.is_file().then(|| fs::read(&path)).transpose() else { continue };
                let Some(bytes) = bytes else { continue };
                seen += 1;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let is_core =
                    name == "core" || name.strip_prefix("core.").is_some_and(|rest| rest.parse::<u32>().is_ok());
                ensure!(!is_core, "a program has left its memory in {}", path.display());
                let found = self.found(&String::from_utf8_lossy(&bytes), Some(&path));
                ensure!(found.is_none(), "{} is in {}", found.unwrap_or_default(), path.display());
            }
        }
        Ok(seen)
    }
}

/// What the box itself knows and has made by now.
pub(super) fn gather(stage: &Stage) -> Outcome {
    let folder = stage.manager.folder();
    let secrets = &stage.secrets;
    secrets.note("the owner's password", PASSWORD, &[])?;
    let sealed = fs::read_to_string(stage.root.sealed())?;
    secrets.note("the wallet's password", &sealed, &["sealed-password"])?;
    // LND has to know it, and the manager asks bitcoind itself.
    let home = &["config/lnd.conf", "data/manager.db", "data/manager.db-wal"];
    secrets.note("bitcoind's password", super::DOOR, home)?;
    secrets.note("Postgres' password", super::postgres::PASSWORD, &[])?;
    for name in ["lnd/admin.macaroon", "data/lnd.macaroon"] {
        secrets.macaroon(name, &fs::read(folder.join(name))?)?;
    }
    Ok(())
}

/// The end of the run: nothing of all that is anywhere where it does not belong.
pub(super) fn nowhere(stage: &Stage, browser: &Browser, logs: &Path) -> Outcome {
    gather(stage)?;
    ensure!(stage.secrets.0.borrow().len() > 150, "only {} secrets are known", stage.secrets.0.borrow().len());
    // Logs of all programs; what the box keeps; and what the browser keeps: the addresses it was at, and pages.
    let seen = stage.secrets.in_no_file(&[stage.manager.folder(), logs, browser.profile()])?;
    ensure!(seen > 50, "only {seen} files were looked at");
    let here = std::env::current_dir()?;
    let core = fs::read_dir(&here)?.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with("core."));
    ensure!(core.is_none(), "a program has left its memory in {}", here.display());
    in_no_address(stage, browser)?;
    let bundle = phones::bundle(stage, browser)?;
    let found = stage.secrets.found(&bundle, None);
    ensure!(found.is_none(), "{} is in the support bundle", found.unwrap_or_default());
    no_page_is_kept(stage)
}

/// The browser's own list of where it was.
fn in_no_address(stage: &Stage, browser: &Browser) -> Outcome {
    let seen =
        browser.evaluate("performance.getEntries().map(entry => entry.name).join('\\n') + '\\n' + location.href")?;
    let seen = seen.as_str().unwrap_or_default().to_owned();
    let found = stage.secrets.found(&seen, None);
    ensure!(seen.contains("https://") && found.is_none(), "{} is in an address", found.unwrap_or_default());
    Ok(())
}

/// Every page of the box says that no cache may keep it; those that show secrets least of all.
fn no_page_is_kept(stage: &Stage) -> Outcome {
    let owner = signed_in(stage)?;
    let pages = [
        "/home",
        "/settings/phones",
        "/settings/keys",
        "/settings/second-factor",
        "/settings/support",
        "/setup/wallet",
        "/setup/wallet/words",
        "/setup/wallet/restore",
        "/setup/summary",
        "/setup/bitcoin",
        "/unlock",
        "/logs",
        "/logs/download",
        "/audit",
    ];
    for path in pages {
        let answer = owner.get(path)?;
        let kept = answer.header("cache-control").unwrap_or_default();
        ensure!(kept == "no-store", "{path}, answered by {}, says of caches {kept:?}", answer.status);
        let found = stage.secrets.found(&answer.text(), None);
        ensure!(found.is_none(), "{} is on {path}", found.unwrap_or_default());
        let found = stage.secrets.found(answer.location(), None);
        ensure!(found.is_none(), "{path} leads to an address with {}", found.unwrap_or_default());
    }
    Ok(())
}

fn signed_in(stage: &Stage) -> Outcome<Client> {
    let session = crate::visitor::sign_in(&stage.manager.tls())?;
    Ok(stage.manager.tls().with_session(&session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_anywhere_but_at_home() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::default();
        secrets.note("a word", "open sesame", &["home/of-it"]).unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        fs::write(folder.path().join("home/of-it"), "open sesame").unwrap();
        assert_eq!(secrets.in_no_file(&[folder.path()]).unwrap(), 1);
        fs::write(folder.path().join("home/log"), "he said: open sesame!").unwrap();
        assert!(secrets.in_no_file(&[folder.path()]).is_err());
        fs::remove_file(folder.path().join("home/log")).unwrap();
        fs::write(folder.path().join("core.4711"), "").unwrap();
        assert!(secrets.in_no_file(&[folder.path()]).is_err());
    }

    #[test]
    fn a_seed_is_found_by_three_words_in_a_row_however_they_are_written() {
        let secrets = Secrets::default();
        let words: Vec<String> = (0..24).map(|number| format!("word{number}")).collect();
        secrets.seed("the seed", &words).unwrap();
        for text in ["x word4 word5 word6 y", "word21\",\"word22\",\"word23", "?words=word0+word1+word2"] {
            assert_eq!(secrets.found(text, None).as_deref(), Some("the seed"), "{text}");
        }
        assert_eq!(secrets.found("word4 word5 word7", None), None);
        assert!(secrets.note("a pin", "1234", &[]).is_err());
    }
}
