//! `homebolt-boot slots`: how the two slots stand, and why one of them failed.

use std::path::Path;

use bootstate::{Counter, TRIES};
use nix::mount::{MsFlags, mount, umount};
use release::Release;
use twin::{DataState, Slot, SlotStatus};

use crate::{
    console::note,
    disks::LINKS,
    error::{At, Error},
    esp, files,
    marks::{self, Mark, Stage},
    slotcfg::SlotCfg,
    state::{self, Boot},
    update::evidence,
    verity::{self, Check},
};

pub const RELEASE: &str = "/usr/lib/homebolt/release.json";
const RESULT: &str = "/run/homebolt/slots.json";

/// What a failed slot left behind.
#[derive(Debug)]
pub struct Evidence<'a> {
    pub slot: Slot,
    pub counter: Counter,
    /// Settings in its boot partition, or why there are none.
    pub boot: Result<&'a SlotCfg, &'a str>,
    pub root: Check,
    /// The whole record, oldest first; `None` when the data partition is not there to keep one.
    pub marks: Option<&'a [Mark]>,
}

/// Writes the file twice: at once what is known, and again once the failed slots were looked at, which may take a minute.
pub fn run() -> Result<(), Error> {
    let booted = Boot::read()?;
    let release: Release = files::read_json(Path::new(RELEASE))?;
    let state = esp::read().map_err(|error| error.to_string());
    let slots = [Slot::A, Slot::B].map(|slot| (slot, boot_partition(slot)));
    let mut found = slots.each_ref().map(|(slot, cfg)| {
        let counter = state.as_ref().map(|state| state.slot(*slot)).map_err(Clone::clone);
        let version = match cfg {
            _ if *slot == booted.slot => Some(release.version.clone()),
            cfg => cfg.as_ref().ok().and_then(|cfg| cfg.version.clone()),
        };
        first_status(*slot, *slot == booted.slot, &counter, version)
    });
    // A slot that waits for its first copy has not failed.
    let empty = state.ok().and_then(|state| state.fill);
    for status in found.iter_mut().filter(|status| Some(status.slot) == empty) {
        status.problem = None;
    }
    files::write_json(Path::new(RESULT), &found)?;

    let record = (booted.data.state == DataState::Ok).then(|| marks::read(Path::new("/data")));
    if record.is_some()
        && let Err(error) = evidence::publish(Path::new("/data"), Path::new(state::FOLDER))
    {
        note(&format!("what failed starts left cannot be read by the pages: {error}"));
    }
    for (status, (slot, cfg)) in
        found.iter_mut().zip(&slots).filter(|(status, _)| failed(status) && Some(status.slot) != empty)
    {
        let root = match cfg {
            Ok(cfg) => verity::check(&link("root", *slot), &cfg.root_hash, cfg.root_size),
            Err(_) => Check::Unknown("without its boot partition it has no root hash".into()),
        };
        let counter = Counter { ok: status.ok, tries: status.tries };
        let boot = cfg.as_ref().map_err(String::as_str);
        let problem = explain(&Evidence { slot: *slot, counter, boot, root, marks: record.as_deref() });
        note(&problem);
        status.problem = Some(problem);
    }
    files::write_json(Path::new(RESULT), &found)
}

/// The status before anything was looked for.
fn first_status(slot: Slot, booted: bool, counter: &Result<Counter, String>, version: Option<String>) -> SlotStatus {
    match counter {
        Ok(counter) => {
            let mut status =
                SlotStatus { slot, booted, ok: counter.ok, tries: counter.tries.min(TRIES), version, problem: None };
            if failed(&status) {
                status.problem = Some(format!("Slot {slot:?} did not start. The reason is being looked for."));
            }
            status
        }
        Err(reason) => {
            let problem = format!("The boot loader's counters cannot be read: {reason}.");
            SlotStatus { slot, booted, ok: booted, tries: 0, version, problem: Some(problem) }
        }
    }
}

/// The boot loader has given it up, so the other one runs.
fn failed(status: &SlotStatus) -> bool {
    !status.booted
        && (!status.ok || status.tries >= TRIES)
        && !status.problem.as_deref().is_some_and(|problem| problem.contains("counters"))
}

