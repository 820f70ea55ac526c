//! With a make of our own that says what the real one says.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A folder with `make` in it: a script that prints the package list for `show-info`, otherwise `log`, and ends with
/// `status`.
fn fake(log: &str, status: u8) -> (tempfile::TempDir, Make) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("info"), include_str!("show-info.json")).unwrap();
    fs::write(path("said"), log).unwrap();
    let here = folder.path().display();
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >{here}/asked\nenv >{here}/environment\n\
         case \"$*\" in *show-info) exec cat {here}/info;; esac\n\
         grep -v '^E: ' {here}/said\ngrep '^E: ' {here}/said >&2\nexit {status}\n"
    );
    fs::write(path("make"), script).unwrap();
    fs::set_permissions(path("make"), fs::Permissions::from_mode(0o755)).unwrap();
    let [program, buildroot, external, output] = ["make", "buildroot", "external", "output"].map(path);
    (folder, Make { program, buildroot, external, output })
}

fn build(log: &str, status: u8) -> (tempfile::TempDir, Result<(), Error>) {
    let (folder, make) = fake(log, status);
    let packages = make.packages().unwrap();
    let result = make.build(&["all"], &packages, &folder.path().join("build.log"));
    (folder, result)
}

#[test]
fn a_build_is_told_where_everything_is_and_keeps_the_whole_log() {
    let (folder, result) = build(include_str!("good.log"), 0);
    result.unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let here = folder.path().display();
    assert_eq!(read("asked"), format!("-C\n{here}/buildroot\nO={here}/output\nBR2_EXTERNAL={here}/external\nall\n"));
    assert_eq!(read("build.log"), include_str!("good.log"));
}

#[test]
fn nothing_of_this_machines_settings_gets_into_a_build() {
    let (folder, result) = build("", 0);
    result.unwrap();
    let environment = fs::read_to_string(folder.path().join("environment")).unwrap();
    let names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"PATH") && names.contains(&"FORCE_UNSAFE_CONFIGURE"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("CARGO_PKG") || *name == "CARGO_MANIFEST_DIR"), "{names:?}");
}

#[test]
fn a_failure_is_a_sentence_with_package_step_last_lines_and_log() {
    let (folder, result) = build(include_str!("bad.log"), 2);
    let sentence = result.unwrap_err().to_string();
    let log = folder.path().join("build.log");
    for part in ["iwd", "building", "src/knownnetworks.c:1180:9: error: implicit declaration", &log.to_string_lossy()] {
        assert!(sentence.contains(part), "{part} is missing in: {sentence}");
    }
}

#[test]
fn a_full_disk_is_called_that() {
    let (_folder, result) = build("E: cc1: fatal error: No space left on device\n", 2);
    assert!(matches!(result, Err(Error::DiskFull { .. })), "{result:?}");
}

#[test]
fn a_kernel_symbol_that_was_not_set_stops_the_build_by_its_name() {
    let (_folder, result) = build(include_str!("kernel.log"), 2);
    let sentence = result.unwrap_err().to_string();
    assert!(sentence.contains("configuring") && sentence.contains("linux"), "{sentence}");
    assert!(sentence.contains("asks for CONFIG_DM_VERITY=y"), "{sentence}");
}

#[test]
fn a_make_that_is_not_there_says_what_to_run() {
    let (_folder, mut make) = fake("", 0);
    make.program = "/no/such/make".into();
    let error = make.build(&["all"], &Packages::new(), &make.buildroot.with_extension("log")).unwrap_err();
    assert!(error.to_string().contains("scripts/setup"), "{error}");
}

#[test]
fn a_line_of_progress_says_how_many_how_long_and_what() {
    let step = log::Step { package: "linux".into(), doing: "Building".into() };
    assert_eq!(line(40, 115, &step, Duration::from_secs(1_290)), "40 of 115 packages, 21 min: linux building");
    assert_eq!(minutes(Duration::from_secs(59)), "59 s");
    assert_eq!(minutes(Duration::from_secs(7_380)), "2 h 3 min");
}
