//! A real box does all that writes to its disk outside of the data partition, and every write is recorded.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    image::{
        fallback::marked_good,
        lab::{BOOT, Lab, Live, Options, log_of_writes},
        update::{HOST, rauc},
    },
    report::{Outcome, ensure, until},
    shelf::Shelf,
    visitor,
};

use super::look::{Erasure, Promise};

/// What the owner has stored before anything is updated.
const TREASURE: &str = "what the owner stored must be there after every cut";

/// Stands for the wallet, which is erased first.
const WALLET: &str = "lnd/treasure";

/// What was recorded.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) log: PathBuf,
    /// What the box did, and the log's length when it began to.
    pub(crate) phases: Vec<(String, u64)>,
    pub(crate) promises: Vec<Promise>,
    pub(crate) erasure: Option<Erasure>,
    /// Bytes that the newer bundle cost on the wire, and how long RAUC took with them.
    pub(crate) install: (u64, Duration),
    /// How long the box takes to fetch the whole bundle, and do nothing with it.
    pub(crate) transfer: Duration,
}

impl Recording {
    fn new(disk: &Path) -> Self {
        Self {
            log: log_of_writes(disk),
            phases: Vec::new(),
            promises: Vec::new(),
            erasure: None,
            install: Default::default(),
            transfer: Duration::default(),
        }
    }

    fn length(&self) -> Outcome<u64> {
        Ok(fs::metadata(&self.log)?.len())
    }

    fn begin(&mut self, phase: &str) -> Outcome {
        self.phases.push((phase.to_owned(), self.length()?));
        Ok(())
    }

    /// From now on the file has one of these contents, until the next promise for it.
    fn promise(&mut self, path: &'static str, contents: &[&str]) -> Outcome {
        let contents = contents.iter().map(|content| (*content).to_owned()).collect();
        self.promises.push(Promise { from: self.length()?, path, contents });
        Ok(())
    }
}

/// Runs the box from its first start through an update and its way back by hand to a new box. The newer bundle, of a newer LND by its name,
/// lies on the shelf.
pub(crate) fn record(lab: &Lab, disk: &Path, shelf: &Shelf, bundle: &str) -> Outcome<Recording> {
    let mut recording = Recording::new(disk);
    recording.phases.push(("first start: the data partition grows".into(), 0));
    let mut live = lab.start(disk, "record", Options { record: true, ..Options::default() })?;
    live.wait_for_page(BOOT)?;
    let claim = visitor::claim(&live.client(), &live.code()?)?;
    visitor::set_password(&live.client(), &claim)?;
    live.wait_for_shell(BOOT)?;
    until(Duration::from_secs(240), || {
        let seen = live.ask(
            "cat /data/system/boots.jsonl; systemctl status homebolt-grow --no-pager --lines 20; dmesg | tail -n 40",
        )?;
        let seen = seen.text;
        ensure!(seen.contains("grow:done"), "the data partition has not grown:\n{seen}");
        Ok(())
    })?;

    recording.begin("slot B is filled")?;
    live.wait_for_both_systems()?;
    live.shell(&format!(
        "printf '{TREASURE}' >/data/homebolt/treasure && sync /data/homebolt/treasure /data/homebolt"
    ))?;
    recording.promise("homebolt/treasure", &[TREASURE])?;

    recording.begin("the fence is set")?;
    let (older, newer) = (fence(&lab.manifest.release.lnd_version), fence(super::NEWER_LND));
    recording.promise("system/fence.json", &["", &older])?;
    live.shell(FENCE)?;
    recording.promise("system/fence.json", &[&older])?;

    let start = Instant::now();
    live.shell(&format!("busybox wget -q -O /dev/null {}", url(shelf, bundle)))?;
    recording.transfer = start.elapsed();

    recording.begin("RAUC installs")?;
    shelf.sent();
    let start = Instant::now();
    let (code, said) = rauc(&mut live, shelf, bundle)?;
    recording.install = (shelf.sent(), start.elapsed());
    ensure!(code == 0, "RAUC ends with {code}:\n{said}");
    // Root's own job does this once it has read the slot back.
    live.shell("rauc status mark-active other")?;
    let status = live.shell("rauc status --output-format=shell")?;
    ensure!(status.contains("RAUC_BOOT_PRIMARY='rootfs.1'"), "system B is not the next to start:\n{said}\n{status}");

    recording.begin("restart into slot B, and the commit")?;
    restart(&mut live, "B")?;

    recording.begin("the fence rises")?;
    recording.promise("system/fence.json", &[&older, &newer])?;
    live.shell(FENCE)?;
    recording.promise("system/fence.json", &[&newer])?;

    recording.begin("rolled back by hand")?;
    live.shell("rauc status mark-active other")?;
    restart(&mut live, "A")?;
    let refused = live.ask(FENCE)?;
    ensure!(
        refused.code != 0 && refused.text.contains("older than your wallet"),
        "the fence of slot A ends with {}: {}",
        refused.code,
        refused.text
    );

    recording.begin("back to a new box")?;
    reset(&mut live, &mut recording, &newer)?;

    recording.begin("switched off")?;
    live.switch_off()?;
    Ok(recording)
}

