//! The health gate: is this slot fit to be kept?
//!
//! ```text
//! root ─┐
//! data ─┤ all at once, each with its limit          all well ─► RAUC: mark good ─► exit 0
//! clock ┼──────────────────────────────────────────►
//! https ┘                                           any fails ─► not marked     ─► exit 1, the unit restarts the box
//! ```
//! What was found is printed, written to `gate.json` in the run directory and noted in the record of boots on the data
//! partition, so that the other slot can say why this one was given up. Running it again does the same again.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use twin::{
    Boot, DataState,
    source::{now, sentence},
};

/// Limits: what only reads files; the manager's answer, from its first to its last try; RAUC; the note in the record of
/// boots. Together they stay below 90 s, as the first two run side by side.
const FILES_LIMIT: Duration = Duration::from_secs(5);
const HTTPS_LIMIT: Duration = Duration::from_secs(50);
const RAUC_LIMIT: Duration = Duration::from_secs(25);
const NOTE_LIMIT: Duration = Duration::from_secs(2);
/// One try at the manager's answer, and the pause before the next.
const TRY_LIMIT: Duration = Duration::from_secs(10);
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// Where the manager keeps its authority: as a rule, and while it has no usable state.
const AUTHORITIES: [&str; 2] = ["/data/homebolt/tls/authority.pem", "/run/homebolt/manager/tls/authority.pem"];

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Where boot.json is and gate.json is written
    #[arg(long, value_name = "DIR", default_value = "/run/homebolt")]
    run_dir: PathBuf,
    /// The mount point of the data partition
    #[arg(long, value_name = "DIR", default_value = "/data")]
    data: PathBuf,
    /// PEM file with the certificate of the device's authority; may be repeated. One of those that exist must have
    /// signed the manager's: while the data partition is at fault, it has one for the time being
    #[arg(long, value_name = "FILE", default_values = AUTHORITIES)]
    ca: Vec<PathBuf>,
    /// What this system knows of itself
    #[arg(long, value_name = "FILE", default_value = "/usr/lib/homebolt/release.json")]
    release: PathBuf,
    /// Where the manager must answer
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    https: SocketAddr,
    /// The name that its certificate must carry
    #[arg(long, value_name = "NAME", default_value = "homelab.local")]
    server_name: String,
    /// The program that notes the outcome in the record of boots
    #[arg(long, value_name = "FILE", default_value = "/usr/lib/homebolt/homebolt-boot")]
    boot_helper: PathBuf,
    /// The folder that holds proc and sys
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    kernel: PathBuf,
}

/// The slot is not fit.
#[derive(Debug, thiserror::Error)]
#[error("the slot is not marked good: {0}")]
pub(crate) struct GateError(String);

/// What one check found.
#[derive(Debug, serde::Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    /// A sentence, of what is well or what is not.
    message: String,
    milliseconds: u64,
}

/// Contents of `gate.json`.
#[derive(serde::Serialize)]
struct Report<'a> {
    /// Seconds since 1970.
    at: u64,
    good: bool,
    checks: &'a [Finding],
}

/// What a check says: a sentence either way.
type Verdict = Result<String, String>;

/// Makes all checks and, when all are well, tells RAUC that the slot is good.
pub(crate) async fn run(args: Args) -> Result<(), GateError> {
    run_with(args, platform::rauc::mark_good()).await
}

async fn run_with(
    args: Args,
    mark_good: impl Future<Output = Result<String, platform::Error>>,
) -> Result<(), GateError> {
    let args = Arc::new(args);
    let boot = Arc::new(platform::boot::report(&args.run_dir).map_err(|error| sentence(&error)));
    let (root, data, clock, https) = tokio::join!(
        judge("root", FILES_LIMIT, blocking(&args, &boot, |args, boot| root(&args.kernel, boot))),
        judge("data", FILES_LIMIT, blocking(&args, &boot, |args, boot| data(&args.kernel, &args.data, boot))),
        judge("clock", FILES_LIMIT, blocking(&args, &boot, |args, _| clock(&args.release, now()))),
        judge("https", HTTPS_LIMIT, https(&args)),
    );
    let mut findings = vec![root, data, clock, https];
    if findings.iter().all(|finding| finding.ok) {
        let marking = async { mark_good.await.map_err(|error| sentence(&error)) };
        findings.push(judge("rauc", RAUC_LIMIT, marking).await);
    }
    tell(&args, &findings).await;
    let failed: Vec<_> = findings.iter().filter(|finding| !finding.ok).map(Finding::line).collect();
    if failed.is_empty() { Ok(()) } else { Err(GateError(failed.join("; "))) }
}

