//! Group `wizard`: from the claim to money, through the pages of the real manager. The only fake is the root program.
//!
//! ```text
//!  browser ─► manager ─► FakeRoot ─► LND (alice) ◄──channel──► LND (bob)
//!                └───────── gRPC ───────┘    └─► bitcoind ◄─────┘
//! ```

mod backup;
mod chain;
mod cuts;
mod headers;
pub(crate) mod lnurl;
mod phones;
mod postgres;
mod second;
mod secrets;
mod unlock;

use std::{fs, path::Path, time::Duration};

use bitcoind::Network;
use lnd::client::{NewInvoice, Pay, PayTo};
use serde_json::json;
use tokio::runtime::Runtime;
use twin::MilliSat;

use crate::{
    Context,
    bitcoind::node::Node as Bitcoind,
    browser::{Browser, Driver},
    gallery::Gallery,
    manager::{Manager, sound},
    node::lab,
    pages,
    peer::Peer,
    report::{Fault, Outcome, Report, ensure, fails, until},
    road,
    root::FakeRoot,
    visitor::{FIRST_STEP, PASSWORD},
};

use secrets::Secrets;

/// For what a node does by itself on a slow computer.
const SOON: Duration = Duration::from_secs(90);
/// Name and password at bitcoind's door.
const USER: &str = "homebolt";
const DOOR: &str = road::DOOR;

