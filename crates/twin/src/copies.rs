//! The copies of the channel backup (SCB) that lie at a place of the owner's choice.

use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// How many of the newest copies are kept in mind.
pub const NEWEST: usize = 20;
/// A change may take so long until it is saved before it is a matter for the owner, seconds.
pub const GRACE: UnixSeconds = 10;

/// What is known of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// The place in words; `None` when the owner has put it off.
    pub target: Option<String>,
    /// Copies can be read back from there.
    pub readable: bool,
    /// The newest copy at this target.
    pub saved: Option<Copy>,
    /// What is not saved yet.
    pub pending: Option<Pending>,
    /// Why the last attempt failed; gone after a success.
    pub error: Option<String>,
    /// Why a power cut now could lose what is pending.
    pub spool_error: Option<String>,
    /// Channels went missing unexpectedly: to be shown until the owner has seen it.
    pub shrunk: Option<Shrunk>,
    /// Newest first, at all targets; at most [`NEWEST`].
    pub history: Vec<Copy>,
    /// The last time that a copy was read back and shown to LND.
    pub drill: Option<Drill>,
    /// It is being read back now.
    pub drilling: bool,
    /// A backup that the owner gave, on its way into LND.
    pub restore: Option<Restore>,
}

/// A copy that is safe in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Its file name.
    pub name: String,
    pub target: String,
    pub channels: u32,
    /// When it was read back and found good; for e-mail, when the server took it.
    pub at: UnixSeconds,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub since: UnixSeconds,
    pub channels: u32,
    /// Attempts that failed since then.
    pub attempts: u32,
    pub next_try: Option<UnixSeconds>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    pub from: u32,
    pub to: u32,
    pub at: UnixSeconds,
}

/// What came of reading the newest copy back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub at: UnixSeconds,
    /// The copy's file name; empty when there was none.
    pub name: String,
    /// Why the copy is not good, a sentence; `None`: LND accepts it, and no channel is missing in it.
    pub fault: Option<String>,
}

/// How far the owner's backup is on its way into LND.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Restore {
    /// For LND to be in step with the chain.
    Waiting,
    /// The peers of so many channels were asked to close them.
    Done { channels: u32, at: UnixSeconds },
    /// LND does not take it, for this reason.
    Failed { why: String, at: UnixSeconds },
}

impl Copies {
    /// Something is not where it belongs, and has had its time: since when.
    pub fn late(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        let pending = self.pending.as_ref()?;
        (self.error.is_some() || now > pending.since.saturating_add(GRACE)).then_some(pending.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_ten_seconds_unless_the_target_has_said_no() {
        let pending = Pending { since: 100, channels: 1, attempts: 0, next_try: None };
        let mut copies = Copies { pending: Some(pending), ..Copies::default() };
        assert_eq!((copies.late(110), copies.late(111)), (None, Some(100)));
        copies.error = Some("refused".into());
        assert_eq!(copies.late(101), Some(100));
        assert_eq!(Copies::default().late(1_000), None);
    }
}
