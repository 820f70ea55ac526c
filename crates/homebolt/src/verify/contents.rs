//! What is in an image: one pass over the disk for every checksum, a second over the root slot for the verity tree.

use std::io::{self, Cursor, Read, Write};
use std::ops::Range;
use std::path::Path;

use release::Manifest;
use sha2::{Digest, Sha256};

use super::{AGAIN, Outcome, compare};
use crate::bmap::{Bmap, Mapper};
use crate::image::{self, CHUNK, Disk, Sum, fill};
use crate::progress::Progress;
use crate::verity::{self, Superblock, Tree};

pub(super) struct Contents {
    pub(super) file: Sum,
    pub(super) compressed: bool,
    pub(super) disk: Outcome,
    pub(super) boot_slot: Outcome,
    pub(super) root_slot: Outcome,
    pub(super) verity: Outcome,
    pub(super) map: Bmap,
}

/// Reads the image. `bmap`: the map beside it; its ranges count as solid, so that a right map comes out the same.
pub(super) fn read(path: &Path, manifest: &Manifest, bmap: Option<&Bmap>) -> Result<Contents, image::Error> {
    let unreadable = |source| image::Error::Read { path: path.into(), source };
    let mut stream = Disk::open(path)?;
    let compressed = stream.compressed();
    let solid = bmap.map_or(vec![], |map| map.ranges.iter().map(|range| range.bytes(map.image_size)).collect());
    let mut pass = Pass::new(manifest, solid);
    let trouble = pass.run(&mut stream);
    // A damaged stream is a finding; a file that cannot be read is an error.
    let file = stream.finish().map_err(unreadable)?;

    let disk = match trouble {
        Some(trouble) => Outcome::Failed(trouble),
        None => compare(&pass.disk_sum(), manifest.disk.size, &manifest.disk.sha256),
    };
    let verity = match pass.root.as_ref() {
        Err(trouble) => Outcome::Failed(trouble.clone()),
        Ok(region) => check_verity(path, manifest, region.at.start, &pass.superblock)?,
    };
    let (boot_slot, root_slot) = (slot(pass.boot, manifest, "boot"), slot(pass.root, manifest, "root"));
    Ok(Contents { file, compressed, disk, boot_slot, root_slot, verity, map: pass.mapper.finish() })
}

fn slot(region: Result<Region, String>, manifest: &Manifest, name: &'static str) -> Outcome {
    match (region, manifest.slot(name)) {
        (Ok(region), Ok(image)) => compare(&region.sum(), image.size, &image.sha256),
        (Err(trouble), _) => Outcome::Failed(trouble),
        (_, Err(error)) => Outcome::Failed(error.to_string()),
    }
}

/// A part of the disk and the hash of what has been seen of it.
struct Region {
    at: Range<u64>,
    seen: u64,
    hash: Sha256,
}

impl Region {
    fn new(at: Range<u64>) -> Self {
        Self { at, seen: 0, hash: Sha256::new() }
    }

    fn sum(self) -> Sum {
        Sum { size: self.seen, sha256: hex::encode(self.hash.finalize()) }
    }
}

/// The bytes of `chunk`, which stands at `offset`, that lie in `wanted`.
pub(crate) fn overlap<'a>(wanted: &Range<u64>, offset: u64, chunk: &'a [u8]) -> &'a [u8] {
    let clamp = |at: u64| at.saturating_sub(offset).min(chunk.len() as u64) as usize;
    &chunk[clamp(wanted.start)..clamp(wanted.end)]
}

struct Pass<'a> {
    manifest: &'a Manifest,
    seen: u64,
    hash: Sha256,
    mapper: Mapper,
    boot: Result<Region, String>,
    root: Result<Region, String>,
    /// The 512 bytes behind the root slot's data.
    superblock: Vec<u8>,
}

impl<'a> Pass<'a> {
    fn new(manifest: &'a Manifest, solid: Vec<Range<u64>>) -> Self {
        let unknown = || Err(format!("the disk has no partition table; {AGAIN}"));
        let (hash, mapper) = (Sha256::new(), Mapper::new(solid));
        Self { manifest, seen: 0, hash, mapper, boot: unknown(), root: unknown(), superblock: Vec::new() }
    }