/// Everything the tests stand on.
struct Stage {
    manager: Manager,
    root: FakeRoot,
    chain: Bitcoind,
    bob: Peer,
    runtime: Runtime,
    secrets: Secrets,
}

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("wizard")?;
    let log = report.log("build.log");
    let Some(program) = report.need("the manager is built", || pages::build(context)) else { return Ok(()) };
    let Some(lnd) = report.need("LND is built", || lab::lnd(context, &log)) else { return Ok(()) };
    let named = context.bitcoind.as_deref();
    let Some(bitcoind) = report.need("there is a bitcoind", || crate::bitcoind::program(named)) else { return Ok(()) };
    let logs = report.logs();
    let stage =
        report.need("a chain, a manager and a second node start", || Stage::start(&program, &lnd, &bitcoind, &logs));
    let Some(mut stage) = stage else { return Ok(()) };
    let driver_log = report.log("chromedriver.log");
    let Some(driver) = report.need("the browser starts", || Driver::start(&driver_log)) else { return Ok(()) };
    let Some(browser) = report.need("a browser opens", || driver.open(true)) else { return Ok(()) };
    let mut gallery = Gallery::new(report.logs(), None);
    let wallet = report.test("the wizard leads from the claim to a wallet, and asks for the words it showed", || {
        claim(&stage, &browser)?;
        choose_bitcoind(&stage, &browser, &mut gallery)?;
        make_wallet(&browser, &mut gallery)
    });
    let Some(words) = wallet else { return Ok(()) };
    let stands = report
        .test("the summary is applied in named phases, and the node runs", || apply(&stage, &browser, &mut gallery));
    if stands.is_none() {
        return Ok(());
    }
    let noted = report.need("what is secret is noted", || stage.secrets.seed("the seed", &words));
    if noted.is_none() {
        return Ok(());
    }
    report.test("after a restart LND is unlocked by itself", || {
        stage.root.restart_lnd()?;
        stage.until_text(&browser, "/home", "#lnd", "Running")
    });
    let funded = report.test("money sent to an address of the page arrives, and the home page tells", || {
        fund(&stage, &browser, &mut gallery)
    });
    if funded.is_none() {
        return Ok(());
    }
    report.test("without a place for its backup no channel is opened, and the page leads to one", || {
        backup::no_channel(&stage, &browser, "There is no place for the channel backup yet")
    });
    let Some(mut server) = report.need("an SFTP server starts", || backup::server(&logs)) else { return Ok(()) };
    let place = report.test("an SFTP server is tested, its key pinned, each fault told, and taken", || {
        backup::choose_sftp(&stage, &browser, &server, &mut gallery)
    });
    if place.is_none() {
        return Ok(());
    }
    let before = std::time::SystemTime::now();
    let open = report.test("a channel opens through the page: blocks left, then active", || {
        open_channel(&stage, &browser, &mut gallery)
    });
    if open.is_some() {
        let took = report.test("a copy of its backup is at the place within 10 s", || backup::pushed(&server, before));
        if let Some(took) = took {
            report.note(&format!("{:.1} s after the click", took.as_secs_f64()));
        }
        report.test("the copy is read back and shown to LND on demand, and a rotten one is told", || {
            backup::verified(&stage, &browser, &server, &mut gallery)
        });
        report.test("an invoice is paid through the page once, to the millisatoshi", || {
            pay(&stage, &browser, &mut gallery)
        });
        report.test("a double click pays once", || double_click(&stage, &browser));
        report.test("a large amount must be typed again, and a wrong one pays nothing", || {
            large(&stage, &browser)?;
            gallery.ignore(&browser)
        });
        report.test("what cannot be paid says why", || {
            refused(&stage, &browser)?;
            gallery.ignore(&browser)
        });
        report.test("an invoice of the page is paid by the other node, and the page says so", || {
            receive(&stage, &browser, &mut gallery)
        });
        report
            .test("a paired phone reaches LND by what its code says, may do what was chosen, and can be ended", || {
                phones::run(&stage, &browser, &mut gallery, &lnd)
            });
        report.test("the support bundle tells what helps", || phones::support(&stage, &browser, &mut gallery));
        report.test("a Lightning address and an LNURL are paid once what they say fits, and lies are not paid", || {
            lnurl::run(&stage, &browser, &mut gallery)
        });
        report.test("with bitcoind away the home page says since when and what to do, until it is back", || {
            chain::away(&mut stage, &browser, &mut gallery)
        });
        report.test("a bitcoind with another password, and one of another chain, are told as what they are", || {
            chain::another(&mut stage, &browser, bitcoind.as_path(), &logs)
        });
        report.test("with LND away the home page shows everything and says since when", || away(&stage, &browser));
        report.test(
            "the channel closes through the page, and a backup that is not saved is told and made good",
            || {
                let closing = || close(&stage, &browser);
                backup::late(&stage, &browser, &mut server, closing, &mut gallery)
            },
        );
        report.test("without its sealed password the wallet is opened by the typed one, which is sealed again", || {
            unlock::sealed_password_lost(&stage, &browser, &mut gallery)
        });
        report.test("copies go to a USB stick, which is mounted again when it was pulled", || {
            backup::stick(&stage, &browser, &mut gallery)
        });
    }
    if open.is_some() {
        report.test(
            "a second box gets its funds back from seed and copy, over a power cut right after InitWallet",
            || {
                backup::choose_again(&stage, &browser, &server)?;
                open_channel(&stage, &browser, &mut gallery)?;
                let copy = until(SOON, || backup::with_channel(&server))?;
                second::restored(&stage, (&program, &lnd), &driver, &words, &copy, &mut gallery)
            },
        );
    }
    report.test("no page complained, and none must be moved sideways", || {
        gallery.nothing_sideways()?;
        gallery.no_complaints().map(|_| ())
    });
    cuts::run(report, &stage, &program, &lnd);
    postgres::run(report, &stage.chain, &program, &lnd);
    headers::run(report, (&program, &lnd, &bitcoind));
    report.test(
        "after the whole run seed, passwords, macaroons and claim code are in no log, file, core, address, page or bundle",
        || secrets::nowhere(&stage, &browser, &logs),
    );
    stage.end()
}

