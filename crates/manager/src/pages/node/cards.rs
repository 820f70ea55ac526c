//! The node on the home page: each card is a fragment that the stream of events can replace.

use maud::{Markup, html};
use rust_i18n::t;
use twin::{
    LndState, MilliSat, Money, Sat, State,
    node::{Channel, ClosingKind, Direction, InvoiceState, PaymentState},
};

use super::{
    amount::{amount as shown, sat},
    short,
};
use crate::{error, pages::words, safety};

/// A card shows so many lines; all of them stand on pages of their own.
const LINES: usize = 8;

/// Whether there is anything of a node to show.
pub(super) fn is_known(state: &State) -> bool {
    state.node.info.since.is_some()
}

/// Since when what is shown may be old; empty while LND answers.
fn since(state: &State, read: Option<u64>) -> Markup {
    let is_up = matches!(state.lnd.state, LndState::RpcActive | LndState::ServerActive);
    html! {
        @if !is_up { @if let Some(read) = read { p.small { (t!("node.as_of", time = words::moment(read))) } } }
    }
}

pub(crate) fn balances(state: &State) -> Markup {
    let balances = &state.node.balances;
    let chain = balances.confirmed;
    let waiting = balances.unconfirmed;
    let money = &state.money;
    let row = |name: &str, amount: MilliSat| html! { dt { (name) } dd.amount { (shown(money, amount)) } };
    html! {
        h2 { (t!("node.balance.title")) }
        @if balances.since.is_none() { p { (t!("node.not_known")) } }
        @else {
            p.big { (sat(money, MilliSat::checked_add(balances.local, super::msat(chain)).unwrap_or_default().floor())) }
            dl {
                (row(&t!("node.balance.local"), balances.local))
                (row(&t!("node.balance.remote"), balances.remote))
                (row(&t!("node.balance.chain"), super::msat(chain)))
                @if waiting > Sat::ZERO { (row(&t!("node.balance.unconfirmed"), super::msat(waiting))) }
                @if balances.opening_local > MilliSat::ZERO { (row(&t!("node.balance.opening"), balances.opening_local)) }
                @if state.node.channels.limbo > Sat::ZERO { (row(&t!("node.balance.limbo"), super::msat(state.node.channels.limbo))) }
            }
            p.row {
                a.button href="/send" { (t!("node.send.title")) }
                a.button.second href="/receive" { (t!("node.receive.title")) }
            }
        }
        (since(state, balances.since))
    }
}

pub(crate) fn sync(state: &State) -> Markup {
    let info = &state.node.info;
    let graph = &state.node.graph;
    html! {
        h2 { (t!("node.sync.title")) }
        @if !is_known(state) { p { (t!("node.not_known")) } }
        @else {
            p.row {
                span.badge.(if info.synced_to_chain { "good" } else { "busy" }) {
                    (if info.synced_to_chain { t!("node.sync.chain_good") } else { t!("node.sync.chain_busy") })
                }
                span.badge.(if info.synced_to_graph { "good" } else { "busy" }) {
                    (if info.synced_to_graph { t!("node.sync.graph_good") } else { t!("node.sync.graph_busy") })
                }
            }
            dl {
                dt { (t!("node.sync.alias")) } dd { (info.alias) }
                dt { (t!("node.sync.chain")) } dd { (info.network) }
                dt { (t!("node.sync.height")) } dd { (info.height) ", " (words::moment(info.block_time)) }
                @if graph.since.is_some() {
                    dt { (t!("node.sync.graph")) } dd { (t!("node.sync.graph_size", nodes = graph.nodes, channels = graph.channels)) }
                }
                dt { (t!("node.sync.key")) } dd { code title=(info.pubkey) { (short(&info.pubkey)) "\u{2026}" } }
            }
            @if let Some(seconds) = left(state).filter(|_| !info.synced_to_chain) {
                p { (t!("alerts.left", time = words::duration(seconds))) }
            }
            (safe(state))
        }
        (since(state, info.since))
    }
}

fn left(state: &State) -> Option<u64> {
    crate::alerts::left(state, error::now())
}

/// Whether the box can be restarted without a risk for money, and why not.
pub(crate) fn safe(state: &State) -> Markup {
    let reasons = safety::reasons(state, error::now());
    let light = safety::light(&reasons);
    html! {
        p { span.badge.(light.mood().class()) { (light.words()) } }
        @if !reasons.is_empty() {
            ul.plain { @for reason in reasons { li { (reason.sentence()) } } }
        }
    }
}

pub(crate) fn channels(state: &State) -> Markup {
    let channels = &state.node.channels;
    html! {
        h2 { (t!("node.channels.title")) }
        @if channels.since.is_none() { p { (t!("node.not_known")) } }
        @else if channels.open.is_empty() && channels.opening.is_empty() && channels.closing.is_empty() {
            p { (t!("node.channels.none")) }
        }
        @else {
            ul.channels { @for channel in channels.open.iter().take(LINES) { li { (bar(&state.money, channel)) } } }
            (pending(state))
        }
        p.row { a.button.second href="/channels" { (t!("node.channels.all")) } }
        (since(state, channels.since))
    }
}

