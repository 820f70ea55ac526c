//! The watcher: what the twin knows of a real bitcoind.

use std::time::Duration;

use bitcoind::{Config, Network, watch};
use serde_json::json;
use tokio::{sync::broadcast, time::Instant};
use twin::{Bitcoin, Reader, SourceHealth, Topic, Twin, bitcoin::ZmqState};

use super::{
    Lab,
    fakes::Relay,
    node::{Node, local},
    try_out,
};
use crate::report::{Outcome, Report, ensure, fails};

/// Far less than what a read at an interval would take: a message brought it.
const AT_ONCE: Duration = Duration::from_secs(12);
const PATIENCE: Duration = Duration::from_secs(60);

/// The twin as seen by a reader who misses no change.
struct Watched {
    reader: Reader,
    changes: broadcast::Receiver<Topic>,
}

impl Watched {
    fn start(config: Config) -> Self {
        let (twin, sender, reader) = Twin::new();
        tokio::spawn(twin.run());
        tokio::spawn(watch::run(config, sender));
        Self { changes: reader.changes(), reader }
    }

    fn bitcoin(&self) -> Bitcoin {
        self.reader.state().bitcoin.clone()
    }

    fn height(&self) -> Option<u64> {
        self.bitcoin().chain.map(|chain| chain.blocks)
    }

    async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Bitcoin, &SourceHealth) -> bool,
    ) -> Outcome {
        let end = Instant::now() + limit;
        loop {
            let state = self.reader.state();
            let health = state.sources.get("bitcoind").cloned().unwrap_or_default();
            if wanted(&state.bitcoin, &health) {
                return Ok(());
            }
            // Lagging is no fault here: the state is looked at whole.
            if tokio::time::timeout_at(end, self.changes.recv()).await.is_err() {
                return fails(format!("not seen in {limit:?}: {what}; the twin has {:?}, {health:?}", state.bitcoin));
            }
        }
    }
}

fn height(bitcoin: &Bitcoin) -> u64 {
    bitcoin.chain.as_ref().map_or(0, |chain| chain.blocks)
}

/// The watcher with a line to the publishers that loses what it is told to.
async fn through_relays(node: &Node) -> Outcome<(Watched, [Relay; 2])> {
    let relays =
        [Relay::start(("127.0.0.1", 0), node.blocks).await?, Relay::start(("127.0.0.1", 0), node.transactions).await?];
    let mut config = node.config()?;
    if let Some(zmq) = &mut config.zmq {
        (zmq.blocks, zmq.transactions) = (local(relays[0].at.port())?, local(relays[1].at.port())?);
        zmq.sequence = None;
    }
    let mut watched = Watched::start(config);
    let subscribed = |bitcoin: &Bitcoin, _: &SourceHealth| {
        let states = [&bitcoin.zmq.blocks, &bitcoin.zmq.transactions].map(|topic| topic.state);
        bitcoin.chain.is_some() && states.iter().all(|state| matches!(state, ZmqState::Subscribed | ZmqState::Live))
    };
    watched.until(PATIENCE, "both subscriptions", subscribed).await?;
    Ok((watched, relays))
}

