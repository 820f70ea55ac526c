//! A second box from seed and channel backup, through its pages, with the power going right after `InitWallet`.

use std::{fs, path::Path, thread, time::Duration};

use lnd::{Client, Config};
use tokio::runtime::Runtime;
use twin::{LndState, Sat};

use super::{SOON, Stage};
use crate::{
    browser::Driver,
    gallery::Gallery,
    manager::{Manager, sound},
    report::{Outcome, ensure, fails, until},
    road,
    root::FakeRoot,
    visitor::{self, PASSWORD},
};

/// What closing and sweeping cost at most.
const FEES: Sat = Sat::new(20_000);
/// Blocks that are mined for it at most.
const BLOCKS: usize = 60;

/// LND of a box, as its admin.
pub(super) fn admin(manager: &Manager) -> Client {
    let folder = manager.folder().join("lnd");
    let config = Config { address: manager.lnd(), certificate: folder.join("tls.cert") };
    Client::new(config, Some(folder.join("admin.macaroon")))
}

/// The first box has a channel, and its newest backup is `copy`. It never runs again.
pub(super) fn restored(
    stage: &Stage,
    programs: (&Path, &Path),
    driver: &Driver,
    words: &[String],
    copy: &Path,
    gallery: &mut Gallery,
) -> Outcome {
    let first = admin(&stage.manager);
    let (had, key) = stage.runtime.block_on(async {
        let balances = first.balances().await?;
        Ok::<_, crate::report::Fault>((
            balances.confirmed.checked_add(balances.local.floor()),
            first.info().await?.pubkey,
        ))
    })?;
    let Some(had) = had else { return fails("the first box has too much money") };
    stage.root.kill_lnd()?;

    let logs = gallery.folder().to_owned();
    let mut manager = Manager::start(programs.0, &logs.join("manager-second.log"), &sound())?;
    let root = FakeRoot::start(manager.folder(), programs.1, &logs.join("alice-second.log"));
    let claim = visitor::claim(&manager.tls(), &manager.code()?)?;
    let owner = manager.tls().with_session(&visitor::set_password(&manager.tls(), &claim)?);
    road::first_steps(&owner)?;
    road::bitcoin(&owner, &road::bitcoind("127.0.0.1", &stage.chain))?;
    until(SOON, || {
        let page = owner.get("/setup/wallet")?.text();
        ensure!(page.contains("Make a seed"), "the page says {}", road::words_of(&page));
        Ok(())
    })?;
    let browser = driver.open(true)?;
    let origin = manager.tls().origin();
    let url = |path: &str| format!("{origin}{path}");
    browser.open(&url("/sign-in"))?;
    browser.fill("#password", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for("/home")?;
    browser.open(&url("/setup/wallet/restore"))?;
    gallery.look(&browser, "restore")?;
    // Too short to be one: told, and nothing is lost.
    let short = logs.join("short.scb");
    fs::write(&short, "short")?;
    let send = |file: &Path| -> Outcome {
        browser.fill("#words", &words.join(" "))?;
        browser.attach("#file", file)?;
        browser.click("#off")?;
        browser.click("main form button")
    };
    send(&short)?;
    browser.wait_for_text("#restore-complaint", "")?;
    gallery.ignore(&browser)?;
    send(copy)?;
    browser.wait_for("/setup/wallet")?;
    browser.wait_for_text("main", "The words are confirmed")?;
    gallery.look(&browser, "restore-ready")?;
    let page = owner.get("/setup/wallet")?.text();
    let password = page.split_once("<p><code>").and_then(|(_, rest)| rest.split_once('<')).map(|(word, _)| word);
    let Some(password) = password else { return fails("the page does not show the wallet's password") };
    owner.post("/setup/backup/later", &[])?;
    owner.post("/setup/apply", &[])?;
    cut_after_init(&mut manager, &root, &stage.runtime)?;
    // LND has forgotten that it was looking for the wallet's money: the owner has it go on.
    until(SOON, || {
        let page = owner.get("/unlock")?.text();
        ensure!(page.contains("This wallet was restored"), "the page says {}", road::words_of(&page));
        Ok(())
    })?;
    browser.open(&url("/unlock"))?;
    gallery.look(&browser, "unlock-restored")?;
    let answer = owner.post("/unlock", &[("password", password), ("seal", "yes")])?;
    ensure!(answer.status == 303, "the password is answered by {}: {}", answer.status, visitor::complaint(&answer));

    until(SOON, || {
        let page = owner.get("/home")?.text();
        ensure!(page.contains("LND runs and takes part"), "the page says {}", road::words_of(&page));
        Ok(())
    })?;
    until(SOON, || {
        let page = owner.get("/backups")?.text();
        ensure!(page.contains("Given to LND"), "the page says {}", road::words_of(&page));
        Ok(())
    })?;
    let second = admin(&manager);
    let now = stage.runtime.block_on(second.info())?.pubkey;
    ensure!(now == key, "it is another wallet: {now}, not {key}");
    comes_back(stage, &second, had)?;
    browser.open(&url("/backups"))?;
    gallery.look(&browser, "backups-restored")?;
    let form = [("peer", stage.bob.address.as_str()), ("amount", "100000"), ("fee", "6")];
    let answer = owner.post("/channels/open", &form)?;
    ensure!(answer.text().contains("restored from its seed"), "a restored wallet opens a channel: {}", answer.status);
    Ok(())
}

/// Takes the processor away from all of the box as soon as LND has a wallet.
pub(super) fn cut_after_init(manager: &mut Manager, root: &FakeRoot, runtime: &Runtime) -> Outcome {
    let bare = Client::new(admin(manager).config().clone(), None);
    until(SOON, || {
        for _ in 0..200 {
            match runtime.block_on(bare.state()) {
                Ok(LndState::NonExisting) | Err(_) => thread::sleep(Duration::from_millis(5)),
                Ok(_) => return Ok(()),
            }
        }
        fails("there is no wallet yet")
    })?;
    root.kill_lnd()?;
    manager.cut_and_restart()?;
    root.restart_lnd()
}

/// The peer closes, and what was in channel and wallet is in the wallet, less fees.
fn comes_back(stage: &Stage, second: &Client, had: Sat) -> Outcome {
    let mut seen = Sat::ZERO;
    for _ in 0..BLOCKS {
        seen = stage.runtime.block_on(second.balances())?.confirmed;
        if had.checked_sub(seen).is_none_or(|lost| lost <= FEES) {
            return Ok(());
        }
        stage.mine(1)?;
        thread::sleep(Duration::from_secs(2));
    }
    fails(format!("{seen} of {had} came back"))
}
