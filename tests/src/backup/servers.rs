//! Real servers as processes of our own on free ports of the loopback, with folders, keys and users of their own.

use std::{
    fs::{self, File, Permissions},
    io::Write,
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::{
    axe::cache,
    report::{Outcome, ensure, fails, program, skip, tail, until},
};

pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "correct horse";
/// `crypt(3)` of [`PASSWORD`].
const SHADOW: &str =
    "$6$homebolt$i.25G29/KxCcPgnANrDLx4IPI98T1MGR/D05vqNXRts3wLiyZSSQ4YPFEaJUuS9wN2jeLR5Q2Bt6ivXeyucje/";
/// Apache's `{SHA}` of it.
const HTPASSWD: &str = "ann:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n";
pub(crate) const ACCESS_KEY: &str = "homebolt-test";
pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY";
pub(crate) const BUCKET: &str = "node";
const VERSITYGW: &str = "v1.8.0";

/// Starts a new process of a server on the same port.
type Start = Box<dyn Fn() -> Outcome<Command>>;

/// A server that runs. Ends with this value.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Everything it has.
    pub(crate) folder: tempfile::TempDir,
    log: PathBuf,
    start: Start,
    child: Option<Child>,
}

impl Server {
    fn new(folder: tempfile::TempDir, port: u16, log: &Path, start: Start) -> Outcome<Self> {
        let mut server = Self { port, folder, log: log.to_owned(), start, child: None };
        server.start()?;
        Ok(server)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn start(&mut self) -> Outcome {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = (self.start)()?;
        // A group of its own, so that its children end with it.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        let port = self.port;
        let ended = until(Duration::from_secs(15), || {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                self.child = None;
                return Ok(Some(status));
            }
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(_) => Ok(None),
                Err(error) => fails(format!("nothing listens on port {port}: {}", error.kind())),
            }
        })?;
        let Some(status) = ended else { return Ok(()) };
        let words = tail(&fs::read_to_string(&self.log)?, 3);
        if words.contains("unshare:") || words.contains("mount:") {
            return skip(format!("no mounts of its own for the server here: {words}"));
        }
        fails(format!("the server ended ({status}): {words}"))
    }

    /// Ends it between two instructions, its children with it.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = signal("KILL", child.id());
        let _ = child.wait();
        let _ = until(Duration::from_secs(5), || match TcpStream::connect(("127.0.0.1", self.port)) {
            Ok(_) => fails("it still listens"),
            Err(_) => Ok(()),
        });
    }

    /// Stops answering, without a word to those who are connected.
    pub(crate) fn freeze(&self) -> Outcome {
        let Some(child) = &self.child else { return fails("it does not run") };
        signal("STOP", child.id())?;
        // On a busy computer a thread may answer one more question before the signal has reached it.
        until(Duration::from_secs(15), || still(child.id()))
    }

    /// A path as the server's own mounts show it.
    pub(crate) fn inside(&self, path: &Path) -> Outcome<PathBuf> {
        let Some(child) = &self.child else { return fails("it does not run") };
        Ok(PathBuf::from(format!("/proc/{}/root", child.id())).join(path.strip_prefix("/")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process group of ours.
fn signal(name: &str, group: u32) -> Outcome {
    let status = Command::new("kill").arg(format!("-{name}")).arg("--").arg(format!("-{group}")).status()?;
    ensure!(status.success(), "kill -{name} {group} ended with {status}");
    Ok(())
}

/// Every thread of every process in the group is stopped.
fn still(group: u32) -> Outcome {
    let mut threads = 0;
    for process in fs::read_dir("/proc")?.flatten() {
        let Ok(all) = fs::read_dir(process.path().join("task")) else { continue };
        for thread in all.flatten() {
            // Gone since.
            let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { continue };
            // After the program's name, which may hold anything: state, parent, group (proc(5)).
            let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let state = words.next();
            if words.nth(1) == Some(group.to_string().as_str()) {
                ensure!(state == Some("T"), "a thread of the server is in state {state:?}");
                threads += 1;
            }
        }
    }
    ensure!(threads > 0, "the server is gone");
    Ok(())
}

fn folder(name: &str) -> Outcome<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix(&format!("homebolt-{name}-")).tempdir()?;
    // Servers have users of their own.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn open_folder(path: &Path) -> Outcome {
    fs::create_dir_all(path)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o777))?)
}

