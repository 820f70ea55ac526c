//! What RAUC takes from the slots instead of fetching it: an index of their blocks, in RAUC's folder on the data partition.
//!
//! RAUC keeps the index of what it has installed. For a slot that it has not written it makes one at the start of an
//! update, of the whole partition: two gigabytes to read and hash, most of them empty. Here it is of the image alone. A
//! wrong one costs only what it was to save: RAUC hashes each block again that it takes from a slot.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use bootstate::Slot;
use sha2::{Digest, Sha256};

use crate::{
    console::note,
    error::{At, Error},
    files, program, slots,
};

/// As in `/etc/rauc/system.conf`.
const RAUC: &str = "/data/rauc";
/// RAUC's own size of a block (`adaptive=block-hash-index`), bytes.
const BLOCK: usize = 4096;

const SYSTEMCTL: &str = "/usr/bin/systemctl";
const SERVICE: &str = "rauc.service";

/// Makes the indices that are missing. That one cannot be made is no reason not to update.
pub fn complete() {
    if let Err(error) = add_missing(Path::new(RAUC)) {
        note(&format!("RAUC has to read whole partitions: {error}"));
    }
}

fn add_missing(rauc: &Path) -> Result<(), Error> {
    let mut status = Status(files::text(rauc.join("central.raucs")).unwrap_or_default());
    let mut indices: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    // One may be a copy of the other: by root hash and kind.
    let mut made: Vec<(String, &str, Vec<u8>)> = Vec::new();
    for (slot, number) in [(Slot::A, 0), (Slot::B, 1)] {
        // Of an empty slot, or one that cannot be read, the first block stands for all of it.
        let cfg = slots::boot_partition(slot).ok();
        let sizes = cfg.as_ref().and_then(|cfg| cfg.image_size).map_or([BLOCK as u64; 2], |size| [size, u64::MAX]);
        let system = cfg.map(|cfg| cfg.root_hash).unwrap_or_default();
        for (kind, class, size) in [("root", "rootfs", sizes[0]), ("boot", "boot", sizes[1])] {
            let name = format!("{class}.{number}");
            let (path, is_kept) = status.index(rauc, &name);
            if is_kept && path.exists() {
                continue;
            }
            let index = match made.iter().find(|one| (&one.0, one.1) == (&system, kind)) {
                Some((_, _, index)) => index.clone(),
                None => {
                    let device = slots::link(kind, slot);
                    File::open(&device).and_then(|device| of(device.take(size))).at("read", device)?
                }
            };
            made.push((system.clone(), kind, index.clone()));
            indices.push((path, index));
            status.keep(&name);
        }
    }
    if indices.is_empty() {
        return Ok(());
    }
    // It holds the status in memory, and writes it as it was.
    program::must(SYSTEMCTL, &["stop", SERVICE])?;
    let saved = save(rauc, &status, &indices);
    program::must(SYSTEMCTL, &["start", SERVICE])?;
    saved
}

fn save(rauc: &Path, status: &Status, indices: &[(PathBuf, Vec<u8>)]) -> Result<(), Error> {
    files::write_atomic(&rauc.join("central.raucs"), status.0.as_bytes(), 0o644)?;
    for (path, index) in indices {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).at("create", folder)?;
        }
        files::write_atomic(path, index, 0o600)?;
    }
    Ok(())
}

/// RAUC's `central.raucs`: sections `[slot.<name>]` with `status=` and the `sha256=` of what it has installed.
struct Status(String);

impl Status {
    fn value(&self, name: &str, key: &str) -> Option<&str> {
        let mut lines = self.0.lines().skip_while(|line| *line != format!("[slot.{name}]")).skip(1);
        let mut section = lines.by_ref().take_while(|line| !line.starts_with('['));
        section.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    /// Where RAUC looks for the slot's index, and whether what lies there stays: of a slot whose hash it does not know it
    /// empties the folder, but for one with an installation that never ended.
    fn index(&self, rauc: &Path, name: &str) -> (PathBuf, bool) {
        let is_hash = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = self.value(name, "sha256").filter(is_hash);
        let folder = rauc.join(format!("slot.{name}")).join(format!("hash-{}", hash.unwrap_or("unknown")));
        (folder.join("block-hash-index"), hash.is_some() || self.value(name, "status") == Some("pending"))
    }

    fn keep(&mut self, name: &str) {
        if self.value(name, "sha256").is_some() || self.value(name, "status").is_some() {
            return;
        }
        let header = format!("[slot.{name}]\n");
        match self.0.find(&header) {
            Some(at) => self.0.insert_str(at + header.len(), "status=pending\n"),
            None => self.0 += &format!("\n{header}status=pending\n"),
        }
    }
}

/// SHA-256 of each block, up to the last that is not empty, and of one at least.
fn of(mut device: impl Read) -> io::Result<Vec<u8>> {
    let (zeros, mut block) = ([0; BLOCK], vec![0; BLOCK]);
    let of_zeros = Sha256::digest(zeros);
    let (mut index, mut used) = (Vec::new(), of_zeros.len());
    loop {
        match device.read_exact(&mut block) {
            Ok(()) if block == zeros => index.extend_from_slice(&of_zeros),
            Ok(()) => {
                index.extend_from_slice(&Sha256::digest(&block));
                used = index.len();
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    index.truncate(used);
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "5c6a3586c36344a2f3284c9b6ef13b05d94db9c981a8ade046ce8a2aac21c881";

    #[test]
    fn it_holds_the_hash_of_each_block_up_to_the_last_that_is_used() {
        let image = [vec![1; BLOCK], vec![0; BLOCK], vec![2; BLOCK], vec![0; 3 * BLOCK]].concat();
        let expected: Vec<u8> = image.chunks(BLOCK).take(3).flat_map(Sha256::digest).collect();
        assert_eq!(of(image.as_slice()).unwrap(), expected);
        assert_eq!(of(&image[..BLOCK]).unwrap(), expected[..32]);
        assert_eq!(of(&image[3 * BLOCK..]).unwrap(), *Sha256::digest([0; BLOCK]));
    }

    #[test]
    fn it_lies_where_rauc_looks_and_stays_there() {
        let text =
            format!("[system]\nboot-id=1\n\n[slot.rootfs.1]\nstatus=ok\nsha256={HASH}\nsize=3\n\n[slot.boot.1]\n");
        let mut status = Status(text.clone());
        let at = |name: &str, hash: &str| PathBuf::from(format!("/r/slot.{name}/hash-{hash}/block-hash-index"));
        let rauc = Path::new("/r");
        assert_eq!(status.index(rauc, "rootfs.1"), (at("rootfs.1", HASH), true));
        status.keep("rootfs.1");
        assert_eq!(status.0, text);
        for name in ["boot.1", "rootfs.0", "boot.0"] {
            assert_eq!(status.index(rauc, name), (at(name, "unknown"), false));
            status.keep(name);
            assert_eq!(status.index(rauc, name), (at(name, "unknown"), true), "{}", status.0);
        }
        assert_eq!(status.index(rauc, "rootfs.1"), (at("rootfs.1", HASH), true));
        let mut none = Status(String::new());
        none.keep("boot.0");
        assert_eq!(none.0, "\n[slot.boot.0]\nstatus=pending\n");
    }

    #[test]
    fn it_is_saved_beside_the_status() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = Status(String::new()).index(folder.path(), "boot.0");
        save(folder.path(), &Status("[system]\n".into()), &[(path.clone(), vec![1])]).unwrap();
        assert_eq!(fs::read(path).unwrap(), [1]);
        assert_eq!(fs::read(folder.path().join("central.raucs")).unwrap(), b"[system]\n");
    }
}
