//! Money on the chain and in channels. Every amount is looked at in the twin, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use lnd::{
    ChannelPoint, Error, Preimage,
    client::{CloseChannel, ClosedHow, NewInvoice, OpenChannel, OpenTo, Pay, PayTo, Progress},
    types::FeeRate,
};
use twin::{
    MilliSat, Sat,
    node::{Balances, ClosingKind, Direction, Invoice, InvoiceState, NEWEST, PaymentFailure, PaymentState},
};

use super::lab::{Lab, Node, PASSWORD};
use crate::report::{Fault, Outcome, ensure, fails, until};

/// What a channel of these tests holds.
const CAPACITY: Sat = Sat::new(1_000_000);
/// Bitcoin gives SegWit to simnet at block 300, and rewards after 100 blocks.
const BLOCKS: u32 = 450;

fn msat(amount: u64) -> MilliSat {
    MilliSat::new(amount)
}

fn invoice_of(amount: Option<MilliSat>, memo: &str) -> NewInvoice {
    NewInvoice { amount, memo: memo.into(), expiry: Duration::from_secs(3600), private: false }
}

fn pay_to(request: &str, amount: Option<MilliSat>) -> Pay {
    let to = PayTo::Invoice { request: request.into(), amount };
    Pay { to, fee_limit: msat(1_000), timeout: Duration::from_secs(30) }
}

async fn paid(payer: &Node, pay: &Pay) -> Outcome<Progress> {
    let progress = payer.client().pay(pay).await?.end().await?;
    ensure!(progress.payment.state == PaymentState::Succeeded, "{} paid: {progress:?}", payer.name);
    Ok(progress)
}

pub(super) fn chain(lab: &mut Lab) -> Outcome {
    let address = lab.run(async {
        let client = lab.alice.client();
        until_ok(async || client.new_address().await).await
    })?;
    // btcd starts anew to mine for an address. An LND that is connected meanwhile now and then waits for ever for an answer
    // of the old one ("Received unexpected reply").
    for node in [&mut lab.alice, &mut lab.bob] {
        node.kill()?;
    }
    lab.chain.mine_for(&address)?;
    lab.chain.mine(BLOCKS - 1)?;
    for node in [&mut lab.alice, &mut lab.bob] {
        node.run()?;
        node.unlock(PASSWORD)?;
    }
    // What LND's wallet counts ages of coins from is the last block that btcd told it, and btcd has not told it those
    // that were there before: without one more, no reward would be old enough.
    lab.mine(1)?;
    let mature = Sat::new((u64::from(BLOCKS) - 100) * 5_000_000_000);
    lab.alice.until("the rewards", |state| {
        let node = &state.node;
        ensure!(node.balances.confirmed >= mature, "the wallet has {}", node.balances.confirmed);
        ensure!(node.transactions.total == u64::from(BLOCKS), "{} transactions", node.transactions.total);
        let newest = &node.transactions.newest;
        ensure!(newest.len() == NEWEST, "{} of them are kept", newest.len());
        let heights: Vec<_> = newest.iter().filter_map(|transaction| transaction.height).collect();
        ensure!(heights.is_sorted_by(|newer, older| newer > older), "they are not newest first: {heights:?}");
        ensure!(heights.first() == Some(&BLOCKS), "the newest is of block {:?}", heights.first());
        let info = &node.info;
        ensure!(!info.block_hash.is_empty() && info.block_time > 0, "the newest block is {info:?}");
        Ok(())
    })?;
    let paged = lab.run(async {
        let mut paged = Vec::new();
        loop {
            let page = lab.alice.client().transactions(u32::try_from(paged.len())?, 100).await?;
            if page.is_empty() {
                return Ok(paged);
            }
            paged.extend(page.into_iter().map(|transaction| transaction.height));
        }
    })?;
    ensure!(paged.iter().copied().eq((1..=BLOCKS).map(Some)), "page by page their heights are {paged:?}");
    Ok(())
}