/// A process that may mount for itself alone; `script` ends with `exec`.
fn unshared(script: &str) -> Command {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command.args(["--mount", "--propagation", "private", "sh", "-euc", script]);
    command
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| std::os::unix::fs::MetadataExt::uid(&about) == 0)
}

/// A key pair and its certificate from an authority of our own, as files.
pub(crate) struct Tls {
    /// The authority's, PEM.
    pub(crate) ca: String,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

pub(crate) const CA_NAME: &str = "Ann's home CA";

impl Tls {
    pub(crate) fn make(folder: &Path) -> Outcome<Self> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, CA_NAME);
        let ca_key = KeyPair::generate()?;
        let ca = params.self_signed(&ca_key)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let leaf = leaf.signed_by(&key, &Issuer::new(params, ca_key))?;
        let made = Self { ca: ca.pem(), certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        fs::write(&made.certificate, leaf.pem())?;
        fs::write(&made.key, key.serialize_pem())?;
        Ok(made)
    }
}

/// OpenSSH's server with a user in files of its own, and a home with a small, a read-only and a normal part.
pub(crate) fn sshd(log: &Path, authorized: &str) -> Outcome<Server> {
    let (sshd, libraries) = find_sshd()?;
    let (folder, port) = (folder("sshd")?, homebolt::qemu::free_port()?);
    let path = folder.path().to_owned();
    let home = path.join("home");
    for part in ["", "small", "read-only"] {
        open_folder(&home.join(part))?;
    }
    fs::write(path.join("authorized_keys"), authorized)?;
    let (uid, shell) = (1000, "/bin/sh");
    let users = format!(
        "root:x:0:0::/:{shell}\nsshd:x:74:65534::/run/sshd:/usr/sbin/nologin\n{USER}:x:{uid}:{uid}::{}:{shell}\n",
        home.display()
    );
    fs::write(path.join("passwd"), users)?;
    fs::write(path.join("shadow"), format!("root:*:19000::::::\nsshd:*:19000::::::\n{USER}:{SHADOW}:19000::::::\n"))?;
    new_host_key(&path, "ed25519")?;
    new_host_key(&path, "ecdsa")?;
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nPidFile none\nUsePAM no\nStrictModes no\nUseDNS no\n\
         HostKey {0}/ed25519\nHostKey {0}/ecdsa\nAuthorizedKeysFile {0}/authorized_keys\n\
         PasswordAuthentication yes\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n",
        path.display()
    );
    fs::write(path.join("sshd_config"), config)?;
    let script = format!(
        "mount -t tmpfs -o mode=755 none /run; mkdir /run/sshd
         mount --bind {0}/passwd /etc/passwd; mount --bind {0}/shadow /etc/shadow
         mount -t tmpfs -o size=64k,mode=777 none {1}/small
         mount -t tmpfs -o ro,mode=777 none {1}/read-only
         options=
         # Since 9.8 a wrong password is punished by a pause, which is not what is tested here.
         if {2} -t -f {0}/sshd_config -o PerSourcePenalties=no 2>/dev/null; then options='-o PerSourcePenalties=no'; fi
         exec {2} -D -e -f {0}/sshd_config $options",
        path.display(),
        home.display(),
        sshd.display()
    );
    let start = move || {
        let mut command = unshared(&script);
        if let Some(libraries) = &libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        Ok(command)
    };
    Server::new(folder, port, log, Box::new(start))
}

