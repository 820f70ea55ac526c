//! LND and lncli as one program, from the pinned Go module in `image/lnd`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Context,
    cache::Key,
    command,
    error::{At, Error},
    tools::Tools,
    tree,
};

/// What LND's own releases are built with, and its SQL back ends.
pub const TAGS: &str = "autopilotrpc chainrpc invoicesrpc monitoring neutrinorpc peersrpc signrpc walletrpc watchtowerrpc \
                    wtclientrpc kvdb_postgres kvdb_sqlite kvdb_etcd";
const MODULE: &str = "github.com/lightningnetwork/lnd";

/// The finished program and what it was made of.
#[derive(Debug)]
pub struct Lnd {
    pub program: PathBuf,
    /// For example `v0.21.2-beta`.
    pub version: String,
    /// What `go version -m` says of the program: every module with its version and hash.
    pub modules: String,
}

/// Builds LND for the board, or takes the result of an earlier build with the same inputs.
pub fn build(context: &Context) -> Result<Lnd, Error> {
    let source = context.source.join("image/lnd");
    let version = version(context)?;
    let key = Key::new("lnd 1").text(TAGS).text(&context.board.go.arch).path(&source)?;
    let done = context.cache.step("lnd", &key, |folder| compile(context, &source, &version, folder))?;
    let modules = done.join("modules.txt");
    Ok(Lnd { program: done.join("lnd"), version, modules: fs::read_to_string(&modules).at("read", &modules)? })
}

/// The version of LND that the checkout pins.
pub fn version(context: &Context) -> Result<String, Error> {
    let go_mod = context.source.join("image/lnd/go.mod");
    let text = fs::read_to_string(&go_mod).at("read", &go_mod)?;
    let version = required_version(&text).map(str::to_owned);
    version.ok_or_else(|| Error::File { path: go_mod, why: format!("it does not require {MODULE}") })
}

fn compile(context: &Context, source: &Path, version: &str, folder: &Path) -> Result<(), Error> {
    let shared = ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs"].map(Path::new);
    let shared: Vec<&Path> = shared.into_iter().filter(|path| path.exists()).collect();
    let go = Tools::prepare("go", &context.wanted.go, &context.lock.go, &shared, context.epoch, context.cache)?;
    let work = folder.join("source");
    fs::create_dir(&work).at("create", &work)?;
    tree::overlay(source, &work)?;
    let modules = context.cache.subfolder("go")?;
    let environment = |name: &str, value: &str| format!("{name}={value}");
    let mut settings = vec![
        environment("GOPATH", &modules.join("path").to_string_lossy()),
        environment("GOCACHE", &modules.join("build").to_string_lossy()),
        "GOTOOLCHAIN=auto".into(),
        "GOFLAGS=-mod=readonly -modcacherw".into(),
        "CGO_ENABLED=0".into(),
        environment("GOARCH", &context.board.go.arch),
    ];
    // Where a user's machine has a module proxy or an HTTP proxy of its own, it is used.
    for name in ["GOPROXY", "GOSUMDB", "GONOSUMDB", "http_proxy", "https_proxy", "no_proxy"] {
        settings.extend(std::env::var(name).ok().map(|value| environment(name, &value)));
    }
    eprintln!("{:>14}  building LND {version}: 8 minutes on two cores, once", "lnd");
    let output = folder.join("lnd");
    let script = format!("cd '{}' && exec /usr/lib/go-1.24/bin/go \"$@\"", work.display());
    let run = |words: &[&str], progress: &mut dyn FnMut(&str)| {
        let mut command = go.command("env");
        command.args(&settings).args(["sh", "-c", &script, "go"]).args(words);
        command::stream(&mut command, progress)
    };
    run(&["mod", "download"], &mut |_| ())?;
    let flags = format!("-s -w -buildid= -X {MODULE}/build.Commit={version}");
    let target = output.to_string_lossy();
    let mut packages = 0;
    run(
        &["build", "-v", "-trimpath", "-buildvcs=false", "-tags", TAGS, "-ldflags", &flags, "-o", &target, "."],
        &mut |_| {
            packages += 1;
            if packages % 200 == 0 {
                eprintln!("{:>14}  {packages} packages compiled", "");
            }
        },
    )?;
    let mut list = go.command("env");
    list.args(&settings).args(["sh", "-c", &script, "go", "version", "-m", &target]);
    let list = command::output(&mut list)?;
    let path = folder.join("modules.txt");
    fs::write(&path, list).at("write", &path)?;
    super::cache::remove(&work)
}

/// The version that `go.mod` requires of LND.
fn required_version(go_mod: &str) -> Option<&str> {
    go_mod.lines().find_map(|line| {
        line.trim().trim_start_matches("require ").strip_prefix(MODULE)?.strip_prefix(' ')?.split(' ').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_both_forms_of_require() {
        assert_eq!(required_version("require github.com/lightningnetwork/lnd v0.21.2-beta\n"), Some("v0.21.2-beta"));
        let block = "require (\n\tgithub.com/x/y v1.0.0\n\tgithub.com/lightningnetwork/lnd v0.20.1-beta // why\n)\n";
        assert_eq!(required_version(block), Some("v0.20.1-beta"));
        assert_eq!(required_version("module x\n"), None);
    }
}
