//! The twin: the state of the box as plain data, one writer, a change feed.
//!
//! Sources send [`Update`]s to the one task that owns the [`Twin`]; views hold a [`Reader`] and render from the newest
//! [`State`] without asking any back end. An update that changes nothing wakes no feed; of the node it still renews when
//! the part was last read.

pub mod bitcoin;
pub mod copies;
pub mod disks;
pub mod fiat;
mod job;
pub mod money;
pub mod net;
pub mod node;
mod pace;
pub mod source;
mod state;
pub mod updates;

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

pub use bitcoin::Bitcoin;
pub use copies::Copies;
pub use fiat::Money;
pub use job::*;
pub use money::{MilliSat, Sat};
pub use node::{Node, Seen};
pub use pace::Pace;
pub use state::*;

/// What a source says it saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    Boot(Boot),
    Disks(disks::Disks),
    /// The move of the data to another disk.
    Move(disks::Move),
    /// The update that goes on, or the last one, as root reports it.
    Updates(Arc<updates::Report>),
    /// What the manager heard of new versions.
    News(Arc<updates::News>),
    /// All watched units, after a full read.
    Units(Vec<(String, Unit)>),
    /// One unit, after a signal.
    Unit(String, Unit),
    Resources(Resources),
    /// Without the name that avahi announces: that is the next one's.
    Network(Network),
    Announced(Option<String>),
    /// The network cards, as systemd-networkd has set them up.
    Links(Vec<net::Link>),
    /// The radios, and the networks in their reach.
    Wifi(net::Wifi),
    /// Whether the world outside answers.
    Outside(net::Outside),
    /// What root tells about the owner's choices for the network.
    Netconf(netconf::Report),
    Lnd(Lnd),
    /// Work of that name began or went on.
    Job(&'static str, Job),
    Info(node::Info),
    Balances(node::Balances),
    Channels(node::Channels),
    Peers(Vec<node::Peer>),
    Htlcs(Vec<node::Htlc>),
    Invoices(node::Invoices),
    Payments(node::Payments),
    Transactions(node::Transactions),
    Graph(node::Graph),
    Backup(node::Backup),
    /// The copies of the channel backup, by whoever makes them.
    Copies(Copies),
    /// The owner's own bitcoind, after a read.
    Bitcoin(Bitcoin),
    /// How amounts are shown, and a rate.
    Money(Money),
    /// The source itself came or went.
    Source(&'static str, SourceHealth),
    /// There is no such source any more: the owner does without it.
    Gone(&'static str),
}

/// Which part of the state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Boot,
    Disks,
    Updates,
    Units,
    Resources,
    Network,
    Lnd,
    Jobs,
    Info,
    Balances,
    Channels,
    Peers,
    Htlcs,
    Invoices,
    Payments,
    Transactions,
    Graph,
    Backup,
    Copies,
    Bitcoin,
    Money,
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
            let topic = apply(&mut state, update);
            self.state.send_replace(Arc::new(state));
            if let Some(topic) = topic {
                // No receiver is no fault: nobody is looking.
                let _ = self.changes.send(topic);
            }
        }
    }
}

