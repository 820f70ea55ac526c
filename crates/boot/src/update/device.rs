//! The box itself, as a job's work meets it.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount, umount},
    sys::statvfs::statvfs,
};
use release::{LndVersion, Release};
use serde::Deserialize;
use twin::{Slot, SlotStatus, updates::Card};

use super::{
    check, evidence,
    job::{Record, Seen, Source},
    report::Places,
    work::{Fault, World},
};
use crate::{
    console::note,
    error::{At, Error},
    esp, fence, files, marks, program,
    slotcfg::SlotCfg,
    slots,
    state::Boot,
    verity::{self, Check},
};

const BUSCTL: &str = "/usr/bin/busctl";
/// Progress is told so often at most.
const NEWS: Duration = Duration::from_secs(1);

pub struct Device {
    pub places: Places,
    boot: Boot,
    began: Instant,
    /// When progress was told last.
    told: Option<Instant>,
    /// The boot loader's settings can be read by now.
    has_loader: bool,
}

impl Device {
    pub fn new(boot: Boot) -> Self {
        Self { places: Places::of_box(), boot, began: Instant::now(), told: None, has_loader: true }
    }

    /// In the first moments of a start, which wait for no partition but the data's.
    pub fn early(boot: Boot) -> Self {
        Self { has_loader: false, ..Self::new(boot) }
    }

    /// The other slot, which this box wants to start without installing anything: it must be whole, and its LND must be
    /// allowed to open the wallet.
    fn other_system(&self, record: &mut Record) -> Result<(), Fault> {
        let (slot, cfg) = self.slot_of(record)?;
        if cfg.root_hash != record.job.root_hash {
            return Err(Fault::Refused(format!("Slot {slot:?} holds another system by now. Look again.")));
        }
        whole(slot, &cfg)?;
        let release = release_of(slot).map_err(|error| Fault::Refused(format!("Slot {slot:?}: {error}.")))?;
        record.job.lnd.clone_from(&release.lnd_version);
        let fence = fence::least(&self.places.data).map_err(|error| Fault::Refused(format!("{error}.")))?;
        above_fence(&release, fence).map_err(Fault::Refused)
    }

    fn slot_of(&self, record: &Record) -> Result<(Slot, SlotCfg), Fault> {
        let slot = record.job.slot.unwrap_or(other(self.boot.slot));
        let cfg = slots::boot_partition(slot);
        let cfg =
            cfg.map_err(|why| Fault::Failed(format!("The boot partition of slot {slot:?} is damaged: {why}.")))?;
        Ok((slot, cfg))
    }
}

pub fn other(slot: Slot) -> Slot {
    if slot == Slot::A { Slot::B } else { Slot::A }
}

fn whole(slot: Slot, cfg: &SlotCfg) -> Result<(), Fault> {
    match verity::check(&slots::link("root", slot), &cfg.root_hash, cfg.root_size) {
        Check::Sound => Ok(()),
        Check::Damaged => {
            Err(Fault::Failed(format!("The system in slot {slot:?} is not what was written: the disk may be failing.")))
        }
        Check::Unknown(why) => Err(Fault::Failed(format!("The system in slot {slot:?} cannot be checked: {why}."))),
    }
}

/// Of the system in a slot that was just checked block by block.
fn release_of(slot: Slot) -> Result<Release, Error> {
    let (device, target) = (slots::link("root", slot), files::folder("/run/homebolt/other-root")?);
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(&device), &target, Some("erofs"), flags, None::<&str>).at("mount", &device)?;
    let release = files::read_json(&target.join(slots::RELEASE.trim_start_matches('/')));
    umount(&target).at("unmount", target)?;
    release
}

/// Whether its LND may open what a newer one may have opened.
fn above_fence(release: &Release, fence: Option<LndVersion>) -> Result<(), String> {
    let (version, carried) = (&release.version, &release.lnd_version);
    match (LndVersion::parse(carried), fence) {
        (None, _) => Err(format!("Version {version} does not say which LND it carries, so it is not started.")),
        (Some(lnd), Some(fence)) if lnd < fence => Err(format!(
            "Version {version} carries LND {carried}, and your wallet was opened by LND {fence}: an older LND could cost \
             your money, so there is no way back to it."
        )),
        _ => Ok(()),
    }
}

