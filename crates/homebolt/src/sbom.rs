//! The parts list of an image: CycloneDX 1.6 JSON of its Debian packages, crates, Go modules and data.
//!
//! The same contents give the same bytes: the time is that of the sources, the serial number comes from the content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use release::Release;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A Debian binary package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DebianPackage {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// The source package where its name or version differs, as in `Source:`, for example `glibc` or `gcc-14 (14.2.0-19)`.
    pub source: Option<String>,
    /// Of the .deb file, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// As the package states it, not necessarily an SPDX expression.
    pub licence: Option<String>,
}

/// A package that was built from source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePackage {
    pub name: String,
    pub version: String,
    /// As the package states it, not necessarily an SPDX expression.
    pub licence: Option<String>,
    /// Its name in the lists of vulnerabilities, `cpe:2.3:…`.
    pub cpe: Option<String>,
}

/// A crate compiled into one of our programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    pub name: String,
    pub version: String,
    /// SPDX expression.
    pub licence: Option<String>,
    /// Of the .crate file as in Cargo.lock; our own crates have none.
    pub sha256: Option<String>,
}

/// A Go module linked into LND; the standard library is the module `stdlib`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoModule {
    pub path: String,
    pub version: String,
    /// As in go.sum: `h1:` and the base64 of a SHA-256 over the module's file list.
    pub sum: Option<String>,
}

/// A file that is no program, such as the headers of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    pub name: String,
    /// What it is of and how far it goes, for example `mainnet-899999`.
    pub version: String,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

/// All that is in an image.
#[derive(Debug)]
pub struct Contents<'a> {
    pub release: &'a Release,
    /// Debian's name of the distribution, for example `trixie`.
    pub distribution: &'a str,
    pub debian: &'a [DebianPackage],
    /// Of the buildroot base.
    pub source: &'a [SourcePackage],
    pub crates: &'a [Crate],
    pub go: &'a [GoModule],
    pub data: &'a [DataFile],
}

/// Why there is no parts list.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to run '{command}' in {}", folder.display())]
    Run { command: String, folder: PathBuf, source: std::io::Error },
    #[error("'{command}' in {} failed: {message}", folder.display())]
    Failed { command: String, folder: PathBuf, message: String },
    #[error("failed to understand what cargo metadata printed")]
    Metadata(#[source] serde_json::Error),
    #[error("failed to understand {}: {message}", path.display())]
    Lock { path: PathBuf, message: String },
    #[error("the workspace has no package {0}")]
    NoPackage(String),
    #[error("'go version -m' printed a line that is not understood: {0:?}")]
    Go(String),
    #[error("the build time {0} is not a date")]
    Time(u64),
}

/// The CycloneDX document, indented, with a line break at the end.
pub fn document(contents: &Contents) -> Result<String, Error> {
    let release = contents.release;
    let time = i64::try_from(release.built).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let timestamp = time.and_then(|time| time.format(&Rfc3339).ok()).ok_or(Error::Time(release.built))?;

    // By reference: sorted, and what is named twice stands once.
    let mut parts = BTreeMap::new();
    let debian = contents.debian.iter().map(|package| debian(package, contents.distribution));
    let programs = debian
        .chain(contents.source.iter().map(source))
        .chain(contents.crates.iter().map(rust))
        .chain(contents.go.iter().map(go));
    for part in programs.chain(contents.data.iter().map(data)) {
        parts.insert(part["bom-ref"].as_str().unwrap_or_default().to_owned(), part);
    }
    let root = format!("homebolt-{}-{}", release.board, release.version);
    let references: Vec<&String> = parts.keys().collect();
    let mut dependencies = vec![json!({"ref": root, "dependsOn": references})];
    dependencies.extend(references.iter().map(|reference| json!({"ref": reference})));

    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp,
            "tools": {"components": [{"type": "application", "name": "homebolt", "version": env!("CARGO_PKG_VERSION")}]},
            "component": {
                "type": "operating-system",
                "bom-ref": root,
                "name": format!("homebolt-{}", release.board),
                "version": release.version,
                "licenses": [{"expression": "Apache-2.0"}],
                "properties": [
                    {"name": "homebolt:base", "value": release.base},
                    {"name": "homebolt:lnd", "value": release.lnd_version},
                ],
            },
        },
        "components": parts.values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    document["serialNumber"] = json!(serial_number(&document.to_string()));
    Ok(format!("{document:#}\n"))
}

