//! The initrd: our init, the tools it calls with their libraries, and the modules that lead to the root.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Context, command,
    error::{At, Error},
    programs::Programs,
    root::Base,
    tree,
};

/// Programs of the root tree that init calls.
const PROGRAMS: [&str; 3] = ["usr/sbin/veritysetup", "usr/sbin/e2fsck", "usr/sbin/blkid"];
const FOLDERS: [&str; 7] = ["dev", "proc", "run", "sys", "sysroot", "tmp", "etc"];

/// Makes the initrd; gives the file.
pub fn build(context: &Context, base: &Base, programs: &Programs) -> Result<PathBuf, Error> {
    let list = context.source.join("image/initrd/modules");
    let key = base.key.clone().text("initrd 4").text(&context.epoch.to_string()).path(&programs.boot)?.path(&list)?;
    let done = context.cache.step("initrd", &key, |folder| {
        let work = folder.join("tree");
        fill(context, base, programs, &list, &work)?;
        let path = folder.join("initrd");
        let file = fs::File::create(&path).at("create", &path)?;
        let mut out = zstd::Encoder::new(file, 12).at("compress", &path)?;
        archive(&work, context.epoch, &mut out)?;
        out.finish().at("write", &path)?;
        super::cache::remove(&work)
    })?;
    Ok(done.join("initrd"))
}

fn fill(context: &Context, base: &Base, programs: &Programs, list: &Path, work: &Path) -> Result<(), Error> {
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
    let applets = command::output(Command::new("chroot").arg(&base.tree).args(["/usr/bin/busybox", "--list"]))?;
    for applet in applets.lines().filter(|applet| !matches!(*applet, "busybox" | "init" | "blkid")) {
        tree::symlink(work, &format!("usr/bin/{applet}"), "busybox")?;
    }
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        copy(&base.tree.join(program), program, 0o755)?;
        libraries.extend(needed(&base.tree, program)?);
    }
    for library in libraries {
        copy(&base.tree.join(&library), &library, 0o755)?;
    }
    modules(context, base, list, work)
}

/// Shared libraries of a program, and its loader, as paths below `/usr`, by the tree's own loader.
fn needed(tree: &Path, program: &str) -> Result<Vec<String>, Error> {
    let loader = loader(tree)?;
    let mut list = Command::new("chroot");
    let said = command::output(list.arg(tree).arg(format!("/{loader}")).arg("--list").arg(format!("/{program}")))?;
    let mut found = vec![loader];
    for word in said.split_whitespace().filter(|word| word.starts_with('/')) {
        let path = word.trim_start_matches('/');
        found.push(if path.starts_with("usr/") { path.to_owned() } else { format!("usr/{path}") });
    }
    Ok(found)
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

/// Copies the listed modules with all they depend on. One that the kernel has built in, or does not know, is no fault:
/// the list serves every kernel.
fn modules(context: &Context, base: &Base, list: &Path, work: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(list).at("read", list)?;
    let names: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let own = base.tree.to_string_lossy().into_owned();
    let mut files = BTreeSet::new();
    for name in &names {
        let mut modprobe = context.tools.command("modprobe");
        modprobe.arg("-d").arg(&base.tree).args(["-S", &base.release, "--show-depends", name]);
        let Ok(said) = command::output(&mut modprobe) else { continue };
        files.extend(said.lines().filter_map(|line| Some(module(line, &own)?.to_owned())));
    }
    for file in files {
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
    tree::put(work, "etc/modules-load", names.join("\n") + "\n", 0o644)?;
    command::output(context.tools.command("depmod").arg("-b").arg(work).arg(&base.release)).map(|_| ())
}

/// Writes `folder` as a cpio archive of the form the kernel reads ("newc"), the same bytes for the same files.
fn archive(folder: &Path, epoch: u64, out: &mut impl Write) -> Result<(), Error> {
    for (number, path) in tree::walk(folder)?.iter().enumerate() {
        let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy();
        let data = fs::symlink_metadata(path).at("read", path)?;
        let content = match data.file_type() {
            kind if kind.is_symlink() => fs::read_link(path).at("read", path)?.as_os_str().as_encoded_bytes().to_vec(),
            kind if kind.is_file() => fs::read(path).at("read", path)?,
            _ => Vec::new(),
        };
        let mode = if data.is_symlink() { 0o120777 } else { data.permissions().mode() };
        entry(out, number + 1, mode, epoch, &name, &content).at("write", "the initrd")?;
    }
    entry(out, 0, 0, 0, "TRAILER!!!", &[]).at("write", "the initrd")
}

fn entry(out: &mut impl Write, inode: usize, mode: u32, time: u64, name: &str, content: &[u8]) -> std::io::Result<()> {
    let links = if mode & 0o170000 == 0o040000 { 2 } else { 1 };
    let fields =
        [inode as u64, mode.into(), 0, 0, links, time, content.len() as u64, 0, 0, 0, 0, name.len() as u64 + 1, 0];
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
    fn an_archive_does_not_depend_on_file_times() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("dir")).unwrap();
        fs::write(tree.join("dir/file"), "content").unwrap();
        std::os::unix::fs::symlink("dir/file", tree.join("link")).unwrap();
        let mut first = Vec::new();
        archive(&tree, 7, &mut first).unwrap();
        fs::write(tree.join("dir/file"), "content").unwrap();
        let mut second = Vec::new();
        archive(&tree, 7, &mut second).unwrap();
        assert_eq!(first, second);

        assert!(first.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&first);
        assert!(text.contains("dir/file\0") && text.contains("TRAILER!!!"));
        assert_eq!(first.len() % 4, 0);
    }
}
