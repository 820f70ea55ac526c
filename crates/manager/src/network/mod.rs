//! The box's network for its owner: what was found, what was typed, and the code that keeps a change.

mod codes;
mod findings;
mod form;
mod notes;
mod wifi;

pub(crate) use codes::{Codes, Refusal, shown};
pub(crate) use findings::{cards, findings};
pub(crate) use form::Typed;
pub(crate) use notes::follow;
pub(crate) use wifi::{Join, What, Wish, stations, unfit};

use netconf::{Mac, Plan, V4, V6};
use twin::{State, net::Link};

/// Seconds of the machine's own clock since its start, as the root program counts a trial.
pub(crate) fn uptime() -> u64 {
    // The first number of the file is CLOCK_BOOTTIME, in seconds with a fraction.
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default()
}

/// What is set for the card: the confirmed plan, or everything by the router.
pub(crate) fn plan_of(state: &State, mac: Mac) -> Plan {
    let kept = state.netconf.plans.iter().find(|plan| plan.mac == mac);
    kept.cloned().unwrap_or_else(|| Plan::automatic(mac))
}

/// The other cards of the box as plans: what they have now, whoever gave it, and what is confirmed for them.
pub(crate) fn others(state: &State, mac: Mac) -> Vec<Plan> {
    let kept = state.netconf.plans.iter().filter(|plan| plan.mac != mac).cloned();
    let live = cards(state).into_iter().filter_map(|link| live(&link)).filter(|plan| plan.mac != mac);
    kept.chain(live).collect()
}

/// The addresses that a card has, as if they were fixed.
fn live(link: &Link) -> Option<Plan> {
    let mac = link.mac.parse().ok()?;
    let mut plan = Plan::automatic(mac);
    for assigned in link.addresses.iter().filter(|assigned| assigned.from != twin::net::Origin::LinkLocal) {
        match assigned.address {
            std::net::IpAddr::V4(address) => {
                plan.v4 = V4::Static { address, prefix: assigned.prefix, gateway: None };
            }
            std::net::IpAddr::V6(address) => {
                plan.v6 = V6::Static { address, prefix: assigned.prefix, gateway: None };
            }
        }
    }
    Some(plan)
}