    /// Reads the disk to its end, or to where the trouble is that is returned.
    fn run(&mut self, stream: &mut impl Read) -> Option<String> {
        let total = self.manifest.disk.size;
        let mut progress = Progress::new("checking", total);
        let mut chunk = vec![0; CHUNK];
        loop {
            match fill(stream, &mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.take(&chunk[..read]),
                Err(error) => return Some(format!("it breaks off after {} bytes: {error}; {AGAIN}", self.seen)),
            }
            if self.seen > total {
                return Some(format!("it goes on after the {total} bytes of the manifest; {AGAIN}"));
            }
            progress.at(self.seen);
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        if self.seen == 0 {
            // The first megabyte holds the partition table, and nothing of a slot stands before its own partition.
            (self.boot, self.root) = match slots(chunk, self.manifest) {
                Ok((boot, root)) => (Ok(Region::new(boot)), Ok(Region::new(root))),
                Err(trouble) => (Err(trouble.clone()), Err(trouble)),
            };
        }
        for region in [&mut self.boot, &mut self.root].into_iter().flatten() {
            let part = overlap(&region.at, self.seen, chunk);
            region.hash.update(part);
            region.seen += part.len() as u64;
        }
        if let Ok(root) = &self.root {
            let start = root.at.start.saturating_add(self.manifest.hash_offset);
            self.superblock.extend_from_slice(overlap(&(start..start.saturating_add(512)), self.seen, chunk));
        }
        self.hash.update(chunk);
        // A mapper takes everything.
        let _ = self.mapper.write_all(chunk);
        self.seen += chunk.len() as u64;
    }

    fn disk_sum(&self) -> Sum {
        Sum { size: self.seen, sha256: hex::encode(self.hash.clone().finalize()) }
    }
}

/// Where on the disk the boot and the root slot image stand, by the partition table in its first bytes.
pub(crate) fn slots(head: &[u8], manifest: &Manifest) -> Result<(Range<u64>, Range<u64>), String> {
    let sectors = gpt::disk::LogicalBlockSize::Lb512;
    // Reading needs a device; only the first table is in these bytes, and it is enough.
    let table = gpt::GptConfig::new().writable(false).logical_block_size(sectors);
    let table = table
        .open_from_device(Cursor::new(head.to_vec()))
        .map_err(|error| format!("the disk has no valid partition table ({error}); {AGAIN}"))?;
    let find = |label: &str, slot: &'static str| {
        let partition = table.partitions().values().find(|partition| partition.name == label);
        let partition = partition.ok_or_else(|| format!("the disk has no partition {label}; {AGAIN}"))?;
        let bytes = partition.bytes_start(sectors).and_then(|start| Ok((start, partition.bytes_len(sectors)?)));
        let (start, length) = bytes.map_err(|error| format!("partition {label}: {error}; {AGAIN}"))?;
        let size = manifest.slot(slot).map_err(|error| error.to_string())?.size;
        if size > length {
            return Err(format!("the slot image has {size} bytes, partition {label} only {length}; {AGAIN}"));
        }
        Ok(start..start.saturating_add(size))
    };
    Ok((find("boot-a", "boot")?, find("root-a", "root")?))
}

/// Computes the tree of the root slot at `start` anew and compares it, and its root hash.
fn check_verity(path: &Path, manifest: &Manifest, start: u64, head: &[u8]) -> Result<Outcome, image::Error> {
    let failed = |text: String| Ok(Outcome::Failed(format!("{text}; {AGAIN}")));
    let superblock = match Superblock::parse(head) {
        Ok(superblock) => superblock,
        Err(error) => return failed(error.to_string()),
    };
    let data_blocks = superblock.data_blocks;
    if data_blocks.checked_mul(verity::BLOCK as u64) != Some(manifest.hash_offset) {
        return failed(format!("{data_blocks} data blocks do not end at byte {}", manifest.hash_offset));
    }
    let (tree, stored) = match read_tree(path, start, &superblock) {
        Ok(read) => read,
        Err(ReadTree::Open(error)) => return Err(error),
        Err(ReadTree::Stream(error)) => return failed(format!("the root slot cannot be read: {error}")),
    };
    let (root_hash, levels) = tree.finish();
    let root_hash = hex::encode(root_hash);
    if root_hash != manifest.root_hash {
        return failed(format!("the data have root hash {root_hash} instead of {}", manifest.root_hash));
    }
    if levels.len() > stored.len() || levels != stored[..levels.len()] {
        return failed("the tree on the disk is not that of the data: the box would not start".into());
    }
    Ok(Outcome::Passed(format!("root hash {root_hash} of {data_blocks} blocks")))
}

enum ReadTree {
    Open(image::Error),
    Stream(io::Error),
}

/// The tree of the data, and what stands behind the superblock, as much as a tree of that size can have.
fn read_tree(path: &Path, start: u64, superblock: &Superblock) -> Result<(Tree, Vec<u8>), ReadTree> {
    let mut stream = Disk::open(path).map_err(ReadTree::Open)?;
    let mut read = || -> io::Result<(Tree, Vec<u8>)> {
        io::copy(&mut (&mut stream).take(start), &mut io::sink())?;
        let mut tree = Tree::new(&superblock.salt);
        let mut progress = Progress::new("verity", superblock.data_blocks * verity::BLOCK as u64);
        let mut block = [0; verity::BLOCK];
        for number in 0..superblock.data_blocks {
            stream.read_exact(&mut block)?;
            tree.push(&block);
            progress.at(number * verity::BLOCK as u64);
        }
        stream.read_exact(&mut block)?;
        let mut stored = Vec::new();
        (&mut stream).take(tree.size()).read_to_end(&mut stored)?;
        Ok((tree, stored))
    };
    read().map_err(ReadTree::Stream)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static SOUND: LazyLock<(Vec<u8>, Manifest)> = LazyLock::new(|| {
        let made = crate::verify::tests::make();
        (made.disk[..CHUNK].to_vec(), made.manifest)
    });

    proptest! {
        #[test]
        fn a_damaged_partition_table_is_refused_or_read_but_never_panics(
            changes in proptest::collection::vec((0usize..17408, any::<u8>()), 1..6), cut in 0usize..20_000
        ) {
            let (mut head, manifest) = SOUND.clone();
            prop_assert!(slots(&head, &manifest).is_ok());
            for (at, byte) in changes {
                head[at] = byte;
            }
            let _ = slots(&head, &manifest);
            let _ = slots(&head[..cut], &manifest);
        }
    }
}
