//! How the box and its node are, check by check: for `/system/health` and the figures. What the owner must do something
//! about is another list: [`crate::alerts`].

use schemars::JsonSchema;
use serde::Serialize;
use twin::{LndState, State};

use super::types::Time;

/// Older than this, the newest block of a public chain is worth a word.
const BEHIND: u64 = 90 * 60;
/// Hundredths of the data disk in use from which on it is told.
const FULL: u64 = 90;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    /// Worth a look; it goes on working.
    Warning,
    /// Something does not work.
    Failing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// A fixed word, such as `lightning` or `disk`.
    pub(crate) name: String,
    pub(crate) status: Status,
    /// A sentence for a person; empty where all is well.
    pub(crate) detail: String,
    /// Since when it is so, where that is known.
    pub(crate) since: Option<Time>,
}

/// All checks, of what is known at `now`, seconds since 1970.
pub(crate) fn checks(state: &State, now: u64) -> Vec<Check> {
    let mut checks = vec![lightning(state)];
    checks.extend(sources(state));
    if state.node.info.since.is_some() {
        checks.extend([chain(state, now), graph(state)]);
    }
    checks.push(disk(state));
    checks.extend(slots(state));
    checks
}

fn check(name: &str, status: Status, detail: impl Into<String>, since: Option<Time>) -> Check {
    Check { name: name.into(), status, detail: detail.into(), since }
}

fn lightning(state: &State) -> Check {
    let (status, detail) = match state.lnd.state {
        LndState::ServerActive => (Status::Ok, ""),
        LndState::RpcActive | LndState::Unlocked | LndState::WaitingToStart => {
            (Status::Warning, "LND is starting and catches up with the chain. Wait.")
        }
        LndState::NonExisting => (Status::Warning, "There is no wallet yet. Finish the setup on the page /setup."),
        LndState::Locked => {
            (Status::Failing, "The wallet is locked: nothing can be received or sent. Unlock it on the page.")
        }
        LndState::Unreachable => (Status::Failing, "LND does not answer. If it stays so, restart the box."),
    };
    check("lightning", status, detail, Time::unless_never(state.lnd.since))
}

fn sources(state: &State) -> impl Iterator<Item = Check> + '_ {
    state.sources.iter().map(|(name, health)| {
        let status = if health.connected { Status::Ok } else { Status::Failing };
        let detail = health.error.as_deref().map(crate::pages::words::sentence).unwrap_or_default();
        check(&format!("source-{name}"), status, detail, Time::unless_never(health.since))
    })
}

fn chain(state: &State, now: u64) -> Check {
    let info = &state.node.info;
    let is_public = matches!(info.network.as_str(), "mainnet" | "testnet" | "signet" | "testnet4");
    let is_old = is_public && info.block_time > 0 && now > info.block_time.saturating_add(BEHIND);
    let (status, detail) = match (info.synced_to_chain, is_old) {
        (true, false) => (Status::Ok, String::new()),
        (true, true) => {
            (Status::Warning, "The newest block is old: look at the box's internet and at bitcoind.".into())
        }
        (false, _) => (Status::Warning, format!("LND follows the chain and is at block {}. Wait.", info.height)),
    };
    check("chain", status, detail, Time::unless_never(info.block_time))
}

fn graph(state: &State) -> Check {
    match (state.node.info.synced_to_graph, state.node.graph.stalled) {
        (_, true) => check(
            "graph",
            Status::Warning,
            "The graph of the network stands still: disconnect a peer and connect it again.",
            None,
        ),
        (true, false) => check("graph", Status::Ok, "", None),
        (false, false) => check("graph", Status::Warning, "The graph of the network is being fetched. Wait.", None),
    }
}

fn disk(state: &State) -> Check {
    let (total, free) = (state.resources.data_total, state.resources.data_available);
    let used = total.saturating_sub(free);
    // In hundredths; a disk of which nothing is known is not full.
    let percent = used.saturating_mul(100).checked_div(total).unwrap_or_default();
    let (status, detail) = match percent {
        99.. => (Status::Failing, format!("The data disk is full ({percent} %). Make room, or use a bigger one.")),
        FULL.. => (Status::Warning, format!("The data disk is {percent} % full. Make room, or use a bigger one.")),
        _ => (Status::Ok, String::new()),
    };
    check("disk", status, detail, None)
}

fn slots(state: &State) -> impl Iterator<Item = Check> + '_ {
    state.boot.slots.iter().map(|slot| {
        let status = if slot.problem.is_some() || !slot.ok { Status::Warning } else { Status::Ok };
        let detail = slot.problem.clone().unwrap_or_default();
        check(&format!("slot-{:?}", slot.slot).to_lowercase(), status, detail, None)
    })
}

/// The worst of all.
pub(crate) fn overall(checks: &[Check]) -> Status {
    checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_wallet_and_a_full_disk_are_told_and_the_worst_counts() {
        let mut state = State::default();
        state.lnd.state = LndState::ServerActive;
        (state.resources.data_total, state.resources.data_available) = (1000, 500);
        assert_eq!(overall(&checks(&state, 7)), Status::Ok);
        state.resources.data_available = 80;
        let seen = checks(&state, 7);
        assert_eq!(overall(&seen), Status::Warning);
        assert!(seen.iter().any(|check| check.name == "disk" && check.detail.contains("92 %")), "{seen:?}");
        state.lnd.state = LndState::Locked;
        assert_eq!(overall(&checks(&state, 7)), Status::Failing);
    }

    #[test]
    fn an_old_block_counts_on_a_public_chain_alone() {
        let mut state = State::default();
        let info = twin::node::Info {
            synced_to_chain: true,
            block_time: 1000,
            network: "regtest".into(),
            ..Default::default()
        };
        let status = |network: &str, state: &mut State| {
            state.node.info.value = std::sync::Arc::new(twin::node::Info { network: network.into(), ..info.clone() });
            state.node.info.since = Some(1);
            checks(state, 1001 + BEHIND).into_iter().find(|check| check.name == "chain").unwrap().status
        };
        assert_eq!(status("regtest", &mut state), Status::Ok);
        assert_eq!(status("mainnet", &mut state), Status::Warning);
    }
}
