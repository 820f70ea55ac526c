//! QEMU's monitor: JSON lines over a Unix socket (QMP).

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use super::Error;

/// So long the monitor may take to answer. It answers at once, unless the computer is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open monitor.
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects and leaves the monitor ready for commands.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).map_err(Error::io("connect to", path))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(Error::io("set up", path))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.line("greet")?;
        monitor.command("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Runs one command and gives what it returns. Events that arrive meanwhile are passed over.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value, Error> {
        let failed = |reason: String| Error::Monitor { action: name.to_owned(), reason };
        let line = format!("{}\n", json!({ "execute": name, "arguments": arguments }));
        self.stream.get_mut().write_all(line.as_bytes()).map_err(|error| failed(error.to_string()))?;
        loop {
            let mut answer = self.line(name)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(failed(error["desc"].as_str().unwrap_or("no reason given").to_owned()));
            }
        }
    }

    fn line(&mut self, action: &str) -> Result<Value, Error> {
        let failed = |reason: String| Error::Monitor { action: action.to_owned(), reason };
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(failed("it closed the connection".into())),
            Ok(_) => serde_json::from_str(&line).map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// The power button: the guest shuts down if it listens.
    pub fn press_power(&mut self) -> Result<(), Error> {
        self.command("system_powerdown", json!({})).map(|_| ())
    }

    /// The reset button.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.command("system_reset", json!({})).map(|_| ())
    }

    /// Whether the machine runs, and where each processor is, twice: tells a guest that hangs from one that goes round and
    /// round, and both from an emulator that hangs.
    pub fn processors(&mut self) -> Result<String, Error> {
        let status = self.command("query-status", json!({}))?;
        let mut seen = status["status"].to_string();
        for _ in 0..2 {
            let registers = self.command("human-monitor-command", json!({ "command-line": "info registers -a" }))?;
            let lines = registers.as_str().unwrap_or_default().lines();
            lines.filter(|line| line.contains("RIP=") || line.contains("PC=")).for_each(|line| seen += line.trim());
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(seen)
    }

    /// What the screen shows, as a picture in the PPM format.
    pub fn screenshot(&mut self, to: &Path) -> Result<(), Error> {
        self.command("screendump", json!({ "filename": to.to_string_lossy() })).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    #[test]
    fn events_between_a_command_and_its_answer_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitor");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            writeln!(stream, r#"{{"QMP":{{}}}}"#).unwrap();
            assert!(lines.next().unwrap().unwrap().contains("qmp_capabilities"));
            writeln!(stream, r#"{{"return":{{}}}}"#).unwrap();
            assert!(lines.next().unwrap().unwrap().contains("system_reset"));
            writeln!(stream, r#"{{"event":"RESET"}}"#).unwrap();
            writeln!(stream, r#"{{"return":{{}}}}"#).unwrap();
            assert!(lines.next().unwrap().unwrap().contains("screendump"));
            writeln!(stream, r#"{{"error":{{"class":"x","desc":"no screen"}}}}"#).unwrap();
        });
        let mut monitor = Monitor::connect(&path).unwrap();
        monitor.reset().unwrap();
        let error = monitor.screenshot(Path::new("/x")).unwrap_err().to_string();
        assert!(error.contains("screendump") && error.contains("no screen"), "{error}");
        server.join().unwrap();
    }
}
