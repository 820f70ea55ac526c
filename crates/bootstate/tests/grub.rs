//! The real GRUB, as a program of this computer (`grub-emu`), with the real configuration: it reads what we write, we read what
//! it writes, and it does what [`State::step`] says.

// In helpers of tests, a failure is a failed test.
#![allow(clippy::unwrap_used, reason = "clippy takes only marked functions for tests")]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use bootstate::{COPIES, Counter, Known, LENGTH, Slot, State, Step, choose, decode, encode, fat};
use proptest::{prelude::*, test_runner::TestRunner};

const CONFIGURATION: &str = include_str!("../../../image/grub/grub.cfg");

/// What takes the place of loading and starting a kernel: the words of it on the screen, and the end.
const STAND_INS: &str = "function linux { echo \"LINUX $*\"; }\nfunction initrd { true; }\n";

/// What sha256sum says of "kernel" and "initrd".
const SUMS: &str = "\
    6923dd1bc0460082c5d55a831908c24a282860b7f1cd6c2b79cf1bc8857c639c  vmlinuz\n\
    09e6c018d2c8c4903308613dd1b72484d57eadf12ec50ddc8f52e5accce470f2  initrd\n";

/// An EFI partition with the boot state and GRUB's configuration.
struct Disk {
    folder: tempfile::TempDir,
    image: File,
    places: [u64; 2],
}

fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("MTOOLSRC", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether there is a GRUB to ask; says so when there is none.
fn is_missing() -> bool {
    let missing = !Path::new("/usr/bin/grub-emu").exists();
    if missing {
        println!("SKIP: grub-emu is not installed: scripts/setup test");
    }
    missing
}

impl Disk {
    /// With the configuration changed by `change`.
    fn with(change: impl Fn(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let configuration =
            CONFIGURATION.replace("\n      boot\n", "\n      exit\n").replace("    boot\n", "    exit\n");
        let configuration = configuration.replace("  sleep ", "  echo PAUSE ");
        assert!(!configuration.contains("  boot\n"));
        fs::write(path("grub.cfg"), STAND_INS.to_owned() + &change(configuration)).unwrap();
        fs::write(path("bootenv"), [0; LENGTH]).unwrap();
        let image = path("esp.img");
        File::create(&image).unwrap().set_len(40 << 20).unwrap();
        fs::write(path("map"), format!("(hd0) {}\n", image.display())).unwrap();
        let image = image.to_str().unwrap();
        run("mkfs.vfat", &["-F32", image]);
        run("mmd", &["-i", image, "::/grub", "::/first", "::/second"]);
        for (from, to) in [("grub.cfg", "grub/grub.cfg"), ("bootenv", "first/bootenv"), ("bootenv", "second/bootenv")] {
            run("mcopy", &["-i", image, path(from).to_str().unwrap(), &format!("::/{to}")]);
        }
        let mut image = File::options().read(true).write(true).open(image).unwrap();
        let places = COPIES.map(|copy| {
            let (at, length) = fat::find(&mut image, 0, &copy).unwrap();
            assert_eq!(length, LENGTH as u64);
            at
        });
        Self { folder, image, places }
    }

    fn new() -> Self {
        Self::with(|configuration| configuration)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, copies: &[[u8; LENGTH]; 2]) {
        for (place, copy) in self.places.iter().zip(copies) {
            self.image.write_all_at(copy, *place).unwrap();
        }
    }

    fn read(&self) -> [[u8; LENGTH]; 2] {
        self.places.map(|place| {
            let mut copy = [0; LENGTH];
            self.image.read_exact_at(&mut copy, place).unwrap();
            copy
        })
    }

    fn known(&self) -> Known {
        let copies = self.read();
        choose([Some(&copies[0]), Some(&copies[1])])
    }

    /// Lets GRUB run once, to the start of something. Gives what it showed.
    fn grub(&self) -> String {
        let map = self.path("map");
        run("grub-emu", &["--device-map", map.to_str().unwrap(), "--root", "hd0", "--directory", "/grub"])
    }

    /// Lets GRUB run and compares what it does with the model, that what it wrote can be read, and that both copies say it.
    fn agrees(&self) -> Result<(), TestCaseError> {
        let before = self.known();
        let mut expected = before.state;
        let mut steps = vec![expected.step()];
        while !matches!(steps.last(), Some(Step::Start(_) | Step::Recover)) {
            steps.push(expected.step());
        }
        let screen = self.grub();
        prop_assert_eq!(seen(&screen), steps, "from\n{}GRUB showed {}", before.state, screen);
        let after = self.known();
        prop_assert_eq!(after.state, expected, "GRUB showed {}", screen);
        let both = self.read().map(|copy| decode(&copy));
        prop_assert!(both[0].is_some() && both[0] == both[1]);
        prop_assert_eq!(screen.contains("boot state is lost"), before.copy.is_none());
        Ok(())
    }
}

/// What GRUB did, by what it showed.
fn seen(screen: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let words: Vec<&str> = screen.split_ascii_whitespace().collect();
    for pair in words.windows(2) {
        match pair {
            ["PAUSE", "30"] => steps.push(Step::Again),
            ["PAUSE", "300"] => steps.push(Step::Broken),
            [word, "homebolt.recovery"] if word.ends_with("/recovery/vmlinuz") => steps.push(Step::Recover),
            [word, "homebolt.slot=A"] if word.ends_with("2)/vmlinuz") => steps.push(Step::Start(Slot::A)),
            [word, "homebolt.slot=B"] if word.ends_with("3)/vmlinuz") => steps.push(Step::Start(Slot::B)),
            _ => {}
        }
    }
    steps
}

prop_compose! {
    fn states()(values in (any::<[bool; 3]>(), [0..=3_u8, 0..=3, 0..=1, 0..=3],
                prop::sample::select(&[None, Some(Slot::A), Some(Slot::B)]))) -> State {
        let ([first, a, b], [a_tries, b_tries, round, recovery], fill) = values;
        State {
            first: if first { Slot::A } else { Slot::B },
            a: Counter { ok: a, tries: a_tries },
            b: Counter { ok: b, tries: b_tries },
            fill,
            round,
            recovery,
        }
    }
}

#[test]
fn grub_does_what_the_model_says_from_any_state() {
    if is_missing() {
        return;
    }
    let disk = Disk::new();
    let numbers = prop::sample::select(&[100_000_u32, 100_009, 123_899, 299_999, 999_998, 999_999]);
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) });
    let tried = runner.run(&(states(), numbers), |(state, number)| {
        disk.write(&[encode(&state, number); 2]);
        disk.agrees()
    });
    tried.unwrap();
}

