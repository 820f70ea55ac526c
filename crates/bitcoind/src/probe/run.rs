//! The order of the test. One task writes the report; whatever it waits for has a limit, and the whole has one, too.

use std::time::Duration;

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use twin::{bitcoin::Peers, source::now};

use super::{
    Check, Finding, Options, Report, State, Subject,
    finding::{self, About, What},
    node,
    topics::{Evidence, Listing, Wire},
};
use crate::{
    Config, Endpoint, Error, config,
    rpc::{self, Client, Limits, Session},
    zmq::Connection,
};

/// While bitcoind starts it is asked again this often.
const STARTING_PAUSE: Duration = Duration::from_millis(500);
/// What happened just before the end may still be on its way.
const GRACE: Duration = Duration::from_secs(2);
/// Kept of the whole time for the words at its end.
const MARGIN: Duration = Duration::from_millis(200);
const METHOD_NOT_FOUND: i64 = -32601;

type Reports = watch::Sender<Report>;

/// Tests, and leaves nothing pending.
pub(super) async fn run(config: Config, options: Options, reports: Reports) {
    let limit = options.limit;
    let test = Test { begun: Instant::now(), config, options, reports };
    let end = test.begun + limit.saturating_sub(MARGIN);
    // Whatever is still open then is said to be so.
    let _ = timeout_at(end, test.all()).await;
    test.reports.send_modify(|report| {
        for check in report.checks.iter_mut().filter(|check| check.state == State::Pending) {
            // What was last known is more than that the time is over: 'still starting', for example.
            match check.finding {
                Some(Finding::Starting { .. }) => check.state = State::Fail,
                _ => *check = Check::found(check.subject, Finding::OutOfTime { seconds: limit.as_secs() }),
            }
        }
        let reached = |subject| report.check(subject).is_some_and(|check| check.state != State::Fail);
        let open = reached(Subject::Connection) && reached(Subject::Access);
        // Behind a closed door nothing else was out of time.
        for check in report.checks.iter_mut().filter(|_| !open) {
            if matches!(check.finding, Some(Finding::OutOfTime { .. })) && is_of_node(check.subject) {
                *check = Check { state: State::Skipped, ..Check::pending(check.subject) };
            }
        }
        report.finished = true;
    });
}

/// Whether JSON-RPC is needed to know about it, and both its doors were open.
fn is_of_node(subject: Subject) -> bool {
    !matches!(subject, Subject::Connection | Subject::Access | Subject::Blocks | Subject::Transactions)
}

struct Test {
    config: Config,
    options: Options,
    reports: Reports,
    begun: Instant,
}

/// What may have changed between two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    tip: String,
    mempool: u64,
    /// While it downloads the chain bitcoind publishes no blocks.
    downloading: bool,
}

impl Test {
    fn set(&self, subject: Subject, finding: Finding) {
        self.reports.send_modify(|report| report.set(Check::found(subject, finding)));
    }

    async fn all(&self) {
        let (say, said) = oneshot::channel();
        tokio::join!(self.node(say), self.news(said));
    }

    /// Everything over JSON-RPC. `say` gets what bitcoind says of ZMQ, as soon as it did.
    async fn node(&self, say: oneshot::Sender<Listing>) {
        if let Err(error) = self.ask_node(say).await {
            self.failed(&error);
        }
        self.reports.send_modify(|report| {
            for check in report.checks.iter_mut().filter(|check| is_of_node(check.subject)) {
                if check.state == State::Pending {
                    check.state = State::Skipped;
                }
            }
        });
    }

    fn failed(&self, error: &Error) {
        let (about, found) = finding::of_error(error);
        match about {
            About::Connection => {
                self.set(Subject::Connection, found);
                self.reports.send_modify(|report| {
                    for check in report.checks.iter_mut().filter(|check| check.subject == Subject::Access) {
                        if check.state == State::Pending {
                            check.state = State::Skipped;
                        }
                    }
                });
            }
            About::Access => {
                self.answers();
                self.set(Subject::Access, found);
            }
            // The first thing that is still open is what the call was for.
            About::Call => {
                let open = |report: &Report| {
                    report.checks.iter().find(|check| check.state == State::Pending).map(|check| check.subject)
                };
                let subject = open(&self.reports.borrow()).unwrap_or(Subject::Connection);
                self.set(subject, found);
            }
        }
    }

