//! `/init`: from the kernel's first process to systemd in a verified root.
//!
//! ```text
//! kernel views ─► command line ─► modules ─► booted disk ─► data ─► mark "initrd" ─► verity ─► root ─► mark "root" ─► systemd
//!      └──────────────┴───────────────┴─────────────┴──────────┴──── any failure ────┴──────────┴──► say it, mark it, restart
//! ```
//! The boot loader counted this attempt before it began; a restart makes it count the next one. When it has given up both
//! slots it starts this program as the [`recovery`] instead.

use std::{
    ffi::OsStr,
    fs,
    io::Read,
    panic,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use nix::{
    sys::{
        reboot::{RebootMode, reboot},
        time::TimeSpec,
    },
    time::{ClockId, clock_gettime, clock_settime},
};
use release::Release;
use twin::{DataState, Slot};

use crate::{
    appear::{only, refuse_twins, wait_for_disk, wait_for_partition},
    cmdline::{self, CommandLine},
    console::{alarm, note},
    data,
    disks::{self, Choice, LINKS},
    error::{At, Error},
    files, follow,
    marker::Marker,
    marks::{self, Stage},
    modules::Modules,
    network, place, program, recovery, reset,
    root::{self, ROOT},
    state::Boot,
    update::evidence,
    verity, watchdog,
};

/// So long a failure stays on the screen before the restart.
const READING_TIME: Duration = Duration::from_secs(10);

/// Where the initrd mounts data before there is a root.
const DATA: &str = "/data";

/// What a failure needs to know to leave its mark.
#[derive(Debug, Default)]
struct Progress {
    step: &'static str,
    slot: Option<Slot>,
    data: Option<PathBuf>,
}

/// Global, because a panic has to find it.
static PROGRESS: Mutex<Progress> = Mutex::new(Progress { step: "start", slot: None, data: None });

fn progress(change: impl FnOnce(&mut Progress)) {
    if let Ok(mut progress) = PROGRESS.lock() {
        change(&mut progress);
    }
}

pub fn step(name: &'static str) {
    progress(|progress| progress.step = name);
    note(name);
}

/// Runs as the first process of the initrd. Ends in systemd or in a restart.
pub fn run() -> ! {
    panic::set_hook(Box::new(|info| fail(&format!("this is a fault of the program: {info}"))));
    let mounted = root::mount_kernel();
    watchdog::arm();
    let text = files::text("/proc/cmdline").unwrap_or_default();
    let error = match mounted {
        Ok(()) if cmdline::is_recovery(&text) => recovery::run(&text),
        mounted => match mounted.and_then(|()| prepare(&text)) {
            Ok(()) => root::switch(),
            Err(error) => error,
        },
    };
    fail(&error.to_string())
}

fn prepare(text: &str) -> Result<(), Error> {
    step("read the kernel command line");
    let command_line = CommandLine::parse(text)?;
    progress(|progress| progress.slot = Some(command_line.slot));

    step("load the storage modules");
    let mut modules = Modules::default();
    modules.load_listed(Path::new("/etc/modules-load"))?;
    step("find the disk this system was started from");
    let disk = wait_for_disk(&mut modules, command_line.esp)?;
    disk.link()?;
    note(&format!(
        "started from {}{}",
        disk.name,
        if disk.table.from_backup { " (by its backup partition table)" } else { "" }
    ));

    step("check the data partition");
    let home = disk.data().and_then(|partition| disk.device(partition.number));
    let mut wait = |partition| wait_for_partition(&mut modules, partition);
    let machine = follow::Machine::new(Path::new(DATA), &mut wait);
    let (data, device) = follow::open(machine, home.as_deref(), disk.identity())?;
    if let Some(device) = device.as_deref().filter(|_| data.elsewhere) {
        note(&format!("the data lies on {}", device.display()));
        // From here on this is the data partition, for all who ask.
        disk.link_data(device)?;
    }
    if data.state == DataState::Ok {
        if reset::is_pending(Path::new(DATA)) {
            step("erase the data, as the owner asked");
            match reset::carry_out(Path::new(DATA)) {
                Ok(()) => reset::trim(Path::new(DATA)),
                // LND does not start on what is left, and the next start goes on.
                Err(error) => alarm(&format!("the data is not erased yet: {error}")),
            }
        }
        progress(|progress| progress.data = Some(DATA.into()));
        forward_clock(modified(&Path::new(DATA).join("system/timesync/clock")));
        mark(DATA, command_line.slot, &Stage::Initrd);
    } else {
        note(&format!("data is {:?}: {}", data.state, data.detail));
    }

    step("open the root slot");
    let slot = if command_line.slot == Slot::A { "root-a" } else { "root-b" };
    verity::open(&Path::new(LINKS).join(slot), &command_line.root_hash, command_line.hash_offset)?;
    step("mount the root");
    root::mount_root()?;
    let release: Release = files::read_json(&Path::new(ROOT).join("usr/lib/homebolt/release.json"))?;
    forward_clock(Some(release.built));

    step("hand over the data partition");
    let target = Path::new(ROOT).join("data");
    if data.state == DataState::Ok {
        root::move_mount(Path::new(DATA), &target)?;
        progress(|progress| progress.data = Some(target.clone()));
        if let Err(error) = data::make_folders(&target) {
            // A full disk must not stop the boot: what misses its folder says so itself.
            alarm(&error.to_string());
        }
    } else {
        // Empty and gone with the power: nothing on it can pass for the owner's state.
        root::tmpfs(&target, "mode=755,size=4m")?;
        // Without it RAUC could not note that this slot, which is not at fault, is a good one.
        files::folder(target.join("rauc"))?;
    }
    name_machine(&target, data.state)?;
    // Once more, late: a second disk with the same partitions may have been slower.
    if let Choice::Several(names) = disks::choose(disks::scan(), command_line.esp) {
        refuse_twins(&names);
    }
    if let Some(device) = device.as_deref().filter(|_| data.elsewhere)
        && let Some(partition) = disks::partition_of(device)
    {
        let _ = only(disks::with_partition(partition));
    }
    let boot = Boot {
        slot: command_line.slot,
        disk: disk.path().to_string_lossy().into_owned(),
        root_hash: command_line.root_hash,
        data_device: device.map(|device| device.to_string_lossy().into_owned()),
        data,
    };
    boot.write()?;
    if boot.data.state == DataState::Ok
        && let Err(error) = network::lay(&network::Places::below(target.clone()))
    {
        // Then the router is asked: the box is found by the address on its screen.
        alarm(&format!("the owner's network settings are not in force: {error}"));
    }
    if boot.data.state == DataState::Ok {
        mark(&target, boot.slot, &Stage::Root);
        // From here on data belongs to the root: a failure finds it below.
        progress(|progress| progress.data = Some("/data".into()));
    }
    step("hand over to systemd");
    Ok(())
}

/// Leaves a mark, or says why it could not: a full disk must not stop the boot.
fn mark(data: impl AsRef<Path>, slot: Slot, stage: &Stage) {
    if let Err(error) = marks::append(data.as_ref(), slot, stage) {
        note(&format!("no mark of this boot: {error}"));
    }
}

/// Seconds since 1970 at which the file was last written.
pub fn modified(path: &Path) -> Option<u64> {
    let age = fs::metadata(path).ok()?.modified().ok()?;
    age.duration_since(std::time::UNIX_EPOCH).ok().map(|age| age.as_secs())
}

/// Sets the clock to `floor` if it is behind: a box without a battery would take every certificate for not yet valid.
pub fn forward_clock(floor: Option<u64>) {
    let Some(floor) = floor.and_then(|floor| i64::try_from(floor).ok()) else { return };
    let behind = clock_gettime(ClockId::CLOCK_REALTIME).is_ok_and(|now| now.tv_sec() < floor);
    if behind && clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(floor, 0)).is_ok() {
        note(&format!("the clock was behind and was set to {floor}"));
    }
}

