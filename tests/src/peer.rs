//! An LND with a wallet at a bitcoind of this computer, driven by the lnd crate: the other end of channels, and the box's own in
//! some groups.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bitcoind::Auth;
use homebolt::qemu::free_port;
use lnd::{Client, Config, Secret, client::NewWallet, types::Seed};
use tokio::runtime::Runtime;
use twin::LndState;

use crate::{
    bitcoind::node::Node as Bitcoind,
    report::{Fault, Outcome, ensure, until},
};

/// For what a node does by itself on a slow computer.
const SOON: Duration = Duration::from_secs(90);
const PASSWORD: &str = "a password of a test";

/// Where one lives.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// Port of gRPC.
    pub(crate) rpc: u16,
}

/// An LND with a wallet. Ends with this value.
pub(crate) struct Peer {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    pub(crate) client: Client,
    /// `pubkey@host:port`.
    pub(crate) address: String,
    kept: Option<tempfile::TempDir>,
}

impl Peer {
    /// One in a new folder of its own.
    pub(crate) fn new(program: &Path, chain: &Bitcoind, logs: &Path, name: &str, runtime: &Runtime) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("homebolt-{name}-")).tempdir()?;
        let at = Place { folder: folder.path().to_owned(), rpc: free_port()? };
        let mut this = Self::at(program, chain, logs, name, at, runtime)?;
        this.kept = Some(folder);
        Ok(this)
    }

    /// One in a new folder whose wallet is that of these words.
    pub(crate) fn of_words(
        words: &[String],
        program: &Path,
        chain: &Bitcoind,
        logs: &Path,
        name: &str,
        runtime: &Runtime,
    ) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("homebolt-{name}-")).tempdir()?;
        let at = Place { folder: folder.path().to_owned(), rpc: free_port()? };
        let seed = Some(Seed::new(words.to_vec()));
        let mut this = Self::begin(program, chain, logs, name, at, runtime, seed)?;
        this.kept = Some(folder);
        Ok(this)
    }

    /// One in that place.
    pub(crate) fn at(
        program: &Path,
        chain: &Bitcoind,
        logs: &Path,
        name: &str,
        at: Place,
        runtime: &Runtime,
    ) -> Outcome<Self> {
        Self::begin(program, chain, logs, name, at, runtime, None)
    }

    /// `seed`: of a wallet that is made again; `None`: new words.
    fn begin(
        program: &Path,
        chain: &Bitcoind,
        logs: &Path,
        name: &str,
        at: Place,
        runtime: &Runtime,
        seed: Option<Seed>,
    ) -> Outcome<Self> {
        let Place { folder, rpc } = at;
        let p2p = free_port()?;
        let admin = folder.join("admin.macaroon");
        let mut arguments: Vec<String> =
            ["--bitcoin.regtest", "--bitcoin.node=bitcoind", "--db.backend=sqlite", "--accept-keysend"]
                .map(str::to_owned)
                .into();
        arguments.extend([
            format!("--lnddir={}", folder.display()),
            format!("--adminmacaroonpath={}", admin.display()),
            "--norest".into(),
            format!("--rpclisten=127.0.0.1:{rpc}"),
            format!("--listen=127.0.0.1:{p2p}"),
            format!("--alias={name}"),
            format!("--bitcoind.rpchost=127.0.0.1:{}", chain.rpc),
            format!("--bitcoind.zmqpubrawblock=tcp://127.0.0.1:{}", chain.blocks),
            format!("--bitcoind.zmqpubrawtx=tcp://127.0.0.1:{}", chain.transactions),
        ]);
        match chain.config()?.auth {
            Auth::Cookie(path) => arguments.push(format!("--bitcoind.rpccookie={}", path.display())),
            Auth::Password { user, password } => {
                arguments.extend([format!("--bitcoind.rpcuser={user}"), format!("--bitcoind.rpcpass={password}")]);
            }
        }
        let config = Config { address: ([127, 0, 0, 1], rpc).into(), certificate: folder.join("tls.cert") };
        let mut this = Self {
            program: program.to_owned(),
            arguments,
            log: logs.join(format!("{name}.log")),
            child: None,
            client: Client::new(config.clone(), Some(admin)),
            address: String::new(),
            kept: None,
        };
        this.run()?;
        let maker = Client::new(config, None);
        let key = runtime.block_on(async {
            wait_for(&maker, LndState::NonExisting).await?;
            let seed = match seed {
                Some(seed) => seed,
                None => maker.new_seed(None).await?,
            };
            let wallet = NewWallet { password: Secret::new(PASSWORD), seed, passphrase: None, recovery: None };
            maker.init_wallet(wallet).await?;
            wait_for(&maker, LndState::ServerActive).await?;
            Ok::<_, Fault>(this.client.info().await?.pubkey)
        })?;
        this.address = format!("{key}@127.0.0.1:{p2p}");
        Ok(this)
    }

    /// Starts the process, and waits for nothing.
    pub(crate) fn run(&mut self) -> Outcome {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// From the next start on it is another LND, on the same data.
    pub(crate) fn exchange(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// As the box does it before a restart; waits until it is gone.
    pub(crate) fn stop(&mut self, runtime: &Runtime) -> Outcome {
        runtime.block_on(self.client.stop())?;
        self.gone()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn gone(&mut self) -> Outcome {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let ended = until(SOON, || {
            ensure!(child.try_wait()?.is_some(), "LND runs on");
            Ok(())
        });
        if ended.is_err() {
            self.child = Some(child);
        }
        ended
    }

    pub(crate) fn kill(&mut self) -> Outcome {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Opens the wallet of one that was started, and waits until all of it runs.
    pub(crate) async fn unlock(&self) -> Outcome {
        let maker = Client::new(self.client.config().clone(), None);
        wait_for(&maker, LndState::Locked).await?;
        maker.unlock(&Secret::new(PASSWORD)).await?;
        wait_for(&maker, LndState::ServerActive).await
    }

    /// The process of another program, with the same settings in another folder.
    pub(crate) fn elsewhere(&self, program: &Path, folder: &Path, log: &Path) -> Outcome<Child> {
        let own = self.client.config().certificate.parent().unwrap_or(Path::new("")).display().to_string();
        let arguments = self.arguments.iter().map(|argument| argument.replace(&own, &folder.display().to_string()));
        let log = File::create(log)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command.spawn()?)
    }

    pub(crate) fn key(&self) -> &str {
        self.address.split('@').next().unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

async fn wait_for(client: &Client, wanted: LndState) -> Outcome {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let seen = client.state().await;
        if seen.as_ref().is_ok_and(|seen| *seen == wanted) {
            return Ok(());
        }
        ensure!(tokio::time::Instant::now() < end, "LND is {seen:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
