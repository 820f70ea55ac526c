//! USB disks, as images behind loop devices.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use ::backup::{Error, Target, config::Folder};

use super::{Lab, expect_fault, random, servers::is_root};
use crate::report::{Outcome, Report, ensure, fails, skip, tail};

pub(super) fn run(report: &mut Report, lab: &Lab) -> Outcome {
    report.test("a disk with ext4 keeps copies", || lab.keeps_copies(&Disk::make("ext4")?.target()));
    report.test("a disk with FAT keeps copies", || lab.keeps_copies(&Disk::make("vfat")?.target()));
    report.test("a full disk is told, keeps what it has and leaves no part behind", || {
        let disk = Disk::make("ext4")?;
        let target = disk.target();
        lab.probe(&target)?;
        let saved = lab.push(&target, b"small", 1)?;
        expect_fault!(lab.push(&target, &random(4 << 20)?, 2), Error::Full { .. })?;
        ensure!(lab.list(&target)? == [saved.name], "the list is {:?}", lab.list(&target)?);
        let files = fs::read_dir(disk.mount.path().join("homebolt"))?.count();
        ensure!(files == 1, "there are {files} files");
        Ok(())
    });
    report.test("a read-only disk is told", || {
        let mut disk = Disk::make("ext4")?;
        fs::create_dir(disk.mount.path().join("homebolt"))?;
        disk.remount("remount,ro")?;
        expect_fault!(lab.probe(&disk.target()), Error::ReadOnly { .. }).map(drop)
    });
    report.test("a disk that was pulled out is told, and nothing lands on the box in its place", || {
        let mut disk = Disk::make("ext4")?;
        let target = disk.target();
        lab.probe(&target)?;
        disk.unmount()?;
        expect_fault!(lab.push(&target, b"one", 1), Error::NotMounted { .. })?;
        ensure!(fs::read_dir(disk.mount.path())?.count() == 0, "something was written below the mount point");
        Ok(())
    });
    Ok(())
}

/// A disk of 2 MB. Unmounted with this value.
struct Disk {
    mount: tempfile::TempDir,
    mounted: bool,
    _image: tempfile::TempDir,
}

impl Disk {
    fn make(kind: &str) -> Outcome<Self> {
        if !is_root() {
            return skip("only root can mount");
        }
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("disk.img");
        File::create(&image)?.set_len(2 << 20)?;
        run_quietly(Command::new(format!("/sbin/mkfs.{kind}")).arg(&image))?;
        let mount = tempfile::tempdir()?;
        let output = Command::new("mount").args(["-t", kind, "-o", "loop"]).arg(&image).arg(mount.path()).output()?;
        if !output.status.success() {
            return skip(format!("{kind} cannot be mounted: {}", tail(&String::from_utf8_lossy(&output.stderr), 3)));
        }
        Ok(Self { mount, mounted: true, _image: folder })
    }

    fn target(&self) -> Target {
        folder(self.mount.path())
    }

    fn remount(&mut self, options: &str) -> Outcome {
        run_quietly(Command::new("mount").args(["-o", options]).arg(self.mount.path()))
    }

    fn unmount(&mut self) -> Outcome {
        self.mounted = false;
        run_quietly(Command::new("umount").arg(self.mount.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            eprintln!("homebolt-tests: {} stays mounted", self.mount.path().display());
        }
    }
}

fn folder(mount: &Path) -> Target {
    Target::Folder(Folder { mount: mount.to_owned(), folder: PathBuf::from("homebolt"), must_be_mounted: true })
}

fn run_quietly(command: &mut Command) -> Outcome {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    fails(format!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
