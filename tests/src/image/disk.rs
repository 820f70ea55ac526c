//! Part `disk`: the data moves to a second disk, with power cuts on the way; and that disk is pulled.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    disk::get,
    http::{Answer, Client},
    report::{Outcome, Report, ensure, fails, until},
    visitor,
};

use super::{
    data::faulty,
    lab::{BOOT, GIB, Lab, Live, Options, SERIAL},
};

/// The second disk's.
const OTHER: &str = "HOMEBOLT-TEST-2";
/// Bytes in LND's folder: enough that a copy under emulation lasts some seconds.
const SIZE: u64 = 120 << 20;
/// For a whole move with its restart, under emulation beside other work.
const MOVE: Duration = Duration::from_secs(600);

/// What the mover said.
const JOURNAL: &str =
    "cat /run/homebolt/move.json; journalctl -b --no-pager -o cat -u homebolt-move -u homebolt-request | tail -n 25";

struct Stage<'a> {
    lab: &'a Lab,
    disk: PathBuf,
    other: PathBuf,
    /// SHA-256 of what must come along.
    sums: String,
}

pub(crate) fn run(report: &mut Report, lab: &Lab) {
    let made = report.need("there are a new disk and a second one with somebody's films", || {
        let (disk, other) = (lab.disk("disk", 8 * GIB)?, lab.empty_disk("disk-2", 4 * GIB)?);
        let mkfs = Command::new("mkfs.ext4").args(["-q", "-F", "-L", "films"]).arg(&other).status()?;
        ensure!(mkfs.success(), "mkfs.ext4: {mkfs}");
        Ok(Stage { lab, disk, other, sums: String::new() })
    });
    let Some(mut stage) = made else { return };
    let Some(mut live) = report.need("the machine starts with both", || stage.start(true)) else { return };
    let owner = report.test("the wizard's step shows both disks, and erases nothing without the serial number", || {
        let claim = visitor::claim(&live.client(), &live.code()?)?;
        let owner = live.client().with_session(&visitor::set_password(&live.client(), &claim)?);
        live.wait_for_both_systems()?;
        until(Duration::from_secs(60), || {
            let page = owner.get("/setup/disk")?.text();
            for word in [SERIAL, OTHER, "films"] {
                ensure!(page.contains(word), "the page does not show {word}");
            }
            Ok(())
        })?;
        let before = get(&stage.other, 0, 4 << 20)?;
        for wrong in ["", "ERASE", SERIAL] {
            let answer = relocate(&owner, "vdb", OTHER, wrong)?;
            ensure!(answer.status == 422, "{wrong:?} is answered by {}", answer.status);
        }
        // The root program trusts no page.
        let wish = format!("{{\"disk\":\"vdb\",\"serial\":\"{OTHER}\",\"size\":{},\"confirm\":\"x\"}}", 4 * GIB);
        live.shell(&format!(
            "printf '%s' '{wish}' > /run/homebolt/manager/.x && mv /run/homebolt/manager/.x /run/homebolt/manager/request/disk-move"
        ))?;
        until(Duration::from_secs(60), || {
            let said = live.shell("cat /run/homebolt/request-result.json")?;
            ensure!(said.contains("Nothing was erased"), "the root program says {said}");
            Ok(())
        })?;
        ensure!(get(&stage.other, 0, 4 << 20)? == before, "the second disk was written to");
        Ok(owner)
    });
    let Some(owner) = owner else { return };
    let filled = report.need("LND's folder is filled", || fill(&mut live));
    let Some(sums) = filled else { return };
    stage.sums = sums;
    report.test("a move that the owner stops changes nothing, and LND may start again", || {
        let answer = relocate(&owner, "vdb", OTHER, OTHER)?;
        ensure!(answer.status == 303, "it is answered by {}: {}", answer.status, visitor::complaint(&answer));
        let page = owner.get("/setup/disk")?.text();
        ensure!(page.contains("/disk/cancel"), "the page does not show the move");
        let answer = owner.post("/disk/cancel", &[])?;
        ensure!(answer.status == 303, "it is answered by {}: {}", answer.status, visitor::complaint(&answer));
        let page = owner.get("/setup/disk")?.text();
        ensure!(page.contains("The move was stopped"), "the page does not say that it was stopped");
        stage.is_at(&mut live, "/dev/vda6")?;
        let left = live.ask("cat /data/system/move.json; systemctl is-active lnd.path")?.text;
        ensure!(left.contains("No such file") && left.contains("\nactive"), "it left {left}");
        Ok(())
    });
    let cut = report.test("a move begins, and the power goes in the middle of the copy", || {
        let answer = relocate(&owner, "vdb", OTHER, OTHER)?;
        ensure!(answer.status == 303, "it is answered by {}: {}", answer.status, visitor::complaint(&answer));
        until_phase(&mut live, &["copy", "check"])?;
        // Both locks: the unit's condition and the fence.
        let locks = live.ask(
            "touch /data/config/lnd.conf; systemctl start lnd.service; systemctl is-active lnd.service lnd.path; \
             rm /data/config/lnd.conf; /usr/lib/homebolt/homebolt-boot fence",
        )?;
        let (said, code) = (locks.text, locks.code);
        let shut = said.contains("being moved") && code != 0 && !said.lines().any(|line| line.trim() == "active");
        ensure!(shut, "LND may start while its data moves ({code}): {said}\n{}", live.shell(JOURNAL)?);
        Ok(())
    });
    live.cut_power();
    if cut.is_none() {
        return;
    }
    let Some(mut live) = report.need("the machine starts again", || stage.start(true)) else { return };
    let moved = report.test("it goes on by itself, restarts, and the data is on the new disk to the byte", || {
        let boot = live.boot_id()?;
        live.wait_for_other_boot(&boot, MOVE)?;
        stage.is_at(&mut live, "/dev/vdb1")?;
        let page = live.client().with_session(owner.session.as_deref().unwrap_or_default()).get("/setup/disk")?;
        let text = page.text();
        ensure!(text.contains("of its own"), "the page says {}: {text}", page.status);
        until(Duration::from_secs(60), || {
            let text = owner.get("/settings/disk")?.text();
            ensure!(text.contains("an old copy") && text.contains(OTHER), "the page does not tell of the old copy");
            Ok(())
        })
    });
    if moved.is_none() {
        report.note(&live.shell(JOURNAL).unwrap_or_default());
        return;
    }
    report.test("the old copy is marked: it names the new disk and is of a form that older systems refuse", || {
        let marker = live.shell("debugfs -R 'cat /system/format.json' /dev/vda6 2>/dev/null")?;
        let marker: Value = serde_json::from_str(&marker)?;
        ensure!(marker["format"] == 2 && marker["moved"]["serial"] == OTHER, "the marker is {marker}");
        let note = live.shell("debugfs -R 'cat /MOVED.txt' /dev/vda6 2>/dev/null")?;
        ensure!(note.contains(OTHER), "the note is {note}");
        Ok(())
    });
    live.cut_power();
    report.test("without the new disk the box says which one is missing, and starts no wallet", || {
        let mut live = stage.start(false)?;
        faulty(&mut live, "The disk with the data is missing", OTHER)?;
        let screen = live.screen()?.0.split_whitespace().collect::<String>();
        ensure!(screen.contains(OTHER), "the console does not name the disk");
        let mounted = live.ask("findmnt --noheadings --output FSTYPE /data")?.text;
        ensure!(mounted.trim() == "tmpfs", "/data is {mounted}");
        live.cut_power();
        Ok(())
    });
    report
        .test("another box takes the data for its own once its owner has confirmed it, and the owner signs in", || {
            adopt(&stage)
        });
    let back = report.test("with the disk back all is as it was", || {
        let mut live = stage.start(true)?;
        stage.is_at(&mut live, "/dev/vdb1")?;
        visitor::sign_in(&live.client())?;
        Ok(live)
    });
    let Some(mut live) = back else { return };
    report.test("back home with the power cut around the one write: exactly one copy is live, and it is whole", || {
        let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
        let answer = relocate(&owner, "vda", SERIAL, "")?;
        ensure!(answer.status == 303, "it is answered by {}: {}", answer.status, visitor::complaint(&answer));
        until_phase(&mut live, &["switch", "restart"])?;
        live.cut_power();
        // Either the write was done, or the next start does the move again.
        let mut live = stage.start(true)?;
        let end = Instant::now() + MOVE;
        loop {
            live.wait_for_shell(BOOT)?;
            if stage.is_at(&mut live, "/dev/vda6").is_ok() {
                break;
            }
            if Instant::now() > end {
                return fails(format!("the data is not back home: {}", live.shell("cat /run/homebolt/move.json")?));
            }
            std::thread::sleep(Duration::from_secs(3));
        }
        let old = live.shell("debugfs -R 'cat /system/format.json' /dev/vdb1 2>/dev/null")?;
        ensure!(old.contains("\"moved\""), "the copy on the second disk is not marked: {old}");
        live.cut_power();
        Ok(())
    });
}

