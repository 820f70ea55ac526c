//! The gate against a box made of files and a real HTTPS server.

use std::os::unix::fs::{PermissionsExt, symlink};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const HASH: &str = "6ba1f0";
const MOUNTS: &str = "21 1 254:0 / / ro,relatime - erofs /dev/mapper/root ro,user_xattr\n\
                      22 21 0:30 / /etc rw,nosuid,nodev - overlay overlay rw,lowerdir=/sysroot/etc\n\
                      23 21 253:6 / DATA ro,nosuid,nodev,noexec - ext4 /dev/vda6 rw,errors=remount-ro\n";

/// A healthy box: its files below a folder, and arguments that lead there.
struct FileBox {
    dir: TempDir,
    args: Args,
}

impl FileBox {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let args = Args {
            run_dir: at("run"),
            data: at("data"),
            ca: vec![at("ca.pem"), at("run/ca.pem")],
            release: at("release.json"),
            https: SocketAddr::from(([127, 0, 0, 1], 1)),
            server_name: "homelab.local".into(),
            boot_helper: at("boot-helper"),
            kernel: dir.path().to_owned(),
        };
        let made = Self { dir, args };
        made.put("run/boot.json", &report("ok"));
        fs::create_dir_all(made.path("data/system")).unwrap();
        made.mounts(MOUNTS);
        made.put("proc/cmdline", &format!("quiet homebolt.slot=A homebolt.roothash={HASH} panic=10\n"));
        made.put("sys/devices/virtual/block/dm-0/dm/uuid", "CRYPT-VERITY-0123-root\n");
        fs::create_dir_all(made.path("sys/dev/block")).unwrap();
        symlink("../../devices/virtual/block/dm-0", made.path("sys/dev/block/254:0")).unwrap();
        let release =
            r#"{"version":"0.1.0","board":"x86-64","base":"debian","built":1700000000,"lnd_version":"v0.21.2-beta"}"#;
        made.put("release.json", release);
        made.put("boot-helper", &format!("#!/bin/sh\necho \"$@\" >>{}\n", made.path("marks").display()));
        fs::set_permissions(&made.args.boot_helper, fs::Permissions::from_mode(0o755)).unwrap();
        made
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn mounts(&self, text: &str) {
        self.put("proc/self/mountinfo", &text.replace("DATA", &self.args.data.display().to_string()));
    }

    /// An update is being tried, and this card worked before it.
    fn trying(&self, mac: &str) {
        let job = format!(
            r#"{{"stage":"trying","slot":"A","root_hash":"{HASH}","cards":[{{"mac":"{mac}","name":"eth0"}}],"more":1}}"#
        );
        self.put("data/system/update-job.json", &job);
    }

    fn write(&self) -> Verdict {
        write_through(&self.args.data, &self.boot())
    }

    /// The whole gate, with RAUC, networkd and avahi as given.
    async fn run(
        &self,
        mark_good: impl Future<Output = Result<String, platform::Error>>,
        links: Vec<Link>,
        own: Option<Found>,
    ) -> Result<(), GateError> {
        run_with(self.args.clone(), mark_good, async || Ok(links.clone()), async || Ok(own.clone())).await
    }

    fn found(&self) -> Option<Found> {
        Some(Found { name: "homelab.local".into(), at: "127.0.0.1:0".parse().unwrap() })
    }

    fn boot(&self) -> BootReport {
        platform::boot::report(&self.args.run_dir).map_err(|error| sentence(&error))
    }

    fn root(&self) -> Verdict {
        root(&self.args.kernel, &self.boot())
    }

    fn data(&self) -> Verdict {
        data(&self.args.kernel, &self.args.data, &self.boot())
    }

    /// Starts a manager's stand-in that answers every request with `status`, its certificate signed by the authority
    /// whose certificate lies at `ca`.
    async fn serve(&mut self, ca: &str, status: &'static str) {
        self.serve_while(ca, status, |_| true).await;
    }

