//! What is looked at before anything is written. Each check says what it found and, where it is not well, what to do.

use release::{Refusal, Release, Update};
use rust_i18n::t;
use schemars::JsonSchema;
use serde::Serialize;
use twin::{LndState, State, node::ClosingKind};

use crate::pages::words::{self, sentence};

/// Room for what the update itself keeps on the data partition, bytes.
const SPARE: u64 = 64 << 20;
/// A copy of the channel backup that was read back longer ago than this proves little, seconds: the monthly drill is late.
const OLD: u64 = 35 * 24 * 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Good,
    /// For the owner to weigh. The box does not install by itself.
    Warning,
    /// Nothing is installed.
    Blocked,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// A fixed word, part of the API.
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    /// A sentence or two.
    pub(crate) detail: String,
    /// The page that helps.
    pub(crate) page: Option<&'static str>,
}

/// A version that is to be installed, and the box.
pub(crate) struct Subject<'a> {
    pub(crate) release: &'a Release,
    pub(crate) state: &'a State,
    /// Its signature was verified.
    pub(crate) update: &'a Update,
    /// What stands against it.
    pub(crate) refusal: Option<&'a Refusal>,
    /// There is a wallet.
    pub(crate) wallet: bool,
    /// Errors that the kernel has counted in the file system of the data.
    pub(crate) faults: u64,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// All checks, in the order of the page.
pub(crate) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let good = |name, detail: std::borrow::Cow<'_, str>| check(name, Verdict::Good, detail);
    let mut checks = vec![
        good("signature", t!("updates.check.signature")),
        board(subject),
        version(subject),
        space(subject.state),
        clock(subject),
        disk(subject),
    ];
    checks.extend(power(subject.state));
    checks.extend(eeprom(subject));
    checks.extend([system(subject.state), payments(subject), closing(subject.state), backup(subject)]);
    checks
}

/// The worst of all.
pub(crate) fn overall(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Good)
}

fn check(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check { name, verdict, detail: detail.into(), page: None }
}

impl Check {
    fn lead(self, page: &'static str) -> Self {
        Self { page: Some(page), ..self }
    }
}

fn board(subject: &Subject<'_>) -> Check {
    match subject.refusal {
        Some(refusal @ (Refusal::WrongBoard { .. } | Refusal::OtherBoard { .. })) => {
            check("board", Verdict::Blocked, sentence(&refusal.to_string()))
        }
        _ => check("board", Verdict::Good, format!("{} ({})", subject.release.board, subject.release.base)),
    }
}

fn version(subject: &Subject<'_>) -> Check {
    let wanted = &subject.update.release.version;
    match subject.refusal {
        Some(Refusal::WrongBoard { .. } | Refusal::OtherBoard { .. } | Refusal::ClockBehind) | None => {}
        Some(refusal) => return check("version", Verdict::Blocked, sentence(&refusal.to_string())),
    }
    if subject.state.updates.failed.contains(wanted) {
        return check("version", Verdict::Warning, t!("updates.check.failed_before", version = wanted));
    }
    let text = t!("updates.check.version", version = wanted, own = subject.release.version);
    check("version", Verdict::Good, text)
}

/// LND may write its databases anew when it is newer, and the old ones stay until that is done.
fn space(state: &State) -> Check {
    let (free, total) = (state.resources.data_available, state.resources.data_total);
    if total == 0 {
        return check("space", Verdict::Warning, t!("updates.check.space_unknown"));
    }
    let known = state.updates.database;
    // All data is at least as much as the databases.
    let database = known.unwrap_or(total.saturating_sub(free));
    let need = database.saturating_mul(2).saturating_add(SPARE);
    let (free_words, need_words) = (words::bytes(free), words::bytes(need));
    match (free >= need, known) {
        (true, _) => check("space", Verdict::Good, t!("updates.check.space", free = free_words, need = need_words)),
        (false, None) => {
            check("space", Verdict::Warning, t!("updates.check.space_guess", free = free_words, need = need_words))
        }
        (false, Some(_)) => {
            let text = t!("updates.check.space_short", free = free_words, need = need_words);
            check("space", Verdict::Blocked, text).lead("/settings/disk")
        }
    }
}

fn clock(subject: &Subject<'_>) -> Check {
    let now = words::moment(subject.now);
    if subject.now < subject.release.built || subject.refusal == Some(&Refusal::ClockBehind) {
        return check("clock", Verdict::Blocked, t!("updates.check.clock_behind", now = now)).lead("/restart");
    }
    match subject.state.resources.clock_set {
        Some(true) => check("clock", Verdict::Good, now),
        _ => check("clock", Verdict::Warning, t!("updates.check.clock_unset", now = now)),
    }
}

