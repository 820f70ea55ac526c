//! Programs of Go modules below `tests/`: built once into the user's cache, by what the module pins.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

use crate::{
    axe::cache,
    report::{self, Outcome, ensure, fails, tail},
};

/// A program, and the folder below `tests/` whose go.mod pins it.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) module: &'static str,
    pub(crate) package: &'static str,
    pub(crate) tags: &'static str,
    /// Said before a build that takes its time.
    pub(crate) patience: Option<&'static str>,
}

/// The chain back end of most tests: half a minute.
pub(crate) const BTCD: Program =
    Program { module: "btcd", package: "github.com/btcsuite/btcd", tags: "", patience: None };

impl Program {
    /// Of an earlier build with the same go.mod and go.sum, or a new one.
    pub(crate) fn get(&self, root: &Path) -> Outcome<PathBuf> {
        let source = root.join("tests").join(self.module);
        let (go_mod, go_sum) = (fs::read_to_string(source.join("go.mod"))?, fs::read(source.join("go.sum"))?);
        let key = Sha256::new().chain_update(&go_mod).chain_update(go_sum).chain_update(self.tags);
        let key = hex::encode(&key.finalize()[..10]);
        let name = self.package.rsplit('/').next().unwrap_or(self.package);
        let done = cache().join("steps").join(format!("{}-{key}", self.module));
        let program = done.join(name);
        if program.is_file() {
            return Ok(program);
        }
        let toolchain = self.toolchain(&go_mod)?;
        if let Some(patience) = self.patience {
            eprintln!("{:>14}  {patience}", self.module);
        }
        let part = done.with_extension("part");
        fs::create_dir_all(&part)?;
        self.build(&toolchain, &source, &part.join(name))?;
        fs::rename(&part, &done)?;
        Ok(program)
    }

    /// Behind whatever else the computer has to do.
    fn build(&self, toolchain: &Path, source: &Path, to: &Path) -> Outcome {
        let modules = cache().join("go");
        let mut go = Command::new("nice");
        go.args(["-n", "10"]).arg(toolchain).args(["build", "-v", "-trimpath", "-buildvcs=false", "-tags", self.tags]);
        go.args(["-ldflags", "-s -w -buildid=", "-o"]).arg(to).arg(self.package).current_dir(source);
        go.env("GOPATH", modules.join("path")).env("GOCACHE", modules.join("build"));
        go.env("GOTOOLCHAIN", "auto").env("GOFLAGS", "-mod=readonly -modcacherw").env("CGO_ENABLED", "0");
        let mut child = go.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let (mut words, mut lines) = (String::new(), 0);
        for line in child.stderr.take().into_iter().flat_map(|errors| BufReader::new(errors).lines()) {
            words += &format!("{}\n", line?);
            lines += 1;
            if lines % 200 == 0 && self.patience.is_some() {
                eprintln!("{:>14}  {lines} packages compiled", "");
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "go build {}: {}", self.package, tail(&words, 10));
        Ok(())
    }

    /// The Go that LND's build has fetched, or one that is installed here.
    fn toolchain(&self, go_mod: &str) -> Outcome<PathBuf> {
        let version = go_mod.lines().find_map(|line| line.strip_prefix("toolchain "));
        let Some(version) = version else { return fails(format!("tests/{}/go.mod names no toolchain", self.module)) };
        let folder = format!("go/path/pkg/mod/golang.org/toolchain@v0.0.1-{version}.linux-amd64");
        let fetched = cache().join(folder).join("bin/go");
        if fetched.is_file() {
            return Ok(fetched);
        }
        match report::program("go") {
            Some(go) => Ok(go),
            None => {
                report::skip(format!("there is no Go to build {} with: scripts/build fetches it once", self.module))
            }
        }
    }
}
