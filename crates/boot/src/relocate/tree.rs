//! Copies folders with everything about them, and compares each file with its copy.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{copier::Copier, job::JOB};
use crate::{
    error::{At, Error},
    marker,
};

/// The folder with nearly all of the data. It stands still while LND does, so it can be copied while the pages go on.
pub const BULK: &str = "lnd";

/// Told the bytes done and to do.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64) -> Result<(), Error>;

/// What belongs to the partition and not to its data: never copied, never compared.
fn stays(path: &Path) -> bool {
    let new = |name: &str| format!("{name}.new");
    let own = [marker::PATH, JOB, "lost+found", "MOVED.txt"];
    own.iter().any(|name| path == Path::new(name) || path == Path::new(&new(name)))
}

/// What lies directly in the partition at `root` but the [`BULK`], one level deeper where something in it stays.
pub fn rest(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for name in names(root)? {
        match name.to_str() {
            Some(BULK) => {}
            Some("system") => found.extend(names(&root.join(&name))?.into_iter().map(|inner| name.join(inner))),
            _ => found.push(name),
        }
    }
    found.retain(|path| !stays(path));
    Ok(found)
}

pub(super) fn names(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        names.push(PathBuf::from(entry.at("list", folder)?.file_name()));
    }
    names.sort();
    Ok(names)
}

/// Copies these paths below `from` to the same places below `to`, with owners, times, links, holes and attributes. What is
/// there already goes first.
pub fn copy(from: &Path, to: &Path, paths: &[PathBuf], tell: Tell) -> Result<(), Error> {
    let mut total = 0;
    // A new box has no such folder yet.
    let there: Vec<&PathBuf> = paths.iter().filter(|path| from.join(path).symlink_metadata().is_ok()).collect();
    for path in paths {
        remove(&to.join(path))?;
    }
    for path in &there {
        total += space(&from.join(path))?;
    }
    let mut copier = Copier { done: 0, total, told: 0, links: BTreeMap::new(), tell };
    for path in there {
        copier.entry(&from.join(path), &to.join(path))?;
    }
    (copier.tell)(total, total)
}

/// Removes a file or a folder with all in it; nothing there is fine.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
    .at("remove", path)
}

/// What the folder takes on its disk, bytes.
fn space(path: &Path) -> Result<u64, Error> {
    let mut total = 0;
    walk(path, Path::new(""), &mut |_, metadata| {
        total += metadata.blocks() * 512;
        Ok(())
    })?;
    Ok(total)
}

/// What changes when a file is written to: its number, size and times.
pub type Stamps = BTreeMap<PathBuf, [i64; 6]>;

/// The stamps of all in the folder; of no folder they are none.
pub fn stamps(folder: &Path) -> Result<Stamps, Error> {
    let mut found = Stamps::new();
    if folder.symlink_metadata().is_ok() {
        walk(folder, Path::new(""), &mut |path, meta| {
            let (ino, size) = (meta.ino().cast_signed(), meta.size().cast_signed());
            found
                .insert(path.to_owned(), [ino, size, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()]);
            Ok(())
        })?;
    }
    Ok(found)
}

/// Calls `see` with each path below `root` (and with `path` itself), folders before what is in them.
fn walk(root: &Path, path: &Path, see: &mut dyn FnMut(&Path, &Metadata) -> Result<(), Error>) -> Result<(), Error> {
    let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) };
    let metadata = fs::symlink_metadata(&full).at("look at", &full)?;
    see(path, &metadata)?;
    if metadata.is_dir() {
        for name in names(&full)? {
            walk(root, &path.join(name), see)?;
        }
    }
    Ok(())
}