/// A channel as what it can send and what it can receive.
pub(crate) fn bar(money: &Money, channel: &Channel) -> Markup {
    let name = if channel.peer_alias.is_empty() { short(&channel.peer) } else { &channel.peer_alias };
    html! {
        p.gauge {
            span {
                (name) " "
                @if channel.active { span.badge.good { (t!("node.channels.active")) } }
                @else { span.badge.off { (t!("node.channels.inactive")) } }
            }
            span { (sat(money, channel.capacity)) }
            meter.balance min="0" max=(channel.capacity.get()) value=(channel.local.get())
                aria-label=(t!("node.channels.bar", local = channel.local, remote = channel.remote)) {}
            span.small { (t!("node.channels.can_send", amount = channel.local)) }
            span.small { (t!("node.channels.can_receive", amount = channel.remote)) }
        }
    }
}

/// What opens and what closes.
pub(crate) fn pending(state: &State) -> Markup {
    let channels = &state.node.channels;
    html! {
        @if !channels.opening.is_empty() || !channels.closing.is_empty() {
            ul.plain {
                @for opening in &channels.opening {
                    li {
                        span.badge.busy { (t!("node.channels.opening")) } " " (opening.capacity) ", " (short(&opening.peer)) "\u{2026}, "
                        (t!("node.channels.blocks_left", blocks = opening.blocks_left))
                    }
                }
                @for closing in &channels.closing {
                    li {
                        span.badge.busy {
                            (match closing.kind {
                                ClosingKind::Waiting => t!("node.channels.closing"),
                                ClosingKind::Force => t!("node.channels.forced"),
                            })
                        }
                        " " (closing.capacity) ", " (short(&closing.peer)) "\u{2026}"
                        @if let Some(blocks) = closing.blocks_left { ", " (t!("node.channels.blocks_left", blocks = blocks)) }
                        @if closing.limbo > Sat::ZERO { ", " (t!("node.channels.limbo", amount = closing.limbo)) }
                    }
                }
            }
        }
    }
}

/// One line of what happened lately.
struct Event {
    at: u64,
    sign: &'static str,
    amount: String,
    what: String,
    mood: &'static str,
    state: String,
}

pub(crate) fn activity(state: &State) -> Markup {
    let (node, money) = (&state.node, &state.money);
    let mut events: Vec<Event> = Vec::new();
    events.extend(node.payments.newest.iter().take(LINES).map(|payment| {
        let (mood, word) = match payment.state {
            PaymentState::InFlight => ("busy", t!("node.activity.in_flight")),
            PaymentState::Succeeded => ("good", t!("node.activity.sent")),
            PaymentState::Failed(_) => ("bad", t!("node.activity.failed")),
        };
        let what = t!("node.activity.payment", hash = short(&payment.hash)).into_owned();
        Event {
            at: payment.created,
            sign: "\u{2212}",
            amount: money.show(payment.amount),
            what,
            mood,
            state: word.into(),
        }
    }));
    events.extend(
        node.invoices.newest.iter().filter(|invoice| invoice.state == InvoiceState::Settled).take(LINES).map(
            |invoice| Event {
                at: invoice.settled.unwrap_or(invoice.created),
                sign: "+",
                amount: money.show(invoice.paid),
                what: if invoice.memo.is_empty() { t!("node.activity.invoice").into() } else { invoice.memo.clone() },
                mood: "good",
                state: t!("node.activity.received").into(),
            },
        ),
    );
    events.extend(node.transactions.newest.iter().take(LINES).map(|transaction| {
        let (mood, word) = match transaction.height {
            Some(_) => ("good", t!("node.activity.confirmed")),
            None => ("busy", t!("node.activity.unconfirmed")),
        };
        Event {
            at: transaction.time,
            sign: if transaction.direction == Direction::In { "+" } else { "\u{2212}" },
            amount: money.show(super::msat(transaction.amount)),
            what: t!("node.activity.transaction", txid = short(&transaction.txid)).into(),
            mood,
            state: word.into(),
        }
    }));
    events.sort_by_key(|event| std::cmp::Reverse(event.at));
    html! {
        h2 { (t!("node.activity.title")) }
        @if node.payments.since.is_none() && node.invoices.since.is_none() { p { (t!("node.not_known")) } }
        @else if events.is_empty() { p { (t!("node.activity.none")) } }
        @else {
            ul.log {
                @for event in events.iter().take(LINES) {
                    li {
                        p.gauge { span { (event.what) } span.amount { (event.sign) (event.amount) } }
                        p.small { span.badge.(event.mood) { (event.state) } " " (words::moment(event.at)) }
                    }
                }
            }
        }
    }
}
