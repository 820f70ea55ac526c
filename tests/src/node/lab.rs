//! The machines of the group: a chain, LNDs, and what watches them.

use std::{
    fs::{self, File},
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use homebolt::qemu::free_port;
use lnd::{
    Client, Config, Secret,
    client::{NewWallet, Recovery},
    types::{NodeAddress, Seed},
    watch::{Macaroons, Watching},
};
use tokio::{runtime::Runtime, task::JoinSet};
use twin::{LndState, Reader, State, Twin, node::Info};

use super::chain::Chain;
use crate::{
    Context, axe,
    report::{Fault, Outcome, ensure, fails, until},
};

/// Opens the wallets.
pub(super) const PASSWORD: &str = "a password of a test";
/// For what LND does by itself within a moment, on two slow cores.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// The lnd program of a build; built now if there is none.
pub(crate) fn lnd(context: &Context, log: &Path) -> Outcome<PathBuf> {
    if let Some(lnd) = context.lnd() {
        return Ok(lnd.to_owned());
    }
    crate::build(&context.root, log, &context.board, &context.base)?;
    crate::lnd_of_build(&axe::cache()).ok_or_else(|| Fault::Fails("the build has left no lnd in the cache".into()))
}

pub(super) struct Lab {
    pub(super) alice: Node,
    pub(super) bob: Node,
    pub(super) chain: Chain,
    pub(super) runtime: Arc<Runtime>,
    pub(super) lnd: PathBuf,
    pub(super) logs: PathBuf,
}

impl Lab {
    pub(super) fn start(btcd: &Path, lnd: &Path, logs: &Path) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let runtime = Arc::new(runtime);
        let chain = Chain::start(btcd, logs.join("btcd.log"))?;
        let alice = Node::start("alice", lnd, logs, &chain, &runtime)?;
        let bob = Node::start("bob", lnd, logs, &chain, &runtime)?;
        Ok(Self { alice, bob, chain, runtime, lnd: lnd.to_owned(), logs: logs.to_owned() })
    }

    pub(super) fn run<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.runtime.block_on(work)
    }

    /// Makes blocks and waits until both twins have the last.
    pub(super) fn mine(&self, blocks: u32) -> Outcome {
        self.chain.mine(blocks)?;
        self.in_step(&[&self.alice, &self.bob])
    }

    /// Waits until the twins of `boxes` have the newest block.
    pub(super) fn in_step(&self, boxes: &[&Node]) -> Outcome {
        let height = self.chain.height()?;
        boxes.iter().try_for_each(|one| {
            one.until("the newest block", |state| {
                let info = &state.node.info;
                ensure!(
                    info.height == height && info.synced_to_chain,
                    "{} is at {} of {height}, in sync: {}",
                    one.name,
                    info.height,
                    info.synced_to_chain
                );
                Ok(())
            })
        })
    }

    /// Makes blocks, one by one, until the condition on a twin holds.
    pub(super) fn mine_until(
        &self,
        boxes: &[&Node],
        limit: u32,
        what: &str,
        condition: impl Fn() -> Outcome,
    ) -> Outcome {
        for _ in 0..limit {
            if until(Duration::from_secs(2), &condition).is_ok() {
                return Ok(());
            }
            self.chain.mine(1)?;
            self.in_step(boxes)?;
        }
        match condition() {
            Err(Fault::Fails(seen)) => fails(format!("{what}: after {limit} blocks still {seen}")),
            other => other,
        }
    }
}

/// An LND and what watches it, as on one box. Ends with this value.
pub(super) struct Node {
    pub(super) name: &'static str,
    program: PathBuf,
    folder: tempfile::TempDir,
    log: PathBuf,
    chain: Vec<String>,
    rpc: u16,
    p2p: u16,
    child: Option<Child>,
    runtime: Arc<Runtime>,
    reader: Reader,
    pub(super) watching: Watching,
    _tasks: JoinSet<()>,
}

