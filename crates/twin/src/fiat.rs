//! What amounts are worth in another currency, where the owner asked for that, and how amounts are written.

use serde::{Deserialize, Serialize};

use crate::{MilliSat, UnixSeconds};

/// How amounts are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    pub unit: Unit,
    /// The last rate that was got; `None` where the owner wants none, or none came so far.
    pub rate: Option<Rate>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// `1,234 sat`
    #[default]
    Sat,
    /// `0.00001234 BTC`
    Btc,
}

/// The price of a bitcoin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// ISO 4217: `EUR`.
    pub currency: String,
    /// Hundredths of the currency for one bitcoin, whatever its smallest coin is.
    pub hundredths: u64,
    /// Who says so.
    pub source: String,
    /// When it was got.
    pub at: UnixSeconds,
}

/// A rate older than this is shown as such, seconds.
pub const STALE: u64 = 30 * 60;
/// Millisatoshis in a bitcoin.
const BITCOIN: u128 = 100_000_000_000;

impl Rate {
    pub fn is_stale(&self, now: UnixSeconds) -> bool {
        now.saturating_sub(self.at) > STALE
    }

    /// `12.34 EUR`, rounded to the nearest hundredth; what is less than one is `< 0.01 EUR`.
    pub fn show(&self, amount: MilliSat) -> String {
        let exact = u128::from(amount.get()) * u128::from(self.hundredths);
        let worth = (exact + BITCOIN / 2) / BITCOIN;
        let currency = &self.currency;
        if worth == 0 && exact > 0 {
            return format!("< 0.01 {currency}");
        }
        let whole = crate::money::grouped(u64::try_from(worth / 100).unwrap_or(u64::MAX));
        format!("{whole}.{:02} {currency}", worth % 100)
    }
}

impl Money {
    /// The amount in the unit that the owner chose.
    pub fn show(&self, amount: MilliSat) -> String {
        match self.unit {
            Unit::Sat => amount.to_string(),
            Unit::Btc => {
                let msat = amount.get();
                let (whole, part) = (msat / 100_000_000_000, msat % 100_000_000_000);
                let digits = format!("{part:011}");
                let (sat, rest) = digits.split_at(8);
                let rest = if rest == "000" { "" } else { rest };
                format!("{}.{sat}{rest} BTC", crate::money::grouped(whole))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(hundredths: u64) -> Rate {
        Rate { currency: "EUR".into(), hundredths, source: "test".into(), at: 1000 }
    }

    #[test]
    fn what_an_amount_is_worth_is_rounded_to_hundredths() {
        let rate = rate(8_000_000); // 80,000 EUR
        let shown = [0, 1, 1_000_000, 100_000_000_000, 2_345_678_000].map(|msat| rate.show(MilliSat::new(msat)));
        assert_eq!(shown, ["0.00 EUR", "< 0.01 EUR", "0.80 EUR", "80,000.00 EUR", "1,876.54 EUR"]);
    }

    #[test]
    fn an_old_rate_is_stale() {
        assert!(!rate(1).is_stale(1000 + STALE) && rate(1).is_stale(1001 + STALE));
        assert!(!rate(1).is_stale(5), "a clock that was set back says nothing");
    }

    #[test]
    fn bitcoin_has_eight_decimals_and_three_more_only_where_they_say_something() {
        let money = Money { unit: Unit::Btc, rate: None };
        let shown = [0, 1000, 1, 2_100_000_000_000_000_000].map(|msat| money.show(MilliSat::new(msat)));
        assert_eq!(shown, ["0.00000000 BTC", "0.00000001 BTC", "0.00000000001 BTC", "21,000,000.00000000 BTC"]);
    }

    proptest! {
        #[test]
        fn no_amount_and_no_rate_make_it_fall_over(msat: u64, hundredths: u64) {
            let shown = rate(hundredths).show(MilliSat::new(msat));
            prop_assert!(shown.ends_with(" EUR"));
        }

        #[test]
        fn an_amount_in_bitcoin_has_the_digits_of_its_millisatoshis(msat: u64) {
            let shown = Money { unit: Unit::Btc, rate: None }.show(MilliSat::new(msat));
            let mut digits: String = shown.chars().filter(char::is_ascii_digit).collect();
            if shown.len() - shown.find('.').unwrap() == 13 { digits += "000"; }
            prop_assert_eq!(digits.parse::<u64>().unwrap(), msat);
        }
    }
}
