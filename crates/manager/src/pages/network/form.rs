//! The form of one card.

use maud::{Markup, html};
use netconf::Plan;
use rust_i18n::t;
use twin::net::Link;

use crate::{
    network::Typed,
    pages::{complaint, csrf},
    session::Current,
};

/// `refused`: what was typed for this card, and why it cannot be.
pub(super) fn of_card(
    session: &Current,
    path: &str,
    link: &Link,
    plan: &Plan,
    refused: Option<(&Typed, &str)>,
) -> Markup {
    let typed = refused.map_or_else(|| Typed::of(link, plan), |(typed, _)| typed.clone());
    let card = Card(link.mac.replace(':', ""));
    html! {
        details open[refused.is_some()] {
            summary { (t!("network.form.summary", name = link.name)) }
            form method="post" action={ (path) "/try" } {
                (csrf(session))
                input type="hidden" name="card" value=(link.mac);
                (complaint(&card.id("complaint"), refused.map(|(_, text)| text)))
                fieldset {
                    legend { "IPv4" }
                    (card.choice("v4", "dhcp", &t!("network.form.dhcp"), typed.v4 != "static"))
                    (card.choice("v4", "static", &t!("network.form.fixed"), typed.v4 == "static"))
                    (card.field("v4_address", &t!("network.form.v4_address"), &typed.v4_address, None))
                    (card.field("v4_prefix", &t!("network.form.v4_prefix"), &typed.v4_prefix, None))
                    (card.field("v4_gateway", &t!("network.form.v4_gateway"), &typed.v4_gateway, Some(&t!("network.form.gateway_hint"))))
                }
                fieldset {
                    legend { "IPv6" }
                    (card.choice("v6", "auto", &t!("network.form.auto"), !matches!(typed.v6.as_str(), "static" | "off")))
                    (card.choice("v6", "static", &t!("network.form.fixed"), typed.v6 == "static"))
                    (card.choice("v6", "off", &t!("network.form.off"), typed.v6 == "off"))
                    (card.field("v6_address", &t!("network.form.v6_address"), &typed.v6_address, None))
                    (card.field("v6_prefix", &t!("network.form.v6_prefix"), &typed.v6_prefix, None))
                    (card.field("v6_gateway", &t!("network.form.v6_gateway"), &typed.v6_gateway, None))
                }
                (card.field("dns", &t!("network.form.dns"), &typed.dns, Some(&t!("network.form.dns_hint"))))
                p.hint { (t!("network.form.why")) }
                button { (t!("network.form.try")) }
            }
        }
    }
}

/// Ids of one page are unique, and there may be several cards: each ends in its hardware address.
struct Card(String);

impl Card {
    fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.0)
    }

    fn choice(&self, name: &str, value: &str, label: &str, is_chosen: bool) -> Markup {
        let id = self.id(&format!("{name}-{value}"));
        html! {
            p.check {
                input id=(id) name=(name) type="radio" value=(value) checked[is_chosen];
                label for=(id) { (label) }
            }
        }
    }

    fn field(&self, name: &str, label: &str, value: &str, hint: Option<&str>) -> Markup {
        let id = self.id(name);
        let hint_id = hint.map(|_| format!("{id}-hint"));
        html! {
            p.field {
                label for=(id) { (label) }
                input id=(id) name=(name) type="text" value=(value) maxlength="200" autocomplete="off"
                    autocapitalize="none" autocorrect="off" spellcheck="false" aria-describedby=[hint_id.as_deref()];
            }
            @if let Some(hint) = hint { p.hint id=[hint_id.as_deref()] { (hint) } }
        }
    }
}
