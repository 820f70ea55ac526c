//! What this program says, and to whom: progress to the kernel log or the journal, faults to every console.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use crate::files;

/// Progress. Of the first process into the kernel log, so it shows on the console unless the boot is a quiet one; of a
/// service into its journal.
pub fn note(text: &str) {
    if std::process::id() == 1 {
        log(text);
    } else {
        eprintln!("{text}");
    }
}

/// A fault a person has to see: on every console, HDMI and serial, whatever the log level is; and in the kernel log.
pub fn alarm(text: &str) {
    log(text);
    let active = files::text("/sys/class/tty/console/active").unwrap_or_default();
    let mut shown = false;
    for console in active.split_ascii_whitespace() {
        shown |= show(&format!("/dev/{console}"), text);
    }
    if !shown {
        show("/dev/console", text);
    }
}

/// With syslog's level 6, information. A log that cannot be written must not stop a boot.
fn log(text: &str) {
    let _ = fs::write("/dev/kmsg", format!("<6>homebolt: {}\n", text.replace('\n', " ")));
}

fn show(device: &str, text: &str) -> bool {
    let text = text.replace('\n', "\r\n           ");
    let mut options = OpenOptions::new();
    options.write(true).open(device).is_ok_and(|mut tty| write!(tty, "\r\n homebolt: {text}\r\n").is_ok())
}
