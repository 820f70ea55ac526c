//! A service for LNURL-pay on this computer, with a certificate of its own. Its invoices come from the second real LND;
//! some of its receivers lie, each in one way.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lnd::Client;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use twin::MilliSat;

use super::{SOON, Stage};
use crate::{
    browser::Browser,
    gallery::Gallery,
    report::{Outcome, ensure, until},
};

/// Ends with this value.
pub(crate) struct Service {
    pub(crate) port: u16,
    /// Its certificate, PEM.
    pub(crate) certificate: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    pub(crate) async fn start(bob: Client) -> Outcome<Self> {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let certificate = params.self_signed(&key)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, bob, seen) = (acceptor.clone(), bob.clone(), seen.clone());
                // Who hangs up in the middle is no fault here.
                tokio::spawn(async move { drop(serve(acceptor, stream, &bob, port, &seen).await) });
            }
        });
        Ok(Self { port, certificate: certificate.pem(), asked, task })
    }

    pub(crate) fn address(&self, user: &str) -> String {
        format!("{user}@localhost:{}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    bob: &Client,
    port: u16,
    seen: &Mutex<Vec<String>>,
) -> Outcome {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(target.clone());
    let url = url::Url::parse(&format!("https://localhost:{port}{target}"))?;
    let (status, extra, body) = answer(bob, port, &url).await?;
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{extra}\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

fn metadata(user: &str, port: u16) -> String {
    json!([["text/plain", format!("Eggs & milk from {user}")], ["text/identifier", format!("{user}@localhost:{port}")]])
        .to_string()
}

async fn answer(bob: &Client, port: u16, url: &url::Url) -> Outcome<(&'static str, String, String)> {
    let ok = |body: Value| Ok(("200 OK", String::new(), body.to_string()));
    if url.path() == "/prices" {
        return ok(json!({ "time": 1, "EUR": 80_000 }));
    }
    let (place, user) = url.path().rsplit_once('/').unwrap_or_default();
    if place == "/.well-known/lnurlp" {
        let (min, max) = if user == "fixed" { (1_500, 1_500) } else { (1_000, 200_000_000) };
        return match user {
            "huge" => Ok(("200 OK", String::new(), " ".repeat(1_000_000))),
            "slow" => {
                tokio::time::sleep(Duration::from_secs(40)).await;
                ok(json!({}))
            }
            "plain" => Ok(("302 Found", format!("Location: http://localhost:{port}/x\r\n"), String::new())),
            // Another door of this very computer, which the owner has not named.
            "inside" => Ok(("302 Found", format!("Location: https://127.0.0.1:{port}/x\r\n"), String::new())),
            "nobody" => Ok(("404 Not Found", String::new(), "<html>who?</html>".into())),
            _ => ok(json!({ "tag": "payRequest", "callback": format!("https://localhost:{port}/pay/{user}"),
                    "minSendable": min, "maxSendable": max, "metadata": metadata(user, port), "commentAllowed": 30 })),
        };
    }
    let amount = url.query_pairs().find(|(name, _)| name == "amount").map(|(_, value)| value.parse::<u64>());
    let amount = amount.transpose()?.unwrap_or_default();
    let amount = if user == "more" { amount + 1_000 } else { amount };
    let text = if user == "other" { "something else".to_owned() } else { metadata(user, port) };
    let invoice = bob.add_invoice_for(MilliSat::new(amount), Sha256::digest(text).into(), Duration::from_secs(600));
    let action = match user {
        "fixed" => {
            json!({ "tag": "url", "description": "Your ticket", "url": format!("https://localhost:{port}/t/7") })
        }
        _ => json!({ "tag": "message", "message": "Thank you, <b>friend</b>" }),
    };
    ok(json!({ "pr": invoice.await?.request, "routes": [], "successAction": action }))
}

/// All of it, through the pages.
pub(super) fn run(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let service = on(stage, Service::start(stage.bob.client.clone()))?;
    // As a stranger's service: it is on this computer, and not asked.
    refused(stage, browser, &service.address("ann"), "private address")?;
    ensure!(service.asked().is_empty(), "the service was asked {:?}", service.asked());
    gallery.ignore(browser)?;
    name_server(stage, browser, gallery, &service)?;
    honest(stage, browser, gallery, &service)?;
    fixed(stage, browser, gallery, &service)?;
    for (user, words) in [
        ("huge", "more than"),
        ("slow", "did not answer within 15 seconds"),
        ("plain", "begin with https://"),
        ("inside", "private address"),
        ("nobody", "knows no such receiver"),
    ] {
        refused(stage, browser, &service.address(user), words)?;
    }
    gallery.ignore(browser)?;
    for (user, words) in [("more", "not for the"), ("other", "something else than the service said")] {
        let before = stage.runtime.block_on(stage.bob.client.balances())?.local;
        offer(stage, browser, &service, user)?;
        browser.fill("#amount", "3000")?;
        browser.click("main form button")?;
        browser.wait_for_text("#offer-complaint", words)?;
        let now = stage.runtime.block_on(stage.bob.client.balances())?.local;
        ensure!(now == before, "{user}'s lie was paid: {before} then {now}");
    }
    gallery.ignore(browser)?;
    fiat(stage, browser, gallery, &service)
}

fn on<T>(stage: &Stage, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    stage.runtime.block_on(work)
}

fn refused(stage: &Stage, browser: &Browser, to: &str, words: &str) -> Outcome {
    browser.open(&stage.url("/send"))?;
    browser.fill("#to", to)?;
    browser.click("form[action='/send'] button")?;
    browser.wait_for_text("#send-complaint", words)?;
    let kept = browser.evaluate("document.querySelector('#to').value")?;
    ensure!(kept == Value::String(to.into()), "the form has lost {to}: {kept}");
    Ok(())
}

fn name_server(stage: &Stage, browser: &Browser, gallery: &mut Gallery, service: &Service) -> Outcome {
    browser.open(&stage.url("/settings/payments"))?;
    gallery.look(browser, "settings-payments")?;
    browser.fill("#own", &format!("localhost:{}", service.port))?;
    browser.fill("#ca", &service.certificate)?;
    submit(browser, "form[action='/settings/payments/servers'] button")?;
    let kept = browser.evaluate("document.querySelector('#own').value")?;
    ensure!(kept == json!(format!("localhost:{}", service.port)), "the page keeps {kept}");
    Ok(())
}

/// Sends a form, and waits until another page has come.
fn submit(browser: &Browser, button: &str) -> Outcome {
    browser.evaluate("window.before = true")?;
    browser.click(button)?;
    until(SOON, || {
        ensure!(
            browser.evaluate("window.before === undefined && document.readyState === 'complete'")? == json!(true),
            "the page stays"
        );
        Ok(())
    })
}

/// To the terms of a receiver.
fn offer(stage: &Stage, browser: &Browser, service: &Service, user: &str) -> Outcome {
    browser.open(&stage.url("/send"))?;
    browser.fill("#to", &service.address(user))?;
    browser.click("form[action='/send'] button")?;
    browser.wait_for_text("h1", &format!("Pay {user}@localhost"))
}

fn honest(stage: &Stage, browser: &Browser, gallery: &mut Gallery, service: &Service) -> Outcome {
    let before = stage.runtime.block_on(stage.bob.client.balances())?.local;
    offer(stage, browser, service, "ann")?;
    gallery.look(browser, "lnurl-offer")?;
    let seen = browser.text("main")?;
    ensure!(seen.contains("Eggs & milk from ann") && seen.contains("200,000 sat"), "the terms are {seen:?}");
    browser.fill("#amount", "300000")?;
    browser.fill("#comment", "for the eggs & more")?;
    browser.click("main form button")?;
    browser.wait_for_text("#offer-complaint", "between")?;
    gallery.ignore(browser)?;
    let kept = browser.evaluate("document.querySelector('#comment').value")?;
    ensure!(kept == json!("for the eggs & more"), "the comment is lost: {kept}");
    browser.fill("#amount", "2,500")?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Check before you pay")?;
    let seen = browser.text("main")?;
    ensure!(seen.contains("2,500 sat") && seen.contains("for the eggs & more"), "the preview shows {seen:?}");
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Paid")?;
    let seen = browser.text("main")?;
    ensure!(seen.contains("Thank you, <b>friend</b>"), "after the payment it says {seen:?}");
    gallery.look(browser, "lnurl-paid")?;
    let more = || stage.runtime.block_on(stage.bob.client.balances()).map(|now| now.local.checked_sub(before));
    until(SOON, || {
        let more = more()?;
        ensure!(more == Some(MilliSat::new(2_500_000)), "bob has {more:?} more");
        Ok(())
    })?;
    let asked = service.asked();
    ensure!(
        asked.iter().any(|line| line.contains("amount=2500000&comment=for+the+eggs+%26+more")),
        "the service was asked {asked:?}"
    );
    Ok(())
}

/// A fixed amount with a part of a satoshi, and a link to the service's own host afterwards; asked for by an LNURL.
fn fixed(stage: &Stage, browser: &Browser, gallery: &mut Gallery, service: &Service) -> Outcome {
    browser.open(&stage.url("/send"))?;
    browser.fill("#to", &format!("lnurlp://localhost:{}/.well-known/lnurlp/fixed", service.port))?;
    browser.click("form[action='/send'] button")?;
    browser.wait_for_text("h1", "Pay localhost")?;
    ensure!(!browser.has("#amount"), "a fixed amount is asked for");
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Check before you pay")?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "Paid")?;
    let link = browser.evaluate("document.querySelector('a[rel~=noopener]').getAttribute('href')")?;
    ensure!(link == json!(format!("https://localhost:{}/t/7", service.port)), "the link is {link}");
    ensure!(browser.text("main")?.contains("1.500 sat"), "the page says {}", browser.text("main")?);
    gallery.look(browser, "lnurl-link")
}

/// Amounts in euros, by the rate of the owner's own server; and off again.
fn fiat(stage: &Stage, browser: &Browser, gallery: &mut Gallery, service: &Service) -> Outcome {
    let choose = |source: &str| -> Outcome {
        browser.open(&stage.url("/settings/payments"))?;
        browser.click(&format!("#source-{source}"))?;
        browser.fill("#url", &format!("https://localhost:{}/prices", service.port))?;
        submit(browser, "form[action='/settings/payments/shown'] button")?;
        let kept = browser.evaluate(&format!("document.querySelector('#source-{source}').checked"))?;
        ensure!(kept == json!(true), "the choice of {source} is not kept");
        Ok(())
    };
    let asked = |service: &Service| service.asked().iter().filter(|line| *line == "/prices").count();
    ensure!(asked(service) == 0, "a rate was asked for before anybody wanted one");
    choose("own")?;
    stage.until_text(browser, "/home", "#balances", "EUR")?;
    gallery.look(browser, "home-fiat")?;
    browser.open(&stage.url("/settings/payments"))?;
    gallery.look(browser, "settings-payments-fiat")?;
    choose("off")?;
    browser.open(&stage.url("/home"))?;
    until(SOON, || {
        let seen = browser.text("#balances")?;
        ensure!(!seen.contains("EUR"), "the home page still shows {seen:?}");
        Ok(())
    })
}