impl Stage {
    fn start(program: &Path, lnd: &Path, bitcoind: &Path, logs: &Path) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let password = format!("-rpcpassword={DOOR}");
        let arguments = ["-rpcuser=homebolt", &password, "-txindex=1"];
        let mut chain = Bitcoind::new(bitcoind, logs, "chain", Network::Regtest, &arguments)?;
        let manager = Manager::start(program, &logs.join("manager.log"), &sound())?;
        let root = FakeRoot::start(manager.folder(), lnd, &logs.join("alice.log"));
        runtime.block_on(async {
            chain.start().await?;
            chain.fund().await
        })?;
        let bob = Peer::new(lnd, &chain, logs, "bob", &runtime)?;
        Ok(Self { manager, root, chain, bob, runtime, secrets: Secrets::default() })
    }

    fn mine(&self, blocks: u32) -> Outcome {
        self.runtime.block_on(self.chain.mine_own(blocks))
    }

    fn url(&self, path: &str) -> String {
        self.manager.tls().origin() + path
    }

    /// Opens the page and waits until the element has the text; live pages change by themselves.
    fn until_text(&self, browser: &Browser, path: &str, css: &str, text: &str) -> Outcome {
        browser.open(&self.url(path))?;
        until(SOON, || {
            let seen = browser.text(css)?;
            ensure!(seen.contains(text), "{css} of {path} does not show {text:?} but {seen:?}");
            Ok(())
        })
    }

    fn end(mut self) -> Outcome {
        self.runtime.block_on(self.chain.stop())
    }
}

fn claim(stage: &Stage, browser: &Browser) -> Outcome {
    browser.open(&stage.url("/"))?;
    browser.wait_for("/claim")?;
    let code = stage.manager.code()?;
    // As it is shown, and as it is kept.
    for code in [code.clone(), code.replace('-', "")] {
        stage.secrets.note("the claim code", &code, &["run/manager/claim.json"])?;
    }
    browser.fill("#code", &code)?;
    browser.click("main button")?;
    browser.wait_for("/password")?;
    browser.fill("#password", PASSWORD)?;
    browser.fill("#again", PASSWORD)?;
    browser.click("main button")?;
    browser.wait_for(FIRST_STEP)?;
    browser.run("document.querySelector('#zone').value = 'Europe/Berlin'")?;
    browser.click("main form button")?;
    until(SOON, || {
        let path = browser.path()?;
        ensure!(path != "/setup/place", "the wizard does not go on: {}", browser.text("main")?);
        Ok(())
    })?;
    browser.wait_for("/setup/network")?;
    browser.click("form[action='/setup/network'] button")?;
    browser.wait_for("/setup/disk")?;
    // The fake root program has looked at no disks: the data stays where it is.
    browser.click("form[action='/setup/disk/stay'] button")?;
    browser.wait_for("/setup/bitcoin")
}

fn choose_bitcoind(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let chain = &stage.chain;
    let fill = |password: &str| -> Outcome {
        browser.open(&stage.url("/setup/bitcoin"))?;
        browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")?;
        browser.click("#own")?;
        browser.fill("#rpc", &format!("127.0.0.1:{}", chain.rpc))?;
        browser.fill("#user", USER)?;
        browser.fill("#rpc-password", password)?;
        browser.fill("#zmq_block", &format!("tcp://127.0.0.1:{}", chain.blocks))?;
        browser.fill("#zmq_tx", &format!("tcp://127.0.0.1:{}", chain.transactions))?;
        browser.run("document.querySelector('#chain').value = 'regtest'")?;
        browser.click("main form button")?;
        browser.wait_for("/setup/bitcoin/test")
    };
    fill("wrong")?;
    browser.wait_for_text("main", "Something does not work yet")?;
    let seen = browser.text("main")?;
    ensure!(seen.contains("password"), "a wrong password is told as {seen:?}");
    gallery.look(browser, "bitcoind-wrong-password")?;
    fill(DOOR)?;
    browser.wait_for_text("main", "Everything that is needed works")?;
    gallery.look(browser, "bitcoind-good")?;
    browser.click("main form button")?;
    browser.wait_for("/setup/wallet")
}

