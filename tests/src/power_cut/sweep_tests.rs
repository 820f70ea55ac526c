//! A small disk with a partition table, a boot state and two slots of a few sectors; logs that keep to the right order, and
//! logs that do not: those must be caught.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
};

use bootstate::{Counter, LENGTH as LENGTH_OF_STATE, Slot, State, choose, encode};
use gpt::{GptConfig, mbr::ProtectiveMBR, partition_types::LINUX_FS};

use super::{
    content::{Version, tests::file},
    log::tests::log,
    sweep::{Plan, Sweep},
    tally::Tally,
};

const LENGTH: u64 = 1 << 20;
const PLAN: Plan = Plan { every_sector: true, looks: 0 };

/// Partitions with their sectors.
const PARTITIONS: [(&str, u64, u64); 6] = [
    ("esp", 40, 63),
    ("boot-a", 72, 75),
    ("boot-b", 76, 79),
    ("root-a", 80, 87),
    ("root-b", 88, 95),
    ("data", 100, 200),
];
/// Where the two copies of the boot state begin, in sectors of the EFI partition: behind the head, one table, and three folders.
const STATES: [u64; 2] = [45, 48];

/// A disk whose slot A holds version 1, as the box is when it begins to install; and what was logged since.
struct Scene {
    folder: tempfile::TempDir,
    entries: Vec<Option<(u64, Vec<u8>)>>,
    /// What the copies of the boot state hold.
    copies: [[u8; LENGTH_OF_STATE]; 2],
}

const BEFORE: State = State::LOST;
const OFF: Counter = Counter { ok: false, tries: 0 };
const INSTALLING: State = State { b: OFF, ..BEFORE };
const INSTALLED: State = State { first: Slot::B, ..BEFORE };
const ONLY_B: State = State { a: OFF, ..BEFORE };

fn versions() -> Vec<Version> {
    let version = |byte: u8| Version { name: byte.to_string(), boot: file(&[byte; 2048]), root: file(&[byte; 4096]) };
    vec![version(1), version(2)]
}

