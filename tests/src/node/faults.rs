//! LND slow, killed, locked, with another password, with another certificate.

use std::{
    fs,
    time::{Duration, Instant},
};

use lnd::{Client, Config, Error, Secret};
use twin::LndState;

use super::{
    lab::{self, Lab, PASSWORD},
    proxy::SlowProxy,
};
use crate::report::{Outcome, ensure, fails, until};

/// The password after the change.
const NEW_PASSWORD: &str = "another password of a test";

pub(super) fn slow(lab: &mut Lab) -> Outcome {
    // Bob's name comes with the graph, which LND hands on every 90 s, and no channel is told of then: a twin sees it within
    // its watcher's minute. After that nothing changes by itself, and both twins are compared.
    until(Duration::from_secs(170), || {
        let state = lab.alice.state();
        let names: Vec<&str> = state.node.channels.open.iter().map(|channel| channel.peer_alias.as_str()).collect();
        ensure!(names == ["bob"], "the peers of alice's channels are called {names:?}");
        Ok(())
    })?;
    let proxy = lab.run(SlowProxy::start(lab.alice.config().address, Duration::from_millis(400)))?;
    let config = Config { address: proxy.address, ..lab.alice.config() };
    let (reader, watching, tasks) = lab::watch(&lab.runtime, config.clone(), lab.alice.macaroons());
    until(Duration::from_secs(60), || {
        let state = reader.state();
        let node = &state.node;
        let seen = [
            ("info", node.info.since),
            ("balances", node.balances.since),
            ("channels", node.channels.since),
            ("peers", node.peers.since),
            ("HTLCs", node.htlcs.since),
            ("invoices", node.invoices.since),
            ("payments", node.payments.since),
            ("transactions", node.transactions.since),
            ("graph", node.graph.since),
            ("backup", node.backup.since),
        ];
        let missing: Vec<_> = seen.iter().filter(|(_, since)| since.is_none()).map(|(name, _)| name).collect();
        ensure!(missing.is_empty(), "through the slow proxy there is nothing of {missing:?}: {:?}", state.sources);
        Ok(())
    })?;
    until(Duration::from_secs(20), || {
        let (slow, fast) = (reader.state(), lab.alice.state());
        let (slow, fast) = (&slow.node, &fast.node);
        same("channels", &slow.channels.value, &fast.channels.value)?;
        same("payments", &slow.payments.value, &fast.payments.value)?;
        same("transactions", &slow.transactions.value, &fast.transactions.value)
    })?;
    proxy.hold();
    let begun = Instant::now();
    lab.run(async {
        match watching.client.recovery().await {
            Err(Error::Timeout { seconds: 10, .. }) => {}
            other => return fails(format!("a call to a silent LND: {other:?}")),
        }
        match Client::new(config, None).state().await {
            Err(Error::Timeout { action: "finish the TLS handshake", .. }) => Ok(()),
            other => fails(format!("connecting to a silent LND: {other:?}")),
        }
    })?;
    ensure!(begun.elapsed() < Duration::from_secs(25), "that took {} s", begun.elapsed().as_secs());
    proxy.release();
    lab.run(async {
        watching.client.info().await?;
        Ok(())
    })?;
    drop(tasks);
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(part: &str, slow: &T, fast: &T) -> Outcome {
    ensure!(slow == fast, "of its {part} the slow twin says {slow:?}, the fast one {fast:?}");
    Ok(())
}

pub(super) fn killed(lab: &mut Lab) -> Outcome {
    lab.alice.kill()?;
    lab.alice.until("LND gone", |state| {
        ensure!(state.lnd.state == LndState::Unreachable, "it is {:?}", state.lnd);
        let node = state.sources.get("node").cloned().unwrap_or_default();
        ensure!(!node.connected && node.since > 0 && node.error.is_some(), "the source is {node:?}");
        Ok(())
    })?;
    let kept = lab.alice.state();
    ensure!(kept.node.channels.open.len() == 1, "the channels are {:?}", kept.node.channels);
    ensure!(kept.node.info.alias == "alice" && kept.node.payments.total > 0, "the last data are gone");
    let read = kept.node.channels.since;
    ensure!(read.is_some_and(|since| since <= kept.lnd.since + 1), "read at {read:?}, gone at {}", kept.lnd.since);

    lab.alice.run()?;
    lab.alice.until("a locked wallet", |state| {
        ensure!(state.lnd.state == LndState::Locked, "it is {:?}", state.lnd);
        ensure!(!state.node.channels.open.is_empty(), "the last data are gone");
        Ok(())
    })?;
    lab.run(async {
        match lab.alice.client().info().await {
            Err(Error::Locked) => {}
            other => return fails(format!("a call to a locked wallet: {other:?}")),
        }
        match lab.alice.without_macaroon().unlock(&Secret::new("not the password")).await {
            Err(Error::WrongPassword) => Ok(()),
            other => fails(format!("a wrong password: {other:?}")),
        }
    })?;
    lab.alice.unlock(PASSWORD)?;
    back(lab)
}

/// That both are in step again, with their channel active.
fn back(lab: &Lab) -> Outcome {
    for node in [&lab.alice, &lab.bob] {
        node.until("the channel active again", |state| {
            let source = state.sources.get("node").cloned().unwrap_or_default();
            ensure!(source.connected, "the source of {} is {source:?}", node.name);
            let channels = &state.node.channels;
            ensure!(channels.open.len() == 1 && channels.open[0].active, "{} has {:?}", node.name, channels.open);
            Ok(())
        })?;
    }
    // The streams live, too: a block is told of at once, long before the next interval.
    lab.mine(1)
}

pub(super) fn password(lab: &mut Lab) -> Outcome {
    lab.alice.stop()?;
    lab.alice.run()?;
    lab.alice.until("a locked wallet", |state| {
        ensure!(state.lnd.state == LndState::Locked, "it is {:?}", state.lnd);
        Ok(())
    })?;
    lab.run(async {
        let client = lab.alice.without_macaroon();
        match client.change_password(&Secret::new("not the password"), &Secret::new(NEW_PASSWORD)).await {
            Err(Error::WrongPassword) => {}
            other => return fails(format!("changing a wrong password: {other:?}")),
        }
        Ok(client.change_password(&Secret::new(PASSWORD), &Secret::new(NEW_PASSWORD)).await?)
    })?;
    lab.alice.until_server_active()?;
    back(lab)?;
    lab.alice.stop()?;
    lab.alice.run()?;
    lab.alice.until("a locked wallet", |state| {
        ensure!(state.lnd.state == LndState::Locked, "it is {:?}", state.lnd);
        Ok(())
    })?;
    lab.run(async {
        match lab.alice.without_macaroon().unlock(&Secret::new(PASSWORD)).await {
            Err(Error::WrongPassword) => Ok(()),
            other => fails(format!("the old password: {other:?}")),
        }
    })?;
    lab.alice.unlock(NEW_PASSWORD)?;
    back(lab)
}

pub(super) fn certificate(lab: &mut Lab) -> Outcome {
    let path = lab.bob.config().certificate;
    let old = fs::read(&path)?;
    let kept = tempfile::NamedTempFile::new()?;
    fs::write(kept.path(), &old)?;
    lab.bob.stop()?;
    lab.bob.lose_certificate()?;
    lab.bob.run()?;
    lab.bob.unlock(PASSWORD)?;
    ensure!(fs::read(&path)? != old, "LND made no new certificate");
    back(lab)?;
    lab.run(async {
        lab.bob.client().info().await?;
        let config = Config { certificate: kept.path().to_owned(), ..lab.bob.config() };
        match Client::new(config, None).state().await {
            Err(Error::CertificateChanged { .. }) => Ok(()),
            other => fails(format!("with the old certificate: {other:?}")),
        }
    })
}
