use std::collections::BTreeMap;
use std::fs;

use release::{Image, Manifest, Release};
use sha2::{Digest, Sha256};

use super::*;
use crate::verity::Tree;

const MIB: usize = 1 << 20;
/// Where the slots stand on the small disk below.
const BOOT_AT: usize = 2 * MIB;
const ROOT_AT: usize = 4 * MIB;

fn sum(name: &str, bytes: &[u8]) -> Image {
    Image { name: name.into(), size: bytes.len() as u64, sha256: hex::encode(Sha256::digest(bytes)) }
}

/// A disk as the builder lays it out, only small: a partition table, boot-a and root-a with a verity tree, holes.
pub(crate) struct Made {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) disk: Vec<u8>,
    pub(crate) manifest: Manifest,
    pub(crate) image: PathBuf,
}

fn root_slot() -> (Vec<u8>, String, u64) {
    let mut slot = Vec::new();
    let mut tree = Tree::new(&[0xa5; 32]);
    for number in 0..300u32 {
        let block = [(number % 251) as u8; 4096];
        tree.push(&block);
        slot.extend(block);
    }
    let offset = slot.len() as u64;
    let mut superblock = vec![0; 4096];
    superblock[..8].copy_from_slice(b"verity\0\0");
    (superblock[8], superblock[12], superblock[65], superblock[69], superblock[80]) = (1, 1, 16, 16, 32);
    superblock[32..38].copy_from_slice(b"sha256");
    superblock[72..74].copy_from_slice(&300u16.to_le_bytes());
    superblock[88..120].fill(0xa5);
    slot.extend(superblock);
    let (root, levels) = tree.finish();
    slot.extend(levels);
    (slot, hex::encode(root), offset)
}

fn partition_table(disk: Vec<u8>) -> Vec<u8> {
    let config = gpt::GptConfig::new().writable(true).logical_block_size(gpt::disk::LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(std::io::Cursor::new(disk), None).unwrap();
    table.update_partitions(BTreeMap::new()).unwrap();
    for (label, at, size) in [("boot-a", BOOT_AT, MIB), ("root-a", ROOT_AT, 4 * MIB)] {
        let kind = gpt::partition_types::LINUX_FS;
        table
            .add_partition_at(label, if label == "boot-a" { 1 } else { 2 }, at as u64 / 512, size as u64 / 512, kind, 0)
            .unwrap();
    }
    let mut device = table.write().unwrap();
    std::mem::take(device.get_mut())
}

/// Writes the files of `disk`: compressed image, manifest, block map and SHA256SUMS.
pub(crate) fn make() -> Made {
    let (root, root_hash, hash_offset) = root_slot();
    let boot = vec![0x5a; MIB / 2];
    let mut disk = partition_table(vec![0; 12 * MIB]);
    disk[BOOT_AT..BOOT_AT + boot.len()].copy_from_slice(&boot);
    disk[ROOT_AT..ROOT_AT + root.len()].copy_from_slice(&root);
    disk[9 * MIB] = 1;

    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img.zst");
    let packed = zstd::encode_all(&disk[..], 3).unwrap();
    let release = Release {
        version: "0.1.0".into(),
        board: "x86-64".into(),
        base: "debian".into(),
        built: 1_700_000_000,
        lnd_version: "v0.21.2-beta".into(),
        development_keys: false,
        eeprom: None,
    };
    let manifest = Manifest {
        format: release::MANIFEST_FORMAT,
        release,
        slots: vec![sum("boot", &boot), sum("root", &root)],
        root_hash,
        hash_offset,
        disk: sum("a.img", &disk),
        compressed: sum("a.img.zst", &packed),
    };
    let made = Made { folder, disk, manifest, image };
    fs::write(&made.image, packed).unwrap();
    let solid = vec![0..34 * 512, ROOT_AT as u64..(ROOT_AT + root.len()) as u64];
    let map = Bmap::of(&made.disk[..], solid).unwrap().to_xml();
    fs::write(image::beside(&made.image, "bmap"), map).unwrap();
    fs::write(image::beside(&made.image, "manifest.json"), serde_json::to_vec(&made.manifest).unwrap()).unwrap();
    let sums = format!("{}  a.img.zst\n", made.manifest.compressed.sha256);
    fs::write(made.folder.path().join("SHA256SUMS"), sums).unwrap();
    made
}

impl Made {
    /// Packs the changed disk again; with `adjust`, the sums of file and disk follow, as if only the inside were wrong.
    fn repack(&mut self, adjust: bool) {
        let packed = zstd::encode_all(&self.disk[..], 3).unwrap();
        fs::write(&self.image, &packed).unwrap();
        if adjust {
            self.manifest.disk = sum("a.img", &self.disk);
            self.manifest.compressed = sum("a.img.zst", &packed);
        }
    }

    /// The names of the checks that failed.
    fn failures(&self) -> Vec<&'static str> {
        let report = inspect(&self.image, &self.manifest).unwrap();
        let failed = |check: &&Check| matches!(check.outcome, Outcome::Failed(_));
        report.checks.iter().filter(failed).map(|check| check.name).collect()
    }
}

