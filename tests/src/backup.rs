//! Group `backup`: copies of the channel backup at real servers of each kind, and what goes wrong with them.

mod disk;
pub(crate) mod helper;
mod mail;
mod outage;
mod s3;
pub(crate) mod servers;
mod sftp;
mod webdav;

use std::{fs::File, io::Read, time::Duration};

use ::backup::{Error, Name, Probe, Saved, Scb, Target};
use tokio::runtime::Runtime;

use crate::{
    Context,
    report::{Outcome, Report, ensure, fails},
};

/// Runs the group.
pub(crate) fn run(report: &mut Report, _: &Context) -> Outcome {
    report.begin("backup")?;
    let lab = Lab::new()?;
    disk::run(report, &lab)?;
    sftp::run(report, &lab)?;
    webdav::run(report, &lab)?;
    s3::run(report, &lab)?;
    mail::run(report, &lab)?;
    outage::run(report, &lab)
}

/// Where the operations run.
struct Lab {
    runtime: Runtime,
}

impl Lab {
    fn new() -> Outcome<Self> {
        Ok(Self { runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()? })
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn probe(&self, target: &Target) -> Result<Probe, Error> {
        self.wait(target.probe())
    }

    fn push(&self, target: &Target, bytes: &[u8], channels: u32) -> Result<Saved, Error> {
        self.wait(target.push(&Scb::new(bytes.to_vec(), channels, None)))
    }

    fn list(&self, target: &Target) -> Result<Vec<Name>, Error> {
        self.wait(target.list())
    }

    /// What every target that can be read back does.
    fn keeps_copies(&self, target: &Target) -> Outcome {
        let probe = self.probe(target)?;
        ensure!(probe == Probe::ReadBack { left_behind: None }, "the test says {probe:?}");
        ensure!(self.list(target)?.is_empty(), "there are copies before the first: {:?}", self.list(target)?);
        let (small, large) = (random(300)?, random(300_000)?);
        let one = self.push(target, &small, 1)?;
        let two = self.push(target, &large, 1_000)?;
        let same = self.push(target, &large, 1_000)?;
        ensure!(same.name == two.name, "the same content was saved twice: {} and {}", two.name, same.name);
        let names = self.list(target)?;
        ensure!(names == [two.name, one.name], "the list is {names:?} after {} and {}", one.name, two.name);
        ensure!(self.wait(target.fetch(&one.name))? == small, "the older copy differs");
        let latest = self.wait(target.latest())?;
        ensure!(latest == Some((two.name, large.clone())), "the newest is not the one saved last");
        let check = async |bytes| if bytes == large { Ok(()) } else { Err("other bytes".to_owned()) };
        let checked = self.wait(target.verify_latest(check))?;
        ensure!(checked == two.name, "the drill took {checked}");
        self.survives_a_race(target)
    }

    /// Two pushes of the same at the same time, as after a restart in the middle of one: a whole copy, and no second.
    fn survives_a_race(&self, target: &Target) -> Outcome {
        let scb = Scb::new(random(50_000)?, 3, None);
        let before = self.list(target)?.len();
        let (one, two) = self.wait(async { tokio::join!(target.push(&scb), target.push(&scb)) });
        ensure!(one.is_ok() || two.is_ok(), "neither was saved: {one:?}, {two:?}");
        let after = self.list(target)?.len();
        ensure!(after == before + 1, "{} copies of the same", after - before);
        let latest = self.wait(target.latest())?;
        ensure!(latest.is_some_and(|(_, bytes)| bytes == scb.bytes), "the newest is not the one saved last");
        Ok(())
    }
}

fn random(length: usize) -> Outcome<Vec<u8>> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The operation failed, as `is_expected` says; gives the sentence.
fn fault<T: std::fmt::Debug>(outcome: Result<T, Error>, is_expected: impl Fn(&Error) -> bool) -> Outcome<String> {
    match outcome {
        Err(error) if is_expected(&error) => Ok(error.to_string()),
        Err(error) => fails(format!("another fault: {error} ({error:?})")),
        Ok(done) => fails(format!("it succeeded: {done:?}")),
    }
}

/// The same for a pattern.
macro_rules! expect_fault {
    ($outcome:expr, $pattern:pat $(if $guard:expr)?) => {
        $crate::backup::fault($outcome, |error| matches!(error, $pattern $(if $guard)?))
    };
}
use expect_fault;

/// How long an outcome may take until the owner would lose patience.
const PATIENCE: Duration = Duration::from_secs(20);

/// A status that must come in time.
fn status(
    lab: &Lab,
    handle: &::backup::pusher::Handle,
    what: &str,
    condition: impl FnMut(&::backup::Status) -> bool,
) -> Outcome<::backup::Status> {
    let mut receiver = handle.status();
    let found = lab.wait(async {
        let found = tokio::time::timeout(PATIENCE, receiver.wait_for(condition)).await;
        found.map(|found| found.map(|status| status.clone()))
    });
    match found {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(_)) => fails("the pusher ended"),
        Err(_) => fails(format!("after {} s still not {what}: {:?}", PATIENCE.as_secs(), *receiver.borrow())),
    }
}
