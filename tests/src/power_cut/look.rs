//! The closer look at a disk that a power cut left: dm-verity's whole tree of each slot that may be taken, and the data
//! partition as the initrd checks it, with what was promised to be on it.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use homebolt::verity::{BLOCK, Superblock, Tree};
use homebolt_boot::{data, slotcfg::SlotCfg};
use twin::Slot;

use super::{
    bytes::{Bytes, Cursor},
    check::Layout,
    content::Starts,
    sweep::Side,
};
use crate::{disk::find_in_fat, report::Fault};

/// How much is copied at once, bytes.
const PIECE: u64 = 1 << 20;

/// A file of the data partition that was on the disk when the log had that length.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) from: u64,
    /// Below the partition's root.
    pub(crate) path: &'static str,
    /// It has one of these contents; an empty one: or it is not there.
    pub(crate) contents: Vec<String>,
}

/// Files that were erased together from a place in the log on: all of them are there, or none, or the wish that goes on with it
/// at the next start.
#[derive(Debug, Clone)]
pub(crate) struct Erasure {
    pub(crate) from: u64,
    /// Below the partition's root.
    pub(crate) paths: Vec<&'static str>,
    pub(crate) wish: &'static str,
}

/// Looks, with room for a copy of the data partition.
#[derive(Debug)]
pub(crate) struct Looker<'a> {
    pub(crate) work: &'a Path,
    pub(crate) promises: &'a [Promise],
    pub(crate) erasure: Option<&'a Erasure>,
}

impl Looker<'_> {
    /// Looks at the disk, of which the log has come to `place`.
    pub(crate) fn look(&self, side: &Side<'_>, place: u64) -> Result<(), String> {
        for slot in side.known.taken() {
            if side.contents.whole(slot).is_some() {
                let starts = side.layout.slots[usize::from(slot == Slot::B)];
                verify(side.disk, starts).map_err(|why| format!("slot {slot:?} was counted as whole: {why}"))?;
            }
        }
        self.data(side.disk, place).map_err(|why| format!("the data partition: {why}"))
    }

    fn data(&self, disk: &File, place: u64) -> Result<(), String> {
        let copy = self.work.join("data.img");
        let range = Layout::of(disk)?.data;
        copy_sparse(disk, range.start, range.end - range.start, &copy).map_err(|error| error.to_string())?;
        check(&copy)?;
        self.file(&copy, "system/format.json", &["{\"format\":1}".to_owned()])?;
        for (number, promise) in self.promises.iter().enumerate() {
            let later = &self.promises[number + 1..];
            let is_over = later.iter().any(|later| later.path == promise.path && later.from <= place);
            if promise.from <= place && !is_over {
                self.file(&copy, promise.path, &promise.contents)?;
            }
        }
        match self.erasure {
            Some(erasure) if erasure.from <= place => {
                erased(erasure, |path| content(&copy, path).map(|found| !found.is_empty()))
            }
            _ => Ok(()),
        }
    }

    fn file(&self, image: &Path, path: &str, contents: &[String]) -> Result<(), String> {
        let found = content(image, path)?;
        match contents.iter().any(|content| content.trim_end() == found.trim_end()) {
            true => Ok(()),
            false => Err(format!("{path} holds {found:?}, not one of {contents:?}")),
        }
    }
}

/// A file of the file system in the image; empty where there is none.
fn content(image: &Path, path: &str) -> Result<String, String> {
    let request = format!("cat /{path}");
    let output = Command::new("/sbin/debugfs").arg("-R").arg(request).arg(image).output();
    Ok(String::from_utf8_lossy(&output.map_err(|error| error.to_string())?.stdout).into_owned())
}

/// Nothing is left half erased with nobody to go on.
fn erased(erasure: &Erasure, is_there: impl Fn(&str) -> Result<bool, String>) -> Result<(), String> {
    let there = erasure.paths.iter().map(|path| is_there(path)).collect::<Result<Vec<_>, _>>()?;
    let is_half = there.iter().any(|is| *is) && !there.iter().all(|is| *is);
    match is_half && !is_there(erasure.wish)? {
        true => Err(format!("of {:?} there are {there:?}, and no {}", erasure.paths, erasure.wish)),
        false => Ok(()),
    }
}