/// A fresh box beside a copy of the second disk, so that the first box keeps its own.
fn adopt(stage: &Stage<'_>) -> Outcome {
    let (fresh, copy) = (stage.lab.disk("disk-fresh", 8 * GIB)?, stage.lab.empty_disk("disk-2-copy", 0)?);
    let copied = Command::new("cp").arg("--sparse=always").arg(&stage.other).arg(&copy).status()?;
    ensure!(copied.success(), "cp: {copied}");
    let more = [(copy.as_path(), OTHER)];
    let mut live = stage.lab.start_beside(&fresh, &more, "disk-adopt", Options::default(), None)?;
    live.wait_for_page(BOOT)?;
    let claim = visitor::claim(&live.client(), &live.code()?)?;
    let owner = live.client().with_session(&visitor::set_password(&live.client(), &claim)?);
    live.wait_for_both_systems()?;
    let partition = until(Duration::from_secs(60), || {
        let page = owner.get("/setup/disk")?.text();
        let field = page.split_once("name=\"partition\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        field.map_or_else(|| fails("the page does not offer the data of the second disk"), |(id, _)| Ok(id.to_owned()))
    })?;
    let form = [("disk", "vdb"), ("serial", OTHER), ("partition", partition.as_str()), ("from", "setup")];
    let answer = owner.post("/disk/adopt", &form)?;
    ensure!(answer.status == 422, "without the confirmation it is answered by {}", answer.status);
    let boot = live.boot_id()?;
    let answer = owner.post("/disk/adopt", &[&form[..], &[("off", "yes")]].concat())?;
    ensure!(answer.status == 200, "it is answered by {}: {}", answer.status, visitor::complaint(&answer));
    live.wait_for_other_boot(&boot, MOVE)?;
    stage.is_at(&mut live, "/dev/vdb1")?;
    ensure!(owner.get("/home")?.status != 200, "the session of the box before the change is good for another's data");
    visitor::sign_in(&live.client())?;
    let left = live.shell("debugfs -R 'cat /system/format.json' /dev/vda6 2>/dev/null")?;
    ensure!(left.contains("\"moved\"") && left.contains(OTHER), "what the fresh box had is not marked: {left}");
    live.cut_power();
    Ok(std::fs::remove_file(fresh)?)
}

impl Stage<'_> {
    fn start(&self, both: bool) -> Outcome<Live> {
        let more = [(self.other.as_path(), OTHER)];
        let more: &[(&Path, &str)] = if both { &more } else { &[] };
        let mut live = self.lab.start_beside(&self.disk, more, "disk", Options::default(), None)?;
        live.wait_for_page(BOOT)?;
        live.wait_for_shell(BOOT)?;
        Ok(live)
    }

    /// The data is in use on that partition, complete, and may be started from.
    fn is_at(&self, live: &mut Live, device: &str) -> Outcome {
        let source = live.shell("findmnt --noheadings --output SOURCE /data")?;
        ensure!(source == device, "/data is on {source}");
        let marker = live.shell("cat /data/system/format.json")?;
        ensure!(marker == "{\"format\":1}", "the marker is {marker}");
        let sums = sums(live)?;
        ensure!(sums == self.sums, "the data is another:\n{sums}\n{}", self.sums);
        Ok(())
    }
}

