//! The initrds, of a slot and of the recovery: our init, the tools it calls with their libraries, and kernel modules.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use release::Release;

use super::{
    Context, command,
    error::{At, Error},
    programs::Programs,
    root::{self, Base},
    tree,
};

/// Programs of the root tree that init calls.
const PROGRAMS: [&str; 3] = ["usr/sbin/veritysetup", "usr/sbin/e2fsck", "usr/sbin/blkid"];
/// What the recovery calls besides.
const OF_RECOVERY: &str = "usr/bin/rauc";
const FOLDERS: [&str; 8] = ["data", "dev", "proc", "run", "sys", "sysroot", "tmp", "etc"];

/// Where the lists of kernel modules are, in the checkout: those that are loaded at once, those of devices, and what the
/// recovery's devices may need.
const START: &str = "image/initrd/start";
const DEVICES: &str = "image/initrd/devices";
const RECOVERY: &str = "image/initrd/recovery";

/// Makes the initrd of a slot; gives the file.
pub fn build(context: &Context, base: &Base, programs: &Programs) -> Result<PathBuf, Error> {
    let mut key = base.key.clone().text("initrd 7").path(&programs.boot)?;
    for list in [START, DEVICES] {
        key = key.path(&context.source.join(list))?;
    }
    let key = context.board.kernel.modules.iter().fold(key, |key, module| key.text(module));
    let done = context.cache.step("initrd", &key, |folder| {
        let work = folder.join("tree");
        fill(context, base, programs, &work, &PROGRAMS)?;
        modules(context, base, &[], &work)?;
        pack(&work, &folder.join("initrd"))
    })?;
    Ok(done.join("initrd"))
}

/// Makes the recovery's: the same, with the network, with RAUC, and with what a bundle is verified by.
pub fn recovery(context: &Context, base: &Base, programs: &Programs, release: &Release) -> Result<PathBuf, Error> {
    let release = serde_json::to_vec_pretty(release).unwrap_or_default();
    let taken = |name: &str| context.source.join(name);
    // By their names in the checkout, and where they go.
    let files = [("overlays/common/etc/hostname", "etc/hostname"), ("image/initrd/udhcpc", "usr/share/udhcpc/script")];
    let mut key = base.key.clone().text("recovery 3").path(&programs.boot)?;
    key = key.text(&String::from_utf8_lossy(&release)).text(&context.keyring).path(&taken(root::RAUC_CONF))?;
    for name in [START, DEVICES, RECOVERY].iter().chain(files.iter().map(|(from, _)| from)) {
        key = key.path(&taken(name))?;
    }
    key = context.board.kernel.modules.iter().fold(key, |key, module| key.text(module));
    let done = context.cache.step("recovery", &key, |folder| {
        let work = folder.join("tree");
        fill(context, base, programs, &work, &[PROGRAMS.as_slice(), &[OF_RECOVERY]].concat())?;
        modules(context, base, &[RECOVERY], &work)?;
        for (from, to) in files {
            let from = taken(from);
            tree::put(&work, to, fs::read(&from).at("read", &from)?, 0o755)?;
        }
        tree::put(&work, "usr/lib/homebolt/release.json", &release, 0o644)?;
        root::trust(context, &work)?;
        firmware(base, &work)?;
        pack(&work, &folder.join("initrd"))
    })?;
    Ok(done.join("initrd"))
}

/// Programs of network cards by wire; those of radios would be ten times as large.
fn firmware(base: &Base, work: &Path) -> Result<(), Error> {
    let folder = base.tree.join("usr/lib/firmware/rtl_nic");
    if !folder.is_dir() {
        // A board whose only card is its own.
        return Ok(());
    }
    for path in tree::walk(&folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tree::put(work, &format!("usr/lib/firmware/rtl_nic/{name}"), fs::read(&path).at("read", &path)?, 0o644)?;
    }
    Ok(())
}

