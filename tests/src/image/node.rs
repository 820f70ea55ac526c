//! Part `node`: in the booted image from a new disk to a running node, with a real bitcoind on this computer.

use std::time::{Duration, Instant};

use bitcoind::Network;
use serde_json::json;

use crate::{
    Context,
    bitcoind::node::Node as Bitcoind,
    http::Client,
    report::{Outcome, Report, ensure, fails, until},
    visitor,
};

use super::lab::{BOOT, GIB, Lab, Live, Options};

/// How the guest reaches this computer's loopback.
const HOST: &str = "10.0.2.2";
/// From the last click to 'node running', under emulation.
const BAR: Duration = Duration::from_secs(60);
/// For LND to start for the first time under emulation, beside other work.
const START: Duration = Duration::from_secs(600);

pub(crate) fn run(report: &mut Report, lab: &Lab, context: &Context) {
    let named = context.bitcoind.as_deref();
    let Some(program) = report.need("there is a bitcoind", || crate::bitcoind::program(named)) else { return };
    let chain = report.need("a chain starts on this computer", || Chain::start(&program, &lab.logs));
    let Some(chain) = chain else { return };
    let disk = report.need("the image is unpacked to a disk", || lab.disk("node", 8 * GIB));
    let Some(disk) = disk else { return };
    let started = report.need("the machine starts", || lab.start(&disk, "node", Options::default()));
    let Some(mut live) = started else { return };
    let running = report.test("the wizard leads from a new disk to a running node", || {
        live.wait_for_page(BOOT)?;
        let owner = claim(&live)?;
        choose_bitcoind(&owner, &chain)?;
        let words = seed(&owner)?;
        let time = apply(&owner)?;
        Ok((words, time))
    });
    let Some((words, time)) = running else { return };
    let judged = if time <= BAR { "within" } else { "above" };
    report.note(&format!(
        "last click to node running: {:.1} s, {judged} the bar of {} s",
        time.as_secs_f64(),
        BAR.as_secs()
    ));
    report.test("the wallet's password is sealed, and the seed is in no journal and no file", || {
        secrets(&mut live, &words)
    });
    report.test("after a restart LND is unlocked by itself", || {
        let boot = live.shell("cat /proc/sys/kernel/random/boot_id")?;
        // The shell ends with the rest: its answer may not come any more.
        let _ = live.ask("systemctl reboot");
        until(BOOT, || {
            live.wait_for_shell(Duration::from_secs(20))?;
            ensure!(live.shell("cat /proc/sys/kernel/random/boot_id")? != boot, "the box has not restarted");
            Ok(())
        })?;
        live.wait_for_page(BOOT)?;
        let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
        until(START, || {
            let page = owner.get("/home")?.text();
            ensure!(page.contains("LND runs and takes part"), "LND is not up: {}", live.shell(LOG)?);
            Ok(())
        })
    });
    report.test("the box with a node switches itself off", || live.switch_off());
}

const LOG: &str = "systemctl status lnd.service --no-pager -n 12 2>&1 | cat";

/// A regtest chain on this computer.
struct Chain {
    node: Bitcoind,
    _runtime: tokio::runtime::Runtime,
}

