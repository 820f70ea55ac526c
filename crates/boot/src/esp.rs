//! The boot state on the EFI partition, and `homebolt-boot bootstate`, by which RAUC and people read and change it.
//!
//! The partition is never mounted: both copies are read and written where they are, see the crate `bootstate`.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use bootstate::{COPIES, Known, LENGTH, Slot, State, TEXT, choose, fat};

use crate::{
    console::note,
    error::{At, Error},
    files, state,
};

/// The EFI partition of the disk the box was started from.
pub const DEVICE: &str = "/dev/homebolt/esp";

/// Held by who changes the boot state.
const LOCK: &str = "bootstate.lock";

/// The name by which RAUC calls this program: it takes a program, and no words for it.
pub const RAUC_NAME: &str = "rauc-bootstate";

/// The boot state as it is now.
pub fn read() -> Result<State, Error> {
    Ok(Copies::open(Path::new(DEVICE), false)?.known().state)
}

/// Changes the boot state, and returns once it is on the disk. Only one at a time does that.
pub fn change(change: impl FnOnce(&mut State)) -> Result<State, Error> {
    let folder = files::folder(state::FOLDER)?;
    change_at(Path::new(DEVICE), &folder.join(LOCK), change)
}

fn change_at(device: &Path, lock: &Path, change: impl FnOnce(&mut State)) -> Result<State, Error> {
    // It goes with the file.
    let held = File::create(lock).at("create", lock)?;
    held.lock().at("lock", lock)?;
    let copies = Copies::open(device, true)?;
    let known = copies.known();
    let mut state = known.state;
    change(&mut state);
    copies.write(&known, &state)?;
    Ok(state)
}

/// Both copies on an open partition.
struct Copies {
    device: File,
    /// Where each is, or why it is not to be found.
    places: [Result<u64, Error>; 2],
}

impl Copies {
    fn open(path: &Path, write: bool) -> Result<Self, Error> {
        let mut device = OpenOptions::new().read(true).write(write).open(path).at("open", path)?;
        let places = COPIES.map(|copy| match fat::find(&mut device, 0, &copy) {
            Ok((at, length)) if length == LENGTH as u64 => Ok(at),
            Ok(_) => Err(missing(path, "one copy of the boot state does not have its length")),
            Err(error) => Err(missing(path, &error.to_string())),
        });
        match places {
            [Err(error), Err(_)] => Err(error),
            places => Ok(Self { device, places }),
        }
    }

    fn known(&self) -> Known {
        let [first, second] = self.places.each_ref().map(|place| {
            let mut block = [0; TEXT];
            self.device.read_exact_at(&mut block, *place.as_ref().ok()?).ok()?;
            Some(block)
        });
        choose([first.as_ref().map(|block| &block[..]), second.as_ref().map(|block| &block[..])])
    }

    /// Each copy is on the disk before the next is begun. That one of them cannot be written must not keep the other one from
    /// it: both are an error.
    fn write(&self, known: &Known, state: &State) -> Result<(), Error> {
        let writes = known.writes(state);
        let mut faults = Vec::new();
        for (copy, block) in &writes {
            let written = self.places[*copy].as_ref().map_err(ToString::to_string).and_then(|place| {
                let written = self.device.write_all_at(&block[..TEXT], *place).and_then(|()| self.device.sync_data());
                written.map_err(|error| format!("copy {} of the boot state cannot be written: {error}", copy + 1))
            });
            faults.extend(written.err());
        }
        faults.iter().for_each(|fault| note(fault));
        match faults.pop() {
            Some(fault) if faults.len() + 1 == writes.len() => Err(Error::Refused(fault)),
            _ => Ok(()),
        }
    }
}

fn missing(path: &Path, reason: &str) -> Error {
    Error::Content { path: path.to_owned(), reason: reason.to_owned() }
}

/// What can be asked of the boot state: for people, and what RAUC asks of its boot loader's handler.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Show,
    GetPrimary,
    SetPrimary(Slot),
    GetState(Slot),
    SetState(Slot, bool),
    GetCurrent,
}

impl Verb {
    fn from_words(words: &[&str]) -> Option<Self> {
        let slot = |name: &str| Slot::from_name(name);
        Some(match words {
            ["show"] => Self::Show,
            ["get-primary"] => Self::GetPrimary,
            ["set-primary", name] => Self::SetPrimary(slot(name)?),
            ["get-state", name] => Self::GetState(slot(name)?),
            ["set-state", name, "good"] => Self::SetState(slot(name)?, true),
            ["set-state", name, "bad"] => Self::SetState(slot(name)?, false),
            ["get-current"] => Self::GetCurrent,
            _ => return None,
        })
    }
}