/// Through the wallet's pages; gives the words.
fn make_wallet(browser: &Browser, gallery: &mut Gallery) -> Outcome<Vec<String>> {
    until(SOON, || {
        let seen = browser.text("main")?;
        ensure!(seen.contains("Make a seed"), "the page says {seen:?}");
        Ok(())
    })?;
    gallery.look(browser, "wallet")?;
    browser.click("form[action='/setup/wallet/new'] button")?;
    browser.wait_for("/setup/wallet/words")?;
    gallery.look(browser, "wallet-words")?;
    let list = "[...document.querySelectorAll('ol.seed li')].map(word => word.textContent)";
    let words: Vec<String> = serde_json::from_value(browser.evaluate(list)?)?;
    ensure!(words.len() == 24, "{} words are shown", words.len());
    browser.click("form[action='/setup/wallet/written'] button")?;
    browser.wait_for_text("main", "Let us check")?;
    ensure!(!browser.text("main")?.contains(&words[0..3].join(" ")), "the words are still shown");
    gallery.look(browser, "wallet-check")?;
    let asked =
        "[...document.querySelectorAll('form[action=\"/setup/wallet/check\"] label')].map(label => label.textContent)";
    let asked: Vec<String> = serde_json::from_value(browser.evaluate(asked)?)?;
    ensure!(asked.len() == 4, "asked for {asked:?}");
    browser.fill("#word0", "wrong")?;
    for index in 1..4 {
        browser.fill(&format!("#word{index}"), "wrong")?;
    }
    browser.click("form[action='/setup/wallet/check'] button")?;
    browser.wait_for_text("#check-complaint", "2")?;
    gallery.ignore(browser)?;
    for (index, label) in asked.iter().enumerate() {
        let number: usize = label.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse()?;
        browser.fill(&format!("#word{index}"), &words[number - 1])?;
    }
    browser.click("form[action='/setup/wallet/check'] button")?;
    backup::put_off(browser, gallery)?;
    Ok(words)
}

fn apply(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    gallery.look(browser, "summary")?;
    browser.click("form[action='/setup/apply'] button")?;
    until(SOON, || {
        let seen = browser.text("main")?;
        ensure!(seen.contains("Your node runs"), "the page says {seen:?}");
        Ok(())
    })?;
    gallery.look(browser, "done")?;
    let conf = fs::read_to_string(stage.manager.folder().join("config/lnd.conf"))?;
    ensure!(conf.contains("wallet-unlock-password-file="), "LND would not unlock by itself:\n{conf}");
    stage.until_text(browser, "/home", "#lnd", "Running")
}

fn fund(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    browser.open(&stage.url("/receive"))?;
    browser.click("form[action='/receive/address'] button")?;
    browser.wait_for_text(".copy", "bcrt1")?;
    gallery.look(browser, "address")?;
    let address = browser.text(".copy")?;
    stage.runtime.block_on(stage.chain.call("sendtoaddress", json!([address.trim(), 0.05])))?;
    stage.mine(3)?;
    stage.until_text(browser, "/home", "#balances", "5,000,000 sat")?;
    gallery.look(browser, "home-funded")
}

fn open_channel(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    // The first copy is at a new place, but the page may not have heard of it.
    until(SOON, || {
        browser.open(&stage.url("/channels"))?;
        ensure!(!browser.has("form[action='/channels/open'] button[disabled]"), "{}", browser.text("#door")?);
        Ok(())
    })?;
    browser.fill("#peer", &stage.bob.address)?;
    browser.fill("#amount", "1,000,000")?;
    browser.click("form[action='/channels/open'] button")?;
    until(SOON, || {
        let seen = browser.text("main")?;
        ensure!(seen.contains("is on its way to the chain"), "the page says {seen:?}");
        Ok(())
    })?;
    stage.until_text(browser, "/home", "#node-channels", "blocks left")?;
    gallery.look(browser, "home-opening")?;
    stage.mine(6)?;
    stage.until_text(browser, "/home", "#node-channels", "active")?;
    gallery.look(browser, "home-channel")?;
    browser.open(&stage.url("/channels"))?;
    gallery.look(browser, "channels")
}

