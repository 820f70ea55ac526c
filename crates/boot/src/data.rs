//! The data partition: whether it is there, ours and sound; and its folders.
//!
//! It holds the wallet, so nothing here guesses. What is not ours is not touched: not checked, not mounted, not repaired.
//!
//! ```text
//! partition? ── no ─► Missing
//!     │ yes
//! first block readable? ── no ─► Damaged
//!     │ yes
//! ext4 labelled homebolt-data? ── no ─► Damaged, if a copy of our first block is found; else Foreign
//!     │ yes
//! e2fsck -p below 4 and mount? ── no ─► Damaged
//!     │ yes
//! marker? ── none ─► Foreign (Damaged, if a repair left something in lost+found)
//!     │      unreadable ─► Damaged      newer ─► Foreign
//!     ▼
//! live, moved or arriving: see `marker` and `follow`
//! ```

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use nix::mount::{MsFlags, mount, umount};
use twin::DataState;

use crate::{
    console::note,
    error::{At, Error},
    files,
    marker::{self, Marker},
    program,
};

/// Label of the file system.
pub const LABEL: &str = "homebolt-data";

/// What the image's data partition was made with, and what a new one is made with. The small inode ratio and the room for
/// block groups let 256 MB grow to terabytes.
pub const MKFS: [&str; 9] = ["-q", "-F", "-b", "4096", "-i", "16384", "-E", "resize=4294967295", "-L"];

/// Folders below the root with owner, group and mode. LND's may be entered by the manager's group: its certificate lies in it.
/// What the manager writes for LND lies in a folder that LND's group may enter.
const FOLDERS: [(&str, u32, u32, u32); 5] = [
    ("system", 0, 0, 0o755),
    ("homebolt", 800, 800, 0o700),
    ("config", 800, 800, 0o750),
    ("lnd", 801, 800, 0o750),
    ("rauc", 0, 0, 0o700),
];

/// Where the copy of the first block of an ext4 file system with 4 KiB blocks stands, bytes.
const BACKUP_SUPERBLOCK: u64 = 32768 * 4096;

/// What the partition's own bytes say, before anything is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Unreadable(String),
    /// An ext4 (or ext2, ext3) file system with this label.
    Ext {
        label: String,
    },
    /// Something else, as `blkid` names it, or nothing known; `copy` when a copy of our ext4's first block was found.
    Other {
        name: Option<String>,
        copy: bool,
    },
}

/// A reason not to use the partition: a state that is not `Ok` and a sentence.
pub type Fault = (DataState, String);

/// Decides by the content alone. `Ok` means: ours by its label, to be checked.
pub fn judge_content(content: &Content) -> Result<(), Fault> {
    match content {
        Content::Unreadable(reason) => {
            Err((DataState::Damaged, format!("The data partition cannot be read: {reason}. The disk may be failing.")))
        }
        Content::Ext { label } if label == LABEL => Ok(()),
        Content::Ext { label } => Err((
            DataState::Foreign,
            format!(
                "The data partition holds a Linux file system that this box did not make (its label is {label:?})."
            ),
        )),
        Content::Other { copy: true, .. } => Err((
            DataState::Damaged,
            "The beginning of the data partition was overwritten, but a copy of it exists: a repair may bring it back."
                .into(),
        )),
        Content::Other { name: Some(name), .. } => {
            Err((DataState::Foreign, format!("The data partition holds {name}, which this box did not put there.")))
        }
        Content::Other { name: None, .. } => {
            Err((DataState::Foreign, "The data partition holds nothing that this box knows.".into()))
        }
    }
}

/// Decides by how `e2fsck -p` ended: 1 and 2 mean repaired, from 4 on errors were left.
pub fn judge_check(code: Option<i32>) -> Result<(), Fault> {
    match code {
        Some(0..=3) => Ok(()),
        Some(_) => Err((
            DataState::Damaged,
            "The data partition has errors that the check at start does not repair by itself.".into(),
        )),
        None => Err((DataState::Damaged, "The check of the data partition was stopped by a signal.".into())),
    }
}