    fn answers(&self) {
        self.set(Subject::Connection, Finding::Answers { at: self.config.rpc.to_string() });
    }

    async fn ask_node(&self, say: oneshot::Sender<Listing>) -> Result<(), Error> {
        let limits = self.limits();
        // Before the password is looked for: that somebody is there can be said in any case.
        drop(rpc::connect(&self.config.rpc, limits.connect).await?);
        let client = Client::new(&self.config, limits);
        let (mut session, chain) = loop {
            let mut session = client.session().await?;
            match session.blockchain_info().await {
                Ok(chain) => break (session, chain),
                Err(error @ Error::Starting { .. }) => {
                    // It looks at the password first.
                    self.set(Subject::Access, Finding::LetIn);
                    self.set(Subject::Connection, finding::of_error(&error).1);
                    sleep(STARTING_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        self.answers();
        self.set(Subject::Access, Finding::LetIn);
        let genesis = session.block_hash(0).await?;
        let network = self.config.network;
        self.set(Subject::Network, node::network(network, &chain.chain, &genesis));
        let info = session.network_info().await?;
        self.set(Subject::Version, node::version(&info));
        // Nobody listens for it in polling mode.
        let _ = say.send(self.listing(&mut session).await?);
        let tip = session.block_header(&chain.best_block).await?;
        let synchronization = node::synchronization(network, &chain, &tip, now(), self.options.tip_age);
        self.set(Subject::Synchronization, synchronization);
        let peers = session.peers().await?;
        self.set(Subject::Pruning, self.pruning(&mut session, &chain, &peers).await?);
        self.set(Subject::Peers, node::peers(network, &peers));
        Ok(())
    }

    /// For each step a share of the whole time, so that one that hangs is named before it is over.
    fn limits(&self) -> Limits {
        let share = self.options.limit / 3;
        let usual = Limits::default();
        Limits { connect: usual.connect.min(share), call: usual.call.min(share) }
    }

    async fn listing(&self, session: &mut Session) -> Result<Listing, Error> {
        match session.zmq_notifications().await {
            Ok(said) => Ok(Listing::Said(said)),
            Err(Error::Call { code: METHOD_NOT_FOUND, .. }) => Ok(Listing::NoZmq),
            Err(error @ (Error::Call { .. } | Error::ForbiddenCall { .. })) => {
                Ok(Listing::Forbidden(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    async fn pruning(
        &self,
        session: &mut Session,
        chain: &rpc::BlockchainInfo,
        peers: &Peers,
    ) -> Result<Finding, Error> {
        let oldest = match chain.prune_height.filter(|_| chain.pruned) {
            None => None,
            Some(height) => {
                let hash = session.block_hash(height).await?;
                Some(session.block_header(&hash).await?)
            }
        };
        Ok(node::pruning(oldest.as_ref(), self.options.wallet_birthday, peers))
    }

    /// How LND will learn what is new.
    async fn news(&self, said: oneshot::Receiver<Listing>) {
        let Some(zmq) = &self.config.zmq else {
            self.set(Subject::Blocks, Finding::Polling);
            self.set(Subject::Transactions, Finding::Polling);
            return;
        };
        let wires = [watch::Sender::new(Wire::default()), watch::Sender::new(Wire::default())];
        let listen = async {
            tokio::join!(
                self.listen(Subject::Blocks, What::Blocks, &zmq.blocks, &wires[0]),
                self.listen(Subject::Transactions, What::Transactions, &zmq.transactions, &wires[1])
            );
        };
        let judge = self.judge(zmq, &wires, said);
        tokio::select! {
            () = judge => {}
            // Both connections ended; what they showed stays.
            () = async { listen.await; std::future::pending().await } => {}
        }
    }

    /// Subscribes to everything at one address, until it fails.
    async fn listen(&self, subject: Subject, what: What, at: &Endpoint, wire: &watch::Sender<Wire>) {
        let listening = async {
            let mut connection = Connection::open(at, &[""], self.limits().connect).await?;
            wire.send_replace(Wire::Subscribed(Default::default()));
            self.set(subject, Finding::Listening { at: at.to_string(), what });
            loop {
                let message = connection.next().await?;
                let message = crate::zmq::Message::parse(&message)
                    .map_err(|what| Error::MalformedMessage { at: at.clone(), what })?;
                let name = match message.news {
                    crate::zmq::News::Other(name) => name,
                    news => news.topic().map(|topic| topic.name().to_owned()).unwrap_or_default(),
                };
                wire.send_modify(|wire| match wire {
                    Wire::Subscribed(topics) => drop(topics.insert(name)),
                    other => *other = Wire::Subscribed([name].into()),
                });
            }
        };
        let Err::<std::convert::Infallible, _>(error) = listening.await;
        wire.send_replace(Wire::Failed(error));
    }

    async fn judge(&self, zmq: &config::Zmq, wires: &[watch::Sender<Wire>; 2], said: oneshot::Receiver<Listing>) {
        let begun = Instant::now();
        let mut news = wires.each_ref().map(watch::Sender::subscribe);
        for wire in &mut news {
            let _ = wire.wait_for(|wire| !matches!(wire, Wire::Connecting)).await;
        }
        // Where JSON-RPC does not work the wires speak for themselves.
        let said = timeout_at(self.by(4, 5), said).await;
        let listing = said.ok().and_then(Result::ok).unwrap_or(Listing::Unknown);
        // Without JSON-RPC there is nothing to hold a silence against: what came by now is all.
        let mut open = !matches!(listing, Listing::Unknown);
        let before = if open { self.look().await } else { None };
        let end = (Instant::now() + self.options.listen).min(self.by(2, 3));
        let judge = |happened: (bool, bool)| {
            let evidence = Evidence { config: zmq, listing: &listing, happened, seconds: begun.elapsed().as_secs() };
            (evidence.judge(What::Blocks, &wires[0].borrow()), evidence.judge(What::Transactions, &wires[1].borrow()))
        };
        let nothing = (false, false);
        let settled = |found: &Finding| found.state() == State::Fail || matches!(found, Finding::Heard { .. });
        let [blocks, transactions] = &mut news;
        while open {
            let found = judge(nothing);
            open = !(settled(&found.0) && settled(&found.1));
            tokio::select! {
                () = std::future::ready(()), if !open => {}
                _ = blocks.changed() => {}
                _ = transactions.changed() => {}
                () = sleep_until(end) => open = false,
            }
        }
        let mut happened = nothing;
        if let Some(before) = before
            && let Some(after) = self.look().await
        {
            let block = before.tip != after.tip && !before.downloading && !after.downloading;
            // bitcoind tells the transactions of a block, too.
            happened = (block, block || after.mempool > before.mempool);
        }
        let found = judge(nothing);
        if happened != nothing && !(settled(&found.0) && settled(&found.1)) {
            sleep(GRACE).await;
        }
        let (blocks, transactions) = judge(happened);
        self.set(Subject::Blocks, blocks);
        self.set(Subject::Transactions, transactions);
    }

    /// The moment at which this share of the whole time is over.
    fn by(&self, part: u32, whole: u32) -> Instant {
        self.begun + self.options.limit * part / whole
    }

    /// Tip and size of the mempool, where they can be had.
    async fn look(&self) -> Option<Look> {
        let mut session = Client::new(&self.config, self.limits()).session().await.ok()?;
        let chain = session.blockchain_info().await.ok()?;
        let mempool = session.mempool_info().await.ok()?.size;
        Some(Look { tip: chain.best_block, mempool, downloading: chain.initial_block_download })
    }
}
