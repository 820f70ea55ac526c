//! Progress of a long step: a bar on a terminal; elsewhere a line for each tenth, but none for what takes no time.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// One step of known length.
#[derive(Debug)]
pub struct Progress {
    step: &'static str,
    total: u64,
    started: Instant,
    bar: Option<ProgressBar>,
    /// The last tenth that was reached, and when a line was printed.
    tenth: u64,
    printed: Instant,
}

impl Progress {
    /// Begins a step over `total` bytes; `step` is for example `writing`.
    pub fn new(step: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                "{msg:>10}  {wide_bar}  {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(step)
        });
        let now = Instant::now();
        Self { step, total, started: now, bar, tenth: 0, printed: now }
    }

    /// `done` bytes of the total are done.
    pub fn at(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        let tenth = done.saturating_mul(10).checked_div(self.total).unwrap_or(10);
        if tenth > self.tenth && self.printed.elapsed() >= BETWEEN_LINES {
            (self.tenth, self.printed) = (tenth, Instant::now());
            eprintln!("{}: {} of {}, {}/s", self.step, size(done), size(self.total), size(self.rate(done)));
        }
    }

    /// Ends the step and says how fast it was.
    pub fn finish(mut self) -> String {
        self.at(self.total);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        format!("{} in {seconds:.1} s, {}/s", size(self.total), size(self.rate(self.total)))
    }

    fn rate(&self, done: u64) -> u64 {
        (done as f64 / self.started.elapsed().as_secs_f64().max(0.001)) as u64
    }
}

impl Drop for Progress {
    /// A step that failed leaves no half bar before the message.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes for people, in powers of ten as disks are sold: `312 MB`, `1.2 GB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        1_000_000_000..1_000_000_000_000 => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} TB", bytes as f64 / 1e12),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_like_those_on_the_box_of_a_disk() {
        let sizes = [0, 999, 4_096, 312_400_000, 1_240_000_000, 31_914_983_424, 1_000_204_886_016];
        let expected = ["0 bytes", "999 bytes", "4 kB", "312 MB", "1.2 GB", "31.9 GB", "1.0 TB"];
        assert_eq!(sizes.map(size), expected);
    }
}
