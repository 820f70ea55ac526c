//! Part `node`: in the booted image from a new disk to a running node, with a real bitcoind on this computer.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bitcoind::Network;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    Context,
    backup::servers::{self, Server},
    bitcoind::node::Node as Bitcoind,
    http::Client,
    peer::Peer,
    report::{Outcome, Report, ensure, fails, until},
    road, visitor,
};

use super::{
    chip::Chip,
    lab::{BOOT, GIB, Lab, Live, Options},
};

/// How the guest reaches this computer's loopback.
const HOST: &str = "10.0.2.2";
/// From the last click to 'node running', under emulation.
const BAR: Duration = Duration::from_secs(60);
/// For LND to start for the first time under emulation, beside other work.
const START: Duration = Duration::from_secs(600);
/// The serial number of the disk that the data moves to.
const OTHER: &str = "HOMEBOLT-TEST-3";

pub(crate) fn run(report: &mut Report, lab: &Lab, context: &Context) {
    let named = context.bitcoind.as_deref();
    let Some(program) = report.need("there is a bitcoind", || crate::bitcoind::program(named)) else { return };
    let chain = report.need("a chain starts on this computer", || Chain::start(&program, &lab.logs));
    let Some(chain) = chain else { return };
    let Some(mut peer) = report.need("a second node starts on this computer", || Other::start(&chain, lab, context))
    else {
        return;
    };
    let disks = report.need("the image is unpacked to a disk, and there is an empty one", || {
        Ok((lab.disk("node", 8 * GIB)?, lab.empty_disk("node-2", 4 * GIB)?))
    });
    let Some((disk, empty)) = disks else { return };
    let Some(chip) = report.need("there is a security chip", Chip::new) else { return };
    let more: [(&Path, &str); 1] = [(empty.as_path(), OTHER)];
    let start = |chip| lab.start_beside(&disk, &more, "node", Options::default(), chip);
    let Some(mut live) = report.need("the machine starts", || start(Some(&chip))) else { return };
    let running = report.test("the wizard leads from a new disk to a running node", || {
        live.wait_for_page(BOOT)?;
        let (owner, code) = claim(&live)?;
        road::bitcoin(&owner, &road::bitcoind(HOST, &chain.node))?;
        let words = road::seed(&owner)?;
        let time = road::apply(&owner)?;
        Ok((owner, code, words, time))
    });
    let Some((owner, code, words, time)) = running else { return };
    let judged = if time <= BAR { "within" } else { "above" };
    report.note(&format!(
        "last click to node running: {:.1} s, {judged} the bar of {} s",
        time.as_secs_f64(),
        BAR.as_secs()
    ));
    report.test(
        "the wallet's password is sealed by the security chip; seed, passwords, macaroons and claim code are in no journal, \
         file, core or support bundle",
        || {
            ensure!(
                owner.get("/setup/summary")?.text().contains("sealed by this box"),
                "the page does not name the chip"
            );
            secrets(&mut live, &owner, &words, &code)
        },
    );
    let open = report
        .test("a channel to a node on this computer opens, and a copy of its backup is at a server", || {
            peer.open_channel(&chain, &owner)
        });
    report.test("after a restart LND is unlocked by itself, and the channel is active again", || {
        let boot = live.boot_id()?;
        // The shell ends with the rest: its answer may not come any more.
        let _ = live.ask("systemctl reboot");
        live.wait_for_other_boot(&boot, BOOT)?;
        runs(&mut live, open.is_some())
    });
    report.test("the data of the running node moves to another disk, and the channel is active again", || {
        let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
        let boot = live.boot_id()?;
        let form = [("disk", "vdb"), ("serial", OTHER), ("confirm", ""), ("from", "settings")];
        let answer = owner.post("/disk/move", &form)?;
        ensure!(answer.status == 303, "it is answered by {}: {}", answer.status, visitor::complaint(&answer));
        live.wait_for_other_boot(&boot, START)?;
        let source = live.shell("findmnt --noheadings --output SOURCE /data")?;
        ensure!(source == "/dev/vdb1", "/data is on {source}");
        runs(&mut live, open.is_some())
    });
    report.test("the box with a node switches itself off", || live.switch_off());
    report.test("without its security chip LND waits locked, and the page says what can be done", || {
        let mut live = start(None)?;
        live.wait_for_page(BOOT)?;
        let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
        until(START, || {
            let page = owner.get("/home")?.text();
            ensure!(
                page.contains("The wallet is locked"),
                "the page says {}; {}",
                road::words_of(&page),
                live.shell(LOG)?
            );
            Ok(())
        })?;
        live.switch_off()
    });
}

