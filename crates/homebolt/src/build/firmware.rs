//! Firmware: programs of makers for their radios and network cards, each file compressed for itself (xz with CRC32, which
//! the kernel's loader unpacks). Of Debian's packages only what `[firmware]` names is kept. Buildroot is told in its
//! configuration what to install; of Intel's, which come in all their versions, the kernel takes one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    command,
    error::{At, Error},
    lock::WantedFirmware,
    tools::Tools,
    tree,
};

const FOLDER: &str = "usr/lib/firmware";
/// The kernel reads these two itself, and the packages leave the choice of name to a script.
const COUNTRIES: [(&str, &str); 2] =
    [("regulatory.db", "regulatory.db-debian"), ("regulatory.db.p7s", "regulatory.db.p7s-debian")];

/// Leaves in `root` what is wanted, compressed.
pub fn reduce(root: &Path, wanted: &WantedFirmware, tools: &Tools) -> Result<(), Error> {
    let folder = root.join(FOLDER);
    let (files, links) = keep(&folder, &wanted.keep)?;
    pack(&files, &links, tools)?;
    for (name, target) in COUNTRIES.iter().filter(|(_, target)| folder.join(target).is_file()) {
        tree::symlink(root, &format!("{FOLDER}/{name}"), target)?;
    }
    Ok(())
}

/// Leaves in a tree that Buildroot made what its kernel would load, compressed. `modules`: the folder with its modules.
pub fn reduce_built(root: &Path, modules: &Path, tools: &Tools) -> Result<(), Error> {
    let folder = root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(());
    }
    let modules = tree::walk(modules)?.into_iter().filter(|path| path.to_string_lossy().contains(".ko"));
    let named = command::output(tools.command("modinfo").args(["-F", "firmware", "--"]).args(modules))?;
    let named: Vec<&str> = named.lines().collect();
    let (mut files, mut links) = (Vec::new(), Vec::new());
    let found = tree::walk(&folder)?;
    let names: Vec<_> = found.iter().map(|path| path.strip_prefix(&folder).unwrap_or(path).to_string_lossy()).collect();
    for (path, name) in found.iter().zip(&names) {
        if is_passed_over(name, &names, &named) {
            fs::remove_file(path).at("remove", path)?;
        } else if path.is_symlink() {
            links.push(path.clone());
        } else if path.is_file() {
            files.push(path.clone());
        }
    }
    pack(&files, &links, tools)
}

/// The version in the name of a firmware of Intel's radios, with what stands before it: `iwlwifi-cc-a0-77.ucode`. The files lie
/// in `intel/iwlwifi`, and links to them where older kernels look.
fn version(name: &str) -> Option<(&str, u32)> {
    let name = name.strip_prefix("intel/iwlwifi/").unwrap_or(name);
    let (stem, version) = name.strip_prefix("iwlwifi-")?.strip_suffix(".ucode")?.rsplit_once('-')?;
    Some((stem, version.parse().ok()?))
}

/// Whether the kernel, which names the newest version it can work with and falls back to older ones, takes another.
fn is_passed_over(name: &str, names: &[impl AsRef<str>], named: &[&str]) -> bool {
    let Some((stem, this)) = version(name) else { return false };
    let of_stem = |name| version(name).filter(|(other, _)| *other == stem).map(|(_, version)| version);
    let Some(most) = named.iter().filter_map(|name| of_stem(name)).max() else { return false };
    names.iter().filter_map(|name| of_stem(name.as_ref())).filter(|version| *version <= most).max() != Some(this)
}

/// Compresses the files, and has the links lead to them.
fn pack(files: &[PathBuf], links: &[PathBuf], tools: &Tools) -> Result<(), Error> {
    let big: Vec<_> = files.iter().filter(|path| !is_country(path)).collect();
    if !big.is_empty() {
        command::output(tools.command("xz").args(["--check=crc32", "-6e", "--threads=0", "--"]).args(&big))?;
    }
    lead(links)
}

/// Has links lead to the files as they are called once they are compressed.
fn lead(links: &[PathBuf]) -> Result<(), Error> {
    let packed = |path: &Path| PathBuf::from(format!("{}.xz", path.display()));
    for link in links {
        let target = fs::read_link(link).at("read", link)?;
        fs::remove_file(link).at("remove", link)?;
        std::os::unix::fs::symlink(packed(&target), packed(link)).at("link", packed(link))?;
    }
    // Only now, as one may lead to another.
    if let Some(path) = links.iter().map(|link| packed(link)).find(|link| !link.is_file()) {
        return Err(Error::File { path, why: "what it leads to is not kept; name it in [firmware], too".into() });
    }
    Ok(())
}

