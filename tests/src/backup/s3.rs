//! The Versity S3 gateway.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use ::backup::{Error, Secret, Target, config::S3};

use super::{
    Lab, expect_fault,
    servers::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, Tls, s3, s3_gateway},
};
use crate::report::{Outcome, Report, ensure, skip};

pub(super) fn run(report: &mut Report, lab: &Lab) -> Outcome {
    let Some(gateway) = report.need("the S3 server is built", s3_gateway) else { return Ok(()) };
    let log = report.log("s3.log");
    let Some(server) = report.need("the S3 server starts", || s3(&log, &gateway, None, &[])) else { return Ok(()) };
    report.test("an S3 server keeps copies, below a prefix", || {
        lab.keeps_copies(&target(&server, |config| config.prefix = "my node/copies".into()))
    });
    report.test("an S3 server keeps copies in the bucket itself", || lab.keeps_copies(&target(&server, |_| {})));
    report.test("an S3 server over TLS keeps copies once its authority is given", || {
        let folder = tempfile::tempdir()?;
        let tls = Tls::make(folder.path())?;
        let server = s3(&log, &gateway, Some(&tls), &[])?;
        let at = |ca: Option<String>| {
            target(&server, |config| {
                config.endpoint = format!("https://localhost:{}", server.port);
                config.ca = ca;
            })
        };
        expect_fault!(lab.probe(&at(None)), Error::Server(fetch::Error::Untrusted { .. }))?;
        lab.keeps_copies(&at(Some(tls.ca)))
    });
    report.test("a list longer than a page of S3 is read to its end", || {
        let target = target(&server, |config| config.prefix = "many".into());
        let folder = server.path().join(BUCKET).join("many");
        fs::create_dir(&folder)?;
        for number in 0..2_100 {
            fs::write(
                folder.join(format!("scb-20260101T{:06}.000Z-1-00000000.bin", number % 60 + number / 60 * 100)),
                "",
            )?;
        }
        let count = lab.list(&target)?.len();
        ensure!(count == 2_100, "{count} of 2100 copies are listed");
        Ok(())
    });
    report.test("a wrong access key, a wrong secret key and a wrong bucket of S3 are told apart", || {
        let access = target(&server, |config| config.access_key = "nobody".into());
        expect_fault!(lab.probe(&access), Error::Login { what: "access key", .. })?;
        let secret = target(&server, |config| config.secret_key = Secret::new("wrong"));
        expect_fault!(lab.probe(&secret), Error::Login { what: "secret key", .. })?;
        let bucket = target(&server, |config| config.bucket = "other".into());
        expect_fault!(lab.probe(&bucket), Error::NoPlace { .. }).map(drop)
    });
    report.test("a wrong region of S3 is told with the right one", || {
        let region = target(&server, |config| config.region = "eu-north-9".into());
        let words = expect_fault!(lab.probe(&region), Error::WrongRegion { .. } | Error::Answer { .. })?;
        ensure!(words.contains("us-east-1"), "{words}");
        Ok(())
    });
    report.test("a read-only S3 server is told", || {
        let server = s3(&log, &gateway, None, &["--readonly"])?;
        expect_fault!(lab.probe(&target(&server, |_| {})), Error::Denied { .. }).map(drop)
    });
    report.test("a box whose clock is an hour behind is told that by an S3 server", || {
        let words = behind(&target(&server, |_| {}))?;
        ensure!(words.contains("clocks differ"), "the test says: {words}");
        Ok(())
    });
    Ok(())
}

pub(super) fn target(server: &Server, change: impl FnOnce(&mut S3)) -> Target {
    let mut config = S3 {
        endpoint: format!("http://127.0.0.1:{}", server.port),
        region: "us-east-1".into(),
        bucket: BUCKET.into(),
        prefix: String::new(),
        access_key: ACCESS_KEY.into(),
        secret_key: Secret::new(SECRET_KEY),
        ca: None,
    };
    change(&mut config);
    Target::S3(config)
}

/// What the test says in a process whose clock is an hour behind.
fn behind(target: &Target) -> Outcome<String> {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    if !Path::new(&library).is_file() {
        return skip("libfaketime is not installed: scripts/setup test");
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("target.json");
    fs::write(&file, serde_json::to_vec(target)?)?;
    let mut helper = Command::new(std::env::current_exe()?);
    helper.arg("backup-helper").arg("--target").arg(&file).stdin(Stdio::null());
    helper.env("LD_PRELOAD", library).env("FAKETIME", "-1h").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let output = helper.output()?;
    let words = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&words).trim().to_owned())
}