fn disk(subject: &Subject<'_>) -> Check {
    match subject.faults {
        0 => check("disk", Verdict::Good, t!("updates.check.disk")),
        count => check("disk", Verdict::Blocked, t!("updates.check.disk_faults", count = count)).lead("/restart"),
    }
}

/// Of boards that report it: with too little of it a memory card loses what is being written.
fn power(state: &State) -> Option<Check> {
    Some(match state.resources.under_voltage? {
        false => check("power", Verdict::Good, t!("updates.check.power")),
        true => check("power", Verdict::Warning, t!("updates.check.power_low")),
    })
}

/// Of boards that tell it, and versions that ask. Nothing on the box writes to it: the owner does, by the maker's tool.
fn eeprom(subject: &Subject<'_>) -> Option<Check> {
    let (own, least) = (subject.state.resources.eeprom?, subject.update.release.eeprom?);
    let (name, own_words, least_words) = ("eeprom", words::moment(own), words::moment(least));
    Some(match own >= least {
        true => check(name, Verdict::Good, t!("updates.check.eeprom", own = own_words)),
        false => check(name, Verdict::Warning, t!("updates.check.eeprom_old", own = own_words, least = least_words)),
    })
}

/// What runs must have proved itself: it is what the box falls back to.
fn system(state: &State) -> Check {
    if state.moving.is_running() {
        return check("system", Verdict::Blocked, t!("updates.check.moving")).lead("/settings/disk");
    }
    match state.boot.slots.iter().find(|slot| slot.booted) {
        Some(slot) if !slot.ok || slot.tries > 0 => check("system", Verdict::Blocked, t!("updates.check.unproved")),
        _ => check("system", Verdict::Good, t!("updates.check.proved")),
    }
}

fn is_up(state: &State) -> bool {
    matches!(state.lnd.state, LndState::RpcActive | LndState::ServerActive)
}

fn payments(subject: &Subject<'_>) -> Check {
    let (name, htlcs) = ("payments", &subject.state.node.htlcs);
    if !subject.wallet {
        return check(name, Verdict::Good, t!("updates.check.no_wallet"));
    }
    if !is_up(subject.state) || htlcs.since.is_none() {
        return check(name, Verdict::Warning, t!("updates.check.not_running"));
    }
    match htlcs.iter().map(|htlc| htlc.blocks_left).min() {
        None => check(name, Verdict::Good, t!("updates.check.no_payments")),
        Some(blocks) => {
            let time = words::duration(u64::from(blocks) * 600);
            let text = t!("updates.check.on_their_way", count = htlcs.len(), blocks = blocks, time = time);
            check(name, Verdict::Warning, text)
        }
    }
}

fn closing(state: &State) -> Check {
    let forced = state.node.channels.closing.iter().filter(|closing| closing.kind == ClosingKind::Force).count();
    match forced {
        0 => check("closing", Verdict::Good, t!("updates.check.none_closing")),
        count => check("closing", Verdict::Warning, t!("updates.check.closing", count = count)).lead("/channels"),
    }
}

/// The channel backup lies elsewhere, and was read back there not long ago.
fn backup(subject: &Subject<'_>) -> Check {
    let (name, state) = ("backup", subject.state);
    if !subject.wallet {
        return check(name, Verdict::Good, t!("updates.check.no_wallet"));
    }
    if state.node.backup.since.is_some() && state.node.backup.channels == 0 {
        return check(name, Verdict::Good, t!("updates.check.no_channels"));
    }
    let copies = &state.copies;
    let saved = copies.saved.as_ref().map(|copy| copy.at);
    let read = saved.max(copies.drill.as_ref().filter(|drill| drill.fault.is_none()).map(|drill| drill.at));
    // Without a Lightning that runs, nothing can be done about it, and a newer system may be just what it needs.
    let bad = if is_up(state) { Verdict::Blocked } else { Verdict::Warning };
    let wrong = |text: std::borrow::Cow<'_, str>| check(name, bad, text).lead("/backups");
    match read {
        _ if copies.target.is_none() => wrong(t!("updates.check.backup_nowhere")),
        _ if copies.pending.is_some() || copies.late(subject.now).is_some() => wrong(t!("updates.check.backup_late")),
        _ if copies.drill.as_ref().is_some_and(|drill| drill.fault.is_some()) => wrong(t!("updates.check.backup_bad")),
        None => wrong(t!("updates.check.backup_late")),
        Some(at) if subject.now.saturating_sub(at) > OLD => {
            wrong(t!("updates.check.backup_old", at = words::moment(at)))
        }
        Some(at) if !copies.readable => {
            check(name, Verdict::Warning, t!("updates.check.backup_mail", at = words::moment(at)))
        }
        Some(at) => check(name, Verdict::Good, t!("updates.check.backup", at = words::moment(at))),
    }
}

#[cfg(test)]
mod tests;