/// As LND's unit asks it.
const FENCE: &str = "/usr/lib/homebolt/homebolt-boot fence";

fn fence(lnd: &str) -> String {
    format!("{{\"lnd_version\":\"{lnd}\"}}\n")
}

/// Has the data erased as the manager asks for it, with something where LND has its wallet.
fn reset(live: &mut Live, recording: &mut Recording, fence: &str) -> Outcome {
    live.shell(&format!("mkdir -p /data/lnd && printf '{TREASURE}' >/data/{WALLET} && sync /data/{WALLET} /data/lnd"))?;
    recording.promise("homebolt/treasure", &[TREASURE, ""])?;
    recording.promise("system/fence.json", &[fence, ""])?;
    let paths = vec![WALLET, "homebolt/treasure", "system/fence.json"];
    recording.erasure = Some(Erasure { from: recording.length()?, paths, wish: homebolt_boot::reset::WISH });
    let begun = live.console().len();
    let serial = live.shell("cat /run/homebolt/boot.json")?;
    let serial: serde_json::Value = serde_json::from_str(&serial)?;
    let serial = serial["data"]["serial"].as_str().filter(|serial| !serial.is_empty()).unwrap_or("ERASE").to_owned();
    live.shell(&format!(
        "printf '%s' '{{\"serial\":\"{serial}\"}}' >/run/homebolt/manager/.x && \
         mv /run/homebolt/manager/.x /run/homebolt/manager/request/factory-reset"
    ))?;
    until(BOOT, || {
        let console = live.console();
        ensure!(console.get(begun..).unwrap_or_default().contains("homebolt: starting system"), "it does not restart");
        Ok(())
    })?;
    live.wait_for_page(BOOT)?;
    live.wait_for_shell(BOOT)?;
    let left =
        live.shell(&format!("ls -d /data/{WALLET} /data/homebolt/treasure /data/system/fence.json 2>/dev/null; true"))?;
    ensure!(left.trim().is_empty(), "it is not erased: {left}");
    for path in ["homebolt/treasure", "system/fence.json"] {
        recording.promise(path, &[""])?;
    }
    Ok(())
}

/// Restarts into that system, and waits until it is marked good.
fn restart(live: &mut Live, system: &str) -> Outcome {
    let before = live.starts(system);
    // The connection ends with the system.
    let _ = live.ask("systemctl reboot --no-block");
    live.wait_for_start(system, before, BOOT)?;
    live.wait_for_page(BOOT)?;
    live.wait_for_shell(BOOT)?;
    marked_good(live, system)
}

/// Where the machine finds a bundle of the shelf.
pub(crate) fn url(shelf: &Shelf, bundle: &str) -> String {
    format!("http://{HOST}:{}/{bundle}", shelf.port)
}
