//! Amounts as the owner wants to see them.

use maud::{Markup, html};
use rust_i18n::t;
use twin::{MilliSat, Money, Sat, fiat::Rate};

use super::msat;
use crate::{error::now, pages::words};

/// An amount, and what it is worth where the owner asked for that. A rate that is old says so.
pub(crate) fn amount(money: &Money, amount: MilliSat) -> Markup {
    html! {
        (money.show(amount))
        @if let Some(rate) = &money.rate { " " span.fiat title=(told_by(rate)) { (worth(rate, amount)) } }
    }
}

pub(crate) fn sat(money: &Money, sat: Sat) -> Markup {
    amount(money, msat(sat))
}

/// The same as plain text, for sentences and buttons.
pub(crate) fn plain(money: &Money, amount: MilliSat) -> String {
    match &money.rate {
        Some(rate) => format!("{} ({})", money.show(amount), worth(rate, amount)),
        None => money.show(amount),
    }
}

fn worth(rate: &Rate, amount: MilliSat) -> String {
    let worth = rate.show(amount);
    if rate.is_stale(now()) {
        t!("payments.worth_stale", worth = worth, at = words::moment(rate.at)).into_owned()
    } else {
        t!("payments.worth", worth = worth).into_owned()
    }
}

fn told_by(rate: &Rate) -> String {
    t!("payments.told_by", source = rate.source, at = words::moment(rate.at)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_rate_is_shown_as_such_and_none_is_not_shown() {
        let at = |at| Rate { currency: "EUR".into(), hundredths: 8_000_000, source: "<x>".into(), at };
        let shown = |rate| amount(&Money { rate, ..Money::default() }, MilliSat::new(1_000_000)).into_string();
        assert_eq!(shown(None), "1,000 sat");
        let fresh = shown(Some(at(now())));
        assert!(fresh.contains("0.80 EUR") && fresh.contains("&lt;x&gt;") && !fresh.contains("old"), "{fresh}");
        assert!(shown(Some(at(1_750_000_000))).contains("2025-06-15"), "an old one says when it was got");
    }
}