/// Tries again while LND says that it is still starting.
async fn until_ok<T>(attempt: impl AsyncFn() -> Result<T, Error>) -> Outcome<T> {
    let end = Instant::now() + super::lab::SOON;
    loop {
        match attempt().await {
            Err(Error::Starting) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(300)).await,
            outcome => return Ok(outcome?),
        }
    }
}

pub(super) fn fund(lab: &mut Lab) -> Outcome {
    let amount = Sat::new(150_000_000);
    let txid = lab.run(async {
        let address = lab.bob.client().new_address().await?;
        let fee = lab.alice.client().estimate_fee(&address, amount, 6).await?;
        ensure!(fee > Sat::ZERO && fee < Sat::new(100_000), "the fee is estimated at {fee}");
        // Not more than there can be, which is another refusal.
        let too_much = Sat::new(5_000_000_000 * 100_000);
        match lab.alice.client().send_coins(&address, Some(too_much), FeeRate::SatPerVbyte(2), "").await {
            Err(Error::InsufficientBalance { .. }) => {}
            other => return fails(format!("too much money: {other:?}")),
        }
        Ok(lab.alice.client().send_coins(&address, Some(amount), FeeRate::SatPerVbyte(2), "for bob").await?)
    })?;
    lab.bob.until("the money unconfirmed", |state| {
        let first = state.node.transactions.newest.first().cloned().unwrap_or_default();
        ensure!(state.node.balances.unconfirmed == amount, "unconfirmed are {}", state.node.balances.unconfirmed);
        ensure!(first.txid == txid && first.height.is_none(), "the newest is {first:?}");
        Ok(())
    })?;
    lab.mine(1)?;
    lab.bob.until("the money confirmed", |state| {
        ensure!(state.node.balances.confirmed == amount, "confirmed are {}", state.node.balances.confirmed);
        Ok(())
    })?;
    lab.alice.until("what was sent", |state| {
        let sent = state.node.transactions.newest.iter().find(|transaction| transaction.txid == txid);
        let Some(sent) = sent else { return fails("it is not among the newest") };
        ensure!(sent.direction == Direction::Out && sent.label == "for bob", "it is {sent:?}");
        let cost = amount.checked_add(sent.fee);
        ensure!(cost == Some(sent.amount) && sent.fee > Sat::ZERO, "{} with a fee of {}", sent.amount, sent.fee);
        Ok(())
    })
}

pub(super) fn connect(lab: &mut Lab) -> Outcome {
    let bob = lab.bob.address()?;
    lab.run(async {
        let client = lab.alice.client();
        client.connect_peer(&bob).await?;
        match client.connect_peer(&bob).await {
            Err(Error::PeerConnected) => Ok(()),
            other => fails(format!("connecting again: {other:?}")),
        }
    })?;
    for (one, other, inbound) in [(&lab.alice, &lab.bob, false), (&lab.bob, &lab.alice, true)] {
        let pubkey = other.info().pubkey.clone();
        one.until("the peer", |state| {
            let peers = &state.node.peers;
            ensure!(peers.len() == 1, "{} has {} peers", one.name, peers.len());
            ensure!(peers[0].pubkey == pubkey && peers[0].inbound == inbound, "{} has {:?}", one.name, peers[0]);
            Ok(())
        })?;
    }
    Ok(())
}