/// Says in one sentence or two why the slot failed: what is broken on the disk first, else how far it came.
pub fn explain(evidence: &Evidence) -> String {
    let slot = evidence.slot;
    let begin = if evidence.counter.tries >= TRIES {
        format!("Slot {slot:?} was started {TRIES} times without success")
    } else {
        format!("Slot {slot:?} is switched off")
    };
    let reason = match (&evidence.boot, &evidence.root) {
        (Err(reason), _) => format!("its boot partition is damaged or incomplete ({reason})"),
        (Ok(_), Check::Damaged) => {
            "its system image is damaged or incomplete (it does not match its root hash)".to_owned()
        }
        (Ok(_), _) => how_far(evidence),
    };
    match &evidence.root {
        Check::Unknown(why) if evidence.boot.is_ok() => {
            format!("{begin}: {reason}. Its system image could not be checked: {why}.")
        }
        _ => format!("{begin}: {reason}."),
    }
}

/// What the last attempt says; its image is sound.
fn how_far(evidence: &Evidence) -> String {
    let Some(marks) = evidence.marks else {
        return "why is not known, as the data partition that keeps the record is not usable".into();
    };
    let own: Vec<&Mark> = marks.iter().filter(|mark| mark.slot == evidence.slot).collect();
    let last = own.last().map(|mark| mark.id.as_str());
    let stages: Vec<Stage> =
        own.iter().filter(|mark| Some(mark.id.as_str()) == last).map(|mark| Stage::from(mark.stage.as_str())).collect();
    let told = stages.iter().rev().find_map(|stage| match stage {
        // The last attempt on record was a good one, so those that failed left nothing.
        Stage::GateOk => Some(NEVER.to_owned()),
        Stage::GateFailed(reason) => Some(format!("it started, but its health check failed: {reason}")),
        Stage::InitrdFailed { step, error } => Some(format!("it stopped at the step '{step}': {error}")),
        Stage::Root => Some("its system started, but was never found healthy".to_owned()),
        Stage::Initrd => Some("it stopped without a word between its initrd and its system".to_owned()),
        Stage::Other(_) => None,
    });
    match told {
        None if evidence.counter.tries < TRIES => {
            "an installation into it was interrupted, or it was marked bad".into()
        }
        told => told.unwrap_or_else(|| NEVER.to_owned()).trim_end_matches('.').to_owned(),
    }
}

const NEVER: &str = "it never got as far as its initrd's first mark: its kernel or initrd is broken";

pub fn link(kind: &str, slot: Slot) -> std::path::PathBuf {
    Path::new(LINKS).join(format!("{kind}-{}", if slot == Slot::A { 'a' } else { 'b' }))
}

/// Reads the slot's boot partition: its settings, and that kernel and initrd are there.
pub fn boot_partition(slot: Slot) -> Result<SlotCfg, String> {
    let target = files::folder("/run/homebolt/slot").map_err(|error| error.to_string())?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let device = link("boot", slot);
    mount(Some(&device), &target, Some("vfat"), flags, None::<&str>)
        .map_err(|error| format!("it cannot be mounted: {error}"))?;
    let read = read_boot(&target);
    match umount(&target).at("unmount", target) {
        Err(error) => Err(error.to_string()),
        Ok(()) => read,
    }
}

