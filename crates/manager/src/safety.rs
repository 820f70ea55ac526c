//! The light that says whether the box can be restarted without a risk for money, and each reason why not. Home page,
//! restart, `/api/v1/system/health` and the figures for Prometheus all take it from here.

use rust_i18n::t;
use schemars::JsonSchema;
use serde::Serialize;
use twin::{LndState, State, node::ClosingKind};

use crate::pages::words;

/// An HTLC this near to its end makes a restart a risk: an update with its restart, a slow start of LND and some blocks in
/// quick succession must fit in.
const URGENT: u32 = 30;
/// Seconds from block to block.
const BLOCK: u64 = 600;

/// The worst reason's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RestartLight")]
pub(crate) enum Light {
    /// Restart when you like.
    Safe,
    /// Nothing is lost if the restart is a short one; better later.
    Wait,
    /// Money is at risk.
    Risk,
}

/// Why a restart is better not made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// LND does not answer, or has not told yet.
    NotKnown,
    /// Payments on their way, and blocks until the most urgent one is due.
    Htlcs { count: usize, blocks: u32 },
    /// Channels that are being closed; blocks until the next one wants LND, where that is known.
    Closing { count: usize, blocks: Option<u32>, is_urgent: bool },
    /// The newest channel backup is on its way to its place.
    BackupPending,
    /// It does not get there, since then.
    BackupLate { since: u64 },
    /// It has none, and there are channels.
    BackupNowhere,
}

/// All reasons at `now`, seconds since 1970; none: it is safe.
pub(crate) fn reasons(state: &State, now: u64) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = node(state).into_iter().collect();
    reasons.extend(closing(state));
    reasons.extend(backup(state, now));
    reasons
}

pub(crate) fn light(reasons: &[Reason]) -> Light {
    reasons.iter().map(|reason| reason.light()).max().unwrap_or(Light::Safe)
}

fn node(state: &State) -> Option<Reason> {
    let is_up = matches!(state.lnd.state, LndState::RpcActive | LndState::ServerActive);
    let is_read = state.node.htlcs.since.is_some() && state.node.channels.since.is_some();
    match (is_up && is_read, state.lnd.state) {
        // Without a wallet there is no money.
        (_, LndState::NonExisting) => None,
        (false, _) => Some(Reason::NotKnown),
        (true, _) => {
            let blocks = state.node.htlcs.iter().map(|htlc| htlc.blocks_left).min()?;
            Some(Reason::Htlcs { count: state.node.htlcs.len(), blocks })
        }
    }
}

fn closing(state: &State) -> Option<Reason> {
    let all = &state.node.channels.closing;
    // What an HTLC on the chain is worth goes to who is in time.
    let is_urgent = all.iter().any(|closing| {
        closing.kind == ClosingKind::Force
            && closing.htlcs > 0
            && closing.blocks_left.is_none_or(|blocks| blocks < URGENT)
    });
    let blocks = all.iter().filter_map(|closing| closing.blocks_left).min();
    (!all.is_empty()).then_some(Reason::Closing { count: all.len(), blocks, is_urgent })
}

fn backup(state: &State, now: u64) -> Option<Reason> {
    let copies = &state.copies;
    match (&copies.target, copies.late(now), &copies.pending) {
        (None, ..) => (state.node.backup.channels > 0).then_some(Reason::BackupNowhere),
        (Some(_), Some(since), _) => Some(Reason::BackupLate { since }),
        (Some(_), None, Some(_)) => Some(Reason::BackupPending),
        (Some(_), None, None) => None,
    }
}

impl Light {
    /// Its name in the texts and in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Wait => "wait",
            Self::Risk => "risk",
        }
    }

    pub(crate) fn mood(self) -> words::Mood {
        match self {
            Self::Safe => words::Mood::Good,
            Self::Wait => words::Mood::Busy,
            Self::Risk => words::Mood::Bad,
        }
    }

    /// A few words.
    pub(crate) fn words(self) -> String {
        t!(format!("safety.light.{}", self.name())).into_owned()
    }
}

