//! Partition images and the disk they make.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bootstate::State;
use sha2::{Digest, Sha256};

use super::{
    Context,
    board::Partition,
    cache::Key,
    command,
    error::{At, Error},
    foreign,
    root::{Base, Root},
    tools::Tools,
    tree,
};

/// The finished images.
#[derive(Debug)]
pub struct Images {
    /// The boot slot's image: kernel, initrd, their hashes, slot.cfg.
    pub boot: PathBuf,
    pub disk: PathBuf,
}

/// Label and identifiers of the data file system: fixed, as everything in an image. Nothing on the box finds it by them.
const DATA_UUID: &str = "1b0c1f0e-5a57-4b7e-8d5d-6d0f4b3a7c23";

/// GRUB's modules: what the configuration uses, and what reads the disk.
const GRUB_MODULES: &str = "all_video boot configfile echo efi_gop fat gcry_sha256 gfxterm hashsum linux loadenv ls normal part_gpt probe \
                            reboot regexp search serial sleep terminal test true";

/// Kernel command line of every board: our own init finds the root, and a panic is a restart that the boot loader counts. `gpt`:
/// Linux takes the table's backup when the first one is broken.
const COMMAND_LINE: &str = "ro gpt quiet loglevel=4 panic=10";

/// Of the first write of the boot state.
const FIRST_NUMBER: u32 = 100_000;
/// Left around each copy of the boot state, bytes.
const ROOM: usize = 64 << 10;

/// Puts one slot's images, the boot loader and an empty data partition on one disk image.
pub fn build(context: &Context, base: &Base, root: &Root, initrd: &Path, recovery: &Path) -> Result<Images, Error> {
    let image_folder = context.source.join("image");
    let mut key =
        Key::new("disk 7").path(&root.image)?.path(initrd)?.path(recovery)?.path(&base.kernel)?.text(&context.version);
    key = key.path(&image_folder.join("grub"))?.path(&image_folder.join("layout.toml"))?.path(&context.board_folder)?;
    let key = key.text(&context.epoch.to_string());
    let done = context.cache.step("disk", &key, |folder| {
        boot(context, base, root, initrd, &folder.join("boot.img"))?;
        esp(context, base, recovery, &folder.join("esp.img"))?;
        data(context, &folder.join("data.img"))?;
        assemble(context, root, folder)?;
        ["esp.img", "data.img"].into_iter().try_for_each(|name| fs::remove_file(folder.join(name)).at("remove", name))
    })?;
    Ok(Images { boot: done.join("boot.img"), disk: done.join("disk.img") })
}

fn boot(context: &Context, base: &Base, root: &Root, initrd: &Path, image: &Path) -> Result<(), Error> {
    let files = image.with_extension("files");
    let read = |path: &Path| fs::read(path).at("read", path);
    tree::put(&files, "vmlinuz", read(&base.kernel)?, 0o644)?;
    tree::put(&files, "initrd", read(initrd)?, 0o644)?;
    sums(&files)?;
    tree::put(&files, "slot.cfg", slot_cfg(root, &context.version)?, 0o644)?;
    fat(context, &files, "BOOT", context.layout.partition("boot-a")?, image)
}

/// Beside kernel and initrd in that folder: GRUB starts no others.
pub(crate) fn sums(folder: &Path) -> Result<(), Error> {
    let mut lines = String::new();
    for name in ["vmlinuz", "initrd"] {
        let path = folder.join(name);
        let content = fs::read(&path).at("read", &path)?;
        lines += &format!("{}  {name}\n", hex::encode(Sha256::digest(content)));
    }
    tree::put(folder, "sha256sums", lines, 0o644)
}

/// What GRUB reads of a slot before it starts the kernel.
pub(crate) fn slot_cfg(root: &Root, version: &str) -> Result<String, Error> {
    let image_size = fs::metadata(&root.image).at("read", &root.image)?.len();
    let lines = [
        ("root_hash", root.root_hash.as_str()),
        ("root_size", &root.hash_offset.to_string()),
        ("image_size", &image_size.to_string()),
        ("version", version),
    ];
    Ok(lines.iter().map(|(name, value)| format!("set {name}={value}\n")).collect())
}

