//! btcd on simnet: blocks whenever a test wants some.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use homebolt::qemu::free_port;
use serde_json::{Value, json};

use crate::{
    http::Client,
    report::{Outcome, ensure, fails, until},
};

/// Name and password; nobody else reaches it.
const USER: &str = "homebolt";

/// A chain of its own. Ends with this value.
pub(super) struct Chain {
    program: PathBuf,
    folder: tempfile::TempDir,
    log: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Chain {
    pub(super) fn start(program: &Path, log: PathBuf) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("homebolt-btcd-").tempdir()?;
        fs::write(folder.path().join("btcd.conf"), "")?;
        // Its own certificate would be one on the curve P-521, which rustls with ring does not speak.
        let key = rcgen::KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        fs::write(folder.path().join("rpc.cert"), certificate.pem())?;
        fs::write(folder.path().join("rpc.key"), key.serialize_pem())?;
        let mut chain = Self { program: program.to_owned(), folder, log, port: free_port()?, child: None };
        chain.run(None)?;
        Ok(chain)
    }

    /// Starts again, with the rewards of its blocks going to `address`: that can only be said at start.
    pub(super) fn mine_for(&mut self, address: &str) -> Outcome {
        // btcd may be gone before its answer is on the way: what counts is that it ends.
        let asked = self.call("stop", json!([]));
        if let Some(child) = &mut self.child {
            until(Duration::from_secs(30), || match child.try_wait()? {
                Some(_) => Ok(()),
                None => fails(format!("btcd still runs; asked to stop, it said: {asked:?}")),
            })?;
        }
        self.run(Some(address))
    }

    fn run(&mut self, miner: Option<&str>) -> Outcome {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(["--simnet", "--nolisten", "--txindex", "--debuglevel=warn"]);
        command.arg(format!("--configfile={}", path("btcd.conf")));
        command.arg(format!("--datadir={}", path("data"))).arg(format!("--logdir={}", path("logs")));
        command.arg(format!("--rpclisten=127.0.0.1:{}", self.port));
        command.arg(format!("--rpcuser={USER}")).arg(format!("--rpcpass={USER}"));
        command.arg(format!("--rpccert={}", path("rpc.cert"))).arg(format!("--rpckey={}", path("rpc.key")));
        command.args(miner.map(|address| format!("--miningaddr={address}")));
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        until(Duration::from_secs(30), || self.height().map(drop))
    }

    /// What LND needs to reach it.
    pub(super) fn arguments(&self) -> Vec<String> {
        let certificate = self.folder.path().join("rpc.cert");
        vec![
            "--bitcoin.simnet".into(),
            "--bitcoin.node=btcd".into(),
            format!("--btcd.rpchost=127.0.0.1:{}", self.port),
            format!("--btcd.rpcuser={USER}"),
            format!("--btcd.rpcpass={USER}"),
            format!("--btcd.rpccert={}", certificate.display()),
        ]
    }

    pub(super) fn height(&self) -> Outcome<u32> {
        let height = self.call("getblockcount", json!([]))?;
        Ok(u32::try_from(height.as_u64().unwrap_or_default())?)
    }

    /// Makes so many blocks at once.
    pub(super) fn mine(&self, blocks: u32) -> Outcome {
        self.call("generate", json!([blocks])).map(drop)
    }

    /// Ids of the transactions that wait for a block.
    pub(super) fn waiting(&self) -> Outcome<Vec<String>> {
        let ids = self.call("getrawmempool", json!([]))?;
        Ok(ids.as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect())
    }

    fn call(&self, method: &str, params: Value) -> Outcome<Value> {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{USER}:{USER}")));
        let request = json!({ "jsonrpc": "1.0", "id": 1, "method": method, "params": params }).to_string();
        let headers = [("Authorization", authorization.as_str())];
        let answer = Client::tls(self.port).post_json("/", &headers, &request)?;
        ensure!(answer.status == 200, "btcd answers {method} with {}: {}", answer.status, answer.text());
        let answer: Value = serde_json::from_slice(&answer.body)?;
        match &answer["error"] {
            Value::Null => Ok(answer["result"].clone()),
            error => fails(format!("btcd refuses {method}: {error}")),
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
