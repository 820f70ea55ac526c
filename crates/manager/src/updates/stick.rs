//! Bundles on the USB stick that is mounted, each with its signed description beside it.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use release::{Refusal, Update};
use rust_i18n::t;

use super::{DESCRIPTION, beside, judge};
use crate::{copies::sticks, pages::words::sentence, shared::House};

/// More are not listed.
const MOST: usize = 20;
const BUNDLE: &str = ".raucb";

/// A bundle, and what its description says.
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) read: Result<Judged, String>,
}

pub(crate) struct Judged {
    pub(crate) update: Update,
    /// Whether it is one-way, or what stands against it.
    pub(crate) judged: Result<bool, Box<Refusal>>,
}

/// The bundles in the root of the stick that is mounted; `None` where none is.
pub(crate) async fn list(house: &House) -> Option<Vec<Pair>> {
    if !sticks::is_mounted(&house.shared.run_dir) {
        return None;
    }
    let folder = sticks::folder(&house.shared.run_dir);
    let names = beside(move || names(&folder)).await.unwrap_or_default();
    let mut pairs = Vec::new();
    for name in names {
        let read = read(house, &name).await.map(|(update, _)| {
            let judged = judge(house, &update, false);
            Judged { update, judged }
        });
        pairs.push(Pair { name, read });
    }
    Some(pairs)
}

/// Reads and believes the description of a bundle on the stick, and sees that the bundle has the size it says. What is in
/// it is for root to find out, which installs it. An error is a sentence.
pub(crate) async fn read(house: &House, name: &str) -> Result<(Update, Vec<u8>), String> {
    let folder = sticks::folder(&house.shared.run_dir);
    let bundle = name.to_owned();
    let read = beside(move || description(&folder, &bundle)).await;
    let (file, size) = read.map_err(|error| error.to_string())??;
    let update = house.updates.read(&file).map_err(|error| sentence(&error.to_string()))?;
    if size != update.bundle.size {
        return Err(t!("updates.stick.size", name = name).into_owned());
    }
    Ok((update, file))
}

/// Plain files, sorted; links and whatever else there may be are left out.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_bundle = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    let mut names: Vec<String> = entries
        .filter(is_bundle)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_plain(name))
        .take(MOST)
        .collect();
    names.sort();
    names
}

/// A file in the root of the stick and nothing else; what our programs call one has no other letters.
fn is_plain(name: &str) -> bool {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '+');
    name.len() <= 200 && name.ends_with(BUNDLE) && !name.starts_with('.') && name.chars().all(letters)
}

/// The description beside a bundle, and the bundle's size.
fn description(folder: &Path, bundle: &str) -> Result<(Vec<u8>, u64), String> {
    let failed =
        |error: std::io::Error| t!("updates.stick.unreadable", name = bundle, what = error.kind()).into_owned();
    let stem = bundle.strip_suffix(BUNDLE).filter(|_| is_plain(bundle));
    let stem = stem.ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
    let plain = |path: &Path| match fs::symlink_metadata(path).map_err(failed)? {
        about if about.is_file() => Ok(about.len()),
        _ => Err(failed(std::io::ErrorKind::InvalidInput.into())),
    };
    let size = plain(&folder.join(bundle))?;
    let path = folder.join(format!("{stem}.update.json"));
    if !path.exists() {
        return Err(t!("updates.stick.alone", name = bundle).into_owned());
    }
    plain(&path)?;
    let mut file = Vec::new();
    let limit = DESCRIPTION as u64 + 1;
    File::open(&path).and_then(|open| open.take(limit).read_to_end(&mut file)).map_err(failed)?;
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_with_plain_names_are_listed() {
        let stick = tempfile::tempdir().unwrap();
        for name in ["b.raucb", "a-1.2.0+x.raucb", ".hidden.raucb", "odd name.raucb", "notes.txt", "a.update.json"] {
            fs::write(stick.path().join(name), "x").unwrap();
        }
        fs::create_dir(stick.path().join("folder.raucb")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", stick.path().join("link.raucb")).unwrap();
        assert_eq!(names(stick.path()), ["a-1.2.0+x.raucb", "b.raucb"]);
    }

    #[test]
    fn a_description_is_read_from_beside_its_bundle_and_from_nowhere_else() {
        let stick = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(stick.path().join(name), text).unwrap();
        write("a.raucb", "bundle");
        assert!(description(stick.path(), "a.raucb").unwrap_err().contains("a.raucb"), "it has no description");
        write("a.update.json", "{}");
        assert_eq!(description(stick.path(), "a.raucb"), Ok((b"{}".to_vec(), 6)));
        for name in ["", "../a.raucb", "/etc/a.raucb", "a.update.json", "b.raucb", ".raucb"] {
            assert!(description(stick.path(), name).is_err(), "{name}");
        }
        fs::remove_file(stick.path().join("a.update.json")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", stick.path().join("a.update.json")).unwrap();
        assert!(description(stick.path(), "a.raucb").is_err());
    }

    #[test]
    fn no_more_of_a_description_is_read_than_one_can_be_long() {
        let stick = tempfile::tempdir().unwrap();
        fs::write(stick.path().join("a.raucb"), "bundle").unwrap();
        fs::write(stick.path().join("a.update.json"), vec![b' '; DESCRIPTION * 2]).unwrap();
        assert_eq!(description(stick.path(), "a.raucb").unwrap().0.len(), DESCRIPTION + 1);
    }
}