impl World for Device {
    fn seen(&mut self, record: &Record) -> Result<Seen, Error> {
        let slot = record.job.slot.filter(|_| self.has_loader);
        let counter = slot.and_then(|slot| Some(esp::read().ok()?.slot(slot)));
        Ok(Seen {
            boot: marks::boot_id()?,
            slot: self.boot.slot,
            root_hash: self.boot.root_hash.clone(),
            good: evidence::Gate::read(&self.places.run).is_some_and(|gate| gate.good),
            counter,
        })
    }

    fn save(&mut self, record: &Record) -> Result<(), Error> {
        let job = &record.job;
        note(&format!("update to {}: {} {}", job.version, job.stage.name(), job.error));
        self.places.write(record)?;
        self.places.publish(Some(record))
    }

    fn tell(&mut self, record: &Record) {
        if self.told.is_some_and(|told| told.elapsed() < NEWS) {
            return;
        }
        self.told = Some(Instant::now());
        if let Err(error) = self.places.publish(Some(record)) {
            note(&error.to_string());
        }
    }

    fn check(&mut self, record: &mut Record) -> Result<(), Fault> {
        let data = &self.places.data;
        let space =
            statvfs(data).map_err(|error| Fault::Failed(format!("The data partition does not answer: {error}.")))?;
        check::room(space.blocks_available().saturating_mul(space.fragment_size()))?;
        match record.source {
            Source::Slot => self.other_system(record),
            _ => check::bundle(&record.source, data, record.size, &record.sha256),
        }
    }

    fn bundle(&self, record: &Record) -> Option<String> {
        match &record.source {
            Source::Url(url) => Some(url.clone()),
            source => check::path(source, &self.places.data).map(|path| path.to_string_lossy().into_owned()),
        }
    }

    fn verify(&mut self, record: &Record) -> Result<(), Fault> {
        nix::unistd::sync();
        let (slot, cfg) = self.slot_of(record)?;
        if cfg.root_hash != record.job.root_hash {
            return Err(Fault::Failed(
                "The bundle holds another system than its signed description says. It is not started.".into(),
            ));
        }
        whole(slot, &cfg)
    }

    fn why_back(&mut self, record: &Record) -> (String, Option<String>) {
        let slot = record.job.slot.unwrap_or(other(self.boot.slot));
        let slots: Vec<SlotStatus> = files::read_json(&self.places.run.join("slots.json")).unwrap_or_default();
        let told = slots.into_iter().find(|status| status.slot == slot).and_then(|status| status.problem);
        let why = told.unwrap_or_else(|| format!("The boot loader started slot {:?} instead.", self.boot.slot));
        let own: Option<Release> = files::read_json(Path::new(slots::RELEASE)).ok();
        let fence = fence::least(&self.places.data).ok().flatten();
        // The health gate holds LND back until the version is kept; by hand it may have been otherwise.
        let paused = match own.map(|own| above_fence(&own, fence)) {
            Some(Err(_)) => {
                " Its LND has opened the wallet already, so this older system does not start Lightning: install \
                             that version again, or a newer one."
                    .to_owned()
            }
            _ => String::new(),
        };
        (format!("{why}{paused}"), evidence::newest(&self.places.data, slot, record.job.begun))
    }

    fn close(&mut self, record: &Record) -> Result<(), Error> {
        self.places.close(record)?;
        self.places.publish(Some(record))
    }

    fn cards(&mut self) -> Vec<Card> {
        let words = [
            "--json=short",
            "call",
            "org.freedesktop.network1",
            "/org/freedesktop/network1",
            "org.freedesktop.network1.Manager",
            "Describe",
        ];
        let told = program::answer(BUSCTL, &words, b"").map_err(|error| error.to_string());
        told.and_then(|json| cards(&json)).unwrap_or_else(|why| {
            note(&format!("which network cards work is not known: {why}"));
            Vec::new()
        })
    }

