//! The one way in which the manager writes a file that must be whole after a power cut.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use crate::error::Error;

/// Puts `bytes` at `path` with permissions `mode`: a reader sees the old file or the new one, never a part, and once
/// this returns the new one survives a power cut.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    write_through(&path.with_file_name(format!(".{name}.new")), path, bytes, mode)
}

/// The same with the temporary file at `temporary`, for folders in which every file means something. Both paths must
/// be on one file system.
pub(crate) fn write_through(temporary: &Path, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let failed = |action| Error::file(action, temporary);
    // A left-over from a power cut could have other permissions: begin afresh.
    match fs::remove_file(temporary) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(failed("remove")(source)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary).map_err(failed("create"))?;
    let filled = file
        .write_all(bytes)
        // By the handle, so that the umask has no say.
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all());
    if let Err(source) = filled {
        // Do not leave half a file on a full disk; the first error is the one to tell.
        let _ = fs::remove_file(temporary);
        return Err(failed("write")(source));
    }
    fs::rename(temporary, path).map_err(Error::file("put in place", path))?;
    sync_folder(path)
}

/// Makes what was renamed in the folder of `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::file("save the folder", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_no_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(folder.path().join(".key.new"), "left by a power cut").unwrap();
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_the_path() {
        let error = write(Path::new("/nonexistent/key"), b"", 0o600).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/.key.new"), "{error}");
    }
}
