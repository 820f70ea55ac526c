//! What was typed, as an order or as an offer of the receiver's service.

use std::{collections::BTreeMap, time::Duration};

use lnd::{
    NodeId, Preimage,
    client::{Pay, PayTo},
};
use lnurl::{NoTarget, Target};
use rust_i18n::t;
use twin::Sat;

use super::{
    Typed,
    offer::{self, Offered},
    tickets::Order,
};
use crate::{
    error::{now, random},
    pages::{
        node::{msat, refusal, typed_sat},
        words,
    },
    shared::House,
};

/// How long ways are sought.
pub(super) const SEEKING: Duration = Duration::from_secs(60);

/// What was typed.
pub(super) enum Said {
    Order(Box<Order>),
    /// Of a service, which has to be asked for the invoice.
    Offer(Box<Offered>),
}

/// Reads what was typed; an error is a sentence.
pub(super) async fn said(house: &House, typed: &Typed) -> Result<Said, String> {
    match target(typed.to.trim()) {
        Ok(Some(target)) => {
            let offered = offer::ask(house, target, typed_sat(&typed.amount)?).await?;
            Ok(Said::Offer(Box::new(offered)))
        }
        Ok(None) => Ok(Said::Order(Box::new(order(house, typed).await?))),
        Err(error) => Err(words::sentence(&error.to_string())),
    }
}

/// What a program asks for in one go: the terms of a receiver's service are taken with the amount and the comment beside
/// them. Gives the terms, too.
pub(crate) async fn order_with(
    house: &House,
    typed: &Typed,
    comment: &str,
) -> Result<(Order, Option<Offered>), String> {
    match said(house, typed).await? {
        Said::Order(_) if !comment.is_empty() => Err(t!("lnurl.no_comment").into_owned()),
        Said::Order(order) => Ok((*order, None)),
        Said::Offer(offered) => {
            let order = offer::taken(house, &offered, &typed.amount, comment).await?;
            Ok((order, Some(*offered)))
        }
    }
}

/// The terms of a receiver's service; `None` where there is no service to be asked.
pub(crate) async fn terms(house: &House, to: &str) -> Result<Option<Offered>, String> {
    match target(to.trim()) {
        Ok(Some(target)) => offer::ask(house, target, None).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(words::sentence(&error.to_string())),
    }
}

/// A Lightning address or an LNURL, also within a link for wallets of the chain.
fn target(to: &str) -> Result<Option<Target>, NoTarget> {
    let inside = strip(to, "bitcoin:").split_once('?').and_then(|(_, query)| {
        let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
        values.find(|(name, _)| name.eq_ignore_ascii_case("lightning")).map(|(_, value)| value)
    });
    match inside.unwrap_or(to).parse::<Target>() {
        Ok(target) => Ok(Some(target)),
        Err(NoTarget::Other) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is an order without asking anybody but LND.
async fn order(house: &House, typed: &Typed) -> Result<Order, String> {
    let amount = typed_sat(&typed.amount)?;
    let to = typed.to.trim();
    let plain = strip(to, "lightning:");
    let lower = plain.to_lowercase();
    if lower.starts_with("ln") && lower.len() > 40 && !lower.starts_with("lnurl") {
        return invoice(house, plain, amount).await;
    }
    if let Ok(node) = plain.parse::<NodeId>() {
        return keysend(house, node, amount.ok_or_else(|| t!("node.send.amount_needed").into_owned())?);
    }
    let address = strip(to, "bitcoin:");
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    // A code that offers both ways is paid by Lightning, which is cheaper and faster.
    let both = query.split('&').find_map(|pair| pair.strip_prefix("lightning=").or(pair.strip_prefix("LIGHTNING=")));
    if let Some(request) = both {
        return invoice(house, request, amount).await;
    }
    let is_address = (26..=90).contains(&address.len()) && address.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_address {
        return Err(t!("node.send.unreadable").into_owned());
    }
    let amount = amount.ok_or_else(|| t!("node.send.amount_needed").into_owned())?;
    // LND reads the address, and refuses one of another chain.
    house.node.client.estimate_fee(address, amount, 6).await.map_err(|error| refusal(&error))?;
    Ok(Order::Chain { address: address.to_owned(), amount })
}

fn strip<'a>(text: &'a str, scheme: &str) -> &'a str {
    match text.get(..scheme.len()) {
        Some(start) if start.eq_ignore_ascii_case(scheme) => text.get(scheme.len()..).unwrap_or_default(),
        _ => text,
    }
}

pub(super) async fn invoice(house: &House, text: &str, typed: Option<Sat>) -> Result<Order, String> {
    let request = house.node.client.decode(text).await.map_err(|error| refusal(&error))?;
    if request.expires <= now() {
        return Err(t!("node.send.expired", at = words::moment(request.expires)).into_owned());
    }
    let amount = match (request.amount, typed) {
        (Some(asked), Some(typed)) if asked != msat(typed) => {
            return Err(t!("node.send.other_amount", asked = asked).into_owned());
        }
        (Some(asked), _) => asked,
        (None, Some(typed)) => msat(typed),
        (None, None) => return Err(t!("node.send.amount_needed").into_owned()),
    };
    let open = request.amount.is_none().then_some(amount);
    let mut shown = vec![(t!("node.send.receiver").into_owned(), request.destination.to_string())];
    if !request.description.is_empty() {
        shown.push((t!("node.send.description").into_owned(), request.description.clone()));
    }
    shown.push((t!("node.send.expires").into_owned(), words::moment(request.expires)));
    shown.push((t!("node.send.hints").into_owned(), request.route_hints.to_string()));
    let to = PayTo::Invoice { request: text.to_owned(), amount: open };
    let pay = Pay { to, fee_limit: house.payments.get().fee.of(amount), timeout: SEEKING };
    Ok(Order::Lightning { pay, hash: request.hash, amount, shown, success: None })
}

fn keysend(house: &House, node: NodeId, amount: Sat) -> Result<Order, String> {
    let preimage = Preimage::new(random::<32>().map_err(|error| error.to_string())?);
    let hash = preimage.hash();
    let amount = msat(amount);
    let shown = vec![
        (t!("node.send.receiver").into_owned(), node.to_string()),
        (t!("node.send.kind").into_owned(), t!("node.send.keysend").into_owned()),
    ];
    let to = PayTo::Keysend { node, amount, preimage, records: BTreeMap::new() };
    Ok(Order::Lightning {
        pay: Pay { to, fee_limit: house.payments.get().fee.of(amount), timeout: SEEKING },
        hash,
        amount,
        shown,
        success: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_of_links_do_not_matter() {
        assert_eq!(strip("LIGHTNING:lnbc1", "lightning:"), "lnbc1");
        assert_eq!(strip("lnbc1", "lightning:"), "lnbc1");
        assert_eq!(strip("ln", "lightning:"), "ln");
    }

    #[test]
    fn lightning_addresses_and_lnurls_are_told_apart_from_the_rest() {
        let is_target = |text: &str| target(text).map(|target| target.is_some());
        assert_eq!(is_target("ann@example.com"), Ok(true));
        assert_eq!(is_target("bitcoin:bc1qx?amount=1&lightning=ann@example.com"), Ok(true));
        for other in ["lnbc1xyz", "bc1qx", "bitcoin:bc1qx?lightning=lnbc1xyz", "what is this", &"02".repeat(33)] {
            assert_eq!(is_target(other), Ok(false), "{other}");
        }
        assert_eq!(is_target("LNURL1QQQQ"), Err(NoTarget::Damaged));
    }
}