/// Puts the machine's id, name and time zone from data into `/etc`. Without data the id is a new one, for this boot only.
fn name_machine(data: &Path, state: DataState) -> Result<(), Error> {
    let kept = data.join("system/machine-id");
    let known = files::text(&kept).filter(|id| is_machine_id(id));
    let id = match known {
        Some(id) => id,
        None => {
            let id = new_machine_id()?;
            if state == DataState::Ok
                && let Err(error) = files::write_atomic(&kept, format!("{id}\n").as_bytes(), 0o444)
            {
                alarm(&format!("this boot's machine id is lost at the next one: {error}"));
            }
            id
        }
    };
    let etc = Path::new(ROOT).join("etc");
    files::write_atomic(&etc.join("machine-id"), format!("{id}\n").as_bytes(), 0o444)?;
    place::restore(data, Path::new(ROOT));
    Ok(())
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|byte| byte != b'0')
}

/// 128 random bits, marked as a version 4 UUID as machine-id(5) asks for.
fn new_machine_id() -> Result<String, Error> {
    let path = "/dev/urandom";
    let mut bytes = [0; 16];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).at("read", path)?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    Ok(format!("{number:032x}"))
}

/// Says what failed on every console, leaves the mark and the kernel's log for the next boot, and restarts.
fn fail(error: &str) -> ! {
    // A panic may have happened while it was held.
    let (step, slot, data) = PROGRESS
        .try_lock()
        .map_or(("unknown", None, None), |progress| (progress.step, progress.slot, progress.data.clone()));
    alarm(&format!("THIS START FAILED. Step: {step}.\n{error}\nThe box restarts in {} s.", READING_TIME.as_secs()));
    if let (Some(slot), Some(data)) = (slot, data.or_else(mount_data_for_mark)) {
        mark(&data, slot, &Stage::InitrdFailed { step: step.to_owned(), error: error.to_owned() });
        let log = program::run::<&OsStr>("/bin/dmesg", &[]).map(|log| log.output).unwrap_or_default();
        // The log helps, but the mark is what counts.
        let _ = marks::boot_id().and_then(|id| {
            let why = format!("The initrd gave up. Step: {step}. {error}\n");
            evidence::save(&data, &evidence::name(slot, &id), [&why, &log, ""])
        });
    }
    nix::unistd::sync();
    thread::sleep(READING_TIME);
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    // Without the right to restart the kernel's own `panic=` does it when its first process ends.
    std::process::exit(1)
}

/// The failure came before data was mounted: it is mounted now if it is ours and sound.
fn mount_data_for_mark() -> Option<PathBuf> {
    let device = Path::new(LINKS).join("data");
    if !device.exists() {
        return None;
    }
    let opened = data::open(&device, Path::new(DATA)).ok()?;
    // A mark in a copy that was left behind does no harm, but nobody would find it.
    (opened.ok()? == Marker::Live).then(|| DATA.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_machine_id_is_valid_and_never_the_same() {
        let (one, two) = (new_machine_id().unwrap(), new_machine_id().unwrap());
        assert!(is_machine_id(&one), "{one}");
        assert_eq!(&one[12..13], "4");
        assert!("89ab".contains(&one[16..17]));
        assert_ne!(one, two);
    }

    #[test]
    fn only_a_real_id_is_taken_for_one() {
        for bad in ["", "uninitialized", &"0".repeat(32), &"A".repeat(32), &"a".repeat(31), &"g".repeat(32)] {
            assert!(!is_machine_id(bad), "{bad}");
        }
    }
}
