//! The alerts above all cards of the home page: those of [`crate::alerts`], drawn.

use maud::{Markup, html};
use twin::State;

use crate::alerts::{self, Alert, Severity};

pub(crate) fn alerts(state: &State, now: u64) -> Markup {
    drawn(&alerts::all(state, now))
}

/// Each as a notice of its own.
pub(crate) fn drawn(alerts: &[Alert]) -> Markup {
    html! {
        @for alert in alerts {
            div.notice.bad[alert.severity == Severity::Failing] #{ "alert-" (alert.name) } {
                h2 { (alert.title) }
                @for line in &alert.lines {
                    p {
                        (line.text)
                        @if let Some((path, words)) = &line.link { " " a href=(path) { (words) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twin::{LndState, SourceHealth, node::Info};

    use super::*;
    use crate::chain;

    const NOW: u64 = 1_800_000_000;

    fn state() -> State {
        let mut state = State::default();
        state.lnd.state = LndState::ServerActive;
        state.node.info.since = Some(NOW);
        let network = "mainnet".to_owned();
        state.node.info.value =
            Arc::new(Info { network, height: 900_000, block_time: NOW - 60, synced_to_chain: true, ..Info::default() });
        state
    }

    fn shown(state: &State) -> String {
        super::alerts(state, NOW).into_string()
    }

    #[test]
    fn a_healthy_box_is_quiet() {
        assert_eq!(shown(&state()), "");
        let mut state = state();
        state.resources.clock_set = Some(false);
        state.resources.uptime_seconds = 60;
        assert_eq!(shown(&state), "", "the time may still come");
    }

    #[test]
    fn another_name_in_the_network_is_told_of() {
        let mut state = state();
        (state.network.host_name, state.network.announced) = ("attic".into(), Some("Attic.local".into()));
        assert_eq!(shown(&state), "");
        state.network.announced = Some("attic-2.local".into());
        let text = shown(&state);
        assert!(text.contains("https://attic-2.local") && text.contains("/settings/place"), "{text}");
    }

    #[test]
    fn the_disk_is_told_of_at_90_percent() {
        let mut state = state();
        (state.resources.data_total, state.resources.data_available) = (1000, 100);
        assert_eq!(shown(&state), "");
        state.resources.data_available = 99;
        assert!(shown(&state).contains("data disk"));
    }

    #[test]
    fn a_clock_that_was_never_set_or_is_older_than_a_block_is_told_of() {
        let mut state = state();
        (state.resources.clock_set, state.resources.uptime_seconds) = (Some(false), 10 * 60 + 1);
        assert!(shown(&state).contains("clock"));
        state.resources.clock_set = None;
        assert_eq!(shown(&state), "");
        Arc::make_mut(&mut state.node.info.value).block_time = NOW + 2 * 60 * 60 + 1;
        assert!(shown(&state).contains("clock"));
    }

    #[test]
    fn a_node_that_is_behind_says_how_long_it_takes_or_what_to_do() {
        let mut state = state();
        Arc::make_mut(&mut state.node.info.value).synced_to_chain = false;
        assert!(shown(&state).contains("Bitcoin nodes"), "neutrino has nobody to ask");
        for second in 0..10 {
            state.node.pace.add(second * 20, 890_000 + second * 1000);
        }
        assert_eq!(alerts::left(&state, NOW), Some(20), "1,000 blocks of 50 in a second");
    }

    #[test]
    fn a_bitcoind_that_is_gone_is_told_of_with_since_when_why_and_what_to_do() {
        let mut state = state();
        let error = Some("bitcoind on x does not know this <user> and password".into());
        state.sources.insert(chain::NAME.into(), SourceHealth { connected: false, since: 1_750_000_000, error });
        let shown = shown(&state);
        for part in ["2025-06-15 15:06 UTC", "&lt;user&gt; and password", "/setup/bitcoin"] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
    }
}
