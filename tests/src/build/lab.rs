//! Where builds are run, and what is kept of them.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use homebolt::build::Cache;

use super::mirror::FakeMirror;
use crate::{
    Context,
    report::{Outcome, ensure, tail},
};

/// No build takes longer than this, in seconds, whatever else the machine does.
const LIMIT: &str = "1500";

/// What the tests share.
pub(super) struct Lab {
    pub(super) root: PathBuf,
    pub(super) board: String,
    pub(super) base: String,
    /// The real cache; only read.
    pub(super) cache: PathBuf,
    pub(super) builder: PathBuf,
    logs: PathBuf,
    /// Beside what is in the cache, so that hard links reach it. Deleted at the end.
    pub(super) work: tempfile::TempDir,
}

/// How a build ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) words: String,
}

impl Ended {
    /// The one line of a failure: exit code 1, progress indented, then the sentence.
    pub(super) fn sentence(&self) -> Outcome<&str> {
        ensure!(self.code == Some(1), "it ended with {:?}: {}", self.code, tail(&self.words, 5));
        let (last, before) = self.words.trim_end().rsplit_once('\n').map_or((&*self.words, ""), |(a, b)| (b, a));
        ensure!(last.starts_with("homebolt: "), "the last line is no sentence of the program: {last}");
        let stray = before.lines().find(|line| !line.starts_with("  "));
        ensure!(stray.is_none(), "more than one line: {}", tail(&self.words, 6));
        Ok(last.trim_end())
    }

    pub(super) fn says(&self, words: &[&str]) -> Outcome {
        let sentence = self.sentence()?;
        let missing: Vec<&&str> = words.iter().filter(|word| !sentence.contains(**word)).collect();
        ensure!(missing.is_empty(), "{missing:?} is not in: {sentence}");
        Ok(())
    }

    /// Whether a finished step, or what is fetched, has its line.
    pub(super) fn names(&self, step: &str) -> bool {
        names(&self.words, step)
    }

    pub(super) fn succeeded(&self) -> Outcome {
        ensure!(self.code == Some(0), "it ended with {:?}: {}", self.code, tail(&self.words, 10));
        Ok(())
    }
}

pub(super) fn names(words: &str, step: &str) -> bool {
    words.lines().any(|line| line.trim_start().starts_with(&format!("{step}  ")))
}

impl Lab {
    pub(super) fn open(context: &Context) -> Outcome<Self> {
        let cache = Cache::folder();
        fs::create_dir_all(&cache)?;
        let work = tempfile::Builder::new().prefix("test-").tempdir_in(&cache)?;
        let builder = context.target().join("release/homebolt");
        let (root, logs) = (context.root.clone(), context.logs.join("build"));
        let (board, base) = (context.board.clone(), context.base.clone());
        let lab = Self { root, board, base, cache, builder, logs, work };
        let mut build = Command::new(lab.root.join("scripts/build"));
        build.args(["--board", &lab.board, "--base", &lab.base]).current_dir(&lab.root);
        lab.run("checkout", &mut build)?.succeeded()?;
        Ok(lab)
    }

    pub(super) fn out(&self) -> PathBuf {
        self.root.join("out").join(&self.board)
    }

    /// A path of another length, with what a shell would stumble over.
    pub(super) fn clone(&self) -> PathBuf {
        self.work.path().join("another checkout, in a folder with a longer name")
    }

    pub(super) fn clone_out(&self) -> PathBuf {
        self.clone().join("out").join(&self.board)
    }

    pub(super) fn lock(&self, checkout: &Path) -> PathBuf {
        checkout.join("image/boards").join(&self.board).join("debian.lock")
    }

    /// `homebolt build` in a checkout with a cache.
    pub(super) fn build(&self, checkout: &Path, cache: &Path) -> Command {
        let mut command = Command::new(&self.builder);
        command.args(["build", "--board", &self.board, "--base", &self.base]);
        command.current_dir(checkout).env("HOMEBOLT_CACHE", cache).env("no_proxy", "127.0.0.1");
        command
    }

