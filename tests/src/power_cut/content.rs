//! What is in the slots: how many sectors of each partition differ from what it may hold. A write changes a few of them, so
//! that a slot can be judged after each without being read.

use std::{fs::File, io, os::unix::fs::FileExt};

use twin::Slot;

use super::bytes::Bytes;

/// Of disks, bytes.
pub(crate) const SECTOR: u64 = 512;

/// How much is compared at once, bytes.
const PIECE: u64 = 1 << 20;

/// A content that a partition may have.
#[derive(Debug)]
struct Known {
    content: File,
    /// Bytes; what stands behind it in the partition does not matter.
    length: u64,
    /// Sectors that are not so.
    differing: u64,
}

/// A partition of a slot.
#[derive(Debug)]
struct Place {
    start: u64,
    /// In the order of the versions.
    known: Vec<Known>,
}

/// A version of the system: the image of each partition.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) boot: File,
    pub(crate) root: File,
}

/// Where the partitions of a slot begin on the disk, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Starts {
    pub(crate) boot: u64,
    pub(crate) root: u64,
}

/// Both slots of a disk.
#[derive(Debug)]
pub(crate) struct Contents {
    names: Vec<String>,
    /// Boot and root of slot A, then of slot B.
    places: [[Place; 2]; 2],
}

impl Contents {
    /// Reads the slots of a disk once.
    pub(crate) fn of(disk: &impl Bytes, starts: [Starts; 2], versions: &[Version]) -> io::Result<Self> {
        let place = |start: u64, files: Vec<&File>| -> io::Result<Place> {
            let known = files.into_iter().map(|file| {
                let (content, length) = (file.try_clone()?, file.metadata()?.len());
                Ok(Known { differing: count(disk, start, &content, length)?, content, length })
            });
            Ok(Place { start, known: known.collect::<io::Result<_>>()? })
        };
        let slot = |starts: Starts| -> io::Result<[Place; 2]> {
            let boot = place(starts.boot, versions.iter().map(|version| &version.boot).collect())?;
            Ok([boot, place(starts.root, versions.iter().map(|version| &version.root).collect())?])
        };
        let names = versions.iter().map(|version| version.name.clone()).collect();
        Ok(Self { names, places: [slot(starts[0])?, slot(starts[1])?] })
    }

    /// Takes note of whole sectors that change from `old` to `new`.
    pub(crate) fn change(&mut self, at: u64, old: &[u8], new: &[u8]) -> io::Result<()> {
        for place in self.places.iter_mut().flatten() {
            for known in &mut place.known {
                known.change(place.start, at, old, new)?;
            }
        }
        Ok(())
    }

    /// The version that a slot holds from its first sector to its last.
    pub(crate) fn whole(&self, slot: Slot) -> Option<&str> {
        let [boot, root] = &self.places[usize::from(slot == Slot::B)];
        let mut versions = self.names.iter().zip(boot.known.iter().zip(&root.known));
        versions.find(|(_, (boot, root))| boot.differing + root.differing == 0).map(|(name, _)| name.as_str())
    }

    /// For a sentence: how far a slot is from each version.
    pub(crate) fn describe(&self, slot: Slot) -> String {
        let [boot, root] = &self.places[usize::from(slot == Slot::B)];
        let parts = self.names.iter().zip(boot.known.iter().zip(&root.known)).map(|(name, (boot, root))| {
            format!("{} sectors of boot and {} of root are not those of {name}", boot.differing, root.differing)
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl Known {
    fn change(&mut self, start: u64, at: u64, old: &[u8], new: &[u8]) -> io::Result<()> {
        // The last sector of a content may be cut short: the rest of it does not matter.
        let (from, to) = (at.max(start), (at + new.len() as u64).min(start + self.length));
        if from >= to {
            return Ok(());
        }
        let range = (from - at) as usize..(to - at) as usize;
        let mut good = vec![0; range.len()];
        self.content.read_exact_at(&mut good, from - start)?;
        let sector = SECTOR as usize;
        let sectors = old[range.clone()].chunks(sector).zip(new[range].chunks(sector)).zip(good.chunks(sector));
        for ((old, new), good) in sectors {
            match (old == good, new == good) {
                (true, false) => self.differing += 1,
                (false, true) => self.differing -= 1,
                _ => {}
            }
        }
        Ok(())
    }
}

fn count(disk: &impl Bytes, start: u64, content: &File, length: u64) -> io::Result<u64> {
    let (mut found, mut good, mut differing) = (vec![0; PIECE as usize], vec![0; PIECE as usize], 0);
    for at in (0..length).step_by(PIECE as usize) {
        let size = PIECE.min(length - at) as usize;
        disk.read(start + at, &mut found[..size])?;
        content.read_exact_at(&mut good[..size], at)?;
        if found[..size] != good[..size] {
            let sector = SECTOR as usize;
            let pairs = found[..size].chunks(sector).zip(good[..size].chunks(sector));
            differing += pairs.filter(|(found, good)| found != good).count() as u64;
        }
    }
    Ok(differing)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    /// Boot of slot A, boot of B, root of A, root of B: four sectors each.
    pub(crate) const STARTS: [Starts; 2] = [Starts { boot: 2048, root: 6144 }, Starts { boot: 4096, root: 8192 }];

    /// A version whose images are filled with a byte; three sectors of boot, and three and a half of root.
    pub(crate) fn version(name: &str, byte: u8) -> Version {
        Version { name: name.into(), boot: file(&[byte; 1536]), root: file(&[byte; 1800]) }
    }

    #[test]
    fn a_slot_is_whole_when_its_last_sector_is_there() {
        let disk = file(&[0; 10240]);
        let mut contents = Contents::of(&disk, STARTS, &[version("old", 1), version("new", 2)]).unwrap();
        assert_eq!(contents.whole(Slot::A), None);
        contents.change(2048, &[0; 2048], &[1; 2048]).unwrap();
        contents.change(6144, &[0; 1536], &[1; 1536]).unwrap();
        assert_eq!(contents.whole(Slot::A), None);
        assert!(contents.describe(Slot::A).starts_with("0 sectors of boot and 1 of root are not those of old, 3 "));
        contents.change(7680, &[0; 512], &[1; 512]).unwrap();
        assert_eq!((contents.whole(Slot::A), contents.whole(Slot::B)), (Some("old"), None));
        // The boot partition of another version does not go with this root.
        contents.change(2048, &[1; 2048], &[2; 2048]).unwrap();
        assert_eq!(contents.whole(Slot::A), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn counts_after_any_writes_are_those_of_a_fresh_look(
            writes in prop::collection::vec((0_u64..20, 1_usize..6, 0_u8..3), 0..40)
        ) {
            let disk = file(&[0; 10240]);
            let versions = [version("old", 1), version("new", 2)];
            let mut contents = Contents::of(&disk, STARTS, &versions).unwrap();
            for (sector, length, byte) in writes {
                let length = (length * 512).min(10240 - sector as usize * 512);
                let (mut old, new) = (vec![0; length], vec![byte; length]);
                disk.read_exact_at(&mut old, sector * 512).unwrap();
                contents.change(sector * 512, &old, &new).unwrap();
                disk.write_all_at(&new, sector * 512).unwrap();
            }
            let fresh = Contents::of(&disk, STARTS, &versions).unwrap();
            for slot in [Slot::A, Slot::B] {
                prop_assert_eq!(contents.describe(slot), fresh.describe(slot));
            }
        }
    }
}
