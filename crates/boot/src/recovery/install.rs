//! A bundle from its file into one slot.
//!
//! ```text
//!  signature (rauc) ─► board, fence, version ─► slot off ─► boot, root written ─► read back, dm-verity ─► slot first ─► restart
//! ```
//! Until the last step the boot loader does not choose the slot: cut off anywhere, the next start is the recovery again.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bootstate::Slot;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::statvfs::statvfs;
use sha2::{Digest, Sha256};

use super::{
    Ground,
    bundle::{self, Bundle, Image, Known},
    look,
};
use crate::{
    error::{At, Error},
    esp, files, marks, modules, program, slots,
    verity::{self, Check},
};

const RAUC: &str = "/usr/bin/rauc";
const CONFIGURATION: &str = "--conf=/etc/rauc/system.conf";
/// Where RAUC mounts bundles.
const MOUNTS: &str = "/run/rauc";
const DATA: &str = "/data";
/// Where an upload lies when the data partition cannot take it.
const MEMORY: &str = "/run/homebolt/upload";

/// Left free on the data partition, which LND needs, and of the memory, bytes.
const RESERVE: u64 = 128 << 20;

const PIECE: usize = 1 << 20;

/// Where a bundle of that length can be kept: on the data partition if that is mounted, else in memory.
///
/// # Errors
/// A sentence.
pub fn place(length: u64, data: bool) -> Result<PathBuf, String> {
    let room = || statvfs(DATA).map(|room| room.blocks_available() * room.fragment_size()).unwrap_or_default();
    if data && room() >= length.saturating_add(RESERVE) {
        return Ok(Path::new(DATA).join("system/recovery.raucb"));
    }
    let memory = available(&files::text("/proc/meminfo").unwrap_or_default());
    if memory < length.saturating_add(RESERVE) {
        return Err(format!(
            "The bundle has {} MB, and there is no room for it: neither on the data partition nor in the memory, of which \
             {} MB are free.",
            length >> 20,
            memory >> 20
        ));
    }
    in_memory(length).map_err(|error| format!("{error}."))
}

fn in_memory(length: u64) -> Result<PathBuf, Error> {
    let folder = files::folder(MEMORY)?;
    // Of an earlier upload; there may be none.
    let _ = umount(&folder);
    let options = format!("mode=700,size={}k", (length >> 10) + 1024);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &folder, Some("tmpfs"), flags, Some(options.as_str())).at("mount memory on", &folder)?;
    Ok(folder.join("bundle.raucb"))
}

/// Bytes of memory that can be had, by the text of `/proc/meminfo`.
fn available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes: u64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default();
    kibibytes << 10
}

/// Installs the bundle and gives what to say. `tell` hears what goes on, and how far it is, in hundredths.
///
/// # Errors
/// A sentence. The slot that was being written stays switched off.
pub fn run(file: &Path, ground: &Ground, looked: &[look::Looked], tell: &dyn Fn(&str, u8)) -> Result<String, String> {
    tell("The signature of the bundle is being verified.", 0);
    let arguments = [CONFIGURATION.as_ref(), "info".as_ref(), "--output-format=json-2".as_ref(), file.as_os_str()];
    let info = program::answer(RAUC, &arguments, b"").map_err(|error| format!("The bundle is refused: {error}."))?;
    let bundle = Bundle::parse(&info)?;
    let known = Known {
        release: ground.release.clone(),
        versions: look::versions(looked),
        fence: ground.fence,
        now: files::now(),
    };
    bundle::judge(&bundle, &known)?;
    let slot = install(file, &bundle, looked, tell).map_err(|error| format!("{error}."))?;
    let version = &bundle.update.release.version;
    if ground.data {
        // The next to look shall know that what failed before was another system.
        let _ = marks::append(Path::new(DATA), slot, &marks::Stage::Other(format!("recovery: installed {version}")));
    }
    Ok(format!("Version {version} is installed as system {slot}. The box restarts."))
}

fn install(file: &Path, bundle: &Bundle, looked: &[look::Looked], tell: &dyn Fn(&str, u8)) -> Result<Slot, Error> {
    let slot = look::target(looked, &esp::read()?);
    esp::change(|state| state.mark_bad(slot))?;
    let mounted = mount_bundle(file)?;
    let written = write_both(&mounted, bundle, slot, tell);
    umount(&mounted).at("unmount", &mounted)?;
    written?;
    tell(&format!("System {slot} is being verified."), 90);
    let refused = |why: String| Error::Refused(format!("What was written to slot {slot} cannot be used: {why}"));
    let cfg = slots::boot_partition(slot).map_err(refused)?;
    if cfg.root_hash != bundle.update.root_hash {
        return Err(refused("its boot partition names another root hash than the bundle".into()));
    }
    match verity::check(&slots::link("root", slot), &cfg.root_hash, cfg.root_size) {
        Check::Sound => {}
        Check::Damaged => return Err(refused("it is not what was written, the disk is failing".into())),
        Check::Unknown(why) => return Err(refused(why)),
    }
    esp::change(|state| state.activate(slot))?;
    Ok(slot)
}