/// The node runs by itself, and has its channel.
fn runs(live: &mut Live, with_channel: bool) -> Outcome {
    live.wait_for_page(BOOT)?;
    let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
    until(START, || {
        let page = owner.get("/home")?.text();
        ensure!(page.contains("LND runs and takes part"), "LND is not up: {}", live.shell(LOG)?);
        ensure!(!with_channel || is_active(&page), "the channel is not active: {}", channels_of(&page));
        Ok(())
    })
}

/// The card of the channels.
fn channels_of(page: &str) -> String {
    page.split_once("id=\"node-channels\"").map_or_else(String::new, |(_, rest)| road::words_of(rest))
}

fn is_active(page: &str) -> bool {
    channels_of(page).split(|letter: char| !letter.is_alphabetic()).any(|word| word == "active")
}

const LOG: &str = "systemctl status lnd.service --no-pager -n 12 2>&1 | cat";

/// A regtest chain on this computer.
struct Chain {
    node: Bitcoind,
    runtime: Runtime,
}

impl Chain {
    fn start(program: &Path, logs: &Path) -> Outcome<Self> {
        let runtime = Runtime::new()?;
        let password = format!("-rpcpassword={}", road::DOOR);
        let arguments = ["-rpcuser=homebolt", &password, "-txindex=1"];
        let mut node = Bitcoind::new(program, logs, "host", Network::Regtest, &arguments)?;
        runtime.block_on(async {
            node.start().await?;
            node.fund().await
        })?;
        Ok(Self { node, runtime })
    }
}

/// A second node, and a server for copies.
struct Other {
    peer: Peer,
    copies: Server,
}

impl Other {
    fn start(chain: &Chain, lab: &Lab, context: &Context) -> Outcome<Self> {
        let program = crate::node::lab::lnd(context, &lab.logs.join("lnd-build.log"))?;
        let peer = Peer::new(&program, &chain.node, &lab.logs, "bob", &chain.runtime)?;
        Ok(Self { peer, copies: servers::sshd(&lab.logs.join("sshd.log"), "")? })
    }

    fn open_channel(&mut self, chain: &Chain, owner: &Client) -> Outcome {
        road::sftp(owner, HOST, &self.copies)?;
        let page = owner.post("/receive/address", &[])?.text();
        let from = page.find("bcrt1").unwrap_or_default();
        let address: String = page[from..].chars().take_while(char::is_ascii_alphanumeric).collect();
        chain.runtime.block_on(async {
            chain.node.call("sendtoaddress", json!([address, 0.05])).await?;
            chain.node.mine_own(3).await
        })?;
        until(START, || {
            let page = owner.get("/home")?.text();
            ensure!(page.contains("5,000,000"), "the money is not there: {}", road::words_of(&page));
            Ok(())
        })?;
        let at = self.peer.address.replace("127.0.0.1", HOST);
        let answer = until(START, || {
            // LND may count the money before it says that it has caught up with the chain.
            let answer = owner.post("/channels/open", &[("peer", &at), ("amount", "1000000"), ("fee", "6")])?;
            ensure!(!answer.text().contains("still starting"), "it says {}", visitor::complaint(&answer));
            Ok(answer)
        })?;
        ensure!(answer.text().contains("is on its way to the chain"), "it says {}", visitor::complaint(&answer));
        chain.runtime.block_on(chain.node.mine_own(6))?;
        until(START, || {
            let page = owner.get("/home")?.text();
            ensure!(is_active(&page), "the channel is not active: {}", channels_of(&page));
            Ok(())
        })?;
        until(Duration::from_secs(60), || match self.copies_with_a_channel()?.is_empty() {
            true => fails("there is no copy with the channel at the server"),
            false => Ok(()),
        })
    }