/// What the check of each start leaves has no errors.
fn check(image: &Path) -> Result<(), String> {
    let image = image.as_os_str();
    let (code, said) = run("/sbin/e2fsck", ["-p".as_ref(), image])?;
    data::judge_check(code).map_err(|(_, sentence)| format!("{sentence} {said}"))?;
    // Where nothing but the journal had to be read, a mark stays that files were being deleted: the next mount takes it away.
    run("/sbin/debugfs", ["-w".as_ref(), "-R".as_ref(), "feature -orphan_present".as_ref(), image])?;
    let (code, said) = run("/sbin/e2fsck", ["-f".as_ref(), "-n".as_ref(), image])?;
    if code == Some(0) { Ok(()) } else { Err(format!("what e2fsck -p left has errors: {said}")) }
}

/// The root of a slot must be what its boot partition says it is.
fn verify(disk: &File, starts: Starts) -> Result<(), String> {
    let at = find_in_fat(&mut Cursor::new(disk), starts.boot, &["SLOT    CFG"]).map_err(|fault| match fault {
        Fault::Fails(why) | Fault::Skip(why) => why,
    })?;
    let mut text = [0; 512];
    disk.read(at, &mut text).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&text);
    let cfg = SlotCfg::parse(text.split('\0').next().unwrap_or_default())?;
    let tree = starts.root + cfg.root_size;
    let mut head = [0; BLOCK];
    disk.read(tree, &mut head).map_err(|error| error.to_string())?;
    let superblock = Superblock::parse(&head).map_err(|error| error.to_string())?;
    let (hash, stored) = hash(disk, starts.root, cfg.root_size, &superblock.salt).map_err(|error| error.to_string())?;
    let mut found = vec![0; stored.len()];
    disk.read(tree + BLOCK as u64, &mut found).map_err(|error| error.to_string())?;
    match hash == cfg.root_hash && found == stored {
        true => Ok(()),
        false => Err("its root does not match the root hash".into()),
    }
}

/// Root hash and tree of so many bytes.
fn hash(disk: &File, start: u64, length: u64, salt: &[u8]) -> std::io::Result<(String, Vec<u8>)> {
    let mut tree = Tree::new(salt);
    let mut piece = vec![0; PIECE as usize];
    for at in (0..length).step_by(PIECE as usize) {
        let size = PIECE.min(length - at) as usize;
        disk.read_exact_at(&mut piece[..size], start + at)?;
        piece[..size].as_chunks::<BLOCK>().0.iter().for_each(|block| tree.push(block));
    }
    let (hash, tree) = tree.finish();
    Ok((hex::encode(hash), tree))
}

/// A part of a disk as a file; zeroes take no room.
pub(crate) fn copy_sparse(disk: &File, start: u64, length: u64, to: &PathBuf) -> std::io::Result<()> {
    let file = File::create(to)?;
    file.set_len(length)?;
    let mut piece = vec![0; PIECE as usize];
    for at in (0..length).step_by(PIECE as usize) {
        let size = PIECE.min(length - at) as usize;
        disk.read_exact_at(&mut piece[..size], start + at)?;
        if piece[..size].iter().any(|byte| *byte != 0) {
            file.write_all_at(&piece[..size], at)?;
        }
    }
    Ok(())
}

fn run<const N: usize>(program: &str, arguments: [&OsStr; N]) -> Result<(Option<i32>, String), String> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = output.stderr.as_slice().read_to_string(&mut said);
    Ok((output.status.code(), crate::report::tail(&said, 8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_erased_needs_the_wish_that_goes_on() {
        let erasure = Erasure { from: 0, paths: vec!["lnd/wallet", "fence"], wish: "wish" };
        let with = |files: &'static [&str]| erased(&erasure, |path| Ok(files.contains(&path)));
        for good in [&["lnd/wallet", "fence"][..], &["lnd/wallet", "fence", "wish"], &["fence", "wish"], &["wish"], &[]]
        {
            assert_eq!(with(good), Ok(()), "{good:?}");
        }
        for bad in [&["fence"][..], &["lnd/wallet"]] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_mark_that_the_next_mount_takes_away_is_no_error_and_a_lost_folder_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("data.img");
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let debugfs = |request: &str| {
            run("/sbin/debugfs", ["-w".as_ref(), "-R".as_ref(), request.as_ref(), image.as_os_str()]).unwrap();
        };
        let words = ["-q", "-t", "ext4", "-O", "orphan_file"].map(AsRef::as_ref);
        let made = Command::new("/sbin/mke2fs").args::<_, &OsStr>(words).arg(&image).status().unwrap();
        assert!(made.success());
        debugfs("feature orphan_present");
        check(&image).unwrap();
        debugfs("mkdir system");
        debugfs("clri system");
        let why = check(&image).unwrap_err();
        assert!(!why.is_empty(), "{why}");
    }
}
