//! A plain web server for a folder, as anyone may have to publish updates: GET and HEAD, with ranges. It counts what it
//! sends, which is what a box's owner pays for.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
};

use crate::report::Outcome;

/// The server; it lives as long as the test program.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) port: u16,
    meter: Arc<Meter>,
}

#[derive(Debug)]
struct Meter {
    sent: AtomicU64,
    /// Bytes until the server goes away.
    left: AtomicI64,
}

impl Meter {
    fn is_away(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 0
    }
}

impl Shelf {
    /// Serves the files of `folder`, and of the folders in it, on loopback.
    pub(crate) fn open(folder: &Path) -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let meter = Arc::new(Meter { sent: AtomicU64::new(0), left: AtomicI64::new(i64::MAX) });
        let (folder, counter) = (folder.to_owned(), meter.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if counter.is_away() {
                    continue;
                }
                let (folder, counter) = (folder.clone(), counter.clone());
                // A visitor who leaves in the middle is no fault of the shelf.
                thread::spawn(move || drop(visit(&stream, &folder, &counter)));
            }
        });
        Ok(Self { port, meter })
    }

    /// After so many bytes the server goes away: every connection ends in the middle, and new ones at once.
    pub(crate) fn leave_after(&self, bytes: i64) {
        self.meter.left.store(bytes, Ordering::Relaxed);
    }

    /// The server is back.
    pub(crate) fn come_back(&self) {
        self.leave_after(i64::MAX);
    }

    /// Whether it has gone away.
    pub(crate) fn is_away(&self) -> bool {
        self.meter.is_away()
    }

    /// Bytes of files that were sent since the last time this was asked.
    pub(crate) fn sent(&self) -> u64 {
        self.meter.sent.swap(0, Ordering::Relaxed)
    }
}

/// All requests of one connection.
fn visit(stream: &TcpStream, folder: &Path, meter: &Meter) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let mut head = Vec::new();
        loop {
            match lines.next() {
                None => return Ok(()),
                Some(line) => match line? {
                    line if line.is_empty() => break,
                    line => head.push(line),
                },
            }
        }
        answer(stream, folder, &head, meter)?;
    }
}

fn answer(mut stream: &TcpStream, folder: &Path, head: &[String], meter: &Meter) -> std::io::Result<()> {
    let mut words = head.first().map_or("", String::as_str).split(' ');
    let (method, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().trim_start_matches('/'));
    let path: PathBuf = folder.join(name);
    let hidden = name.split('/').any(|part| part.is_empty() || part.starts_with('.')) || name.contains('?');
    let file = if hidden { None } else { File::open(&path).ok() };
    let Some(mut file) = file else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let size = file.metadata()?.len();
    let range = head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let (status, start, end) = match range.as_deref().and_then(|range| range.split_once('-')) {
        None => ("200 OK".to_owned(), 0, size),
        Some((from, to)) => {
            let start = from.parse().unwrap_or(0).min(size);
            let end = to.parse().map_or(size, |last: u64| (last + 1).min(size));
            ("206 Partial Content".to_owned(), start, end.max(start))
        }
    };
    let part = if range.is_some() {
        format!("Content-Range: bytes {start}-{}/{size}\r\n", end.max(1) - 1)
    } else {
        String::new()
    };
    let length = end - start;
    write!(stream, "HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\n{part}Content-Length: {length}\r\n\r\n")?;
    if method == "GET" {
        file.seek(SeekFrom::Start(start))?;
        let mut rest = file.take(length);
        let mut piece = [0; 16 * 1024];
        loop {
            let read = rest.read(&mut piece)?;
            if read == 0 {
                break;
            }
            if meter.left.fetch_sub(read as i64, Ordering::Relaxed) <= 0 {
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            stream.write_all(&piece[..read])?;
            meter.sent.fetch_add(read as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}
