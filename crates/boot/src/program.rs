//! Starting other programs and keeping what they said.

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    process::{Command, Stdio},
};

use crate::error::Error;

/// Of a long output only so much of its end is kept, bytes.
const KEPT: usize = 64 * 1024;

/// How a program ended and what it said on both of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub output: String,
}

impl Outcome {
    /// The last lines as one short line, for a sentence.
    pub fn summary(&self) -> String {
        let lines: Vec<&str> = self.output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let summary = lines[lines.len().saturating_sub(3)..].join("; ");
        match summary.char_indices().nth(300) {
            Some((end, _)) => format!("{}...", &summary[..end]),
            None => summary,
        }
    }
}

/// Runs the program at this absolute path to its end.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<Outcome, Error> {
    execute(program, arguments).map_err(|source| Error::Start { program: program.to_owned(), source })
}

/// Runs the program and takes every exit code but 0 for a failure. Returns what it said.
pub fn must<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, Error> {
    let outcome = run(program, arguments)?;
    if outcome.code == Some(0) {
        return Ok(outcome.output);
    }
    let code = outcome.code.map_or("ended by a signal".to_owned(), |code| format!("exit code {code}"));
    Err(Error::Program { program: program.to_owned(), code, output: outcome.summary() })
}

/// Has the program answer to `input` (a pipe's worth, a few kB): only what it prints to its standard output counts, as
/// warnings come by the other. Every exit code but 0 is a failure.
pub fn answer<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &[u8]) -> Result<Vec<u8>, Error> {
    let start = |source| Error::Start { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    let mut child = command.spawn().map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why by its exit code.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = Outcome { code: output.status.code(), output: String::from_utf8_lossy(&output.stderr).into_owned() };
    let code = said.code.map_or("ended by a signal".to_owned(), |code| format!("exit code {code}"));
    Err(Error::Program { program: program.to_owned(), code, output: said.summary() })
}

fn execute<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> io::Result<Outcome> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    // The kernel starts the first process without a path; the programs called may call others.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    let mut child = command.spawn()?;
    // Else our own copy of the writing end keeps the pipe open for ever.
    drop(command);
    let mut output = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        match reader.read(&mut chunk)? {
            0 => break,
            length => output.extend_from_slice(&chunk[..length]),
        }
        if output.len() > 2 * KEPT {
            output.drain(..output.len() - KEPT);
        }
    }
    let code = child.wait()?.code();
    output.drain(..output.len().saturating_sub(KEPT));
    Ok(Outcome { code, output: String::from_utf8_lossy(&output).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_outputs_and_the_exit_code_are_kept() {
        let outcome = run("/bin/sh", &["-c", "echo one; echo two >&2; exit 3"]).unwrap();
        assert_eq!(outcome, Outcome { code: Some(3), output: "one\ntwo\n".into() });
        assert_eq!(outcome.summary(), "one; two");
    }

    #[test]
    fn an_answer_is_without_the_warnings_beside_it() {
        assert_eq!(answer("/bin/sh", &["-c", "echo careful >&2; cat"], b"secret").unwrap(), b"secret");
        assert_eq!(answer("/bin/true", &[] as &[&str], b"unread").unwrap(), b"");
        let error = answer("/bin/sh", &["-c", "echo half; echo no key >&2; exit 1"], b"").unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh failed (exit code 1): no key");
    }

    #[test]
    fn of_an_endless_output_the_end_is_kept() {
        let outcome = run("/bin/sh", &["-c", "yes | head -c 400000; echo end"]).unwrap();
        assert_eq!(outcome.output.len(), KEPT);
        assert!(outcome.output.ends_with("y\nend\n"));
    }

    #[test]
    fn a_failure_names_the_program_and_what_it_said() {
        let error = must("/bin/sh", &["-c", "echo no such device; exit 8"]).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh failed (exit code 8): no such device");
        assert!(matches!(must::<&str>("/no/such/program", &[]), Err(Error::Start { .. })));
    }
}
