//! `homebolt run`: an image in a virtual machine, with a disk that is kept between runs.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
};

use crate::{
    image,
    progress::Progress,
    qemu::{self, Console, Kind, Machine},
};

/// Try an image in a virtual machine
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt run                  boot what 'homebolt build' made; the claim code appears on this terminal\n  \
    homebolt run --fresh          the same, from a new disk: the box has no owner again\n  \
    homebolt run --display gtk    with the screen that the box would have\n  \
    homebolt run --board aarch64  an image for another board\n\n\
    Ctrl-A X or Ctrl-C pulls the plug; the disk is kept. Needs QEMU and UEFI firmware (Debian: qemu-system-x86 and ovmf; for\n\
    aarch64 qemu-system-arm and qemu-efi-aarch64).")]
pub struct Args {
    /// The board whose image is tried
    #[arg(long, default_value = "x86-64")]
    pub board: String,
    /// The image, .img.zst or .img [default: the one in out/<board>]
    #[arg(long)]
    pub image: Option<PathBuf>,
    /// Where images are, and where the disk is kept [default: out/<board>]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Forget the disk of earlier runs
    #[arg(long)]
    pub fresh: bool,
    /// Size of the disk, for example 16G or 1T; an existing disk only grows
    #[arg(long, default_value = "16G", value_parser = size)]
    pub size: u64,
    /// Port of this computer for HTTPS
    #[arg(long, default_value_t = 8443)]
    pub https_port: u16,
    /// Port of this computer for the trust page
    #[arg(long, default_value_t = 8080)]
    pub http_port: u16,
    /// Memory, MiB
    #[arg(long, default_value_t = 1024)]
    pub memory: u32,
    /// Processor cores
    #[arg(long, default_value_t = 2)]
    pub cores: u32,
    /// Use the processor's virtualisation: faster, where it works
    #[arg(long)]
    pub kvm: bool,
    /// Start the machine with U-Boot, as single-board computers do, instead of UEFI firmware
    #[arg(long)]
    pub u_boot: bool,
    /// The screen: none, or a display that QEMU knows, such as gtk
    #[arg(long, default_value = "none")]
    pub display: String,
}

/// Why the machine cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("there is no image in {}: run ./scripts/build first, or name one with --image", .0.display())]
    NoImage(PathBuf),
    #[error("there are several images in {}: name one with --image", .0.display())]
    SeveralImages(PathBuf),
    #[error("board {0} cannot be tried in a virtual machine yet: only x86-64 and aarch64 can")]
    NoMachine(String),
    #[error("no room for the disk at {}: make room, or keep it elsewhere with --out", .0.display())]
    NoRoom(PathBuf),
    #[error("/dev/kvm cannot be used by you: leave --kvm away, or ask for the right to use it")]
    NoKvm,
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Machine(#[from] qemu::Error),
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoRoom(path),
        _ => Error::Io { action, path, source },
    }
}

/// Boots the image on this terminal. Returns only when it could not.
pub fn run(args: Args) -> Result<(), Error> {
    let Some(kind) = Kind::of_board(&args.board) else { return Err(Error::NoMachine(args.board)) };
    if args.kvm && !qemu::kvm_usable() {
        return Err(Error::NoKvm);
    }
    let out = args.out.unwrap_or_else(|| Path::new("out").join(&args.board));
    let image = match args.image {
        Some(image) => image,
        None => find(&out)?,
    };
    qemu::port_is_free(args.https_port, "--https-port")?;
    qemu::port_is_free(args.http_port, "--http-port")?;
    let folder = out.join("run");
    let disk = kept_disk(&image, &folder, args.fresh, args.size)?;
    let mut machine = Machine::new(disk, &folder);
    (machine.kind, machine.u_boot, machine.console) = (kind, args.u_boot, Console::Terminal);
    machine.forwards = vec![(args.https_port, 8443), (args.http_port, 80)];
    (machine.memory, machine.cores) = (args.memory, args.cores);
    (machine.kvm, machine.display) = (args.kvm, args.display);
    let mut command = machine.command()?;
    eprintln!(
        "\nThe box starts; in about a minute it shows its claim code here. Then open in a browser\n  \
         https://127.0.0.1:{}   (the browser warns once: the certificate is the box's own)\n  \
         http://127.0.0.1:{}    the page that explains the warning\n\
         To stop: Ctrl-A X, or Ctrl-C. The disk is kept; --fresh starts over.\n",
        args.https_port, args.http_port
    );
    // QEMU takes our place: the terminal and its keys are its own.
    Err(machine.not_started(command.exec()).into())
}

/// The one image in a folder.
pub fn find(out: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(out).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_image = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("homebolt-") && name.ends_with(".img.zst")
    };
    let mut images = entries.filter(is_image);
    match (images.next(), images.next()) {
        (None, _) => Err(Error::NoImage(out.into())),
        (Some(image), None) => Ok(image),
        (Some(_), Some(_)) => Err(Error::SeveralImages(out.into())),
    }
}

