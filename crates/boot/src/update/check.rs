//! What root believes of a new system: the signed document alone. The manager brings it, and is trusted in nothing.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, SFlag, fstat},
};
use release::{Facts, Keyring, LndVersion, Offer, Release, Update};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{job::Source, work::Fault};
use crate::{
    error::{At, Error},
    fence, files, slots,
};

/// The keys of releases, as RAUC has them.
pub const KEYRING: &str = "/etc/rauc/keyring.pem";
/// Where the manager puts the document, and a bundle that came by a browser, below the data partition's root.
const FOLDER: [&str; 2] = ["homebolt", "update"];
const DOCUMENT: &str = "update.json";
const BUNDLE: &str = "bundle.raucb";
/// Where a stick is mounted.
const STICK: &str = "/run/homebolt/stick";
/// Left free on the data partition for the job's own records, bytes.
const RESERVE: u64 = 32 << 20;
/// An address is never longer, bytes.
const LONGEST_URL: usize = 1500;

/// What the manager asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Wish {
    pub source: Source,
    /// The owner has confirmed that it may be older than what runs.
    #[serde(default)]
    pub older: bool,
    /// A person asks, now.
    #[serde(default)]
    pub by_hand: bool,
}

impl Wish {
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wish: Self =
            serde_json::from_str(text).map_err(|_| "The request does not say what to install.".to_owned())?;
        let is_plain = |text: &str, longest: usize| {
            (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match &wish.source {
            // It becomes a word of a command line: it cannot be taken for an option.
            Source::Url(url) if is_plain(url, LONGEST_URL) && is_web(url) => Ok(wish),
            Source::Url(_) => Err("The address of the update is none that can be fetched.".into()),
            Source::Stick(name) if is_bundle_name(name) => Ok(wish),
            Source::Stick(_) => Err("The request names no bundle on the stick.".into()),
            Source::Upload => Ok(wish),
            Source::Slot => Err("The request does not say what to install.".into()),
        }
    }
}

fn is_web(url: &str) -> bool {
    url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).is_some_and(|rest| !rest.is_empty())
}

/// A file's name in the root of the stick, which comes from anyone.
fn is_bundle_name(name: &str) -> bool {
    name.ends_with(".raucb")
        && (7..=200).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control)
}

/// The path of a bundle that is a file.
pub fn path(source: &Source, data: &Path) -> Option<PathBuf> {
    match source {
        Source::Url(_) | Source::Slot => None,
        Source::Upload => Some(data.join(FOLDER[0]).join(FOLDER[1]).join(BUNDLE)),
        Source::Stick(name) => Some(Path::new(STICK).join(name)),
    }
}

/// The signed document, if it is one that this box believes.
pub fn document(data: &Path, keyring: &Path) -> Result<Update, String> {
    let missing = |_| "The signed description of the update cannot be read.".to_owned();
    let mut file = plain(data, &[FOLDER[0], FOLDER[1], DOCUMENT]).map_err(missing)?;
    let mut bytes = Vec::new();
    let longest = release::MAX_LENGTH as u64;
    // One byte more than there may be: then it is refused for its length.
    Read::by_ref(&mut file).take(longest + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let pem = files::read_limited(keyring, 64 * 1024).map_err(|error| error.to_string())?;
    let keyring = Keyring::parse(&pem).map_err(|error| sentence(&error))?;
    Update::open(&bytes, &keyring).map_err(|error| sentence(&error))
}

/// What this box knows of itself.
pub fn facts(data: &Path) -> Result<Facts, String> {
    let release: Release = files::read_json(Path::new(slots::RELEASE)).map_err(|error| error.to_string())?;
    let fence = fence::least(data).map_err(|error| error.to_string())?;
    let seen = std::fs::metadata(data.join("system/timesync/clock")).and_then(|metadata| metadata.modified());
    let seen = seen.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs());
    of_release(&release, fence, seen, files::now())
}

