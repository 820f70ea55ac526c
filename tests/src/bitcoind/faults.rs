//! Everything the wizard's test can find, provoked against real bitcoinds where these can show it.

use std::{
    fs,
    net::UdpSocket,
    process::Command,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bitcoind::{
    Auth, Config, Network, Probe, Zmq,
    probe::{Feed, Finding, Options, State, Subject, What},
};
use serde_json::json;
use tokio::time::sleep;

use super::{
    Lab,
    fakes::{self, Relay},
    found,
    node::{Node, at, local},
    quick, test, try_out,
};
use crate::report::{Outcome, Report, ensure, fails, skip};

/// User `limited` with the password [`FEW`], who may call one thing.
const LIMITED: &str = "limited:0123456789abcdef$4c3d0f17b1142ef06e35ceb4336e7a44fae8197464c97806d4df8e6fd82a4785";
const FEW: &str = "only a few calls";
/// Block 1 of mainnet.
const MAINNET_1: &str = "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000982051fd1e4ba744bbbe680e1fee\
                         14677ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299";
/// 2009, before every block of a local chain.
const LONG_AGO: u64 = 1_231_006_505;

pub(super) async fn run(report: &mut Report, lab: &Lab) {
    try_out(report, "on each of the five networks the first block is the one that we expect", networks(lab)).await;
    let node = async {
        let outside = outside().map(|address| format!("-rpcbind={address}"));
        let mut arguments = vec!["-rpcwhitelistdefault=0", "-rpcwhitelist=limited:getblockchaininfo"];
        let limited = format!("-rpcauth={LIMITED}");
        arguments.push(&limited);
        // Bound, and yet not allowed: only this computer's loopback is.
        arguments.extend(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"]);
        arguments.extend(outside.as_deref());
        let mut node = lab.node("main", Network::Regtest, &arguments)?;
        node.start().await?;
        node.mine(3).await?;
        Ok(node)
    };
    let Some(mut node) = try_out(report, "bitcoind starts", node).await else { return };
    sound(report, &node).await;
    door(report, &node).await;
    zmq(report, &node).await;
    try_out(report, "a test that is dropped hangs up at once", dropped()).await;
    try_out(report, "a stopped bitcoind is told from one that is not there", stopped(&mut node)).await;
    try_out(report, "a bitcoind without ZMQ publishes nothing, and polling is enough", without_zmq(lab)).await;
    past(report, lab).await;
}

async fn networks(lab: &Lab) -> Outcome {
    for network in Network::ALL {
        let mut node = lab.node(network.name(), network, &[])?;
        node.start().await?;
        let findings = test(&node.config()?, quick()).await?;
        found(&findings, Subject::Network, |finding| *finding == Finding::RightNetwork { network })?;
        if network == Network::Mainnet {
            found(&findings, Subject::Peers, |finding| *finding == Finding::NoPeers)?;
            node.call("submitheader", json!([MAINNET_1])).await?;
            let findings = test(&node.config()?, quick()).await?;
            let none = Finding::Synchronizing { permyriad: 0, blocks: 0, headers: 1 };
            found(&findings, Subject::Synchronization, |finding| *finding == none)?;
        }
        node.stop().await?;
    }
    Ok(())
}

async fn sound(report: &mut Report, node: &Node) {
    let name = "a sound bitcoind passes every check, its blocks and transactions are heard, and the progress is seen";
    try_out(report, name, async {
        let mut probe = Probe::start(node.config()?, Options::default());
        let mut feed = probe.subscribe();
        let listening = |subject, report: &bitcoind::probe::Report| {
            matches!(report.finding(subject), Some(Finding::Listening { .. }))
        };
        let both = |report: &_| listening(Subject::Blocks, report) && listening(Subject::Transactions, report);
        seen(&mut feed, both).await?;
        ensure!(probe.report().state() == State::Pending, "it is not pending while it listens");
        // On a busy computer the publisher has not read the subscription yet when the first block comes.
        let mut mined = 0;
        while mined < 6 {
            node.mine(1).await?;
            mined += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let heard = |subject| matches!(probe.report().finding(subject), Some(Finding::Heard { .. }));
            if heard(Subject::Blocks) && heard(Subject::Transactions) {
                break;
            }
        }
        let findings = probe.finished().await;
        for subject in [Subject::Blocks, Subject::Transactions] {
            found(&findings, subject, |finding| matches!(finding, Finding::Heard { .. }))?;
        }
        ensure!(findings.state() == State::Ok, "not all is well: {findings:?}");
        found(
            &findings,
            Subject::Synchronization,
            |finding| matches!(finding, Finding::Synchronized { blocks, .. } if (3..=3 + mined).contains(blocks)),
        )
    })
    .await;
    try_out(report, "on a quiet chain the words say that nothing came and that nothing was to come", async {
        let findings = test(&node.config()?, quick()).await?;
        for (subject, what) in [(Subject::Blocks, What::Blocks), (Subject::Transactions, What::Transactions)] {
            found(
                &findings,
                subject,
                |finding| matches!(finding, Finding::Quiet { what: about, .. } if *about == what),
            )?;
        }
        ensure!(findings.state() == State::Ok, "not all is well: {findings:?}");
        Ok(())
    })
    .await;
}

/// Connection and access.
async fn door(report: &mut Report, node: &Node) {
    let but = |change: &dyn Fn(&mut Config)| -> Outcome<Config> {
        let mut config = node.config()?;
        change(&mut config);
        Ok(config)
    };
    let password = |user: &str, password: &str| Auth::Password { user: user.into(), password: password.into() };
    try_out(report, "a wrong password is called one, and ZMQ is looked at all the same", async {
        let findings = test(&but(&|config| config.auth = password("limited", "wrong"))?, quick()).await?;
        found(&findings, Subject::Access, |finding| *finding == Finding::WrongPassword)?;
        found(&findings, Subject::Blocks, |finding| matches!(finding, Finding::Unproven { .. }))?;
        let skipped = findings.check(Subject::Network).map(|check| check.state);
        ensure!(skipped == Some(State::Skipped), "behind the closed door the network is {skipped:?}");
        found(&findings, Subject::Connection, |finding| matches!(finding, Finding::Answers { .. }))
    })
    .await;
    try_out(report, "a cookie that is missing, unreadable, not one, or of another start is each named so", async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("cookie");
        let findings = async || test(&but(&|config| config.auth = Auth::Cookie(path.clone()))?, quick()).await;
        found(&findings().await?, Subject::Access, |finding| matches!(finding, Finding::NoCookie { .. }))?;
        fs::create_dir(&path)?;
        found(&findings().await?, Subject::Access, |finding| matches!(finding, Finding::CookieUnreadable { .. }))?;
        fs::remove_dir(&path)?;
        fs::write(&path, "rpcuser=alice\nrpcpassword=b\n")?;
        found(&findings().await?, Subject::Access, |finding| matches!(finding, Finding::CookieMalformed { .. }))?;
        fs::write(&path, format!("__cookie__:{}", "0".repeat(64)))?;
        found(&findings().await?, Subject::Access, |finding| matches!(finding, Finding::WrongCookie { .. }))
    })
    .await;
    try_out(report, "an address that rpcallowip leaves out is refused for that", async {
        let Some(address) = outside() else { return skip("this computer has no address but loopback") };
        let rpc = at(&address, node.rpc)?;
        let findings = test(&but(&|config| config.rpc = rpc.clone())?, quick()).await?;
        found(&findings, Subject::Access, |finding| *finding == Finding::AddressForbidden)
    })
    .await;
    try_out(report, "a call that rpcwhitelist leaves out is named", async {
        let findings = test(&but(&|config| config.auth = password("limited", FEW))?, quick()).await?;
        let method = "getblockhash".to_owned();
        found(&findings, Subject::Access, |finding| *finding == Finding::CallForbidden { method: method.clone() })
    })
    .await;
    try_out(report, "another network than the wanted one is named, with its first block", async {
        let findings = test(&but(&|config| config.network = Network::Signet)?, quick()).await?;
        let genesis = Network::Regtest.genesis().to_owned();
        let wrong = Finding::WrongNetwork { expected: Network::Signet, found: "regtest".into(), genesis };
        found(&findings, Subject::Network, |finding| *finding == wrong)
    })
    .await;
    try_out(report, "TLS in between is recognized, for JSON-RPC and for ZMQ", async {
        let port = fakes::tls_terminator(node.rpc).await?;
        let rpc = local(port)?;
        let tls = but(&|config| {
            config.rpc = rpc.clone();
            config.zmq.iter_mut().for_each(|zmq| zmq.blocks = rpc.clone());
        })?;
        let findings = test(&tls, quick()).await?;
        found(&findings, Subject::Connection, |finding| matches!(finding, Finding::Tls { .. }))?;
        found(&findings, Subject::Blocks, |finding| matches!(finding, Finding::NotZmq { .. }))
    })
    .await;
    strangers(report, &but).await;
}

/// Who is not bitcoind: fakes all of them.
async fn strangers(report: &mut Report, but: impl Fn(&dyn Fn(&mut Config)) -> Outcome<Config>) {
    let at_port = async |port| {
        let rpc = local(port)?;
        test(&but(&|config| config.rpc = rpc.clone())?, quick()).await
    };
    try_out(report, "a proxy that answers in bitcoind's place is named (fake)", async {
        let page = "HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nContent-Length: 4\r\n\r\n<h1>".to_owned();
        let findings = at_port(fakes::fake_that_says(page).await?).await?;
        let proxy =
            |finding: &Finding| matches!(finding, Finding::WebServer { status: 502, server, .. } if server == "nginx");
        found(&findings, Subject::Connection, proxy)
    })
    .await;
    try_out(report, "who does not speak HTTP, and who speaks other JSON, is not taken for bitcoind (fakes)", async {
        let findings = at_port(fakes::fake_that_says("SSH-2.0-OpenSSH_9.2\r\n".into()).await?).await?;
        found(&findings, Subject::Connection, |finding| matches!(finding, Finding::NotHttp { .. }))?;
        let other = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}".to_owned();
        let findings = at_port(fakes::fake_that_says(other).await?).await?;
        found(&findings, Subject::Connection, |finding| matches!(finding, Finding::WebServer { status: 200, .. }))?;
        let odd = "{\"result\":{\"chain\":7},\"error\":null,\"id\":1}";
        let odd = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{odd}", odd.len());
        let findings = at_port(fakes::fake_that_says(odd).await?).await?;
        found(&findings, Subject::Connection, |finding| matches!(finding, Finding::NotBitcoind { .. }))
    })
    .await;
    try_out(report, "an answer without end is cut off (fake)", async {
        let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}", " ".repeat(9 << 20));
        let findings = at_port(fakes::fake_that_says(endless).await?).await?;
        let cut = |finding: &Finding| matches!(finding, Finding::CallFailed { what } if what.contains("8388608"));
        found(&findings, Subject::Connection, cut)
    })
    .await;
    try_out(report, "a listener that never answers costs no more than its time (fake)", async {
        let (port, _) = fakes::fake_silent().await?;
        let rpc = local(port)?;
        let silent = but(&|config| {
            config.rpc = rpc.clone();
            config.zmq.iter_mut().for_each(|zmq| zmq.blocks = rpc.clone());
        })?;
        let options = Options { limit: Duration::from_secs(6), ..quick() };
        let findings = test(&silent, options).await?;
        found(&findings, Subject::Connection, |finding| matches!(finding, Finding::TimedOut { seconds: 2, .. }))?;
        found(&findings, Subject::Blocks, |finding| matches!(finding, Finding::NotZmq { .. }))
    })
    .await;
    try_out(report, "a name that nobody knows is named", async {
        let rpc = at("no-such-computer.invalid", 8332)?;
        let findings = test(&but(&|config| config.rpc = rpc.clone())?, quick()).await?;
        found(&findings, Subject::Connection, |finding| matches!(finding, Finding::NameUnknown { .. }))
    })
    .await;
}