/// Gives the server another key of its own.
pub(crate) fn new_host_key(folder: &Path, kind: &str) -> Outcome {
    let path = folder.join(kind);
    for old in [path.clone(), path.with_extension("pub")] {
        if old.exists() {
            fs::remove_file(old)?;
        }
    }
    let output = Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(&path).output()?;
    ensure!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What `ssh-keygen -l` says of the server's key.
pub(crate) fn fingerprint(folder: &Path, kind: &str) -> Outcome<String> {
    let output = Command::new("ssh-keygen").arg("-lf").arg(folder.join(kind).with_extension("pub")).output()?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.split(' ').nth(1).map_or_else(|| fails(format!("ssh-keygen -l says {words}")), |word| Ok(word.to_owned()))
}

/// The installed server, or that of Debian's package unpacked into the cache: to install the package would start one
/// that listens to the world. Its libraries come along.
fn find_sshd() -> Outcome<(PathBuf, Option<PathBuf>)> {
    let installed = PathBuf::from("/usr/sbin/sshd");
    if installed.is_file() {
        return Ok((installed, None));
    }
    let root = cache().join("servers/openssh");
    let sshd = root.join("usr/sbin/sshd");
    if !sshd.is_file() {
        let Some(apt) = program("apt-get") else { return skip("there is neither an sshd nor apt-get") };
        let folder = tempfile::tempdir()?;
        // As user _apt it could not write here.
        let words = ["-qq", "-o", "APT::Sandbox::User=root", "download", "openssh-server", "libwrap0"];
        let output = Command::new(apt).args(words).current_dir(folder.path()).output()?;
        if !output.status.success() {
            return skip(format!("openssh-server cannot be fetched: {}", String::from_utf8_lossy(&output.stderr)));
        }
        fs::create_dir_all(&root)?;
        for package in fs::read_dir(folder.path())? {
            let unpacked = Command::new("dpkg-deb").arg("-x").arg(package?.path()).arg(&root).status()?;
            ensure!(unpacked.success(), "dpkg-deb ended with {unpacked}");
        }
    }
    let libraries = root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    Ok((sshd, Some(libraries)))
}

/// Apache with mod_dav over TLS: `/dav/` for the user, `/dav/small/` with 64 kB, `/dav/read-only/`, `/dav/append-only/`
/// where nothing is removed, and `/dav/no-move/` where nothing is renamed.
pub(crate) fn apache(log: &Path, tls: &Tls) -> Outcome<Server> {
    let apache = PathBuf::from("/usr/sbin/apache2");
    if !apache.is_file() {
        return skip("apache2-bin is not installed: scripts/setup test");
    }
    let (folder, port) = (folder("apache")?, homebolt::qemu::free_port()?);
    let path = folder.path().to_owned();
    for part in ["lock", "www/dav/small", "www/dav/read-only", "www/dav/append-only", "www/dav/no-move", "www/plain"] {
        open_folder(&path.join(part))?;
    }
    open_folder(&path.join("www/dav"))?;
    fs::write(path.join("users"), HTPASSWD)?;
    let modules = [
        "mpm_event",
        "authn_core",
        "authn_file",
        "authz_core",
        "authz_user",
        "auth_basic",
        "dav",
        "dav_fs",
        "rewrite",
        "ssl",
    ];
    let modules: String = modules
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let user = if is_root() { "User www-data\nGroup www-data\n" } else { "" };
    let config = format!(
        "{modules}{user}ServerRoot {0}\nPidFile {0}/lock/pid\nDefaultRuntimeDir {0}/lock\nListen 127.0.0.1:{port}\n\
         ServerName localhost:{port}\nErrorLog /dev/stderr\nDocumentRoot {0}/www\nDavLockDB {0}/lock/dav\n\
         SSLEngine on\nSSLCertificateFile {1}\nSSLCertificateKeyFile {2}\nSSLSessionCache none\n\
         <Location />\nRequire all granted\n</Location>\n\
         <Location /dav>\nDav On\nAuthType Basic\nAuthName files\nAuthUserFile {0}/users\nRequire valid-user\n</Location>\n\
         <Location /dav/read-only>\nRequire method GET PROPFIND OPTIONS\n</Location>\n\
         <Location /dav/append-only>\nRequire method GET PROPFIND OPTIONS MKCOL PUT MOVE\n</Location>\n\
         RewriteEngine On\nRewriteCond %{{REQUEST_METHOD}} =MOVE\nRewriteRule ^/dav/no-move/ - [R=405,L]\n",
        path.display(),
        tls.certificate.display(),
        tls.key.display(),
    );
    fs::write(path.join("apache.conf"), config)?;
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=777 none {0}/www/dav/small
         exec {1} -D FOREGROUND -f {0}/apache.conf",
        path.display(),
        apache.display()
    );
    Server::new(folder, port, log, Box::new(move || Ok(unshared(&script))))
}