fn read_boot(folder: &Path) -> Result<SlotCfg, String> {
    for name in ["vmlinuz", "initrd"] {
        let length = std::fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
        if length == 0 {
            return Err(format!("its {name} is missing"));
        }
    }
    let text =
        files::read_limited(&folder.join("slot.cfg"), 64 * 1024).map_err(|_| "its slot.cfg is missing".to_owned())?;
    SlotCfg::parse(&String::from_utf8_lossy(&text)).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED_UP: Counter = Counter { ok: true, tries: 3 };

    fn cfg() -> SlotCfg {
        SlotCfg { root_hash: "ab".repeat(32), root_size: 4096, version: None, image_size: None }
    }

    fn marks(stages: &[(&str, Slot, &str)]) -> Vec<Mark> {
        stages
            .iter()
            .map(|(id, slot, stage)| Mark { id: (*id).into(), slot: *slot, at: 0, stage: (*stage).into() })
            .collect()
    }

    fn with_marks(stages: &[(&str, Slot, &str)]) -> String {
        let (cfg, marks) = (cfg(), marks(stages));
        explain(&Evidence { slot: Slot::A, counter: USED_UP, boot: Ok(&cfg), root: Check::Sound, marks: Some(&marks) })
    }

    #[test]
    fn damage_on_the_disk_is_named_before_anything_else() {
        let (cfg, marks) = (cfg(), marks(&[("1", Slot::A, "gate:tls failed: expired")]));
        let evidence = |boot, root| Evidence { slot: Slot::A, counter: USED_UP, boot, root, marks: Some(&marks) };
        assert_eq!(
            explain(&evidence(Ok(&cfg), Check::Damaged)),
            "Slot A was started 3 times without success: its system image is damaged or incomplete (it does not match its root hash)."
        );
        assert_eq!(
            explain(&evidence(Err("its initrd is missing"), Check::Unknown("x".into()))),
            "Slot A was started 3 times without success: its boot partition is damaged or incomplete (its initrd is missing)."
        );
    }

    #[test]
    fn without_any_mark_kernel_or_initrd_is_broken() {
        assert!(with_marks(&[]).contains("its kernel or initrd is broken"));
        assert!(with_marks(&[("1", Slot::B, "root")]).contains("its kernel or initrd is broken"));
        let good_before = [("1", Slot::A, "initrd"), ("1", Slot::A, "root"), ("1", Slot::A, "gate:ok")];
        assert!(with_marks(&good_before).contains("its kernel or initrd is broken"));
    }

    #[test]
    fn else_the_last_attempt_says_how_far_it_came() {
        let failed = [
            ("1", Slot::A, "gate:ok"),
            ("2", Slot::A, "initrd"),
            ("2", Slot::A, "stage: open the root slot, error: no memory"),
        ];
        assert_eq!(
            with_marks(&failed),
            "Slot A was started 3 times without success: it stopped at the step 'open the root slot': no memory."
        );
        let gate = [
            ("2", Slot::A, "root"),
            ("2", Slot::A, "gate:tls failed: expired."),
            ("2", Slot::A, "grow:done"),
            ("3", Slot::B, "gate:ok"),
        ];
        assert_eq!(
            with_marks(&gate),
            "Slot A was started 3 times without success: it started, but its health check failed: tls failed: expired."
        );
        assert!(with_marks(&[("2", Slot::A, "initrd")]).contains("between its initrd and its system"));
        assert!(with_marks(&[("2", Slot::A, "initrd"), ("2", Slot::A, "root")]).contains("never found healthy"));
    }

    #[test]
    fn what_could_not_be_looked_at_is_said() {
        let cfg = cfg();
        let evidence = Evidence {
            slot: Slot::B,
            counter: USED_UP,
            boot: Ok(&cfg),
            root: Check::Unknown("no memory".into()),
            marks: None,
        };
        let text = explain(&evidence);
        assert!(text.contains("data partition") && text.ends_with("could not be checked: no memory."), "{text}");
    }

    #[test]
    fn a_slot_switched_off_without_an_attempt_was_not_finished() {
        let cfg = cfg();
        let counter = Counter { ok: false, tries: 0 };
        let evidence = Evidence { slot: Slot::B, counter, boot: Ok(&cfg), root: Check::Sound, marks: Some(&[]) };
        assert_eq!(
            explain(&evidence),
            "Slot B is switched off: an installation into it was interrupted, or it was marked bad."
        );
    }

    #[test]
    fn only_a_slot_given_up_is_looked_at() {
        let status = |booted, ok, tries| first_status(Slot::A, booted, &Ok(Counter { ok, tries }), None);
        assert!(failed(&status(false, true, 3)) && failed(&status(false, false, 0)));
        assert!(!failed(&status(true, true, 3)) && !failed(&status(false, true, 2)));
        assert!(status(false, true, 3).problem.is_some() && status(false, true, 2).problem.is_none());
        let unreadable = first_status(Slot::A, false, &Err("it is not text".into()), None);
        assert!(!failed(&unreadable));
        assert_eq!(unreadable.problem.unwrap(), "The boot loader's counters cannot be read: it is not text.");
    }

    #[test]
    fn a_boot_partition_without_kernel_or_settings_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let read = || read_boot(folder.path()).unwrap_err();
        std::fs::write(folder.path().join("vmlinuz"), "x").unwrap();
        assert_eq!(read(), "its initrd is missing");
        std::fs::write(folder.path().join("initrd"), "x").unwrap();
        assert_eq!(read(), "its slot.cfg is missing");
        std::fs::write(folder.path().join("slot.cfg"), "").unwrap();
        assert_eq!(read(), "its slot.cfg has no root hash");
    }
}
