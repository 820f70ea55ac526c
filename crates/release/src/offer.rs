//! The decision: what a box makes of a channel. No I/O; the same facts give the same answer.
//!
//! ```text
//!  file ─ signature, shape ─ right channel? ─ not older than the last one? ─ clock sane? ─ expired?      of the channel
//!   └─► newest first: newer than ours? blocked? expired? LND below the fence? our version too old
//!       for it? failed here before? our turn?                                                            of each release
//!        └─► nothing new │ offered │ refused: why, and what to do
//! ```

#[cfg(test)]
mod tests;

use semver::Version;

use crate::{Blocked, Channel, Error, Keyring, Listed, LndVersion, Update, channel::number, update::OpenError};

/// How far a document may come from the future before the clock is called wrong, seconds.
const CLOCK_SLACK: u64 = 24 * 3600;

/// What a box knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub version: Version,
    pub board: String,
    pub base: String,
    /// The LND that it carries.
    pub lnd: LndVersion,
    /// The fence: the least LND that may run here; `None` before LND ran for the first time.
    pub fence: Option<LndVersion>,
    /// The clock, seconds since 1970.
    pub now: u64,
    /// It cannot be earlier than this: when its system was built, and the last time it saw.
    pub clock_floor: u64,
    /// A time server has set it since it started.
    pub clock_set: bool,
    /// The channel that the owner chose.
    pub channel: String,
    /// When the newest document of that channel was made that this box took, seconds since 1970; 0: none yet.
    pub channel_seen: u64,
    /// The box's own random number, for the roll-out by waves.
    pub id: Vec<u8>,
    /// Versions that were installed and did not pass their health gate here.
    pub failed: Vec<Version>,
    /// The owner said: keep me on this version.
    pub kept: bool,
    /// The owner asks, now: waves, failed versions and 'keep' do not stand against what a person wants.
    pub by_hand: bool,
}

/// What can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub update: Update,
    /// Folder of the bundle, relative to the channel's.
    pub folder: String,
    /// After its first start there is no way back to the version that runs now.
    pub one_way: bool,
    /// The version that runs now is blocked, or no longer looked after.
    pub urgent: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What runs is the newest there is. With why it was blocked, if it was.
    NothingNew {
        blocked: Option<Blocked>,
    },
    Offered(Box<Offer>),
    Refused(Refusal),
}

/// Why there is no update. Each sentence says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    File(#[from] OpenError),
    #[error("the server answers with the channel {found:?} instead of {wanted:?}: check the address in the settings")]
    OtherChannel { wanted: String, found: String },
    #[error(
        "the server's list is older than the one this box had before, so something keeps news from it: try again later, and tell the publisher if it stays so"
    )]
    Replayed { made: u64, seen: u64 },
    #[error(
        "the clock of this box is wrong: it is earlier than its own system. Connect it to a time server, or restart it"
    )]
    ClockBehind,
    #[error(
        "the list is from tomorrow or later, so the clock of this box is probably behind: wait for a time server, then look again"
    )]
    FromTheFuture { made: u64 },
    #[error("the list has expired: its publisher must renew it; until then nobody can tell whether it is still right")]
    ListExpired { expired: u64 },
    #[error(
        "the list has expired, or the clock of this box is ahead: no time server has set it yet; wait for one, then look again"
    )]
    ExpiredOrClock { expired: u64 },
    #[error("the channel has nothing for a {board} box on the {base} base: choose another channel")]
    OtherBoard { board: String, base: String },
    #[error("version {version} is for {found}, this box is {own}: get the one for {own}")]
    WrongBoard { version: Version, found: String, own: String },
    #[error("version {version} was withdrawn: {why}")]
    Blocked { version: Version, why: String },
    #[error("version {version} is offered no longer: its time was up; wait for a newer one")]
    Expired { version: Version },
    #[error("version {version} needs at least version {least}, and this box has {own}: install an earlier one first")]
    TooOld { version: Version, least: Version, own: Version },
    #[error("version {version} is not newer than {own}, which runs now")]
    Older { version: Version, own: Version },
    #[error(
        "version {version} carries LND {carried}, and the wallet on this box was opened by {fence}: an older LND could cost your money, so it is never installed"
    )]
    BelowFence { version: Version, carried: LndVersion, fence: LndVersion },
    #[error("version {version} was installed here and did not pass its check; it is not tried again by itself")]
    FailedBefore { version: Version },
    #[error("you chose to stay on {own}; version {version} waits")]
    Kept { own: Version, version: Version },
    #[error("version {version} is given out in waves, and this box is not in one yet")]
    NotYet { version: Version, turn: Option<u64> },
}

/// Reads a channel's file as it came from the server, and decides.
pub fn judge(file: &[u8], keyring: &Keyring, facts: &Facts) -> Answer {
    match Channel::open(file, keyring) {
        Ok(channel) => decide(&channel, facts),
        Err(error) => Answer::Refused(error.into()),
    }
}

/// Decides by a channel whose signature was checked.
pub fn decide(channel: &Channel, facts: &Facts) -> Answer {
    match whole(channel, facts).and_then(|()| best(channel, facts)) {
        Ok(Some(offer)) => Answer::Offered(Box::new(offer)),
        Ok(None) => Answer::NothingNew { blocked: blocked(channel, &facts.version).cloned() },
        Err(refusal) => Answer::Refused(refusal),
    }
}

