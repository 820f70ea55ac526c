//! Group `api`: a program with a key does over `/api/v1` what a person does on the pages, from the setup of a new box on,
//! with two real LNDs on a real chain.
//!
//! ```text
//!  program ─ key ─► manager ─ gRPC ─► LND (alice) ◄──channel──► LND (bob)
//!  schemathesis ──────┘                   └─► bitcoind ◄─────────┘
//! ```

mod contract;
mod guard;
mod house;
mod lab;
mod lnurl;
mod money;
mod once;
mod owner;
mod setup;

use crate::{
    Context,
    node::lab as node_lab,
    pages,
    report::{Outcome, Report},
};
use lab::Lab;

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("api")?;
    let log = report.log("build.log");
    let Some(program) = report.need("the manager is built", || pages::build(context)) else { return Ok(()) };
    let Some(lnd) = report.need("LND is built", || node_lab::lnd(context, &log)) else { return Ok(()) };
    let named = context.bitcoind.as_deref();
    let Some(bitcoind) = report.need("there is a bitcoind", || crate::bitcoind::program(named)) else { return Ok(()) };
    let logs = report.logs();
    let lab = report.need("a chain, a node and a new box start", || Lab::start(&program, &lnd, &bitcoind, &logs));
    let Some(mut lab) = lab else { return Ok(()) };
    let mut go = |name: &str, test: fn(&mut Lab) -> Outcome| report.test(name, || test(&mut lab)).is_some();
    go("the owner makes keys on the page, and each opens what its scopes say", guard::scopes);
    let is_set_up = go("a program leads a new box through the setup, to a running node", setup::run);
    if !is_set_up {
        return lab.end();
    }
    go("a session reads, and changes nothing when a foreign page asks", guard::session);
    let stands = go("an address of the API gets money, and the balance tells", money::fund)
        && go("a channel opens once, however often it is asked for", money::open);
    go("what the settings' pages set, the API sets, and the pages show it", house::settings);
    go("the box is looked at and commanded over the API, within a key's scopes", house::machine);
    go("sessions are listed and ended over the API", house::sessions);
    if stands {
        go("an invoice is paid over the API, to the millisatoshi", money::pay);
        go("an invoice of the API is paid by the other node", money::receive);
        go("what cannot be paid says why by a code, and costs nothing", money::refused);
        go("a Lightning address is paid over the API, once, and a service that lies is not", lnurl::run);
        go("the copies of the channel backup are told and read back on demand", house::copies);
        go("a phone is paired and ended over the API, and may no more than its key", house::phones);
        go("twelve tries at once under one Idempotency-Key pay once", once::same_key);
        go("twelve tries at once with one ticket pay once", once::same_ticket);
        go("after a power cut the same Idempotency-Key pays nothing again", once::power_cut);
        go("a key pays no more at once, and in a day, than its limits", once::limits);
        go("long lists are paged without a gap", money::paging);
        go("changes come as events, and the stream ends with its key", guard::events);
        go("the figures for Prometheus are those of the node", guard::figures);
        go("the wallet is opened by its password, which is sealed again", setup::unlock);
        go("with LND away everything is still told, with the time it is of, and nothing is done", guard::away);
    }
    if stands {
        go("the channel closes over the API, and its money is back", money::close);
    }
    go("a key is made for another program, with the owner's password, and revoked", owner::keys);
    go("with the second factor on the password alone changes nothing", owner::factor);
    // It tries everything, and closes every channel it hears of.
    report.test("schemathesis finds no answer that the document does not describe, and no 5xx", || {
        contract::run(&mut lab, &logs)
    });
    report.test("a second box gets its money back from the seed, over the API", || {
        setup::restore(&mut lab, &program, &lnd, &logs)
    });
    report.test("no secret of the run is in the manager's files or in a log", || guard::secrets(&lab, &logs));
    lab.end()
}
