//! The source "bitcoind": chain, mempool, fees, peers, and how ZMQ fares.
//!
//! Messages of ZMQ are hints: what they tell of is read over JSON-RPC. Everything is read on connection, when a block
//! or a gap is told, and at intervals. While bitcoind is away the twin keeps what was read last.

use std::{convert::Infallible, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use twin::{
    Bitcoin, Sender, Update,
    bitcoin::{Chain, FeeEstimate, Mempool, Software, ZmqState, ZmqTopic},
    source::{Backoff, Health, TwinGone, sentence},
};

use crate::{
    Config, Endpoint, Error,
    probe::permyriad,
    rpc::{Client, Limits, MempoolInfo, Session},
    zmq::{self, Event, News, Topic},
};

/// Everything is read this often even when nothing was told.
pub const RESYNC: Duration = Duration::from_secs(30);
/// A burst of news may gather so long before it is answered with one read.
pub const DEBOUNCE: Duration = Duration::from_millis(200);
/// The mempool is read at most this often, however many transactions come.
pub const MEMPOOL_PAUSE: Duration = Duration::from_secs(5);
/// What was seen by reading and not told within this time was not told at all.
pub const SILENCE: Duration = Duration::from_secs(10);
/// Waits between attempts: from, to.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Estimates that are asked for, in blocks.
pub const TARGETS: [u16; 6] = [2, 3, 6, 12, 144, 1008];

/// Follows bitcoind, for as long as the twin lives.
pub async fn run(config: Config, twin: Sender) {
    let (sender, events) = mpsc::channel(256);
    let mut subscriptions = JoinSet::new();
    let mut bitcoin = Bitcoin::default();
    for (at, topics) in addresses(&config) {
        topics.iter().for_each(|topic| state_of(&mut bitcoin, *topic).state = ZmqState::Lost);
        subscriptions.spawn(zmq::follow(at, topics, sender.clone()));
    }
    let client = Client::new(&config, Limits::default());
    let suspicions = [Suspicion::default(); 3];
    // `sender` stays here: without ZMQ the channel is quiet, not closed.
    let health = Health::new("bitcoind", twin);
    let mut watcher = Watcher { config, client, health, events, _sender: sender, bitcoin, suspicions };
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let Err(error) = watcher.follow(&mut backoff).await;
        if matches!(error, Error::TwinGone) {
            return;
        }
        match watcher.health.lost(&error).await {
            Err(TwinGone) => return,
            Ok(true) => tracing::info!("bitcoind is not followed: {}", sentence(&error)),
            Ok(false) => {}
        }
        if watcher.pause(backoff.wait()).await.is_err() {
            return;
        }
    }
}

/// Who publishes what; an address that publishes several topics needs one connection.
fn addresses(config: &Config) -> Vec<(Endpoint, Vec<Topic>)> {
    let Some(zmq) = &config.zmq else { return Vec::new() };
    let wanted = [
        (Topic::RawBlock, Some(&zmq.blocks)),
        (Topic::RawTx, Some(&zmq.transactions)),
        (Topic::Sequence, zmq.sequence.as_ref()),
    ];
    let mut found: Vec<(Endpoint, Vec<Topic>)> = Vec::new();
    for (topic, at) in wanted.into_iter().filter_map(|(topic, at)| Some((topic, at?))) {
        match found.iter_mut().find(|(known, _)| known == at) {
            Some((_, topics)) => topics.push(topic),
            None => found.push((at.clone(), vec![topic])),
        }
    }
    found
}

fn state_of(bitcoin: &mut Bitcoin, topic: Topic) -> &mut ZmqTopic {
    match topic {
        Topic::RawBlock => &mut bitcoin.zmq.blocks,
        Topic::RawTx => &mut bitcoin.zmq.transactions,
        Topic::Sequence => &mut bitcoin.zmq.sequence,
    }
}

/// When something was seen by reading that a topic has not told so far. Whether it will is seen at a later read.
#[derive(Debug, Clone, Copy, Default)]
struct Suspicion {
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Suspicion {
    /// Something happened, seen at `now`; a message shortly before told of it.
    fn seen(&mut self, now: Instant) {
        let just_told = self.told.is_some_and(|told| now.duration_since(told) < SILENCE);
        if !just_told && self.since.is_none() {
            self.since = Some(now);
        }
    }

    fn told(&mut self, now: Instant) {
        *self = Self { since: None, told: Some(now) };
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= SILENCE)
    }
}

