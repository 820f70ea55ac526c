//! `homebolt-boot`: one program, one verb. As the first process it is the initrd.

use std::process::ExitCode;

use homebolt_boot::{esp, fence, fill, grow, init, mark, network, relocate, request, slots, survey, unlock, update};

const USAGE: &str = "\
homebolt-boot: what runs as root on the box before and beside the manager

As process 1 it is the initrd: it finds the disk, verifies and mounts the root and starts systemd. Else:

  slots         write to /run/homebolt/slots.json how both slots stand and why one failed
  mark <stage>  record on the data partition that this boot reached the stage
  request       carry out what the manager asked for in /run/homebolt/manager/request
  network-trial   make a plan for the network live, and wait until it is confirmed or its time is over
  network-settle  take back what was not confirmed
  fence         let LND start only if it is not older than the wallet
  unlock        let LND unlock its wallet by itself if the sealed password opens
  grow          grow the data partition to the end of the disk
  disks         write to /run/homebolt/disks.json what disks there are and what is on them
  move          move the data to another disk, as /data/system/move.json says
  moved         what follows a move, however it ended
  update        take the update that is under way as far as it goes by itself
  update-settle   before the health gate: say whether a new version is on trial, and save what a stopped kernel left
  update-watch    save what a new version says until it has passed its health gate
  evidence      save what this start says if its health gate did not pass
  fill          copy the running system to a slot that is still empty
  bootstate show  print what the boot loader is told of both slots
  bootstate get-primary | set-primary <slot> | get-state <slot> | set-state <slot> good|bad | get-current
                what RAUC asks of a boot loader; also as a program of the name rauc-bootstate
";

/// Exit code for a call that is none, as of sysexits.h.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if std::process::id() == 1 {
        init::run()
    }
    if words.first().is_some_and(|name| name.rsplit('/').next() == Some(esp::RAUC_NAME)) {
        words.insert(1, "bootstate");
    }
    let result = match words.get(1..).unwrap_or_default() {
        ["slots"] => slots::run(),
        ["mark", stage] => mark(stage),
        ["request"] => request::run(),
        ["network-trial"] => network::run_trial(),
        ["network-settle"] => network::run_settle(),
        ["fence"] => fence::run(),
        ["unlock"] => unlock::run(),
        ["grow"] => grow::run(),
        ["fill"] => fill::run(),
        ["disks"] => survey::run(),
        ["move"] => relocate::run(),
        ["moved"] => relocate::end(),
        ["update"] => update::run(),
        ["update-settle"] => update::settle(),
        ["update-watch"] => update::watch(),
        ["evidence"] => update::evidence::run(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["bootstate", words @ ..] => match esp::run(words) {
            Some(result) => result,
            None => return usage(),
        },
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homebolt-boot: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(EX_USAGE)
}