/// Compares `part` below `old` with its copy below `new`: the same names and nothing else, the same kinds, owners, rights,
/// times and attributes, and of each file the same SHA-256. Any difference is an error that names the path.
pub fn compare(old: &Path, new: &Path, part: &Path, tell: Tell) -> Result<(), Error> {
    let (old, new) = (old.join(part), new.join(part));
    if old.symlink_metadata().is_err() && new.symlink_metadata().is_err() {
        return Ok(());
    }
    let mut total = 0;
    walk(&old, Path::new(""), &mut |_, meta| {
        total += if meta.is_file() { meta.size() } else { 0 };
        Ok(())
    })?;
    let (mut done, mut seen) = (0, 0_u64);
    walk(&old, Path::new(""), &mut |path, meta| {
        seen += 1;
        let (one, other) = (join(&old, path), join(&new, path));
        same(&one, meta, &other)?;
        if meta.is_file() {
            if hash(&one)? != hash(&other)? {
                return Err(differs(&other, "its content"));
            }
            done += meta.size();
            tell(done, total)?;
        }
        Ok(())
    })?;
    let mut there = 0_u64;
    walk(&new, Path::new(""), &mut |_, _| {
        there += 1;
        Ok(())
    })?;
    if there == seen { Ok(()) } else { Err(differs(&new, "the number of files")) }
}

fn join(root: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) }
}

fn differs(path: &Path, what: &str) -> Error {
    Error::Refused(format!("The copy is not the same: {what} differs at {}.", path.display()))
}

fn same(one: &Path, meta: &Metadata, other: &Path) -> Result<(), Error> {
    let copy = fs::symlink_metadata(other).map_err(|_| differs(other, "a file is missing, or"))?;
    let kind = |meta: &Metadata| {
        let kind = meta.file_type();
        (kind.is_dir(), kind.is_file(), kind.is_symlink(), kind.is_fifo(), kind.is_socket())
    };
    if kind(meta) != kind(&copy) || meta.mode() != copy.mode() {
        return Err(differs(other, "its kind or its mode"));
    }
    if (meta.uid(), meta.gid()) != (copy.uid(), copy.gid()) {
        return Err(differs(other, "its owner"));
    }
    if (meta.mtime(), meta.mtime_nsec()) != (copy.mtime(), copy.mtime_nsec()) {
        return Err(differs(other, "its time"));
    }
    if meta.is_file() && meta.size() != copy.size() {
        return Err(differs(other, "its size"));
    }
    if meta.is_symlink() {
        return match (fs::read_link(one), fs::read_link(other)) {
            (Ok(one), Ok(copied)) if one == copied => Ok(()),
            _ => Err(differs(other, "where the link leads")),
        };
    }
    match attributes(one)? == attributes(other)? {
        true => Ok(()),
        false => Err(differs(other, "its attributes")),
    }
}

/// Names and values of the extended attributes.
pub(super) fn attributes(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        // A file system without attributes.
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(io::Error::from(error)).at("read the attributes of", path),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])
            .map_err(io::Error::from)
            .at("read the attributes of", path)?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

