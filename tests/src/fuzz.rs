//! Group `fuzz`: what reads bytes of others is fed with bytes of nobody, for a while each. What a fuzzer finds it leaves
//! in the group's logs; the corpus it begins with is kept beside the targets.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Context,
    axe::cache,
    report::{Outcome, Report, ensure, program, skip, tail},
};

/// Folders with fuzz targets, and the targets.
const TARGETS: [(&str, &str); 7] = [
    ("crates/release/fuzz", "channel"),
    ("crates/release/fuzz", "signed"),
    ("tests/fuzz", "boot_state"),
    ("tests/fuzz", "fat"),
    ("tests/fuzz", "partition_table"),
    ("tests/fuzz", "slot_cfg"),
    ("tests/fuzz", "write_log"),
];

/// Runs the group.
pub(crate) fn run(report: &mut Report, context: &Context) -> Outcome {
    report.begin("fuzz")?;
    let ready = report.need("there is cargo-fuzz", ready);
    if ready.is_none() {
        return Ok(());
    }
    for (folder, target) in TARGETS {
        let log = report.log(&format!("{target}.log"));
        report.test(&format!("no bytes make the reader of {target} fall over or believe what it must not"), || {
            fuzz(&context.root.join(folder), target, context.seconds, &log)
        });
    }
    Ok(())
}

fn ready() -> Outcome {
    let own = cache().join("bin/cargo-fuzz");
    if program("cargo-fuzz").is_none() && !own.is_file() {
        return skip("cargo-fuzz is not installed: scripts/setup test");
    }
    Ok(())
}

fn fuzz(folder: &Path, target: &str, seconds: u32, log: &Path) -> Outcome {
    let found = tempfile::tempdir()?;
    let artifacts = log.with_extension("found");
    std::fs::create_dir_all(&artifacts)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut fuzz = Command::new("cargo");
    fuzz.env("PATH", format!("{path}:{}", cache().join("bin").display()));
    // The sanitizers are behind a flag of nightly compilers; ours has them, too, when it is told to take such flags.
    fuzz.env("RUSTC_BOOTSTRAP", "1");
    // What it makes goes to the cache: everything compiled once more, and thousands of files.
    fuzz.args(["fuzz", "run", "--fuzz-dir"]).arg(folder).arg("--target-dir").arg(cache().join("fuzz"));
    fuzz.arg(target).arg(found.path()).arg(folder.join("corpus").join(target)).arg("--");
    fuzz.arg(format!("-max_total_time={seconds}")).args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]);
    fuzz.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzz.current_dir(folder).stdin(Stdio::null());
    let output = fuzz.output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    std::fs::write(log, &said)?;
    ensure!(
        output.status.success(),
        "it ends with {}; what it found is in {}:\n{}",
        output.status,
        artifacts.display(),
        tail(&said, 12)
    );
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'));
        line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    let runs = number("stat::number_of_executed_units");
    ensure!(runs > 0, "it tried nothing:\n{}", tail(&said, 12));
    println!("        {runs} inputs in {seconds} s");
    Ok(())
}