/// The EFI partition. All of it is written here; but for the boot state nothing on a box ever writes to it. mcopy lays files
/// down in the order of their names, so the recovery lies between the two copies.
fn esp(context: &Context, base: &Base, recovery: &Path, image: &Path) -> Result<(), Error> {
    let files = image.with_extension("files");
    let grub = context.source.join("image/grub/grub.cfg");
    let template = fs::read_to_string(&grub).at("read", &grub)?;
    let line = format!("{COMMAND_LINE} {}", context.board.kernel.command_line);
    tree::put(&files, "grub/grub.cfg", template.replace("@command_line@", &line), 0o644)?;
    for [folder, name] in bootstate::COPIES.map(|copy| copy.map(str::to_ascii_lowercase)) {
        tree::put(&files, &format!("{folder}/{name}"), bootstate::encode(&State::NEW, FIRST_NUMBER), 0o644)?;
        // Memory cards and disks write in larger pieces than a sector. In that piece there is nothing else that could be lost.
        for room in ["ahead", "room"] {
            tree::put(&files, &format!("{folder}/{room}"), vec![0; ROOM], 0o644)?;
        }
    }
    let read = |path: &Path| fs::read(path).at("read", path);
    tree::put(&files, "recovery/vmlinuz", read(&base.kernel)?, 0o644)?;
    tree::put(&files, "recovery/initrd", read(recovery)?, 0o644)?;
    sums(&files.join("recovery"))?;
    for (name, file) in &context.board.loader {
        let from = base.loader_file(context, name, file)?;
        tree::put(&files, name, read(&from)?, 0o644)?;
    }
    let folder = files.join("EFI/BOOT");
    fs::create_dir_all(&folder).at("create", &folder)?;
    let mut mkimage = context.tools.command("grub-mkimage");
    if let Some(modules) = foreign::grub_modules(context.board, context.lock, context.cache)? {
        mkimage.arg("--directory").arg(modules);
    }
    mkimage.args(["--prefix=/grub", "--format", &context.board.grub.format, "--output"]);
    command::output(mkimage.arg(folder.join(&context.board.grub.file)).args(GRUB_MODULES.split_whitespace()))?;
    fat(context, &files, "ESP", context.layout.partition("esp")?, image)
}

/// A FAT32 image of a partition's size with the files of a folder.
fn fat(context: &Context, files: &Path, label: &str, partition: &Partition, image: &Path) -> Result<(), Error> {
    fat_of(context.tools, context.epoch, files, label, partition.bytes(), image)
}

/// The same of so many bytes. All times in it are `epoch`; the folder is gone afterwards.
pub(crate) fn fat_of(
    tools: &Tools,
    epoch: u64,
    files: &Path,
    label: &str,
    bytes: u64,
    image: &Path,
) -> Result<(), Error> {
    empty(image, bytes)?;
    let mut mkfs = tools.command("mkfs.vfat");
    command::output(mkfs.args(["--invariant", "-F32", "-n", label, "-i", "484f4d45"]).arg(image))?;
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(epoch);
    // One by one, in the order of names: mcopy would take a folder's files as they come, and its time from the clock.
    for path in tree::walk(files)? {
        let inside = format!("::/{}", path.strip_prefix(files).unwrap_or(&path).display());
        if path.is_dir() {
            command::output(tools.command("mmd").arg("-i").arg(image).arg(inside))?;
        } else {
            fs::File::open(&path).and_then(|file| file.set_modified(time)).at("date", &path)?;
            command::output(tools.command("mcopy").args(["-m", "-Q", "-i"]).arg(image).arg(&path).arg(inside))?;
        }
    }
    super::cache::remove(files)
}

