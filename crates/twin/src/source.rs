//! What every source does besides reading: saying whether it can read, and waiting before it tries again.

use std::{
    error::Error,
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime},
};

use crate::{Sender, SourceHealth, UnixSeconds, Update};

/// The present time. A clock before 1970 counts as 0.
pub fn now() -> UnixSeconds {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The whole program stops: the owner of the twin is gone and nobody reads any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwinGone;

/// An error and its causes as one sentence: `failed to open a: permission denied`.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

/// Tells the twin how one source fares.
#[derive(Debug, Clone)]
pub struct Health {
    name: &'static str,
    twin: Sender,
    last: Option<SourceHealth>,
}

impl Health {
    /// `name` is the key in [`crate::State::sources`].
    pub fn new(name: &'static str, twin: Sender) -> Self {
        Self { name, twin, last: None }
    }

    /// Sends what the source saw.
    pub async fn send(&self, update: Update) -> Result<(), TwinGone> {
        self.twin.send(update).await.map_err(|_| TwinGone)
    }

    /// The source could be read.
    pub async fn connected(&mut self) -> Result<(), TwinGone> {
        self.report(true, None).await.map(drop)
    }

    /// The source could not be read, for the reason in `error`. Answers whether that is news: what is not need not be
    /// logged again.
    pub async fn lost(&mut self, error: &(dyn Error + Sync)) -> Result<bool, TwinGone> {
        self.report(false, Some(sentence(error))).await
    }

    async fn report(&mut self, connected: bool, error: Option<String>) -> Result<bool, TwinGone> {
        // `since` is when it came or went: a new reason for the same outage does not start it anew.
        let since = match &self.last {
            Some(last) if last.connected == connected => last.since,
            _ => now(),
        };
        let health = SourceHealth { connected, since, error };
        let news = self.last.as_ref() != Some(&health);
        if news {
            self.last = Some(health.clone());
            self.send(Update::Source(self.name, health)).await?;
        }
        Ok(news)
    }
}

/// Growing waits between attempts: doubled from `floor` up to `ceiling`, each shortened by a random part of at most a
/// half, so that those who lost the same peer do not return in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(floor: Duration, ceiling: Duration) -> Self {
        Self { floor, ceiling, next: floor }
    }

    /// The attempt succeeded: the next failure waits the floor again.
    pub fn reset(&mut self) {
        self.next = self.floor;
    }

    /// How long to wait now.
    pub fn wait(&mut self) -> Duration {
        // The standard library seeds this hasher from the kernel's random bytes; a jitter needs no more.
        let random = RandomState::new().hash_one(()) as u32;
        let whole = self.next;
        self.next = (whole * 2).min(self.ceiling);
        jittered(whole, random)
    }
}

/// `whole` less up to its half; `random` spans its full range.
fn jittered(whole: Duration, random: u32) -> Duration {
    whole - whole.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Twin;

    #[test]
    fn waits_double_up_to_the_ceiling_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for whole in [1, 2, 4, 8, 16, 30, 30] {
            let whole = Duration::from_secs(whole);
            let wait = backoff.wait();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} is not between a half and the whole of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_secs(1));
    }

    #[test]
    fn jitter_takes_nothing_at_one_end_and_a_half_at_the_other() {
        assert_eq!(jittered(Duration::from_secs(8), 0), Duration::from_secs(8));
        assert_eq!(jittered(Duration::from_secs(8), u32::MAX), Duration::from_secs(4));
    }

    #[tokio::test]
    async fn an_outage_keeps_its_beginning_when_its_reason_changes() {
        let (twin, sender, reader) = Twin::new();
        let mut health = Health::new("lnd", sender);
        health.last = Some(SourceHealth { connected: false, since: 5, error: Some("connection refused".into()) });
        let error = std::io::Error::other("certificate changed");
        assert_eq!(health.lost(&error).await, Ok(true));
        assert_eq!(health.lost(&error).await, Ok(false));
        drop(health);
        twin.run().await;
        let seen = reader.state().sources["lnd"].clone();
        assert_eq!(seen, SourceHealth { connected: false, since: 5, error: Some("certificate changed".into()) });
    }
}