/// Writes the folder's content as a compressed archive, and removes the folder.
fn pack(work: &Path, path: &Path) -> Result<(), Error> {
    let file = fs::File::create(path).at("create", path)?;
    let mut out = zstd::Encoder::new(file, 12).at("compress", path)?;
    archive(work, &mut out)?;
    out.finish().at("write", path)?;
    super::cache::remove(work)
}

fn fill(context: &Context, base: &Base, programs: &Programs, work: &Path, wanted: &[&str]) -> Result<(), Error> {
    for folder in ["usr/bin", "usr/lib", "usr/lib64"].iter().chain(&FOLDERS) {
        let path = work.join(folder);
        fs::create_dir_all(&path).at("create", &path)?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        tree::symlink(work, link, format!("usr/{link}"))?;
    }
    // One folder for all programs: who calls them need not know which come from busybox.
    tree::symlink(work, "usr/sbin", "bin")?;
    let copy = |from: &Path, to: &str, mode: u32| tree::put(work, to, fs::read(from).at("read", from)?, mode);
    copy(&programs.boot, "init", 0o755)?;
    copy(&base.tree.join("usr/bin/busybox"), "usr/bin/busybox", 0o755)?;
    let applets = command::output(context.runner.command(&base.tree, "usr/bin/busybox").arg("--list"))?;
    for applet in applets.lines().filter(|applet| !matches!(*applet, "busybox" | "init" | "blkid")) {
        tree::symlink(work, &format!("usr/bin/{applet}"), "busybox")?;
    }
    let mut libraries = BTreeSet::new();
    for program in wanted {
        copy(&base.tree.join(program), program, 0o755)?;
        libraries.extend(needed(context, &base.tree, program)?);
    }
    for library in libraries {
        copy(&base.tree.join(&library), &library, 0o755)?;
    }
    Ok(())
}

/// Shared libraries of a program, and its loader, as paths below `/usr`, by the tree's own loader.
fn needed(context: &Context, tree: &Path, program: &str) -> Result<Vec<String>, Error> {
    let loader = loader(tree)?;
    let mut list = context.runner.command(tree, &loader);
    let said = command::output(list.arg("--list").arg(format!("/{program}")))?;
    let tree = tree.to_string_lossy();
    Ok(std::iter::once(loader).chain(libraries(&said, &tree)).collect())
}

/// The paths in a loader's list, below `/usr`: `libc.so.6 => /lib/libc.so.6 (0x…)`. An emulated loader names itself by
/// where it lies.
fn libraries(list: &str, tree: &str) -> Vec<String> {
    let paths = list.split_whitespace().filter(|word| word.starts_with('/'));
    let below = |word: &str| word.strip_prefix(tree).unwrap_or(word).trim_start_matches('/').to_owned();
    paths.map(below).map(|path| if path.starts_with("usr/") { path } else { format!("usr/{path}") }).collect()
}

/// The dynamic loader: the one file in `/usr/lib64` or, where there is none, in `/usr/lib`.
fn loader(tree: &Path) -> Result<String, Error> {
    for folder in ["usr/lib64", "usr/lib"] {
        for entry in fs::read_dir(tree.join(folder)).at("list", tree.join(folder))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("ld-linux") {
                return Ok(format!("{folder}/{name}"));
            }
        }
    }
    Err(Error::File { path: tree.into(), why: "no dynamic loader in it".into() })
}

/// The module's path below `tree` in a line of modprobe: `insmod <tree>/<path> <options>`. The tree's own path may have
/// spaces in it, and options follow behind one.
fn module<'a>(line: &'a str, tree: &str) -> Option<&'a str> {
    let path = line.strip_prefix("insmod ")?;
    path.strip_prefix(tree).unwrap_or(path).split(' ').next()
}