/// Has RAUC mount the content of the bundle, each block of which the kernel verifies against the signature.
fn mount_bundle(file: &Path) -> Result<PathBuf, Error> {
    files::folder(MOUNTS)?;
    modules::load("loop")?;
    let prefix = format!("--mount={MOUNTS}");
    let arguments = [CONFIGURATION.as_ref(), prefix.as_ref(), "mount".as_ref(), file.as_os_str()];
    program::must(RAUC, &arguments)?;
    Ok(Path::new(MOUNTS).join("bundle"))
}

fn write_both(mounted: &Path, bundle: &Bundle, slot: Slot, tell: &dyn Fn(&str, u8)) -> Result<(), Error> {
    let parts = [("boot", &bundle.boot), ("root", &bundle.root)];
    let total: u64 = 2 * parts.iter().map(|(_, image)| image.size).sum::<u64>();
    let mut done = 0;
    let mut forward = |length: usize| {
        done += length as u64;
        let percent = u8::try_from(done * 90 / total.max(1)).unwrap_or(90);
        tell(&format!("System {slot} is being written."), percent);
    };
    for (kind, image) in parts {
        if image.filename.contains('/') {
            return Err(Error::Refused("The bundle names a file outside of itself".into()));
        }
        write(&mounted.join(&image.filename), &slots::link(kind, slot), image, &mut forward)?;
    }
    // What is read back comes from the disk, not from memory.
    fs::write("/proc/sys/vm/drop_caches", "1\n").at("write", "/proc/sys/vm/drop_caches")?;
    for (kind, image) in parts {
        let device = slots::link(kind, slot);
        let found = read_back(&device, image.size, &mut forward)?;
        if found != image.checksum {
            return Err(Error::Refused(format!("{} is not what was written: the disk is failing", device.display())));
        }
    }
    Ok(())
}

/// Writes an image to a partition and returns once the disk has it.
fn write(from: &Path, to: &Path, image: &Image, forward: &mut dyn FnMut(usize)) -> Result<(), Error> {
    let mut reader = File::open(from).at("open", from)?.take(image.size);
    let mut writer = OpenOptions::new().write(true).open(to).at("open", to)?;
    let room = writer.seek(SeekFrom::End(0)).at("look at", to)?;
    if image.size > room {
        return Err(Error::Refused(format!("The image for {} is larger than that", to.display())));
    }
    writer.rewind().at("write", to)?;
    let mut piece = vec![0; PIECE];
    loop {
        match reader.read(&mut piece).at("read", from)? {
            0 => return writer.sync_all().at("save", to),
            length => {
                writer.write_all(&piece[..length]).at("write", to)?;
                forward(length);
            }
        }
    }
}

/// SHA-256 of so many bytes from the beginning.
fn read_back(device: &Path, length: u64, forward: &mut dyn FnMut(usize)) -> Result<String, Error> {
    let mut reader = File::open(device).at("open", device)?.take(length);
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match reader.read(&mut piece).at("read", device)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => {
                hash.update(&piece[..length]);
                forward(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_that_can_be_had_is_read() {
        assert_eq!(available("MemTotal:  100 kB\nMemAvailable:     2048 kB\n"), 2 << 20);
        assert_eq!(available("MemTotal: 1 kB\n"), 0);
    }

    #[test]
    fn an_image_is_written_and_read_back_and_one_that_does_not_fit_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("root.img"), folder.path().join("root-b"));
        fs::write(&from, vec![7; PIECE + 5]).unwrap();
        fs::write(&to, vec![1; 2 * PIECE]).unwrap();
        let mut image = Image {
            class: "rootfs".into(),
            filename: "root.img".into(),
            checksum: String::new(),
            size: PIECE as u64 + 5,
        };
        let mut told = 0;
        write(&from, &to, &image, &mut |length| told += length).unwrap();
        assert_eq!(told, PIECE + 5);
        assert_eq!(fs::read(&to).unwrap()[PIECE + 4..PIECE + 6], [7, 1]);
        let sum = |path: &Path| read_back(path, image.size, &mut |_| {}).unwrap();
        assert_eq!(sum(&from), sum(&to));
        image.size = 3 * PIECE as u64;
        assert!(write(&from, &to, &image, &mut |_| {}).is_err());
    }
}