    fn now(&self) -> u64 {
        files::now()
    }

    fn spent(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// What is used of systemd-networkd's description.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(default)]
    interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    name: String,
    #[serde(default)]
    r#type: String,
    /// What only exists in the kernel has a kind.
    kind: Option<String>,
    #[serde(default)]
    hardware_address: Vec<u8>,
    #[serde(default)]
    carrier_state: String,
    #[serde(default)]
    addresses: Vec<Address>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Address {
    address: Vec<u8>,
}

impl Address {
    /// One that the box did not give itself.
    fn is_given(&self) -> bool {
        !matches!(self.address[..], [169, 254, _, _] | [0xfe, 0x80..=0xbf, ..])
    }
}

/// The cards with a carrier and an address that a router or the owner gave, in busctl's answer.
fn cards(json: &[u8]) -> Result<Vec<Card>, String> {
    #[derive(Deserialize)]
    struct Answer {
        data: (String,),
    }
    let answer: Answer = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let network: Network = serde_json::from_str(&answer.data.0).map_err(|error| error.to_string())?;
    let works = |one: &Interface| {
        one.kind.is_none()
            && matches!(one.r#type.as_str(), "ether" | "wlan")
            && !matches!(one.carrier_state.as_str(), "" | "off" | "no-carrier" | "dormant")
            && one.addresses.iter().any(Address::is_given)
    };
    let card = |one: Interface| {
        let mac: Vec<String> = one.hardware_address.iter().map(|byte| format!("{byte:02x}")).collect();
        Card { mac: mac.join(":"), name: one.name }
    };
    Ok(network.interfaces.into_iter().filter(works).map(card).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_that_work_are_those_with_a_carrier_and_an_address_from_somebody() {
        let described = r#"{"Interfaces":[
            {"Name":"lo","Type":"loopback","CarrierState":"carrier","Addresses":[{"Address":[127,0,0,1]}]},
            {"Name":"eth0","Type":"ether","HardwareAddress":[82,84,0,104,98,1],"CarrierState":"carrier",
             "Addresses":[{"Address":[254,128,0,0,0,0,0,0,0,0,0,0,0,0,0,1]},{"Address":[10,0,2,15]}]},
            {"Name":"eth1","Type":"ether","HardwareAddress":[82,84,0,104,98,2],"CarrierState":"carrier",
             "Addresses":[{"Address":[169,254,1,1]}]},
            {"Name":"eth2","Type":"ether","HardwareAddress":[82,84,0,104,98,3],"CarrierState":"no-carrier"},
            {"Name":"br0","Type":"ether","Kind":"bridge","CarrierState":"carrier","Addresses":[{"Address":[10,0,0,1]}]}]}"#;
        let answer = serde_json::json!({ "type": "s", "data": [described] }).to_string();
        let found = cards(answer.as_bytes()).unwrap();
        assert_eq!(found, [Card { mac: "52:54:00:68:62:01".into(), name: "eth0".into() }]);
        assert!(cards(b"{}").is_err() && cards(br#"{"data":["{"]}"#).is_err());
    }

    #[test]
    fn a_system_below_the_fence_is_never_started_again() {
        let release = |lnd: &str| Release {
            version: "1.0.0".into(),
            board: "x86-64".into(),
            base: "debian".into(),
            built: 0,
            lnd_version: lnd.into(),
            development_keys: false,
            eeprom: None,
        };
        let fence = LndVersion::parse("v0.21.2-beta");
        assert_eq!(above_fence(&release("v0.21.2-beta"), fence), Ok(()));
        assert_eq!(above_fence(&release("v0.20.1-beta"), None), Ok(()));
        let why = above_fence(&release("v0.20.1-beta"), fence).unwrap_err();
        assert!(why.contains("v0.20.1-beta") && why.contains("no way back"), "{why}");
        assert!(above_fence(&release("unknown"), None).is_err());
    }
}