/// Copies the modules of a start, of the board, and of further lists with all they depend on. One that the kernel has built in,
/// or does not know, is no fault: the lists serve every kernel.
fn modules(context: &Context, base: &Base, more: &[&str], work: &Path) -> Result<(), Error> {
    let (start, devices) = (list(context, START)?, list(context, DEVICES)?);
    let devices = [devices.as_slice(), &context.board.kernel.modules].concat();
    let mut names = [start.as_slice(), &devices].concat();
    for path in more {
        names.extend(list(context, path)?);
    }
    let own = base.tree.to_string_lossy().into_owned();
    let mut files = BTreeSet::new();
    for name in &names {
        let mut modprobe = context.tools.command("modprobe");
        modprobe.arg("-d").arg(&base.tree).args(["-S", &base.release, "--show-depends", name]);
        let Ok(said) = command::output(&mut modprobe) else { continue };
        files.extend(said.lines().filter_map(|line| Some(module(line, &own)?.to_owned())));
    }
    for file in &files {
        let relative = file.trim_start_matches('/');
        let relative = if relative.starts_with("usr/") { relative.to_owned() } else { format!("usr/{relative}") };
        let from = base.tree.join(&relative);
        tree::put(work, &relative, fs::read(&from).at("read", &from)?, 0o644)?;
        // Plain modules: the kernel takes them as they are, and the whole archive compresses better than its parts.
        if relative.ends_with(".xz") {
            command::output(context.tools.command("xz").args(["--decompress", "--force"]).arg(work.join(&relative)))?;
        }
    }
    for index in ["modules.builtin", "modules.order", "modules.builtin.modinfo"] {
        let from = base.modules().join(index);
        let to = format!("usr/lib/modules/{}/{index}", base.release);
        tree::put(work, &to, fs::read(&from).at("read", &from)?, 0o644)?;
    }
    tree::put(work, "etc/modules-load", start.join("\n") + "\n", 0o644)?;
    command::output(context.tools.command("depmod").arg("-b").arg(work).arg(&base.release))?;
    let index = work.join(format!("usr/lib/modules/{}/modules.alias", base.release));
    let aliases = fs::read_to_string(&index).at("read", &index)?;
    match silent(&devices, &files, &aliases) {
        Some(name) => Err(Error::File {
            path: context.source.join(DEVICES),
            why: format!("no device announces {name}, so nothing would load it: it belongs into {START}"),
        }),
        None => Ok(()),
    }
}

/// The first of the names that is a module among the files, and that `modules.alias` does not name for any device.
fn silent<'a>(names: &'a [String], files: &BTreeSet<String>, aliases: &str) -> Option<&'a str> {
    let plain = |name: &str| name.replace('-', "_");
    let stem = |path: &String| plain(path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or(""));
    let present: BTreeSet<String> = files.iter().map(stem).collect();
    let announced: BTreeSet<String> = aliases
        .lines()
        .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
        .filter(|(pattern, _)| pattern.contains(':'))
        .map(|(_, module)| plain(module))
        .collect();
    let is_silent = |name: &&String| present.contains(&plain(name)) && !announced.contains(&plain(name));
    names.iter().find(is_silent).map(String::as_str)
}

