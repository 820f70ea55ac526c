//! Runs a program and keeps its words for the case that it fails.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::{
    cache::Cache,
    error::{At, Error},
};

/// How many of a failed program's lines are shown.
const TAIL_LINES: usize = 15;

/// Runs `command` to its end and gives what it printed to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let program = name(command);
    let result = command.stdin(Stdio::null()).output().map_err(|error| missing(&program, &error))?;
    if result.status.success() {
        return Ok(String::from_utf8_lossy(&result.stdout).into_owned());
    }
    let all = [result.stdout, result.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    Err(failed(program, &result.status.to_string(), all.lines()))
}

/// Runs a long `command`; `progress` gets each line of its standard error as it comes.
pub(crate) fn stream(command: &mut Command, mut progress: impl FnMut(&str)) -> Result<(), Error> {
    let program = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| missing(&program, &error))?;
    let mut lines = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            progress(&line);
            lines.push(line);
        }
    }
    let status = child.wait().at("wait for", &program)?;
    if status.success() { Ok(()) } else { Err(failed(program, &status.to_string(), lines.iter().map(String::as_str))) }
}

fn failed<'a>(program: String, status: &str, lines: impl Iterator<Item = &'a str>) -> Error {
    let lines: Vec<&str> = lines.collect();
    if lines.iter().any(|line| line.contains("No space left on device")) {
        // All that programs write is there.
        return Error::DiskFull { path: Cache::folder() };
    }
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    Error::Failed { program, status: status.to_owned(), tail }
}

fn missing(program: &str, error: &std::io::Error) -> Error {
    Error::Missing { program: program.to_owned(), advice: format!("{error}; run ./scripts/setup once") }
}

/// The program's name: behind `chroot` the one that runs in there.
fn name(command: &Command) -> String {
    let words = || std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy);
    words()
        .find(|word| !word.contains('=') && !matches!(&**word, "chroot" | "env") && !word.starts_with(['/', '-']))
        .or_else(|| words().next())
        .map(|word| word.into_owned())
        .unwrap_or_default()
}