    /// `homebolt build` in the clone, with packages from the fake mirror.
    pub(super) fn build_from(&self, mirror: &FakeMirror, cache: &Path) -> Command {
        let mut command = self.build(&self.clone(), cache);
        command.env("HOMEBOLT_MIRROR", &mirror.url).env("HOMEBOLT_SECURITY_MIRROR", &mirror.url);
        command
    }

    /// Runs a command to its end, at most `LIMIT`; its words are kept under that name.
    pub(super) fn run(&self, name: &str, command: &mut Command) -> Outcome<Ended> {
        let log = self.logs.join(format!("{name}.log"));
        let mut limited = Command::new("timeout");
        limited.args(["--kill-after=5", LIMIT]).arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            limited.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        let code = limited.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).status()?.code();
        Ok(Ended { code, words: fs::read_to_string(&log)? })
    }

    /// The tracked files as they are now, and those that git does not know but would take.
    pub(super) fn clone_checkout(&self) -> Outcome {
        let clone = self.clone();
        let git = |words: &[&str]| -> Outcome<String> {
            let output = Command::new("git").current_dir(&self.root).args(words).output()?;
            ensure!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        git(&["clone", "--quiet", ".", &clone.to_string_lossy()])?;
        for path in git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?.split_terminator('\0') {
            let (from, to) = (self.root.join(path), clone.join(path));
            if from.is_file() && !from.is_symlink() {
                to.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::copy(&from, &to)?;
            } else if !from.exists() && to.exists() {
                fs::remove_file(&to)?;
            }
        }
        Ok(())
    }
}

/// A build on its way, in a process group of its own.
pub(super) struct Running {
    pub(super) child: Child,
    words: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(command: &mut Command) -> Outcome<Self> {
        let mut child =
            command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let words = Arc::new(Mutex::new(String::new()));
        let reader = child.stderr.take().map(|stderr| {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if let Ok(mut words) = words.lock() {
                        *words += &(line + "\n");
                    }
                }
            })
        });
        Ok(Self { child, words, reader })
    }

    fn words(&self) -> String {
        self.words.lock().map(|words| words.clone()).unwrap_or_default()
    }

    /// Waits until what it printed, or left, is as told. It must still run then.
    pub(super) fn wait_for(&mut self, what: &str, mut is_so: impl FnMut(&str) -> bool) -> Outcome {
        let end = Instant::now() + Duration::from_secs(300);
        while !is_so(&self.words()) {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none(), "waiting for {what}: it ended, {}", tail(&self.words(), 6));
            ensure!(Instant::now() < end, "waiting for {what}: {}", tail(&self.words(), 6));
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// As a power cut would: the whole group at once. Gives what it had printed.
    pub(super) fn kill(mut self) -> Outcome<String> {
        self.kill_group()?;
        Ok(self.words())
    }

    fn kill_group(&mut self) -> std::io::Result<()> {
        Command::new("kill").args(["-9", "--", &format!("-{}", self.child.id())]).stderr(Stdio::null()).status()?;
        self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Outcome<Ended> {
        let code = self.child.wait()?.code();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok(Ended { code, words: self.words() })
    }
}

impl Drop for Running {
    /// A test that gives up leaves no build behind.
    fn drop(&mut self) {
        if self.reader.is_some() {
            let _ = self.kill_group();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_the_only_line_that_is_not_indented() {
        let ended = |code, words: &str| Ended { code: Some(code), words: words.into() };
        let good = ended(1, "         tools  1.0 s\nhomebolt: it is full\n");
        assert_eq!(good.sentence().unwrap(), "homebolt: it is full");
        assert!(good.names("tools") && !good.names("tool") && !good.names("debian"));
        assert!(ended(1, "homebolt: it is full\n").sentence().is_ok());
        assert!(ended(0, "homebolt: it is full\n").sentence().is_err());
        assert!(ended(1, "stray\nhomebolt: it is full\n").sentence().is_err());
        assert!(ended(1, "homebolt: it is full\nand more\n").sentence().is_err());
    }
}
