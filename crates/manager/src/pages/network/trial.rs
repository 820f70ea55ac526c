//! While a change is being tried: where to open the box, the code, and what happens if nothing is done.

use std::net::IpAddr;

use maud::{Markup, html};
use netconf::{Plan, Trial, V4};
use rust_i18n::t;

use crate::{network::shown, pages::csrf, secret::Secret, session::Current, shared::House};

pub(crate) const CONFIRM: &str = "/network/confirm";

/// `left`: seconds until it is taken back. Does not ask for itself again: at this address nobody may answer soon.
pub(super) fn page(
    house: &House,
    session: &Current,
    trial: &Trial,
    left: u64,
    code: Option<&Secret<String>>,
) -> Markup {
    let plan = &trial.plan;
    html! {
        h1 { (t!("network.trial.title")) }
        p.lead role="status" { (t!("network.trial.lead", seconds = left)) }
        @if let Some(wifi) = &plan.wifi { p { (t!("wifi.trial", name = wifi.ssid.shown())) } }
        @if let Some(country) = trial.country {
            p { (t!("wifi.trial_country", code = country, name = country.name())) }
        }
        ol {
            li {
                (t!("network.trial.open"))
                ul.plain {
                    @for url in urls(house, plan) { li { a href=(url) target="_blank" rel="noopener" { (url) } } }
                }
                @if plan.v4 == V4::Dhcp { p.hint { (t!("network.trial.by_router")) } }
            }
            li {
                (t!("network.trial.type_code"))
                @match code {
                    Some(code) => p.big.copy #network-code { (shown(code)) },
                    None => p.hint { (t!("network.trial.no_code")) },
                }
            }
        }
        p { (t!("network.trial.nothing")) }
        div.row {
            a.button href=(CONFIRM) { (t!("network.trial.here")) }
            form method="post" action="/network/withdraw" {
                (csrf(session))
                button.second { (t!("network.trial.withdraw")) }
            }
        }
    }
}

/// Where the box will be found: at the plan's own addresses, and by its name.
pub(crate) fn urls(house: &House, plan: &Plan) -> Vec<String> {
    let hosts = plan.addresses().map(|address| match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    });
    let name = format!("{}.local", house.shared.host());
    hosts.chain([name]).map(|host| format!("https://{host}{CONFIRM}")).collect()
}
