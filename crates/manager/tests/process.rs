//! The program itself, as systemd runs it: passed sockets, readiness, watchdog, power cuts, faults of the data.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tempfile::TempDir;

const OK: &str = r#"{"slot":"A","disk":"/dev/vda","root_hash":"ab","data":{"state":"ok"}}"#;
const DAMAGED: &str = r#"{"slot":"A","disk":"/dev/vda","root_hash":"ab","data":{"state":"damaged","detail":"the superblock is gone","serial":"S1","model":"Stick"}}"#;
const RELEASE: &str =
    r#"{"version":"0.1.0","board":"x86-64","base":"debian","built":1750000000,"lnd_version":"v0.21.2-beta"}"#;
const PATIENCE: Duration = Duration::from_secs(60);

/// A box's folders; programs come and go in it.
struct House {
    folder: TempDir,
}

/// One run of the program.
struct Manager {
    child: Child,
    notify: UnixDatagram,
    http: SocketAddr,
    https: SocketAddr,
}

impl House {
    fn new(boot: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("release.json"), RELEASE).unwrap();
        let house = Self { folder };
        house.boot(boot);
        house
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes boot.json as the initrd does.
    fn boot(&self, text: &str) {
        fs::write(self.path("run/new"), text).unwrap();
        fs::rename(self.path("run/new"), self.path("run/boot.json")).unwrap();
    }

    /// Starts the program as systemd does and waits until it says that it is ready.
    fn start(&self) -> Manager {
        let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (http, https) = (bound(), bound());
        let addresses = (http.local_addr().unwrap(), https.local_addr().unwrap());
        let socket = self.path("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        // The shell moves the sockets to where systemd puts them and becomes the program, so that LISTEN_PID is right.
        let script = "exec 3<&0 4>&1 </dev/null >&2; LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let child = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_homebolt-manager"), "serve"])
            .arg("--state-dir")
            .arg(self.path("state"))
            .arg("--run-dir")
            .arg(self.path("run"))
            .arg("--release")
            .arg(self.path("release.json"))
            .args(["--lnd-rpc", "127.0.0.1:1", "--lnd-dir", "/nonexistent"])
            .envs([("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "http:https"), ("WATCHDOG_USEC", "1000000")])
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::from(OwnedFd::from(http)))
            .stdout(Stdio::from(OwnedFd::from(https)))
            .stderr(File::create(self.path("log")).unwrap())
            .spawn()
            .unwrap();
        let manager = Manager { child, notify, http: addresses.0, https: addresses.1 };
        manager.hear("READY=1");
        manager
    }

    fn console(&self, needle: &str) -> String {
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(self.path("run/manager/console.txt")).unwrap_or_default();
            if text.contains(needle) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "the console does not show {needle}:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn code(&self) -> String {
        let text = self.console("Claim code:");
        text.split("Claim code:").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }

    fn authority(&self) -> std::path::PathBuf {
        let kept = self.path("state/tls/authority.pem");
        if kept.exists() { kept } else { self.path("run/manager/tls/authority.pem") }
    }
}

impl Manager {
    /// Waits until the program has told systemd `message`.
    fn hear(&self, message: &str) {
        let mut buffer = [0; 256];
        loop {
            let length = self.notify.recv(&mut buffer).unwrap_or_else(|error| panic!("no {message}: {error}"));
            if buffer[..length].split(|byte| *byte == b'\n').any(|line| line == message.as_bytes()) {
                return;
            }
        }
    }

