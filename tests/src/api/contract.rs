//! schemathesis, which reads the OpenAPI document and asks for everything in it in every way it can think of.

use std::{fs, path::Path, process::Command};

use crate::{
    axe::cache,
    report::{Outcome, ensure, skip, tail},
};

use super::lab::{Lab, SCOPES};

/// As `scripts/setup` installs it.
const VERSION: &str = "4.32.5";

/// What is left out, and why: 503 while LND is busy with a thing of the tests is no fault of the box's, but nothing here
/// is to hide one. A value that fits its pattern may still be none (an invoice of nobody's), so 409 and 422 are good
/// answers to good data.
const CONFIG: &str = r#"
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "415", "422", "429"]
missing_required_header.expected-statuses = ["400", "401", "404"]
"#;

pub(super) fn run(lab: &mut Lab, logs: &Path) -> Outcome {
    let program = cache().join(format!("schemathesis-{VERSION}/bin/schemathesis"));
    if !program.is_file() {
        return skip(format!("there is no {}: scripts/setup test installs it", program.display()));
    }
    // It asks for LND to be started again, too, and is to find it where it was.
    lab.root.say_no();
    // Its own key: the limits of a program's pace are its own, and it may pay nothing.
    let key = lab.key("schemathesis", &SCOPES, Some((1, 1)))?.key;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("schemathesis.toml");
    fs::write(&config, CONFIG)?;
    let document = folder.path().join("openapi.json");
    fs::write(&document, lab.program.ask("GET", "/api/v1/openapi.json")?.body)?;
    let mut command = Command::new(&program);
    command.arg("--config-file").arg(&config).args(["run"]).arg(&document);
    command.arg("--url").arg(lab.manager.tls().origin()).args(["--tls-verify", "false"]);
    // The key goes by the environment of nothing and the arguments of nobody else: the box is this computer.
    command.arg("--header").arg(format!("Authorization: Bearer {key}"));
    command.args(["--max-examples", "15", "--seed", "1", "--rate-limit", "45/s", "--continue-on-failure"]);
    // One worker: two threads that read Python at once make CPython 3.11 fall over, now and then (gh-106905).
    command.args(["--suppress-health-check", "all", "--request-timeout", "40", "--workers", "1"]);
    // A stream has no end.
    command.args(["--exclude-path", "/api/v1/events", "--phases", "examples,coverage,fuzzing"]);
    let output = command.current_dir(folder.path()).env("NO_COLOR", "1").output()?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // Its hints for repeating a request name the key, which the tests look for in the logs.
    fs::write(logs.join("schemathesis.log"), words.replace(&key, "hbk_..."))?;
    ensure!(output.status.success(), "{}", tail(&words.replace(&key, "hbk_..."), 60));
    Ok(())
}