impl Finding {
    fn line(&self) -> String {
        format!("{}: {}", self.check, self.message)
    }
}

/// Lets a check take its time up to its limit.
async fn judge(check: &'static str, limit: Duration, verdict: impl Future<Output = Verdict>) -> Finding {
    let began = Instant::now();
    let late = || Err(format!("it did not end within {} seconds", limit.as_secs()));
    let verdict = timeout(limit, verdict).await.unwrap_or_else(|_| late());
    let milliseconds = began.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
    let (ok, message) = verdict.map_or_else(|why| (false, why), |well| (true, well));
    Finding { check, ok, message, milliseconds }
}

type BootReport = Result<Boot, String>;

/// A check that reads files runs where it may hang without holding up the others.
async fn blocking(
    args: &Arc<Args>,
    boot: &Arc<BootReport>,
    check: impl FnOnce(&Args, &BootReport) -> Verdict + Send + 'static,
) -> Verdict {
    let (args, boot) = (args.clone(), boot.clone());
    let ended = tokio::task::spawn_blocking(move || check(&args, &boot)).await;
    ended.unwrap_or_else(|error| Err(format!("the check itself failed: {error}")))
}

/// The root is the verified slot that the boot loader chose.
fn root(kernel: &Path, boot: &BootReport) -> Verdict {
    let boot = boot.as_ref().map_err(Clone::clone)?;
    let mount = mount_at(kernel, Path::new("/"))?.ok_or("no file system is mounted on /")?;
    if mount.kind != "erofs" {
        return Err(format!("/ is {} and not the slot's erofs", mount.kind));
    }
    // veritysetup names what it opens `CRYPT-VERITY-<uuid>-<name>`.
    let uuid = read_text(&kernel.join("sys/dev/block").join(&mount.device).join("dm/uuid"))?;
    if !uuid.starts_with("CRYPT-VERITY-") {
        return Err(format!("/ is on the device {} ({}), which dm-verity does not guard", mount.device, uuid.trim()));
    }
    let line = read_text(&kernel.join("proc/cmdline"))?;
    let told = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("homebolt.roothash="));
    match told {
        Some(hash) if !hash.is_empty() && hash == boot.root_hash => {
            Ok(format!("/ is verified by the root hash {hash}"))
        }
        Some(hash) => Err(format!("the boot loader named the root hash {hash}, the initrd used {:?}", boot.root_hash)),
        None => Err("the kernel command line names no root hash".into()),
    }
}

/// The data partition is mounted and can be written, or it is known not to be: that is not the slot's fault.
fn data(kernel: &Path, data: &Path, boot: &BootReport) -> Verdict {
    let found = &boot.as_ref().map_err(Clone::clone)?.data;
    match found.state {
        DataState::Ok => {}
        DataState::Missing => return Ok("there is no data partition, which is not the slot's fault".into()),
        DataState::Foreign => return Ok("the data partition is not ours, which is not the slot's fault".into()),
        DataState::Damaged => return Ok("the data partition is damaged, which is not the slot's fault".into()),
    }
    let path = data.display();
    let mount = mount_at(kernel, data)?.ok_or(format!("{path} is not mounted, though the initrd found it well"))?;
    if !mount.super_options.split(',').any(|option| option == "rw") {
        return Err(format!("{path} is mounted, but its file system is read-only"));
    }
    Ok(format!("{path} is mounted ({}) and can be written", mount.kind))
}

/// The clock does not stand before this system was made.
fn clock(release: &Path, now: u64) -> Verdict {
    let built = read_json::<release::Release>(release)?.built;
    if now < built {
        return Err(format!("the clock stands at {now}, before this system was built ({built} seconds since 1970)"));
    }
    Ok(format!("the clock stands at {now}, after this system was built"))
}