fn bobs_invoice(stage: &Stage, msat: Option<u64>) -> Outcome<twin::node::Invoice> {
    let invoice = NewInvoice {
        amount: msat.map(MilliSat::new),
        memo: "a test".into(),
        expiry: Duration::from_secs(3600),
        private: false,
    };
    Ok(stage.runtime.block_on(stage.bob.client.add_invoice(invoice))?)
}

fn bob_got(stage: &Stage, invoice: &twin::node::Invoice) -> Outcome<MilliSat> {
    Ok(stage.runtime.block_on(stage.bob.client.invoice(invoice.hash.parse()?))?.paid)
}

/// To the preview of a payment.
fn preview(stage: &Stage, browser: &Browser, to: &str, amount: &str) -> Outcome {
    browser.open(&stage.url("/send"))?;
    browser.fill("#to", to)?;
    browser.fill("#amount", amount)?;
    browser.click("form[action='/send'] button")?;
    browser.wait_for_text("h1", "Check before you pay")
}

fn pay(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let invoice = bobs_invoice(stage, Some(12_345_678))?;
    preview(stage, browser, &invoice.request, "")?;
    ensure!(browser.text("main")?.contains("12,345.678 sat"), "the preview shows {}", browser.text("main")?);
    gallery.look(browser, "send-preview")?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Paid")?;
    gallery.look(browser, "send-paid")?;
    let got = bob_got(stage, &invoice)?;
    ensure!(got == MilliSat::new(12_345_678), "bob got {got}");
    // The same invoice once more.
    browser.open(&stage.url("/send"))?;
    browser.fill("#to", &invoice.request)?;
    browser.click("form[action='/send'] button")?;
    browser.wait_for_text("h1", "Check before you pay")?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Not paid")?;
    ensure!(browser.text("main")?.contains("paid already"), "it says {}", browser.text("main")?);
    let got = bob_got(stage, &invoice)?;
    ensure!(got == MilliSat::new(12_345_678), "after a second try bob has {got}");
    Ok(())
}