impl Reason {
    /// The names of all, part of the API.
    pub(crate) const NAMES: [&str; 6] =
        ["not_known", "htlcs", "closing", "backup_pending", "backup_late", "backup_nowhere"];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotKnown => "not_known",
            Self::Htlcs { .. } => "htlcs",
            Self::Closing { .. } => "closing",
            Self::BackupPending => "backup_pending",
            Self::BackupLate { .. } => "backup_late",
            Self::BackupNowhere => "backup_nowhere",
        }
    }

    pub(crate) fn light(self) -> Light {
        match self {
            Self::Htlcs { blocks, .. } if blocks < URGENT => Light::Risk,
            Self::Closing { is_urgent: true, .. } | Self::BackupLate { .. } | Self::BackupNowhere => Light::Risk,
            Self::NotKnown | Self::Htlcs { .. } | Self::Closing { .. } | Self::BackupPending => Light::Wait,
        }
    }

    /// Blocks until it is due, where it is a matter of blocks.
    pub(crate) fn blocks(self) -> Option<u32> {
        match self {
            Self::Htlcs { blocks, .. } => Some(blocks),
            Self::Closing { blocks, .. } => blocks,
            _ => None,
        }
    }

    /// What it is, and what to do.
    pub(crate) fn sentence(self) -> String {
        let time = |blocks: u32| words::duration(u64::from(blocks) * BLOCK);
        let text = match self {
            Self::NotKnown => t!("safety.why.not_known"),
            Self::Htlcs { count, blocks } if blocks < URGENT => {
                t!("safety.why.htlcs_near", count = count, blocks = blocks, time = time(blocks))
            }
            Self::Htlcs { count, blocks } => {
                t!("safety.why.htlcs", count = count, blocks = blocks, time = time(blocks))
            }
            Self::Closing { count, is_urgent: true, .. } => t!("safety.why.closing_near", count = count),
            Self::Closing { count, blocks: Some(blocks), .. } => {
                t!("safety.why.closing", count = count, blocks = blocks, time = time(blocks))
            }
            Self::Closing { count, blocks: None, .. } => t!("safety.why.closing_unknown", count = count),
            Self::BackupPending => t!("safety.why.backup_pending"),
            Self::BackupLate { since } => t!("safety.why.backup_late", since = words::moment(since)),
            Self::BackupNowhere => t!("safety.why.backup_nowhere"),
        };
        text.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twin::{
        copies::{Copies, Pending},
        node::{Backup, Channels, Closing, Htlc, Seen},
    };

    use super::*;

    const NOW: u64 = 1_000;

    fn seen<T>(value: T) -> Seen<Arc<T>> {
        Seen { since: Some(NOW), value: Arc::new(value) }
    }

    /// A node that runs, with a place for its backup, and nothing on its way.
    fn calm() -> State {
        let mut state = State::default();
        state.lnd.state = LndState::ServerActive;
        state.node.htlcs = seen(Vec::new());
        state.node.channels = seen(Channels::default());
        state.copies = Arc::new(Copies { target: Some("a stick".into()), ..Copies::default() });
        state
    }

    fn htlcs(blocks: &[u32]) -> State {
        let htlc = |blocks: &u32| Htlc { blocks_left: *blocks, ..Htlc::default() };
        let mut state = calm();
        state.node.htlcs = seen(blocks.iter().map(htlc).collect());
        state
    }

    fn closing(kind: ClosingKind, htlcs: usize, blocks_left: Option<u32>) -> State {
        let mut state = calm();
        let closing = vec![Closing { kind, htlcs, blocks_left, ..Closing::default() }];
        state.node.channels = seen(Channels { closing, ..Channels::default() });
        state
    }

    fn copies(copies: Copies, channels: usize) -> State {
        let mut state = calm();
        state.copies = Arc::new(copies);
        state.node.backup = seen(Backup { channels, ..Backup::default() });
        state
    }

    fn seen_as(state: &State) -> (Light, Vec<&'static str>) {
        let reasons = reasons(state, NOW);
        (light(&reasons), reasons.iter().map(|reason| reason.name()).collect())
    }

    #[test]
    fn a_calm_node_can_be_restarted_and_so_can_a_box_without_a_wallet() {
        assert_eq!(seen_as(&calm()), (Light::Safe, vec![]));
        let mut state = State::default();
        state.lnd.state = LndState::NonExisting;
        assert_eq!(seen_as(&state), (Light::Safe, vec![]));
    }

    #[test]
    fn what_was_never_read_or_may_be_old_is_not_called_safe() {
        let mut state = calm();
        state.node.htlcs.since = None;
        assert_eq!(seen_as(&state), (Light::Wait, vec!["not_known"]));
        for away in [LndState::Unreachable, LndState::Locked, LndState::WaitingToStart] {
            let mut state = calm();
            state.lnd.state = away;
            assert_eq!(seen_as(&state), (Light::Wait, vec!["not_known"]), "{away:?}");
        }
    }

    #[test]
    fn a_payment_on_its_way_counts_by_the_blocks_it_has_left() {
        assert_eq!(seen_as(&htlcs(&[144, 30])), (Light::Wait, vec!["htlcs"]));
        assert_eq!(seen_as(&htlcs(&[144, 29])), (Light::Risk, vec!["htlcs"]));
        let reason = reasons(&htlcs(&[144, 7, 30]), NOW)[0];
        assert_eq!((reason, reason.blocks()), (Reason::Htlcs { count: 3, blocks: 7 }, Some(7)));
    }

    #[test]
    fn a_channel_that_closes_wants_lnd_and_most_with_payments_on_the_chain() {
        assert_eq!(seen_as(&closing(ClosingKind::Waiting, 0, Some(3))), (Light::Wait, vec!["closing"]));
        assert_eq!(seen_as(&closing(ClosingKind::Force, 0, Some(3))), (Light::Wait, vec!["closing"]));
        assert_eq!(seen_as(&closing(ClosingKind::Force, 1, Some(30))), (Light::Wait, vec!["closing"]));
        assert_eq!(seen_as(&closing(ClosingKind::Force, 1, Some(29))), (Light::Risk, vec!["closing"]));
        assert_eq!(seen_as(&closing(ClosingKind::Force, 1, None)), (Light::Risk, vec!["closing"]), "it may be due");
    }

    #[test]
    fn a_backup_that_is_not_at_its_place_counts() {
        let target = Some("a stick".to_owned());
        let pending = |since| Some(Pending { since, channels: 1, attempts: 0, next_try: None });
        let of = |of: Copies| seen_as(&copies(of, 1));
        let fresh = Copies { target: target.clone(), pending: pending(NOW - 5), ..Copies::default() };
        assert_eq!(of(fresh), (Light::Wait, vec!["backup_pending"]));
        let late = Copies { target, pending: pending(NOW - 60), ..Copies::default() };
        assert_eq!(of(late), (Light::Risk, vec!["backup_late"]));
        assert_eq!(of(Copies::default()), (Light::Risk, vec!["backup_nowhere"]));
        assert_eq!(seen_as(&copies(Copies::default(), 0)), (Light::Safe, vec![]), "there is nothing to save");
    }

    #[test]
    fn all_reasons_are_told_and_the_worst_is_the_light() {
        let mut state = htlcs(&[100]);
        state.node.channels = closing(ClosingKind::Force, 0, None).node.channels;
        state.copies = Arc::default();
        state.node.backup = seen(Backup { channels: 2, ..Backup::default() });
        assert_eq!(seen_as(&state), (Light::Risk, vec!["htlcs", "closing", "backup_nowhere"]));
    }

    #[test]
    fn every_reason_has_its_name_and_a_sentence() {
        let all = [
            Reason::NotKnown,
            Reason::Htlcs { count: 2, blocks: 7 },
            Reason::Htlcs { count: 2, blocks: 70 },
            Reason::Closing { count: 1, blocks: Some(5), is_urgent: false },
            Reason::Closing { count: 1, blocks: None, is_urgent: false },
            Reason::Closing { count: 1, blocks: None, is_urgent: true },
            Reason::BackupPending,
            Reason::BackupLate { since: NOW },
            Reason::BackupNowhere,
        ];
        for reason in all {
            let sentence = reason.sentence();
            assert!(sentence.ends_with('.') && !sentence.contains("safety."), "{sentence}");
            assert!(Reason::NAMES.contains(&reason.name()));
        }
        assert!(all[1].sentence().contains("7 blocks") && all[1].sentence() != all[2].sentence());
        for light in [Light::Safe, Light::Wait, Light::Risk] {
            assert!(!light.words().contains("safety.") && light.words().len() < 40, "{}", light.words());
        }
    }
}
