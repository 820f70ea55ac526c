//! The hardware watchdog: a clock in the machine that restarts it unless somebody writes to it again and again.
//!
//! systemd looks after it from its own start to the end of the shutdown (`RuntimeWatchdogSec=`). Before that, and in the
//! recovery, this program does, so that no hang between the boot loader and the switch-off is for ever. It is never
//! switched off in between: a file that is closed without the letter `V` leaves the clock running, and systemd finds it so.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    thread,
    time::Duration,
};

use crate::console::note;

const DEVICE: &str = "/dev/watchdog0";

/// The shortest time that these clocks run when nobody says otherwise is 30 s.
const PACE: Duration = Duration::from_secs(5);

/// A driver may only just be loading.
const LOOK: Duration = Duration::from_millis(250);

/// Arms the watchdog as soon as there is one, and keeps it quiet as long as this program runs.
pub fn arm() {
    thread::spawn(|| {
        let mut device = open();
        note("the hardware watchdog is armed");
        loop {
            // One that cannot be written to restarts the machine: that is what it is for.
            let _ = device.write_all(b"\0");
            thread::sleep(PACE);
        }
    });
}

fn open() -> File {
    loop {
        match OpenOptions::new().write(true).open(DEVICE) {
            Ok(device) => return device,
            Err(_) => thread::sleep(LOOK),
        }
    }
}
