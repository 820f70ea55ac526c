//! What a person gets: the compressed image and the files that describe it.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{bmap, sbom};

use super::{
    Context,
    cache::{self, Key},
    disk::Images,
    error::{At, Error},
    lnd::Lnd,
    root::{Base, Root},
};

/// The images inside are compressed already: a higher level costs minutes and gains a hundredth.
const LEVEL: i32 = 6;
/// Room behind the last byte in use that is written all the same: tables that end in zeroes.
const MARGIN: u64 = 1 << 20;
const FIRST_PARTITION: u64 = 1 << 20;

/// Writes all files of a build into `out`, and takes away those of an earlier version.
pub fn write(context: &Context, base: &Base, lnd: &Lnd, root: &Root, images: &Images, out: &Path) -> Result<(), Error> {
    let stem = format!("homebolt-{}-{}", context.version, context.board.name);
    let mut key = Key::new("output 1").text(&stem).text(&lnd.modules).path(&context.source.join("Cargo.lock"))?;
    key = key.path(&super::lock::path(context.source, &context.board.name))?;
    for part in &base.parts {
        key = key.text(&part.name).text(&part.version);
    }
    for path in [&images.disk, &images.boot, &root.image] {
        // Steps are named by their inputs: the name stands for the content.
        key = key.text(&path.to_string_lossy());
    }
    let done = context.cache.step("output", &key, |folder| {
        let compressed = format!("{stem}.img.zst");
        let (disk, map) = compress(context, root, images, &folder.join(&compressed))?;
        put(folder, &format!("{stem}.img.bmap"), map.to_xml())?;
        let image = |name: &str, path: &Path| -> Result<release::Image, Error> {
            let size = fs::metadata(path).at("read", path)?.len();
            Ok(release::Image { name: name.to_owned(), size, sha256: cache::sha256(path)? })
        };
        let manifest = release::Manifest {
            format: release::MANIFEST_FORMAT,
            release: context.release(lnd),
            slots: vec![image("boot", &images.boot)?, image("root", &root.image)?],
            root_hash: root.root_hash.clone(),
            hash_offset: root.hash_offset,
            disk: release::Image { name: format!("{stem}.img"), ..disk },
            compressed: image(&compressed, &folder.join(&compressed))?,
        };
        put(folder, &format!("{stem}.manifest.json"), json(&manifest)?)?;
        put(folder, &format!("{stem}.cdx.json"), sbom(context, base, lnd)?)?;
        sums(folder)
    })?;
    hand_over(&done, out)
}

/// Compresses the disk and maps its blocks in one reading. Gives its size and hash, and the map.
fn compress(context: &Context, root: &Root, images: &Images, to: &Path) -> Result<(release::Image, bmap::Bmap), Error> {
    let mut disk = File::open(&images.disk).at("open", &images.disk)?;
    let size = disk.metadata().at("read", &images.disk)?.len();
    let mut mapper = bmap::Mapper::new(solid(context, root, images)?);
    let mut hash = Sha256::new();
    let file = File::create(to).at("create", to)?;
    let mut encoder = zstd::Encoder::new(file, LEVEL).at("compress", to)?;
    encoder.include_checksum(true).and_then(|()| encoder.set_pledged_src_size(Some(size))).at("compress", to)?;
    // A fixed number, not the machine's: how the work is cut shows in the result.
    encoder.multithread(2).at("compress", to)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = disk.read(&mut buffer).at("read", &images.disk)?;
        if length == 0 {
            break;
        }
        let part = &buffer[..length];
        hash.update(part);
        mapper.write_all(part).at("map", &images.disk)?;
        encoder.write_all(part).at("write", to)?;
    }
    encoder.finish().at("write", to)?;
    Ok((release::Image { name: String::new(), size, sha256: hex::encode(hash.finalize()) }, mapper.finish()))
}