#[test]
fn a_sound_image_passes_every_check() {
    let made = make();
    let report = inspect(&made.image, &made.manifest).unwrap();
    assert!(report.checks.iter().all(|check| matches!(check.outcome, Outcome::Passed(_))), "{}", report.lines());
    assert_eq!(report.checks.len(), 7);
    assert!(run(Args { image: made.image.clone(), manifest: None }).is_ok());
}

#[test]
fn a_raw_image_without_map_and_sums_passes_what_can_be_checked() {
    let made = make();
    let raw = made.folder.path().join("b.img");
    fs::write(&raw, &made.disk).unwrap();
    fs::remove_file(made.folder.path().join("SHA256SUMS")).unwrap();
    let report = inspect(&raw, &made.manifest).unwrap();
    assert_eq!(report.failed(), 0, "{}", report.lines());
    let skipped = report.checks.iter().filter(|check| matches!(check.outcome, Outcome::Skipped(_)));
    assert_eq!(skipped.map(|check| check.name).collect::<Vec<_>>(), ["file", "block map", "SHA256SUMS"]);
    assert_eq!(report.map, Bmap::of(&made.disk[..], vec![]).unwrap());
}

#[test]
fn one_changed_byte_is_found_by_every_check_it_concerns() {
    let mut made = make();
    made.disk[ROOT_AT + 5] ^= 1;
    made.repack(false);
    assert_eq!(made.failures(), ["file", "disk", "root slot", "verity tree", "block map", "SHA256SUMS"]);
    let error = run(Args { image: made.image.clone(), manifest: None }).unwrap_err();
    assert!(error.to_string().ends_with("is not what its manifest says (6 of 7 checks failed)"), "{error}");
}

#[test]
fn a_tree_that_is_not_that_of_its_data_is_found_although_the_slot_is_as_the_manifest_says() {
    for at in [0, 300 * 4096 + 4096, 300 * 4096 + 3 * 4096 + 9] {
        let mut made = make();
        made.disk[ROOT_AT + at] ^= 1;
        let size = made.manifest.slots[1].size as usize;
        made.manifest.slots[1] = sum("root", &made.disk[ROOT_AT..ROOT_AT + size]);
        made.repack(true);
        fs::remove_file(made.folder.path().join("SHA256SUMS")).unwrap();
        fs::remove_file(image::beside(&made.image, "bmap")).unwrap();
        assert_eq!(made.failures(), ["verity tree"], "byte {at}");
    }
}

#[test]
fn a_block_map_that_leaves_data_out_is_found() {
    let made = make();
    let mut map = Bmap::of(&made.disk[..], vec![]).unwrap();
    map.ranges.pop();
    fs::write(image::beside(&made.image, "bmap"), map.to_xml()).unwrap();
    assert_eq!(made.failures(), ["block map"]);
}

#[test]
fn a_cut_off_file_a_longer_disk_and_a_missing_table_each_fail_without_an_error() {
    let made = make();
    let packed = fs::read(&made.image).unwrap();
    fs::write(&made.image, &packed[..packed.len() - 20]).unwrap();
    assert!(made.failures().contains(&"disk"));

    let mut longer = make();
    longer.disk.extend(vec![0; 3 * MIB]);
    longer.repack(false);
    assert!(longer.failures().contains(&"disk"));

    let mut bare = make();
    bare.disk[..MIB].fill(0);
    bare.repack(true);
    assert_eq!(bare.failures(), ["boot slot", "root slot", "verity tree", "block map", "SHA256SUMS"]);
}

#[test]
fn a_missing_manifest_is_asked_for() {
    let made = make();
    fs::remove_file(image::beside(&made.image, "manifest.json")).unwrap();
    let error = run(Args { image: made.image.clone(), manifest: None }).unwrap_err();
    let line = crate::error::sentence(&error);
    assert!(line.contains("a.manifest.json: it belongs beside the image"), "{line}");
}
