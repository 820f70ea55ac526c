//! Group `unit`: what cargo knows of the sources.

use std::{
    fs::OpenOptions,
    path::Path,
    process::{Command, Output},
    time::Instant,
};

use crate::{
    Context,
    axe::cache,
    report::{Outcome, Report, ensure, fails, program, skip, tail},
};

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("unit")?;
    report.test("the sources are formatted", || {
        succeed(cargo(&context.root).args(["fmt", "--all", "--check"]).output()?)
    });
    report.test("clippy has nothing to say", || {
        let words = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        succeed(cargo(&context.root).args(words).output()?)
    });
    report.test("licences and sources of all crates are allowed", || {
        deny(&context.root, &["bans", "licenses", "sources"])
    });
    report.test("no crate has a known weakness", || deny(&context.root, &["advisories"]));
    let start = Instant::now();
    let mut tests = cargo(&context.root);
    tests.args(["test", "--workspace", "--no-fail-fast", "--color", "never", "--", "--show-output"]);
    // Those marked #[ignore] flash loop devices, which only root can make.
    if OpenOptions::new().write(true).open("/dev/loop-control").is_ok() {
        tests.arg("--include-ignored");
    }
    if let Some(lnd) = context.lnd() {
        tests.env("LND_BINARY", lnd);
    }
    let output = tests.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    report.keep("cargo-test.log", &format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    let sums = sum(&text);
    for reason in &sums.skips {
        report.note(&format!("skip  {reason}"));
    }
    // One of the failed is counted with the line below.
    let others = sums.failed.saturating_sub(1);
    report.count(sums.passed - sums.skips.len().min(sums.passed), others, sums.skips.len());
    let name = format!("cargo test: {} tests of {} programs", sums.passed + sums.failed, sums.programs);
    let outcome = if output.status.success() {
        Ok(())
    } else if sums.failed > 0 {
        let (names, log) = (sums.failures.join("\n"), report.log("cargo-test.log"));
        fails(format!("{} of them failed, see {}:\n{names}", sums.failed, log.display()))
    } else {
        fails(tail(&String::from_utf8_lossy(&output.stderr), 30))
    };
    report.done(&name, start.elapsed(), outcome);
    Ok(())
}

/// Compilers give way to the machines beside them, whose starts have a bar.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new("nice");
    cargo.args(["-n", "10", "cargo"]).current_dir(root);
    cargo
}

fn succeed(output: Output) -> Outcome {
    let both = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", tail(&String::from_utf8_lossy(&both), 40));
    Ok(())
}

fn deny(root: &Path, checks: &[&str]) -> Outcome {
    let own = cache().join("bin/cargo-deny");
    let Some(deny) = program("cargo-deny").or_else(|| own.is_file().then_some(own)) else {
        return skip("cargo-deny is not installed: scripts/setup test");
    };
    let output = Command::new(deny).args(["--color", "never", "check"]).args(checks).current_dir(root).output()?;
    if String::from_utf8_lossy(&output.stderr).contains("failed to fetch advisory database") {
        return skip("the data base of known weaknesses cannot be reached from here");
    }
    succeed(output)
}

/// What `cargo test` printed, summed up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    programs: usize,
    passed: usize,
    failed: usize,
    /// Reasons of tests that could not try their thing; they count as passed in `passed`.
    skips: Vec<String>,
    failures: Vec<String>,
}

fn sum(text: &str) -> Sums {
    let mut sums = Sums::default();
    for line in text.lines() {
        if let Some(result) = line.strip_prefix("test result: ") {
            let number = |word: &str| -> usize {
                let part = result.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(word));
                part.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
            };
            sums.programs += 1;
            sums.passed += number(" passed");
            sums.failed += number(" failed");
            let ignored = number(" ignored");
            sums.skips.extend((ignored > 0).then(|| format!("{ignored} tests need root and loop devices")));
        } else if let Some(reason) = line.trim().strip_prefix("SKIP") {
            sums.skips.push(reason.trim_start_matches([':', ' ']).to_owned());
        } else if let Some(name) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            sums.failures.push(name.to_owned());
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_all_programs_are_added_and_skips_are_found() {
        let text = "running 2 tests\ntest a ... ok\ntest b::c ... FAILED\n\n---- a stdout ----\nSKIP: no lnd program\n\n\
                    test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.5s\n\
                    test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 2s\n";
        let expected = Sums {
            programs: 2,
            passed: 13,
            failed: 1,
            skips: vec!["no lnd program".into()],
            failures: vec!["b::c".into()],
        };
        assert_eq!(sum(text), expected);
    }
}
