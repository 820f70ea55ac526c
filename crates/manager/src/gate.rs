//! The health gate: is this slot fit to be kept?
//!
//! ```text
//! root            ─┐
//! data            ─┤
//! write           ─┤ all at once, each with its limit     all well ─► RAUC: mark good ─► exit 0
//! clock           ─┼─────────────────────────────────────►
//! https           ─┤                                      any fails ─► not marked     ─► exit 1, the unit restarts the box
//! network ─► name ─┘ network only while an update is being tried
//! ```
//! While an update is being tried, the network must work as it did before, and the box must answer under its own name. Later
//! a router that is away is no reason to give a system up that has proved itself: the name is looked up and told, no more.
//!
//! What was found is printed, written to `gate.json` in the run directory and noted in the record of boots on the data
//! partition, so that the other slot can say why this one was given up. Running it again does the same again.

mod network;

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use argh::FromArgs;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use platform::avahi::Found;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use twin::{
    Boot, DataState,
    net::Link,
    source::{now, sentence},
    updates::Trial,
};

/// Limits: what only reads files; a write, which a slow card may keep waiting; the network cards; the manager's answer, by
/// its address and by its name, from its first to its last try; the name when it is told only; RAUC; the note in the record
/// of boots. Together they stay below 100 s: up to RAUC all run side by side, but for the name, which follows the cards.
const FILES_LIMIT: Duration = Duration::from_secs(5);
const WRITE_LIMIT: Duration = Duration::from_secs(20);
const NETWORK_LIMIT: Duration = Duration::from_secs(41);
const HTTPS_LIMIT: Duration = Duration::from_secs(50);
const NAME_LIMIT: Duration = Duration::from_secs(30);
const TELL_LIMIT: Duration = Duration::from_secs(12);
const RAUC_LIMIT: Duration = Duration::from_secs(25);
const NOTE_LIMIT: Duration = Duration::from_secs(2);
/// One try at the manager's answer, and the pause before the next.
const TRY_LIMIT: Duration = Duration::from_secs(10);
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// Between the two answers that make a try.
const STEADY: Duration = Duration::from_secs(3);

/// Where the manager keeps its authority: as a rule, and while it has no usable state.
const AUTHORITIES: [&str; 2] = ["/data/homebolt/tls/authority.pem", "/run/homebolt/manager/tls/authority.pem"];

/// Check whether this slot is fit to be kept, and mark it good
#[derive(Debug, Clone, FromArgs)]
#[argh(subcommand, name = "gate")]
pub(crate) struct Args {
    /// where boot.json is and gate.json is written
    #[argh(option, arg_name = "dir", default = "PathBuf::from(\"/run/homebolt\")")]
    run_dir: PathBuf,
    /// the mount point of the data partition
    #[argh(option, arg_name = "dir", default = "PathBuf::from(\"/data\")")]
    data: PathBuf,
    /// PEM file with the certificate of the device's authority; may be repeated. One of those that exist must have
    /// signed the manager's: while the data partition is at fault, it has one for the time being
    #[argh(option, arg_name = "file", default = "AUTHORITIES.map(PathBuf::from).to_vec()")]
    ca: Vec<PathBuf>,
    /// what this system knows of itself
    #[argh(option, arg_name = "file", default = "PathBuf::from(\"/usr/lib/homebolt/release.json\")")]
    release: PathBuf,
    /// where the manager must answer
    #[argh(option, arg_name = "address", default = "SocketAddr::from(([127, 0, 0, 1], 8443))")]
    https: SocketAddr,
    /// the name that its certificate must carry
    #[argh(option, arg_name = "name", default = "String::from(\"homelab.local\")")]
    server_name: String,
    /// the program that notes the outcome in the record of boots
    #[argh(option, arg_name = "file", default = "PathBuf::from(\"/usr/lib/homebolt/homebolt-boot\")")]
    boot_helper: PathBuf,
    /// the folder that holds proc and sys
    #[argh(option, hidden_help, arg_name = "dir", default = "PathBuf::from(\"/\")")]
    kernel: PathBuf,
}

/// The job of an update, and what the gate writes to see that it can, both below the data partition's root.
const JOB: &str = "system/update-job.json";
const TRACE: &str = "system/gate.trace";

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
    run_with(args, platform::rauc::mark_good(), platform::links::read, platform::avahi::own).await
}

