//! Group `bitcoind`: the wizard's test of an own bitcoind and the watcher, against real ones.

mod fakes;
mod faults;
mod follow;
pub(crate) mod node;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bitcoind::{
    Config, Network,
    probe::{Finding, Options, Report as Findings, Subject},
};

use crate::{
    Context,
    report::{Outcome, Report, ensure, fails, skip},
};

use node::Node;

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("bitcoind")?;
    let program = report.need("there is a bitcoind to test against", || program(context.bitcoind.as_deref()));
    let Some(program) = program else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let lab = Lab { program, logs: report.logs() };
    // Takes a minute of waiting, which passes while others are tested.
    let silence = follow::silence(lab.clone());
    let silence = runtime.spawn(async move {
        let begun = Instant::now();
        let outcome = silence.await;
        (begun.elapsed(), outcome)
    });
    runtime.block_on(faults::run(report, &lab));
    runtime.block_on(follow::run(report, &lab));
    let (time, silence) = runtime.block_on(silence)?;
    report.done("a publisher that tells nothing of a new block is found silent", time, silence);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// The one that was named, or the one from Debian.
pub(crate) fn program(named: Option<&Path>) -> Outcome<PathBuf> {
    use homebolt::build::Error;
    if let Some(program) = named {
        ensure!(program.is_file(), "there is no {}", program.display());
        return Ok(program.to_owned());
    }
    match homebolt::build::borrowed::BITCOIND.prepare() {
        Err(error @ (Error::Unreachable { .. } | Error::NoIndex { .. } | Error::NoMirror)) => skip(error),
        made => Ok(made?),
    }
}

#[derive(Debug, Clone)]
struct Lab {
    program: PathBuf,
    logs: PathBuf,
}

impl Lab {
    fn node(&self, name: &str, network: Network, arguments: &[&str]) -> Outcome<Node> {
        Node::new(&self.program, &self.logs, name, network, arguments)
    }
}

/// Runs a test, named by a sentence.
async fn try_out<T>(report: &mut Report, name: &str, body: impl Future<Output = Outcome<T>>) -> Option<T> {
    let begun = Instant::now();
    let outcome = body.await;
    report.done(name, begun.elapsed(), outcome)
}

/// Short waits, where nothing is waited for.
fn quick() -> Options {
    Options { limit: Duration::from_secs(20), listen: Duration::from_secs(2), ..Options::default() }
}

async fn test(config: &Config, options: Options) -> Outcome<Findings> {
    let limit = options.limit;
    let begun = Instant::now();
    let findings = bitcoind::probe(config, options).await;
    ensure!(begun.elapsed() < limit + Duration::from_secs(2), "it took {:?} of {limit:?}", begun.elapsed());
    for check in &findings.checks {
        let worded = check.finding.is_none() || !check.sentence.is_empty();
        ensure!(worded, "there are no words for {:?}", check.finding);
        let advised = check.state != bitcoind::probe::State::Fail || check.advice.is_some();
        ensure!(advised, "there is no advice for {:?}", check.finding);
    }
    Ok(findings)
}

/// Ends the test unless this was found.
fn found(findings: &Findings, subject: Subject, wanted: impl Fn(&Finding) -> bool) -> Outcome {
    match findings.finding(subject) {
        Some(finding) if wanted(finding) => Ok(()),
        other => fails(format!("about {subject:?} was found {other:?}; all: {:?}", findings.checks)),
    }
}