/// What news ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hint {
    Nothing,
    Mempool,
    Everything,
}

struct Watcher {
    config: Config,
    client: Client,
    health: Health,
    events: mpsc::Receiver<Event>,
    _sender: mpsc::Sender<Event>,
    bitcoin: Bitcoin,
    suspicions: [Suspicion; 3],
}

impl Watcher {
    /// Reads and follows until something fails.
    async fn follow(&mut self, backoff: &mut Backoff) -> Result<Infallible, Error> {
        loop {
            self.read().await?;
            self.health.connected().await?;
            backoff.reset();
            let due = Instant::now() + RESYNC;
            let mut mempool_due = Instant::now() + MEMPOOL_PAUSE;
            // Until everything is to be read again.
            let mut wanted = Hint::Nothing;
            while wanted < Hint::Everything && Instant::now() < due {
                let wake = if wanted == Hint::Mempool { mempool_due.min(due) } else { due };
                match timeout_at(wake, self.hear()).await {
                    Ok(hint) => wanted = wanted.max(hint?),
                    Err(_) if wanted == Hint::Mempool => {
                        self.read_mempool().await?;
                        wanted = Hint::Nothing;
                        mempool_due = Instant::now() + MEMPOOL_PAUSE;
                    }
                    Err(_) => {}
                }
            }
            if wanted == Hint::Everything {
                self.gather().await?;
            }
        }
    }

    /// Takes in what comes within the time of a burst.
    async fn gather(&mut self) -> Result<(), Error> {
        let end = Instant::now() + DEBOUNCE;
        while let Ok(hint) = timeout_at(end, self.hear()).await {
            hint?;
        }
        Ok(())
    }

