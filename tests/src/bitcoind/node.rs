//! A real bitcoind on this computer, with its own folder and ports.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bitcoind::{
    Auth, Config, Endpoint, Network, Zmq,
    rpc::{Client, Limits},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::report::{Fault, Outcome, ensure, fails, tail};

/// How long a start or a stop may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One that may run. Ends with this value.
#[derive(Debug)]
pub(crate) struct Node {
    program: PathBuf,
    folder: tempfile::TempDir,
    log: PathBuf,
    network: Network,
    arguments: Vec<String>,
    child: Option<Child>,
    pub(crate) rpc: u16,
    pub(crate) p2p: u16,
    /// Of `zmqpubrawblock` and `zmqpubsequence`.
    pub(crate) blocks: u16,
    /// Of `zmqpubrawtx`.
    pub(crate) transactions: u16,
}

pub(crate) fn local(port: u16) -> Outcome<Endpoint> {
    at("127.0.0.1", port)
}

pub(crate) fn at(host: &str, port: u16) -> Outcome<Endpoint> {
    Endpoint::new(host, port).ok_or_else(|| Fault::Fails(format!("{host}:{port} is no endpoint")))
}

impl Node {
    /// Prepares one; `arguments` besides the usual ones. Without peers, unless the arguments name some.
    pub(crate) fn new(program: &Path, logs: &Path, name: &str, network: Network, arguments: &[&str]) -> Outcome<Self> {
        let port = homebolt::qemu::free_port;
        Ok(Self {
            program: program.to_owned(),
            folder: tempfile::Builder::new().prefix("bitcoind-").tempdir()?,
            log: logs.join(format!("bitcoind-{name}.log")),
            network,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            child: None,
            rpc: port()?,
            p2p: port()?,
            blocks: port()?,
            transactions: port()?,
        })
    }

    /// Starts the process, and waits for nothing.
    pub(crate) fn spawn(&mut self) -> Outcome {
        let log = File::create(&self.log)?;
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-chain={}", self.network.chain()))
            .arg(format!("-datadir={}", self.folder.path().display()));
        command.args(["-server=1", "-dnsseed=0", "-fixedseeds=0", "-dbcache=4", "-fallbackfee=0.0002"]);
        command.arg(format!("-rpcport={}", self.rpc));
        let told: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        if !told.iter().any(|argument| argument.starts_with("-connect=") || argument.starts_with("-listen=")) {
            command.args(["-listen=0", "-connect=0"]);
        }
        if told.contains(&"-listen=1") {
            command.args([format!("-bind=127.0.0.1:{}", self.p2p), "-listenonion=0".into()]);
        }
        if !told.contains(&"-nozmq") {
            command.arg(format!("-zmqpubrawblock=tcp://127.0.0.1:{}", self.blocks));
            command.arg(format!("-zmqpubsequence=tcp://127.0.0.1:{}", self.blocks));
            command.arg(format!("-zmqpubrawtx=tcp://127.0.0.1:{}", self.transactions));
        }
        command.args(told.iter().filter(|argument| **argument != "-nozmq"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&mut self) -> Outcome {
        self.spawn()?;
        self.ready().await
    }

    pub(crate) async fn ready(&mut self) -> Outcome {
        let end = Instant::now() + PATIENCE;
        loop {
            let Err(Fault::Fails(why)) = self.call("getblockcount", json!([])).await else { return Ok(()) };
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                return fails(format!("bitcoind ended ({status}): {}", self.words()));
            }
            ensure!(Instant::now() < end, "bitcoind does not answer: {why}: {}", self.words());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// As its owner would.
    pub(crate) async fn stop(&mut self) -> Outcome {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let asked = self.call("stop", json!([])).await;
        let end = Instant::now() + PATIENCE;
        while asked.is_ok() && Instant::now() < end {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        child.kill()?;
        child.wait()?;
        fails(format!("bitcoind does not stop: {}", self.words()))
    }

    fn words(&self) -> String {
        tail(&fs::read_to_string(&self.log).unwrap_or_default(), 8)
    }

    /// Where the data of its chain is.
    pub(crate) fn data(&self) -> PathBuf {
        let below = match self.network {
            Network::Mainnet => "",
            Network::Testnet3 => "testnet3",
            other => other.chain(),
        };
        self.folder.path().join(below)
    }

    pub(crate) fn cookie(&self) -> PathBuf {
        self.data().join(".cookie")
    }

    /// Name and password at its door, where its arguments set them. There is no cookie then.
    fn password(&self) -> Option<(&str, &str)> {
        let value = |name: &str| self.arguments.iter().find_map(|argument| argument.strip_prefix(name));
        value("-rpcuser=").zip(value("-rpcpassword="))
    }

    /// From the next start on.
    pub(crate) fn set_password(&mut self, password: &str) {
        for argument in &mut self.arguments {
            if argument.starts_with("-rpcpassword=") {
                *argument = format!("-rpcpassword={password}");
            }
        }
    }

    /// How to reach it: by its cookie, or the password that it was given; and its ZMQ.
    pub(crate) fn config(&self) -> Outcome<Config> {
        let zmq = Zmq {
            blocks: local(self.blocks)?,
            transactions: local(self.transactions)?,
            sequence: Some(local(self.blocks)?),
        };
        let auth = match self.password() {
            Some((user, password)) => Auth::Password { user: user.into(), password: password.into() },
            None => Auth::Cookie(self.cookie()),
        };
        Ok(Config { rpc: local(self.rpc)?, auth, network: self.network, zmq: Some(zmq) })
    }

    pub(crate) async fn call(&self, method: &'static str, parameters: Value) -> Outcome<Value> {
        let limits = Limits { call: PATIENCE, ..Limits::default() };
        let mut session = Client::new(&self.config()?, limits).session().await?;
        Ok(session.call(method, parameters).await?)
    }

    /// Makes a wallet with money that can be spent.
    pub(crate) async fn fund(&self) -> Outcome {
        self.call("createwallet", json!(["miner"])).await?;
        self.mine_own(110).await
    }

    /// Mines so many blocks for its own wallet.
    pub(crate) async fn mine_own(&self, count: u32) -> Outcome {
        let address = self.call("getnewaddress", json!([])).await?;
        self.call("generatetoaddress", json!([count, address])).await.map(drop)
    }

    /// Mines so many blocks; gives the hash of the last.
    pub(crate) async fn mine(&self, count: u32) -> Outcome<String> {
        // An address of nobody's: the script `OP_TRUE`.
        let mined = self.call("generatetodescriptor", json!([count, "raw(51)"])).await?;
        let last = mined.as_array().and_then(|hashes| hashes.last()).and_then(Value::as_str);
        last.map(str::to_owned).ok_or_else(|| Fault::Fails(format!("mining gives {mined}")))
    }

    /// Takes the headers of `other` at these heights, not their blocks.
    pub(crate) async fn take_headers(&self, other: &Self, heights: std::ops::RangeInclusive<u64>) -> Outcome {
        for height in heights {
            let hash = other.call("getblockhash", json!([height])).await?;
            let header = other.call("getblockheader", json!([hash, false])).await?;
            self.call("submitheader", json!([header])).await?;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
