//! A box with two systems, and what it is connected to.

use std::{
    fs, os,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use bitcoind::Network;
use homebolt::qemu::free_port;
use homebolt_boot::{fence, marker::Marker};
use lnd::{
    Client,
    client::{NewInvoice, OpenChannel, OpenTo, Pay, PayTo},
    types::FeeRate,
};
use release::Release;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use twin::{
    MilliSat, Sat, Slot,
    node::{PaymentFailure, PaymentState},
};

use super::database;
use crate::{
    bitcoind::node::Node as Bitcoind,
    peer::{Peer, Place},
    report::{Fault, Outcome, ensure, fails, tail, until},
};

/// For what LND does by itself within a moment, on two slow cores.
const SOON: Duration = Duration::from_secs(90);
/// What a channel holds.
const CAPACITY: Sat = Sat::new(1_000_000);

/// A system of a slot, as far as it matters here.
#[derive(Debug, Clone)]
pub(super) struct System {
    /// Of its LND.
    pub(super) version: &'static str,
    pub(super) program: PathBuf,
    /// The newest database of channels that its LND knows, as LND's own sources have it.
    pub(super) database: u32,
}

/// A chain, the box's peer, and the two systems of every box.
pub(super) struct Stage {
    pub(super) runtime: Runtime,
    chain: Bitcoind,
    bob: Peer,
    systems: [System; 2],
    /// `lncli` of the newer LND.
    lncli: PathBuf,
    logs: PathBuf,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(super) fn start(bitcoind: &Path, systems: [System; 2], logs: &Path) -> Outcome<Self> {
        for system in &systems {
            let output = Command::new(&system.program).arg("--version").output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let version = system.version.trim_start_matches('v');
            ensure!(said.contains(version), "{} says {said:?}, not {version}", system.program.display());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut chain = Bitcoind::new(bitcoind, logs, "fence", Network::Regtest, &["-txindex=1"])?;
        runtime.block_on(async {
            chain.start().await?;
            chain.fund().await
        })?;
        let bob = Peer::new(&systems[1].program, &chain, logs, "bob", &runtime)?;
        let folder = tempfile::tempdir()?;
        let lncli = folder.path().join("lncli");
        os::unix::fs::symlink(&systems[1].program, &lncli)?;
        Ok(Self { runtime, chain, bob, systems, lncli, logs: logs.to_owned(), _folder: folder })
    }

    pub(super) fn mine(&self, blocks: u32) -> Outcome {
        self.runtime.block_on(self.chain.mine(blocks)).map(drop)
    }

    /// A box whose older LND has a channel with bob and has paid.
    pub(super) fn device(&self, name: &str) -> Outcome<Device> {
        let mut device = Device::new(self, name)?;
        device.open_channel(self)?;
        device.pay_both_ways(self)?;
        Ok(device)
    }

    pub(super) fn end(&mut self) -> Outcome {
        self.bob.stop(&self.runtime)?;
        self.runtime.block_on(self.chain.stop())
    }
}

/// How the channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Money {
    /// Of the newest commitment that this side holds: LND's `num_updates` is its height.
    number: u64,
    local: MilliSat,
    remote: MilliSat,
}

/// What became of a start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    Runs,
    /// The fence's sentence: there is no LND.
    Paused(String),
}

/// A box. Its LND ends with this value.
pub(super) struct Device {
    folder: tempfile::TempDir,
    systems: [System; 2],
    peer: Peer,
    lncli: PathBuf,
    /// The last that was seen of the channel.
    money: Option<Money>,
}