    /// Waits before the next attempt. That a publisher is back says that bitcoind is, too.
    async fn pause(&mut self, wait: Duration) -> Result<(), Error> {
        let back = async {
            loop {
                let before = self.bitcoin.zmq.clone();
                self.hear().await?;
                let zmq = &self.bitcoin.zmq;
                let is_back =
                    |new: &ZmqTopic, old: &ZmqTopic| new.state == ZmqState::Subscribed && old.state == ZmqState::Lost;
                if is_back(&zmq.blocks, &before.blocks) || is_back(&zmq.transactions, &before.transactions) {
                    return Ok::<(), Error>(());
                }
            }
        };
        match timeout(wait, back).await {
            // Its JSON-RPC may come a moment later than its ZMQ.
            Ok(told) => {
                told?;
                sleep(DEBOUNCE).await;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Waits for one event and takes it in.
    async fn hear(&mut self) -> Result<Hint, Error> {
        // The channel cannot be closed: one of its senders is ours.
        let event = self.events.recv().await.ok_or(Error::TwinGone)?;
        let now = Instant::now();
        let before = self.bitcoin.zmq.clone();
        let hint = match event {
            Event::Subscribed(topics) => {
                for topic in topics {
                    self.suspicions[topic as usize] = Suspicion::default();
                    let state = state_of(&mut self.bitcoin, topic);
                    (state.state, state.error) = (ZmqState::Subscribed, None);
                }
                Hint::Everything
            }
            Event::Lost(topics, error) => {
                for topic in topics {
                    let state = state_of(&mut self.bitcoin, topic);
                    (state.state, state.error) = (ZmqState::Lost, Some(sentence(&error)));
                }
                // A read tells at once whether all of bitcoind is gone.
                if before == self.bitcoin.zmq { Hint::Nothing } else { Hint::Everything }
            }
            Event::Gap { topic, missed } => {
                let state = state_of(&mut self.bitcoin, topic);
                // A count that went back misses an unknown number: at least one.
                state.missed = state.missed.saturating_add(missed.unwrap_or(1).into());
                Hint::Everything
            }
            Event::News(news) => {
                if let Some(topic) = news.topic() {
                    self.suspicions[topic as usize].told(now);
                    state_of(&mut self.bitcoin, topic).state = ZmqState::Live;
                }
                match news {
                    News::Block | News::BlockConnected | News::BlockDisconnected => Hint::Everything,
                    News::Transaction | News::MempoolAdded | News::MempoolRemoved => Hint::Mempool,
                    News::Other(_) => Hint::Nothing,
                }
            }
        };
        if self.bitcoin.zmq != before {
            self.tell().await?;
        }
        Ok(hint)
    }

    async fn tell(&self) -> Result<(), TwinGone> {
        self.health.send(Update::Bitcoin(self.bitcoin.clone())).await
    }

    /// Reads everything over one connection and tells it.
    async fn read(&mut self) -> Result<(), Error> {
        let mut session = self.client.session().await?;
        let info = session.blockchain_info().await?;
        let expected = self.config.network.chain();
        if info.chain != expected {
            return Err(Error::WrongChain { at: self.config.rpc.clone(), expected, found: info.chain });
        }
        let tip = session.block_header(&info.best_block).await?;
        let network = session.network_info().await?;
        let mempool = session.mempool_info().await?;
        let peers = session.peers().await?;
        let mut fees = Vec::new();
        for target_blocks in TARGETS {
            fees.extend(session.smart_fee(target_blocks).await?.map(|fee| FeeEstimate { target_blocks, fee }));
        }
        let mut warnings = info.warnings.clone();
        warnings.extend(network.warnings);
        warnings.sort();
        warnings.dedup();
        let verified_permyriad = permyriad(&info);
        let chain = Chain {
            network: info.chain,
            blocks: info.blocks,
            headers: info.headers,
            tip: tip.hash,
            tip_time: tip.time,
            verified_permyriad,
            initial_download: info.initial_block_download,
            prune_height: info.prune_height.filter(|_| info.pruned),
        };
        let software = Software { version: network.version, name: network.subversion };
        // While it downloads the chain bitcoind publishes no blocks.
        let told_of = |old: &Chain| old.tip != chain.tip && !old.initial_download && !chain.initial_download;
        let new_block = self.bitcoin.chain.as_ref().is_some_and(told_of);
        self.suspect(new_block, &mempool);
        let zmq = self.bitcoin.zmq.clone();
        let mempool = mempool_of(&mempool);
        self.bitcoin = Bitcoin { chain: Some(chain), mempool, fees, peers, software, warnings, zmq };
        Ok(self.tell().await?)
    }

    async fn read_mempool(&mut self) -> Result<(), Error> {
        let mut session: Session = self.client.session().await?;
        let mempool = session.mempool_info().await?;
        self.suspect(false, &mempool);
        self.bitcoin.mempool = mempool_of(&mempool);
        Ok(self.tell().await?)
    }

    /// Holds what was read against what was told.
    fn suspect(&mut self, new_block: bool, mempool: &MempoolInfo) {
        let now = Instant::now();
        let grown = self.bitcoin.chain.is_some() && mempool.size > self.bitcoin.mempool.transactions;
        // bitcoind tells the transactions of a block, too.
        let happened = [new_block, new_block || grown, new_block || grown];
        for (topic, happened) in Topic::ALL.into_iter().zip(happened) {
            let suspicion = &mut self.suspicions[topic as usize];
            let state = state_of(&mut self.bitcoin, topic);
            if matches!(state.state, ZmqState::Off | ZmqState::Lost) {
                continue;
            }
            if happened {
                suspicion.seen(now);
            }
            if suspicion.is_silent(now) {
                state.state = ZmqState::Silent;
            }
        }
    }
}

fn mempool_of(info: &MempoolInfo) -> Mempool {
    Mempool { transactions: info.size, virtual_bytes: info.bytes, minimum_fee: info.minimum_fee }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Auth, Network, Zmq};

    #[test]
    fn topics_of_one_address_share_a_connection() {
        let at = |port| Endpoint::new("node", port).unwrap();
        let zmq = Zmq { blocks: at(1), transactions: at(2), sequence: Some(at(1)) };
        let auth = Auth::Cookie("/none".into());
        let mut config = Config { rpc: at(9), auth, network: Network::Regtest, zmq: Some(zmq) };
        let shared = vec![Topic::RawBlock, Topic::Sequence];
        assert_eq!(addresses(&config), [(at(1), shared), (at(2), vec![Topic::RawTx])]);
        config.zmq = None;
        assert!(addresses(&config).is_empty());
    }

    #[test]
    fn silence_is_what_was_seen_and_not_told_in_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut suspicion = Suspicion::default();
        suspicion.seen(at(0));
        assert!(!suspicion.is_silent(at(9)) && suspicion.is_silent(at(10)));
        suspicion.told(at(11));
        suspicion.seen(at(12));
        assert!(!suspicion.is_silent(at(60)), "the message a second before told of it");
        suspicion.seen(at(60));
        assert!(suspicion.is_silent(at(70)));
    }
}
