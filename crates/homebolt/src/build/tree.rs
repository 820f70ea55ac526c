//! Unpacks Debian packages into a folder. Their scripts are never run: what comes out depends on nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    command,
    error::{At, Error},
};

/// Unpacks `debs` into `root`, leaving out what the tar patterns in `exclude` name, and lays down merged /usr.
pub fn unpack(debs: &[PathBuf], exclude: &[String], root: &Path) -> Result<(), Error> {
    for folder in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).at("create", &path)?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        let path = root.join(link);
        std::os::unix::fs::symlink(format!("usr/{link}"), &path).at("link", &path)?;
    }
    for deb in debs {
        unpack_one(deb, exclude, root)?;
    }
    Ok(())
}

fn unpack_one(deb: &Path, exclude: &[String], root: &Path) -> Result<(), Error> {
    let mut reader = Command::new("dpkg-deb");
    reader.arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).stderr(Stdio::piped());
    let advice = |error: std::io::Error| Error::Missing { program: "dpkg-deb".into(), advice: error.to_string() };
    let mut reader = reader.spawn().map_err(advice)?;
    let mut tar = Command::new("tar");
    // A merged /usr stays merged: a package that still has a folder where the link is follows the link.
    tar.args(["--extract", "--preserve-permissions", "--same-owner", "--numeric-owner", "--keep-directory-symlink"]);
    tar.arg("--directory").arg(root).args(exclude.iter().map(|pattern| format!("--exclude={pattern}")));
    if let Some(pipe) = reader.stdout.take() {
        tar.stdin(pipe);
    }
    let result = tar.stdout(Stdio::null()).stderr(Stdio::piped()).output().at("run", "tar")?;
    let status = reader.wait().at("wait for", "dpkg-deb")?;
    if result.status.success() && status.success() {
        return Ok(());
    }
    let tail = String::from_utf8_lossy(&result.stderr).lines().rev().take(5).collect::<Vec<_>>().join("\n");
    if tail.contains("No space left on device") {
        return Err(Error::DiskFull { path: root.into() });
    }
    Err(Error::Failed { program: format!("unpacking {}", deb.display()), status: result.status.to_string(), tail })
}

/// Copies a tree by hard links: takes no room and no time. Files of the copy are replaced, never written into.
pub fn link(from: &Path, to: &Path) -> Result<(), Error> {
    command::output(Command::new("cp").args(["--archive", "--link", "--no-target-directory"]).arg(from).arg(to))?;
    Ok(())
}

/// Puts `content` at `path` below `root`, in a file of its own even where the tree is hard-linked to another.
pub fn put(root: &Path, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create", parent)?;
    }
    if path.symlink_metadata().is_ok() {
        fs::remove_file(&path).at("replace", &path)?;
    }
    fs::write(&path, content).at("write", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("set the mode of", &path)
}

/// Lays the files of `overlay` over `root`: directories are merged, files and links replaced, modes made 755 or 644.
pub fn overlay(overlay: &Path, root: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    for entry in walk(overlay)? {
        let relative = entry.strip_prefix(overlay).unwrap_or(&entry).to_string_lossy().into_owned();
        let data = fs::symlink_metadata(&entry).at("read", &entry)?;
        if data.is_symlink() {
            symlink(root, &relative, &fs::read_link(&entry).at("read", &entry)?)?;
        } else if data.is_file() {
            let mode = if data.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
            put(root, &relative, fs::read(&entry).at("read", &entry)?, mode)?;
        } else {
            let path = root.join(&relative);
            fs::create_dir_all(&path).at("create", &path)?;
        }
    }
    Ok(())
}

/// Makes a link at `path` below `root`, in place of whatever file is there.
pub fn symlink(root: &Path, path: &str, target: impl AsRef<Path>) -> Result<(), Error> {
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create", parent)?;
    }
    if path.symlink_metadata().is_ok() {
        fs::remove_file(&path).at("replace", &path)?;
    }
    std::os::unix::fs::symlink(target, &path).at("link", &path)
}

/// Everything below `folder`, parents before children, in the order of names.
pub fn walk(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        let mut children = Vec::new();
        for entry in fs::read_dir(&path).at("list", &path)? {
            children.push(entry.at("list", &path)?.path());
        }
        for child in &children {
            if child.symlink_metadata().at("read", child)?.is_dir() {
                open.push(child.clone());
            }
        }
        found.extend(children);
    }
    found.sort();
    Ok(found)
}