/// Runs `homebolt-boot bootstate <words>`; `None` when the words mean nothing.
pub fn run(words: &[&str]) -> Option<Result<(), Error>> {
    Some(Verb::from_words(words)?.run())
}

impl Verb {
    fn run(self) -> Result<(), Error> {
        match self {
            Self::Show => print!("{}", read()?),
            Self::GetPrimary => println!("{}", read()?.next()),
            Self::SetPrimary(slot) => drop(change(|state| state.activate(slot))?),
            Self::GetState(slot) => println!("{}", if is_good(&read()?, slot) { "good" } else { "bad" }),
            Self::SetState(slot, true) => drop(change(|state| state.mark_good(slot))?),
            Self::SetState(slot, false) => drop(change(|state| state.mark_bad(slot))?),
            Self::GetCurrent => println!("{}", state::Boot::read()?.slot),
        }
        Ok(())
    }
}

/// RAUC's meaning of the word: nothing counts against it.
fn is_good(state: &State, slot: Slot) -> bool {
    let counter = state.slot(slot);
    counter.ok && counter.tries == 0
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use bootstate::encode;

    use super::*;

    /// A FAT with both copies, each of a number, in it.
    fn esp(folder: &Path, numbers: [u32; 2]) -> std::path::PathBuf {
        let (image, copy) = (folder.join("esp.img"), folder.join("bootenv"));
        File::create(&image).unwrap().set_len(40 << 20).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("MTOOLSRC", "/dev/null");
            assert!(command.output().unwrap().status.success(), "{program}");
        };
        let path = image.to_str().unwrap();
        run("mkfs.vfat", &["-F32", path]);
        run("mmd", &["-i", path, "::/first", "::/second"]);
        for (name, number) in [("first", numbers[0]), ("second", numbers[1])] {
            fs::write(&copy, encode(&State::NEW, number)).unwrap();
            run("mcopy", &["-i", path, copy.to_str().unwrap(), &format!("::/{name}/bootenv")]);
        }
        image
    }

    fn known(image: &Path) -> Known {
        Copies::open(image, false).unwrap().known()
    }

    #[test]
    fn a_change_is_in_both_copies_and_nothing_else_of_the_partition_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let image = esp(folder.path(), [100_000; 2]);
        let before = fs::read(&image).unwrap();
        let changed = change_at(&image, &folder.path().join("lock"), |state| state.filled(Slot::B)).unwrap();
        assert_eq!((changed, known(&image).state), (State::LOST, State::LOST));
        let after = fs::read(&image).unwrap();
        let sectors = before.chunks(512).zip(after.chunks(512)).filter(|(one, other)| one != other);
        assert!(sectors.clone().all(|(_, new)| bootstate::decode(new) == Some((State::LOST, 100_001))));
        assert_eq!(sectors.count(), 2);
    }

    #[test]
    fn what_is_so_already_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let image = esp(folder.path(), [100_000; 2]);
        let before = fs::read(&image).unwrap();
        change_at(&image, &folder.path().join("lock"), |state| state.mark_good(Slot::A)).unwrap();
        assert_eq!(fs::read(&image).unwrap(), before);
    }

    #[test]
    fn one_copy_is_enough_and_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let image = esp(folder.path(), [100_000, 100_001]);
        let mut bytes = fs::read(&image).unwrap();
        let root = bytes.windows(11).position(|name| name == b"SECOND     ").unwrap();
        bytes[root] = b'X';
        fs::write(&image, &bytes).unwrap();
        assert_eq!(known(&image).copy, Some(0));
        change_at(&image, &folder.path().join("lock"), |state| state.mark_bad(Slot::A)).unwrap();
        assert!(!known(&image).state.a.ok);
        let root = bytes.windows(11).position(|name| name == b"FIRST      ").unwrap();
        bytes[root] = b'X';
        fs::write(&image, &bytes).unwrap();
        let error = Copies::open(&image, false).err().unwrap().to_string();
        assert!(error.contains("there is no FIRST/BOOTENV"), "{error}");
    }

    #[test]
    fn the_words_are_those_of_rauc() {
        assert_eq!(Verb::from_words(&["set-state", "B", "bad"]), Some(Verb::SetState(Slot::B, false)));
        assert_eq!(Verb::from_words(&["get-primary"]), Some(Verb::GetPrimary));
        for bad in [&["set-state", "C", "bad"][..], &["set-state", "A"], &["get-state"], &["set-primary", "a"], &[]] {
            assert_eq!(Verb::from_words(bad), None, "{bad:?}");
        }
        let state = State { a: bootstate::Counter { ok: true, tries: 1 }, ..State::NEW };
        assert!(!is_good(&state, Slot::A) && !is_good(&state, Slot::B) && is_good(&State::NEW, Slot::A));
    }
}