impl Node {
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        logs: &Path,
        chain: &Chain,
        runtime: &Arc<Runtime>,
    ) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("homebolt-{name}-")).tempdir()?;
        let (rpc, p2p) = (free_port()?, free_port()?);
        let config = Config { address: local(rpc), certificate: folder.path().join("tls.cert") };
        let (reader, watching, tasks) = watch(runtime, config, macaroons(folder.path()));
        let mut this = Self {
            name,
            program: program.to_owned(),
            log: logs.join(format!("{name}.log")),
            folder,
            chain: chain.arguments(),
            rpc,
            p2p,
            child: None,
            runtime: runtime.clone(),
            reader,
            watching,
            _tasks: tasks,
        };
        this.run()?;
        Ok(this)
    }

    /// Starts LND and waits until it answers.
    pub(super) fn run(&mut self) -> Outcome {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg(format!("--lnddir={}", self.folder.path().display())).args(&self.chain);
        command.arg(format!("--rpclisten={}", local(self.rpc))).arg(format!("--listen={}", local(self.p2p)));
        command.arg(format!("--alias={}", self.name));
        command.args(["--db.backend=sqlite", "--norest", "--accept-keysend", "--maxpendingchannels=5"]);
        // So that a force-close can be waited for, and peers find each other again at once.
        command.args(["--bitcoin.defaultremotedelay=8", "--minbackoff=1s", "--maxbackoff=2s", "--debuglevel=info"]);
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        self.until("LND answers", |state| {
            // While it opens its database it answers, but takes no calls.
            let is_there = !matches!(state.lnd.state, LndState::Unreachable | LndState::WaitingToStart);
            ensure!(is_there, "{} is {:?}", self.name, state.lnd);
            Ok(())
        })
    }

    /// Makes the wallet and waits until everything runs.
    pub(super) fn init(&self, seed: Seed, recovery: Option<Recovery>) -> Outcome {
        let wallet = NewWallet { password: Secret::new(PASSWORD), seed, passphrase: None, recovery };
        self.block_on(async { Ok(self.without_macaroon().init_wallet(wallet).await?) })?;
        self.until_active()
    }

    /// Opens the wallet and waits until everything runs. The chain must have blocks.
    pub(super) fn unlock(&self, password: &str) -> Outcome {
        self.until("the wallet is there and locked", |state| {
            ensure!(state.lnd.state == LndState::Locked, "{} is {:?}", self.name, state.lnd);
            Ok(())
        })?;
        self.block_on(async { Ok(self.without_macaroon().unlock(&Secret::new(password)).await?) })?;
        self.until_server_active()
    }

    pub(super) fn until_active(&self) -> Outcome {
        self.until("LND runs", |state| {
            let is_active = matches!(state.lnd.state, LndState::RpcActive | LndState::ServerActive);
            ensure!(is_active, "{} is {:?}", self.name, state.lnd);
            Ok(())
        })
    }

    /// Waits until LND has followed the chain and offers everything. Before the first block it never does.
    pub(super) fn until_server_active(&self) -> Outcome {
        self.until("all of LND runs", |state| {
            ensure!(state.lnd.state == LndState::ServerActive, "{} is {:?}", self.name, state.lnd);
            Ok(())
        })
    }

    /// As a power cut would.
    pub(super) fn kill(&mut self) -> Outcome {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// As the box does it before a restart.
    pub(super) fn stop(&mut self) -> Outcome {
        self.block_on(async { Ok(self.client().stop().await?) })?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        until(SOON, || {
            ensure!(child.try_wait()?.is_some(), "{} runs on after StopDaemon", self.name);
            Ok(())
        })
    }

    pub(super) fn block_on<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.runtime.block_on(work)
    }

    /// With the program's own macaroon.
    pub(super) fn client(&self) -> &Client {
        &self.watching.client
    }

    pub(super) fn without_macaroon(&self) -> Client {
        Client::new(self.config(), None)
    }

    pub(super) fn config(&self) -> Config {
        self.client().config().clone()
    }

    pub(super) fn macaroons(&self) -> Macaroons {
        macaroons(self.folder.path())
    }

    /// Takes the certificate away, so that LND makes another at its next start.
    pub(super) fn lose_certificate(&self) -> Outcome {
        for name in ["tls.cert", "tls.key"] {
            fs::remove_file(self.folder.path().join(name))?;
        }
        Ok(())
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.reader.state()
    }

    pub(super) fn info(&self) -> Arc<Info> {
        self.state().node.info.value.clone()
    }

    /// Where others connect to.
    pub(super) fn address(&self) -> Outcome<NodeAddress> {
        Ok(NodeAddress { node: self.info().pubkey.parse()?, host: local(self.p2p).to_string() })
    }

    /// Waits until the twin is so.
    pub(super) fn until(&self, what: &str, condition: impl Fn(&State) -> Outcome) -> Outcome {
        let outcome = until(SOON, || condition(&self.state()));
        outcome.map_err(|fault| match fault {
            Fault::Fails(seen) => {
                let troubles: Vec<String> = self
                    .state()
                    .sources
                    .iter()
                    .filter_map(|(name, health)| health.error.as_ref().map(|error| format!("{name}: {error}")))
                    .collect();
                Fault::Fails(format!("waiting for {what}: {seen}; sources: {troubles:?}"))
            }
            skip => skip,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn macaroons(folder: &Path) -> Macaroons {
    let admin = folder.join("data/chain/bitcoin/simnet/admin.macaroon");
    Macaroons { admin, own: folder.join("homebolt.macaroon") }
}

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A twin and all watchers of one LND.
pub(super) fn watch(runtime: &Runtime, config: Config, macaroons: Macaroons) -> (Reader, Watching, JoinSet<()>) {
    let _inside = runtime.enter();
    let (twin, sender, reader) = Twin::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(twin.run());
    let watching = lnd::watch::start(config, macaroons, &sender, &mut tasks);
    (reader, watching, tasks)
}