/// Checks the partition and mounts it on `target` if it is ours and sound; then gives its marker, else what was found. It is
/// for the caller to see whether the marker lets it be used.
///
/// # Errors
/// Only what is this system's own fault, such as a program that cannot be started.
pub fn open(device: &Path, target: &Path) -> Result<Result<Marker, Fault>, Error> {
    if let Err(fault) = judge_content(&content(device)) {
        return Ok(Err(fault));
    }
    let check = program::run("/sbin/e2fsck", &["-p".as_ref(), device.as_os_str()])?;
    if let Err(fault) = judge_check(check.code) {
        note(&format!("e2fsck: {}", check.summary()));
        return Ok(Err(fault));
    }
    files::folder(target)?;
    if let Err(error) = mount_at(device, target) {
        return Ok(Err((DataState::Damaged, format!("The data partition cannot be mounted: {error}."))));
    }
    let judged = marker::judge(&marker::bytes(target), has_lost_files(target));
    if judged.is_err() {
        umount(target).at("unmount", target)?;
    }
    Ok(judged)
}

/// Mounts the data partition as the box uses it. Programs are not started from it.
pub fn mount_at(device: &Path, target: &Path) -> nix::Result<()> {
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(device), target, Some("ext4"), flags, Some("errors=remount-ro"))
}

fn has_lost_files(root: &Path) -> bool {
    fs::read_dir(root.join("lost+found")).is_ok_and(|mut entries| entries.next().is_some())
}

/// Looks at the partition without changing a byte of it.
fn content(device: &Path) -> Content {
    let superblock = |at: u64| -> io::Result<Option<String>> {
        let mut block = [0; 1024];
        let mut file = File::open(device)?;
        file.seek(SeekFrom::Start(at))?;
        match file.read_exact(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(|()| superblock_label(&block)),
        }
    };
    match superblock(1024) {
        Err(error) => Content::Unreadable(error.to_string()),
        Ok(Some(label)) => Content::Ext { label },
        Ok(None) => {
            let copy = superblock(BACKUP_SUPERBLOCK).is_ok_and(|label| label.as_deref() == Some(LABEL));
            Content::Other { name: known_as(device), copy }
        }
    }
}

/// Whether the partition holds a file system with our label; read without changing a byte.
pub fn is_ours(device: &Path) -> bool {
    content(device) == Content::Ext { label: LABEL.into() }
}

/// Label of the ext file system whose superblock this is. Offsets: `struct ext2_super_block`.
fn superblock_label(block: &[u8; 1024]) -> Option<String> {
    (block[0x38..0x3a] == [0x53, 0xef]).then(|| {
        let label = block[0x78..0x88].split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(label).into_owned()
    })
}

/// What `blkid` takes the content for, for the sentence to the owner; without it the sentence is only less exact.
fn known_as(device: &Path) -> Option<String> {
    let outcome =
        program::run("/sbin/blkid", &["-p".as_ref(), "-o".as_ref(), "export".as_ref(), device.as_os_str()]).ok()?;
    let value = |key: &str| outcome.output.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    value("TYPE=").or_else(|| value("PTTYPE=").map(|kind| format!("a partition table ({kind})")))
}

/// Makes the folders of a data partition mounted at `root` that are not there, and sets right whose they are.
pub fn make_folders(root: &Path) -> Result<(), Error> {
    for (name, owner, group, mode) in FOLDERS {
        let path = root.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).at("make the folder", path);
            }
            _ => {}
        }
        // Written only when different: a boot should leave a disk alone that needs nothing.
        let metadata = fs::symlink_metadata(&path).at("look at", &path)?;
        if !metadata.is_dir() {
            return Err(Error::Content { path, reason: "it is not a folder".into() });
        }
        if (metadata.uid(), metadata.gid()) != (owner, group) {
            std::os::unix::fs::chown(&path, Some(owner), Some(group)).at("set the owner of", &path)?;
        }
        if metadata.mode() & 0o7777 != mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("set the mode of", &path)?;
        }
    }
    Ok(())
}

