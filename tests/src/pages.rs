//! Group `pages`: the manager on this computer, met by HTTP and by a real browser.

mod access;
mod browsing;
mod disks;
mod network;
mod requests;
pub(crate) mod updates;

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    Context,
    browser::Driver,
    manager::{Manager, sound},
    report::{Outcome, Report, ensure, until},
    visitor,
};

pub(crate) use requests::{recovery, trust_page};

/// Starts a manager with what the initrd reports.
type Start<'a> = &'a dyn Fn(&Value) -> Outcome<Manager>;

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("pages")?;
    let Some(program) = report.need("the manager is built", || build(context)) else { return Ok(()) };
    let words = report.log("manager.log");
    let start = |boot: &Value| Manager::start(&program, &words, boot);

    // Its pause takes a minute, which passes while others are tested.
    let paused = report.test("after five wrong codes even the right one waits a minute", || {
        let manager = start(&sound())?;
        visitor::try_wrong_codes(&manager.tls(), &manager.code()?)?;
        Ok(manager)
    });
    requests::run(report, &start);
    requests::power_cuts(report, &start);
    access::run(report, &start);
    let log = report.log("chromedriver.log");
    let driver = report.need("the browser starts", || Driver::start(&log));
    if let Some(driver) = driver {
        browsing::run(report, &driver, &start);
        access::tour(report, &driver, &start);
    }
    if let Some(mut manager) = paused {
        report.test("after the pause the right code is taken, and a restart is no way around the pause", || {
            manager.cut_and_restart()?;
            let client = manager.tls();
            let code = manager.code()?;
            let answer = client.post("/claim", &[("code", &code)])?;
            ensure!(answer.status == 429, "after a restart in the pause the code is answered by {}", answer.status);
            until(Duration::from_secs(70), || visitor::claim(&client, &code)).map(|_| ())
        });
    }
    Ok(())
}

/// The manager's program: the one that was named, or the one cargo makes.
pub(crate) fn build(context: &Context) -> Outcome<PathBuf> {
    if let Some(program) = &context.manager {
        ensure!(program.is_file(), "there is no {}", program.display());
        return Ok(program.clone());
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--bin", "homebolt-manager"]).current_dir(&context.root);
    let output = cargo.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(context.target().join("debug/homebolt-manager"))
}