fn hash(path: &Path) -> Result<[u8; 32], Error> {
    let mut file = File::open(path).at("open", path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).at("read", path)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&piece[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{FileExt, PermissionsExt, symlink},
        time::Duration,
    };

    use super::*;

    fn tell() -> impl FnMut(u64, u64) -> Result<(), Error> {
        |_, _| Ok(())
    }

    /// A folder like LND's, with a hole, a link and a time in the past.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let lnd = folder.path().join("lnd/data");
        fs::create_dir_all(&lnd).unwrap();
        fs::write(lnd.join("channel.sqlite"), vec![7; 300_000]).unwrap();
        let sparse = File::create(lnd.join("headers.bin")).unwrap();
        sparse.set_len(8 << 20).unwrap();
        sparse.write_all_at(b"end", (8 << 20) - 3).unwrap();
        symlink("channel.sqlite", lnd.join("link")).unwrap();
        fs::hard_link(lnd.join("channel.sqlite"), lnd.join("same")).unwrap();
        fs::set_permissions(lnd.join("same"), fs::Permissions::from_mode(0o640)).unwrap();
        sparse.set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(1_600_000_000_123_456_789)).unwrap();
        let _ = rustix::fs::lsetxattr(&lnd, "user.note", b"kept", rustix::fs::XattrFlags::empty());
        folder
    }

    fn copied() -> (tempfile::TempDir, tempfile::TempDir) {
        let (old, new) = (folder(), tempfile::tempdir().unwrap());
        copy(old.path(), new.path(), &["lnd".into()], &mut tell()).unwrap();
        (old, new)
    }

    fn judge(old: &Path, new: &Path) -> Result<(), String> {
        compare(old, new, "lnd".as_ref(), &mut tell()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_copy_has_everything_and_keeps_its_holes() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let (old, new) = copied();
        judge(old.path(), new.path()).unwrap();
        let blocks = fs::metadata(new.path().join("lnd/data/headers.bin")).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "the hole was filled: {blocks}");
        let number = |name: &str| fs::metadata(new.path().join("lnd/data").join(name)).unwrap().ino();
        assert_eq!(number("channel.sqlite"), number("same"), "two names of one file became two files");
        // Again, over what is there.
        copy(old.path(), new.path(), &["lnd".into()], &mut tell()).unwrap();
        judge(old.path(), new.path()).unwrap();
    }

    #[test]
    fn every_difference_is_found() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        type Change = fn(&Path);
        let changes: [(&str, Change); 8] = [
            ("content", |lnd| {
                let time = fs::metadata(lnd.join("channel.sqlite")).unwrap().modified().unwrap();
                let file = File::options().write(true).open(lnd.join("channel.sqlite")).unwrap();
                file.write_all_at(b"x", 200_000).unwrap();
                file.set_modified(time).unwrap();
            }),
            ("size", |lnd| {
                let file = File::options().write(true).open(lnd.join("headers.bin")).unwrap();
                file.set_len(9 << 20).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(1_600_000_000_123_456_789)).unwrap();
            }),
            ("missing", |lnd| fs::remove_file(lnd.join("headers.bin")).unwrap()),
            ("number of files", |lnd| fs::write(lnd.join("more"), "").unwrap()),
            ("mode", |lnd| fs::set_permissions(lnd.join("same"), fs::Permissions::from_mode(0o666)).unwrap()),
            ("owner", |lnd| std::os::unix::fs::chown(lnd.join("headers.bin"), Some(801), None).unwrap()),
            ("link", |lnd| {
                fs::remove_file(lnd.join("link")).unwrap();
                symlink("elsewhere", lnd.join("link")).unwrap();
            }),
            ("time", |lnd| File::open(lnd.join("headers.bin")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap()),
        ];
        for (what, change) in changes {
            let (old, new) = copied();
            let folder = File::open(new.path().join("lnd/data")).unwrap();
            let time = folder.metadata().unwrap().modified().unwrap();
            change(&new.path().join("lnd/data"));
            folder.set_modified(time).unwrap();
            let error = judge(old.path(), new.path()).unwrap_err();
            // A link that was made anew has another time, too.
            assert!(error.contains(what) || (what == "link" && error.contains("time")), "{what}: {error}");
        }
    }

    #[test]
    fn a_file_that_was_written_to_has_another_stamp() {
        let old = folder();
        let lnd = old.path().join("lnd");
        let before = stamps(&lnd).unwrap();
        assert_eq!(stamps(&lnd).unwrap(), before);
        let path = lnd.join("data/channel.sqlite");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        File::options().write(true).open(&path).unwrap().write_all_at(b"x", 5).unwrap();
        File::open(&path).unwrap().set_modified(time).unwrap();
        assert_ne!(stamps(&lnd).unwrap(), before, "the same size and the same time, and yet written to");
        assert!(stamps(&lnd.join("nothing")).unwrap().is_empty());
    }

    #[test]
    fn marker_and_job_are_never_copied() {
        let root = tempfile::tempdir().unwrap();
        for path in ["system/format.json", "system/move.json", "system/format.json.new", "system/machine-id", "lnd/x"] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), "").unwrap();
        }
        fs::create_dir_all(root.path().join("lost+found")).unwrap();
        fs::create_dir_all(root.path().join("config")).unwrap();
        let found = rest(root.path()).unwrap();
        assert_eq!(found, [Path::new("config"), Path::new("system/machine-id")]);
    }
}
