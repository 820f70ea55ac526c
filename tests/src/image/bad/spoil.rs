//! How each release is broken. What is exchanged is as little as it can be.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use homebolt::image as images;

use super::{cpio, update};
use crate::{
    Context,
    disk::{file_in_fat, get, partition},
    image::lab::{GIB, Lab},
    power_cut::NEWER_LND,
    report::{Fault, Outcome, ensure, fails, tail},
    shelf::Shelf,
};

/// The name of the bundle on the shelf.
pub(super) const BUNDLE: &str = "bad.raucb";
/// And of the signed document that describes it.
pub(super) const DESCRIPTION: &str = "bad.json";

/// Where a release is made.
pub(super) struct Workshop<'a> {
    context: &'a Context,
    lab: &'a Lab,
    folder: tempfile::TempDir,
}

/// A file to lay over the image: its path, its content, and whether it is a program.
type Laid<'a> = (&'a str, &'a [u8], bool);

impl<'a> Workshop<'a> {
    pub(super) fn new(context: &'a Context, lab: &'a Lab) -> Outcome<Self> {
        let folder = lab.room()?;
        Ok(Self { context, lab, folder })
    }

    /// The image with these files in its root, and these in its boot partition.
    pub(super) fn rework(&self, name: &str, root: &[Laid<'_>], boot: &[Laid<'_>]) -> Outcome<PathBuf> {
        self.rework_as(name, &[], root, boot)
    }

    /// The same, with more words to `homebolt rework`.
    fn rework_as(&self, name: &str, words: &[&str], root: &[Laid<'_>], boot: &[Laid<'_>]) -> Outcome<PathBuf> {
        let at = |name: &str| self.folder.path().join(name);
        for (folder, files) in [("root", root), ("boot", boot)] {
            fs::create_dir(at(folder))?;
            for (path, content, is_program) in files {
                use std::os::unix::fs::PermissionsExt;
                let path = at(folder).join(path);
                fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
                fs::write(&path, content)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(if *is_program { 0o755 } else { 0o644 }))?;
            }
        }
        update::homebolt(self.context, |command| {
            command.arg("rework").arg(&self.lab.image).arg("--new-version").arg(format!("0.1.1+{name}"));
            command
                .args(words)
                .arg("--root")
                .arg(at("root"))
                .arg("--boot")
                .arg(at("boot"))
                .arg("--out")
                .arg(at("image"))
        })?;
        let made = fs::read_dir(at("image"))?.flatten().map(|entry| entry.path());
        let image = made.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "img"));
        image.map_or_else(|| fails("homebolt rework left no image"), Ok)
    }

    /// Makes a bundle of an image, and puts it on a shelf.
    pub(super) fn shelve(&self, image: &Path) -> Outcome<Shelf> {
        let out = self.folder.path().join("bundle");
        let bundle = update::bundle(self.context, image, &out, None)?;
        fs::rename(bundle.with_extension("update.json"), out.join(DESCRIPTION))?;
        fs::rename(bundle, out.join(BUNDLE))?;
        Shelf::open(&out)
    }

    /// A file of the image's boot partition, which has that name on it.
    fn boot_file(&self, name: &str) -> Outcome<Vec<u8>> {
        let disk = self.lab.disk("boot-files", GIB)?;
        let start = partition(&disk, "boot-a")?.start;
        let inside = format!("{}@@{start}", disk.display());
        let output = Command::new("mcopy").args(["-i", &inside, &format!("::/{name}"), "-"]).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mcopy: {}", tail(&errors, 3));
        fs::remove_file(disk)?;
        Ok(output.stdout)
    }

    /// Changes what the image's manifest says.
    fn describe(&self, image: &Path, change: impl FnOnce(&mut release::Manifest) -> Outcome) -> Outcome {
        let mut manifest = images::manifest(image, None)?;
        change(&mut manifest)?;
        Ok(fs::write(images::beside(image, "manifest.json"), serde_json::to_vec(&manifest)?)?)
    }
}

pub(super) fn kernel(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    // Beside the list of what it should be.
    let (kernel, sums) = (workshop.boot_file("vmlinuz")?, workshop.boot_file("sha256sums")?);
    let cut = &kernel[..kernel.len() / 2];
    workshop.rework("kernel", &[], &[("vmlinuz", cut, false), ("sha256sums", &sums, false)])
}

