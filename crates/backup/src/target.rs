//! What can be asked of a target.
//!
//! Each operation makes its own connection and has [`DEADLINE`] for all. Dropping one half-way leaves at most a hidden
//! `.new` file or a whole copy, never a part of one under its name.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use twin::UnixSeconds;

use crate::{
    Error, Hash, HostKey, Name, Scb, Target,
    folder::FolderStore,
    store::{Store, TestFile, random},
};

/// Limit for one operation as a whole.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a live test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A test file was written, read back and found the same.
    ReadBack {
        /// The test file, where the target does not let it be removed: harmless, and what an append-only target does.
        left_behind: Option<String>,
    },
    /// The SFTP server's key is to be confirmed by the owner before anything is sent; then test again.
    ConfirmHostKey(HostKey),
    /// The mail server took a mail with this code. Only the owner can read it back: ask for the code on the page.
    Mailed { code: String },
}

/// A copy that is safe in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub name: Name,
    pub hash: Hash,
    /// When it was read back and found good; for e-mail, when the server took it.
    pub at: UnixSeconds,
}

impl Saved {
    pub fn channels(&self) -> u32 {
        self.name.channels()
    }
}

impl Target {
    /// The live test: connects, writes a file of random bytes, reads it back, compares and removes it.
    pub async fn probe(&self) -> Result<Probe, Error> {
        self.in_time("finish the test", async {
            if let Self::Mail(mail) = self {
                return crate::mail::probe(mail).await;
            }
            if let Self::Sftp(sftp) = self
                && sftp.host_key.is_none()
            {
                return Ok(Probe::ConfirmHostKey(crate::sftp::host_key(sftp).await?));
            }
            let mut store = self.open().await?;
            store.prepare().await?;
            let (test, bytes) = (TestFile::new()?, random::<1024>()?);
            store.create(test.name(), &bytes).await?;
            let read = store.read(test.name()).await;
            let removed = store.remove(&test).await;
            if read? != bytes {
                return Err(Error::Differs { name: test.to_string(), place: self.describe() });
            }
            // What a push begins with must work, too.
            store.names().await?;
            Ok(Probe::ReadBack { left_behind: removed.is_err().then(|| test.to_string()) })
        })
        .await
    }

    /// Saves a copy, reads it back and compares. The same content as in the newest copy is not written again.
    pub async fn push(&self, scb: &Scb) -> Result<Saved, Error> {
        self.in_time("take the copy", async {
            if let Self::Mail(mail) = self {
                return crate::mail::push(mail, scb).await;
            }
            let hash = scb.hash();
            let mut store = self.open().await?;
            let newest = newest_first(store.names().await?).into_iter().next();
            if let Some(name) = newest
                && name.fits(&hash)
                && name.channels() == scb.channels
                && Hash::of(&store.read(&name.to_string()).await?) == hash
            {
                return Ok(Saved { name, hash, at: twin::source::now() });
            }
            let name = Name::of(scb).after(newest.as_ref());
            let file = name.to_string();
            store.create(&file, &scb.bytes).await?;
            if Hash::of(&store.read(&file).await?) != hash {
                return Err(Error::Differs { name: file, place: self.describe() });
            }
            Ok(Saved { name, hash, at: twin::source::now() })
        })
        .await
    }

    /// The copies that are there, newest first. Other files in the folder are no matter.
    pub async fn list(&self) -> Result<Vec<Name>, Error> {
        self.in_time("list the copies", async { Ok(newest_first(self.open().await?.names().await?)) }).await
    }

    /// Reads a copy and checks it against the hash in its name.
    pub async fn fetch(&self, name: &Name) -> Result<Vec<u8>, Error> {
        self.in_time("give the copy", async { self.read(self.open().await?.as_mut(), name).await }).await
    }

    /// The newest copy and its content, if there is one.
    pub async fn latest(&self) -> Result<Option<(Name, Vec<u8>)>, Error> {
        self.in_time("give the newest copy", async {
            let mut store = self.open().await?;
            match newest_first(store.names().await?).into_iter().next() {
                Some(name) => Ok(Some((name, self.read(store.as_mut(), &name).await?))),
                None => Ok(None),
            }
        })
        .await
    }

    /// The drill: fetches the newest copy and has it checked, as by LND's `VerifyChanBackup`; `check` gives the reason
    /// when it is refused.
    pub async fn verify_latest<F>(&self, check: impl FnOnce(Vec<u8>) -> F) -> Result<Name, Error>
    where
        F: Future<Output = Result<(), String>>,
    {
        let Some((name, bytes)) = self.latest().await? else {
            return Err(Error::Nothing { place: self.describe() });
        };
        check(bytes).await.map_err(|why| Error::Refuted { name, why })?;
        Ok(name)
    }

    async fn read(&self, store: &mut dyn Store, name: &Name) -> Result<Vec<u8>, Error> {
        let bytes = store.read(&name.to_string()).await?;
        if name.fits(&Hash::of(&bytes)) {
            return Ok(bytes);
        }
        Err(Error::Damaged { name: *name, place: self.describe() })
    }

    async fn open(&self) -> Result<Box<dyn Store>, Error> {
        Ok(match self {
            Self::Folder(folder) => Box::new(FolderStore::open(folder)?),
            Self::Sftp(sftp) => Box::new(crate::sftp::SftpStore::open(sftp).await?),
            Self::S3(s3) => Box::new(crate::s3::S3Store::open(s3)?),
            Self::Webdav(webdav) => Box::new(crate::webdav::WebdavStore::open(webdav)?),
            Self::Mail(_) => return Err(Error::NotReadable),
        })
    }

