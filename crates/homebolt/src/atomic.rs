//! A file that is there whole or not at all, whatever happens to this computer meanwhile.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Writes `content` to `path`: beside it first, then in its place, both on the disk when this comes back.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    with(path, |file| file.write_all(content))
}

/// The same with what `fill` writes.
pub fn with(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut file = File::create(&part)?;
    fill(&mut file)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
