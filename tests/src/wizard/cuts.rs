//! The power goes while a wallet is made, and the disk is full: no state without an exit.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use super::{SOON, Stage, second};
use crate::{
    backup::servers::is_root,
    bitcoind::node::Node as Bitcoind,
    http::Client,
    manager::{Manager, sound},
    peer::Peer,
    report::{Outcome, Report, ensure, skip, until},
    road,
    root::FakeRoot,
    visitor,
};

pub(super) fn run(report: &mut Report, stage: &Stage, program: &Path, lnd: &Path) {
    let (logs, chain) = (report.logs(), &stage.chain);
    report.test("a power cut between GenSeed and InitWallet loses words of no wallet, and the wizard goes on", || {
        between(chain, program, lnd, &logs)
    });
    report.test("a power cut while the wallet is made ends with one wallet that unlocks itself", || {
        while_made(chain, program, lnd, &logs)
    });
    report.test("a power cut right after InitWallet ends with the one wallet of the words that were shown", || {
        right_after(stage, program, lnd, &logs)
    });
    report.test("on a full disk nothing is damaged, each page says so, and all goes on when there is room", || {
        full(program, &logs)
    });
}

/// A box with an owner.
struct Owned {
    manager: Manager,
    root: FakeRoot,
    owner: Client,
}

impl Owned {
    fn new(program: &Path, lnd: &Path, logs: &Path, name: &str) -> Outcome<Self> {
        let manager = Manager::start(program, &logs.join(format!("manager-{name}.log")), &sound())?;
        let root = FakeRoot::start(manager.folder(), lnd, &logs.join(format!("{name}.log")));
        let owner = claimed(&manager)?;
        road::first_steps(&owner)?;
        Ok(Self { manager, root, owner })
    }

    /// The power goes, and comes back.
    fn cut(&mut self) -> Outcome {
        self.root.kill_lnd()?;
        self.manager.cut_and_restart()?;
        self.root.restart_lnd()
    }

    fn until_page(&self, path: &str, expected: &str) -> Outcome {
        until(SOON, || {
            let page = self.owner.get(path)?.text();
            ensure!(page.contains(expected), "{path} says {}", road::words_of(&page));
            Ok(())
        })
    }
}

fn claimed(manager: &Manager) -> Outcome<Client> {
    let claim = visitor::claim(&manager.tls(), &manager.code()?)?;
    Ok(manager.tls().with_session(&visitor::set_password(&manager.tls(), &claim)?))
}

fn between(chain: &Bitcoind, program: &Path, lnd: &Path, logs: &Path) -> Outcome {
    let mut own = Owned::new(program, lnd, logs, "between")?;
    road::bitcoin(&own.owner, &road::bitcoind("127.0.0.1", chain))?;
    let first = road::seed(&own.owner)?;
    own.cut()?;
    own.until_page("/setup/wallet", "Make a seed")?;
    // Who presses on all the same makes no wallet without words.
    own.owner.post("/setup/apply", &[])?;
    thread::sleep(Duration::from_secs(2));
    ensure!(!own.root.sealed().exists(), "a password was sealed for no wallet");
    own.until_page("/setup/wallet", "Make a seed")?;
    let second = road::seed(&own.owner)?;
    ensure!(first != second, "the same words twice");
    road::apply(&own.owner)?;
    own.until_page("/home", "LND runs and takes part")
}

fn while_made(chain: &Bitcoind, program: &Path, lnd: &Path, logs: &Path) -> Outcome {
    let mut own = Owned::new(program, lnd, logs, "while-made")?;
    road::bitcoin(&own.owner, &road::bitcoind("127.0.0.1", chain))?;
    road::seed(&own.owner)?;
    own.owner.post("/setup/apply", &[])?;
    // The password is sealed, and InitWallet comes next.
    until(SOON, || {
        for _ in 0..400 {
            if own.root.sealed().exists() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(2));
        }
        crate::report::fails("nothing was sealed")
    })?;
    own.cut()?;
    // Either there is no wallet, and the wizard goes on with new words; or there is one, and it opens by itself.
    let has_wallet = until(SOON, || {
        let home = own.owner.get("/home")?.text();
        if home.contains("LND runs and takes part") {
            return Ok(true);
        }
        let page = own.owner.get("/setup/wallet")?.text();
        ensure!(page.contains("Make a seed"), "neither: {}", road::words_of(&home));
        Ok(false)
    })?;
    if !has_wallet {
        road::seed(&own.owner)?;
    }
    road::apply(&own.owner)?;
    own.root.restart_lnd()?;
    own.until_page("/home", "LND runs and takes part")
}

