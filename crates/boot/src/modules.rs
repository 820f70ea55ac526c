//! Loads the kernel modules that stand between the initrd and the disks.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{error::Error, files, program};

const MODPROBE: &str = "/sbin/modprobe";

/// Remembers what was asked for, so that looking again costs only what is new.
#[derive(Debug, Default)]
pub struct Modules {
    asked: BTreeSet<String>,
}

impl Modules {
    /// Loads the modules listed in `/etc/modules-load`: what no device announces, such as file systems. One that is built
    /// into the kernel or left out of the initrd is passed over; if it was needed, the step that needs it fails by name.
    pub fn load_listed(&mut self, list: &Path) -> Result<(), Error> {
        let text = String::from_utf8_lossy(&files::read_limited(list, 64 * 1024)?).into_owned();
        modprobe("-aq", names(&text))
    }

    /// Loads the modules for all devices that the kernel found since the last call. Returns whether there were any.
    pub fn load_for_devices(&mut self, devices: &Path) -> Result<bool, Error> {
        let mut found = BTreeSet::new();
        collect(devices, &mut found);
        let new: Vec<String> = found.difference(&self.asked).cloned().collect();
        if new.is_empty() {
            return Ok(false);
        }
        modprobe("-abq", new.iter().map(String::as_str))?;
        self.asked.append(&mut found);
        Ok(true)
    }
}

/// Loads one that no device announces. One that is built in is passed over.
pub fn load(name: &str) -> Result<(), Error> {
    modprobe("-q", [name].into_iter())
}

/// The names in a list with one on each line; `#` begins a remark.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split('#').next().unwrap_or("").trim()).filter(|name| !name.is_empty())
}

/// Every `modalias` below the folder. Links are not followed: in sysfs they lead in circles.
fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        if entry.file_name() == "modalias" {
            found.extend(files::text(&path).filter(|alias| !alias.is_empty()));
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, found);
        }
    }
}

/// One call for all: to start the program takes longer than to load a module. Its exit code says only that one of the
/// names has no module here, as most devices' have none in an initrd.
fn modprobe<'a>(options: &'a str, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let arguments: Vec<&str> = [options, "--"].into_iter().chain(names).collect();
    program::run(MODPROBE, &arguments).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_and_empty_lines_are_no_names() {
        let list = "# storage\nerofs\n\n  dm-verity  # the root\n#ext4\n";
        assert_eq!(names(list).collect::<Vec<_>>(), ["erofs", "dm-verity"]);
    }

    #[test]
    fn aliases_are_found_at_any_depth_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("pci0000:00/0000:00:03.0");
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("modalias"), "pci:v00001AF4d00001001\n").unwrap();
        fs::write(folder.path().join("modalias"), "\n").unwrap();
        std::os::unix::fs::symlink(folder.path(), device.join("subsystem")).unwrap();
        let mut found = BTreeSet::new();
        collect(folder.path(), &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["pci:v00001AF4d00001001"]);
    }
}