#[test]
fn from_a_new_image_grub_goes_through_both_rounds_to_the_recovery() {
    if is_missing() {
        return;
    }
    let disk = Disk::new();
    disk.write(&[encode(&State::LOST, 100_000); 2]);
    let starts: Vec<Step> = (0..16).flat_map(|_| seen(&disk.grub())).collect();
    let round = [[Step::Start(Slot::A); 3], [Step::Start(Slot::B); 3]].concat();
    let expected =
        [round.clone(), vec![Step::Again], round.clone(), vec![Step::Recover; 3], vec![Step::Broken]].concat();
    assert_eq!(starts, [expected, vec![Step::Start(Slot::A)]].concat());
}

#[test]
fn a_kernel_that_is_not_what_its_list_says_is_not_started() {
    if is_missing() {
        return;
    }
    let disk = Disk::new();
    let image = disk.path("esp.img");
    let put = |name: &str, content: &str| {
        fs::write(disk.path("file"), content).unwrap();
        let (from, to) = (disk.path("file"), format!("::/recovery/{name}"));
        run("mcopy", &["-o", "-i", image.to_str().unwrap(), from.to_str().unwrap(), &to]);
    };
    run("mmd", &["-i", image.to_str().unwrap(), "::/recovery"]);
    put("vmlinuz", "kernel");
    put("initrd", "initrd");
    let mut state = State { round: 1, ..State::LOST };
    (state.a.tries, state.b.tries) = (3, 3);
    let shown = || {
        disk.write(&[encode(&state, 100_000); 2]);
        disk.grub()
    };
    assert_eq!(seen(&shown())[0], Step::Recover, "a release that has no list yet");
    put("sha256sums", SUMS);
    assert_eq!(seen(&shown())[0], Step::Recover);
    put("vmlinuz", "kern");
    let screen = shown();
    assert!(screen.contains("vmlinuz: HASH MISMATCH"), "{screen}");
    assert_eq!(seen(&screen)[0], Step::Broken, "{screen}");
    put("vmlinuz", "kernel");
    put("initrd", "");
    assert_eq!(seen(&shown())[0], Step::Broken);
}

#[test]
fn whatever_is_left_of_a_cut_write_grub_reads_the_same_as_we() {
    if is_missing() {
        return;
    }
    let disk = Disk::new();
    let (mut old, mut new) = (State::LOST, State::LOST);
    (old.a, old.round) = (Counter { ok: true, tries: 3 }, 1);
    new.activate(Slot::B);
    for start in [[encode(&old, 100_099); 2], [encode(&old, 100_099), encode(&State::NEW, 100_098)]] {
        let mut copies = start;
        for (copy, block) in choose([Some(&start[0]), Some(&start[1])]).writes(&new) {
            for length in (0..200).step_by(3) {
                let mut torn = copies;
                torn[copy][..length].copy_from_slice(&block[..length]);
                disk.write(&torn);
                disk.agrees().unwrap();
            }
            copies[copy] = block;
            disk.write(&copies);
            disk.agrees().unwrap();
        }
    }
}

#[test]
fn damaged_copies_are_passed_over_and_made_whole_again() {
    if is_missing() {
        return;
    }
    let disk = Disk::new();
    let good = encode(&State { first: Slot::B, ..State::LOST }, 100_041);
    // The head is left: without it GRUB cannot write the copy, only read the other one.
    let mut damaged = encode(&State::NEW, 100_055);
    damaged[40..60].fill(b'x');
    let mut flipped = encode(&State::NEW, 100_055);
    flipped[48] ^= 1;
    for bad in [damaged, flipped] {
        for copies in [[good, bad], [bad, good], [bad, bad]] {
            disk.write(&copies);
            disk.agrees().unwrap();
        }
    }
    disk.write(&[[0; LENGTH], good]);
    assert_eq!(seen(&disk.grub()), [Step::Start(Slot::B)]);
    assert_eq!(disk.known().state.slot(Slot::B).tries, 1);
}

#[test]
fn grub_writes_the_copy_that_counts_last() {
    if is_missing() {
        return;
    }
    // The power goes between the two writes.
    let disk = Disk::with(|configuration| configuration.replace("save_env --file ($root)$current", "exit #"));
    let (one, two) = (encode(&State::LOST, 100_041), encode(&State::NEW, 100_042));
    for (copies, counts) in [([one, one], 0), ([two, one], 0), ([one, two], 1)] {
        disk.write(&copies);
        let mut expected = disk.known().state;
        expected.step();
        disk.grub();
        assert_eq!(disk.read()[counts], copies[counts]);
        assert_eq!(disk.known().state, expected);
        assert_eq!(disk.known().copy, Some(1 - counts));
    }
}