fn right_after(stage: &Stage, program: &Path, lnd: &Path, logs: &Path) -> Outcome {
    let chain = &stage.chain;
    let mut own = Owned::new(program, lnd, logs, "right-after")?;
    road::bitcoin(&own.owner, &road::bitcoind("127.0.0.1", chain))?;
    let words = road::seed(&own.owner)?;
    stage.secrets.seed("the seed of the box that was cut", &words)?;
    own.owner.post("/setup/apply", &[])?;
    second::cut_after_init(&mut own.manager, &own.root, &stage.runtime)?;
    // Nobody types a word: the password was sealed before the wallet was made.
    own.until_page("/home", "LND runs and takes part")?;
    let key = stage.runtime.block_on(second::admin(&own.manager).info())?.pubkey;
    // The wizard's last click once more makes no second wallet.
    road::apply(&own.owner)?;
    own.root.restart_lnd()?;
    own.until_page("/home", "LND runs and takes part")?;
    let again = stage.runtime.block_on(second::admin(&own.manager).info())?.pubkey;
    ensure!(again == key, "it is another wallet now: {again}, not {key}");
    // And the words that were written down bring this very wallet back.
    drop(own);
    let mut twin = Peer::of_words(&words, lnd, chain, logs, "right-after-again", &stage.runtime)?;
    ensure!(twin.key() == key, "the words are those of {}, the wallet is {key}", twin.key());
    twin.kill()
}

/// A small file system for the manager's state. Gone with this value.
struct Small(std::path::PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn full(program: &Path, logs: &Path) -> Outcome {
    if !is_root() {
        return skip("only root can mount a small file system");
    }
    let mut small = None;
    let mut manager = Manager::start_on(program, &logs.join("manager-full.log"), &sound(), |folder| {
        let data = folder.join("data");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&data).status()?;
        ensure!(mounted.success(), "mount ended with {mounted}");
        small = Some(Small(data));
        Ok(())
    })?;
    let owner = claimed(&manager)?;
    let junk = manager.folder().join("data/junk");
    // To the last byte.
    for size in [64 * 1024, 1024, 16] {
        let chunk = vec![7; size];
        use std::io::Write;
        let mut file = fs::File::options().create(true).append(true).open(&junk)?;
        while file.write_all(&chunk).is_ok() {}
    }
    let answer = owner.post("/setup/backup/later", &[])?;
    ensure!(answer.status == 503, "a choice on a full disk is answered by {}", answer.status);
    ensure!(answer.text().contains("full"), "it says {}", road::words_of(&answer.text()));
    for path in ["/home", "/setup/bitcoin", "/setup/backup", "/backups", "/unlock"] {
        let answer = owner.get(path)?;
        ensure!(answer.status == 200, "{path} answers {} on a full disk", answer.status);
    }
    manager.cut_and_restart()?;
    let owner = match owner.get("/home")?.status {
        200 => owner,
        _ => manager.tls().with_session(&visitor::sign_in(&manager.tls())?),
    };
    ensure!(owner.get("/setup/backup")?.status == 200, "after a restart on a full disk nothing works");
    fs::remove_file(&junk)?;
    let answer = owner.post("/setup/backup/later", &[])?;
    ensure!(answer.status == 303, "with room again the choice is answered by {}", answer.status);
    manager.cut_and_restart()?;
    ensure!(owner.get("/setup/backup")?.text().contains("You have put this off"), "the choice is lost");
    drop(manager);
    drop(small);
    Ok(())
}
