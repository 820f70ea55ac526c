//! Group `node`: two real LNDs on a real chain, all on this computer, driven and watched by the lnd crate alone.
//!
//! ```text
//!            btcd (simnet)
//!           ╱      │      ╲
//!       alice ◄─► bob ◄─► alice again, from her seed and channel backup
//!         │         │
//!       Client, watchers ─► twin        the twin is looked at after each step
//! ```

mod chain;
mod faults;
pub(crate) mod lab;
mod money;
mod proxy;
mod restore;
mod wallet;

use crate::{
    Context,
    go::BTCD,
    report::{Outcome, Report},
};
use lab::Lab;

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("node")?;
    let Some(btcd) = report.need("btcd is built", || BTCD.get(&context.root)) else { return Ok(()) };
    let log = report.log("build.log");
    let Some(lnd) = report.need("LND is built", || lab::lnd(context, &log)) else { return Ok(()) };
    let logs = report.logs();
    let Some(mut lab) = report.need("a chain and two LNDs start", || Lab::start(&btcd, &lnd, &logs)) else {
        return Ok(());
    };
    let mut go = |name: &str, test: fn(&mut Lab) -> Outcome| report.test(name, || test(&mut lab)).is_some();
    // Each of these stands on the one before.
    let stands = go(
        "a wallet is made from new words, and wrong words, short passwords and a second wallet are refused",
        wallet::new,
    ) && go(
        "the program's own macaroon is baked with its own key, for this user alone",
        wallet::own_macaroon,
    ) && go(
        "a macaroon for an app permits what it should, and is revoked without harm to others",
        wallet::app_macaroon,
    ) && go("a macaroon that LND does not accept is baked again", wallet::refused_macaroon)
        && go("the chain grows and the twin follows: height, balance, transactions", money::chain)
        && go("money sent on the chain arrives, and both twins tell of it", money::fund)
        && go("peers connect, and both twins list them", money::connect)
        && go("a channel opens: blocks left, then active; the backup is handed on within 10 s", money::open);
    if !stands {
        return Ok(());
    }
    go("payments both ways move exactly their millisatoshis", money::pay_both_ways);
    go("the same invoice is never paid twice", money::pay_twice);
    go("a keysend brings its amount once, however often it is sent", money::keysend);
    go("what cannot be paid says why, and costs nothing", money::failures);
    go("a payment on its way shows as HTLC with blocks left on both sides, and ends when settled", money::in_flight);
    go("more than 1,000 invoices are paged through without a gap, and counted", money::paging);
    go("a slow LND is followed all the same, and a silent one has a limit", faults::slow);
    go("LND killed: the last data stay, the source says since when; unlocked, everything comes back", faults::killed);
    go("the wallet's password is changed, and the old one opens nothing", faults::password);
    go("a renewed certificate is followed", faults::certificate);
    go("a channel backup is verified by its own wallet alone, and a damaged one by none", restore::verify);
    go("a channel closes in agreement: blocks left, then its money is back", money::close);
    go("a channel closed by force shows its blocks left until the money is swept", money::force_close);
    go("a second box gets everything back from seed and channel backup", restore::second_box);
    Ok(())
}