/// The manager answers over HTTPS, under its name and with a certificate of the device's authority. It is asked again
/// until it does: it may still be starting.
async fn https(args: &Args) -> Verdict {
    let last = std::sync::Mutex::new(String::from("no try ended"));
    let tries = async {
        loop {
            let answer = timeout(TRY_LIMIT, healthz(args.https, &args.server_name, &args.ca)).await;
            match answer.unwrap_or_else(|_| Err(format!("it did not answer within {} seconds", TRY_LIMIT.as_secs()))) {
                Ok(()) => break,
                Err(why) => *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = why,
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
    };
    // Ends before its finding's own limit, so that the reason is told and not only the time.
    match timeout(HTTPS_LIMIT - TRY_PAUSE, tries).await {
        Ok(()) => Ok(format!("the manager answers on {} as {}", args.https, args.server_name)),
        Err(_) => {
            let why = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            Err(format!("the manager is not well on {}: {why}", args.https))
        }
    }
}

/// One `GET /healthz`.
async fn healthz(address: SocketAddr, name: &str, authorities: &[PathBuf]) -> Result<(), String> {
    let tcp = TcpStream::connect(address).await.map_err(|error| error.kind().to_string())?;
    let server_name = ServerName::try_from(name.to_owned()).map_err(|error| format!("{name}: {error}"))?;
    let tls = TlsConnector::from(Arc::new(client(authorities)?)).connect(server_name, tcp).await;
    let tls = tls.map_err(|error| format!("TLS: {error}"))?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(|error| sentence(&error))?;
    let talk = async {
        let request = Request::get("/healthz").header("host", name).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = requests.send_request(request).await.map_err(|error| sentence(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), 4096).collect().await.map_err(|error| error.to_string())?;
        match status {
            StatusCode::OK => Ok(()),
            status => Err(format!("{status}: {}", String::from_utf8_lossy(&body.to_bytes()).trim())),
        }
    };
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        outcome = &mut talk => outcome,
        // It may end right behind the answer; if it ended before, the talk knows.
        _ = connection => talk.await,
    }
}

/// Trusts the authorities in those of the files that exist.
fn client(authorities: &[PathBuf]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for path in authorities {
        let bad =
            |error: &dyn std::error::Error| format!("failed to read an authority from {}: {error}", path.display());
        let pem = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            pem => pem.map_err(|error| bad(&error))?,
        };
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|error| bad(&error))?;
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        let named: Vec<_> = authorities.iter().map(|path| path.display().to_string()).collect();
        return Err(format!("there is no authority to know it by: {} do not exist", named.join(" and ")));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// One line of `/proc/self/mountinfo`, see proc_pid_mountinfo(5).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// Major and minor number, `254:0`.
    device: String,
    kind: String,
    /// Options of the file system itself: those of the mount may differ within this unit's sandbox.
    super_options: String,
}

fn mount_at(kernel: &Path, target: &Path) -> Result<Option<Mount>, String> {
    Ok(parse_mountinfo(&read_text(&kernel.join("proc/self/mountinfo"))?, target))
}

/// What is mounted on `target`; the last one covers those before it.
fn parse_mountinfo(text: &str, target: &Path) -> Option<Mount> {
    let line = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let (device, _, path) = (mount.next()?, mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let (kind, super_options) = (file_system.next()?.to_owned(), file_system.nth(1)?.to_owned());
        (Path::new(path) == target).then(|| Mount { device: device.to_owned(), kind, super_options })
    };
    text.lines().filter_map(line).next_back()
}

fn read_text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("failed to read {}: {}", path.display(), error.kind()))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not what it should be: {error}", path.display()))
}

/// Prints the findings, writes them down and notes the outcome in the record of boots. None of this can fail the gate.
async fn tell(args: &Args, findings: &[Finding]) {
    for finding in findings {
        println!("{} {} ({} ms)", if finding.ok { "ok    " } else { "FAILED" }, finding.line(), finding.milliseconds);
    }
    let path = args.run_dir.join("gate.json");
    let report = Report { at: now(), good: findings.iter().all(|finding| finding.ok), checks: findings };
    if let Err(error) = write(&path, &report) {
        eprintln!("failed to write {}: {error}", path.display());
    }
    let data = args.data.clone();
    let kernel = args.kernel.clone();
    if !matches!(mount_at(&kernel, &data), Ok(Some(_))) {
        return;
    }
    let notes: Vec<String> = match report.good {
        true => vec!["gate:ok".into()],
        false => findings.iter().filter(|finding| !finding.ok).map(|one| format!("gate:{}", one.line())).collect(),
    };
    for note in notes {
        let mut command = tokio::process::Command::new(&args.boot_helper);
        let noting = command.arg("mark").arg(&note).kill_on_drop(true).status();
        match timeout(NOTE_LIMIT, noting).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(Ok(status)) => eprintln!("{} failed to note {note:?}: {status}", args.boot_helper.display()),
            Ok(Err(error)) => eprintln!("failed to run {} to note {note:?}: {error}", args.boot_helper.display()),
            Err(_) => eprintln!("{} did not end within {NOTE_LIMIT:?}", args.boot_helper.display()),
        }
    }
}

/// Whoever reads the file finds the old or the new one, whole.
fn write(path: &Path, report: &Report<'_>) -> io::Result<()> {
    let new = path.with_extension("json.new");
    fs::write(&new, serde_json::to_vec_pretty(report)?)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests;