/// The Versity S3 gateway over a folder: it verifies signatures and clocks, and knows conditional writes.
pub(crate) fn s3(log: &Path, gateway: &Path, tls: Option<&Tls>, options: &[&str]) -> Outcome<Server> {
    let (folder, port) = (folder("s3")?, homebolt::qemu::free_port()?);
    let path = folder.path().to_owned();
    fs::create_dir_all(path.join(BUCKET))?;
    let mut words: Vec<String> =
        ["--quiet", "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--port"].map(Into::into).into();
    words.push(format!("127.0.0.1:{port}"));
    if let Some(tls) = tls {
        let file = |path: &Path| path.display().to_string();
        words.extend(["--cert".into(), file(&tls.certificate), "--key".into(), file(&tls.key)]);
    }
    words.extend(options.iter().map(|word| (*word).to_owned()));
    words.extend(["posix".into(), path.display().to_string()]);
    let gateway = gateway.to_owned();
    let start = move || {
        let mut command = Command::new(&gateway);
        command.args(&words);
        Ok(command)
    };
    Server::new(folder, port, log, Box::new(start))
}

/// The gateway's program, built once into the cache.
pub(crate) fn s3_gateway() -> Outcome<PathBuf> {
    let folder = cache().join("servers").join(format!("versitygw-{VERSITYGW}"));
    let built = folder.join("versitygw");
    if built.is_file() {
        return Ok(built);
    }
    let usual = PathBuf::from("/usr/local/go/bin/go");
    let Some(go) = program("go").or_else(|| usual.is_file().then_some(usual)) else {
        return skip("the S3 server is built with Go, which is not here");
    };
    let module = format!("github.com/versity/versitygw/cmd/versitygw@{VERSITYGW}");
    let output = Command::new(go).args(["install", "-trimpath", &module]).env("GOBIN", &folder).output()?;
    if !output.status.success() {
        return skip(format!("the S3 server cannot be built: {}", tail(&String::from_utf8_lossy(&output.stderr), 3)));
    }
    Ok(built)
}

/// Python's aiosmtpd; mails are in the folder `mails`.
pub(crate) fn smtp(log: &Path, tls: &Tls, mode: &'static str) -> Outcome<Server> {
    let there = Command::new("/usr/bin/python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return skip("python3-aiosmtpd is not installed: scripts/setup test");
    }
    let (folder, port) = (folder("smtp")?, homebolt::qemu::free_port()?);
    let (script, mails) = (folder.path().join("smtp.py"), folder.path().join("mails"));
    File::create(&script)?.write_all(include_bytes!("smtp.py"))?;
    fs::create_dir(&mails)?;
    let (certificate, key) = (tls.certificate.clone(), tls.key.clone());
    let start = move || {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(&script).arg(port.to_string()).args([&certificate, &key, &mails]).arg(mode);
        Ok(command)
    };
    Server::new(folder, port, log, Box::new(start))
}