/// Opens a channel from one to the other and gives it when it is active on both sides.
pub(super) fn open_channel(lab: &Lab, from: &Node, to: &Node) -> Outcome<ChannelPoint> {
    let open = OpenChannel {
        node: to.info().pubkey.parse()?,
        amount: OpenTo::Amount(CAPACITY),
        push: Sat::ZERO,
        fee: FeeRate::SatPerVbyte(2),
        private: false,
        memo: "test".into(),
    };
    let (point, mut openings) = from.block_on(async { Ok(from.client().open_channel(&open).await?) })?;
    let name = point.to_string();
    for node in [from, to] {
        node.until("the channel opening", |state| {
            let opening = state.node.channels.opening.iter().find(|opening| opening.point == name);
            let Some(opening) = opening else { return fails(format!("{} does not have it", node.name)) };
            ensure!(opening.capacity == CAPACITY, "its capacity is {}", opening.capacity);
            ensure!(opening.blocks_left > 0, "it has {} blocks left", opening.blocks_left);
            ensure!(opening.initiator == (node.name == from.name), "{} is its initiator", node.name);
            Ok(())
        })?;
    }
    lab.mine(6)?;
    from.block_on(async {
        while openings.next().await?.is_some() {}
        Ok(())
    })?;
    for node in [from, to] {
        node.until("the channel active", |state| {
            let channels = &state.node.channels;
            let channel = channels.open.iter().find(|channel| channel.point == name);
            let Some(channel) = channel else { return fails(format!("{} has {channels:?}", node.name)) };
            ensure!(channel.active, "{} has it inactive", node.name);
            ensure!(channel.initiator == (node.name == from.name), "{} is its initiator", node.name);
            ensure!(channels.opening.is_empty(), "it still opens");
            Ok(())
        })?;
    }
    Ok(point)
}

pub(super) fn open(lab: &mut Lab) -> Outcome {
    let before = lab.alice.watching.backup.borrow().clone();
    let Some(before) = before else { return fails("no backup was handed on though LND runs") };
    ensure!(before.blob.channels.is_empty(), "there are channels in the first backup");
    let mut backups = lab.alice.watching.backup.clone();
    let told = lab.runtime.spawn(async move {
        let begun = Instant::now();
        let found = backups.wait_for(|backup| backup.as_ref().is_some_and(|backup| !backup.blob.channels.is_empty()));
        let _ = found.await;
        (begun, Instant::now())
    });
    let begun = Instant::now();
    let point = open_channel(lab, &lab.alice, &lab.bob)?;
    let opened_within = begun.elapsed();
    let (_, handed) = lab.run(async { Ok(tokio::time::timeout(Duration::from_secs(10), told).await??) })?;
    ensure!(
        handed - begun < opened_within + Duration::from_secs(10),
        "the backup came {} s after the request to open",
        (handed - begun).as_secs()
    );
    let latest = lab.alice.watching.backup.borrow().clone();
    let Some(latest) = latest else { return fails("there is no backup") };
    ensure!(latest.blob.channels == [point], "the backup has {:?}", latest.blob.channels);
    lab.alice.until("the backup", |state| {
        let backup = &state.node.backup;
        ensure!(backup.channels == 1 && backup.hash == latest.hash, "it has {:?}", **backup);
        Ok(())
    })?;
    lab.alice.until("the balance of the channel", |state| {
        let balances = &state.node.balances;
        ensure!(balances.local > msat(900_000_000), "local are {}", balances.local);
        ensure!(balances.remote == MilliSat::ZERO, "remote are {}", balances.remote);
        Ok(())
    })
}

/// Balances of both, once nothing is on its way.
fn balances(lab: &Lab) -> Outcome<(Balances, Balances)> {
    lab.run(async { Ok((lab.alice.client().balances().await?, lab.bob.client().balances().await?)) })
}

/// That the twins show `amount` gone from one to the other since `before`, to the millisatoshi.
fn moved(lab: &Lab, before: (Balances, Balances), to_bob: bool, amount: MilliSat) -> Outcome {
    let expect =
        |start: MilliSat, gains: bool| if gains { start.checked_add(amount) } else { start.checked_sub(amount) };
    for (node, start, gains) in [(&lab.alice, before.0, !to_bob), (&lab.bob, before.1, to_bob)] {
        node.until("the balance", |state| {
            let now = &state.node.balances;
            ensure!(
                Some(now.local) == expect(start.local, gains) && Some(now.remote) == expect(start.remote, !gains),
                "{} had {} and {}, now {} and {}, for {amount}",
                node.name,
                start.local,
                start.remote,
                now.local,
                now.remote
            );
            Ok(())
        })?;
    }
    Ok(())
}

