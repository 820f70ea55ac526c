//! Files that survive a power cut, and files that are read with a limit.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{At, Error};

/// Puts `content` at `path` so that after a power cut the file holds either the old or the new content.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = folder.join(name);
    let written =
        write_synced(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path).at("replace", path));
    if written.is_err() {
        // What is left of a failed attempt would only take space; the error itself is the news.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).at("save the folder", folder)
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path).at("create", path)?;
    file.write_all(content).at("write", path)?;
    file.sync_all().at("save", path)
}

/// The whole file as bytes; a file longer than `limit` is an error, so a damaged or hostile one cannot fill the memory.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let file = File::open(path).at("open", path)?;
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).at("read", path)?;
    if content.len() as u64 > limit {
        return Err(Error::Content { path: path.to_owned(), reason: format!("it is longer than {limit} bytes") });
    }
    Ok(content)
}

/// The text of a small file such as those of sysfs, without the white space around it; `None` when it cannot be read.
pub fn text(path: impl AsRef<Path>) -> Option<String> {
    let content = read_limited(path.as_ref(), 64 * 1024).ok()?;
    Some(String::from_utf8_lossy(&content).trim().to_owned())
}

/// Reads a JSON file of at most 64 KiB.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let content = read_limited(path, 64 * 1024)?;
    serde_json::from_slice(&content)
        .map_err(|error| Error::Content { path: path.to_owned(), reason: error.to_string() })
}

/// Writes a JSON file that everyone may read.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    write_atomic_json(path, value, 0o644)
}

/// Writes a JSON file with these rights.
pub fn write_atomic_json(path: &Path, value: &impl Serialize, mode: u32) -> Result<(), Error> {
    let mut content = serde_json::to_vec(value)
        .map_err(|error| Error::Content { path: path.to_owned(), reason: error.to_string() })?;
    content.push(b'\n');
    write_atomic(path, &content, mode)
}

/// Makes the folder and all above it.
pub fn folder(path: impl Into<PathBuf>) -> Result<PathBuf, Error> {
    let path = path.into();
    fs::create_dir_all(&path).at("make the folder", &path)?;
    Ok(path)
}

/// Seconds since 1970 by the box's clock.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_atomic_write_replaces_the_content_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomic(&path, b"old and long", 0o644).unwrap();
        write_atomic(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        // The target is a folder that is not empty: the rename must fail.
        let target = folder.path().join("taken");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("inside"), b"kept").unwrap();
        assert!(write_atomic(&target, b"new", 0o644).is_err());
        assert_eq!(fs::read(target.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_longer_than_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_limited(&path, 5).unwrap(), b"12345");
        assert!(matches!(read_limited(&path, 4), Err(Error::Content { .. })));
    }
}