impl Scene {
    fn new() -> Self {
        let copies = [encode(&BEFORE, 100_000); 2];
        let scene = Self { folder: tempfile::tempdir().unwrap(), entries: Vec::new(), copies };
        let path = scene.path("before");
        let mut disk = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        disk.set_len(LENGTH).unwrap();
        ProtectiveMBR::with_lb_size((LENGTH / 512) as u32 - 1).overwrite_lba0(&mut disk).unwrap();
        let mut table = GptConfig::new().writable(true).create_from_device(disk, None).unwrap();
        for (id, (label, first, last)) in (1..).zip(PARTITIONS) {
            table.add_partition_at(label, id, first, last - first + 1, LINUX_FS, 0).unwrap();
        }
        let mut disk = table.write().unwrap();
        let mut put = |sector: u64, bytes: &[u8]| {
            disk.seek(SeekFrom::Start(sector * 512)).unwrap();
            disk.write_all(bytes).unwrap();
        };
        // FAT32: sectors of 512 bytes, one a cluster, one of them reserved, one table of one sector.
        let mut head = [0; 512];
        (head[12], head[13], head[14], head[16], head[36], head[44]) = (2, 1, 1, 1, 1, 2);
        head[82..87].copy_from_slice(b"FAT32");
        head[510..].copy_from_slice(&[0x55, 0xaa]);
        put(40, &head);
        let entry = |name: &[u8; 11], cluster: u8| {
            let mut entry = [0; 32];
            entry[..11].copy_from_slice(name);
            entry[26] = cluster;
            entry
        };
        put(42, &[entry(b"FIRST      ", 3), entry(b"SECOND     ", 4)].concat());
        for (place, sector) in STATES.into_iter().enumerate() {
            put(43 + place as u64, &entry(b"BOOTENV    ", (sector - 40) as u8));
            put(sector, &copies[place]);
        }
        for (first, sectors, byte) in [(72, 4, 1), (76, 4, 1), (80, 8, 1), (88, 8, 1)] {
            put(first, &vec![byte; sectors * 512]);
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> &mut Self {
        self.entries.push(Some((sector, bytes.to_vec())));
        self
    }

    /// The box changes the boot state.
    fn state(&mut self, state: State) -> &mut Self {
        for (copy, block) in choose([Some(&self.copies[0]), Some(&self.copies[1])]).writes(&state) {
            self.copy(copy, &block).flush();
        }
        self
    }

    fn copy(&mut self, copy: usize, block: &[u8; LENGTH_OF_STATE]) -> &mut Self {
        self.copies[copy] = *block;
        self.write(STATES[copy], block)
    }

    fn flush(&mut self) -> &mut Self {
        self.entries.push(None);
        self
    }

    /// Version 2 goes into slot B.
    fn install(&mut self) -> &mut Self {
        self.write(88, &[2; 4096]).write(76, &[2; 2048])
    }

    fn sweep(&self, plan: Plan, look: impl FnMut(u64) -> Result<(), String>) -> Tally {
        let mut look = look;
        std::fs::write(self.path("log"), log(&self.entries)).unwrap();
        let open = |name: &str| {
            std::fs::copy(self.path("before"), self.path(name)).unwrap();
            File::options().read(true).write(true).open(self.path(name)).unwrap()
        };
        let (disk, forgetful) = (open("disk"), open("forgetful"));
        let versions = versions();
        let (disk, forgetful, phases) = (&disk, &forgetful, &[0]);
        let sweep = Sweep { log: &self.path("log"), disk, forgetful, versions: &versions, phases, plan };
        let mut tally = Tally::new(&[("test".into(), 0)]);
        let swept = sweep.run(&mut tally, |_, place| look(place));
        assert!(swept.is_ok(), "{swept:?}");
        tally
    }

    fn lost(&self, plan: Plan) -> (u64, String) {
        let tally = self.sweep(plan, |_| Ok(()));
        (tally.cuts() - tally.survived(), tally.faults())
    }
}

#[test]
fn an_update_in_the_right_order_survives_every_cut() {
    let mut scene = Scene::new();
    scene.state(INSTALLING).install().flush().state(INSTALLED);
    let tally = scene.sweep(PLAN, |_| Ok(()));
    assert_eq!(tally.survived(), tally.cuts(), "{}", tally.faults());
    // Each of two changes writes both copies of the state, two sectors each, torn at each byte and unreadable; twelve
    // sectors of the slot.
    let lines = tally.lines();
    assert_eq!(
        lines[1],
        "6 behind a write, 14 between its sectors, 4096 within the boot state's, 4 with what was not \
                          flushed forgotten; 0 looked at closely; 0 start by way of the other slot"
    );
    assert_eq!(lines[2], "4120 of 4120 cut points survived");
}

#[test]
fn a_slot_that_is_taken_before_it_is_whole_is_caught() {
    let mut scene = Scene::new();
    scene.state(ONLY_B).install().flush();
    // From the first sector of the root to the last but one of the boot partition.
    assert_eq!(scene.lost(PLAN).0, 11);
    assert!(
        scene
            .lost(PLAN)
            .1
            .contains("none of the slots that are taken is whole: slot B: 0 sectors of boot and 1 of root")
    );
}

#[test]
fn a_slot_written_over_while_it_may_be_taken_starts_by_way_of_the_other() {
    let mut scene = Scene::new();
    scene.state(INSTALLED).install().flush();
    let tally = scene.sweep(PLAN, |_| Ok(()));
    assert_eq!(tally.survived(), tally.cuts());
    assert!(tally.lines()[1].ends_with("; 11 start by way of the other slot"), "{:?}", tally.lines());
}

#[test]
fn a_state_that_is_written_before_the_slot_is_flushed_is_caught() {
    let mut scene = Scene::new();
    scene.state(INSTALLING).write(88, &[2; 4096]).flush().write(76, &[2; 2048]).state(ONLY_B);
    let (lost, faults) = scene.lost(PLAN);
    assert_eq!(lost, 1, "{faults}");
    assert!(faults.contains("Forgotten") && faults.contains("is whole"), "{faults}");
}

#[test]
fn a_state_written_over_its_only_whole_copy_is_caught_where_it_is_torn() {
    let mut scene = Scene::new();
    scene.copy(1, &[0; LENGTH_OF_STATE]).flush().copy(0, &encode(&INSTALLED, 100_001)).flush();
    let (lost, faults) = scene.lost(PLAN);
    assert!(
        lost > 0 && faults.contains("Byte, at") && faults.contains("neither copy of the boot state is whole"),
        "{lost}: {faults}"
    );
}

#[test]
fn a_damaged_partition_table_is_caught_only_when_its_backup_is_damaged_too() {
    let mut scene = Scene::new();
    scene.write(1, &[0; 512]);
    assert_eq!(scene.lost(PLAN).0, 0);
    scene.write(LENGTH / 512 - 1, &[0; 512]).flush();
    let (lost, faults) = scene.lost(PLAN);
    // Behind the second write, and once more as the disk may have forgotten nothing of both.
    assert_eq!(lost, 2, "{faults}");
    assert!(faults.contains("the partition table cannot be used"), "{faults}");
}

#[test]
fn partitions_that_move_are_caught() {
    let mut scene = Scene::new();
    let disk = File::options().read(true).write(true).open(scene.path("before")).unwrap();
    let mut table = GptConfig::new().writable(true).open_from_device(disk).unwrap();
    let mut entries = table.partitions().clone();
    entries.get_mut(&6).unwrap().first_lba += 1;
    table.update_partitions(entries).unwrap();
    // What the library would write becomes the log of it.
    std::fs::copy(scene.path("before"), scene.path("moved")).unwrap();
    let moved = File::options().read(true).write(true).open(scene.path("moved")).unwrap();
    table.with_disk_device(moved, true).write().unwrap();
    let moved = std::fs::read(scene.path("moved")).unwrap();
    scene.write(1, &moved[512..34 * 512]).flush();
    let (lost, faults) = scene.lost(PLAN);
    assert!(lost > 0 && faults.contains("the partitions have moved"), "{lost}: {faults}");
}

#[test]
fn closer_looks_are_spread_over_the_log_and_their_findings_count() {
    let mut scene = Scene::new();
    scene.state(INSTALLING);
    for _ in 0..4 {
        scene.install().flush();
    }
    let mut seen = Vec::new();
    let tally = scene.sweep(Plan { every_sector: false, looks: 3 }, |place| {
        seen.push(place);
        if seen.len() == 2 { Err("the wallet is gone".into()) } else { Ok(()) }
    });
    assert_eq!(seen.len(), 3);
    assert!(seen.is_sorted_by(|one, other| one < other), "{seen:?}");
    assert_eq!(tally.cuts() - tally.survived(), 1);
    assert!(tally.faults().contains("looked at closely: the wallet is gone"));
}
