//! Python's aiosmtpd.

use std::{fs, time::Duration};

use ::backup::{
    Error, Probe, Secret, Target,
    config::{Mail, MailTls},
};
use base64::Engine;

use super::{
    Lab, expect_fault, random,
    servers::{PASSWORD, Server, Tls, USER, smtp},
};
use crate::report::{Outcome, Report, ensure, fails, until};

pub(super) fn run(report: &mut Report, lab: &Lab) -> Outcome {
    let folder = tempfile::tempdir()?;
    let tls = Tls::make(folder.path())?;
    for (mode, kind) in [("starttls", MailTls::StartTls), ("implicit", MailTls::Implicit)] {
        let log = report.log(&format!("smtp-{mode}.log"));
        let name = format!("the mail server starts ({mode})");
        let Some(mut server) = report.need(&name, || smtp(&log, &tls, mode)) else { return Ok(()) };
        let at = |server: &Server, change: &dyn Fn(&mut Mail)| {
            let mut config = Mail {
                host: "localhost".into(),
                port: server.port,
                tls: kind,
                user: USER.into(),
                password: Secret::new(PASSWORD),
                from: "node@example.com".into(),
                to: "ann@example.com".into(),
                ca: Some(tls.ca.clone()),
            };
            change(&mut config);
            Target::Mail(config)
        };
        report.test(&format!("the code in the test mail is the one that the page waits for ({mode})"), || {
            let Probe::Mailed { code } = lab.probe(&at(&server, &|_| {}))? else { return fails("no mail") };
            let mail = mail(&server, 1)?;
            ensure!(mail.contains(&code) && mail.contains("To: ann@example.com"), "the mail has no {code}:\n{mail}");
            Ok(())
        });
        report.test(&format!("a copy comes by mail as an attachment ({mode})"), || {
            let scb = random(3_000)?;
            let saved = lab.push(&at(&server, &|_| {}), &scb, 12)?;
            let mail = mail(&server, 2)?;
            ensure!(mail.contains(&saved.name.to_string()), "the mail has no {}:\n{mail}", saved.name);
            ensure!(attachment(&mail)? == scb, "the attachment differs:\n{mail}");
            Ok(())
        });
        report.test(
            &format!("a wrong mail password, a full mailbox and a foreign certificate are told ({mode})"),
            || {
                let wrong = at(&server, &|config| config.password = Secret::new("wrong"));
                expect_fault!(lab.probe(&wrong), Error::Login { .. })?;
                let full = at(&server, &|config| config.to = "full@example.com".into());
                expect_fault!(lab.push(&full, b"one", 1), Error::Full { .. })?;
                let foreign = at(&server, &|config| config.ca = None);
                expect_fault!(lab.probe(&foreign), Error::Server(fetch::Error::Untrusted { .. }))?;
                expect_fault!(lab.wait(at(&server, &|_| {}).latest()), Error::NotReadable).map(drop)
            },
        );
        report.test(&format!("TLS of the other kind and a server that is off are told ({mode})"), || {
            let other = match kind {
                MailTls::StartTls => MailTls::Implicit,
                MailTls::Implicit => MailTls::StartTls,
            };
            let target = at(&server, &|config| config.tls = other);
            expect_fault!(lab.probe(&target), Error::Server(fetch::Error::Tls { .. } | fetch::Error::Timeout { .. }))?;
            server.kill();
            expect_fault!(lab.probe(&at(&server, &|_| {})), Error::Server(fetch::Error::Refused { .. })).map(drop)
        });
    }
    Ok(())
}

fn mail(server: &Server, number: u32) -> Outcome<String> {
    let path = server.path().join(format!("mails/{number:04}.eml"));
    until(Duration::from_secs(5), || Ok(fs::read_to_string(&path)?))
}

/// The part of a mail in base64.
fn attachment(mail: &str) -> Outcome<Vec<u8>> {
    let mail = mail.replace("\r\n", "\n");
    let parts = mail.split("Content-Transfer-Encoding: base64").nth(1);
    let body = parts.and_then(|part| part.split_once("\n\n")).and_then(|(_, body)| body.split("\n--").next());
    let Some(body) = body else { return fails(format!("the mail has no attachment:\n{mail}")) };
    let text: String = body.split_whitespace().collect();
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}