fn relocate(owner: &Client, disk: &str, serial: &str, confirm: &str) -> Outcome<Answer> {
    owner.post("/disk/move", &[("disk", disk), ("serial", serial), ("confirm", confirm), ("from", "setup")])
}

fn until_phase(live: &mut Live, phases: &[&str]) -> Outcome {
    let end = Instant::now() + MOVE;
    loop {
        let said = live.ask("cat /run/homebolt/move.json")?.text;
        if phases.iter().any(|phase| said.contains(&format!("\"phase\":\"{phase}\""))) {
            return Ok(());
        }
        ensure!(!said.contains("\"failed\""), "the move failed: {said}");
        ensure!(Instant::now() < end, "the move does not come to {phases:?}: {said}");
    }
}

/// Something like a wallet: large, with a hole, with attributes; gives its sums.
fn fill(live: &mut Live) -> Outcome<String> {
    live.shell(&format!(
        "echo '{{\"lnd_version\":\"v0.21.2-beta\"}}' > /data/system/fence.json && mkdir -p /data/lnd/data/graph && head -c {SIZE} /dev/urandom > /data/lnd/data/graph/channel.sqlite && \
         truncate -s 200M /data/lnd/data/headers.bin && printf end >> /data/lnd/data/headers.bin && \
         ln -s graph/channel.sqlite /data/lnd/data/link && chown -Rh lnd:lnd /data/lnd/data && sync"
    ))?;
    sums(live)
}

fn sums(live: &mut Live) -> Outcome<String> {
    live.shell(
        "cd /data && stat -c '%n %U %G %a %s %Y' lnd/data lnd/data/headers.bin lnd/data/graph/channel.sqlite && \
         sha256sum lnd/data/graph/channel.sqlite system/machine-id && readlink lnd/data/link",
    )
}