/// Blocks and transactions.
async fn zmq(report: &mut Report, node: &Node) {
    let with = |blocks, transactions| -> Outcome<Config> {
        let mut config = node.config()?;
        config.zmq = Some(Zmq { blocks, transactions, sequence: None });
        Ok(config)
    };
    try_out(report, "swapped ports are found, whether or not a block comes", async {
        let config = with(local(node.transactions)?, local(node.blocks)?)?;
        let (findings, mined) = tokio::join!(test(&config, quick()), node.mine(1));
        mined?;
        let findings = findings?;
        for subject in [Subject::Blocks, Subject::Transactions] {
            found(&findings, subject, |finding| matches!(finding, Finding::PortsSwapped { .. }))?;
        }
        Ok(())
    })
    .await;
    try_out(report, "one address for both, and an address for something else, are found", async {
        let same = with(local(node.blocks)?, local(node.blocks)?)?;
        let findings = test(&same, quick()).await?;
        found(&findings, Subject::Blocks, |finding| matches!(finding, Finding::SameAddress { .. }))?;
        let relay = Relay::start(("127.0.0.1", 0), node.blocks).await?;
        let wrong = with(local(node.transactions)?, local(relay.at.port())?)?;
        let findings = test(&wrong, quick()).await?;
        let named = format!("tcp://127.0.0.1:{}", node.blocks);
        let is_named =
            |finding: &Finding| matches!(finding, Finding::Elsewhere { elsewhere, .. } if *elsewhere == named);
        found(&findings, Subject::Blocks, is_named)?;
        found(&findings, Subject::Transactions, |finding| matches!(finding, Finding::PerhapsForwarded { .. }))
    })
    .await;
    try_out(report, "a forwarded port is right once something came from it", async {
        let relay = Relay::start(("127.0.0.1", 0), node.blocks).await?;
        let config = with(local(relay.at.port())?, local(node.transactions)?)?;
        let mut probe = Probe::start(config, quick());
        let mut feed = probe.subscribe();
        let listening = |report: &bitcoind::probe::Report| {
            matches!(report.finding(Subject::Blocks), Some(Finding::Listening { .. }))
        };
        seen(&mut feed, listening).await?;
        node.mine(1).await?;
        found(&probe.finished().await, Subject::Blocks, |finding| matches!(finding, Finding::Heard { .. }))
    })
    .await;
    try_out(report, "a refused address is named with the one that bitcoind publishes on", async {
        let nobody = local(homebolt::qemu::free_port()?)?;
        let findings = test(&with(nobody, local(node.rpc)?)?, quick()).await?;
        let named = format!("tcp://127.0.0.1:{}", node.blocks);
        let refused = |finding: &Finding| {
            matches!(finding, Finding::ZmqUnreachable { elsewhere: Some(elsewhere), .. } if *elsewhere == named)
        };
        found(&findings, Subject::Blocks, refused)?;
        // The other one is the port of JSON-RPC.
        found(&findings, Subject::Transactions, |finding| matches!(finding, Finding::NotZmq { .. }))
    })
    .await;
    try_out(report, "a block of which no message tells proves both silent", async {
        // The ports are those that bitcoind names; the line to them loses everything.
        let relays = [
            Relay::start(("127.0.0.2", node.blocks), node.blocks).await?,
            Relay::start(("127.0.0.2", node.transactions), node.transactions).await?,
        ];
        relays.iter().for_each(Relay::mute);
        let config = with(at("127.0.0.2", node.blocks)?, at("127.0.0.2", node.transactions)?)?;
        let mut probe = Probe::start(config, quick());
        let mut feed = probe.subscribe();
        let listening = |report: &bitcoind::probe::Report| {
            matches!(report.finding(Subject::Transactions), Some(Finding::Listening { .. }))
                && report.check(Subject::Peers).is_some_and(|check| check.state == State::Ok)
        };
        seen(&mut feed, listening).await?;
        sleep(Duration::from_millis(500)).await;
        node.mine(1).await?;
        let findings = probe.finished().await;
        found(&findings, Subject::Blocks, |finding| matches!(finding, Finding::Silent { .. }))?;
        found(&findings, Subject::Transactions, |finding| matches!(finding, Finding::Silent { .. }))
    })
    .await;
}

