//! axe-core, the accessibility checker: fetched once from npm, checked by its hash, run in a page.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha512};

use crate::{
    browser::Browser,
    report::{Outcome, ensure, program, skip},
};

const VERSION: &str = "4.14.1";
/// npm's `dist.integrity` of that version.
const SHA512: &str = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==";

/// The checker's source text.
#[derive(Debug)]
pub(crate) struct Axe(String);

impl Axe {
    /// Takes it from the cache, or from npm.
    pub(crate) fn get() -> Outcome<Self> {
        let folder = cache().join("npm");
        let archive = folder.join(format!("axe-core-{VERSION}.tgz"));
        if !archive.is_file() {
            fetch(&folder, &archive)?;
        }
        let found = STANDARD.encode(Sha512::digest(fs::read(&archive)?));
        if found != SHA512 {
            fs::remove_file(&archive)?;
            return crate::report::fails(format!("axe-core {VERSION} from npm has the hash {found}, not {SHA512}"));
        }
        let mut tar = Command::new("tar");
        let output = tar.args(["--extract", "--gzip", "--to-stdout", "--file"]).arg(&archive).arg("package/axe.min.js");
        let output = output.output()?;
        ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self(String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// What is wrong with the page that is open: a line for each rule and element.
    pub(crate) fn check(&self, browser: &Browser) -> Outcome<Vec<String>> {
        browser.evaluate(&format!("{}; true", self.0))?;
        let report = browser.evaluate(
            "axe.run(document).then(found => found.violations.flatMap(rule => rule.nodes.map(node => \
             `${rule.id} (${rule.impact}): ${node.html.slice(0, 160)}: ${node.failureSummary.replace(/\\s+/g, ' ')}`)))",
        )?;
        let lines = report.as_array().cloned().unwrap_or_default();
        Ok(lines.iter().map(|line| line.as_str().unwrap_or_default().to_owned()).collect())
    }
}

fn fetch(folder: &Path, archive: &Path) -> Outcome {
    if program("npm").is_none() {
        return skip("npm is not installed, and axe-core is not in the cache");
    }
    fs::create_dir_all(folder)?;
    let output = Command::new("npm")
        .args(["pack", "--silent", "--fetch-retries=1", "--fetch-timeout=20000"])
        .arg(format!("axe-core@{VERSION}"))
        .current_dir(folder)
        .output()?;
    if !output.status.success() || !archive.is_file() {
        let reason = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
        return skip(format!("axe-core cannot be fetched from npm: {reason}"));
    }
    Ok(())
}

/// The folder that the build uses, too.
pub(crate) fn cache() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("HOMEBOLT_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|folder| folder.join("homebolt")))
        .or_else(|| from("HOME").map(|folder| folder.join(".cache/homebolt")))
        .unwrap_or_else(|| std::env::temp_dir().join("homebolt"))
}
