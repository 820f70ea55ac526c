//! Copies files with all that belongs to them. The box's own `cp` is busybox's, which forgets attributes, holes and
//! fractions of seconds.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::tree::{Tell, attributes, names};
use crate::error::{At, Error};

const PIECE: u64 = 1 << 20;

/// News after so many bytes.
const NEWS: u64 = 8 << 20;

/// A copy that goes on.
pub(super) struct Copier<'a> {
    pub(super) done: u64,
    pub(super) total: u64,
    /// When it was told last.
    pub(super) told: u64,
    /// Files with several names, and the first copy of each.
    pub(super) links: BTreeMap<(u64, u64), PathBuf>,
    pub(super) tell: Tell<'a>,
}

impl Copier<'_> {
    /// Copies one file, or a folder with all in it, to a place where nothing is.
    pub(super) fn entry(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        let metadata = fs::symlink_metadata(from).at("look at", from)?;
        let kind = metadata.file_type();
        if !kind.is_dir() && metadata.nlink() > 1 {
            let number = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&number) {
                return fs::hard_link(first, to).at("link", to);
            }
            self.links.insert(number, to.to_owned());
        }
        if kind.is_dir() {
            fs::create_dir(to).at("make the folder", to)?;
            for name in names(from)? {
                self.entry(&from.join(&name), &to.join(name))?;
            }
        } else if kind.is_symlink() {
            let leads = fs::read_link(from).at("read the link", from)?;
            symlink(leads, to).at("make the link", to)?;
        } else if kind.is_file() {
            self.content(from, to, metadata.size())?;
        } else if kind.is_fifo() || kind.is_socket() {
            let kind = if kind.is_fifo() { FileType::Fifo } else { FileType::Socket };
            rustix::fs::mknodat(CWD, to, kind, Mode::RUSR, 0).map_err(io::Error::from).at("make", to)?;
        } else {
            return Err(Error::Content { path: from.into(), reason: "it is a device".into() });
        }
        belongings(from, to, &metadata)
    }

    /// The parts of the file that are not holes, and its length.
    fn content(&mut self, from: &Path, to: &Path, size: u64) -> Result<(), Error> {
        let mut source = File::open(from).at("open", from)?;
        let mut target = File::create_new(to).at("create", to)?;
        let mut piece = vec![0; PIECE as usize];
        let mut place = 0;
        while let Some((start, end)) = data_after(&source, place).at("read", from)? {
            source.seek(SeekFrom::Start(start)).at("read", from)?;
            target.seek(SeekFrom::Start(start)).at("write", to)?;
            let mut left = end - start;
            while left > 0 {
                let want = usize::try_from(left.min(PIECE)).unwrap_or(piece.len());
                let length = source.read(&mut piece[..want]).at("read", from)?;
                if length == 0 {
                    return Err(Error::Content { path: from.into(), reason: "it became shorter".into() });
                }
                target.write_all(&piece[..length]).at("write", to)?;
                left -= length as u64;
                self.news(length as u64)?;
            }
            place = end;
        }
        target.set_len(size).at("write", to)?;
        // An error of the disk is an error of this file, not of a later one.
        target.sync_data().at("save", to)
    }

    fn news(&mut self, length: u64) -> Result<(), Error> {
        self.done += length;
        if self.done < self.told + NEWS {
            return Ok(());
        }
        self.told = self.done;
        (self.tell)(self.done, self.total)
    }
}

/// Where the next part with data begins and ends; `None` when only a hole is left.
fn data_after(file: &File, place: u64) -> io::Result<Option<(u64, u64)>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(place)) {
        Ok(start) => Ok(Some((start, rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?))),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Attributes, owner, mode and times, in the order in which one does not undo the other.
fn belongings(from: &Path, to: &Path, metadata: &Metadata) -> Result<(), Error> {
    lchown(to, Some(metadata.uid()), Some(metadata.gid())).at("set the owner of", to)?;
    if !metadata.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777)).at("set the mode of", to)?;
        for (name, value) in attributes(from)? {
            let set = rustix::fs::lsetxattr(to, &name[..], &value, XattrFlags::empty());
            set.map_err(io::Error::from).at("set the attributes of", to)?;
        }
    }
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    let set = rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW);
    set.map_err(io::Error::from).at("set the time of", to)
}