/// Puts `update` into `state` and names the topic, or `None` when nothing differs but the time of reading.
fn apply(state: &mut State, update: Update) -> Option<Topic> {
    fn seen<T: PartialEq>(field: &mut Seen<T>, value: T, topic: Topic) -> Option<Topic> {
        let is_news = field.since.is_none() || field.value != value;
        field.since = Some(source::now());
        // An equal value keeps its old place in memory.
        is_news.then(|| {
            field.value = value;
            topic
        })
    }
    fn set<T: PartialEq>(field: &mut T, value: T, topic: Topic) -> Option<Topic> {
        (*field != value).then(|| {
            *field = value;
            topic
        })
    }
    let node = &mut state.node;
    match update {
        Update::Boot(boot) => set(&mut state.boot, boot, Topic::Boot),
        Update::Disks(disks) => set(&mut state.disks, Arc::new(disks), Topic::Disks),
        Update::Move(moving) => set(&mut state.moving, moving, Topic::Disks),
        Update::Updates(report) => set(&mut state.updates, report, Topic::Updates),
        Update::News(news) => set(&mut state.news, news, Topic::Updates),
        Update::Units(units) => set(&mut state.units, units.into_iter().collect(), Topic::Units),
        Update::Unit(name, unit) => match state.units.insert(name, unit.clone()) {
            Some(old) if old == unit => None,
            _ => Some(Topic::Units),
        },
        Update::Resources(resources) => set(&mut state.resources, resources, Topic::Resources),
        Update::Network(network) => {
            let announced = state.network.announced.clone();
            set(&mut state.network, Network { announced, ..network }, Topic::Network)
        }
        Update::Announced(name) => set(&mut state.network.announced, name, Topic::Network),
        Update::Links(links) => set(&mut state.links, links, Topic::Network),
        Update::Wifi(wifi) => set(&mut state.wifi, Arc::new(wifi), Topic::Network),
        Update::Outside(outside) => set(&mut state.outside, outside, Topic::Network),
        Update::Netconf(report) => set(&mut state.netconf, report, Topic::Network),
        Update::Lnd(lnd) => set(&mut state.lnd, lnd, Topic::Lnd),
        Update::Job(name, job) => match state.jobs.insert(name.to_owned(), job.clone()) {
            Some(old) if old == job => None,
            _ => Some(Topic::Jobs),
        },
        Update::Info(info) => {
            follow(&mut node.pace, info.synced_to_chain, u64::from(info.height));
            seen(&mut node.info, Arc::new(info), Topic::Info)
        }
        Update::Balances(balances) => seen(&mut node.balances, balances, Topic::Balances),
        Update::Channels(channels) => seen(&mut node.channels, Arc::new(channels), Topic::Channels),
        Update::Peers(peers) => seen(&mut node.peers, Arc::new(peers), Topic::Peers),
        Update::Htlcs(htlcs) => seen(&mut node.htlcs, Arc::new(htlcs), Topic::Htlcs),
        Update::Invoices(invoices) => seen(&mut node.invoices, Arc::new(invoices), Topic::Invoices),
        Update::Payments(payments) => seen(&mut node.payments, Arc::new(payments), Topic::Payments),
        Update::Transactions(transactions) => seen(&mut node.transactions, Arc::new(transactions), Topic::Transactions),
        Update::Graph(graph) => seen(&mut node.graph, graph, Topic::Graph),
        Update::Backup(backup) => seen(&mut node.backup, Arc::new(backup), Topic::Backup),
        Update::Copies(copies) => set(&mut state.copies, Arc::new(copies), Topic::Copies),
        Update::Bitcoin(bitcoin) => {
            let chain = bitcoin.chain.as_ref();
            let is_done = chain.is_none_or(|chain| !chain.initial_download && chain.blocks == chain.headers);
            follow(&mut state.bitcoin_pace, is_done, chain.map_or(0, |chain| chain.verified_permyriad.into()));
            set(&mut state.bitcoin, bitcoin, Topic::Bitcoin)
        }
        Update::Money(money) => set(&mut state.money, money, Topic::Money),
        Update::Gone(name) => state.sources.remove(name).map(|_| Topic::Sources),
        Update::Source(name, health) => match state.sources.insert(name.to_owned(), health.clone()) {
            Some(old) if old == health => None,
            _ => Some(Topic::Sources),
        },
    }
}

/// Measures what is not done yet.
fn follow(pace: &mut Pace, is_done: bool, position: u64) {
    if is_done {
        pace.clear();
    } else {
        pace.add(source::now(), position);
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
    fn an_equal_part_of_the_node_wakes_nobody_but_counts_as_read() {
        let mut state = State::default();
        let balances = node::Balances::default();
        assert_eq!(
            apply(&mut state, Update::Balances(balances)),
            Some(Topic::Balances),
            "zeros that were read are news"
        );
        state.node.balances.since = Some(7);
        assert_eq!(apply(&mut state, Update::Balances(balances)), None);
        assert!(state.node.balances.since > Some(7));
        let more = node::Balances { confirmed: Sat::new(1), ..balances };
        assert_eq!(apply(&mut state, Update::Balances(more)), Some(Topic::Balances));
        assert_eq!(state.node.balances.confirmed, Sat::new(1));
    }

    #[test]
    fn a_copy_of_the_state_shares_its_long_lists() {
        let mut state = State::default();
        apply(&mut state, Update::Peers(vec![node::Peer::default(); 100]));
        assert!(Arc::ptr_eq(&state.clone().node.peers.value, &state.node.peers.value));
    }

    #[test]
    fn a_full_read_forgets_units_that_are_gone() {
        let mut state = State::default();
        apply(&mut state, Update::Unit("gone.service".into(), Unit::default()));
        assert_eq!(apply(&mut state, Update::Units(vec![("lnd.service".into(), Unit::default())])), Some(Topic::Units));
        assert_eq!(state.units.keys().collect::<Vec<_>>(), ["lnd.service"]);
    }
}