    /// The same, with no answer to the requests of other numbers, counted from 0.
    async fn serve_while(&mut self, ca: &str, status: &'static str, is_answered: fn(usize) -> bool) {
        let (authority, signer) = authority();
        self.put(ca, &authority);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["homelab.local".to_owned()]).unwrap().signed_by(&key, &signer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.args.https = listener.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            let mut held = Vec::new();
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                if !is_answered(number) {
                    held.push(tcp);
                    continue;
                }
                let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
                let mut request = [0; 1024];
                let read = tls.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /healthz HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsaid");
                tls.write_all(answer.as_bytes()).await.unwrap();
                let _ = tls.shutdown().await;
            }
        });
    }

    async fn healthz(&self) -> Result<(), String> {
        healthz(self.args.https, &self.args.server_name, &self.args.ca).await
    }

    fn written(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path("run/gate.json")).unwrap()).unwrap()
    }

    fn checks(&self) -> Vec<String> {
        let written = self.written();
        let checks = written["checks"].as_array().unwrap().iter();
        checks.map(|one| one["check"].as_str().unwrap().to_owned()).collect()
    }

    fn marks(&self) -> String {
        fs::read_to_string(self.path("marks")).unwrap_or_default()
    }
}

fn report(data: &str) -> String {
    format!(r#"{{"slot":"A","disk":"/dev/vda","root_hash":"{HASH}","data":{{"state":"{data}"}}}}"#)
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn well() -> impl Future<Output = Result<String, platform::Error>> {
    std::future::ready(Ok("marked slot rootfs.0 as good".to_owned()))
}

#[tokio::test]
async fn a_healthy_box_is_marked_good_noted_and_may_be_checked_again() {
    let mut made = FileBox::new();
    made.serve("ca.pem", "200 OK").await;
    for _ in 0..2 {
        made.run(well(), vec![], made.found()).await.unwrap();
        let written = made.written();
        assert_eq!(written["good"], true);
        assert_eq!(made.checks(), ["root", "data", "write", "clock", "https", "name", "rauc"]);
    }
    assert_eq!(made.marks(), "mark gate:ok\nmark gate:ok\n");
}

#[tokio::test]
async fn a_failed_check_keeps_rauc_from_being_told_and_leaves_its_reason() {
    let mut made = FileBox::new();
    made.serve("ca.pem", "200 OK").await;
    made.put("sys/devices/virtual/block/dm-0/dm/uuid", "LVM-1\n");
    made.put("release.json", "{}");
    let never = async { panic!("RAUC was told though the root is not verified") };
    let error = made.run(never, vec![], None).await.unwrap_err().to_string();
    assert!(error.contains("root: / is on the device 254:0 (LVM-1), which dm-verity does not guard"), "{error}");
    assert!(error.contains("clock:"), "all checks are made, not only up to the first that fails: {error}");
    assert_eq!(made.written()["good"], false);
    let marks = made.marks();
    assert!(marks.starts_with("mark gate:root: / is on the device"), "{marks}");
    assert_eq!(marks.lines().count(), 2);
}

#[tokio::test]
async fn a_manager_that_answers_once_and_hangs_is_not_well() {
    let mut made = FileBox::new();
    made.serve_while("ca.pem", "200 OK", |number| number % 2 == 0).await;
    assert!(timeout(STEADY * 2, answers_twice(&made.args)).await.is_err());
    made.serve("ca.pem", "200 OK").await;
    answers_twice(&made.args).await.unwrap();
}

#[tokio::test]
async fn a_failure_of_rauc_fails_the_gate() {
    let mut made = FileBox::new();
    made.serve("ca.pem", "200 OK").await;
    let refused = std::future::ready(Err(platform::Error::Disconnected));
    let error = made.run(refused, vec![], None).await.unwrap_err().to_string();
    assert!(error.contains("rauc: the connection to the system bus ended"), "{error}");
    assert!(made.marks().contains("gate:rauc"));
}

#[tokio::test]
async fn faulty_data_is_not_the_slots_fault_and_gets_no_note() {
    let mut made = FileBox::new();
    made.serve("run/ca.pem", "200 OK").await;
    made.put("run/boot.json", &report("foreign"));
    made.mounts(MOUNTS.lines().next().unwrap());
    made.run(well(), vec![], None).await.unwrap();
    assert_eq!(made.marks(), "", "there is no data partition to note it on");
}

#[test]
fn a_root_that_is_not_the_verified_slot_fails() {
    let made = FileBox::new();
    assert_eq!(made.root(), Ok(format!("/ is verified by the root hash {HASH}")));
    made.put("proc/cmdline", "homebolt.roothash=other\n");
    assert!(made.root().unwrap_err().contains("the boot loader named the root hash other"));
    made.put("proc/cmdline", "quiet\n");
    assert!(made.root().unwrap_err().contains("names no root hash"));
    made.mounts(&MOUNTS.replace("erofs", "ext4"));
    assert_eq!(made.root(), Err("/ is ext4 and not the slot's erofs".into()));
    fs::remove_file(made.path("run/boot.json")).unwrap();
    assert!(made.root().unwrap_err().contains("boot.json"));
}

#[test]
fn data_must_be_mounted_and_its_file_system_writable() {
    let made = FileBox::new();
    let path = made.args.data.display();
    assert_eq!(
        made.data(),
        Ok(format!("{path} is mounted (ext4) and can be written")),
        "the sandbox's own ro is no matter"
    );
    made.mounts(&MOUNTS.replace("rw,errors", "ro,errors"));
    assert_eq!(made.data(), Err(format!("{path} is mounted, but its file system is read-only")));
    made.mounts(MOUNTS.lines().next().unwrap());
    assert_eq!(made.data(), Err(format!("{path} is not mounted, though the initrd found it well")));
    made.put("run/boot.json", &report("damaged"));
    assert!(made.data().is_ok());
}

#[test]
fn a_file_must_arrive_on_the_data_partition_and_leaves_no_trace() {
    let made = FileBox::new();
    assert_eq!(made.write(), Ok("a file was written to the data partition".into()));
    assert_eq!(fs::read_dir(made.path("data/system")).unwrap().count(), 0);
    fs::remove_dir(made.path("data/system")).unwrap();
    assert!(made.write().unwrap_err().starts_with("no file can be written to the data partition: "));
    made.put("run/boot.json", &report("damaged"));
    assert!(made.write().is_ok(), "a damaged data partition is not the slot's fault");
}

const MAC: &str = "52:54:00:68:62:01";

#[tokio::test(start_paused = true)]
async fn a_new_version_that_loses_the_network_is_not_kept() {
    let made = FileBox::new();
    made.trying(MAC);
    let trial = trial(&made.args.data, &made.boot()).unwrap();
    let lost = network::as_before(&trial.cards, async || Ok(vec![])).await.unwrap_err();
    assert!(lost.contains(MAC) && lost.contains("is not there any more"), "{lost}");
}

#[tokio::test]
async fn the_network_is_asked_for_only_while_an_update_is_tried() {
    let mut made = FileBox::new();
    made.serve("ca.pem", "200 OK").await;
    // With its cable out, so that the name may lead to the loopback, where the stand-in is.
    let card = Link { mac: MAC.into(), name: "eth0".into(), ..Link::default() };
    made.trying(MAC);
    made.run(well(), vec![card], made.found()).await.unwrap();
    assert!(made.checks().contains(&"network".to_owned()));
    // Of another system than the one that runs, and of one that is kept.
    for other in [
        format!(r#"{{"stage":"trying","slot":"B","root_hash":"{HASH}","cards":[]}}"#),
        format!(r#"{{"stage":"committed","slot":"A","root_hash":"{HASH}","cards":[]}}"#),
        "{".to_owned(),
    ] {
        made.put("data/system/update-job.json", &other);
        made.run(well(), vec![], made.found()).await.unwrap();
        assert!(!made.checks().contains(&"network".to_owned()), "{other}");
    }
}

#[tokio::test]
async fn the_manager_must_answer_where_the_box_s_name_leads() {
    let mut made = FileBox::new();
    made.serve("ca.pem", "200 OK").await;
    let well = network::by_name(&made.args, HTTPS_LIMIT, false, async || Ok(made.found())).await.unwrap();
    assert_eq!(well, "the manager answers as homelab.local on 127.0.0.1");
    assert!(
        network::by_name(&made.args, HTTPS_LIMIT, false, async || Ok(None)).await.is_ok(),
        "without an address there is no name"
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_to_the_loopback_is_asked_again_where_others_must_find_the_box() {
    let mut made = FileBox::new();
    made.serve("ca.pem", "200 OK").await;
    let tries = std::cell::Cell::new(0);
    let near = async || {
        tries.set(tries.get() + 1);
        Ok(made.found())
    };
    let why = network::by_name(&made.args, HTTPS_LIMIT, true, near).await.unwrap_err();
    assert_eq!(why, "homelab.local leads to 127.0.0.1, where no other device finds the box");
    assert!(tries.get() > 10, "asked {} times", tries.get());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_nowhere_costs_a_new_version_its_place_and_is_only_told_later() {
    let gone = async || Err(platform::Error::Disconnected);
    let why = network::by_name(&FileBox::new().args, HTTPS_LIMIT, false, gone).await.unwrap_err();
    let finding = Finding { check: "name", ok: false, message: why, milliseconds: 1 };
    let excused = finding.excused();
    assert!(excused.ok && excused.message.starts_with("the connection to the system bus ended"), "{}", excused.message);
}

#[test]
fn a_clock_before_the_build_fails() {
    let made = FileBox::new();
    assert!(clock(&made.args.release, 1_700_000_000).is_ok());
    assert!(clock(&made.args.release, 1_699_999_999).unwrap_err().contains("before this system was built"));
}

#[tokio::test]
async fn only_the_managers_own_certificate_and_a_200_count() {
    let mut made = FileBox::new();
    assert_eq!(made.healthz().await, Err("connection refused".into()));
    made.serve("ca.pem", "503 Service Unavailable").await;
    assert_eq!(made.healthz().await, Err("503 Service Unavailable: said".into()));
    made.serve("ca.pem", "200 OK").await;
    assert_eq!(made.healthz().await, Ok(()));
    made.args.server_name = "other.local".into();
    assert!(made.healthz().await.unwrap_err().starts_with("TLS: invalid peer certificate"));
    made.args.server_name = "homelab.local".into();
    made.put("ca.pem", &authority().0);
    assert!(made.healthz().await.unwrap_err().starts_with("TLS: invalid peer certificate"));
    made.put("ca.pem", "nothing");
    assert!(made.healthz().await.unwrap_err().contains("ca.pem"));
    fs::remove_file(made.path("ca.pem")).unwrap();
    assert!(made.healthz().await.unwrap_err().starts_with("there is no authority to know it by"));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_ends_at_its_limit() {
    let hung = judge("data", FILES_LIMIT, std::future::pending()).await;
    assert!(!hung.ok);
    assert_eq!(hung.line(), "data: it did not end within 5 seconds");
}

#[test]
fn the_limits_together_stay_below_ninety_seconds() {
    let longest =
        HTTPS_LIMIT.max(FILES_LIMIT).max(WRITE_LIMIT).max(NETWORK_LIMIT) + RAUC_LIMIT.max(NOTE_LIMIT * 3) + NOTE_LIMIT;
    assert!(longest < Duration::from_secs(90), "{longest:?}");
}

#[test]
fn the_last_mount_on_a_path_is_the_one_that_shows() {
    let text = "1 0 0:2 / / rw - rootfs rootfs rw\nnonsense\n2 1 254:0 / / ro shared:1 master:2 - erofs /dev/dm-0 ro\n";
    let mount = parse_mountinfo(text, Path::new("/")).unwrap();
    assert_eq!((mount.device.as_str(), mount.kind.as_str(), mount.super_options.as_str()), ("254:0", "erofs", "ro"));
    assert_eq!(parse_mountinfo(text, Path::new("/data")), None);
}