fn of_release(release: &Release, fence: Option<LndVersion>, seen: u64, now: u64) -> Result<Facts, String> {
    let unknown = || "This system does not know which version it is.".to_owned();
    Ok(Facts {
        version: release.version.parse().map_err(|_| unknown())?,
        board: release.board.clone(),
        base: release.base.clone(),
        lnd: LndVersion::parse(&release.lnd_version).ok_or_else(unknown)?,
        fence,
        now,
        // A minute less: the clock may have been set right by a moment since it was seen.
        clock_floor: release.built.max(seen.saturating_sub(60)),
        clock_set: false,
        channel: String::new(),
        channel_seen: 0,
        id: Vec::new(),
        failed: Vec::new(),
        kept: false,
        by_hand: true,
    })
}

/// Whether the update may be installed here. `failed`: versions that did not prove themselves on this box.
pub fn judge(update: &Update, facts: &Facts, wish: &Wish, failed: &[String]) -> Result<Offer, String> {
    let offer = release::bring(update, facts, wish.older).map_err(|refusal| sentence(&refusal))?;
    let version = &update.release.version;
    if failed.contains(version) && !wish.by_hand {
        return Err(format!(
            "Version {version} was installed here and did not pass its check; it is not tried again by itself."
        ));
    }
    Ok(offer)
}

/// Room for what a job writes on the data partition.
pub fn room(free: u64) -> Result<(), Fault> {
    if free >= RESERVE {
        return Ok(());
    }
    Err(Fault::Refused(format!(
        "The data partition is full: {} MB are free, {} MB are needed. Make room first.",
        free >> 20,
        RESERVE >> 20
    )))
}

/// Whether the file is the bundle that the document describes, byte for byte.
pub fn bundle(source: &Source, data: &Path, size: u64, sha256: &str) -> Result<(), Fault> {
    let gone = |_| Fault::Failed("The bundle is not where it was.".into());
    let file = match source {
        Source::Upload => plain(data, &[FOLDER[0], FOLDER[1], BUNDLE]).map_err(gone)?,
        Source::Stick(name) => plain(Path::new(STICK), &[name]).map_err(gone)?,
        Source::Url(_) | Source::Slot => return Ok(()),
    };
    compare(file, size, sha256)
}

fn compare(mut file: File, size: u64, sha256: &str) -> Result<(), Fault> {
    let unreadable = |error: std::io::Error| Fault::Failed(format!("The bundle cannot be read: {error}."));
    let length = file.metadata().map_err(unreadable)?.len();
    if length != size {
        let short = if length < size { "It was cut off on its way" } else { "It is another file" };
        return Err(Fault::Refused(format!("The bundle has {length} bytes instead of {size}. {short}: get it again.")));
    }
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(unreadable)? {
            0 => break,
            length => hash.update(&piece[..length]),
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == sha256 {
        return Ok(());
    }
    Err(Fault::Refused(
        "The bundle is not the one that was signed for: it was changed or damaged on its way. Get it again.".into(),
    ))
}

/// Opens a plain file step by step, without following a link anywhere below `root`: others may write there.
fn plain(root: &Path, names: &[&str]) -> Result<File, Error> {
    let path = || names.iter().fold(root.to_owned(), |path, name| path.join(name));
    let folder = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Without waiting: a named pipe would hold up everything.
    let last = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let mut at: OwnedFd = open(root, folder, Mode::empty()).at("open", root)?;
    for (number, name) in names.iter().enumerate() {
        let flags = if number + 1 == names.len() { last } else { folder };
        at = openat(&at, OsStr::new(name), flags, Mode::empty()).at("open", path())?;
    }
    let status = fstat(&at).at("look at", path())?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Error::Content { path: path(), reason: "it is not a plain file".into() });
    }
    Ok(at.into())
}

