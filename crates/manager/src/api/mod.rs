//! `/api/v1`: what the pages can do, for programs.
//!
//! ```text
//!   key or session ─► guard (scope, pace) ─► handler ─┬─ reads: from the twin, with the time they are of
//!                                                     └─ commands: the same functions as the pages'
//!   route table ─┬─► router
//!                ├─► openapi.json, from the handlers' own types
//!                └─► the page /api
//! ```
//!
//! A payment or a channel is asked for under a key of idempotence, which the store knows before anything leaves the box:
//! see [`once`].

mod access;
mod backups;
mod bitcoin;
mod caller;
mod channels;
mod copies;
mod describe;
mod disks;
mod events;
mod health;
pub(crate) mod keys;
mod metrics;
mod money;
mod network;
mod node;
mod once;
mod openapi;
mod owner;
mod payments;
mod preferences;
pub(crate) mod problem;
pub(crate) mod route;
mod services;
mod setup;
mod system;
#[cfg(test)]
mod tests;
mod types;
mod updates;
mod wallet;
mod wifi;
#[cfg(test)]
mod wifi_tests;

use store::Store;

pub(crate) use caller::pass;
pub(crate) use keys::Scope;
pub(crate) use metrics::{Latency, measure};

use crate::error::Error;

/// What the API keeps between requests.
pub(crate) struct Api {
    pub(crate) keys: keys::Keys,
    pub(crate) pace: caller::Pace,
    pub(crate) latency: Latency,
}

impl Api {
    pub(crate) async fn open(store: Store) -> Result<Self, Error> {
        match store.orphan_requests().await {
            // They stay marked as running, and a program that asks is told to wait: nothing is done twice.
            Err(store::Error::Full) => tracing::warn!("the data disk is full: unfinished requests are not marked"),
            outcome => outcome?,
        }
        Ok(Self { keys: keys::Keys::load(store).await?, pace: caller::Pace::new(), latency: Latency::default() })
    }
}