async fn dropped() -> Outcome {
    let (port, connected) = fakes::fake_silent().await?;
    let zmq = Zmq { blocks: local(port)?, transactions: local(port)?, sequence: None };
    let auth = Auth::Password { user: "a".into(), password: "b".into() };
    let config = Config { rpc: local(port)?, auth, network: Network::Regtest, zmq: Some(zmq) };
    let probe = Probe::start(config, Options::default());
    let end = Instant::now() + Duration::from_secs(5);
    while connected.load(Ordering::SeqCst) < 3 {
        ensure!(Instant::now() < end, "it made {} of 3 connections", connected.load(Ordering::SeqCst));
        sleep(Duration::from_millis(20)).await;
    }
    drop(probe);
    let end = Instant::now() + Duration::from_secs(1);
    while connected.load(Ordering::SeqCst) > 0 {
        ensure!(Instant::now() < end, "{} connections are still open", connected.load(Ordering::SeqCst));
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn stopped(node: &mut Node) -> Outcome {
    // The cookie goes with it; that nobody is there says more.
    node.stop().await?;
    let findings = test(&node.config()?, quick()).await?;
    found(&findings, Subject::Connection, |finding| matches!(finding, Finding::Refused { .. }))?;
    found(&findings, Subject::Blocks, |finding| matches!(finding, Finding::ZmqUnreachable { elsewhere: None, .. }))
}

async fn without_zmq(lab: &Lab) -> Outcome {
    let mut node = lab.node("without-zmq", Network::Regtest, &["-nozmq"])?;
    node.start().await?;
    node.mine(1).await?;
    let findings = test(&node.config()?, quick()).await?;
    let none = |what| move |finding: &Finding| *finding == Finding::NotPublished { what };
    found(&findings, Subject::Blocks, none(What::Blocks))?;
    found(&findings, Subject::Transactions, none(What::Transactions))?;
    let polling = Config { zmq: None, ..node.config()? };
    let findings = test(&polling, quick()).await?;
    found(&findings, Subject::Blocks, |finding| *finding == Finding::Polling)?;
    ensure!(findings.state() == State::Ok, "polling is no fault: {findings:?}");
    Ok(())
}

/// One bitcoind with a past, and one that deletes it, headers first, and starts slowly.
async fn past(report: &mut Report, lab: &Lab) {
    let pair = async {
        let mut whole = lab.node("whole", Network::Regtest, &["-listen=1", "-connect=0"])?;
        whole.start().await?;
        whole.mine(700).await?;
        let peer = format!("-connect=127.0.0.1:{}", whole.p2p);
        let mut pruned = lab.node("pruned", Network::Regtest, &["-prune=1", "-fastprune", &peer])?;
        pruned.start().await?;
        let end = Instant::now() + Duration::from_secs(60);
        while pruned.call("getblockcount", json!([])).await? != json!(700) {
            ensure!(Instant::now() < end, "it does not follow its peer");
            sleep(Duration::from_millis(200)).await;
        }
        pruned.call("pruneblockchain", json!([400])).await?;
        Ok((whole, pruned))
    };
    let Some((mut whole, pruned)) = try_out(report, "a bitcoind follows another and deletes old blocks", pair).await
    else {
        return;
    };
    let old = Options { wallet_birthday: Some(LONG_AGO), ..quick() };
    try_out(report, "deleted blocks matter to an old wallet, less so while a peer has them", async {
        let findings = test(&pruned.config()?, quick()).await?;
        found(&findings, Subject::Pruning, |finding| matches!(finding, Finding::Pruned { height: 100.. }))?;
        let findings = test(&pruned.config()?, old.clone()).await?;
        let helped = |finding: &Finding| matches!(finding, Finding::PrunedTooFar { helpers: 1, height: 100.., .. });
        found(&findings, Subject::Pruning, helped)?;
        let state = |findings: &bitcoind::probe::Report| findings.check(Subject::Pruning).map(|check| check.state);
        ensure!(state(&findings) == Some(State::Warn), "with a helper it is {:?}", state(&findings));
        pruned.call("setnetworkactive", json!([false])).await?;
        sleep(Duration::from_millis(500)).await;
        let findings = test(&pruned.config()?, old.clone()).await?;
        ensure!(state(&findings) == Some(State::Fail), "without a helper it is {:?}", state(&findings));
        let whole = test(&whole.config()?, old.clone()).await?;
        found(&whole, Subject::Pruning, |finding| *finding == Finding::AllBlocks)
    })
    .await;
    try_out(report, "more headers than blocks are 'behind', and on a new one 'synchronizing'", async {
        whole.mine(3).await?;
        pruned.take_headers(&whole, 701..=703).await?;
        let findings = test(&pruned.config()?, quick()).await?;
        let behind = Finding::Behind { blocks: 700, headers: 703 };
        found(&findings, Subject::Synchronization, |finding| *finding == behind)?;
        let mut new = lab.node("new", Network::Regtest, &[])?;
        new.start().await?;
        found(&test(&new.config()?, quick()).await?, Subject::Synchronization, |finding| {
            *finding == Finding::Idle { blocks: 0 }
        })?;
        new.take_headers(&whole, 1..=5).await?;
        let findings = test(&new.config()?, quick()).await?;
        let synchronizing = |finding: &Finding| {
            matches!(finding, Finding::Synchronizing { blocks: 0, headers: 5, permyriad: 0..=1000 })
        };
        found(&findings, Subject::Synchronization, synchronizing)
    })
    .await;
    try_out(report, "one that is still starting is waited for, in its own words", async {
        whole.stop().await?;
        // A file that it reads while it starts gives nothing until it is let: it starts for as long as we like.
        let gate = whole.data().join("fee_estimates.dat");
        if gate.exists() {
            fs::remove_file(&gate)?;
        }
        ensure!(Command::new("mkfifo").arg(&gate).status()?.success(), "no pipe can be made");
        whole.spawn()?;
        let starting = |report: &bitcoind::probe::Report| {
            let words = |finding: &Finding| matches!(finding, Finding::Starting { what, .. } if !what.is_empty());
            report.finding(Subject::Connection).is_some_and(words)
        };
        let end = Instant::now() + Duration::from_secs(30);
        let mut probe = loop {
            let probe = Probe::start(whole.config()?, quick());
            if seen(&mut probe.subscribe(), starting).await.is_ok() {
                break probe;
            }
            ensure!(Instant::now() < end, "it was never seen starting: {:?}", probe.report());
        };
        let state = probe.report().check(Subject::Connection).map(|check| check.state);
        ensure!(state == Some(State::Pending), "while it starts the connection is {state:?}");
        fs::OpenOptions::new().write(true).open(&gate)?;
        let findings = probe.finished().await;
        // At its end it would wait for a reader.
        fs::remove_file(&gate)?;
        found(&findings, Subject::Connection, |finding| matches!(finding, Finding::Answers { .. }))?;
        found(&findings, Subject::Synchronization, |finding| {
            matches!(finding, Finding::Synchronized { blocks: 703, .. })
        })
    })
    .await;
}

/// Waits until the progress shows this.
async fn seen(feed: &mut Feed, wanted: impl Fn(&bitcoind::probe::Report) -> bool) -> Outcome {
    while let Some(report) = feed.next().await {
        if wanted(&report) {
            return Ok(());
        }
    }
    fails("the test ended before this was seen")
}

/// An address of this computer that is not loopback. Nothing is sent to find it.
fn outside() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}