impl Device {
    /// A new box, started into slot A: with a wallet, and the fence that its first start has left.
    fn new(stage: &Stage, name: &str) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("homebolt-fence-").tempdir()?;
        let data = folder.path();
        fs::create_dir(data.join("system"))?;
        Marker::Live.write(data)?;
        for (place, system) in stage.systems.iter().enumerate() {
            let release = Release {
                version: format!("0.{place}.0"),
                board: "x86-64".into(),
                base: "debian".into(),
                built: 0,
                lnd_version: system.version.into(),
                development_keys: true,
                eeprom: None,
            };
            fs::write(release_of(data, place), serde_json::to_vec(&release)?)?;
        }
        fence::admit(data, &release_of(data, 0))?;
        let at = Place { folder: data.join("lnd"), rpc: free_port()? };
        let peer = Peer::at(&stage.systems[0].program, &stage.chain, &stage.logs, name, at, &stage.runtime)?;
        let (systems, lncli) = (stage.systems.clone(), stage.lncli.clone());
        Ok(Self { folder, systems, peer, lncli, money: None })
    }

    pub(super) fn data(&self) -> &Path {
        self.folder.path()
    }

    fn lnd(&self) -> PathBuf {
        self.data().join("lnd")
    }

    /// The text of the fence.
    pub(super) fn fence(&self) -> Outcome<String> {
        Ok(fs::read_to_string(self.data().join("system/fence.json"))?)
    }

    /// The version of the channels' database.
    pub(super) fn database(&self) -> Outcome<Option<u32>> {
        database::version(&self.lnd())
    }

    /// What LND's unit does in that system: asks the fence, and starts LND or does not.
    pub(super) fn boot(&mut self, slot: Slot, stage: &Stage) -> Outcome<Start> {
        let start = self.begin(slot)?;
        if start == Start::Runs {
            stage.runtime.block_on(self.peer.unlock())?;
        }
        Ok(start)
    }

    /// Opens the wallet of an LND that has just begun, as far as it gets within that time.
    pub(super) fn open_wallet(&self, stage: &Stage, limit: Duration) {
        let _ = stage.runtime.block_on(async { tokio::time::timeout(limit, self.peer.unlock()).await });
    }

    /// The same, without a wait for LND.
    pub(super) fn begin(&mut self, slot: Slot) -> Outcome<Start> {
        let before = database::fingerprint(&self.lnd())?;
        let start = match self.ask_fence(slot) {
            Ok(()) => {
                let system = &self.systems[place(slot)];
                let found = self.database()?;
                ensure!(
                    found <= Some(system.database),
                    "LND {} was to start on a database of version {found:?}: it knows {}",
                    system.version,
                    system.database
                );
                self.peer.exchange(&system.program);
                self.peer.run()?;
                return Ok(Start::Runs);
            }
            Err(error) => Start::Paused(error.to_string()),
        };
        ensure!(database::fingerprint(&self.lnd())? == before, "the database was touched by a start that was refused");
        Ok(start)
    }

    /// The fence of that system, and nothing else of it.
    pub(super) fn ask_fence(&self, slot: Slot) -> Result<(), homebolt_boot::error::Error> {
        fence::admit(self.data(), &release_of(self.data(), place(slot)))
    }

    /// A start into that system must come to a running LND.
    pub(super) fn must_run(&mut self, slot: Slot, stage: &Stage) -> Outcome {
        match self.boot(slot, stage)? {
            Start::Runs => Ok(()),
            Start::Paused(sentence) => fails(format!("LND of slot {slot:?} does not start: {sentence}")),
        }
    }

    /// A start into that system must end at the fence, with the sentence that the owner reads.
    pub(super) fn must_pause(&mut self, slot: Slot) -> Outcome {
        let fence = self.fence()?;
        let Start::Paused(sentence) = self.begin(slot)? else {
            return fails(format!("LND of slot {slot:?} was started"));
        };
        ensure!(
            sentence.starts_with("Lightning paused: this system is older than your wallet"),
            "slot {slot:?} is refused for another reason: {sentence}"
        );
        ensure!(self.fence()? == fence, "the fence has become {}", self.fence()?);
        Ok(())
    }

    /// As for every restart.
    pub(super) fn stop(&mut self, stage: &Stage) -> Outcome {
        self.peer.stop(&stage.runtime)
    }

    /// The power goes.
    pub(super) fn cut(&mut self) -> Outcome {
        self.peer.kill()
    }

    fn open_channel(&mut self, stage: &Stage) -> Outcome {
        let address = stage.runtime.block_on(self.peer.client.new_address())?;
        stage.runtime.block_on(stage.chain.call("sendtoaddress", json!([address, 0.1])))?;
        stage.mine(6)?;
        until(SOON, || {
            let confirmed = stage.runtime.block_on(self.peer.client.balances())?.confirmed;
            ensure!(confirmed > CAPACITY, "the wallet has {confirmed}");
            Ok(())
        })?;
        let open = OpenChannel {
            node: stage.bob.key().parse()?,
            amount: OpenTo::Amount(CAPACITY),
            push: Sat::ZERO,
            fee: FeeRate::SatPerVbyte(2),
            private: false,
            memo: "fence".into(),
        };
        stage.runtime.block_on(async {
            self.peer.client.connect_peer(&stage.bob.address.parse()?).await?;
            self.peer.client.open_channel(&open).await?;
            Ok::<_, Fault>(())
        })?;
        stage.mine(6)?;
        self.look().map(|_| ())
    }

    /// The channel as both LNDs see it once nothing is on its way. It must not have gone back since the last look.
    pub(super) fn look(&mut self) -> Outcome<Money> {
        let money = until(SOON, || self.channel())?;
        if let Some(last) = &self.money {
            ensure!(money.number >= last.number, "the channel went back from {last:?} to {money:?}");
        }
        self.money = Some(money.clone());
        Ok(money)
    }

    /// Nothing may have moved since the last look.
    pub(super) fn unmoved(&mut self) -> Outcome {
        let last = self.money.clone();
        let now = self.look()?;
        ensure!(
            last.as_ref().is_some_and(|last| (last.local, last.remote) == (now.local, now.remote)),
            "the channel was {last:?}, and is {now:?}"
        );
        Ok(())
    }

    fn channel(&self) -> Outcome<Money> {
        let channels = self.lncli(&["listchannels"])?;
        let all = channels["channels"].as_array().cloned().unwrap_or_default();
        let [channel] = all.as_slice() else { return fails(format!("there are {} channels", all.len())) };
        ensure!(channel["active"] == json!(true), "the channel is not active: {channel}");
        ensure!(channel["chan_status_flags"] == json!("ChanStatusDefault"), "the channel is in trouble: {channel}");
        ensure!(number(&channel["unsettled_balance"])? == 0, "something is on its way: {channel}");
        let balance = self.lncli(&["channelbalance"])?;
        let msat = |side: &str| number(&balance[side]["msat"]).map(MilliSat::new);
        Ok(Money {
            number: number(&channel["num_updates"])?,
            local: msat("local_balance")?,
            remote: msat("remote_balance")?,
        })
    }

    /// What LND's own tool says, as JSON.
    fn lncli(&self, words: &[&str]) -> Outcome<Value> {
        let config = self.peer.client.config();
        let mut lncli = Command::new(&self.lncli);
        lncli.arg("--network=regtest").arg(format!("--rpcserver={}", config.address));
        lncli.arg(format!("--tlscertpath={}", config.certificate.display()));
        lncli.arg(format!("--macaroonpath={}", self.lnd().join("admin.macaroon").display()));
        let output = lncli.args(words).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "lncli {words:?}: {}", tail(&errors, 3));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Pays bob and is paid, each to the millisatoshi; the commitment number rises with each.
    pub(super) fn pay_both_ways(&mut self, stage: &Stage) -> Outcome {
        for (to_bob, amount) in [(true, MilliSat::new(12_345_678)), (false, MilliSat::new(2_345_001))] {
            let before = self.look()?;
            let (own, bob) = (&self.peer.client, &stage.bob.client);
            let (payer, payee) = if to_bob { (own, bob) } else { (bob, own) };
            stage.runtime.block_on(pay(payer, payee, amount))?;
            let moved =
                |from: MilliSat, gains: bool| if gains { from.checked_add(amount) } else { from.checked_sub(amount) };
            let expected = (moved(before.local, !to_bob), moved(before.remote, to_bob));
            let after = until(SOON, || {
                let now = self.channel()?;
                ensure!((Some(now.local), Some(now.remote)) == expected, "{before:?} became {now:?} for {amount}");
                Ok(now)
            })?;
            ensure!(after.number > before.number, "the commitment number is still {}", after.number);
            self.money = Some(after);
        }
        Ok(())
    }

    /// The program of that system on a copy of the data, without the fence: how it ends, and its last words.
    pub(super) fn without_fence(&self, slot: Slot, stage: &Stage) -> Outcome<(Option<i32>, String)> {
        let copy = tempfile::Builder::new().prefix("homebolt-fence-copy-").tempdir()?;
        let copied = Command::new("cp").args(["--archive", "--"]).arg(self.lnd()).arg(copy.path()).status()?;
        ensure!(copied.success(), "cp ended with {copied}");
        let log = stage.logs.join("without-fence.log");
        let system = &self.systems[place(slot)];
        let mut child = self.peer.elsewhere(&system.program, &copy.path().join("lnd"), &log)?;
        let ended = until(SOON, || match child.try_wait()? {
            Some(status) => Ok(status.code()),
            None => fails(format!("LND {} runs on the database of a newer one", system.version)),
        });
        let _ = child.kill();
        let _ = child.wait();
        Ok((ended?, tail(&fs::read_to_string(&log)?, 5)))
    }
}