fn is_country(path: &Path) -> bool {
    path.file_name().is_some_and(|name| COUNTRIES.iter().any(|(plain, kept)| name == *kept || name == *plain))
}

/// Removes what no pattern names; gives the files and the links that stay.
fn keep(folder: &Path, patterns: &[String]) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let (mut files, mut links) = (Vec::new(), Vec::new());
    if !folder.is_dir() {
        return Ok((files, links));
    }
    let mut unmatched: Vec<&String> = patterns.iter().collect();
    let mut folders = Vec::new();
    for path in tree::walk(folder)? {
        let data = path.symlink_metadata().at("read", &path)?;
        if data.is_dir() {
            folders.push(path);
            continue;
        }
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        if !patterns.iter().any(|pattern| matches(pattern, &name)) {
            fs::remove_file(&path).at("remove", &path)?;
            continue;
        }
        unmatched.retain(|pattern| !matches(pattern, &name));
        if data.is_symlink() { links.push(path) } else { files.push(path) }
    }
    if let Some(pattern) = unmatched.first() {
        let why = format!("no package brings {pattern:?}, which [firmware] in packages.toml names");
        return Err(Error::File { path: folder.into(), why });
    }
    // Children before parents.
    for folder in folders.iter().rev() {
        if fs::read_dir(folder).at("list", folder)?.next().is_none() {
            fs::remove_dir(folder).at("remove", folder)?;
        }
    }
    Ok((files, links))
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nic/a.fw", "nic/b.fw", "wifi/old.bin", "wifi/new.bin"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        std::os::unix::fs::symlink("wifi/new.bin", folder.path().join("new.bin")).unwrap();
        folder
    }

    #[test]
    fn only_what_is_named_stays_and_no_empty_folder() {
        let folder = folder();
        let (files, links) = keep(folder.path(), &["nic/*".into()]).unwrap();
        assert_eq!((files.len(), links.len()), (2, 0));
        assert!(!folder.path().join("wifi").exists());
        assert!(!folder.path().join("new.bin").is_symlink());
    }

    #[test]
    fn a_name_that_no_package_brings_is_noticed() {
        let folder = folder();
        let error = keep(folder.path(), &["nic/*".into(), "wifi/newest.bin".into()]).unwrap_err();
        assert!(error.to_string().contains("wifi/newest.bin"), "{error}");
    }

    #[test]
    fn of_the_versions_the_kernel_knows_the_newest_is_left() {
        let names = [
            "intel/iwlwifi/iwlwifi-cc-a0-72.ucode",
            "intel/iwlwifi/iwlwifi-cc-a0-74.ucode",
            "intel/iwlwifi/iwlwifi-cc-a0-77.ucode",
            "intel/iwlwifi/iwlwifi-7260-17.ucode",
        ];
        let left = |named: &[&str]| -> Vec<&str> {
            names.into_iter().filter(|name| !is_passed_over(name, &names, named)).collect()
        };
        let [old, middle, newest, other] = names;
        assert_eq!(left(&["iwlwifi-cc-a0-77.ucode"]), [newest, other]);
        assert_eq!(left(&["iwlwifi-cc-a0-76.ucode"]), [middle, other], "it cannot work with the newest");
        assert_eq!(left(&["iwlwifi-cc-a0-80.ucode"]), [newest, other], "the newest it could work with is not there");
        assert_eq!(left(&[]), [old, middle, newest, other], "no module names them: not ours to judge");
        let link = "iwlwifi-cc-a0-72.ucode";
        assert!(is_passed_over(link, &names, &["iwlwifi-cc-a0-77.ucode"]), "a link goes with its file");
    }

    #[test]
    fn links_lead_to_packed_files_also_through_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let [file, first, second] = ["c.bin.xz", "a.bin", "b.bin"].map(|name| folder.path().join(name));
        fs::write(&file, "packed").unwrap();
        std::os::unix::fs::symlink("b.bin", &first).unwrap();
        std::os::unix::fs::symlink("c.bin", &second).unwrap();
        lead(&[first.clone(), second.clone()]).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a.bin.xz")).unwrap(), "packed");
        assert!(!first.is_symlink() && !second.is_symlink());
        fs::remove_file(file).unwrap();
        std::os::unix::fs::symlink("c.bin", &second).unwrap();
        assert!(lead(&[second]).unwrap_err().to_string().contains("b.bin.xz"), "it leads nowhere");
    }

    #[test]
    fn a_link_is_kept_by_its_own_name() {
        let folder = folder();
        let (files, links) = keep(folder.path(), &["new.bin".into(), "wifi/new.bin".into()]).unwrap();
        assert_eq!((files.len(), links.len()), (1, 1));
    }
}
