//! OpenSSH's server.

use std::fs;

use ::backup::{
    Error, HostKey, Probe, Secret, Target,
    config::{Sftp, SftpLogin},
    sftp::generate_key,
};

use super::{
    Lab, expect_fault, random,
    servers::{PASSWORD, Server, USER, fingerprint, new_host_key, sshd},
};
use crate::report::{Outcome, Report, ensure, fails};

pub(super) fn run(report: &mut Report, lab: &Lab) -> Outcome {
    let (private, public) = generate_key()?;
    let log = report.log("sshd.log");
    let Some(mut server) = report.need("OpenSSH's server starts", || sshd(&log, &public)) else { return Ok(()) };
    report.test(
        "an SFTP server's key is shown as ssh-keygen shows it, and nothing is sent before it is confirmed",
        || {
            let config = config(&server, "copies");
            let shown = host_key(lab, &config)?.fingerprint();
            let expected = fingerprint(server.path(), "ed25519")?;
            ensure!(shown == expected, "the page would show {shown}, ssh-keygen shows {expected}");
            expect_fault!(lab.list(&Target::Sftp(config)), Error::HostKeyUnconfirmed { .. })?;
            let words = fs::read_to_string(&log)?;
            ensure!(!words.contains("for ann"), "a login was tried:\n{words}");
            Ok(())
        },
    );
    report.test("an SFTP server keeps copies, by password, in a folder that the test makes", || {
        lab.keeps_copies(&confirmed(lab, &server, "new/copies")?)
    });
    report.test("an SFTP server keeps copies, by the box's own key", || {
        let Target::Sftp(mut config) = confirmed(lab, &server, "by-key")? else { return fails("no SFTP") };
        config.login = SftpLogin::Key(private.clone());
        lab.keeps_copies(&Target::Sftp(config))
    });
    report.test("a wrong SFTP password and a wrong key are told", || {
        let Target::Sftp(mut config) = confirmed(lab, &server, "copies")? else { return fails("no SFTP") };
        config.login = SftpLogin::Password(Secret::new("wrong"));
        expect_fault!(lab.probe(&Target::Sftp(config.clone())), Error::Login { what: "password", .. })?;
        config.login = SftpLogin::Key(generate_key()?.0);
        expect_fault!(lab.probe(&Target::Sftp(config)), Error::Login { what: "key", .. }).map(drop)
    });
    report.test("a full disk behind SFTP is told, and leaves no part behind", || {
        let target = confirmed(lab, &server, "small")?;
        let saved = lab.push(&target, b"small", 1)?;
        expect_fault!(lab.push(&target, &random(200_000)?, 2), Error::Full { .. })?;
        ensure!(lab.list(&target)? == [saved.name], "the list is {:?}", lab.list(&target)?);
        let files = fs::read_dir(server.inside(&server.path().join("home/small"))?)?.count();
        ensure!(files == 1, "there are {files} files");
        Ok(())
    });
    report.test("a read-only folder behind SFTP is told, and one without permission, too", || {
        let target = confirmed(lab, &server, "read-only")?;
        expect_fault!(lab.probe(&target), Error::ReadOnly { .. })?;
        expect_fault!(lab.probe(&confirmed(lab, &server, "/usr")?), Error::Denied { .. })?;
        expect_fault!(lab.push(&confirmed(lab, &server, "nowhere")?, b"one", 1), Error::NoPlace { .. }).map(drop)
    });
    report.test("a newer kind of host key beside the confirmed one is no change", || {
        let Target::Sftp(mut config) = confirmed(lab, &server, "two-keys")? else { return fails("no SFTP") };
        let text = fs::read_to_string(server.path().join("ecdsa.pub"))?;
        config.host_key = Some(HostKey(text.split(' ').take(2).collect::<Vec<_>>().join(" ")));
        let probe = lab.probe(&Target::Sftp(config))?;
        ensure!(matches!(probe, Probe::ReadBack { .. }), "the test says {probe:?}");
        Ok(())
    });
    report.test("a changed host key is an error that shows both, and nothing is sent", || {
        let target = confirmed(lab, &server, "copies")?;
        let before = fingerprint(server.path(), "ed25519")?;
        server.kill();
        new_host_key(server.path(), "ed25519")?;
        fs::write(&log, "")?;
        server.start()?;
        let words = expect_fault!(lab.push(&target, b"one", 1), Error::HostKeyChanged { .. })?;
        let after = fingerprint(server.path(), "ed25519")?;
        ensure!(words.contains(&before) && words.contains(&after), "{words}");
        let seen = fs::read_to_string(&log)?;
        ensure!(!seen.contains("for ann"), "a login was tried:\n{seen}");
        Ok(())
    });
    report.test("an SFTP server that is off is told, and so is one that is something else", || {
        let target = confirmed(lab, &server, "copies")?;
        server.kill();
        expect_fault!(lab.probe(&target), Error::Server(fetch::Error::Refused { .. }))?;
        let other = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        let Target::Sftp(mut config) = target else { return fails("no SFTP") };
        config.port = other.local_addr()?.port();
        let talker = std::thread::spawn(move || {
            let (mut stream, _) = other.accept()?;
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        });
        expect_fault!(lab.probe(&Target::Sftp(config)), Error::Answer { .. })?;
        talker.join().map_err(|_| crate::report::Fault::Fails("the other server panicked".into()))??;
        Ok(())
    });
    Ok(())
}

pub(super) fn config(server: &Server, folder: &str) -> Sftp {
    Sftp {
        host: "127.0.0.1".into(),
        port: server.port,
        user: USER.into(),
        login: SftpLogin::Password(Secret::new(PASSWORD)),
        folder: folder.into(),
        host_key: None,
    }
}

fn host_key(lab: &Lab, config: &Sftp) -> Outcome<HostKey> {
    match lab.probe(&Target::Sftp(config.clone()))? {
        Probe::ConfirmHostKey(key) => Ok(key),
        other => fails(format!("the test says {other:?} before the host key is confirmed")),
    }
}

/// A target whose host key the owner has confirmed.
pub(super) fn confirmed(lab: &Lab, server: &Server, folder: &str) -> Outcome<Target> {
    let config = config(server, folder);
    let host_key = Some(host_key(lab, &config)?);
    Ok(Target::Sftp(Sftp { host_key, ..config }))
}
