//! `homebolt-boot fill`: gives a fresh box its second system.
//!
//! An image carries one system only; carrying it twice would double what a person downloads and writes. The boot
//! state says by `FILL=B` that slot B is still empty. Once the running system has proved itself, it is copied
//! there block by block and checked, and only then the boot loader may choose it. A power cut in between leaves `FILL`
//! as it was, and the copy begins anew.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use twin::DataState;

use crate::{
    console::note,
    error::{At, Error},
    esp, hash_index, slots,
    state::Boot,
    verity::{self, Check},
};

const PIECE: usize = 1 << 20;

/// Copies the running slot into the empty one; does nothing when there is none.
pub fn run() -> Result<(), Error> {
    let booted = Boot::read()?;
    let Some(empty) = esp::read()?.fill.filter(|slot| *slot != booted.slot) else { return Ok(()) };
    let cfg = slots::boot_partition(booted.slot).map_err(Error::Refused)?;
    let size = cfg.image_size.ok_or_else(|| Error::Refused("slot.cfg of this system names no image size".into()))?;
    note(&format!("copying this system to slot {empty:?}"));
    copy(&slots::link("root", booted.slot), &slots::link("root", empty), Some(size))?;
    copy(&slots::link("boot", booted.slot), &slots::link("boot", empty), None)?;
    match verity::check(&slots::link("root", empty), &cfg.root_hash, cfg.root_size) {
        Check::Sound => {}
        Check::Damaged => {
            return Err(Error::Refused(format!(
                "the copy in slot {empty:?} is not what was written: the disk is failing"
            )));
        }
        Check::Unknown(why) => {
            return Err(Error::Refused(format!("the copy in slot {empty:?} cannot be checked: {why}")));
        }
    }
    if booted.data.state == DataState::Ok {
        // Before anybody may ask RAUC for an update: for this its service is started anew.
        hash_index::complete();
    }
    esp::change(|state| state.filled(empty))?;
    note(&format!("slot {empty:?} holds a copy of this system"));
    if booted.data.state == DataState::Ok {
        crate::mark(&format!("fill:{empty:?}"))?;
    }
    // The page shows both systems as they are now.
    slots::run()
}

/// Copies the first `size` bytes, or all there are, and waits until the disk has them.
fn copy(from: &Path, to: &Path, size: Option<u64>) -> Result<(), Error> {
    let mut reader = File::open(from).at("open", from)?.take(size.unwrap_or(u64::MAX));
    let mut writer = OpenOptions::new().write(true).open(to).at("open", to)?;
    let mut piece = vec![0; PIECE];
    loop {
        let length = reader.read(&mut piece).at("read", from)?;
        if length == 0 {
            return writer.sync_all().at("save", to);
        }
        writer.write_all(&piece[..length]).at("write", to)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_where_the_image_does() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&from, vec![7; 3 * PIECE]).unwrap();
        std::fs::write(&to, vec![1; 3 * PIECE]).unwrap();
        copy(&from, &to, Some(PIECE as u64 + 5)).unwrap();
        let copied = std::fs::read(&to).unwrap();
        assert!(copied[..PIECE + 5].iter().all(|byte| *byte == 7));
        assert!(copied[PIECE + 5..].iter().all(|byte| *byte == 1));
    }
}