impl Chain {
    fn start(program: &std::path::Path, logs: &std::path::Path) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let arguments = ["-rpcuser=homebolt", "-rpcpassword=homebolt"];
        let mut node = Bitcoind::new(program, logs, "host", Network::Regtest, &arguments)?;
        node.spawn()?;
        runtime.block_on(async {
            let end = Instant::now() + Duration::from_secs(60);
            while let Err(fault) = mine(&node).await {
                if Instant::now() > end {
                    return Err(fault);
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Ok(())
        })?;
        Ok(Self { node, _runtime: runtime })
    }
}

async fn mine(node: &Bitcoind) -> Outcome {
    use bitcoind::rpc::{Client, Limits};
    let auth = bitcoind::Auth::Password { user: "homebolt".into(), password: "homebolt".into() };
    let config = bitcoind::Config { auth, ..node.config()? };
    let mut session = Client::new(&config, Limits::default()).session().await?;
    // A node that has seen no block for long believes that it still syncs.
    session.call::<serde_json::Value>("generatetodescriptor", json!([3, "raw(51)"])).await?;
    Ok(())
}

fn claim(live: &Live) -> Outcome<Client> {
    let claim = visitor::claim(&live.client(), &live.code()?)?;
    Ok(live.client().with_session(&visitor::set_password(&live.client(), &claim)?))
}

fn choose_bitcoind(owner: &Client, chain: &Chain) -> Outcome {
    let rpc = format!("{HOST}:{}", chain.node.rpc);
    let (blocks, transactions) =
        (format!("tcp://{HOST}:{}", chain.node.blocks), format!("tcp://{HOST}:{}", chain.node.transactions));
    let form = [
        ("backend", "bitcoind"),
        ("rpc", rpc.as_str()),
        ("user", "homebolt"),
        ("password", "homebolt"),
        ("zmq_block", blocks.as_str()),
        ("zmq_tx", transactions.as_str()),
        ("chain", "regtest"),
        ("fee_url", ""),
    ];
    let answer = owner.post("/setup/bitcoin", &form)?;
    ensure!(
        answer.location() == "/setup/bitcoin/test",
        "the form is answered by {}: {}",
        answer.status,
        visitor::complaint(&answer)
    );
    until(Duration::from_secs(90), || {
        let page = owner.get("/setup/bitcoin/test")?.text();
        ensure!(page.contains("Everything that is needed works"), "the test says {}", words_of(&page));
        Ok(())
    })?;
    let answer = owner.post("/setup/bitcoin/use", &[])?;
    ensure!(answer.location() == "/setup/wallet", "it leads to {:?}", answer.location());
    Ok(())
}

/// Through the wallet's pages; gives the words.
fn seed(owner: &Client) -> Outcome<Vec<String>> {
    until(START, || {
        let page = owner.get("/setup/wallet")?.text();
        ensure!(page.contains("Make a seed"), "the page says {}", words_of(&page));
        Ok(())
    })?;
    let answer = owner.post("/setup/wallet/new", &[])?;
    ensure!(answer.location() == "/setup/wallet/words", "no seed: {}", visitor::complaint(&answer));
    let page = owner.get("/setup/wallet/words")?.text();
    let list = page.split_once("words seed\">").map_or("", |(_, rest)| rest);
    let list = list.split_once("</ol>").map_or("", |(list, _)| list);
    let words: Vec<String> =
        list.split("<li>").skip(1).filter_map(|item| item.split_once('<')).map(|(word, _)| word.to_owned()).collect();
    ensure!(words.len() == 24, "{} words are shown", words.len());
    owner.post("/setup/wallet/written", &[])?;
    let page = owner.get("/setup/wallet/words")?.text();
    let mut answers = Vec::new();
    for index in 0..4 {
        let label = format!("<label for=\"word{index}\">Word ");
        let number = page.split_once(&label).and_then(|(_, rest)| rest.split_once('<')).map(|(number, _)| number);
        let Some(number) = number.and_then(|number| number.trim().parse::<usize>().ok()) else {
            return fails(format!("word {index} is not asked for"));
        };
        answers.push((format!("word{index}"), words[number - 1].clone()));
    }
    let form: Vec<(&str, &str)> = answers.iter().map(|(name, word)| (name.as_str(), word.as_str())).collect();
    let answer = owner.post("/setup/wallet/check", &form)?;
    ensure!(answer.location() == "/setup/summary", "the right words are answered by {}", visitor::complaint(&answer));
    Ok(words)
}

/// The last click; gives the time until the node runs.
fn apply(owner: &Client) -> Outcome<Duration> {
    let begun = Instant::now();
    owner.post("/setup/apply", &[])?;
    until(START, || {
        let page = owner.get("/setup/summary")?.text();
        ensure!(page.contains("Your node runs"), "the page says {}", words_of(&page));
        Ok(())
    })?;
    Ok(begun.elapsed())
}

fn secrets(live: &mut Live, words: &[String]) -> Outcome {
    let sealed = live.shell("stat -c '%U %a %s' /data/system/credstore.encrypted/lnd.wallet-password")?;
    ensure!(sealed.starts_with("root 600 "), "the sealed password is {sealed}");
    let conf = live.shell("cat /data/config/lnd.conf")?;
    ensure!(conf.contains("wallet-unlock-password-file=/run/credentials/"), "LND would not unlock by itself:\n{conf}");
    // A word alone is in many texts, three in a row are not.
    for row in words.windows(3).take(8) {
        let row = row.join(".");
        let found = live.ask(&format!(
            "journalctl -b --no-pager -o cat | grep -c '{row}'; grep -rl '{row}' /data/homebolt /data/config /data/system /run/homebolt/manager 2>/dev/null | head"
        ))?;
        ensure!(found.text.trim() == "0", "words of the seed are in {}", found.text);
    }
    Ok(())
}

/// The readable part of a page.
fn words_of(page: &str) -> String {
    let main = page.split_once("<main").map_or(page, |(_, rest)| rest);
    let mut inside = false;
    let text: String = main
        .chars()
        .filter(|letter| {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                _ => return !inside,
            }
            false
        })
        .collect();
    text.chars().take(400).collect()
}
