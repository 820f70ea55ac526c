//! How often a sign-in may be tried: per address, and for the whole box.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};

/// Five at once from one address, then one in 15 s.
const ADDRESS: (u32, Duration) = (5, Duration::from_secs(15));
/// Thirty at once from everywhere, then one in 3 s: enough for the owner in the middle of an attack from many addresses.
const WHOLE: (u32, Duration) = (30, Duration::from_secs(3));
/// More addresses than this are not remembered; the limit of the whole box still holds.
const REMEMBERED: usize = 4096;

pub(crate) struct Limits {
    address: DefaultKeyedRateLimiter<IpAddr>,
    whole: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self {
            address: DefaultKeyedRateLimiter::keyed(quota(ADDRESS)),
            whole: DefaultDirectRateLimiter::direct(quota(WHOLE)),
            clock: DefaultClock::default(),
        }
    }

    /// Takes a try from `address`, or says how long to wait. The address comes first, so that a single one can never use
    /// up what is there for all.
    pub(crate) fn take(&self, address: IpAddr) -> Result<(), Duration> {
        let wait = |until: governor::NotUntil<<DefaultClock as Clock>::Instant>| until.wait_time_from(self.clock.now());
        if self.address.len() < REMEMBERED {
            self.address.check_key(&household(address)).map_err(wait)?;
        }
        self.whole.check().map_err(wait)
    }

    /// Forgets addresses that have been quiet.
    pub(crate) fn sweep(&self) {
        self.address.retain_recent();
        self.address.shrink_to_fit();
    }
}

pub(crate) fn quota((burst, period): (u32, Duration)) -> Quota {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(period).unwrap_or_else(|| Quota::per_minute(burst)).allow_burst(burst)
}

/// One key for what one party can have many of: an IPv6 network of 64 bits counts as one address.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_sixth_try_of_one_address_waits_and_another_address_does_not() {
        let limits = Limits::new();
        for _ in 0..5 {
            limits.take(address("192.168.1.5")).unwrap();
        }
        let wait = limits.take(address("192.168.1.5")).unwrap_err();
        assert!(wait > Duration::from_secs(13) && wait <= ADDRESS.1, "{wait:?}");
        limits.take(address("::ffff:192.168.1.5")).unwrap_err();
        limits.take(address("192.168.1.6")).unwrap();
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_their_tries() {
        let limits = Limits::new();
        for last in 0..5 {
            limits.take(address(&format!("fd00::{last}"))).unwrap();
        }
        limits.take(address("fd00::ffff")).unwrap_err();
        limits.take(address("fd00:0:0:1::1")).unwrap();
    }

    #[test]
    fn many_addresses_together_meet_the_limit_of_the_box() {
        let limits = Limits::new();
        let refused = (0..40).filter(|last| limits.take(address(&format!("10.0.0.{last}"))).is_err()).count();
        assert!(refused >= 9, "{refused}");
        limits.sweep();
    }
}
