//! Channel backups, and a second box made from one.

use lnd::{Error, client::Recovery};
use twin::Sat;

use super::{
    lab::{Lab, Node},
    money::open_channel,
};
use crate::report::{Outcome, ensure, fails};

pub(super) fn verify(lab: &mut Lab) -> Outcome {
    lab.run(async {
        let blob = lab.alice.client().export_backup().await?;
        ensure!(blob.channels.len() == 1, "it has {:?}", blob.channels);
        let seen = lab.alice.client().verify_backup(&blob.bytes).await?;
        ensure!(seen == blob.channels, "verified as {seen:?}");
        match lab.bob.client().verify_backup(&blob.bytes).await {
            Err(Error::BadBackup) => {}
            other => return fails(format!("by another wallet: {other:?}")),
        }
        let mut damaged = blob.bytes.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        match lab.alice.client().verify_backup(&damaged).await {
            Err(Error::BadBackup) => {}
            other => return fails(format!("damaged: {other:?}")),
        }
        match lab.alice.client().restore_backup(&damaged).await {
            Err(Error::BadBackup) => Ok(()),
            other => fails(format!("restored though damaged: {other:?}")),
        }
    })
}

pub(super) fn second_box(lab: &mut Lab) -> Outcome {
    // Carol is the one whose machine dies: her words are kept here, as an owner keeps them on paper.
    let carol = Node::start("carol", &lab.lnd, &lab.logs, &lab.chain, &lab.runtime)?;
    let seed = lab.run(async { Ok(carol.without_macaroon().new_seed(None).await?) })?;
    carol.init(seed.clone(), None)?;
    carol.until_server_active()?;
    let funds = Sat::new(30_000_000);
    let bob = lab.bob.address()?;
    lab.run(async {
        let address = carol.client().new_address().await?;
        let fee = lnd::types::FeeRate::SatPerVbyte(2);
        lab.alice.client().send_coins(&address, Some(funds), fee, "for carol").await?;
        Ok(())
    })?;
    lab.mine(6)?;
    lab.in_step(&[&carol])?;
    lab.run(async { Ok(carol.client().connect_peer(&bob).await?) })?;
    let point = open_channel(lab, &carol, &lab.bob)?;
    carol.until("the backup of the channel", |state| {
        ensure!(state.node.backup.channels == 1, "it has {}", state.node.backup.channels);
        Ok(())
    })?;
    let backup = carol.watching.backup.borrow().clone();
    let Some(backup) = backup else { return fails("there is no backup") };
    ensure!(backup.blob.channels == [point.clone()], "the backup has {:?}", backup.blob.channels);
    let had = lab.run(async { Ok(carol.client().balances().await?) })?;
    drop(carol);

    let second = Node::start("carol-again", &lab.lnd, &lab.logs, &lab.chain, &lab.runtime)?;
    second.until("no wallet", |state| {
        ensure!(state.lnd.state == twin::LndState::NonExisting, "it is {:?}", state.lnd);
        Ok(())
    })?;
    second.init(seed, Some(Recovery { window: 50, backup: Some(backup.blob.bytes) }))?;
    second.until_server_active()?;
    lab.in_step(&[&second])?;
    second.until("the money on the chain", |state| {
        ensure!(
            state.node.balances.confirmed == had.confirmed,
            "{} of {}",
            state.node.balances.confirmed,
            had.confirmed
        );
        Ok(())
    })?;
    second.until("the channel closing", |state| {
        let closing = &state.node.channels.closing;
        ensure!(closing.iter().any(|closing| closing.point == point.to_string()), "it has {:?}", state.node.channels);
        Ok(())
    })?;
    let expected = had.confirmed.checked_add(had.local.floor()).unwrap_or_default();
    let fees = Sat::new(20_000);
    lab.mine_until(&[&second, &lab.bob], 30, "the money of the channel comes back", || {
        let state = second.state();
        let balance = state.node.balances.confirmed;
        let lost = expected.checked_sub(balance);
        ensure!(
            state.node.channels.closing.is_empty() && lost.is_none_or(|lost| lost <= fees),
            "{balance} of {expected}, with {:?}",
            state.node.channels.closing
        );
        Ok(())
    })?;
    let recovery = lab.run(async { Ok(second.client().recovery().await?) })?;
    ensure!(recovery.is_none(), "it still searches: {recovery:?}");
    Ok(())
}
