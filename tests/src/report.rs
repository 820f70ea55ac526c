//! What came of the tests: a line each, with its time, and the sums at the end.

use std::{
    fmt::Display,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Why a test did not pass.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The behaviour is not there: a sentence with what was seen.
    Fails(String),
    /// It cannot be tried here, and why.
    Skip(String),
}

/// What a test gives.
pub(crate) type Outcome<T = ()> = Result<T, Fault>;

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Fails(homebolt::error::sentence(&error))
    }
}

/// A failure with this sentence.
pub(crate) fn fails<T>(sentence: impl Display) -> Outcome<T> {
    Err(Fault::Fails(sentence.to_string()))
}

/// A skip for this reason.
pub(crate) fn skip<T>(reason: impl Display) -> Outcome<T> {
    Err(Fault::Skip(reason.to_string()))
}

/// Ends the test with a sentence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err($crate::report::Fault::Fails(format!($($sentence)+)));
        }
    };
}
pub(crate) use ensure;

/// Counts, and the folder for logs and pictures.
#[derive(Debug)]
pub(crate) struct Report {
    group: &'static str,
    logs: PathBuf,
    passed: usize,
    failed: usize,
    skipped: usize,
    /// The tests that failed, each with its group: named once more at the end, where the end of a long log shows them.
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(logs: PathBuf) -> Self {
        Self { group: "", logs, passed: 0, failed: 0, skipped: 0, failures: Vec::new() }
    }

    /// Begins a group with an empty log folder of its own.
    pub(crate) fn begin(&mut self, group: &'static str) -> Outcome {
        self.group = group;
        let folder = self.logs();
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(fs::create_dir_all(&folder)?)
    }

    /// Another one for the same group, kept by another thread; see [`Self::add`].
    pub(crate) fn beside(&self) -> Self {
        Self { group: self.group, ..Self::new(self.logs.clone()) }
    }

    /// The log folder of the group.
    pub(crate) fn logs(&self) -> PathBuf {
        self.logs.join(self.group)
    }

    /// Where a log of that name goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(name)
    }

    /// Keeps a text beside the logs. That it cannot be kept fails no test.
    pub(crate) fn keep(&self, name: &str, text: &str) {
        if let Err(error) = fs::write(self.log(name), text) {
            say(&format!("        {name} could not be kept: {error}"));
        }
    }

    /// Runs a test, named by a sentence. Gives what it made, or nothing if it did not pass.
    pub(crate) fn test<T>(&mut self, name: &str, body: impl FnOnce() -> Outcome<T>) -> Option<T> {
        let start = Instant::now();
        let outcome = body();
        self.done(name, start.elapsed(), outcome)
    }

    /// Makes what the following tests stand on: counted only when it cannot be made.
    pub(crate) fn need<T>(&mut self, name: &str, body: impl FnOnce() -> Outcome<T>) -> Option<T> {
        let start = Instant::now();
        match body() {
            Ok(made) => Some(made),
            failed => self.done(name, start.elapsed(), failed),
        }
    }

    /// Counts the outcome of something that ran elsewhere.
    pub(crate) fn done<T>(&mut self, name: &str, time: Duration, outcome: Outcome<T>) -> Option<T> {
        let seconds = format!("{:7.1} s  {}: {name}", time.as_secs_f64(), self.group);
        match outcome {
            Ok(made) => {
                self.passed += 1;
                say(&format!("ok   {seconds}"));
                Some(made)
            }
            Err(Fault::Fails(sentence)) => {
                self.failed += 1;
                self.failures.push(format!("{}: {name}\n{}", self.group, indented(&sentence)));
                say(&format!("FAIL {seconds}\n{}", indented(&sentence)));
                None
            }
            Err(Fault::Skip(reason)) => {
                self.skipped += 1;
                say(&format!("skip {seconds}\n{}", indented(&format!("reason: {reason}"))));
                None
            }
        }
    }

    /// Tests of other runners.
    pub(crate) fn count(&mut self, passed: usize, failed: usize, skipped: usize) {
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }

    /// Something measured, worth reading.
    pub(crate) fn note(&self, text: &str) {
        say(&indented(text));
    }

    /// Adds the counts of one that was kept beside this.
    pub(crate) fn add(&mut self, other: Self) {
        self.count(other.passed, other.failed, other.skipped);
        self.failures.extend(other.failures);
    }

    /// Prints what failed and the last line; whether all is well.
    pub(crate) fn finish(self) -> bool {
        for failure in &self.failures {
            say(&format!("FAIL {failure}"));
        }
        if self.passed + self.failed == 0 {
            say("        no test ran: that is a failure, too");
        }
        say(&format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped));
        self.failed == 0 && self.passed > 0
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n")
}

/// What belongs together at once on standard output: groups may run beside each other. A reader that went away is no
/// reason to stop.
fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{text}");
    let _ = output.flush();
}

/// Tries until it works or the time is over; then the last failure counts. A skip is final.
pub(crate) fn until<T>(limit: Duration, mut attempt: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    let end = Instant::now() + limit;
    loop {
        match attempt() {
            Err(Fault::Fails(sentence)) if Instant::now() >= end => {
                return fails(format!("after {} s still: {sentence}", limit.as_secs()));
            }
            Err(Fault::Fails(_)) => std::thread::sleep(Duration::from_millis(250)),
            outcome => return outcome,
        }
    }
}

/// The end of a long text, for messages.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Where a program is in `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_test_or_with_a_failure_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let report = || {
            let mut report = Report::new(folder.path().join("logs"));
            report.begin("group").unwrap();
            report
        };
        assert!(!report().finish());
        let mut skipped = report();
        assert_eq!(skipped.test("it is skipped", || skip::<()>("no network")), None);
        assert!(!skipped.finish());
        let mut mixed = report();
        assert_eq!(mixed.test("it works", || Ok(7)), Some(7));
        assert!(mixed.test("it does not", || fails::<()>("seen 3")).is_none());
        assert!(!mixed.finish());
        let mut good = report();
        good.count(1, 0, 1);
        assert!(good.finish());
    }

    #[test]
    fn what_works_at_the_third_try_works() {
        let mut tries = 0;
        let outcome = until(Duration::from_secs(5), || {
            tries += 1;
            ensure!(tries == 3, "try {tries}");
            Ok(tries)
        });
        assert_eq!(outcome.unwrap(), 3);
        let Err(Fault::Fails(text)) = until(Duration::ZERO, || fails::<()>("no")) else { panic!() };
        assert_eq!(text, "after 0 s still: no");
    }
}
