//! What the unit files promise: in which order a start goes, and who may tell RAUC what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

use std::{fs, path::Path};

/// The settings of a file with sections, in their order.
struct Unit {
    name: String,
    settings: Vec<(String, String)>,
}

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(path: &str) -> Unit {
    let lines = text(path);
    let settings = lines.lines().filter(|line| !line.starts_with(['#', '['])).filter_map(|line| line.split_once('='));
    let settings = settings.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
    Unit { name: path.to_owned(), settings }
}

fn unit(name: &str) -> Unit {
    read(&format!("systemd/system/{name}"))
}

impl Unit {
    fn has(&self, setting: &str, word: &str) -> bool {
        let values = self.settings.iter().filter(|(name, _)| name == setting);
        values.flat_map(|(_, value)| value.split_ascii_whitespace()).any(|one| one == word)
    }

    #[track_caller]
    fn must(&self, setting: &str, word: &str) {
        assert!(self.has(setting, word), "{} has no {setting}={word}", self.name);
    }
}

const GATE: &str = "homebolt-gate.service";
const TRIAL: &str = "homebolt-trial.service";

#[test]
fn lnd_starts_only_behind_a_health_gate_that_has_passed() {
    for name in ["lnd.service", "lnd.path"] {
        let lnd = unit(name);
        lnd.must("After", GATE);
        // After alone would also start it behind a gate that failed.
        lnd.must("Requires", GATE);
    }
    let lnd = unit("lnd.service");
    let condition = lnd.settings.iter().find(|(name, _)| name == "ExecCondition").expect("nothing asks for the fence");
    assert!(condition.1.ends_with("homebolt-boot fence"), "{}", condition.1);
    // No condition may let it run without the gate: a gate that is not wanted at a start is never required in vain.
    unit(GATE).must("WantedBy", "multi-user.target");
    assert!(!unit(GATE).has("After", "lnd.service"));
}

#[test]
fn the_gate_restarts_a_box_that_fails_it_and_what_was_said_is_kept_before() {
    let gate = unit(GATE);
    gate.must("FailureAction", "reboot");
    gate.must("Type", "oneshot");
    gate.must("ExecStopPost", "+/usr/lib/homebolt/homebolt-boot");
    gate.must("ExecStopPost", "evidence");
}

#[test]
fn a_trial_is_settled_before_the_gate_and_an_update_goes_on_behind_it() {
    let (trial, update) = (unit(TRIAL), unit("homebolt-update.service"));
    trial.must("Before", GATE);
    unit(GATE).must("After", TRIAL);
    trial.must("ExecStartPre", "update-settle");
    trial.must("ExecStart", "update-watch");
    assert!(!trial.has("After", GATE) && !trial.has("Requires", GATE), "what the gate waits for waits for the gate");
    update.must("After", GATE);
    update.must("After", "homebolt-slots.service");
    // Not required: behind a failed gate it finds a version on trial, and leaves it so.
    assert!(!update.has("Requires", GATE));
    update.must("Type", "exec");
    update.must("ConditionPathExists", "/data/system/update-job.json");
    update.must("Restart", "on-failure");
}

#[test]
fn what_belongs_to_an_update_starts_by_itself() {
    let preset = text("systemd/system-preset/00-homebolt.preset");
    for name in [TRIAL, "homebolt-update.service", GATE, "homebolt-slots.service"] {
        assert!(preset.lines().any(|line| line == format!("enable {name}")), "{name} is not enabled");
    }
}

#[test]
fn a_system_that_hangs_is_restarted_by_the_hardware_from_start_to_end() {
    let system = read("systemd/system.conf.d/homebolt.conf");
    system.must("RuntimeWatchdogSec", "30s");
    system.must("RebootWatchdogSec", "5min");
    system.must("CrashAction", "reboot");
    let (start, devices) = (text("image/initrd/start"), text("image/initrd/devices"));
    // The drivers are there when systemd starts.
    for name in ["iTCO_wdt", "wdat_wdt", "sp5100_tco", "i6300esb"] {
        assert!(devices.lines().any(|line| line == name), "{name} is not in the initrd");
    }
    assert!(start.lines().any(|line| line == "efi_pstore"), "nothing keeps a kernel's last words");
}

#[test]
fn only_root_tells_rauc_what_to_do_and_a_written_slot_waits_for_roots_word() {
    read("overlays/common/etc/rauc/system.conf").must("activate-installed", "false");
    let policy = text("overlays/common/usr/share/dbus-1/system.d/homebolt-rauc.conf");
    let (root, others) = policy.split_once(r#"<policy context="default">"#).expect("nothing is said of the others");
    assert!(
        root.contains(r#"<policy user="root">"#) && root.contains(r#"<allow send_destination="de.pengutronix.rauc"/>"#)
    );
    assert!(others.contains(r#"<deny send_destination="de.pengutronix.rauc"/>"#) && !others.contains("<allow"));
    // The package's own lets everybody.
    let packages = text("image/debian/packages.toml");
    assert!(packages.contains(r#""./usr/share/dbus-1/system.d/de.pengutronix.rauc.conf""#));
}
