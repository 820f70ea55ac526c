//! Apache with mod_dav.

use std::fs;

use ::backup::{Error, Probe, Secret, Target, config::Webdav};

use super::{
    Lab, expect_fault, random,
    servers::{CA_NAME, PASSWORD, Server, Tls, USER, apache},
};
use crate::report::{Outcome, Report, ensure, fails};

pub(super) fn run(report: &mut Report, lab: &Lab) -> Outcome {
    let folder = tempfile::tempdir()?;
    let tls = Tls::make(folder.path())?;
    let log = report.log("apache.log");
    let Some(mut server) = report.need("Apache starts", || apache(&log, &tls)) else { return Ok(()) };
    let at = |server: &Server, folder: &str| Webdav {
        url: format!("https://localhost:{}/{folder}", server.port),
        user: USER.into(),
        password: Secret::new(PASSWORD),
        ca: Some(tls.ca.clone()),
    };
    report.test("a WebDAV server keeps copies, in a folder that the test makes", || {
        lab.keeps_copies(&Target::Webdav(at(&server, "dav/node/copies/")))
    });
    report.test("a WebDAV server that cannot rename keeps copies, and no part of one", || {
        lab.keeps_copies(&Target::Webdav(at(&server, "dav/no-move")))?;
        let files = fs::read_dir(server.path().join("www/dav/no-move"))?.flatten();
        let parts: Vec<_> =
            files.map(|file| file.file_name()).filter(|name| name.as_encoded_bytes()[0] == b'.').collect();
        // Apache keeps properties in a folder of that name.
        ensure!(parts.iter().all(|name| name == ".DAV"), "left behind: {parts:?}");
        Ok(())
    });
    report.test("a target that lets nothing be removed passes the test, which says what it left", || {
        let target = Target::Webdav(at(&server, "dav/append-only"));
        let Probe::ReadBack { left_behind: Some(name) } = lab.probe(&target)? else { return fails("nothing is left") };
        ensure!(name.starts_with("homebolt-test-"), "{name} was left");
        lab.push(&target, b"one", 1)?;
        ensure!(lab.list(&target)?.len() == 1, "the list is {:?}", lab.list(&target)?);
        Ok(())
    });
    report.test("a certificate that is not trusted is told, with who issued it", || {
        let target = Target::Webdav(Webdav { ca: None, ..at(&server, "dav/") });
        let words = expect_fault!(lab.probe(&target), Error::Server(fetch::Error::Untrusted { .. }))?;
        ensure!(words.contains(CA_NAME), "{words}");
        Ok(())
    });
    report.test("a wrong WebDAV password is told", || {
        let target = Target::Webdav(Webdav { password: Secret::new("wrong"), ..at(&server, "dav/") });
        expect_fault!(lab.probe(&target), Error::Login { .. }).map(drop)
    });
    report.test("a WebDAV folder that is read-only, not there or no WebDAV is told", || {
        expect_fault!(lab.probe(&Target::Webdav(at(&server, "dav/read-only"))), Error::Denied { .. })?;
        expect_fault!(lab.push(&Target::Webdav(at(&server, "dav/nowhere")), b"one", 1), Error::NoPlace { .. })?;
        let words = expect_fault!(lab.probe(&Target::Webdav(at(&server, "plain"))), Error::Answer { .. })?;
        ensure!(words.contains("no WebDAV"), "{words}");
        Ok(())
    });
    report.test("a full disk behind WebDAV is told", || {
        let target = Target::Webdav(at(&server, "dav/small"));
        let saved = lab.push(&target, b"small", 1)?;
        expect_fault!(lab.push(&target, &random(200_000)?, 2), Error::Full { .. })?;
        ensure!(lab.list(&target)? == [saved.name], "the list is {:?}", lab.list(&target)?);
        Ok(())
    });
    report.test("a WebDAV address without TLS is refused before a password is sent", || {
        let url = format!("http://localhost:{}/dav/", server.port);
        let target = Target::Webdav(Webdav { url, ..at(&server, "") });
        expect_fault!(lab.probe(&target), Error::Setting { .. }).map(drop)
    });
    report.test("a WebDAV server that is off is told", || {
        server.kill();
        expect_fault!(lab.probe(&Target::Webdav(at(&server, "dav/"))), Error::Server(fetch::Error::Refused { .. }))
            .map(drop)
    });
    Ok(())
}