/// Two clicks within a moment, as two requests: the second finds the ticket taken.
fn double_click(stage: &Stage, browser: &Browser) -> Outcome {
    let key = stage.bob.address.split('@').next().unwrap_or_default().to_owned();
    let before = stage.runtime.block_on(stage.bob.client.balances())?.local;
    preview(stage, browser, &key, "2,000")?;
    // A keysend has no invoice that LND would refuse a second time.
    let twice = "const form = document.querySelector('main form'); const body = () => new URLSearchParams(new FormData(form)); \
                 await Promise.all([fetch(form.action, { method: 'POST', body: body() }), fetch(form.action, { method: 'POST', body: body() })]); \
                 return true";
    browser.run(&format!("return (async () => {{ {twice} }})()"))?;
    browser.open(&stage.url("/home"))?;
    until(SOON, || {
        let now = stage.runtime.block_on(stage.bob.client.balances())?.local;
        let more = now.checked_sub(before);
        ensure!(more == Some(MilliSat::new(2_000_000)), "bob has {more:?} more");
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(2));
    let now = stage.runtime.block_on(stage.bob.client.balances())?.local;
    ensure!(now.checked_sub(before) == Some(MilliSat::new(2_000_000)), "it was paid twice: {before} then {now}");
    Ok(())
}

fn large(stage: &Stage, browser: &Browser) -> Outcome {
    let invoice = bobs_invoice(stage, None)?;
    preview(stage, browser, &invoice.request, "150000")?;
    browser.fill("#confirm", "1")?;
    browser.click("main form button")?;
    browser.wait_for_text("#confirm-complaint", "Nothing was paid")?;
    ensure!(bob_got(stage, &invoice)? == MilliSat::ZERO, "it was paid");
    browser.fill("#confirm", "150,000")?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Paid")?;
    let got = bob_got(stage, &invoice)?;
    ensure!(got == MilliSat::new(150_000_000), "bob got {got}");
    Ok(())
}

fn refused(stage: &Stage, browser: &Browser) -> Outcome {
    for (to, amount, words) in [
        ("what is this", "", "neither an invoice nor a node"),
        (stage.bob.address.split('@').next().unwrap_or_default(), "", "type one"),
        ("lnbcrt1not-an-invoice-but-long-enough-to-look-like-one-xxxxxxxxxx", "", "payment request"),
    ] {
        browser.open(&stage.url("/send"))?;
        browser.fill("#to", to)?;
        browser.fill("#amount", amount)?;
        browser.click("form[action='/send'] button")?;
        browser.wait_for_text("#send-complaint", words)?;
    }
    // More than the channel holds.
    let invoice = bobs_invoice(stage, Some(5_000_000_000))?;
    preview(stage, browser, &invoice.request, "")?;
    browser.fill("#confirm", "5000000")?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Not paid")?;
    let seen = browser.text("main")?;
    ensure!(seen.contains("cannot send that much") || seen.contains("no way"), "it says {seen:?}");
    Ok(())
}

fn receive(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    browser.open(&stage.url("/receive"))?;
    browser.fill("#amount", "4321")?;
    browser.fill("#memo", "eggs & milk")?;
    browser.click("form[action='/receive/invoice'] button")?;
    browser.wait_for_text(".copy", "lnbcrt")?;
    gallery.look(browser, "invoice")?;
    let request = browser.text(".copy")?.trim().to_owned();
    let pay = Pay {
        to: PayTo::Invoice { request, amount: None },
        fee_limit: MilliSat::new(10_000),
        timeout: Duration::from_secs(30),
    };
    let progress = stage.runtime.block_on(async { Ok::<_, Fault>(stage.bob.client.pay(&pay).await?.end().await?) })?;
    ensure!(progress.payment.amount == MilliSat::new(4_321_000), "bob paid {}", progress.payment.amount);
    // The page notices by itself.
    browser.wait_for_text("main", "Paid: 4,321 sat")?;
    gallery.look(browser, "invoice-paid")?;
    stage.until_text(browser, "/home", "#activity", "eggs & milk")
}

/// What the home page tells of an own bitcoind that goes and comes back.
fn away(stage: &Stage, browser: &Browser) -> Outcome {
    stage.root.kill_lnd()?;
    stage.until_text(browser, "/home", "#problems", "Lightning is not running")?;
    stage.until_text(browser, "/home", "#balances", "As of")?;
    let seen = browser.text("#node-channels")?;
    ensure!(seen.contains("1,000,000 sat"), "the channel is gone from the page: {seen:?}");
    let answer = browser.text("#activity")?;
    ensure!(answer.contains("eggs & milk"), "the activity is gone: {answer:?}");
    stage.root.restart_lnd()?;
    stage.until_text(browser, "/home", "#lnd", "Running")?;
    stage.until_text(browser, "/home", "#node-channels", "active")
}

fn close(stage: &Stage, browser: &Browser) -> Outcome {
    browser.open(&stage.url("/channels"))?;
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")?;
    browser.click("form[action='/channels/close'] button")?;
    until(SOON, || {
        let seen = browser.text("main")?;
        ensure!(seen.contains("The closing transaction is"), "the page says {seen:?}");
        Ok(())
    })?;
    stage.mine(6)?;
    browser.open(&stage.url("/home"))?;
    until(SOON, || {
        let seen = browser.text("#node-channels")?;
        if seen.contains("closing") {
            return fails(format!("it still closes: {seen:?}"));
        }
        ensure!(seen.contains("no channel"), "there is still {seen:?}");
        Ok(())
    })
}
