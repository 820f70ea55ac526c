//! The node's pages: what it has, receiving, sending, channels and peers.

pub(crate) mod alerts;
pub(crate) mod amount;
pub(crate) mod bitcoin;
pub(crate) mod cards;
pub(crate) mod channels;
pub(crate) mod receive;
pub(crate) mod send;

use maud::{Markup, PreEscaped, html};
use qrcode::{EcLevel, QrCode, render::svg};
use rust_i18n::t;
use twin::{LndState, MilliSat, Sat};

use crate::shared::House;

/// All bitcoin there will ever be.
const MOST: u64 = 2_100_000_000_000_000;

/// A code for a phone's camera. `text` stands beside it for who has none.
pub(crate) fn qr(text: &str) -> Markup {
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L);
    let Ok(code) = code else { return html! {} };
    let mut renderer = code.render::<svg::Color<'_>>();
    renderer.min_dimensions(220, 220).dark_color(svg::Color("#000")).light_color(svg::Color("#fff"));
    let picture = renderer.build();
    let start = picture.find("<svg").unwrap_or_default();
    html! { div.qr role="img" aria-label=(t!("node.qr")) { (PreEscaped(&picture[start..])) } }
}

/// What was typed for an amount: digits, with spaces, commas and points between them as people group them.
pub(crate) fn typed_sat(text: &str) -> Result<Option<Sat>, String> {
    let plain: String =
        text.chars().filter(|letter| !matches!(letter, ' ' | ',' | '.' | '\'' | '_' | '\u{a0}')).collect();
    if plain.is_empty() {
        return Ok(None);
    }
    let number = plain.bytes().all(|byte| byte.is_ascii_digit()).then(|| plain.parse::<u64>().ok()).flatten();
    match number {
        Some(number) if (1..=MOST).contains(&number) => Ok(Some(Sat::new(number))),
        _ => Err(t!("node.bad_amount", text = text.chars().take(40).collect::<String>()).into_owned()),
    }
}

/// Whole satoshis as Lightning counts them. Nothing near [`MOST`] overflows.
pub(crate) fn msat(amount: Sat) -> MilliSat {
    amount.to_msat().unwrap_or_default()
}

/// Why no payment can be made, taken or asked for now; `None` when LND offers everything.
pub(crate) fn away(house: &House) -> Option<String> {
    // Before its server runs LND knows its wallet, and neither channels nor peers: an invoice would lead nowhere.
    match house.shared.twin.state().lnd.state {
        LndState::RpcActive => Some(t!("alerts.starting").into_owned()),
        _ => silent(house),
    }
}

/// Why the wallet cannot be asked for anything now; `None` when LND answers.
pub(crate) fn silent(house: &House) -> Option<String> {
    let state = house.shared.twin.state();
    match state.lnd.state {
        LndState::RpcActive | LndState::ServerActive => None,
        LndState::NonExisting => Some(t!("node.no_wallet").into_owned()),
        LndState::Locked => Some(t!("node.locked").into_owned()),
        _ => Some(t!("node.away", since = super::words::moment(state.lnd.since)).into_owned()),
    }
}

/// An error of LND's as a sentence.
pub(crate) fn refusal(error: &lnd::Error) -> String {
    super::words::sentence(&twin::source::sentence(error))
}

/// The first letters of a key or hash, which are enough to tell them apart.
pub(crate) fn short(text: &str) -> &str {
    text.get(..16).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_type_them() {
        for (typed, sat) in [("1000", 1000), (" 1,000 ", 1000), ("1 000 000", 1_000_000), ("2'100", 2100)] {
            assert_eq!(typed_sat(typed).unwrap(), Some(Sat::new(sat)), "{typed}");
        }
        assert_eq!(typed_sat("  ").unwrap(), None);
        for bad in ["0", "-5", "1e3", "0x10", "one", "2100000000000001", "99999999999999999999"] {
            assert!(typed_sat(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_code_is_an_inline_picture() {
        let picture = qr("lnbc1example").into_string();
        assert!(picture.contains("<svg") && !picture.contains("<?xml"), "{picture}");
    }
}
