//! Group `fence`: two real LNDs, one older than the other, on the data of one box, and the box's own fence before each start.
//!
//! ```text
//!   slot A  v0.20.1-beta ─┐
//!                         ├─► homebolt_boot::fence ─► LND ─► data/lnd ◄─ channel ─► bob
//!   slot B  v0.21.2-beta ─┘            │
//!                                      └► a sentence, and no LND
//! ```
//! Each start is held against two rules: no LND runs on a database that is newer than it knows, and the channel's commitment
//! number and money never go back. What either program would do without the fence is looked at once, on a copy.

mod cuts;
mod database;
mod device;
mod up;

use std::path::Path;

use crate::{
    Context, bitcoind,
    go::Program,
    node::lab,
    report::{Outcome, Report, ensure},
};
use device::{Stage, System};

/// The LND that boxes come from.
const OLDER: Program = Program {
    module: "older-lnd",
    package: "github.com/lightningnetwork/lnd/cmd/lnd",
    tags: "autopilotrpc chainrpc invoicesrpc monitoring neutrinorpc peersrpc signrpc walletrpc watchtowerrpc \
           wtclientrpc kvdb_postgres kvdb_sqlite kvdb_etcd",
    patience: Some("building LND v0.20.1-beta: 8 minutes on two cores, once"),
};

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("fence")?;
    report.test("LND's unit waits for the health gate, and asks the fence before each start", || unit(&context.root));
    let chain = report.need("there is a bitcoind", || bitcoind::program(context.bitcoind.as_deref()));
    let Some(chain) = chain else { return Ok(()) };
    let Some(older) = report.need("the older LND is built", || OLDER.get(&context.root)) else { return Ok(()) };
    let log = report.log("build.log");
    let Some(newer) = report.need("LND is built", || lab::lnd(context, &log)) else { return Ok(()) };
    let systems = [
        System { version: "v0.20.1-beta", program: older, database: 33 },
        System { version: "v0.21.2-beta", program: newer, database: 35 },
    ];
    let logs = report.logs();
    let stage = report.test("both are what they say they are", || Stage::start(&chain, systems, &logs));
    let Some(mut stage) = stage else { return Ok(()) };
    up::run(report, &mut stage);
    cuts::run(report, &mut stage);
    report.need("everything ends in order", || stage.end());
    Ok(())
}

/// What the scenarios take for granted of the real unit: nothing of LND runs before the commit, and nothing past the fence.
fn unit(root: &Path) -> Outcome {
    let text = std::fs::read_to_string(root.join("systemd/system/lnd.service"))?;
    let value =
        |name: &str| text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect::<Vec<_>>();
    for name in ["After", "Requires"] {
        let names = value(name).join(" ");
        ensure!(names.split(' ').any(|unit| unit == "homebolt-gate.service"), "{name}={names} is without the gate");
    }
    let condition = value("ExecCondition");
    ensure!(condition == ["+/usr/lib/homebolt/homebolt-boot fence"], "the condition is {condition:?}");
    ensure!(value("ExecStartPre").is_empty(), "something runs besides: {:?}", value("ExecStartPre"));
    Ok(())
}