    /// One request over TLS by a client that trusts the box: the head of the answer, and its body.
    fn ask(&self, authority: &Path, method: &str, path: &str, cookie: &str, form: &str) -> (String, String) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let name = ServerName::try_from("homelab.local").unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        let stream = StreamOwned::new(connection, TcpStream::connect(self.https).unwrap());
        talk(stream, method, path, cookie, form)
    }

    fn stop(mut self) -> ExitStatus {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.hear("STOPPING=1");
        self.child.wait().unwrap()
    }

    /// The power goes: nothing can be tidied up.
    fn cut(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn talk(mut stream: impl Read + Write, method: &str, path: &str, cookie: &str, form: &str) -> (String, String) {
    let length = form.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: homelab.local\r\nconnection: close\r\nsec-fetch-site: same-origin\r\n\
         cookie: {cookie}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{form}"
    )
    .unwrap();
    let mut answer = Vec::new();
    // Some servers close without a TLS farewell; what came before is what counts.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

/// The words on the console: all that is plain letters after the heading, without the picture beside it.
fn fingerprint(console: &str) -> Vec<String> {
    let after = console.split("certificate:").nth(1).unwrap_or_default();
    let is_word = |word: &&str| word.bytes().all(|letter| letter.is_ascii_lowercase());
    after.split_whitespace().filter(is_word).map(str::to_owned).collect()
}

/// The cookie that an answer sets.
fn cookie(head: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    line.split(';').next().unwrap().to_owned()
}

#[test]
fn the_whole_life_under_systemd() {
    let house = House::new(OK);
    let manager = house.start();
    let ca = house.authority();
    let (head, body) = manager.ask(&ca, "GET", "/healthz", "", "");
    assert!(head.starts_with("HTTP/1.1 200") && body == r#"{"status":"ok","ready":true}"#, "{head}");
    let (head, page) = talk(TcpStream::connect(manager.http).unwrap(), "GET", "/", "", "");
    assert!(head.starts_with("HTTP/1.1 200") && page.contains("Is this your box?"), "{head}");
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");
    assert!(manager.stop().success());
}

#[test]
fn a_power_cut_at_any_step_of_the_wizard_loses_nothing() {
    let house = House::new(OK);
    let manager = house.start();
    let ca = house.authority();
    let words = fingerprint(&house.console("Fingerprint"));
    assert_eq!(words.len(), 6, "{words:?}");
    let (head, _) = manager.ask(&ca, "POST", "/claim", "", &format!("code={}", house.code()));
    let claimer = cookie(&head);
    manager.cut();

    let manager = house.start();
    assert!(manager.ask(&ca, "GET", "/password", &claimer, "").0.starts_with("HTTP/1.1 200"));
    let form = "password=correct+horse+battery&again=correct+horse+battery";
    let (head, _) = manager.ask(&ca, "POST", "/password", &claimer, form);
    let owner = cookie(&head);
    manager.cut();

    let manager = house.start();
    let (head, home) = manager.ask(&ca, "GET", "/home", &owner, "");
    assert!(head.starts_with("HTTP/1.1 200") && home.contains("System A"), "{head}");
    let console = house.console("https://");
    assert!(!console.contains("Claim code"), "{console}");
    assert_eq!(fingerprint(&console), words, "the certificate stays the same");
    let log = fs::read_to_string(house.path("log")).unwrap();
    for secret in ["correct horse", owner.split('=').nth(1).unwrap()] {
        assert!(!log.contains(secret), "the log has a secret");
    }
}

#[test]
fn the_program_starts_again_when_the_data_partition_comes_and_never_pretends_to_be_new() {
    let house = House::new(DAMAGED);
    let mut manager = house.start();
    let (_, page) = manager.ask(&house.authority(), "GET", "/", "", "");
    assert!(page.contains("The superblock is gone."), "{page}");
    assert!(!house.path("state/manager.db").exists(), "nothing is made on a disk that cannot be used");
    house.console("The data partition is damaged");
    house.boot(OK);
    assert!(manager.child.wait().unwrap().success(), "it ends, and systemd starts it again");
    let manager = house.start();
    assert!(manager.ask(&house.path("state/tls/authority.pem"), "GET", "/claim", "", "").0.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_damaged_database_is_a_page_and_not_a_crash_and_can_be_set_aside() {
    let house = House::new(OK);
    house.start().cut();
    fs::write(house.path("state/manager.db"), "no database at all, but long enough to be one".repeat(50)).unwrap();
    let _ = fs::remove_file(house.path("state/manager.db-wal"));
    let mut manager = house.start();
    let ca = house.path("run/manager/tls/authority.pem");
    let (_, page) = manager.ask(&ca, "GET", "/claim", "", "");
    assert!(page.contains("is damaged") && page.contains("Set it aside") && !page.contains("Erase"), "{page}");
    let (head, _) = manager.ask(&ca, "POST", "/recovery", "", &format!("action=set-aside&code={}", house.code()));
    assert!(head.starts_with("HTTP/1.1 303"), "{head}");
    assert!(manager.child.wait().unwrap().success());
    let manager = house.start();
    let (head, _) = manager.ask(&house.path("state/tls/authority.pem"), "GET", "/claim", "", "");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[test]
fn the_routes_are_listed_one_object_a_line() {
    let manager = || Command::new(env!("CARGO_BIN_EXE_homebolt-manager"));
    let text = String::from_utf8(manager().arg("routes").output().unwrap().stdout).unwrap();
    let routes: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        routes.iter().any(|route| route["method"] == "GET" && route["path"] == "/home" && route["access"] == "owner")
    );
    assert!(
        manager().arg("serve").stderr(Stdio::null()).status().unwrap().code() == Some(1),
        "without a socket it ends"
    );
}