/// The names in a list of the checkout.
fn list(context: &Context, path: &str) -> Result<Vec<String>, Error> {
    let path = context.source.join(path);
    let text = fs::read_to_string(&path).at("read", &path)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// Writes `folder` as a cpio archive of the form the kernel reads ("newc"), the same bytes for the same files. It has no
/// times: with that of the build in it, every update would bring a whole initrd, a tenth of what a box can fetch, anew.
fn archive(folder: &Path, out: &mut impl Write) -> Result<(), Error> {
    for (number, path) in tree::walk(folder)?.iter().enumerate() {
        let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy();
        let data = fs::symlink_metadata(path).at("read", path)?;
        let content = match data.file_type() {
            kind if kind.is_symlink() => fs::read_link(path).at("read", path)?.as_os_str().as_encoded_bytes().to_vec(),
            kind if kind.is_file() => fs::read(path).at("read", path)?,
            _ => Vec::new(),
        };
        let mode = if data.is_symlink() { 0o120777 } else { data.permissions().mode() };
        entry(out, number + 1, mode, &name, &content).at("write", "the initrd")?;
    }
    entry(out, 0, 0, "TRAILER!!!", &[]).at("write", "the initrd")
}

fn entry(out: &mut impl Write, inode: usize, mode: u32, name: &str, content: &[u8]) -> std::io::Result<()> {
    let links = if mode & 0o170000 == 0o040000 { 2 } else { 1 };
    let fields =
        [inode as u64, mode.into(), 0, 0, links, 0, content.len() as u64, 0, 0, 0, 0, name.len() as u64 + 1, 0];
    out.write_all(b"070701")?;
    for field in fields {
        write!(out, "{field:08X}")?;
    }
    let pad = |length: usize| &[0_u8; 4][..length.next_multiple_of(4) - length];
    out.write_all(name.as_bytes())?;
    out.write_all(&[0])?;
    out.write_all(pad(110 + name.len() + 1))?;
    out.write_all(content)?;
    out.write_all(pad(content.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_below_a_tree_with_spaces_in_its_path() {
        let line = "insmod /my cache/tree/lib/modules/6.12/a.ko.xz option=1 ";
        assert_eq!(module(line, "/my cache/tree"), Some("/lib/modules/6.12/a.ko.xz"));
        assert_eq!(module("insmod /lib/a.ko", "/my cache/tree"), Some("/lib/a.ko"));
        assert_eq!(module("builtin ext4", "/my cache/tree"), None);
    }

    #[test]
    fn a_module_that_no_device_announces_is_named() {
        let files = ["dm-mod", "nvme", "usb-storage"].map(|name| format!("/lib/modules/6.12/kernel/{name}.ko.xz"));
        let aliases = "# made by depmod\nalias pci:v*d*sv*sd*bc01sc08i02* nvme\nalias usb:v0525* usb_storage\n\
                       alias fs-ext4 ext4\n";
        let silent_of = |names: &[&str], aliases| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            silent(&names, &files.clone().into(), aliases).map(str::to_owned)
        };
        assert_eq!(silent_of(&["nvme", "usb-storage", "built_in"], aliases), None);
        assert_eq!(silent_of(&["nvme", "dm-mod"], "alias pci:v* nvme\nalias dm dm_mod\n").as_deref(), Some("dm-mod"));
    }

    #[test]
    fn libraries_are_found_in_the_list_of_the_hosts_loader_and_of_an_emulated_one() {
        let list = "\tlinux-vdso.so.1 (0x7)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7)\n\t/lib64/ld-linux-x86-64.so.2 (0x7)\n";
        assert_eq!(libraries(list, "/tree"), ["usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib64/ld-linux-x86-64.so.2"]);
        let list =
            "\tlibc.so.6 => /usr/lib/aarch64-linux-gnu/libc.so.6 (0x7)\n\t/tree/usr/lib/ld-linux-aarch64.so.1 (0x7)\n";
        assert_eq!(libraries(list, "/tree"), ["usr/lib/aarch64-linux-gnu/libc.so.6", "usr/lib/ld-linux-aarch64.so.1"]);
    }

    #[test]
    fn an_archive_does_not_depend_on_file_times() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("dir")).unwrap();
        fs::write(tree.join("dir/file"), "content").unwrap();
        std::os::unix::fs::symlink("dir/file", tree.join("link")).unwrap();
        let mut first = Vec::new();
        archive(&tree, &mut first).unwrap();
        fs::write(tree.join("dir/file"), "content").unwrap();
        let mut second = Vec::new();
        archive(&tree, &mut second).unwrap();
        assert_eq!(first, second);

        assert!(first.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&first);
        assert!(text.contains("dir/file\0") && text.contains("TRAILER!!!"));
        assert_eq!(first.len() % 4, 0);
    }
}