    async fn in_time<T>(
        &self,
        action: &'static str,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = |_| fetch::Error::Timeout { host: self.describe(), action, seconds: DEADLINE.as_secs() };
        timeout(DEADLINE, operation).await.map_err(late)?
    }
}

fn newest_first(names: Vec<String>) -> Vec<Name> {
    let mut names: Vec<Name> = names.iter().filter_map(|name| name.parse().ok()).collect();
    names.sort_unstable_by(|one, two| two.cmp(one));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folder;

    fn folder(mount: &std::path::Path) -> Target {
        Target::Folder(Folder { mount: mount.to_owned(), folder: "scb".into(), must_be_mounted: false })
    }

    #[tokio::test]
    async fn a_copy_is_kept_for_each_change_and_the_newest_is_found() {
        let disk = tempfile::tempdir().unwrap();
        let target = folder(disk.path());
        assert_eq!(target.probe().await.unwrap(), Probe::ReadBack { left_behind: None });
        assert!(target.list().await.unwrap().is_empty());
        let one = target.push(&Scb::new(b"one".to_vec(), 1, None)).await.unwrap();
        let same = target.push(&Scb::new(b"one".to_vec(), 1, None)).await.unwrap();
        assert_eq!(one.name, same.name);
        let two = target.push(&Scb::new(b"two".to_vec(), 2, None)).await.unwrap();
        // Back to an earlier content is a change, too.
        let three = target.push(&Scb::new(b"one".to_vec(), 1, None)).await.unwrap();
        assert_eq!(target.list().await.unwrap(), [three.name, two.name, one.name]);
        assert_eq!(target.fetch(&two.name).await.unwrap(), b"two");
        assert_eq!(target.latest().await.unwrap(), Some((three.name, b"one".to_vec())));
    }

    #[tokio::test]
    async fn a_damaged_copy_is_told_and_a_new_one_is_written_beside_it() {
        let disk = tempfile::tempdir().unwrap();
        let target = folder(disk.path());
        target.probe().await.unwrap();
        let scb = Scb::new(b"one".to_vec(), 1, None);
        let saved = target.push(&scb).await.unwrap();
        std::fs::write(disk.path().join("scb").join(saved.name.to_string()), "rot").unwrap();
        assert!(matches!(target.latest().await, Err(Error::Damaged { .. })));
        let again = target.push(&scb).await.unwrap();
        assert!(again.name > saved.name);
        assert_eq!(target.latest().await.unwrap(), Some((again.name, b"one".to_vec())));
    }

    #[test]
    fn all_operations_can_run_on_any_thread() {
        fn on_any<T: Send>(_: T) {}
        let (target, scb) = (folder("/nonexistent".as_ref()), Scb::new(Vec::new(), 0, None));
        on_any((target.probe(), target.push(&scb), target.list(), target.latest(), target.fetch(&Name::of(&scb))));
        on_any(target.verify_latest(|_| std::future::ready(Ok(()))));
    }

    #[tokio::test]
    async fn the_drill_tells_what_the_check_says() {
        let disk = tempfile::tempdir().unwrap();
        let target = folder(disk.path());
        target.probe().await.unwrap();
        let nothing = target.verify_latest(async |_| Ok(())).await;
        assert!(matches!(nothing, Err(Error::Nothing { .. })));
        let saved = target.push(&Scb::new(b"one".to_vec(), 1, None)).await.unwrap();
        let good = target.verify_latest(async |bytes| if bytes == b"one" { Ok(()) } else { Err("other".to_owned()) });
        assert_eq!(good.await.unwrap(), saved.name);
        let bad = target.verify_latest(async |_| Err("wrong seed".to_owned())).await.unwrap_err();
        assert!(bad.to_string().ends_with("wrong seed"), "{bad}");
    }

    #[tokio::test]
    async fn a_disk_that_is_gone_is_not_replaced_by_the_box() {
        let disk = tempfile::tempdir().unwrap();
        let mount = disk.path().to_owned();
        let target = Target::Folder(Folder { mount, folder: "scb".into(), must_be_mounted: true });
        assert!(matches!(target.probe().await, Err(Error::NotMounted { .. })));
        assert!(matches!(target.push(&Scb::new(b"one".to_vec(), 1, None)).await, Err(Error::NotMounted { .. })));
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_folder_outside_the_disk_is_no_setting() {
        for folder in ["", "/etc", "../x", "a/../../x"] {
            let target = Target::Folder(Folder { mount: "/mnt".into(), folder: folder.into(), must_be_mounted: false });
            assert!(matches!(target.list().await, Err(Error::Setting { .. })), "{folder}");
        }
    }

    #[tokio::test]
    async fn a_mail_says_that_it_cannot_be_read_back() {
        let mail = r#"{"kind": "mail", "host": "mail", "port": 465, "tls": "implicit", "user": "ann", "password": "x",
                       "from": "ann@example.com", "to": "ann@example.com"}"#;
        let target: Target = serde_json::from_str(mail).unwrap();
        assert!(!target.is_readable());
        assert!(matches!(target.latest().await, Err(Error::NotReadable)));
    }
}