/// The disk of earlier runs, or a new one; at least `size` bytes.
fn kept_disk(image: &Path, folder: &Path, fresh: bool, size: u64) -> Result<PathBuf, Error> {
    fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let (disk, origin, variables) = (folder.join("disk.img"), folder.join("origin"), folder.join("firmware.vars"));
    let from = origin_of(image)?;
    if fresh || !disk.exists() {
        // The firmware forgets the old disk, too.
        for path in [&disk, &origin, &variables] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", path)(error)),
                _ => {}
            }
        }
        unpack(image, &disk)?;
        fs::write(&origin, &from).map_err(io_error("write", &origin))?;
    } else if fs::read_to_string(&origin).unwrap_or_default() != from {
        eprintln!("The disk of earlier runs was made from another image than {}.", image.display());
        eprintln!("It is used as it is; --fresh starts over with the newer image.");
    }
    grow(&disk, size)?;
    Ok(disk)
}

/// Name, size and time of an image: enough to see that it is another one.
fn origin_of(image: &Path) -> Result<String, Error> {
    let metadata = fs::metadata(image).map_err(io_error("open the image", image))?;
    let time = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(format!("{} {} {}\n", image.display(), metadata.len(), time.unwrap_or_default().as_secs()))
}

/// Writes the disk that is inside an image. Zeroes become holes, so that it takes as much room as the image has content.
pub fn unpack(image: &Path, disk: &Path) -> Result<(), Error> {
    let mut from = image::Disk::open(image)?;
    let part = disk.with_extension("part");
    let result = write_sparse(image, &mut from, &part)
        .and_then(|()| fs::rename(&part, disk).map_err(io_error("name the disk", disk)));
    if result.is_err() {
        // The cause is what counts.
        let _ = fs::remove_file(&part);
    }
    result
}

fn write_sparse(image: &Path, from: &mut image::Disk, to: &Path) -> Result<(), Error> {
    let mut file = File::create(to).map_err(io_error("create", to))?;
    let total = image::manifest(image, None).map_or(0, |manifest| manifest.disk.size);
    let mut progress = Progress::new("unpacking", total);
    let (mut buffer, mut length) = (vec![0; image::CHUNK], 0u64);
    loop {
        let filled =
            image::fill(from, &mut buffer).map_err(|source| image::Error::Read { path: image.to_owned(), source })?;
        if filled == 0 {
            break;
        }
        for piece in buffer[..filled].chunks(64 * 1024) {
            if piece.iter().any(|byte| *byte != 0) {
                file.seek(SeekFrom::Start(length))
                    .and_then(|_| file.write_all(piece))
                    .map_err(io_error("write", to))?;
            }
            length += piece.len() as u64;
        }
        progress.at(length);
    }
    file.set_len(length).map_err(io_error("write", to))?;
    progress.finish();
    Ok(())
}

/// Makes the disk `size` bytes long if it is shorter. What the box does with the room is its own affair.
pub fn grow(disk: &Path, size: u64) -> Result<(), Error> {
    let file = File::options().write(true).open(disk).map_err(io_error("open", disk))?;
    let length = file.metadata().map_err(io_error("read", disk))?.len();
    if length < size { file.set_len(size).map_err(io_error("grow", disk)) } else { Ok(()) }
}

/// `16G` in bytes: powers of 1024, as QEMU counts.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: write for example 16G or 1T");
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let power = match unit.to_ascii_uppercase().as_str() {
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << power)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(size("16G"), Ok(16 << 30));
        assert_eq!(size("1t"), Ok(1 << 40));
        for bad in ["", "16", "G", "-1G", "1.5G", "99999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_an_image_one_is_told_what_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("./scripts/build"), "{error}");
        fs::write(folder.path().join("homebolt-0.1.0-x86-64.img.bmap"), "").unwrap();
        assert!(find(folder.path()).is_err());
        fs::write(folder.path().join("homebolt-0.1.0-x86-64.img.zst"), "").unwrap();
        assert!(find(folder.path()).is_ok());
        fs::write(folder.path().join("homebolt-0.2.0-x86-64.img.zst"), "").unwrap();
        assert!(find(folder.path()).unwrap_err().to_string().contains("--image"));
    }

    #[test]
    fn the_disk_is_kept_between_runs_until_a_fresh_start() {
        let folder = tempfile::tempdir().unwrap();
        let (image, run) = (folder.path().join("a.img.zst"), folder.path().join("run"));
        let mut content = vec![0; 8 << 20];
        content[5 << 20] = 7;
        fs::write(&image, zstd::encode_all(&content[..], 1).unwrap()).unwrap();
        let disk = kept_disk(&image, &run, false, 64 << 20).unwrap();
        assert_eq!(fs::read(&disk).unwrap()[..8 << 20], content);
        let metadata = fs::metadata(&disk).unwrap();
        assert_eq!(metadata.len(), 64 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20, "zeroes take no room");
        let mark = |path: &Path| File::options().write(true).open(path).unwrap().write_all(b"owned").unwrap();
        mark(&disk);
        fs::write(run.join("firmware.vars"), "old").unwrap();
        kept_disk(&image, &run, false, 32 << 20).unwrap();
        assert_eq!(fs::read(&disk).unwrap()[..5], *b"owned");
        assert_eq!(fs::metadata(&disk).unwrap().len(), 64 << 20, "it never shrinks");
        kept_disk(&image, &run, true, 32 << 20).unwrap();
        assert_eq!(fs::read(&disk).unwrap()[..5], [0; 5]);
        assert!(!run.join("firmware.vars").exists());
    }

    #[test]
    fn a_broken_image_leaves_no_disk_behind() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a.img.zst");
        let noise: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let packed = zstd::encode_all(&noise[..], 1).unwrap();
        fs::write(&image, &packed[..packed.len() / 2]).unwrap();
        assert!(unpack(&image, &folder.path().join("disk.img")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
