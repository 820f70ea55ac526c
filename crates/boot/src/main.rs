//! `homebolt-boot`: one program, one verb. As the first process it is the initrd.

use std::process::ExitCode;

use homebolt_boot::{fence, fill, grow, init, mark, request, slots};

const USAGE: &str = "\
homebolt-boot: what runs as root on the box before and beside the manager

As process 1 it is the initrd: it finds the disk, verifies and mounts the root and starts systemd. Else:

  slots         write to /run/homebolt/slots.json how both slots stand and why one failed
  mark <stage>  record on the data partition that this boot reached the stage
  request       carry out what the manager asked for in /run/homebolt/manager/request
  fence         let LND start only if it is not older than the wallet
  grow          grow the data partition to the end of the disk
  fill          copy the running system to a slot that is still empty
";

/// Exit code for a call that is none, as of sysexits.h.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if std::process::id() == 1 {
        init::run()
    }
    let result = match words.get(1..).unwrap_or_default() {
        ["slots"] => slots::run(),
        ["mark", stage] => mark(stage),
        ["request"] => request::run(),
        ["fence"] => fence::run(),
        ["grow"] => grow::run(),
        ["fill"] => fill::run(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(EX_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homebolt-boot: {error}");
            ExitCode::FAILURE
        }
    }
}