pub(super) async fn run(report: &mut Report, lab: &Lab) {
    let begin = async {
        let mut node = lab.node("watched", Network::Regtest, &[])?;
        node.start().await?;
        node.call("createwallet", json!(["test"])).await?;
        let address = node.call("getnewaddress", json!([])).await?;
        node.call("generatetoaddress", json!([101, address])).await?;
        let mut watched = Watched::start(node.config()?);
        let read = |bitcoin: &Bitcoin, health: &SourceHealth| {
            let zmq = [&bitcoin.zmq.blocks, &bitcoin.zmq.transactions, &bitcoin.zmq.sequence];
            // Late news of what was mined before the subscription may still come.
            let subscribed = zmq.iter().all(|topic| matches!(topic.state, ZmqState::Subscribed | ZmqState::Live));
            height(bitcoin) == 101 && health.connected && subscribed
        };
        watched.until(PATIENCE, "block 101 and three subscriptions", read).await?;
        let bitcoin = watched.bitcoin();
        let chain = bitcoin.chain.unwrap_or_default();
        ensure!(chain.network == "regtest" && chain.tip.len() == 64 && chain.headers == 101, "the chain is {chain:?}");
        ensure!(bitcoin.software.version >= 210_000, "its version is {:?}", bitcoin.software);
        ensure!(bitcoin.mempool.minimum_fee.0 > 0, "its mempool is {:?}", bitcoin.mempool);
        Ok((node, watched))
    };
    let begun = try_out(report, "the twin knows chain, software and mempool of a real bitcoind", begin).await;
    let Some((mut node, mut watched)) = begun else { return };
    try_out(report, "a new block and a new transaction reach the twin at once", async {
        node.mine(1).await?;
        watched.until(AT_ONCE, "block 102", |bitcoin, _| height(bitcoin) == 102).await?;
        let address = node.call("getnewaddress", json!([])).await?;
        node.call("sendtoaddress", json!([address, 0.5])).await?;
        let waiting = |bitcoin: &Bitcoin, _: &SourceHealth| bitcoin.mempool.transactions == 1;
        watched.until(AT_ONCE, "one transaction that waits", waiting).await?;
        let zmq = watched.bitcoin().zmq;
        let live = [&zmq.blocks, &zmq.transactions, &zmq.sequence].map(|topic| (topic.state, topic.missed));
        ensure!(live == [(ZmqState::Live, 0); 3], "the subscriptions are {zmq:?}");
        Ok(())
    })
    .await;
    try_out(
        report,
        "while bitcoind is away the twin keeps what it knew, and follows it again when it is back",
        async {
            node.stop().await?;
            let gone = |bitcoin: &Bitcoin, health: &SourceHealth| {
                !health.connected && bitcoin.zmq.blocks.state == ZmqState::Lost && bitcoin.zmq.blocks.error.is_some()
            };
            watched.until(PATIENCE, "that it is gone", gone).await?;
            ensure!(watched.height() == Some(102), "what was known is gone: {:?}", watched.bitcoin());
            node.start().await?;
            let back = |bitcoin: &Bitcoin, health: &SourceHealth| {
                health.connected && matches!(bitcoin.zmq.blocks.state, ZmqState::Subscribed | ZmqState::Live)
            };
            watched.until(PATIENCE, "that it is back", back).await?;
            node.mine(1).await?;
            watched.until(AT_ONCE, "block 103", |bitcoin, _| height(bitcoin) == 103).await
        },
    )
    .await;
    try_out(report, "messages that are lost on the way are counted, and what they told is read", async {
        let (mut watched, relays) = through_relays(&node).await?;
        node.mine(1).await?;
        watched.until(AT_ONCE, "block 104", |bitcoin, _| height(bitcoin) == 104).await?;
        relays[0].lose(2);
        node.mine(2).await?;
        let end = Instant::now() + AT_ONCE;
        while !relays[0].lost_all() {
            ensure!(Instant::now() < end, "the messages to lose did not come");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        node.mine(1).await?;
        let counted = |bitcoin: &Bitcoin, _: &SourceHealth| height(bitcoin) == 107 && bitcoin.zmq.blocks.missed == 2;
        watched.until(AT_ONCE, "block 107 and two lost messages", counted).await
    })
    .await;
    try_out(report, "another chain than the wanted one is not taken into the twin", async {
        let mut watched = Watched::start(Config { network: Network::Signet, ..node.config()? });
        let said = |_: &Bitcoin, health: &SourceHealth| {
            health.error.as_ref().is_some_and(|error| error.contains("\"regtest\"") && error.contains("\"signet\""))
        };
        watched.until(PATIENCE, "the sentence about the chain", said).await?;
        ensure!(watched.height().is_none(), "the other chain is in the twin: {:?}", watched.bitcoin());
        Ok(())
    })
    .await;
}

/// A line that loses everything: by the next reads it is known that a block was not told.
pub(super) async fn silence(lab: Lab) -> Outcome {
    let mut node = lab.node("silence", Network::Regtest, &[])?;
    node.start().await?;
    node.mine(1).await?;
    let (mut watched, relays) = through_relays(&node).await?;
    relays.iter().for_each(Relay::mute);
    node.mine(1).await?;
    let silent = |bitcoin: &Bitcoin, _: &SourceHealth| {
        height(bitcoin) == 2
            && bitcoin.zmq.blocks.state == ZmqState::Silent
            && bitcoin.zmq.transactions.state == ZmqState::Silent
    };
    watched.until(3 * watch::RESYNC, "that both are silent", silent).await?;
    relays[0].lose(0);
    node.mine(1).await?;
    watched.until(AT_ONCE, "that blocks come again", |bitcoin, _| bitcoin.zmq.blocks.state == ZmqState::Live).await
}
