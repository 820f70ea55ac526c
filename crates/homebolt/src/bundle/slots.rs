//! Takes the slot images out of a disk image.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use release::Manifest;
use sha2::{Digest, Sha256};

use super::{Error, io};
use crate::{
    image::{CHUNK, Disk, Error as ImageError, fill},
    progress::Progress,
    verify::{overlap, slots},
};

/// Writes `boot.img` and `root.img` into `folder`, and compares them with the manifest.
pub fn extract(image: &Path, manifest: &Manifest, folder: &Path) -> Result<(), Error> {
    let damaged = |why: String| Error::Damaged { image: image.into(), why };
    let mut disk = Disk::open(image)?;
    let mut chunk = vec![0; CHUNK];
    let mut read =
        |chunk: &mut Vec<u8>| fill(&mut disk, chunk).map_err(|source| ImageError::Read { path: image.into(), source });
    let mut length = read(&mut chunk)?;
    let (boot, root) = slots(&chunk[..length], manifest).map_err(damaged)?;
    let end = boot.end.max(root.end);
    let mut parts = [Part::create(folder.join("boot.img"), boot)?, Part::create(folder.join("root.img"), root)?];
    let (mut at, mut progress) = (0, Progress::new("unpacking", end));
    while length > 0 && at < end {
        parts.iter_mut().try_for_each(|part| part.take(at, &chunk[..length]))?;
        at += length as u64;
        progress.at(at.min(end));
        length = read(&mut chunk)?;
    }
    for (part, name) in parts.into_iter().zip(["boot", "root"]) {
        let (expected, found) = (manifest.slot(name)?, part.finish()?);
        if found != expected.sha256 {
            return Err(damaged(format!("the {name} slot has the sha256 {found}")));
        }
    }
    Ok(())
}

/// One slot image on its way out.
struct Part {
    path: PathBuf,
    file: File,
    at: Range<u64>,
    hash: Sha256,
}

impl Part {
    fn create(path: PathBuf, at: Range<u64>) -> Result<Self, Error> {
        let file = File::create(&path).map_err(io("create", &path))?;
        Ok(Self { path, file, at, hash: Sha256::new() })
    }

    fn take(&mut self, offset: u64, chunk: &[u8]) -> Result<(), Error> {
        let piece = overlap(&self.at, offset, chunk);
        self.hash.update(piece);
        // A file system of 128 MB holds 30: zeroes become holes.
        let written = match piece.iter().any(|byte| *byte != 0) {
            true => self.file.write_all(piece),
            false => self.file.seek(SeekFrom::Current(piece.len() as i64)).map(drop),
        };
        written.map_err(io("write", &self.path))
    }

    fn finish(self) -> Result<String, Error> {
        self.file.set_len(self.at.end - self.at.start).map_err(io("write", &self.path))?;
        Ok(hex::encode(self.hash.finalize()))
    }
}