/// What is wrong with the list as a whole.
fn whole(channel: &Channel, facts: &Facts) -> Result<(), Refusal> {
    if channel.name != facts.channel {
        return Err(Refusal::OtherChannel { wanted: facts.channel.clone(), found: channel.name.clone() });
    }
    if channel.made < facts.channel_seen {
        return Err(Refusal::Replayed { made: channel.made, seen: facts.channel_seen });
    }
    if facts.now < facts.clock_floor {
        return Err(Refusal::ClockBehind);
    }
    if channel.made > facts.now.saturating_add(CLOCK_SLACK) {
        return Err(Refusal::FromTheFuture { made: channel.made });
    }
    match channel.expires {
        expired if expired > facts.now => Ok(()),
        expired if facts.clock_set => Err(Refusal::ListExpired { expired }),
        expired => Err(Refusal::ExpiredOrClock { expired }),
    }
}

/// The newest release that may be had; without one, what stands against the newest.
fn best(channel: &Channel, facts: &Facts) -> Result<Option<Offer>, Refusal> {
    let ours = |listed: &&Listed| {
        let release = &listed.update.release;
        release.board == facts.board && release.base == facts.base
    };
    let of_board: Vec<&Listed> = channel.releases.iter().filter(ours).collect();
    if of_board.is_empty() && !channel.releases.is_empty() {
        return Err(Refusal::OtherBoard { board: facts.board.clone(), base: facts.base.clone() });
    }
    let mut newer = Vec::new();
    for listed in of_board {
        let version = listed.update.version().map_err(content)?;
        if version.cmp_precedence(&facts.version).is_gt() {
            newer.push((version, listed));
        }
    }
    newer.sort_by(|one, other| other.0.cmp_precedence(&one.0));
    let mut against = None;
    for (version, listed) in newer {
        match allowed(channel, listed, &version, facts) {
            Ok(()) => {
                let urgent = blocked(channel, &facts.version).is_some()
                    || channel.least_version.as_ref().is_some_and(|least| facts.version < *least);
                let one_way = one_way(&listed.update, facts)?;
                let (update, folder) = (listed.update.clone(), listed.folder.clone());
                return Ok(Some(Offer { update, folder, one_way, urgent }));
            }
            Err(refusal) => against = against.or(Some(refusal)),
        }
    }
    against.map_or(Ok(None), Err)
}

/// What stands against one newer release of the right board.
fn allowed(channel: &Channel, listed: &Listed, version: &Version, facts: &Facts) -> Result<(), Refusal> {
    let version = || version.clone();
    if let Some(blocked) = blocked(channel, &version()) {
        let why = blocked.why.get("en").cloned().unwrap_or_default();
        return Err(Refusal::Blocked { version: version(), why });
    }
    fits(&listed.update, facts)?;
    if facts.by_hand {
        return Ok(());
    }
    if facts.kept {
        return Err(Refusal::Kept { own: facts.version.clone(), version: version() });
    }
    if facts.failed.contains(&version()) {
        return Err(Refusal::FailedBefore { version: version() });
    }
    match listed.turn(number(&facts.id, &version())) {
        Some(turn) if turn <= facts.now => Ok(()),
        turn => Err(Refusal::NotYet { version: version(), turn }),
    }
}

/// What holds for an update however it came, from a channel or from the owner's hand, whoever wants it.
fn fits(update: &Update, facts: &Facts) -> Result<(), Refusal> {
    let version = update.version().map_err(content)?;
    let carried = update.lnd().map_err(content)?;
    if update.expires <= facts.now {
        return Err(Refusal::Expired { version });
    }
    if let Some(fence) = facts.fence.filter(|fence| carried < *fence) {
        return Err(Refusal::BelowFence { version, carried, fence });
    }
    match &update.least_version {
        Some(least) if facts.version < *least => {
            Err(Refusal::TooOld { version, least: least.clone(), own: facts.version.clone() })
        }
        _ => Ok(()),
    }
}

/// Decides on one update that the owner brings, on a stick or by upload. `older`: the owner confirmed that it may be older
/// than what runs. What is below the fence is never taken, whoever confirms it.
pub fn bring(update: &Update, facts: &Facts, older: bool) -> Result<Offer, Refusal> {
    let version = update.version().map_err(content)?;
    let release = &update.release;
    if (&release.board, &release.base) != (&facts.board, &facts.base) {
        let found = format!("{} ({})", release.board, release.base);
        return Err(Refusal::WrongBoard { version, found, own: format!("{} ({})", facts.board, facts.base) });
    }
    if facts.now < facts.clock_floor {
        return Err(Refusal::ClockBehind);
    }
    fits(update, facts)?;
    if version.cmp_precedence(&facts.version).is_le() && !older {
        return Err(Refusal::Older { version, own: facts.version.clone() });
    }
    Ok(Offer { update: update.clone(), folder: String::new(), one_way: one_way(update, facts)?, urgent: false })
}

/// Once a newer LND has opened the database, the fence keeps the one that runs now from it.
fn one_way(update: &Update, facts: &Facts) -> Result<bool, Refusal> {
    Ok(update.one_way || update.lnd().map_err(content)? > facts.lnd)
}

fn blocked<'a>(channel: &'a Channel, version: &Version) -> Option<&'a Blocked> {
    channel.blocked.iter().find(|blocked| blocked.version == *version)
}

fn content(error: Error) -> Refusal {
    Refusal::File(error.into())
}
