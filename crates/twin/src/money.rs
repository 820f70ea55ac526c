//! Amounts of bitcoin. Arithmetic is checked: a sum that does not fit is `None`, never a wrong amount.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Satoshis, the unit of the chain: 100,000,000 make a bitcoin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sat(u64);

/// Thousandths of a satoshi, the unit of Lightning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliSat(u64);

impl Sat {
    pub const ZERO: Self = Self(0);

    pub const fn new(sat: u64) -> Self {
        Self(sat)
    }

    /// The plain number of satoshis, for the wire and for charts.
    pub const fn get(self) -> u64 {
        self.0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    pub fn to_msat(self) -> Option<MilliSat> {
        self.0.checked_mul(1000).map(MilliSat)
    }
}

impl MilliSat {
    pub const ZERO: Self = Self(0);

    pub const fn new(msat: u64) -> Self {
        Self(msat)
    }

    /// The plain number of millisatoshis, for the wire and for charts.
    pub const fn get(self) -> u64 {
        self.0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Whole satoshis, without what is left over: what the chain would pay out.
    pub const fn floor(self) -> Sat {
        Sat(self.0 / 1000)
    }
}

/// An amount below zero, where there cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negative(pub i64);

impl fmt::Display for Negative {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is no amount: it is negative", self.0)
    }
}

impl std::error::Error for Negative {}

impl TryFrom<i64> for Sat {
    type Error = Negative;

    fn try_from(sat: i64) -> Result<Self, Negative> {
        u64::try_from(sat).map(Self).map_err(|_| Negative(sat))
    }
}

impl TryFrom<i64> for MilliSat {
    type Error = Negative;

    fn try_from(msat: i64) -> Result<Self, Negative> {
        u64::try_from(msat).map(Self).map_err(|_| Negative(msat))
    }
}

impl fmt::Display for Sat {
    /// `1,234,567 sat`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{} sat", grouped(self.0)))
    }
}

impl fmt::Display for MilliSat {
    /// `1,234.567 sat`; whole satoshis without a fraction.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = grouped(self.0 / 1000);
        let text = match self.0 % 1000 {
            0 => format!("{whole} sat"),
            rest => format!("{whole}.{rest:03} sat"),
        };
        formatter.pad(&text)
    }
}

/// Digits in groups of three, from the right.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_shown_in_groups_of_three_and_without_an_empty_fraction() {
        let shown = [0, 999, 1000, 1_234_567].map(|sat| Sat::new(sat).to_string());
        assert_eq!(shown, ["0 sat", "999 sat", "1,000 sat", "1,234,567 sat"]);
        let shown = [0, 1, 1000, 1_234_050].map(|msat| MilliSat::new(msat).to_string());
        assert_eq!(shown, ["0 sat", "0.001 sat", "1 sat", "1,234.050 sat"]);
        assert_eq!(format!("{:>8}|", Sat::new(21)), "  21 sat|");
    }

    #[test]
    fn what_does_not_fit_is_no_amount() {
        assert_eq!(Sat::new(u64::MAX).checked_add(Sat::new(1)), None);
        assert_eq!(Sat::new(1).checked_sub(Sat::new(2)), None);
        assert_eq!(Sat::new(u64::MAX / 1000 + 1).to_msat(), None);
        assert_eq!(MilliSat::new(1999).floor(), Sat::new(1));
        assert_eq!(Sat::try_from(-1), Err(Negative(-1)));
    }

    proptest! {
        #[test]
        fn a_sum_less_one_part_is_the_other(left: u64, right: u64) {
            if let Some(sum) = MilliSat::new(left).checked_add(MilliSat::new(right)) {
                prop_assert_eq!(sum.checked_sub(MilliSat::new(left)), Some(MilliSat::new(right)));
            }
        }

        #[test]
        fn satoshis_survive_the_way_through_millisatoshis_and_through_json(sat: u64) {
            let sat = Sat::new(sat);
            prop_assert_eq!(sat.to_msat().map(MilliSat::floor), sat.to_msat().map(|_| sat));
            let text = serde_json::to_string(&sat).unwrap();
            prop_assert_eq!(&text, &sat.get().to_string());
            prop_assert_eq!(serde_json::from_str::<Sat>(&text).unwrap(), sat);
        }
    }
}