pub(super) fn pay_both_ways(lab: &mut Lab) -> Outcome {
    for (to_bob, amount) in [(true, msat(123_456_789)), (false, msat(23_456_001))] {
        let (payer, payee) = if to_bob { (&lab.alice, &lab.bob) } else { (&lab.bob, &lab.alice) };
        let before = balances(lab)?;
        let (made, progress) = lab.run(async {
            let made = payee.client().add_invoice(invoice_of(Some(amount), "a test")).await?;
            let request = payer.client().decode(&made.request).await?;
            ensure!(request.amount == Some(amount) && request.description == "a test", "decoded: {request:?}");
            ensure!(request.hash.to_string() == made.hash, "another hash: {request:?}");
            ensure!(request.destination.to_string() == payee.info().pubkey, "another payee: {request:?}");
            Ok((made.clone(), paid(payer, &pay_to(&made.request, None)).await?))
        })?;
        ensure!(progress.payment.amount == amount, "paid were {}", progress.payment.amount);
        ensure!(progress.payment.fee == MilliSat::ZERO, "a direct channel took {}", progress.payment.fee);
        let proof = progress.preimage.map(|preimage| preimage.hash().to_string());
        ensure!(proof.as_deref() == Some(made.hash.as_str()), "the preimage is of {proof:?}");
        moved(lab, before, to_bob, amount)?;
        payee.until("the invoice settled", |state| {
            let invoices = &state.node.invoices;
            let settled = invoices.newest.iter().find(|invoice| invoice.hash == made.hash).cloned().unwrap_or_default();
            ensure!(settled.state == InvoiceState::Settled && settled.paid == amount, "it is {settled:?}");
            ensure!(
                invoices.settled == 1 && invoices.received == amount,
                "received: {} in {}",
                invoices.received,
                invoices.settled
            );
            Ok(())
        })?;
        payer.until("the payment", |state| {
            let payments = &state.node.payments;
            let first = payments.newest.first().cloned().unwrap_or_default();
            ensure!(first.hash == made.hash && first.state == PaymentState::Succeeded, "the newest is {first:?}");
            ensure!(
                payments.succeeded == 1 && payments.sent == amount,
                "sent: {} in {}",
                payments.sent,
                payments.succeeded
            );
            Ok(())
        })?;
    }
    // The payer chooses.
    let before = balances(lab)?;
    lab.run(async {
        let open = lab.bob.client().add_invoice(invoice_of(None, "a gift")).await?;
        paid(&lab.alice, &pay_to(&open.request, Some(msat(5_001)))).await
    })?;
    moved(lab, before, true, msat(5_001))
}

pub(super) fn pay_twice(lab: &mut Lab) -> Outcome {
    let amount = msat(7_000_000);
    let before = balances(lab)?;
    let counted = lab.alice.state().node.payments.total;
    lab.run(async {
        let made = lab.bob.client().add_invoice(invoice_of(Some(amount), "once")).await?;
        let pay = pay_to(&made.request, None);
        // A double click: two at the same moment, and one more when it is done.
        let (one, two) = tokio::join!(lab.alice.client().pay(&pay), lab.alice.client().pay(&pay));
        let (began, refused): (Vec<_>, Vec<_>) = [one, two].into_iter().partition(Result::is_ok);
        ensure!(began.len() == 1 && refused.len() == 1, "{} of two began", began.len());
        for paying in began.into_iter().flatten() {
            let end = paying.end().await?;
            ensure!(end.payment.state == PaymentState::Succeeded, "it ended as {end:?}");
        }
        for refusal in refused {
            let error = refusal.err();
            ensure!(matches!(error, Some(Error::InTransition | Error::AlreadyPaid)), "the second: {error:?}");
        }
        match lab.alice.client().pay(&pay).await {
            Err(Error::AlreadyPaid) => {}
            other => return fails(format!("the third: {:?}", other.err())),
        }
        let tracked = lab.alice.client().track(made.hash.parse()?).await?.end().await?;
        ensure!(tracked.payment.amount == amount, "tracked: {tracked:?}");
        match lab.alice.client().track(lnd::Hash::new([9; 32])).await {
            Err(Error::NotFound("payment")) => Ok(()),
            other => fails(format!("a payment that never was: {:?}", other.err())),
        }
    })?;
    moved(lab, before, true, amount)?;
    lab.alice.until("one payment more", |state| {
        ensure!(state.node.payments.total == counted + 1, "{} payments, {counted} before", state.node.payments.total);
        Ok(())
    })
}

