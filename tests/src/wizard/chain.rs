//! The owner's bitcoind when the node has long been running: away, with another password, of another chain.

use std::path::Path;

use bitcoind::Network;
use serde_json::json;

use super::{DOOR, SOON, Stage, USER};
use crate::{
    bitcoind::node::Node as Bitcoind,
    browser::Browser,
    gallery::Gallery,
    report::{Outcome, ensure, until},
};

pub(super) fn away(stage: &mut Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    stage.until_text(browser, "/home", "#bitcoin", "In step with the chain")?;
    stage.runtime.block_on(stage.chain.stop())?;
    stage.until_text(browser, "/home", "#problems", "Your bitcoind cannot be asked")?;
    let seen = browser.text("#problems")?;
    ensure!(seen.contains("Since 20") && seen.contains("Look at its settings and test it"), "it says {seen:?}");
    let card = browser.text("#bitcoin")?;
    ensure!(card.contains("Does not answer") && card.contains("As of"), "the card says {card:?}");
    gallery.look(browser, "home-bitcoind-away")?;
    back(stage, browser)
}

pub(super) fn another(stage: &mut Stage, browser: &Browser, program: &Path, logs: &Path) -> Outcome {
    stage.runtime.block_on(stage.chain.stop())?;
    stage.chain.set_password("another");
    stage.runtime.block_on(stage.chain.start())?;
    stage.until_text(browser, "/home", "#problems", "does not know this user and password")?;
    stage.runtime.block_on(stage.chain.stop())?;
    stage.chain.set_password(DOOR);

    let arguments = [format!("-rpcuser={USER}"), format!("-rpcpassword={DOOR}")];
    let arguments = arguments.each_ref().map(String::as_str);
    let mut other = Bitcoind::new(program, logs, "signet", Network::Signet, &arguments)?;
    other.rpc = stage.chain.rpc;
    stage.runtime.block_on(other.start())?;
    let told = stage.until_text(browser, "/home", "#problems", "is on the chain \"signet\", and \"regtest\" is wanted");
    stage.runtime.block_on(other.stop())?;
    told?;
    back(stage, browser)
}

/// The right one is there again, and the pages say so.
fn back(stage: &mut Stage, browser: &Browser) -> Outcome {
    stage.runtime.block_on(async {
        stage.chain.start().await?;
        stage.chain.call("loadwallet", json!(["miner"])).await
    })?;
    stage.until_text(browser, "/home", "#bitcoin", "In step with the chain")?;
    until(SOON, || {
        let seen = browser.text("#problems")?;
        ensure!(!seen.contains("cannot be asked"), "the page still says {seen:?}");
        Ok(())
    })
}
