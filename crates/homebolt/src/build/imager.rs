//! `out/os_list.json`: all images beside each other, as Raspberry Pi Imager reads it (`rpi-imager --repo <file>`), so that
//! people flash with the tool they know.

use std::{
    fs,
    path::{Path, PathBuf},
};

use release::Manifest;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    board::Board,
    error::{At, Error},
};

/// The list's name, beside the boards' folders.
pub const FILE: &str = "os_list.json";

/// Lists the images of all boards below `out`. `url` is the address under which the folders of the boards will be found;
/// without one the list leads to the files where they are.
pub fn write(source: &Path, out: &Path, url: Option<&str>) -> Result<(), Error> {
    let mut entries = Vec::new();
    for path in manifests(out)? {
        let text = fs::read_to_string(&path).at("read", &path)?;
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| Error::File { path: path.clone(), why: error.to_string() })?;
        let folder = path.parent().unwrap_or(out);
        let compressed = folder.join(&manifest.compressed.name);
        // An image of an earlier build whose board is gone says nothing to anybody.
        let Ok(board) = Board::read(source, &manifest.release.board) else { continue };
        if compressed.is_file() {
            entries.push(entry(&board, &manifest, &address(&compressed, out, url)));
        }
    }
    let path = out.join(FILE);
    fs::write(&path, format!("{:#}\n", json!({ "os_list": entries }))).at("write", &path)
}

/// The manifests of the boards' folders, in the order of their names.
fn manifests(out: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for board in fs::read_dir(out).at("list", out)?.flatten().filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(board.path()).at("list", board.path())?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("homebolt-") && name.ends_with(".manifest.json") {
                found.push(file.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn address(image: &Path, out: &Path, url: Option<&str>) -> String {
    match url {
        None => format!("file://{}", image.display()),
        Some(url) => {
            format!("{}/{}", url.trim_end_matches('/'), image.strip_prefix(out).unwrap_or(image).display())
        }
    }
}

/// One image. Imager compares what it has written with `extract_sha256`, and leaves the card without a partition table
/// if it differs.
fn entry(board: &Board, manifest: &Manifest, url: &str) -> Value {
    let release = &manifest.release;
    let built = i64::try_from(release.built).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let mut entry = json!({
        "name": format!("Homebolt {} ({})", release.version, board.imager.title.as_ref().unwrap_or(&board.name)),
        "description": format!("A personal Lightning node, with LND {}", release.lnd_version.trim_start_matches('v')),
        "icon": "",
        "url": url,
        "extract_size": manifest.disk.size,
        "extract_sha256": manifest.disk.sha256,
        "image_download_size": manifest.compressed.size,
        "image_download_sha256": manifest.compressed.sha256,
        "release_date": built.map(|time| time.date().to_string()).unwrap_or_default(),
        // Everything is asked on the box's own page: Imager has nothing to set.
        "init_format": "none",
    });
    if !board.imager.devices.is_empty() {
        entry["devices"] = json!(board.imager.devices);
    }
    entry
}

#[cfg(test)]
mod tests {
    use release::{Image, MANIFEST_FORMAT, Release};

    use super::*;

    fn manifest(board: &str) -> Manifest {
        let image = |name: &str, size, digit: &str| Image { name: name.into(), size, sha256: digit.repeat(64) };
        Manifest {
            format: MANIFEST_FORMAT,
            release: Release {
                version: "0.1.0".into(),
                board: board.into(),
                base: "debian".into(),
                built: 1_795_297_955,
                lnd_version: "v0.21.2-beta".into(),
                development_keys: true,
                eeprom: None,
            },
            slots: vec![],
            root_hash: String::new(),
            hash_offset: 0,
            disk: image("disk.img", 2_000, "a"),
            compressed: image(&format!("homebolt-0.1.0-{board}.img.zst"), 100, "b"),
        }
    }

    /// A folder with finished images of these boards.
    fn out(boards: &[&str]) -> tempfile::TempDir {
        let out = tempfile::tempdir().unwrap();
        for board in boards {
            let folder = out.path().join(board);
            fs::create_dir(&folder).unwrap();
            let manifest = manifest(board);
            fs::write(folder.join(&manifest.compressed.name), "").unwrap();
            let name = format!("homebolt-0.1.0-{board}.manifest.json");
            fs::write(folder.join(name), serde_json::to_string(&manifest).unwrap()).unwrap();
        }
        out
    }

    fn list(out: &Path, url: Option<&str>) -> Vec<Value> {
        write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), out, url).unwrap();
        let document: Value = serde_json::from_slice(&fs::read(out.join(FILE)).unwrap()).unwrap();
        document["os_list"].as_array().unwrap().clone()
    }

    #[test]
    fn each_boards_image_has_an_entry_with_all_that_imager_asks_for() {
        let out = out(&["x86-64", "aarch64"]);
        let list = list(out.path(), None);
        assert_eq!(list.len(), 2);
        let entry = &list[0];
        assert_eq!(entry["name"], "Homebolt 0.1.0 (aarch64)");
        assert_eq!((&entry["extract_size"], &entry["image_download_size"]), (&json!(2_000), &json!(100)));
        assert_eq!((&entry["extract_sha256"], &entry["release_date"]), (&json!("a".repeat(64)), &json!("2026-11-21")));
        let here = format!("file://{}/aarch64/homebolt-0.1.0-aarch64.img.zst", out.path().display());
        assert_eq!(entry["url"], here);
        for name in ["description", "icon", "init_format", "image_download_sha256"] {
            assert!(entry[name].is_string(), "{name}");
        }
    }

    #[test]
    fn a_published_list_leads_to_the_server() {
        let out = out(&["x86-64"]);
        let url = list(out.path(), Some("https://example.org/homebolt/"))[0]["url"].clone();
        assert_eq!(url, "https://example.org/homebolt/x86-64/homebolt-0.1.0-x86-64.img.zst");
    }

    #[test]
    fn an_image_that_is_gone_is_not_offered() {
        let out = out(&["x86-64", "no-such-board"]);
        assert_eq!(list(out.path(), None).len(), 1, "a board that is not there any more");
        fs::remove_file(out.path().join("x86-64/homebolt-0.1.0-x86-64.img.zst")).unwrap();
        assert!(list(out.path(), None).is_empty());
    }

    #[test]
    fn a_boards_devices_are_named_where_there_are_some() {
        let text = "title = \"Raspberry Pi 5\"\ndevices = [\"pi5-64bit\"]\n";
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut board = Board::read(&source, "aarch64").unwrap();
        assert!(entry(&board, &manifest("aarch64"), "")["devices"].is_null());
        board.imager = toml::from_str(text).unwrap();
        let entry = entry(&board, &manifest("aarch64"), "");
        assert_eq!(
            (&entry["name"], &entry["devices"][0]),
            (&json!("Homebolt 0.1.0 (Raspberry Pi 5)"), &json!("pi5-64bit"))
        );
    }
}