pub(super) fn keysend(lab: &mut Lab) -> Outcome {
    let amount = msat(2_000_123);
    let before = balances(lab)?;
    let preimage = Preimage::new([42; 32]);
    let node = lab.bob.info().pubkey.parse()?;
    let records = BTreeMap::from([(65_537, b"hello".to_vec())]);
    let to = PayTo::Keysend { node, amount, preimage, records };
    let pay = Pay { to, fee_limit: msat(1_000), timeout: Duration::from_secs(30) };
    lab.run(async {
        let end = paid(&lab.alice, &pay).await?;
        ensure!(end.payment.hash == preimage.hash().to_string(), "another hash: {end:?}");
        match lab.alice.client().pay(&pay).await {
            Err(Error::AlreadyPaid) => Ok(()),
            other => fails(format!("sent again: {:?}", other.err())),
        }
    })?;
    moved(lab, before, true, amount)?;
    lab.bob.until("the keysend as an invoice", |state| {
        let first = state.node.invoices.newest.first().cloned().unwrap_or_default();
        ensure!(first.keysend && first.paid == amount, "the newest is {first:?}");
        Ok(())
    })
}

pub(super) fn failures(lab: &mut Lab) -> Outcome {
    let before = balances(lab)?;
    let failed = lab.alice.state().node.payments.failed;
    lab.run(async {
        let client = lab.alice.client();
        let much = lab.bob.client().add_invoice(invoice_of(Some(msat(1_900_000_000)), "too much")).await?;
        let end = client.pay(&pay_to(&much.request, None)).await?.end().await?;
        let expected = PaymentState::Failed(PaymentFailure::InsufficientBalance);
        ensure!(end.payment.state == expected && end.preimage.is_none(), "too much: {end:?}");
        let nobody = "02".to_owned() + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let to = PayTo::Keysend {
            node: nobody.parse()?,
            amount: msat(1000),
            preimage: Preimage::new([43; 32]),
            records: BTreeMap::new(),
        };
        let pay = Pay { to, fee_limit: msat(1_000), timeout: Duration::from_secs(10) };
        match client.pay(&pay).await {
            Ok(paying) => {
                let end = paying.end().await?;
                let expected = PaymentState::Failed(PaymentFailure::NoRoute);
                ensure!(end.payment.state == expected, "to nobody: {end:?}");
            }
            Err(error) => return fails(format!("to nobody: {error}")),
        }
        let short = NewInvoice { expiry: Duration::from_secs(1), ..invoice_of(Some(msat(1000)), "short") };
        let short = lab.bob.client().add_invoice(short).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        match client.pay(&pay_to(&short.request, None)).await {
            Err(Error::Expired) => {}
            other => return fails(format!("an expired invoice: {:?}", other.err())),
        }
        match client.decode("lnbc1nothing").await {
            Err(Error::BadRequest { .. }) => Ok(()),
            other => fails(format!("no payment request: {other:?}")),
        }
    })?;
    moved(lab, before, true, MilliSat::ZERO)?;
    lab.alice.until("the failed payments", |state| {
        ensure!(state.node.payments.failed == failed + 2, "{} failed", state.node.payments.failed);
        ensure!(state.node.payments.in_flight == 0, "{} are on their way", state.node.payments.in_flight);
        Ok(())
    })
}

