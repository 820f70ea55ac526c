//! A phone, played by LND's own `lncli` and by our client, with nothing but what the code on the page says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use lnd::{
    Client, Config,
    client::{Pay, PayTo},
};
use twin::MilliSat;

use crate::{
    browser::Browser,
    gallery::Gallery,
    http::{Answer, Extra, Socket},
    report::{Fault, Outcome, ensure},
    visitor::PASSWORD,
};

use super::{Stage, bob_got, bobs_invoice};

/// What a code says.
struct Code {
    server: String,
    certificate: PathBuf,
    macaroon: PathBuf,
}

impl Code {
    fn read(text: &str, folder: &Path) -> Outcome<Self> {
        let url = url::Url::parse(text)?;
        ensure!(url.scheme() == "lndconnect", "the code is {}", url.scheme());
        let value = |wanted: &str| {
            let found = url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
            found.ok_or_else(|| Fault::Fails(format!("the code has no {wanted}")))
        };
        let certificate = STANDARD.encode(URL_SAFE_NO_PAD.decode(value("cert")?)?);
        fs::create_dir_all(folder)?;
        let code = Self {
            server: format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or_default()),
            certificate: folder.join("tls.cert"),
            macaroon: folder.join("phone.macaroon"),
        };
        let pem = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
        fs::write(&code.certificate, pem)?;
        fs::write(&code.macaroon, URL_SAFE_NO_PAD.decode(value("macaroon")?)?)?;
        Ok(code)
    }

    fn lncli(&self, lncli: &Path, arguments: &[&str]) -> Outcome<Output> {
        let mut command = Command::new(lncli);
        command.arg(format!("--rpcserver={}", self.server));
        command.arg(format!("--tlscertpath={}", self.certificate.display()));
        command.arg(format!("--macaroonpath={}", self.macaroon.display()));
        Ok(command.args(arguments).output()?)
    }

    fn works(&self, lncli: &Path, arguments: &[&str]) -> Outcome<String> {
        let output = self.lncli(lncli, arguments)?;
        ensure!(output.status.success(), "lncli {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Its macaroon as REST has it.
    fn macaroon(&self) -> Outcome<String> {
        Ok(hex::encode(fs::read(&self.macaroon)?))
    }

    fn fails(&self, lncli: &Path, arguments: &[&str], words: &str) -> Outcome {
        let output = self.lncli(lncli, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "lncli {arguments:?} works");
        ensure!(said.contains(words), "lncli {arguments:?} is refused by: {said}");
        Ok(())
    }
}

/// Pairs one through the page.
fn pair(stage: &Stage, browser: &Browser, name: &str, rights: &str, folder: &Path) -> Outcome<Code> {
    browser.open(&stage.url("/settings/phones"))?;
    browser.fill("#name", name)?;
    browser.click(&format!("#{rights}"))?;
    browser.fill("#proof", PASSWORD)?;
    browser.click("form[action='/settings/phones'] button")?;
    browser.wait_for_text("h1", &format!("The code for {name}"))?;
    let text = browser.evaluate("document.querySelector('.copy').textContent")?;
    Code::read(text.as_str().unwrap_or_default(), folder)
}

pub(super) fn run(stage: &Stage, browser: &Browser, gallery: &mut Gallery, lnd: &Path) -> Outcome {
    let folder = tempfile::tempdir()?;
    // One program that serves as either, by its name.
    let lncli = folder.path().join("lncli");
    std::os::unix::fs::symlink(fs::canonicalize(lnd)?, &lncli)?;

    let phone = pair(stage, browser, "Ann's phone", "all", &folder.path().join("ann"))?;
    gallery.look(browser, "phone-code")?;
    ensure!(phone.server == format!("127.0.0.1:{}", stage.manager.https()), "the code leads to {}", phone.server);
    let info = phone.works(&lncli, &["getinfo"])?;
    ensure!(info.contains("identity_pubkey"), "getinfo says {info}");
    ensure!(phone.works(&lncli, &["addinvoice", "--amt=1000"])?.contains("lnbcrt"), "there is no invoice");
    phone.fails(&lncli, &["bakemacaroon", "info:read"], "permission denied")?;
    pays(stage, &phone, folder.path())?;

    // The administrator's own key is of no use from outside.
    let admin = Code {
        server: phone.server.clone(),
        certificate: phone.certificate.clone(),
        macaroon: stage.manager.folder().join("lnd/admin.macaroon"),
    };
    admin.fails(&lncli, &["getinfo"], "not paired")?;

    let reader = pair(stage, browser, "Wall", "read", &folder.path().join("wall"))?;
    for phone in [&phone, &reader] {
        stage.secrets.macaroon("a phone's macaroon", &fs::read(&phone.macaroon)?)?;
    }
    reader.works(&lncli, &["channelbalance"])?;
    reader.fails(&lncli, &["addinvoice", "--amt=1000"], "permission denied")?;
    let before = keys(stage)?;
    rest(stage, &phone, &reader, &admin)?;
    let socket = Subscribed::open(stage, &phone)?;

    browser.open(&stage.url("/settings/phones"))?;
    gallery.look(browser, "phones")?;
    browser.click("button[aria-label*=\"Ann's phone\"]")?;
    crate::report::until(Duration::from_secs(20), || {
        let seen = browser.text("main")?;
        ensure!(!seen.contains("Ann's phone"), "the phone is still listed: {seen}");
        Ok(())
    })?;
    phone.fails(&lncli, &["getinfo"], "not paired")?;
    socket.ends()?;
    let answer = ask(stage, "GET", "/v1/getinfo", &phone.macaroon()?)?;
    ensure!(answer.status == 401, "an ended phone is answered by {} over REST", answer.status);
    reader.works(&lncli, &["getinfo"])?;
    ensure!(keys(stage)?.len() + 1 == before.len(), "LND still knows the key: {before:?}");
    Ok(())
}

fn ask(stage: &Stage, method: &str, path: &str, macaroon: &str) -> Outcome<Answer> {
    let headers = [("Grpc-Metadata-macaroon", macaroon)];
    if method == "POST" {
        return stage.manager.tls().post_json(path, &headers, r#"{"value":"1000"}"#);
    }
    stage.manager.tls().send(method, path, &Extra { headers: &headers, form: &[] })
}

/// The same doors over LND's REST: open to paired phones within their rights, and to nobody else.
fn rest(stage: &Stage, phone: &Code, reader: &Code, admin: &Code) -> Outcome {
    let (all, read) = (phone.macaroon()?, reader.macaroon()?);
    let info = ask(stage, "GET", "/v1/getinfo", &all)?;
    ensure!(info.status == 200 && info.text().contains("identity_pubkey"), "REST says {}", info.text());
    ensure!(info.header("cache-control") == Some("no-store"), "a phone's answer may be kept");
    let invoice = ask(stage, "POST", "/v1/invoices", &all)?;
    ensure!(invoice.text().contains("lnbcrt"), "there is no invoice: {}", invoice.text());
    let balance = ask(stage, "GET", "/v1/balance/channels", &read)?;
    ensure!(balance.status == 200 && balance.text().contains("local_balance"), "REST says {}", balance.text());
    let refused = ask(stage, "POST", "/v1/invoices", &read)?;
    ensure!(refused.status >= 400 && refused.text().contains("permission denied"), "REST says {}", refused.text());
    for path in ["/v1/unlockwallet", "/v1/genseed", "/v1/macaroon", "/v1/%75nlockwallet", "/v2/watchtower/server"] {
        let answer = ask(stage, "GET", path, &all)?;
        ensure!(answer.status == 403, "{path} is answered by {}: {}", answer.status, answer.text());
    }
    for macaroon in ["", "00", &admin.macaroon()?] {
        let answer = ask(stage, "GET", "/v1/getinfo", macaroon)?;
        ensure!(answer.status == 401, "without a phone REST answers {}: {}", answer.status, answer.text());
    }
    let large = format!(r#"{{"memo":"{}"}}"#, "x".repeat(2 << 20));
    let answer = stage.manager.tls().post_json("/v1/invoices", &[("Grpc-Metadata-macaroon", all.as_str())], &large);
    ensure!(!answer.is_ok_and(|answer| answer.status == 200), "two megabytes are taken");
    let open = stage.manager.tls().connect()?.socket("/v1/invoices/subscribe?method=GET", &[]);
    ensure!(open.is_err(), "without a macaroon there is a WebSocket");
    Ok(())
}

/// A phone that listens for invoices on a WebSocket.
struct Subscribed(Socket);

impl Subscribed {
    fn open(stage: &Stage, phone: &Code) -> Outcome<Self> {
        let macaroon = phone.macaroon()?;
        let headers = [("Grpc-Metadata-Macaroon", macaroon.as_str())];
        let mut socket = stage.manager.tls().connect()?.socket("/v1/invoices/subscribe?method=GET", &headers)?;
        socket.say("{}")?;
        // LND listens a moment after the socket is open.
        std::thread::sleep(Duration::from_secs(1));
        let made = ask(stage, "POST", "/v1/invoices", &macaroon)?.text();
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let heard = socket.hear()?.unwrap_or_default();
        let request = made["payment_request"].as_str().unwrap_or("none");
        ensure!(heard.contains(request), "the WebSocket tells {heard}");
        Ok(Self(socket))
    }

    /// That it was hung up on.
    fn ends(mut self) -> Outcome {
        let heard = self.0.hear()?;
        ensure!(heard.is_none(), "an ended phone still hears {heard:?}");
        Ok(())
    }
}

/// LND's root keys, asked at its own port.
fn keys(stage: &Stage) -> Outcome<Vec<u64>> {
    let folder = stage.manager.folder();
    let config = Config { address: stage.manager.lnd(), certificate: folder.join("lnd/tls.cert") };
    let client = Client::new(config, Some(folder.join("lnd/admin.macaroon")));
    Ok(stage.runtime.block_on(client.root_keys())?)
}

/// A payment is a stream of news, which goes through the gate. Our client trusts one certificate, the box's own leaf.
fn pays(stage: &Stage, phone: &Code, folder: &Path) -> Outcome {
    let leaf = stage.manager.tls().certificates()?;
    let leaf = leaf.first().ok_or_else(|| Fault::Fails("the box shows no certificate".into()))?;
    let pem = folder.join("leaf.pem");
    fs::write(&pem, format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(leaf)))?;
    let config = Config { address: phone.server.parse()?, certificate: pem };
    let client = Client::new(config, Some(phone.macaroon.clone()));
    let invoice = bobs_invoice(stage, Some(7_000))?;
    let pay = Pay {
        to: PayTo::Invoice { request: invoice.request.clone(), amount: None },
        fee_limit: MilliSat::new(10_000),
        timeout: Duration::from_secs(30),
    };
    stage.runtime.block_on(async { Ok::<_, Fault>(client.pay(&pay).await?.end().await?) })?;
    let got = bob_got(stage, &invoice)?;
    ensure!(got == MilliSat::new(7_000), "bob got {got}");
    Ok(())
}

/// Makes the bundle through its page and gives all of it.
pub(super) fn bundle(stage: &Stage, browser: &Browser) -> Outcome<String> {
    browser.open(&stage.url("/settings/support"))?;
    browser.click("form[action='/settings/support'] button")?;
    browser.wait_for_text("main", "versions.txt")?;
    let download = "(async () => { const form = document.querySelector(\"form[action$='/download']\"); \
                    const body = new URLSearchParams(new FormData(form)); \
                    return (await fetch(form.action, { method: 'POST', body })).text() })()";
    Ok(browser.evaluate(download)?.as_str().unwrap_or_default().to_owned())
}

/// That the bundle tells what helps; what it must not tell is looked for at the end of the run.
pub(super) fn support(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let text = bundle(stage, browser)?;
    gallery.look(browser, "support")?;
    for needle in ["===== versions.txt =====", "bitcoind.rpcuser=", "lnd.service", "synced_to_chain", "phone-paired"] {
        ensure!(text.contains(needle), "the bundle does not tell of {needle}:\n{}", &text[..text.len().min(2000)]);
    }
    ensure!(!text.contains(&format!("bitcoind.rpcpass={}", super::DOOR)), "the bundle tells bitcoind's password");
    Ok(())
}
