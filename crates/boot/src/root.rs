//! The root file system from the verified slot up to handing over to its first process.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::Command,
};

use nix::{
    mount::{MsFlags, mount},
    unistd,
};

use crate::{
    error::{At, Error},
    files, verity,
};

/// Where the root is put together.
pub const ROOT: &str = "/sysroot";

/// Its first process, in the order they are tried.
const INITS: [&str; 2] = ["/sbin/init", "/usr/lib/systemd/systemd"];

/// Mounts what every start needs: the kernel's views, the devices and `/run`.
pub fn mount_kernel() -> Result<(), Error> {
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (kind, target, flags, options) in [
        ("proc", "/proc", strict, None),
        ("sysfs", "/sys", strict, None),
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID, Some("mode=755")),
        ("tmpfs", "/run", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755,size=20%")),
    ] {
        files::folder(target)?;
        match mount(Some(kind), target, Some(kind), flags, options) {
            // The kernel may have mounted the devices itself.
            Err(nix::Error::EBUSY) => {}
            mounted => mounted.at("mount", target)?,
        }
    }
    Ok(())
}

/// Mounts the verified root, read-only, and makes `/etc` and `/var` writable in memory only.
pub fn mount_root() -> Result<(), Error> {
    files::folder(ROOT)?;
    let root = Path::new(ROOT);
    mount(Some(verity::DEVICE), root, Some("erofs"), MsFlags::MS_RDONLY | MsFlags::MS_NODEV, None::<&str>)
        .at("mount the root slot on", root)?;

    let layers = files::folder("/run/homebolt/etc-overlay")?;
    tmpfs(&layers, "mode=700,size=32m")?;
    let (upper, work, etc) =
        (files::folder(layers.join("upper"))?, files::folder(layers.join("work"))?, root.join("etc"));
    fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).at("set the mode of", &upper)?;
    let options = format!("lowerdir={},upperdir={},workdir={}", etc.display(), upper.display(), work.display());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("overlay"), &etc, Some("overlay"), flags, Some(options.as_str())).at("mount the overlay on", &etc)?;
    tmpfs(&root.join("var"), "mode=755,size=25%")
}

/// Mounts an empty file system in memory.
pub fn tmpfs(target: &Path, options: &str) -> Result<(), Error> {
    mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .at("mount a file system in memory on", target)
}

/// Moves a mount with all that is mounted below it.
pub fn move_mount(from: &Path, to: &Path) -> Result<(), Error> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).at("move the mount to", to)
}

/// Makes the root the only one and becomes its first process. Returns only with the reason why not.
pub fn switch() -> Error {
    match enter() {
        Ok(()) => {}
        Err(error) => return error,
    }
    let mut last = None;
    for init in INITS {
        // It begins with the environment the kernel would have given it.
        let source = Command::new(init).env_clear().env("TERM", "linux").exec();
        last = Some(Error::Start { program: init.to_owned(), source });
    }
    last.unwrap_or_else(|| Error::Refused("there is no first process to start".into()))
}

fn enter() -> Result<(), Error> {
    let root = Path::new(ROOT);
    for name in ["proc", "sys", "dev", "run"] {
        move_mount(&Path::new("/").join(name), &root.join(name))?;
    }
    free_initrd(Path::new("/"), device("/")?);
    std::env::set_current_dir(root).at("enter", root)?;
    move_mount(Path::new("."), Path::new("/"))?;
    unistd::chroot(".").at("change the root to", root)?;
    std::env::set_current_dir("/").at("enter", "/")
}

fn device(path: impl AsRef<Path>) -> Result<u64, Error> {
    Ok(fs::symlink_metadata(&path).at("look at", path.as_ref())?.dev())
}

/// Gives the initrd's memory back: deletes everything on its own file system and nothing on any other. What cannot be
/// deleted only costs memory.
fn free_initrd(folder: &Path, own: u64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !device(&path).is_ok_and(|device| device == own) {
            continue;
        }
        let _ = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            free_initrd(&path, own);
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initrd_is_emptied_and_another_file_system_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("lib/modules")).unwrap();
        fs::write(folder.path().join("lib/modules/erofs.ko"), "x").unwrap();
        // A link to a folder elsewhere is deleted as a link.
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
        free_initrd(folder.path(), u64::MAX);
        assert!(folder.path().join("lib/modules/erofs.ko").exists());
        free_initrd(folder.path(), device(folder.path()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(elsewhere.path().join("kept").exists());
    }
}