async fn pay(payer: &Client, payee: &Client, amount: MilliSat) -> Outcome {
    let invoice =
        NewInvoice { amount: Some(amount), memo: "fence".into(), expiry: Duration::from_secs(600), private: false };
    let request = payee.add_invoice(invoice).await?.request;
    let to = PayTo::Invoice { request, amount: None };
    let pay = Pay { to, fee_limit: MilliSat::new(1_000), timeout: Duration::from_secs(60) };
    let end = Instant::now() + SOON;
    loop {
        let payment = payer.pay(&pay).await?.end().await?.payment;
        match payment.state {
            PaymentState::Succeeded => return Ok(()),
            // A channel that has just become active cannot carry anything for a moment.
            PaymentState::Failed(PaymentFailure::InsufficientBalance | PaymentFailure::NoRoute)
                if Instant::now() < end =>
            {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            _ => return fails(format!("the payment ends as {payment:?}")),
        }
    }
}

fn place(slot: Slot) -> usize {
    usize::from(slot == Slot::B)
}

/// What a system says of itself: on the box it lies in the root of the slot.
fn release_of(data: &Path, place: usize) -> PathBuf {
    data.join(format!("release-{place}.json"))
}

/// LND's numbers are texts.
fn number(value: &Value) -> Outcome<u64> {
    let number = value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64());
    number.map_or_else(|| fails(format!("{value} is no number")), Ok)
}