pub(super) fn in_flight(lab: &mut Lab) -> Outcome {
    let amount = msat(30_000_000);
    let preimage = Preimage::new([44; 32]);
    let before = balances(lab)?;
    let (made, pay, mut paying) = lab.run(async {
        let made = lab.bob.client().add_hold_invoice(preimage.hash(), invoice_of(Some(amount), "held")).await?;
        let pay = pay_to(&made.request, None);
        let paying = lab.alice.client().pay(&pay).await?;
        Ok((made, pay, paying))
    })?;
    for (node, incoming) in [(&lab.alice, false), (&lab.bob, true)] {
        node.until("the HTLC", |state| {
            let htlcs = &state.node.htlcs;
            ensure!(htlcs.len() == 1, "{} has {} HTLCs", node.name, htlcs.len());
            let htlc = &htlcs[0];
            ensure!(htlc.hash == made.hash && htlc.incoming == incoming, "{} has {htlc:?}", node.name);
            ensure!(htlc.amount == amount.floor(), "its amount is {}", htlc.amount);
            ensure!((10..1000).contains(&htlc.blocks_left), "it has {} blocks left", htlc.blocks_left);
            Ok(())
        })?;
    }
    let left = lab.bob.state().node.htlcs[0].blocks_left;
    lab.mine(1)?;
    lab.bob.until("one block less", |state| {
        let now = state.node.htlcs.first().map(|htlc| htlc.blocks_left);
        ensure!(now == Some(left - 1), "{now:?} blocks left of {left}");
        Ok(())
    })?;
    lab.bob.until("the invoice accepted", |state| {
        let held = state.node.invoices.newest.iter().find(|invoice| invoice.hash == made.hash);
        ensure!(held.is_some_and(|held| held.state == InvoiceState::Accepted), "it is {held:?}");
        Ok(())
    })?;
    lab.alice.until("the payment on its way", |state| {
        ensure!(state.node.payments.in_flight == 1, "{} are on their way", state.node.payments.in_flight);
        let balances = &state.node.balances;
        let unsettled = (balances.unsettled_local, balances.unsettled_remote);
        ensure!(unsettled == (MilliSat::ZERO, amount), "unsettled are {unsettled:?}");
        Ok(())
    })?;
    lab.bob.until("the payment coming in", |state| {
        let balances = &state.node.balances;
        let unsettled = (balances.unsettled_local, balances.unsettled_remote);
        ensure!(unsettled == (amount, MilliSat::ZERO), "unsettled are {unsettled:?}");
        Ok(())
    })?;
    lab.run(async {
        match lab.alice.client().pay(&pay).await {
            Err(Error::InTransition) => {}
            other => return fails(format!("paid again on its way: {:?}", other.err())),
        }
        lab.bob.client().settle_invoice(&preimage).await?;
        while let Some(progress) = paying.next().await? {
            match progress.payment.state {
                PaymentState::InFlight => {}
                PaymentState::Succeeded => return Ok(()),
                state => return fails(format!("it ended as {state:?}")),
            }
        }
        fails("it never ended")
    })?;
    for node in [&lab.alice, &lab.bob] {
        node.until("no HTLC", |state| {
            ensure!(state.node.htlcs.is_empty(), "{} has {:?}", node.name, state.node.htlcs);
            Ok(())
        })?;
    }
    moved(lab, before, true, amount)?;
    lab.run(async {
        let made = lab.bob.client().add_invoice(invoice_of(Some(amount), "void")).await?;
        lab.bob.client().cancel_invoice(made.hash.parse()?).await?;
        let canceled = lab.bob.client().invoice(made.hash.parse()?).await?;
        ensure!(canceled.state == InvoiceState::Canceled, "it is {canceled:?}");
        Ok(())
    })
}

