//! The debian base: Debian's binary packages, unpacked, with what their scripts would do done here.

use std::{fs, path::Path};

use super::{
    Context,
    cache::Key,
    command,
    error::{At, Error},
    firmware, foreign, mirror,
    root::{self, Base},
    tree,
};

/// Unpacks the locked packages into a root tree, or takes the one of an earlier run.
pub fn build(context: &Context) -> Result<Base, Error> {
    let mut key = Key::new("debian 3").text(&context.lock.made.to_string());
    for word in context.lock.root.iter().map(|package| &package.sha256).chain(&context.wanted.root.exclude) {
        key = key.text(word);
    }
    key = context.wanted.firmware.keep.iter().fold(key, |key, kept| key.text(kept));
    let done = context.cache.step("debian", &key, |folder| {
        let tree = folder.join("tree");
        tree::unpack(&mirror::fetch(&context.lock.root, context.cache)?, &context.wanted.root.exclude, &tree)?;
        finish(context, &tree, folder)
    })?;
    let tree = done.join("tree");
    let release = root::only_entry(&tree.join("usr/lib/modules"))?;
    let mut loader = vec![done.join("device-trees")];
    loader.extend(foreign::loader(context.lock, context.cache)?);
    Ok(Base { tree, kernel: done.join("vmlinuz"), release, key, parts: vec![], loader })
}

fn finish(context: &Context, tree: &Path, folder: &Path) -> Result<(), Error> {
    let boot = tree.join("boot");
    let release = root::only_entry(&tree.join("usr/lib/modules"))?;
    let kernel = boot.join(format!("vmlinuz-{release}"));
    fs::copy(&kernel, folder.join("vmlinuz")).at("copy", &kernel)?;
    super::cache::remove(&boot)?;
    // Of all boards that Debian's kernel runs on: the loader is given its own, the root none.
    let device_trees = tree.join("usr/lib").join(format!("linux-image-{release}"));
    if device_trees.is_dir() {
        fs::rename(&device_trees, folder.join("device-trees")).at("take", &device_trees)?;
    }
    command::output(context.tools.command("depmod").arg("-b").arg(tree).arg(&release))?;
    firmware::reduce(tree, &context.wanted.firmware, context.tools)?;
    busybox(context, tree)?;
    certificates(tree)?;
    settings(tree)
}

/// The small files of /etc, the same on both bases.
pub fn settings(tree: &Path) -> Result<(), Error> {
    // Users come from sysusers.d alone; the loader's cache and the unit links are made when the tree is complete.
    for (path, text) in [
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
        ("etc/shells", "/bin/sh\n"),
    ] {
        tree::put(tree, path, text, 0o644)?;
    }
    tree::symlink(tree, "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")?;
    tree::symlink(tree, "etc/mtab", "../proc/self/mounts")?;
    tree::symlink(tree, "etc/localtime", "../usr/share/zoneinfo/UTC")
}

/// The shell and its tools, each where no package brings its own.
fn busybox(context: &Context, tree: &Path) -> Result<(), Error> {
    let list = command::output(context.runner.command(tree, "usr/bin/busybox").arg("--list"))?;
    // What would let something in, or work around systemd, stays out.
    const UNWANTED: [&str; 14] = [
        "adduser", "addgroup", "ftpd", "getty", "httpd", "init", "inetd", "linuxrc", "login", "passwd", "su",
        "syslogd", "telnetd", "tftpd",
    ];
    for applet in list.lines().filter(|applet| !UNWANTED.contains(applet)) {
        let path = format!("usr/bin/{applet}");
        if !tree.join(&path).exists() && !tree.join("usr/sbin").join(applet).exists() {
            tree::symlink(tree, &path, "busybox")?;
        }
    }
    Ok(())
}

/// One file with all certificates, as `update-ca-certificates` makes it.
fn certificates(tree: &Path) -> Result<(), Error> {
    let mut bundle = String::new();
    for path in tree::walk(&tree.join("usr/share/ca-certificates"))? {
        if path.extension().is_some_and(|extension| extension == "crt") {
            bundle.push_str(&fs::read_to_string(&path).at("read", &path)?);
        }
    }
    tree::put(tree, "etc/ssl/certs/ca-certificates.crt", bundle, 0o644)
}