/// Regions in which zeroes mean something, so that they are written too: whole slot images (dm-verity reads every
/// block), the FAT file systems as far as they are in use, and the data file system with its tables.
fn solid(context: &Context, root: &Root, images: &Images) -> Result<Vec<Range<u64>>, Error> {
    let mut regions = Vec::new();
    let mut start = FIRST_PARTITION;
    for partition in &context.layout.partitions {
        let end = start + partition.bytes();
        let used = match partition.name.split('-').next() {
            // Slot B is filled by the box itself. Its head is wiped, so that nothing old on the disk looks like a system.
            Some(_) if partition.name.ends_with("-b") => start + MARGIN,
            Some("root") => start + fs::metadata(&root.image).at("read", &root.image)?.len(),
            Some("boot" | "esp") => (last_used(&images.disk, start..end)? + MARGIN).min(end),
            _ => end,
        };
        regions.push(start..used);
        start = end;
    }
    Ok(regions)
}

/// Where the last byte that is not zero ends, at most one piece late.
fn last_used(disk: &Path, region: Range<u64>) -> Result<u64, Error> {
    let mut file = File::open(disk).at("open", disk)?;
    let mut piece = vec![0; 1 << 20];
    let mut end = region.end;
    while end > region.start {
        let start = end.saturating_sub(piece.len() as u64).max(region.start);
        let part = &mut piece[..(end - start) as usize];
        file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(part)).at("read", disk)?;
        if part.iter().any(|byte| *byte != 0) {
            return Ok(end);
        }
        end = start;
    }
    Ok(region.start)
}

fn sbom(context: &Context, base: &Base, lnd: &Lnd) -> Result<String, Error> {
    let debian: &[_] = if context.base == "debian" { &context.lock.root } else { &[] };
    let debian = debian.iter().map(|package| sbom::DebianPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.arch.clone(),
        source: package.source.clone(),
        sha256: Some(package.sha256.clone()),
        licence: None,
    });
    let crates = sbom::crates(context.source, &["homebolt-manager", "homebolt-boot"], &context.board.rust.target)?;
    let data = context.headers.iter().flat_map(|headers| {
        let about = &headers.about;
        headers.files.iter().map(move |(kind, _, sha256)| sbom::DataFile {
            name: kind.file_name().into(),
            version: format!("{}-{}", about.network, about.last),
            sha256: sha256.clone(),
        })
    });
    Ok(sbom::document(&sbom::Contents {
        data: &data.collect::<Vec<_>>(),
        release: &context.release(lnd),
        distribution: &context.lock.suite,
        debian: &debian.collect::<Vec<_>>(),
        source: &base.parts,
        crates: &crates,
        go: &sbom::go_modules(&lnd.modules)?,
    })?)
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Error::File { path: "manifest".into(), why: error.to_string() })
}

fn put(folder: &Path, name: &str, content: String) -> Result<(), Error> {
    let path = folder.join(name);
    fs::write(&path, content).at("write", &path)
}

/// `SHA256SUMS` over all that is there, as `sha256sum --check` reads it.
fn sums(folder: &Path) -> Result<(), Error> {
    let mut lines = Vec::new();
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(format!("{}  {name}\n", cache::sha256(&path)?));
    }
    put(folder, "SHA256SUMS", lines.concat())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)?.flatten() {
        if entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Copies what differs; an image that is there already, with the same sums, is left alone.
fn hand_over(done: &Path, out: &Path) -> Result<(), Error> {
    let sums = |folder: &Path| fs::read(folder.join("SHA256SUMS")).unwrap_or_default();
    let length = |path: &Path| fs::metadata(path).map(|data| data.len()).ok();
    let complete =
        files(done)?.iter().all(|path| length(path) == length(&out.join(path.file_name().unwrap_or_default())));
    if complete && sums(done) == sums(out) {
        return Ok(());
    }
    fs::create_dir_all(out).at("create", out)?;
    for old in files(out)? {
        let name = old.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("homebolt-") || name == "SHA256SUMS" {
            fs::remove_file(&old).at("remove", &old)?;
        }
    }
    for path in files(done)? {
        let to = out.join(path.file_name().unwrap_or_default());
        fs::copy(&path, &to).at("write", &to)?;
    }
    Ok(())
}