pub(super) fn paging(lab: &mut Lab) -> Outcome {
    const MADE: usize = 1_040;
    let client = lab.bob.client();
    let before = lab.run(async {
        let mut count = 0;
        let mut after = 0;
        loop {
            let page = client.invoices_after(after, 100).await?;
            let Some(last) = page.last() else { return Ok(count) };
            count += page.len();
            after = last.index;
        }
    })?;
    lab.run(async {
        let mut makers = tokio::task::JoinSet::new();
        for maker in 0..8 {
            let client = client.clone();
            makers.spawn(async move {
                for number in (maker..MADE).step_by(8) {
                    client.add_invoice(invoice_of(Some(msat(1_000)), &format!("number {number}"))).await?;
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(made) = makers.join_next().await {
            made??;
        }
        let mut seen: Vec<Invoice> = Vec::new();
        let mut next = None;
        loop {
            let page = client.newest_invoices(next, 100).await?;
            seen.extend(page.items);
            next = page.before;
            if next.is_none() {
                break;
            }
        }
        ensure!(seen.is_sorted_by(|newer, older| newer.index > older.index), "not newest first, or twice");
        ensure!(seen.len() == before + MADE, "{} of {} came", seen.len(), before + MADE);
        let memos: BTreeSet<&str> = seen.iter().map(|invoice| invoice.memo.as_str()).collect();
        ensure!((0..MADE).all(|number| memos.contains(format!("number {number}").as_str())), "some are missing");
        let first = lab.alice.client().newest_payments(None, 2).await?;
        let Some(rest) = first.before else { return fails("the payments end after 2") };
        let second = lab.alice.client().newest_payments(Some(rest), 2).await?;
        let all = lab.alice.client().payments_after(0, 100).await?;
        let mut newest: Vec<u64> = all.iter().rev().map(|payment| payment.index).take(4).collect();
        let paged: Vec<u64> = first.items.iter().chain(&second.items).map(|payment| payment.index).collect();
        newest.truncate(paged.len());
        ensure!(paged.len() == 4 && paged == newest, "payments {paged:?} of {newest:?}");
        Ok(())
    })?;
    lab.bob.until("all invoices counted", |state| {
        let invoices = &state.node.invoices;
        ensure!(invoices.total == (before + MADE) as u64, "{} of {}", invoices.total, before + MADE);
        ensure!(invoices.newest.len() == NEWEST, "{} are kept", invoices.newest.len());
        ensure!(invoices.open >= MADE as u64, "{} are open", invoices.open);
        Ok(())
    })?;
    // One of the old ones, long out of the newest.
    let settled = lab.bob.state().node.invoices.settled;
    lab.run(async {
        let old = client.invoices_after(before as u64, 1).await?;
        let Some(old) = old.first() else { return fails("there is no old invoice") };
        paid(&lab.alice, &pay_to(&old.request, None)).await
    })?;
    lab.bob.until("an old invoice settled", |state| {
        ensure!(state.node.invoices.settled == settled + 1, "{} are settled", state.node.invoices.settled);
        Ok(())
    })
}

/// The only channel that is open.
fn channel(node: &Node) -> Outcome<ChannelPoint> {
    let state = node.state();
    match state.node.channels.open.as_slice() {
        [channel] => Ok(channel.point.parse()?),
        other => fails(format!("{} has {} channels", node.name, other.len())),
    }
}

pub(super) fn close(lab: &mut Lab) -> Outcome {
    let point = channel(&lab.alice)?;
    let name = point.to_string();
    let before = lab.run(async { Ok(lab.bob.client().balances().await?) })?;
    let close = CloseChannel { point, force: false, fee: FeeRate::SatPerVbyte(2), address: None };
    let (txid, _closings) = lab.run(async { Ok(lab.alice.client().close_channel(&close).await?) })?;
    for node in [&lab.alice, &lab.bob] {
        node.until("the channel closing", |state| {
            let closing = state.node.channels.closing.iter().find(|closing| closing.point == name);
            let Some(closing) = closing else { return fails(format!("{} does not have it", node.name)) };
            ensure!(closing.kind == ClosingKind::Waiting, "it is {closing:?}");
            ensure!(closing.blocks_left.is_some_and(|blocks| blocks > 0), "{} has {closing:?}", node.name);
            Ok(())
        })?;
    }
    ensure!(lab.chain.waiting()?.contains(&txid), "its transaction {txid} waits for no block");
    lab.mine(6)?;
    let expected = before.confirmed.checked_add(before.local.floor()).ok_or_else(|| Fault::Fails("overflow".into()))?;
    for node in [&lab.alice, &lab.bob] {
        node.until("the channel gone", |state| {
            let channels = &state.node.channels;
            ensure!(channels.closing.is_empty() && channels.open.is_empty(), "{} has {channels:?}", node.name);
            ensure!(state.node.backup.channels == 0, "the backup has {}", state.node.backup.channels);
            Ok(())
        })?;
    }
    lab.bob.until("the money back", |state| {
        ensure!(state.node.balances.confirmed == expected, "{} of {expected}", state.node.balances.confirmed);
        ensure!(state.node.balances.local == MilliSat::ZERO, "local are {}", state.node.balances.local);
        Ok(())
    })?;
    closed_as(lab, &lab.alice, &name, ClosedHow::Agreed)
}

fn closed_as(lab: &Lab, node: &Node, point: &str, how: ClosedHow) -> Outcome {
    let closed = lab.run(async { Ok(node.client().closed_channels().await?) })?;
    let found = closed.iter().find(|closed| closed.point == point);
    ensure!(found.is_some_and(|closed| closed.how == how), "{}: it closed as {found:?}", node.name);
    Ok(())
}

pub(super) fn force_close(lab: &mut Lab) -> Outcome {
    let point = open_channel(lab, &lab.alice, &lab.bob)?;
    let name = point.to_string();
    let close = CloseChannel { point, force: true, fee: FeeRate::Blocks(6), address: None };
    lab.run(async { Ok(lab.alice.client().close_channel(&close).await?) })?;
    lab.alice.until("the channel closing", |state| {
        ensure!(state.node.channels.closing.iter().any(|closing| closing.point == name), "it is not");
        Ok(())
    })?;
    let both = [&lab.alice, &lab.bob];
    let blocks = |state: &twin::State| {
        let closing = state.node.channels.closing.iter().find(|closing| closing.point == name);
        closing.filter(|closing| closing.kind == ClosingKind::Force).and_then(|closing| closing.blocks_left)
    };
    lab.mine_until(&both, 10, "the blocks left", || {
        let state = lab.alice.state();
        let closing = state.node.channels.closing.iter().find(|closing| closing.point == name);
        ensure!(blocks(&state).is_some_and(|left| left > 0), "it is {closing:?}");
        ensure!(state.node.channels.limbo > Sat::new(900_000), "in limbo are {}", state.node.channels.limbo);
        Ok(())
    })?;
    let left = blocks(&lab.alice.state()).unwrap_or_default();
    lab.mine(1)?;
    lab.alice.until("one block less", |state| {
        ensure!(blocks(state) == Some(left - 1), "{:?} blocks left of {left}", blocks(state));
        Ok(())
    })?;
    lab.mine_until(&both, left + 12, "the money is swept", || {
        let state = lab.alice.state();
        let channels = &state.node.channels;
        ensure!(channels.closing.is_empty() && channels.limbo == Sat::ZERO, "it has {channels:?}");
        Ok(())
    })?;
    closed_as(lab, &lab.alice, &name, ClosedHow::LocalForce)?;
    closed_as(lab, &lab.bob, &name, ClosedHow::RemoteForce)?;
    until(Duration::from_secs(5), || {
        let state = lab.bob.state();
        ensure!(state.node.channels.closing.is_empty(), "bob has {:?}", state.node.channels.closing);
        Ok(())
    })
}