pub(super) fn panic(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    workshop.rework("panic", &[], &[("initrd", &cpio::archive(&[]), false)])
}

pub(super) fn module(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    let packed = workshop.boot_file("initrd")?;
    let archive = zstd::decode_all(packed.as_slice())?;
    let entries = cpio::entries(&archive).ok_or_else(|| Fault::Fails("the initrd is no archive".into()))?;
    let count = entries.len();
    let kept: Vec<_> = entries.into_iter().filter(|entry| !entry.name.ends_with("/dm-verity.ko")).collect();
    ensure!(kept.len() + 1 == count, "the initrd has {} modules of that name", count - kept.len());
    workshop.rework("module", &[], &[("initrd", &cpio::archive(&kept), false)])
}

pub(super) fn verity(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    use std::os::unix::fs::FileExt;
    let image = workshop.rework("verity", &[], &[])?;
    let root = partition(&image, "root-a")?;
    // In the block that every start reads first, but not in the part that the mount looks at.
    let at = root.start + 3000;
    let turned: Vec<u8> = get(&image, at, 16)?.iter().map(|byte| !byte).collect();
    fs::File::options().write(true).open(&image)?.write_all_at(&turned, at)?;
    // The bundle carries it as it is: only the root hash in the boot partition knows better.
    workshop.describe(&image, |manifest| {
        let length = manifest.slot("root")?.size;
        let content = get(&image, root.start, usize::try_from(length)?)?;
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(content));
        manifest.slots.iter_mut().filter(|slot| slot.name == "root").for_each(|slot| slot.sha256.clone_from(&digest));
        Ok(())
    })?;
    ensure!(file_in_fat(&image, partition(&image, "boot-a")?.start, &["SLOT    CFG"]).is_ok(), "it has no slot.cfg");
    Ok(image)
}

/// A program that does nothing but fail.
const FAILS: &[u8] = b"#!/bin/sh\nexit 1\n";

pub(super) fn init(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    workshop.rework("init", &[("usr/lib/systemd/systemd", FAILS, true)], &[])
}

/// Where settings go that are read after a unit's own.
const MANAGER: &str = "usr/lib/systemd/system/homebolt-manager.service.d/bad.conf";
const SOCKET: &str = "usr/lib/systemd/system/homebolt-https.socket.d/bad.conf";

pub(super) fn manager_crashes(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    let settings = b"[Service]\nExecStart=\nExecStart=/bin/false\n";
    workshop.rework("manager-crashes", &[(MANAGER, settings, false)], &[])
}

/// It says that it is ready, and then does nothing more: only the watchdog notices.
pub(super) fn manager_hangs(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    let settings = b"[Service]\nExecStartPost=/bin/kill -STOP $MAINPID\n";
    workshop.rework("manager-hangs", &[(MANAGER, settings, false)], &[])
}

pub(super) fn page_is_elsewhere(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    let settings = b"[Socket]\nListenStream=\nListenStream=[::]:8444\n";
    workshop.rework("page", &[(SOCKET, settings, false)], &[])
}

pub(super) fn network(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    let settings = b"[Match]\nName=there-is-none\n\n[Network]\nDHCP=yes\n";
    workshop.rework("network", &[("usr/lib/systemd/network/80-homebolt.network", settings, false)], &[])
}

pub(super) fn lnd(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    workshop.rework("lnd", &[("usr/bin/lnd", FAILS, true)], &[])
}

/// What [`lnd_migrates`] leaves where LND has its database.
pub(super) const MIGRATED: &str = "/data/lnd/migrated";

/// It calls itself newer, changes what is on the disk, and ends.
pub(super) fn lnd_migrates(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    let program = format!("#!/bin/sh\necho migrated >{MIGRATED}\nexit 1\n");
    workshop.rework_as("lnd", &["--lnd", NEWER_LND], &[("usr/bin/lnd", program.as_bytes(), true)], &[])
}

pub(super) fn board(workshop: &Workshop<'_>) -> Outcome<PathBuf> {
    let image = workshop.rework("board", &[], &[])?;
    workshop.describe(&image, |manifest| {
        manifest.release.board = "another-board".into();
        Ok(())
    })?;
    Ok(image)
}
