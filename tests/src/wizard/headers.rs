//! A system that brings the headers of a chain: the wizard says so, and the real LND takes them at its first start, with
//! nobody else to ask.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ::bitcoind::Network;
use release::HeadersKind;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::SOON;
use crate::{
    bitcoind::node::Node as Bitcoind,
    manager::{Manager, sound},
    report::{Fault, Outcome, Report, ensure, until},
    road,
    root::FakeRoot,
    visitor,
};

/// Height of the last header that is brought, and how many blocks came later.
const BROUGHT: u32 = 200;
const LATER: u32 = 5;
/// The bytes by which a network is known: regtest's.
const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

pub(super) fn run(report: &mut Report, programs: (&Path, &Path, &Path)) {
    let logs = report.logs();
    report.test(
        "headers that the system brings are said by the wizard and taken by LND, which then asks for the rest",
        || taken(programs, &logs),
    );
}

fn taken((program, lnd, bitcoind): (&Path, &Path, &Path), logs: &Path) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let arguments =
        ["-rpcuser=homebolt", "-rpcpassword=homebolt", "-listen=1", "-blockfilterindex=1", "-peerblockfilters=1"];
    let mut chain = Bitcoind::new(bitcoind, logs, "headers", Network::Regtest, &arguments)?;
    runtime.block_on(chain.start())?;
    runtime.block_on(chain.mine(BROUGHT))?;
    let mut folder = PathBuf::new();
    let manager = Manager::start_on(program, &logs.join("manager-headers.log"), &sound(), |box_| {
        folder = box_.join("headers");
        bring(&chain, &runtime, &folder)
    })?;
    runtime.block_on(chain.mine(LATER))?;
    // Who takes a connection and says nothing is nobody to ask.
    runtime.block_on(chain.call("setnetworkactive", json!([false])))?;
    let log = logs.join("lnd-headers.log");
    let root = FakeRoot::start(manager.folder(), lnd, &log);
    let claim = visitor::claim(&manager.tls(), &manager.code()?)?;
    let owner = manager.tls().with_session(&visitor::set_password(&manager.tls(), &claim)?);
    road::first_steps(&owner)?;
    let page = owner.get("/setup/bitcoin")?.text();
    ensure!(page.contains(&format!("up to block {BROUGHT} of regtest")), "the step says {}", road::words_of(&page));
    let form = vec![
        ("backend", "neutrino".to_owned()),
        ("peers", format!("127.0.0.1:{}", chain.p2p)),
        ("chain", "regtest".to_owned()),
        ("headers", "yes".to_owned()),
        ("fee_url", String::new()),
    ];
    let page = road::tried(&owner, &form)?;
    ensure!(page.contains(&format!("up to block {BROUGHT};")), "the test says {}", road::words_of(&page));
    let answer = owner.post("/setup/bitcoin/use", &[])?;
    ensure!(answer.location() == "/setup/wallet", "it leads to {:?}", answer.location());
    let conf = || Ok::<_, Fault>(fs::read_to_string(manager.folder().join("config/lnd.conf"))?);
    let expected = format!("neutrino.blockheaderssource={}", folder.join("block_headers.bin").display());
    ensure!(conf()?.contains(&expected), "LND is told\n{}", conf()?);
    until(SOON, || {
        let said = fs::read_to_string(&log)?;
        ensure!(said.contains("Headers import completed"), "LND has taken no headers");
        ensure!(said.contains(&format!("from height 0 to {BROUGHT} ")), "LND has taken others:\n{said}");
        Ok(())
    })?;
    road::seed(&owner)?;
    road::apply(&owner)?;
    // With nobody to ask it knows what it was brought.
    height(&owner, BROUGHT)?;
    until(SOON, || {
        ensure!(!conf()?.contains("headerssource"), "LND would look at them at each start:\n{}", conf()?);
        Ok(())
    })?;
    runtime.block_on(chain.call("setnetworkactive", json!([true])))?;
    height(&owner, BROUGHT + LATER)?;
    root.restart_lnd()?;
    until(SOON, || {
        let page = owner.get("/home")?.text();
        ensure!(page.contains("LND runs and takes part"), "the page says {}", road::words_of(&page));
        Ok(())
    })?;
    let said = fs::read_to_string(&log)?;
    ensure!(said.matches("Headers import completed").count() == 1, "LND has looked at them again");
    drop(root);
    runtime.block_on(chain.stop())
}

fn height(owner: &crate::http::Client, wanted: u32) -> Outcome {
    until(SOON, || {
        let answer = owner.get("/api/v1/node")?;
        let node: Value = serde_json::from_slice(&answer.body)?;
        ensure!(node["height"] == wanted, "the node says {node}, not {wanted}");
        Ok(())
    })
}

/// Writes both files as LND imports them, from a bitcoind that keeps filters.
fn bring(chain: &Bitcoind, runtime: &Runtime, folder: &Path) -> Outcome {
    fs::create_dir_all(folder)?;
    let head = |kind: u8| [&MAGIC[..], &[0, kind], &[0; 4]].concat();
    let (mut blocks, mut filters) = (head(0), head(1));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for height in 0..=BROUGHT {
        let hash = runtime.block_on(chain.call("getblockhash", json!([height])))?;
        let header = runtime.block_on(chain.call("getblockheader", json!([hash, false])))?;
        blocks.extend(hex::decode(text(&header))?);
        // The index of filters is a moment behind.
        let filter = until(SOON, || runtime.block_on(chain.call("getblockfilter", json!([hash]))))?;
        // Shown the other way round, as all hashes are.
        filters.extend(hex::decode(text(&filter["header"]))?.iter().rev());
    }
    fs::write(folder.join(HeadersKind::Block.file_name()), blocks)?;
    fs::write(folder.join(HeadersKind::Filter.file_name()), filters)?;
    Ok(())
}
