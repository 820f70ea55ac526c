//! A folder on a mounted disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{AT_FDCWD, PosixFadviseAdvice, RenameFlags, posix_fadvise, renameat2};

use crate::{
    Error,
    config::Folder,
    scb::MAX_BYTES,
    store::{Answer, Store, TestFile, part},
};

/// The folder. Its calls run on threads of their own: a disk that hangs must not hang the program.
#[derive(Debug, Clone)]
pub(crate) struct FolderStore {
    config: Folder,
    folder: PathBuf,
}

impl FolderStore {
    pub(crate) fn open(config: &Folder) -> Result<Self, Error> {
        let inside = config.folder.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside || config.folder.as_os_str().is_empty() {
            let why = "a plain path below the disk's own root is needed".to_owned();
            return Err(Error::Setting { what: "the folder", why });
        }
        Ok(Self { config: config.clone(), folder: config.mount.join(&config.folder) })
    }

    fn run<'a, T, F>(&self, work: F) -> Answer<'a, T>
    where
        T: Send + 'static,
        F: FnOnce(Self) -> Result<T, Error> + Send + 'static,
    {
        let store = self.clone();
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || {
                store.check_mounted()?;
                work(store)
            });
            work.await.unwrap_or_else(|error| {
                let what = error.to_string();
                Err(Error::Answer { host: "the disk".to_owned(), action: "be used", what })
            })
        })
    }

    fn check_mounted(&self) -> Result<(), Error> {
        if !self.config.must_be_mounted {
            return Ok(());
        }
        let mount = &self.config.mount;
        let device = |path: &Path| fs::metadata(path).map(|about| about.dev());
        match (device(mount), device(&mount.join(".."))) {
            (Ok(disk), Ok(parent)) if disk != parent => Ok(()),
            _ => Err(Error::NotMounted { mount: mount.clone() }),
        }
    }

    /// The fault behind an I/O error, for the owner.
    fn fault(&self, action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let (place, path) = (format!("the folder {}", self.folder.display()), path.to_owned());
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { place },
            io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly { place },
            io::ErrorKind::PermissionDenied => Error::Denied { action, place },
            io::ErrorKind::NotFound => {
                Error::NoPlace { host: "the disk".to_owned(), place: place.replacen("the folder", "folder", 1) }
            }
            _ => Error::File { action, path, source },
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (temporary, path) = (self.folder.join(part(name)?), self.folder.join(name));
        let fill = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            // So that reading back asks the disk, not the memory. A file system may not know how.
            let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
            Ok(())
        };
        let done = fill().map_err(self.fault("write", &temporary)).and_then(|()| self.put_in_place(&temporary, &path));
        if done.is_err() {
            // Our own part of a file, of use to nobody; the first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        done?;
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(self.fault("save", &self.folder))
    }

    /// Renames without replacing.
    fn put_in_place(&self, temporary: &Path, path: &Path) -> Result<(), Error> {
        let exists = || Error::Exists {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            place: format!("the folder {}", self.folder.display()),
        };
        let fault = self.fault("put in place", path);
        match renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => Ok(()),
            Err(nix::Error::EEXIST) => Err(exists()),
            // exFAT and some others cannot do it in one step. Nobody else writes such names.
            Err(nix::Error::EINVAL) if path.symlink_metadata().is_ok() => Err(exists()),
            Err(nix::Error::EINVAL) => fs::rename(temporary, path).map_err(fault),
            Err(error) => Err(fault(error.into())),
        }
    }
}

impl Store for FolderStore {
    fn prepare(&mut self) -> Answer<'_, ()> {
        self.run(|store| fs::create_dir_all(&store.folder).map_err(store.fault("make a folder", &store.folder)))
    }

    fn names(&mut self) -> Answer<'_, Vec<String>> {
        self.run(|store| {
            let list = || {
                let mut names = Vec::new();
                for entry in fs::read_dir(&store.folder)? {
                    names.extend(entry?.file_name().into_string());
                }
                Ok(names)
            };
            list().map_err(store.fault("list the files", &store.folder))
        })
    }

    fn read<'a>(&'a mut self, name: &'a str) -> Answer<'a, Vec<u8>> {
        let path = self.folder.join(name);
        self.run(move |store| {
            let mut bytes = Vec::new();
            let read = File::open(&path).and_then(|file| file.take(MAX_BYTES as u64).read_to_end(&mut bytes));
            read.map_err(store.fault("read", &path))?;
            Ok(bytes)
        })
    }

    fn create<'a>(&'a mut self, name: &'a str, bytes: &'a [u8]) -> Answer<'a, ()> {
        let (name, bytes) = (name.to_owned(), bytes.to_owned());
        self.run(move |store| store.write(&name, &bytes))
    }

    fn remove<'a>(&'a mut self, test: &'a TestFile) -> Answer<'a, ()> {
        let path = self.folder.join(test.name());
        self.run(move |store| fs::remove_file(&path).map_err(store.fault("remove", &path)))
    }
}
