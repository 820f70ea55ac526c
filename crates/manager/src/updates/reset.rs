//! Back to the state of a new box: what would be lost, and what must be typed (`LND.md`, rule 9).

use std::time::Duration;

use rust_i18n::t;
use serde_json::json;
use store::Audit;
use twin::{LndState, Sat, State};

use crate::{error::Error, request::Task, shared::House, updates::install::Why};

/// For root to read the request and to begin.
const LIMIT: Duration = Duration::from_secs(60);
/// What is typed where nothing better can be: a disk without a serial number, an amount that nobody knows.
pub(crate) const ERASE: &str = "ERASE";

/// What is in channels, of which the seed alone brings nothing back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Risk {
    /// There is no wallet, or no channel of any kind.
    Nothing,
    /// So much of the owner's money is in channels that are open, open or close.
    Amount(Sat),
    /// There is a wallet, and LND does not say what it has.
    Unknown,
}

impl Risk {
    /// What the box knows now.
    pub(crate) fn of(state: &State, wallet: bool) -> Self {
        let channels = &state.node.channels;
        let is_up = matches!(state.lnd.state, LndState::RpcActive | LndState::ServerActive);
        if !wallet && state.node.info.since.is_none() {
            return Self::Nothing;
        }
        if !is_up || channels.since.is_none() {
            return Self::Unknown;
        }
        if channels.open.is_empty() && channels.opening.is_empty() && channels.closing.is_empty() {
            return Self::Nothing;
        }
        let open = channels.open.iter().map(|channel| channel.local.get().saturating_add(channel.unsettled.get()));
        let opening = channels.opening.iter().map(|opening| opening.local.get());
        let closing = channels.closing.iter().map(|closing| closing.limbo.get());
        Self::Amount(Sat::new(open.chain(opening).chain(closing).fold(0, u64::saturating_add)))
    }

    /// What is typed besides the disk's serial number; `None`: nothing.
    pub(crate) fn word(self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Amount(amount) => Some(amount.get().to_string()),
            Self::Unknown => Some(ERASE.into()),
        }
    }

    /// Whether `typed` is that, with whatever stands between digits.
    pub(crate) fn is_said(self, typed: &str) -> bool {
        let plain = |text: &str| text.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect::<String>();
        self.word().is_none_or(|word| plain(typed) == word)
    }
}

/// What must be typed of the disk.
pub(crate) fn serial(state: &State) -> String {
    let live = state.disks.disks.iter().find(|disk| disk.live).map(|disk| disk.erase_word().to_owned());
    live.unwrap_or_else(|| match state.boot.data.serial.as_str() {
        "" => ERASE.into(),
        serial => serial.to_owned(),
    })
}

/// Has root erase the data and restart, if all was typed that must be.
pub(crate) async fn reset(house: &House, typed_serial: &str, typed_amount: &str, entry: Audit) -> Result<(), Why> {
    let state = house.shared.twin.state();
    let wanted = serial(&state);
    if typed_serial.trim() != wanted {
        return Err(Why::Rule(t!("updates.reset.bad_serial", serial = wanted).into_owned()));
    }
    let risk = Risk::of(&state, house.setup.choices().wallet.is_some());
    if !risk.is_said(typed_amount) {
        let word = risk.word().unwrap_or_default();
        return Err(Why::Rule(t!("updates.reset.bad_amount", word = word).into_owned()));
    }
    // It goes with everything else; until then it is there.
    house.store.audit(entry).await.or_else(super::unless_full).map_err(Error::from)?;
    let content = json!({ "serial": wanted, "sure": risk.word().unwrap_or_default() }).to_string();
    Ok(house.desk.ask(&house.shared.run_dir, Task::FactoryReset, &content, LIMIT).await.map(drop)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twin::node::{Channel, Channels, Closing};

    use super::*;

    fn with(channels: Channels) -> State {
        let mut state = State::default();
        state.lnd.state = LndState::ServerActive;
        state.node.channels.since = Some(1);
        state.node.channels.value = Arc::new(channels);
        state
    }

    #[test]
    fn without_a_wallet_or_without_channels_nothing_is_at_risk() {
        assert_eq!(Risk::of(&State::default(), false), Risk::Nothing);
        assert_eq!(Risk::of(&with(Channels::default()), true), Risk::Nothing);
        assert!(Risk::Nothing.is_said("") && Risk::Nothing.is_said("anything"));
    }

    #[test]
    fn what_is_in_channels_of_any_kind_is_typed() {
        let open = vec![Channel { local: Sat::new(100_000), unsettled: Sat::new(500), ..Channel::default() }];
        let closing = vec![Closing { limbo: Sat::new(7), ..Closing::default() }];
        let risk = Risk::of(&with(Channels { open, closing, ..Channels::default() }), true);
        assert_eq!(risk, Risk::Amount(Sat::new(100_507)));
        assert!(risk.is_said("100507") && risk.is_said("100,507 ") && risk.is_said("100 507"));
        assert!(!risk.is_said("") && !risk.is_said("100506") && !risk.is_said("100507sat"));
        // A channel in which nothing is ours is one all the same.
        let empty = with(Channels { open: vec![Channel::default()], ..Channels::default() });
        assert!(!Risk::of(&empty, true).is_said("") && Risk::of(&empty, true).is_said("0"));
    }

    #[test]
    fn what_nobody_knows_is_not_taken_for_nothing() {
        let mut state = with(Channels::default());
        state.lnd.state = LndState::Unreachable;
        let risk = Risk::of(&state, true);
        assert_eq!(risk, Risk::Unknown);
        assert!(risk.is_said(ERASE) && !risk.is_said("0") && !risk.is_said("erase"));
    }
}
