//! A fake mirror: it serves real packages by their path in the archive, and fails as it is told.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use crate::report::{Fault, Outcome};

/// A package of the lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) version: String,
    /// Below the archive's root.
    pub(crate) path: String,
    pub(crate) sha256: String,
    /// In the cache.
    pub(crate) file: PathBuf,
}

/// The packages of one set of a lock file, as they lie in a cache.
pub(crate) fn packages(lock: &Path, set: &str, debs: &Path) -> Outcome<Vec<Package>> {
    let lock: toml::Table = toml::from_str(&fs::read_to_string(lock)?)?;
    let entries = lock.get(set).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let package = |entry: &toml::Value| -> Option<Package> {
        let text = |key: &str| entry.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let sha256 = text("sha256")?;
        let file = debs.join(format!("{}_{}.deb", text("name")?, sha256.get(..16)?));
        Some(Package { version: text("version")?, path: text("path")?, sha256, file })
    };
    let found: Option<Vec<Package>> = entries.iter().map(package).collect();
    found.filter(|found| !found.is_empty()).ok_or_else(|| Fault::Fails(format!("the lock file has no set {set:?}")))
}

/// What the fake mirror does wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Mischief {
    #[default]
    None,
    /// The last byte of the package at this path is another.
    Altered(String),
    /// There is nothing at this path.
    Gone(String),
    /// After so many whole packages comes one half, and from then on connections end at once.
    Dies { after: usize },
}

#[derive(Debug, Default)]
struct State {
    packages: BTreeMap<String, PathBuf>,
    mischief: Mischief,
    /// Whole packages handed out since the mischief was set.
    served: usize,
    dead: bool,
}

/// The server; it ends with the program.
#[derive(Debug)]
pub(crate) struct FakeMirror {
    state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

impl FakeMirror {
    /// Serves these packages on a loopback port.
    pub(crate) fn start(packages: &[Package]) -> Outcome<Self> {
        let packages = packages.iter().map(|package| (format!("/debian/{}", package.path), package.file.clone()));
        let state = Arc::new(Mutex::new(State { packages: packages.collect(), ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/debian", listener.local_addr()?);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that hangs up is no fault of the test.
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Ok(Self { state, url })
    }

    /// Lets it misbehave from now on, and counts from zero.
    pub(crate) fn set(&self, mischief: Mischief) {
        let mut state = lock(&self.state);
        (state.mischief, state.served, state.dead) = (mischief, 0, false);
    }

    pub(crate) fn served(&self) -> usize {
        lock(&self.state).served
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut path = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned)),
            }
        }
        // As apt asks for it, a plus in a version is %2b.
        let path = path.unwrap_or_default().replace("%2b", "+").replace("%7e", "~");
        let Some((body, length)) = answer(&path, &mut lock(state))? else {
            return stream.shutdown(Shutdown::Both);
        };
        match &body {
            Some(body) => {
                write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                writer.write_all(body)?;
            }
            None => writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
        if body.is_some_and(|body| body.len() < length) {
            return stream.shutdown(Shutdown::Both);
        }
    }
}

/// The body (nothing: 404) and the length that is announced for it; or no answer at all.
#[allow(clippy::type_complexity)]
fn answer(path: &str, state: &mut State) -> std::io::Result<Option<(Option<Vec<u8>>, usize)>> {
    if state.dead {
        return Ok(None);
    }
    let is = |named: &String| path.strip_prefix("/debian/") == Some(named);
    let Some(file) = state.packages.get(path).filter(|_| !matches!(&state.mischief, Mischief::Gone(gone) if is(gone)))
    else {
        return Ok(Some((None, 0)));
    };
    let mut body = fs::read(file)?;
    let length = body.len();
    match &state.mischief {
        Mischief::Altered(altered) if is(altered) => {
            if let Some(last) = body.last_mut() {
                *last ^= 1;
            }
        }
        Mischief::Dies { after } if state.served >= *after => {
            body.truncate(length / 2);
            state.dead = true;
            return Ok(Some((Some(body), length)));
        }
        _ => {}
    }
    state.served += 1;
    Ok(Some((Some(body), length)))
}
