//! What the owner set about paying: limits, how amounts are shown, and which servers at home may be asked.

use fetch::{Reach, Server};
use serde::{Deserialize, Serialize};
use store::{Audit, Store};
use tokio::sync::watch;
use twin::{MilliSat, Sat, fiat::Unit};

use crate::{error::Error, rates};

/// Keys in the store.
const LIMIT_KEY: &str = "send.limit";
const FEE_KEY: &str = "send.fee";
const SHOWN_KEY: &str = "money.shown";
const SERVERS_KEY: &str = "money.servers";

/// All of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preferences {
    /// Above this the amount is typed again before it is paid.
    pub(crate) limit: Sat,
    pub(crate) fee: FeeLimit,
    pub(crate) shown: Shown,
    pub(crate) servers: Servers,
}

/// What a payment may cost at most, unless it is changed on its preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeeLimit {
    /// Hundredths of a percent of the amount.
    pub(crate) permyriad: u16,
    /// And so much on top, as small amounts cost a base fee, too.
    pub(crate) base: Sat,
}

/// How amounts are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shown {
    pub(crate) unit: Unit,
    /// `None`: nobody is asked for a rate.
    pub(crate) rates: Option<rates::Choice>,
}

/// Servers of the owner's that may be asked though their addresses are private.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Servers {
    /// `host` or `host:port`.
    pub(crate) own: Vec<String>,
    /// Their authority, PEM; empty where a public one has signed for them.
    pub(crate) ca: String,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            limit: Sat::new(100_000),
            fee: FeeLimit { permyriad: 100, base: Sat::new(10) },
            shown: Shown::default(),
            servers: Servers::default(),
        }
    }
}

impl FeeLimit {
    pub(crate) fn of(self, amount: MilliSat) -> MilliSat {
        let share = u128::from(amount.get()) * u128::from(self.permyriad) / 10_000;
        let share = MilliSat::new(u64::try_from(share).unwrap_or(u64::MAX));
        self.base.to_msat().and_then(|base| share.checked_add(base)).unwrap_or(amount)
    }
}

impl Preferences {
    pub(crate) fn reach(&self) -> Reach {
        // What was typed was read when it was typed.
        let own = self.servers.own.iter().filter_map(|server| server.parse::<Server>().ok()).collect();
        Reach { own, ca: Some(self.servers.ca.clone()).filter(|ca| !ca.trim().is_empty()) }
    }
}

/// The preferences in memory and on the disk.
pub(crate) struct Payments {
    store: Store,
    now: watch::Sender<Preferences>,
}

impl Payments {
    pub(crate) async fn open(store: Store) -> Result<Self, Error> {
        let usual = Preferences::default();
        let preferences = Preferences {
            limit: store.setting(LIMIT_KEY).await?.unwrap_or(usual.limit),
            fee: store.setting(FEE_KEY).await?.unwrap_or(usual.fee),
            shown: store.setting(SHOWN_KEY).await?.unwrap_or(usual.shown),
            servers: store.setting(SERVERS_KEY).await?.unwrap_or(usual.servers),
        };
        Ok(Self { store, now: watch::Sender::new(preferences) })
    }

    pub(crate) fn get(&self) -> Preferences {
        self.now.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Preferences> {
        self.now.subscribe()
    }

    /// On the disk first, as all changes here.
    pub(crate) async fn set_limits(&self, limit: Sat, fee: FeeLimit, entry: Audit) -> Result<(), Error> {
        self.store.set(FEE_KEY, &fee, None).await?;
        self.store.set(LIMIT_KEY, &limit, Some(entry)).await?;
        self.now.send_modify(|now| (now.limit, now.fee) = (limit, fee));
        Ok(())
    }

    pub(crate) async fn set_shown(&self, shown: Shown, entry: Audit) -> Result<(), Error> {
        self.store.set(SHOWN_KEY, &shown, Some(entry)).await?;
        self.now.send_modify(|now| now.shown = shown);
        Ok(())
    }

    pub(crate) async fn set_servers(&self, servers: Servers, entry: Audit) -> Result<(), Error> {
        self.store.set(SERVERS_KEY, &servers, Some(entry)).await?;
        self.now.send_modify(|now| now.servers = servers);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fee_limit_is_a_share_and_a_base() {
        let fee = FeeLimit { permyriad: 100, base: Sat::new(10) };
        assert_eq!(fee.of(MilliSat::new(1_000_000)), MilliSat::new(20_000));
        assert_eq!(fee.of(MilliSat::ZERO), MilliSat::new(10_000));
        let none = FeeLimit { permyriad: 0, base: Sat::ZERO };
        assert_eq!(none.of(MilliSat::new(u64::MAX)), MilliSat::ZERO);
        let huge = FeeLimit { permyriad: 10_000, base: Sat::new(u64::MAX) };
        assert_eq!(huge.of(MilliSat::new(7)), MilliSat::new(7), "what does not fit is the amount itself");
    }
}
