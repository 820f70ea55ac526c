//! The twin: the state of the box as plain data, one writer, a change feed.
//!
//! Sources send [`Update`]s to the one task that owns the [`Twin`]; views hold a [`Reader`] and render from the newest
//! [`State`] without asking any back end. An update that changes nothing is dropped, so a feed never wakes in vain.

pub mod bitcoin;
pub mod source;
mod state;

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

pub use bitcoin::Bitcoin;
pub use state::*;

/// What a source says it saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    Boot(Boot),
    /// All watched units, after a full read.
    Units(Vec<(String, Unit)>),
    /// One unit, after a signal.
    Unit(String, Unit),
    Resources(Resources),
    Network(Network),
    Lnd(Lnd),
    /// The owner's own bitcoind, after a read.
    Bitcoin(Bitcoin),
    /// The source itself came or went.
    Source(&'static str, SourceHealth),
}

/// Which part of the state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Boot,
    Units,
    Resources,
    Network,
    Lnd,
    Bitcoin,
    Sources,
}

/// Where sources send what they saw. Cheap to clone.
pub type Sender = mpsc::Sender<Update>;

/// The owner of the state; [`Twin::run`] is its only writer.
pub struct Twin {
    updates: mpsc::Receiver<Update>,
    state: watch::Sender<Arc<State>>,
    changes: broadcast::Sender<Topic>,
}

/// A view of the state. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    state: watch::Receiver<Arc<State>>,
    changes: broadcast::Sender<Topic>,
}

impl Reader {
    /// The newest state. Never blocks.
    pub fn state(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// Changes from now on. A receiver that lags is told so and should render everything again.
    pub fn changes(&self) -> broadcast::Receiver<Topic> {
        self.changes.subscribe()
    }
}

impl Twin {
    pub fn new() -> (Self, Sender, Reader) {
        let (sender, updates) = mpsc::channel(64);
        let (state, reader) = watch::channel(Arc::new(State::default()));
        let (changes, _) = broadcast::channel(64);
        let reader = Reader { state: reader, changes: changes.clone() };
        (Self { updates, state, changes }, sender, reader)
    }

    /// Applies updates until the last [`Sender`] is gone.
    pub async fn run(mut self) {
        while let Some(update) = self.updates.recv().await {
            let mut state = (**self.state.borrow()).clone();
            if let Some(topic) = apply(&mut state, update) {
                self.state.send_replace(Arc::new(state));
                // No receiver is no fault: nobody is looking.
                let _ = self.changes.send(topic);
            }
        }
    }
}

/// Puts `update` into `state` and names the topic, or `None` when nothing differs.
fn apply(state: &mut State, update: Update) -> Option<Topic> {
    fn set<T: PartialEq>(field: &mut T, value: T, topic: Topic) -> Option<Topic> {
        (*field != value).then(|| {
            *field = value;
            topic
        })
    }
    match update {
        Update::Boot(boot) => set(&mut state.boot, boot, Topic::Boot),
        Update::Units(units) => set(&mut state.units, units.into_iter().collect(), Topic::Units),
        Update::Unit(name, unit) => match state.units.insert(name, unit.clone()) {
            Some(old) if old == unit => None,
            _ => Some(Topic::Units),
        },
        Update::Resources(resources) => set(&mut state.resources, resources, Topic::Resources),
        Update::Network(network) => set(&mut state.network, network, Topic::Network),
        Update::Lnd(lnd) => set(&mut state.lnd, lnd, Topic::Lnd),
        Update::Bitcoin(bitcoin) => set(&mut state.bitcoin, bitcoin, Topic::Bitcoin),
        Update::Source(name, health) => match state.sources.insert(name.to_owned(), health.clone()) {
            Some(old) if old == health => None,
            _ => Some(Topic::Sources),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_update_reaches_the_reader_and_the_feed_once() {
        let (twin, sender, reader) = Twin::new();
        let mut changes = reader.changes();
        let task = tokio::spawn(twin.run());
        let lnd = Lnd { state: LndState::Locked, since: 7 };
        sender.send(Update::Lnd(lnd.clone())).await.unwrap();
        sender.send(Update::Lnd(lnd.clone())).await.unwrap();
        drop(sender);
        task.await.unwrap();
        assert_eq!(reader.state().lnd, lnd);
        assert_eq!(changes.try_recv().unwrap(), Topic::Lnd);
        assert!(changes.try_recv().is_err(), "the second, equal update must not wake anyone");
    }

    #[test]
    fn a_full_read_forgets_units_that_are_gone() {
        let mut state = State::default();
        apply(&mut state, Update::Unit("gone.service".into(), Unit::default()));
        assert_eq!(apply(&mut state, Update::Units(vec![("lnd.service".into(), Unit::default())])), Some(Topic::Units));
        assert_eq!(state.units.keys().collect::<Vec<_>>(), ["lnd.service"]);
    }
}
