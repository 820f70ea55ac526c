//! `homebolt-manager console`: prints the text of a file to the terminal, and again when it changes.

use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::error::Error;

/// Cursor home, erase everything: what a VT100 and all that came after it know. Begins every new text.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// The same text again goes line over line, which does not flicker.
const HOME: &str = "\x1b[H";
const ERASE_LINE: &str = "\x1b[2K";
const ERASE_BELOW: &str = "\x1b[J";
/// It is painted anew this often: over what the kernel wrote on the screen, and for who plugs a cable in later.
const REPAINT: Duration = Duration::from_secs(20);
const STARTING: &str = "Homebolt is starting ...\n";

/// Runs until the terminal is gone. Has no runtime and no thread: two of these are always there.
pub(crate) fn show(file: &Path, terminal: &mut impl Write) -> Result<(), Error> {
    let mut shown = None;
    let mut painted = Instant::now();
    loop {
        let now = fs::metadata(file).ok().map(|about| (about.ino(), about.mtime(), about.mtime_nsec()));
        let is_new = shown != Some(now);
        if is_new || painted.elapsed() >= REPAINT {
            let text = fs::read_to_string(file).unwrap_or_else(|_| STARTING.to_owned());
            print(if is_new { CLEAR } else { HOME }, &text, terminal)
                .map_err(Error::system("write to the terminal"))?;
            shown = Some(now);
            painted = Instant::now();
        }
        thread::sleep(Duration::from_secs(1));
    }
}

fn print(begin: &str, text: &str, terminal: &mut impl Write) -> std::io::Result<()> {
    // A serial line in raw mode needs the carriage return.
    let lines: String = text.lines().map(|line| format!("{ERASE_LINE}{line}\r\n")).collect();
    terminal.write_all(format!("{begin}{lines}{ERASE_BELOW}").as_bytes())?;
    terminal.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut screen = self.0.lock().unwrap();
            screen.extend_from_slice(bytes);
            // The cable is pulled after the second picture, which ends the program.
            if screen.windows(4).filter(|window| window == b"\x1b[2J").count() > 2 {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_screen_follows_the_file_from_before_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("console.txt");
        let screen = Screen::default();
        let until = |needle: &str| {
            for _ in 0..100 {
                if String::from_utf8_lossy(&screen.0.lock().unwrap()).contains(needle) {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
            panic!("{needle} was not shown");
        };
        let program = {
            let (file, mut screen) = (file.clone(), screen.clone());
            thread::spawn(move || show(&file, &mut screen))
        };
        until("starting ...");
        crate::atomic::write(&file, b"one\n", 0o640).unwrap();
        until("one\r\n");
        crate::atomic::write(&file, b"two\n", 0o640).unwrap();
        assert!(program.join().unwrap().is_err(), "without a terminal it ends");
    }
}