/// The data file system as it is flashed: our mark and the owners' folders, small, and able to grow to terabytes.
fn data(context: &Context, image: &Path) -> Result<(), Error> {
    let files = image.with_extension("files");
    tree::put(&files, "system/format.json", "{\"format\":1}\n", 0o644)?;
    for (name, owner, group, mode) in [
        ("system", 0, 0, 0o755),
        ("rauc", 0, 0, 0o700),
        ("homebolt", 800, 800, 0o700),
        ("config", 800, 800, 0o750),
        ("lnd", 801, 800, 0o750),
    ] {
        use std::os::unix::fs::{PermissionsExt, chown};
        let path = files.join(name);
        fs::create_dir_all(&path).at("create", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("set the mode of", &path)?;
        chown(&path, Some(owner), Some(group)).at("set the owner of", &path)?;
    }
    empty(image, context.layout.partition("data")?.bytes())?;
    let mut mkfs = context.tools.command("mke2fs");
    mkfs.args([
        "-q",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-i",
        "16384",
        "-m",
        "1",
        "-L",
        "homebolt-data",
        "-U",
        DATA_UUID,
        "-d",
    ])
    .arg(&files);
    let extended = format!("resize=4294967295,hash_seed={DATA_UUID},lazy_itable_init=0,lazy_journal_init=0");
    command::output(mkfs.args(["-E", &extended]).arg(image))?;
    super::cache::remove(&files)
}

fn assemble(context: &Context, root: &Root, folder: &Path) -> Result<(), Error> {
    // At whole MiB: a disk writes in larger pieces than its sectors, and one that is torn must not reach into the other slot.
    let mut config = format!(
        "image disk.img {{\n  hdimage {{ partition-table-type = gpt align = 1M disk-uuid = \"{}\" }}\n",
        context.layout.disk_uuid
    );
    for partition in &context.layout.partitions {
        let image = match partition.name.as_str() {
            "root-a" => Some(root.image.clone()),
            "boot-a" => Some(folder.join("boot.img")),
            "esp" | "data" => Some(folder.join(format!("{}.img", partition.name))),
            _ => None,
        };
        let content = image.as_ref().map(|path| format!("image = \"{}\" ", path.display())).unwrap_or_default();
        let size = image.as_ref().map_or(Ok(0), |path| fs::metadata(path).map(|data| data.len())).at("read", folder)?;
        if size > partition.bytes() {
            let (path, room) = (image.unwrap_or_default(), partition.bytes());
            return Err(Error::TooLarge { path, partition: partition.name.clone(), size, room });
        }
        let Partition { name, size, kind, uuid } = partition;
        config.push_str(&format!(
            "  partition {name} {{ {content}size = {size}M partition-type-uuid = {kind} partition-uuid = \"{uuid}\" }}\n"
        ));
    }
    config.push_str("}\n");
    let path = folder.join("genimage.cfg");
    fs::write(&path, config).at("write", &path)?;
    let sub = |name: &str| -> Result<PathBuf, Error> {
        let path = folder.join(name);
        fs::create_dir_all(&path).at("create", &path)?;
        Ok(path)
    };
    let (work, empty_root) = (sub("genimage.tmp")?, sub("genimage.root")?);
    let mut genimage = context.tools.command("genimage");
    genimage.arg("--config").arg(&path).arg("--outputpath").arg(folder).arg("--inputpath").arg(folder);
    genimage.arg("--tmppath").arg(&work).arg("--rootpath").arg(&empty_root);
    command::output(&mut genimage)?;
    super::cache::remove(&work)?;
    super::cache::remove(&empty_root)?;
    fs::remove_file(&path).at("remove", &path)?;
    // Holes make the copy and the compression of 2.6 GB a matter of its 150 MB.
    command::output(Command::new("fallocate").arg("--dig-holes").arg(folder.join("disk.img"))).map(|_| ())
}

fn empty(path: &Path, size: u64) -> Result<(), Error> {
    fs::File::create(path).and_then(|file| file.set_len(size)).at("create", path)
}
