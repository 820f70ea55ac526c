//! The wallet and the macaroons.

use std::{fs, os::unix::fs::PermissionsExt};

use lnd::{
    Client, Error, Hash, Secret, SeedFault,
    client::NewWallet,
    macaroon::{OWN_ROOT_KEY, Permission, ensure_own_macaroon},
    types::Seed,
};
use twin::LndState;

use super::lab::{Lab, PASSWORD, SOON};
use crate::report::{Outcome, ensure, fails, until};

/// Key of an app.
const APP: u64 = 77;

/// That LND refuses, and how.
fn refused<T>(outcome: Result<T, Error>, what: &str, expected: impl Fn(&Error) -> bool) -> Outcome {
    match outcome {
        Ok(_) => fails(format!("{what} is taken")),
        Err(error) => {
            ensure!(expected(&error), "{what}: {error}");
            Ok(())
        }
    }
}

pub(super) fn new(lab: &mut Lab) -> Outcome {
    let alice = &lab.alice;
    alice.until("no wallet", |state| {
        ensure!(state.lnd.state == LndState::NonExisting, "it is {:?}", state.lnd);
        Ok(())
    })?;
    ensure!(!state_tells_node(lab), "the twin tells of a node that has no wallet");
    let seed = lab.run(async {
        let client = alice.without_macaroon();
        refused(client.info().await, "a call without a wallet", |error| matches!(error, Error::NoWallet))?;
        let seed = client.new_seed(None).await?;
        ensure!(seed.expose().len() == 24, "the seed has {} words", seed.expose().len());
        let try_with = async |password: &str, words: Vec<String>, passphrase: Option<&str>| {
            let passphrase = passphrase.map(Secret::new);
            let wallet =
                NewWallet { password: Secret::new(password), seed: Seed::new(words), passphrase, recovery: None };
            client.init_wallet(wallet).await
        };
        let words = seed.expose().to_vec();
        let short = try_with("seven77", words.clone(), None).await;
        refused(short, "a short password", |error| matches!(error, Error::ShortPassword))?;
        let mut unknown = words.clone();
        unknown[6] = "homebolt".into();
        let answer = try_with(PASSWORD, unknown, None).await;
        refused(answer, "an unknown word", |error| matches!(error, Error::BadSeed(SeedFault::Word(7))))?;
        let mut turned = words.clone();
        turned.reverse();
        let answer = try_with(PASSWORD, turned, None).await;
        refused(answer, "words out of order", |error| {
            matches!(error, Error::BadSeed(SeedFault::Checksum | SeedFault::Version))
        })?;
        let answer = try_with(PASSWORD, words[1..].to_vec(), None).await;
        refused(answer, "23 words", |error| matches!(error, Error::BadSeed(SeedFault::Count)))?;
        let answer = try_with(PASSWORD, words, Some("wrong")).await;
        refused(answer, "a wrong passphrase", |error| matches!(error, Error::BadSeed(SeedFault::Passphrase)))?;
        Ok(seed)
    })?;
    alice.init(seed, None)?;
    lab.run(async {
        let client = alice.without_macaroon();
        refused(client.new_seed(None).await, "a second wallet", |error| matches!(error, Error::NotLocked))?;
        refused(client.info().await, "a call without macaroon", |error| matches!(error, Error::MacaroonRejected { .. }))
    })?;
    let bob = &lab.bob;
    let seed = lab.run(async { Ok(bob.without_macaroon().new_seed(Some(&Secret::new("sesame"))).await?) })?;
    lab.run(async {
        let password = Secret::new(PASSWORD);
        let wallet = NewWallet { password, seed, passphrase: Some(Secret::new("sesame")), recovery: None };
        let admin = bob.without_macaroon().init_wallet(wallet).await?;
        ensure!(!admin.expose().is_empty(), "no admin macaroon came back");
        Ok(())
    })?;
    bob.until_active()
}

fn state_tells_node(lab: &Lab) -> bool {
    lab.alice.state().node.info.since.is_some()
}

pub(super) fn own_macaroon(lab: &mut Lab) -> Outcome {
    let own = lab.alice.macaroons().own;
    until(SOON, || Ok(fs::metadata(&own).map(drop)?))?;
    let mode = fs::metadata(&own)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "its mode is {mode:o}");
    lab.run(async {
        let client = lab.alice.client();
        let keys = client.root_keys().await?;
        ensure!(keys.contains(&OWN_ROOT_KEY), "the root keys are {keys:?}");
        let answer = client.revoke(OWN_ROOT_KEY).await;
        refused(answer, "revoking the own macaroon", |error| matches!(error, Error::ReservedKey(OWN_ROOT_KEY)))?;
        refused(client.revoke(0).await, "revoking LND's own", |error| matches!(error, Error::ReservedKey(0)))?;
        let before = fs::read(&own)?;
        let macaroons = lab.alice.macaroons();
        ensure_own_macaroon(&lab.alice.config(), &macaroons.admin, &macaroons.own).await?;
        ensure!(fs::read(&own)? == before, "a good macaroon was baked again");
        Ok(())
    })?;
    lab.alice.until("the node's particulars", |state| {
        ensure!(state.node.info.alias == "alice", "the twin has {:?}", state.node.info);
        ensure!(state.node.info.network == "simnet", "the network is {:?}", state.node.info.network);
        ensure!(
            state.sources.get("node").is_some_and(|source| source.connected),
            "the sources are {:?}",
            state.sources
        );
        Ok(())
    })
}

pub(super) fn app_macaroon(lab: &mut Lab) -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.macaroon");
    lab.run(async {
        let own = lab.alice.client();
        let baked = own.bake_for(&Permission::invoices(), APP).await?;
        fs::write(&path, baked.expose())?;
        let app = Client::new(lab.alice.config(), Some(path.clone()));
        let answer = app.invoice(Hash::new([1; 32])).await;
        refused(answer, "an invoice that nobody made", |error| matches!(error, Error::NotFound("invoice")))?;
        let answer = app.balances().await;
        refused(answer, "reading balances with it", |error| matches!(error, Error::NotPermitted { .. }))?;
        own.revoke(APP).await?;
        let answer = app.invoice(Hash::new([1; 32])).await;
        refused(answer, "a revoked macaroon", |error| matches!(error, Error::MacaroonRejected { .. }))?;
        own.info().await?;
        ensure!(!own.root_keys().await?.contains(&APP), "its key is still there");
        own.revoke(APP).await?;
        Ok(())
    })
}

pub(super) fn refused_macaroon(lab: &mut Lab) -> Outcome {
    let macaroons = lab.alice.macaroons();
    let revoked = lab.run(async {
        let own = lab.alice.client();
        let revoked = own.bake_for(&Permission::read_only(), APP).await?;
        own.revoke(APP).await?;
        Ok(revoked)
    })?;
    for bad in [revoked.expose(), b"no macaroon at all"] {
        fs::write(&macaroons.own, bad)?;
        lab.run(async { Ok(ensure_own_macaroon(&lab.alice.config(), &macaroons.admin, &macaroons.own).await?) })?;
        ensure!(fs::read(&macaroons.own)? != bad, "it was left as it was");
        let client = Client::new(lab.alice.config(), Some(macaroons.own.clone()));
        lab.run(async {
            client.root_keys().await?;
            Ok(())
        })?;
    }
    Ok(())
}