async fn run_with(
    args: Args,
    mark_good: impl Future<Output = Result<String, platform::Error>>,
    links: impl AsyncFn() -> Result<Vec<Link>, platform::Error>,
    own_name: impl AsyncFn() -> Result<Option<Found>, platform::Error>,
) -> Result<(), GateError> {
    let args = Arc::new(args);
    let boot = Arc::new(platform::boot::report(&args.run_dir).map_err(|error| sentence(&error)));
    let trial = trial(&args.data, &boot);
    let named = async {
        let Some(trial) = &trial else {
            // What is told only must not keep LND waiting.
            return (None, judge("name", TELL_LIMIT, network::by_name(&args, TELL_LIMIT, false, own_name)).await);
        };
        // A box has its name once it has an address.
        let network = judge("network", NETWORK_LIMIT, network::as_before(&trial.cards, &links)).await;
        let outside = links().await.is_ok_and(|links| network::is_reached(&trial.cards, &links));
        (Some(network), judge("name", NAME_LIMIT, network::by_name(&args, NAME_LIMIT, outside, own_name)).await)
    };
    let (root, data, write, clock, https, (network, name)) = tokio::join!(
        judge("root", FILES_LIMIT, blocking(&args, &boot, |args, boot| root(&args.kernel, boot))),
        judge("data", FILES_LIMIT, blocking(&args, &boot, |args, boot| data(&args.kernel, &args.data, boot))),
        judge("write", WRITE_LIMIT, blocking(&args, &boot, |args, boot| write_through(&args.data, boot))),
        judge("clock", FILES_LIMIT, blocking(&args, &boot, |args, _| clock(&args.release, now()))),
        judge("https", HTTPS_LIMIT, https(&args)),
        named,
    );
    let name = if trial.is_some() { name } else { name.excused() };
    let mut findings = vec![root, data, write, clock, https, name];
    findings.extend(network);
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

    /// Told, and no reason to give up a system that was good before.
    fn excused(self) -> Self {
        let message = if self.ok { self.message } else { format!("{}; this is told only", self.message) };
        Self { ok: true, message, ..self }
    }
}

/// The update that this start tries, as root's file says; `None` also where there is no such file.
fn trial(data: &Path, boot: &BootReport) -> Option<Trial> {
    let boot = boot.as_ref().ok().filter(|boot| boot.data.state == DataState::Ok)?;
    let trial: Trial = serde_json::from_slice(&fs::read(data.join(JOB)).ok()?).ok()?;
    trial.is_of(boot.slot, &boot.root_hash).then_some(trial)
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
        DataState::Away => return Ok("the disk with the data is not there, which is not the slot's fault".into()),
    }
    let path = data.display();
    let mount = mount_at(kernel, data)?.ok_or(format!("{path} is not mounted, though the initrd found it well"))?;
    if !mount.super_options.split(',').any(|option| option == "rw") {
        return Err(format!("{path} is mounted, but its file system is read-only"));
    }
    Ok(format!("{path} is mounted ({}) and can be written", mount.kind))
}

/// What is written to the data partition arrives on the disk. A full one is not the slot's fault.
fn write_through(data: &Path, boot: &BootReport) -> Verdict {
    if boot.as_ref().map_err(Clone::clone)?.data.state != DataState::Ok {
        return Ok("there is no usable data partition to write to, which is not the slot's fault".into());
    }
    let path = data.join(TRACE);
    let written = fs::File::create(&path).and_then(|mut file| {
        file.write_all(&[b'.'; 4096])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    match written.and(removed) {
        Ok(()) => Ok("a file was written to the data partition".into()),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Ok("the data partition is full, which is not the slot's fault".into())
        }
        Err(error) => Err(format!("no file can be written to the data partition: {error}")),
    }
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
    let tries = again(HTTPS_LIMIT, async || {
        answers_twice(args).await?;
        Ok(format!("the manager answers on {} as {}", args.https, args.server_name))
    });
    tries.await.map_err(|why| format!("the manager is not well on {}: {why}", args.https))
}

/// A manager that hangs is started again by its watchdog, over and over, and may answer once each time.
async fn answers_twice(args: &Args) -> Result<(), String> {
    healthz(args.https, &args.server_name, &args.ca).await?;
    tokio::time::sleep(STEADY).await;
    healthz(args.https, &args.server_name, &args.ca).await
}

/// Tries until it is well, for less than `limit`, so that the reason is told and not only the time.
async fn again(limit: Duration, check: impl AsyncFn() -> Verdict) -> Verdict {
    let last = std::sync::Mutex::new(String::from("no try ended"));
    let tries = async {
        loop {
            let answer = timeout(TRY_LIMIT, check()).await;
            match answer.unwrap_or_else(|_| Err(format!("it did not answer within {} seconds", TRY_LIMIT.as_secs()))) {
                Ok(well) => break well,
                Err(why) => *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = why,
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
    };
    let ended = timeout(limit - TRY_PAUSE, tries).await;
    ended.map_err(|_| last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
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