    fn copies_with_a_channel(&self) -> Outcome<Vec<PathBuf>> {
        let all = std::fs::read_dir(self.copies.path().join("home/homebolt"))?.flatten().map(|entry| entry.path());
        let has_one = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("scb-") && name.split('-').nth(2) == Some("1")
        };
        Ok(all.filter(has_one).collect())
    }
}

/// The owner, and the code that made them one.
fn claim(live: &Live) -> Outcome<(Client, String)> {
    let code = live.code()?;
    let claim = visitor::claim(&live.client(), &code)?;
    let owner = live.client().with_session(&visitor::set_password(&live.client(), &claim)?);
    road::first_steps(&owner)?;
    Ok((owner, code))
}

fn secrets(live: &mut Live, owner: &Client, words: &[String], code: &str) -> Outcome {
    let sealed = live.shell("stat -c '%U %a %s' /data/system/credstore.encrypted/lnd.wallet-password")?;
    ensure!(sealed.starts_with("root 600 "), "the sealed password is {sealed}");
    let conf = live.shell("cat /data/config/lnd.conf")?;
    ensure!(conf.contains("wallet-unlock-password-file=/run/credentials/"), "LND would not unlock by itself:\n{conf}");
    // A program that dies leaves nothing of its memory.
    live.shell("systemctl kill --signal=ABRT homebolt-manager.service")?;
    live.wait_for_page(BOOT)?;
    let cores =
        live.shell("cat /proc/sys/kernel/core_pattern; find /data /run /var /tmp -name 'core*' -type f -size +100k")?;
    ensure!(cores == "|/bin/false", "a program that dies leaves its memory: {cores}");
    // A word alone is in many texts, three in a row are not.
    let mut secrets: Vec<String> = words.windows(3).flat_map(|row| [row.join(" "), row.join("\",\"")]).collect();
    secrets.extend([visitor::PASSWORD.to_owned(), code.to_owned(), code.replace('-', "")]);
    for macaroon in ["/data/lnd/admin.macaroon", "/data/homebolt/lnd.macaroon"] {
        secrets.push(live.shell(&format!("od -An -v -tx1 {macaroon} | tr -d ' \\n'"))?);
        secrets.push(live.shell(&format!("base64 {macaroon} | tr -d '\\n'"))?);
    }
    ensure!(
        secrets.iter().all(|secret| secret.len() > 7 && !secret.contains('\'')),
        "a secret is too short to be looked for"
    );
    // The list itself lies where nobody looks.
    live.shell(&format!("printf '%s\\n' '{}' >/run/homebolt-test-secrets", secrets.join("' '")))?;
    let found = live.ask(
        "journalctl -b --no-pager -o cat | grep -cF -f /run/homebolt-test-secrets; \
         grep -rlF -f /run/homebolt-test-secrets /data/homebolt /data/config /data/system /run/homebolt 2>/dev/null | grep -v /claim.json",
    )?;
    ensure!(found.text.trim() == "0", "something secret is in the journal or in a file: {}", found.text);
    ensure!(owner.post("/settings/support", &[])?.status == 303, "there is no support bundle");
    let all: Vec<String> = (0..8).map(|index| format!("f{index}")).collect();
    let form: Vec<(&str, &str)> = all.iter().map(|name| (name.as_str(), "yes")).collect();
    let bundle = owner.post("/settings/support/download", &form)?.text();
    ensure!(bundle.contains("versions.txt"), "the bundle is {} bytes", bundle.len());
    ensure!(
        !secrets.iter().any(|secret| bundle.contains(secret.as_str())),
        "something secret is in the support bundle"
    );
    Ok(())
}
