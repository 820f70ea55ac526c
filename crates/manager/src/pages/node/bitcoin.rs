//! The owner's bitcoind on the home page, and the fees it suggests.

use maud::{Markup, html};
use rust_i18n::t;
use twin::{
    State,
    bitcoin::{Chain, SatPerKvb, ZmqState},
};

use crate::{chain, pages::words};

/// Whether the owner has a bitcoind that is followed.
pub(crate) fn is_there(state: &State) -> bool {
    state.sources.contains_key(chain::NAME)
}

pub(crate) fn card(state: &State) -> Markup {
    let bitcoin = &state.bitcoin;
    let health = state.sources.get(chain::NAME);
    let lost = health.filter(|health| !health.connected);
    html! {
        h2 { (t!("bitcoind.title")) }
        @match &bitcoin.chain {
            None => { p { (t!("node.not_known")) } }
            Some(chain) => {
                p.status {
                    @if lost.is_some() { span.badge.bad { (t!("bitcoind.away")) } }
                    @else if is_behind(chain) { span.badge.busy { (t!("bitcoind.behind", percent = percent(chain))) } }
                    @else { span.badge.good { (t!("bitcoind.in_step")) } }
                }
                @if let Some(seconds) = left(state) { p.small { (t!("bitcoind.left", time = words::duration(seconds))) } }
                dl {
                    dt { (t!("bitcoind.chain")) } dd { (chain.network) }
                    dt { (t!("bitcoind.blocks")) }
                    dd { (chain.blocks) @if chain.headers > chain.blocks { " / " (chain.headers) } ", " (words::moment(chain.tip_time)) }
                    dt { (t!("bitcoind.mempool")) }
                    dd { (t!("bitcoind.mempool_size", count = bitcoin.mempool.transactions, size = words::bytes(bitcoin.mempool.virtual_bytes))) }
                    dt { (t!("bitcoind.fees")) }
                    dd {
                        @if bitcoin.fees.is_empty() { (t!("bitcoind.no_fees")) }
                        @for (at, fee) in bitcoin.fees.iter().filter(|fee| [2, 6, 144].contains(&fee.target_blocks)).enumerate() {
                            @if at > 0 { ", " }
                            (t!("bitcoind.fee", rate = rate(fee.fee), blocks = fee.target_blocks))
                        }
                    }
                    dt { (t!("bitcoind.peers")) }
                    dd { (t!("bitcoind.peers_count", outbound = bitcoin.peers.outbound, inbound = bitcoin.peers.inbound)) }
                    @if !bitcoin.software.name.is_empty() { dt { (t!("bitcoind.version")) } dd { (bitcoin.software.name) } }
                }
                @if [&bitcoin.zmq.blocks, &bitcoin.zmq.transactions].iter().any(|topic| matches!(topic.state, ZmqState::Lost | ZmqState::Silent)) {
                    p.small { (t!("bitcoind.zmq")) }
                }
                @for warning in &bitcoin.warnings { p.small { (warning) } }
            }
        }
        @if let Some(lost) = lost { p.small { (t!("node.as_of", time = words::moment(lost.since))) } }
    }
}

fn is_behind(chain: &Chain) -> bool {
    chain.initial_download || chain.headers > chain.blocks.saturating_add(1)
}

/// `99.87`
fn percent(chain: &Chain) -> String {
    format!("{}.{:02}", chain.verified_permyriad / 100, chain.verified_permyriad % 100)
}

/// Seconds until bitcoind has the whole chain.
fn left(state: &State) -> Option<u64> {
    let chain = state.bitcoin.chain.as_ref().filter(|chain| is_behind(chain))?;
    (chain.verified_permyriad < 10_000).then(|| state.bitcoin_pace.left(10_000)).flatten()
}

/// `12.3`: satoshis for a virtual byte.
fn rate(fee: SatPerKvb) -> String {
    let tenths = fee.0.div_ceil(100);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// What bitcoind suggests for a place within so many blocks, for the choice of a fee; empty where it does not know.
pub(crate) fn suggestion(state: &State, blocks: u16) -> String {
    let fee = state.bitcoin.fees.iter().find(|fee| fee.target_blocks == blocks);
    let is_up = state.sources.get(chain::NAME).is_some_and(|health| health.connected);
    fee.filter(|_| is_up).map(|fee| t!("bitcoind.suggests", rate = rate(fee.fee)).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use twin::{SourceHealth, bitcoin::FeeEstimate};

    use super::*;

    #[test]
    fn fees_are_shown_in_satoshis_for_a_byte_and_never_rounded_down() {
        assert_eq!([0, 1, 1000, 12_345].map(|fee| rate(SatPerKvb(fee))), ["0.0", "0.1", "1.0", "12.4"]);
    }

    #[test]
    fn a_bitcoind_that_is_gone_suggests_nothing() {
        let mut state = State::default();
        state.bitcoin.fees = vec![FeeEstimate { target_blocks: 6, fee: SatPerKvb(5000) }];
        assert_eq!(suggestion(&state, 6), "");
        let health = SourceHealth { connected: true, ..SourceHealth::default() };
        state.sources.insert(chain::NAME.into(), health);
        assert!(suggestion(&state, 6).contains("5.0 sat"));
        assert_eq!(suggestion(&state, 2), "");
    }

    #[test]
    fn the_card_tells_of_a_bitcoind_that_catches_up() {
        let mut state = State::default();
        let chain = Chain { blocks: 5, headers: 10, verified_permyriad: 1234, ..Chain::default() };
        state.bitcoin.chain = Some(chain);
        for second in 0..4 {
            state.bitcoin_pace.add(second * 20, 1174 + second * 20);
        }
        let shown = card(&state).into_string();
        assert!(shown.contains("12.34") && shown.contains("2 hours 26 minutes"), "{shown}");
    }
}