/// A UUID of version 8 (its bits are ours to choose, RFC 9562): the first bits of the content's SHA-256.
fn serial_number(content: &str) -> String {
    let mut uuid = Sha256::digest(content).to_vec();
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let text = hex::encode(&uuid[..16]);
    format!("urn:uuid:{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

fn debian(package: &DebianPackage, distribution: &str) -> Value {
    let upstream = package.source.as_deref().map_or(String::new(), |source| {
        // `Source: gcc-14 (14.2.0-19)`; scanners look vulnerabilities up by the source package.
        let (name, version) = source.split_once(' ').unwrap_or((source, ""));
        let at = version.trim_matches(['(', ')', ' ']);
        let upstream = if at.is_empty() { name.to_owned() } else { format!("{name}@{at}") };
        format!("&upstream={}", escape(&upstream))
    });
    let purl = format!(
        "pkg:deb/debian/{}@{}?arch={}&distro={}{upstream}",
        escape(&package.name),
        escape(&package.version),
        escape(&package.architecture),
        escape(distribution)
    );
    let mut part = part("library", &package.name, &package.version, &purl, package.sha256.as_deref());
    if let Some(licence) = &package.licence {
        part["licenses"] = json!([{"license": {"name": licence}}]);
    }
    part
}

fn source(package: &SourcePackage) -> Value {
    let purl = format!("pkg:generic/{}@{}", escape(&package.name), escape(&package.version));
    let mut part = part("library", &package.name, &package.version, &purl, None);
    if let Some(licence) = &package.licence {
        part["licenses"] = json!([{"license": {"name": licence}}]);
    }
    if let Some(cpe) = &package.cpe {
        part["cpe"] = json!(cpe);
    }
    part
}

fn rust(krate: &Crate) -> Value {
    let kind = if krate.name == RUST_STD { "generic" } else { "cargo" };
    let purl = format!("pkg:{kind}/{}@{}", escape(&krate.name), escape(&krate.version));
    let mut part = part("library", &krate.name, &krate.version, &purl, krate.sha256.as_deref());
    if let Some(licence) = &krate.licence {
        // Old crates write `MIT/Apache-2.0`.
        part["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    part
}

fn go(module: &GoModule) -> Value {
    // The purl type asks for lower case; the name keeps the module's own.
    let path: Vec<String> = module.path.to_lowercase().split('/').map(escape).collect();
    let purl = format!("pkg:golang/{}@{}", path.join("/"), escape(&module.version));
    let mut part = part("library", &module.path, &module.version, &purl, None);
    if let Some(sum) = &module.sum {
        // Not a hash of a file, so not among the hashes.
        part["properties"] = json!([{"name": "homebolt:go.sum", "value": sum}]);
    }
    part
}

fn data(file: &DataFile) -> Value {
    let purl = format!("pkg:generic/{}@{}", escape(&file.name), escape(&file.version));
    part("data", &file.name, &file.version, &purl, Some(&file.sha256))
}

fn part(kind: &str, name: &str, version: &str, purl: &str, sha256: Option<&str>) -> Value {
    let mut part = json!({"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl});
    if let Some(sha256) = sha256 {
        part["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
    }
    part
}

/// Percent-encoding as package URLs want it: the colon stays.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The modules in what `go version -m <program>` prints, the standard library first. A replaced module counts as its
/// replacement; the main module itself is not among them.
pub fn go_modules(text: &str) -> Result<Vec<GoModule>, Error> {
    let bad = |line: &str| Error::Go(line.to_owned());
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let version = head.rsplit_once(": go").ok_or_else(|| bad(head))?.1;
    let version = version.split_whitespace().next().ok_or_else(|| bad(head))?;
    let mut modules = vec![GoModule { path: "stdlib".into(), version: version.into(), sum: None }];
    for line in lines {
        let mut fields = line.split_whitespace();
        let kind = fields.next();
        if !matches!(kind, Some("dep" | "=>")) {
            continue;
        }
        let (Some(path), Some(version)) = (fields.next(), fields.next()) else { return Err(bad(line)) };
        let module = GoModule { path: path.into(), version: version.into(), sum: fields.next().map(Into::into) };
        if kind == Some("=>") && (modules.len() < 2 || modules.pop().is_none()) {
            return Err(bad(line));
        }
        modules.push(module);
    }
    Ok(modules)
}

/// How the standard library, which is in every program too, is called among the crates.
const RUST_STD: &str = "rust-std";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `dev`, `build`, or nothing for a normal dependency.
    kind: Option<String>,
}

/// The crates compiled into `programs` (packages of the workspace) for `target`, for example
/// `x86_64-unknown-linux-gnu`: they themselves, their normal dependencies and the standard library. Procedural macros
/// and what only these need run in the compiler and are left out.
pub fn crates(workspace: &Path, programs: &[&str], target: &str) -> Result<Vec<Crate>, Error> {
    let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform", target];
    let metadata = serde_json::from_str(&output(workspace, "cargo", &arguments)?).map_err(Error::Metadata)?;
    let path = workspace.join("Cargo.lock");
    let lock = std::fs::read_to_string(&path)
        .map_err(|error| Error::Lock { path: path.clone(), message: error.to_string() })?;
    let checksums = checksums(&lock).map_err(|error| Error::Lock { path, message: error.to_string() })?;
    let mut crates = compiled_in(&metadata, programs, &checksums)?;

    let rustc = output(workspace, "rustc", &["--version"])?;
    let version = rustc.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let licence = Some("MIT OR Apache-2.0".to_owned());
    crates.push(Crate { name: RUST_STD.into(), version, licence, sha256: None });
    crates.sort();
    Ok(crates)
}

fn output(folder: &Path, program: &str, arguments: &[&str]) -> Result<String, Error> {
    let command = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).current_dir(folder).output().map_err(|source| Error::Run {
        command: command(),
        folder: folder.into(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Failed { command: command(), folder: folder.into(), message })
}

/// SHA-256 by name and version.
type Checksums = BTreeMap<(String, String), String>;

fn checksums(lock: &str) -> Result<Checksums, toml::de::Error> {
    #[derive(Deserialize)]
    struct Lock {
        #[serde(default)]
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(lock)?;
    Ok(lock.package.into_iter().filter_map(|p| Some(((p.name, p.version), p.checksum?))).collect())
}

fn compiled_in(metadata: &Metadata, programs: &[&str], checksums: &Checksums) -> Result<Vec<Crate>, Error> {
    let packages: BTreeMap<&str, &Package> = metadata.packages.iter().map(|p| (p.id.as_str(), p)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let mut open = Vec::new();
    for program in programs {
        let found = metadata.packages.iter().find(|package| package.name == *program);
        open.push(found.ok_or_else(|| Error::NoPackage((*program).to_owned()))?.id.as_str());
    }
    let mut seen = BTreeSet::new();
    let mut crates = Vec::new();
    while let Some(id) = open.pop() {
        let Some(package) = packages.get(id).filter(|_| seen.insert(id)) else { continue };
        if package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro")) {
            continue;
        }
        let sha256 = checksums.get(&(package.name.clone(), package.version.clone())).cloned();
        let (name, version) = (package.name.clone(), package.version.clone());
        crates.push(Crate { name, version, licence: package.license.clone(), sha256 });
        let normal = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        let needs = nodes.get(id).into_iter().flat_map(|node| node.deps.iter().filter(normal));
        open.extend(needs.map(|dependency| dependency.pkg.as_str()));
    }
    Ok(crates)
}

#[cfg(test)]
mod tests;