/// Makes a fresh file system ours: the folders, and last the marker.
pub fn set_up(root: &Path) -> Result<(), Error> {
    make_folders(root)?;
    Marker::Live.write(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(judged: Result<(), Fault>) -> DataState {
        judged.err().map_or(DataState::Ok, |fault| fault.0)
    }

    #[test]
    fn only_our_label_leads_to_a_check() {
        let ext = |label: &str| judge_content(&Content::Ext { label: label.into() });
        assert_eq!(ext(LABEL), Ok(()));
        assert_eq!(state(ext("")), DataState::Foreign);
        assert!(ext("my films").unwrap_err().1.contains("my films"));
    }

    #[test]
    fn an_overwritten_beginning_is_damage_when_the_copy_is_ours_and_foreign_otherwise() {
        let other = |name: Option<&str>, copy| judge_content(&Content::Other { name: name.map(Into::into), copy });
        assert_eq!(state(other(None, true)), DataState::Damaged);
        assert_eq!(state(other(Some("vfat"), true)), DataState::Damaged);
        assert_eq!(state(other(None, false)), DataState::Foreign);
        let (state, text) = other(Some("ntfs"), false).unwrap_err();
        assert_eq!((state, text.contains("ntfs")), (DataState::Foreign, true));
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_damaged() {
        let (state, text) = judge_content(&Content::Unreadable("Input/output error".into())).unwrap_err();
        assert_eq!(state, DataState::Damaged);
        assert!(text.contains("Input/output error"));
    }

    #[test]
    fn a_check_that_repaired_is_fine_and_one_that_left_errors_is_not() {
        for code in [0, 1, 2, 3] {
            assert_eq!(judge_check(Some(code)), Ok(()), "{code}");
        }
        for code in [4, 5, 8, 12, 16, 32, 128] {
            assert_eq!(state(judge_check(Some(code))), DataState::Damaged, "{code}");
        }
        assert_eq!(state(judge_check(None)), DataState::Damaged);
    }

    #[test]
    fn real_file_systems_are_told_apart_without_changing_a_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.img");
        let make = |size: u64| {
            let file = File::create(&path).unwrap();
            file.set_len(size).unwrap();
        };
        let mkfs = |label: &str| {
            let arguments: Vec<&str> = MKFS.into_iter().chain([label, path.to_str().unwrap()]).collect();
            program::must("/sbin/mkfs.ext4", &arguments).unwrap();
        };
        make(256 << 20);
        assert_eq!(content(&path), Content::Other { name: None, copy: false });
        mkfs(LABEL);
        assert_eq!(content(&path), Content::Ext { label: LABEL.into() });
        // The beginning is lost.
        let zeros = vec![0; 65536];
        std::os::unix::fs::FileExt::write_all_at(&File::options().write(true).open(&path).unwrap(), &zeros, 0).unwrap();
        assert_eq!(content(&path), Content::Other { name: None, copy: true });
        mkfs("films");
        assert_eq!(content(&path), Content::Ext { label: "films".into() });
        assert!(matches!(content(Path::new("/no/such/device")), Content::Unreadable(_)));
    }

    #[test]
    fn a_set_up_file_system_is_ours_and_setting_up_again_changes_nothing() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        set_up(folder.path()).unwrap();
        assert_eq!(Marker::read(folder.path()), Ok(Marker::Live));
        fs::write(folder.path().join("lnd/lnd.conf"), "kept").unwrap();
        set_up(folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("lnd/lnd.conf")).unwrap(), b"kept");
        let lnd = fs::metadata(folder.path().join("lnd")).unwrap();
        assert_eq!((lnd.uid(), lnd.gid(), lnd.mode() & 0o777), (801, 800, 0o750));
    }
}