/// Begins as a sentence does.
fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn own(version: &str, lnd: &str) -> Release {
        Release {
            version: version.into(),
            board: "x86-64".into(),
            base: "debian".into(),
            built: 1_700_000_000,
            lnd_version: lnd.into(),
            development_keys: true,
            eeprom: None,
        }
    }

    fn update(version: &str, lnd: &str) -> Update {
        Update {
            format: release::UPDATE_FORMAT,
            release: own(version, lnd),
            bundle: release::Image { name: "b.raucb".into(), size: 1, sha256: "ab".repeat(32) },
            root_hash: "cd".repeat(32),
            one_way: false,
            least_version: None,
            notes: [("en".to_owned(), "New.".to_owned())].into(),
            made: 1_700_000_000,
            expires: 1_900_000_000,
        }
    }

    fn wish(older: bool, by_hand: bool) -> Wish {
        Wish { source: Source::Upload, older, by_hand }
    }

    fn judged(update: &Update, fence: Option<&str>, now: u64, wish: &Wish) -> Result<Offer, String> {
        let fence = fence.map(|version| LndVersion::parse(version).unwrap());
        let facts = of_release(&own("1.0.0", "v0.21.2-beta"), fence, 0, now).unwrap();
        judge(update, &facts, wish, &["1.0.9".to_owned()])
    }

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn what_is_newer_and_for_this_box_may_be_installed() {
        let offer = judged(&update("1.1.0", "v0.22.0-beta"), Some("v0.21.2-beta"), NOW, &wish(false, false)).unwrap();
        assert!(offer.one_way);
    }

    #[test]
    fn another_board_an_older_version_a_wrong_clock_and_an_expired_one_are_refused_in_a_sentence() {
        let mut foreign = update("1.1.0", "v0.21.2-beta");
        foreign.release.board = "arm64".into();
        let refused = |update: &Update, now| judged(update, None, now, &wish(false, true)).unwrap_err();
        assert!(refused(&foreign, NOW).starts_with("Version 1.1.0 is for arm64"));
        assert!(refused(&update("0.9.0", "v0.21.2-beta"), NOW).contains("not newer"));
        assert!(refused(&update("1.1.0", "v0.21.2-beta"), 1000).starts_with("The clock of this box is wrong"));
        assert!(refused(&update("1.1.0", "v0.21.2-beta"), 1_900_000_001).contains("its time was up"));
        judged(&update("0.9.0", "v0.21.2-beta"), None, NOW, &wish(true, true)).unwrap();
    }

    #[test]
    fn a_clock_that_is_behind_the_last_time_seen_is_wrong() {
        let floor = |seen| of_release(&own("1.0.0", "v0.21.2-beta"), None, seen, NOW).unwrap().clock_floor;
        assert_eq!((floor(0), floor(NOW)), (1_700_000_000, NOW - 60));
        assert!(of_release(&own("one", "v0.21.2-beta"), None, 0, NOW).is_err());
    }

    #[test]
    fn an_lnd_below_the_fence_is_refused_whoever_confirms_it() {
        let older = update("1.1.0", "v0.20.1-beta");
        let why = judged(&older, Some("v0.21.2-beta"), NOW, &wish(true, true)).unwrap_err();
        assert!(why.contains("never installed"), "{why}");
    }

    #[test]
    fn a_version_that_failed_here_is_installed_again_only_by_hand() {
        let failed = update("1.0.9", "v0.21.2-beta");
        assert!(judged(&failed, None, NOW, &wish(false, false)).unwrap_err().contains("did not pass"));
        judged(&failed, None, NOW, &wish(false, true)).unwrap();
    }

    #[test]
    fn a_wish_names_an_address_an_upload_or_a_file_on_the_stick() {
        let source = |text: &str| Wish::parse(&format!(r#"{{"source":{text}}}"#)).map(|wish| wish.source);
        assert_eq!(source(r#""upload""#), Ok(Source::Upload));
        assert_eq!(source(r#"{"url":"https://a/b.raucb"}"#), Ok(Source::Url("https://a/b.raucb".into())));
        assert_eq!(source(r#"{"stick":"my box.raucb"}"#), Ok(Source::Stick("my box.raucb".into())));
        for bad in [
            r#"{"url":"file:///etc/shadow"}"#,
            r#"{"url":"https://"}"#,
            r#"{"url":"https://a/ --handler-args=x"}"#,
            r#"{"url":"/data/x.raucb"}"#,
            r#"{"stick":"../x.raucb"}"#,
            r#"{"stick":"-x.raucb"}"#,
            r#"{"stick":".raucb"}"#,
            r#"{"stick":"x.txt"}"#,
            r#""slot""#,
            r#""else""#,
        ] {
            assert!(source(bad).is_err(), "{bad}");
        }
        assert!(Wish::parse("").is_err());
        let wish = Wish::parse(r#"{"source":"upload","older":true,"by_hand":true}"#).unwrap();
        assert!(wish.older && wish.by_hand);
    }

    #[test]
    fn a_file_must_be_the_one_that_was_signed_for() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("homebolt/update");
        fs::create_dir_all(&folder).unwrap();
        let check = |size, sha256: &str| bundle(&Source::Upload, data.path(), size, sha256);
        assert!(matches!(check(3, ""), Err(Fault::Failed(_))), "there is none");
        fs::write(folder.join(BUNDLE), "abc").unwrap();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(check(3, sha256), Ok(()));
        let refused = |result| match result {
            Err(Fault::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(refused(check(4, sha256)).contains("cut off"));
        assert!(refused(check(2, sha256)).contains("another file"));
        assert!(refused(check(3, &sha256.replace('b', "c"))).contains("changed or damaged"));
    }

    #[test]
    fn no_link_is_followed_and_nothing_but_a_plain_file_is_read() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("homebolt/update");
        fs::create_dir_all(&folder).unwrap();
        let elsewhere = data.path().join("secret");
        fs::write(&elsewhere, "abc").unwrap();
        let names = ["homebolt", "update", DOCUMENT];
        symlink(&elsewhere, folder.join(DOCUMENT)).unwrap();
        assert!(plain(data.path(), &names).is_err());
        fs::remove_file(folder.join(DOCUMENT)).unwrap();
        nix::unistd::mkfifo(&folder.join(DOCUMENT), Mode::S_IRWXU).unwrap();
        assert!(plain(data.path(), &names).is_err());
        fs::remove_dir_all(&folder).unwrap();
        let other = data.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(DOCUMENT), "{}").unwrap();
        symlink(&other, &folder).unwrap();
        assert!(plain(data.path(), &names).is_err(), "a link in the place of a folder");
        fs::remove_file(&folder).unwrap();
        fs::rename(&other, &folder).unwrap();
        plain(data.path(), &names).unwrap();
    }

    /// A signed document as the host tool makes it, and the keyring that it leads back to.
    const SIGNED: &[u8] = include_bytes!("../../../release/fuzz/corpus/signed/update.json");
    const ROOTS: &[u8] = include_bytes!("../../../release/fuzz/keyring.pem");

    #[test]
    fn a_document_is_believed_only_whole_and_by_its_signature() {
        let data = tempfile::tempdir().unwrap();
        let (folder, keyring) = (data.path().join("homebolt/update"), data.path().join("keyring.pem"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(&keyring, ROOTS).unwrap();
        let read = || document(data.path(), &keyring);
        assert!(read().unwrap_err().contains("cannot be read"), "there is none");
        fs::write(folder.join(DOCUMENT), SIGNED).unwrap();
        assert_eq!(read().unwrap().release.version, "0.1.0");
        let text = String::from_utf8(SIGNED.to_vec()).unwrap();
        fs::write(folder.join(DOCUMENT), text.replace("0.1.0", "0.1.1")).unwrap();
        assert!(read().unwrap_err().contains("does not fit the document"), "it was changed");
        fs::write(folder.join(DOCUMENT), &SIGNED[..SIGNED.len() / 2]).unwrap();
        assert!(read().unwrap_err().starts_with("The file is not a signed document"));
        fs::write(folder.join(DOCUMENT), vec![b' '; release::MAX_LENGTH + 1]).unwrap();
        assert!(read().unwrap_err().contains("bytes long"));
        fs::write(folder.join(DOCUMENT), SIGNED).unwrap();
        fs::write(&keyring, "").unwrap();
        assert!(read().unwrap_err().contains("no certificate"), "nobody is trusted");
    }

    #[test]
    fn a_full_data_partition_is_refused_with_its_figures() {
        assert_eq!(room(RESERVE), Ok(()));
        let Err(Fault::Refused(why)) = room(5 << 20) else { panic!("it was let through") };
        assert!(why.contains("5 MB are free"), "{why}");
    }

    #[test]
    fn what_others_say_becomes_a_sentence() {
        assert_eq!(sentence(&"version 1 is old"), "Version 1 is old.");
        assert_eq!(sentence(&"Look again!"), "Look again!");
        assert_eq!(sentence(&""), ".");
    }
}
