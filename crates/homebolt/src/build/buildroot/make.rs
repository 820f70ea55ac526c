//! Runs Buildroot's make: says how far it is, keeps all it prints, and tells what it stopped at.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    super::{
        command,
        error::{At, Error},
    },
    log::{self, Packages, Watch},
};

/// A tree of Buildroot, our additions, and where everything it makes goes.
#[derive(Debug)]
pub struct Make {
    pub program: PathBuf,
    pub buildroot: PathBuf,
    pub external: PathBuf,
    pub output: PathBuf,
}

impl Make {
    /// make with these goals. Of the caller's environment it sees what leads to programs and servers, and Buildroot's
    /// own variables.
    pub fn command(&self, goals: &[&str]) -> Command {
        let mut make = Command::new(&self.program);
        make.arg("-C").arg(&self.buildroot).arg(format!("O={}", self.output.display()));
        make.arg(format!("BR2_EXTERNAL={}", self.external.display())).args(goals);
        let leads = |name: &str| {
            matches!(
                name,
                "PATH" | "HOME" | "USER" | "SSL_CERT_FILE" | "SSL_CERT_DIR" | "GOPROXY" | "GOSUMDB" | "GONOSUMDB"
            ) || matches!(name, "BR2_DL_DIR" | "BR2_CCACHE_DIR")
                || name.to_ascii_lowercase().ends_with("_proxy")
                || ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"].iter().any(|prefix| name.starts_with(prefix))
        };
        make.env_clear().envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(leads)));
        // Root in the sandbox is nobody outside, which a few packages cannot know.
        make.env("LC_ALL", "C.UTF-8").env("TERM", "dumb").env("FORCE_UNSAFE_CONFIGURE", "1");
        make
    }

    /// The packages of the configuration.
    pub fn packages(&self) -> Result<Packages, Error> {
        let text = command::output(&mut self.command(&["--silent", "--no-print-directory", "show-info"]))?;
        log::packages(&text).map_err(|error| Error::File { path: "make show-info".into(), why: error.to_string() })
    }

    /// Builds `goals`. All that is printed goes to the file `log`.
    pub fn build(&self, goals: &[&str], packages: &Packages, log: &Path) -> Result<(), Error> {
        let done = packages.iter().filter(|(_, package)| {
            !package.stamp_dir.is_empty() && self.output.join(&package.stamp_dir).join(".stamp_installed").exists()
        });
        let mut watch = Watch::new(packages, done.map(|(name, _)| name.clone()));
        let mut command = self.command(goals);
        let file = File::create(log).at("create", log)?;
        let mut kept = BufWriter::new(file);
        let missing = |error: std::io::Error| Error::Missing {
            program: "make".into(),
            advice: format!("{error}; run ./scripts/setup build buildroot once"),
        };
        let (reader, writer) = std::io::pipe().at("open a pipe to", &self.program)?;
        command.stdin(Stdio::null()).stdout(writer.try_clone().at("share a pipe with", &self.program)?).stderr(writer);
        let mut child = command.spawn().map_err(missing)?;
        // Its ends of the pipe are held by the command until here.
        drop(command);
        let mut shown = Shown::new(watch.count().1);
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        // Not every compiler's message is UTF-8.
        while reader.read_until(b'\n', &mut bytes).at("read", "the words of make")? > 0 {
            kept.write_all(&bytes).at("write", log)?;
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if let Some(step) = watch.line(&line).cloned() {
                shown.step(watch.count(), &step);
            }
            bytes.clear();
        }
        kept.flush().at("write", log)?;
        let status = child.wait().at("wait for", &self.program)?;
        if status.success() {
            return Ok(());
        }
        let (package, step, tail) = watch.failure();
        if tail.contains("No space left on device") {
            return Err(Error::DiskFull { path: self.output.clone() });
        }
        Err(Error::Buildroot { package, step: step.to_lowercase(), log: log.to_owned(), tail })
    }
}

/// Nobody reads more lines than that.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// How far it is: a bar on a terminal, elsewhere a line for each package, but none for what takes no time.
#[derive(Debug)]
struct Shown {
    started: Instant,
    printed: Option<(Instant, String)>,
    bar: Option<ProgressBar>,
}

impl Shown {
    fn new(all: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("     buildroot  {wide_bar}  {pos} of {len}  {msg}  {elapsed}");
            let bar = ProgressBar::new(all as u64);
            bar.enable_steady_tick(Duration::from_secs(1));
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { started: Instant::now(), printed: None, bar }
    }

    fn step(&mut self, (done, all): (usize, usize), step: &log::Step) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(format!("{} {}", step.package, step.doing.to_lowercase()).trim().to_owned());
            return;
        }
        let again = self.printed.as_ref().is_some_and(|(_, package)| *package == step.package);
        if again || self.printed.as_ref().is_some_and(|(when, _)| when.elapsed() < BETWEEN_LINES) {
            return;
        }
        eprintln!("{:>14}  {}", "buildroot", line(done, all, step, self.started.elapsed()));
        self.printed = Some((Instant::now(), step.package.clone()));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `12 of 123 packages, 3 min: host-gcc-final building`.
fn line(done: usize, all: usize, step: &log::Step, elapsed: Duration) -> String {
    let doing = format!("{} {}", step.package, step.doing.to_lowercase());
    format!("{done} of {all} packages, {}: {}", minutes(elapsed), doing.trim())
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Whether the marks of a package say that it was built before.
pub fn is_built(output: &Path, packages: &Packages, name: &str) -> bool {
    packages
        .get(name)
        .is_some_and(|package| fs::exists(output.join(&package.stamp_dir).join(".stamp_built")).unwrap_or(false))
}

#[cfg(test)]
mod tests;
