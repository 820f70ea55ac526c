//! btcd, the chain back end, built once from the Go module in `tests/btcd`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use crate::{
    axe::cache,
    report::{self, Outcome, ensure, fails, tail},
};

const PACKAGE: &str = "github.com/btcsuite/btcd";

/// The program: of an earlier build with the same go.mod and go.sum, or a new one (half a minute).
pub(super) fn program(root: &Path) -> Outcome<PathBuf> {
    let source = root.join("tests/btcd");
    let (go_mod, go_sum) = (fs::read_to_string(source.join("go.mod"))?, fs::read(source.join("go.sum"))?);
    let key = hex::encode(&Sha256::new().chain_update(&go_mod).chain_update(go_sum).finalize()[..10]);
    let done = cache().join("steps").join(format!("btcd-{key}"));
    let program = done.join("btcd");
    if program.is_file() {
        return Ok(program);
    }
    let part = done.with_extension("part");
    fs::create_dir_all(&part)?;
    let modules = cache().join("go");
    let mut go = Command::new(toolchain(&go_mod)?);
    go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o"]).arg(part.join("btcd"));
    go.arg(PACKAGE).current_dir(&source);
    go.env("GOPATH", modules.join("path")).env("GOCACHE", modules.join("build"));
    go.env("GOTOOLCHAIN", "auto").env("GOFLAGS", "-mod=readonly -modcacherw").env("CGO_ENABLED", "0");
    let output = go.output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "go build {PACKAGE}: {}", tail(&words, 10));
    fs::rename(&part, &done)?;
    Ok(program)
}

/// The Go that LND's build has fetched, or one that is installed here.
fn toolchain(go_mod: &str) -> Outcome<PathBuf> {
    let version = go_mod.lines().find_map(|line| line.strip_prefix("toolchain "));
    let Some(version) = version else { return fails("tests/btcd/go.mod names no toolchain") };
    let folder = format!("go/path/pkg/mod/golang.org/toolchain@v0.0.1-{version}.linux-amd64");
    let fetched = cache().join(folder).join("bin/go");
    if fetched.is_file() {
        return Ok(fetched);
    }
    match report::program("go") {
        Some(go) => Ok(go),
        None => report::skip("there is no Go to build btcd with: scripts/build fetches it once"),
    }
}
