//! LND on a real Postgres of the owner: each fault of the address has its answer, and the node keeps its wallet there.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use homebolt::{build::borrowed::POSTGRES, qemu::free_port};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use super::SOON;
use crate::{
    bitcoind::node::Node as Bitcoind,
    http::Client,
    manager::{Manager, sound},
    report::{Outcome, Report, ensure, until},
    road,
    root::FakeRoot,
    visitor,
};

const USER: &str = "lnd";
pub(super) const PASSWORD: &str = "the-word-of-a-test";

pub(super) fn run(report: &mut Report, chain: &Bitcoind, program: &Path, lnd: &Path) {
    let logs = report.logs();
    let Some(postgres) = report.need("a Postgres starts", || Postgres::start(&logs)) else { return };
    let owned = report.need("a manager has its owner", || owned(program, &logs));
    let Some((manager, owner)) = owned else { return };
    let root = FakeRoot::start(manager.folder(), lnd, &logs.join("carol.log"));
    let Some(()) = report.need("the first steps are gone", || road::first_steps(&owner)) else { return };
    report.test("each fault of a Postgres has its answer, and one that others use is refused", || {
        faults(&postgres, &owner, chain)
    });
    report.test("on Postgres the wizard leads to a running node, which unlocks itself after a restart", || {
        road::bitcoin(&owner, &form(chain, &postgres.dsn("lnd")))?;
        // Its address has a password: it is not on the page, and need not be typed again.
        let page = owner.get("/setup/bitcoin")?.text();
        ensure!(!page.contains(PASSWORD), "the page shows the password");
        // LND has made its tables by now, which do not count against it.
        until(SOON, || {
            ensure!(postgres.tables("lnd")? > 0, "LND has made no table");
            Ok(())
        })?;
        road::bitcoin(&owner, &form(chain, ""))?;
        road::seed(&owner)?;
        road::apply(&owner)?;
        ensure!(!manager.folder().join("lnd/data/chain/bitcoin/regtest/wallet.db").exists(), "the wallet is a file");
        root.restart_lnd()?;
        until(SOON, || {
            let page = owner.get("/home")?.text();
            ensure!(page.contains("LND runs and takes part"), "the page says {}", road::words_of(&page));
            Ok(())
        })
    });
    drop(root);
}

fn owned(program: &Path, logs: &Path) -> Outcome<(Manager, Client)> {
    let manager = Manager::start(program, &logs.join("manager-postgres.log"), &sound())?;
    let claim = visitor::claim(&manager.tls(), &manager.code()?)?;
    let owner = manager.tls().with_session(&visitor::set_password(&manager.tls(), &claim)?);
    Ok((manager, owner))
}

fn form(chain: &Bitcoind, dsn: &str) -> road::Form {
    let mut form = road::bitcoind("127.0.0.1", chain);
    form.extend([("database", "postgres".to_owned()), ("dsn", dsn.to_owned())]);
    form
}

fn faults(postgres: &Postgres, owner: &Client, chain: &Bitcoind) -> Outcome {
    let good = postgres.dsn("lnd");
    let nobody = good.replace(&format!(":{}/", postgres.port), &format!(":{}/", free_port()?));
    let cases = [
        (nobody, "cannot be reached"),
        (good.replace(PASSWORD, "wrong"), "refuses the user"),
        (postgres.dsn("none"), "does not exist"),
        (postgres.dsn("another"), "perhaps the wallet of another node"),
    ];
    for (dsn, expected) in cases {
        let page = road::tried(owner, &form(chain, &dsn))?;
        ensure!(page.contains(expected), "instead of {expected:?} the page says {}", road::words_of(&page));
        ensure!(!page.contains(PASSWORD), "the page shows the password");
        let may = page.contains("action=\"/setup/bitcoin/use\"") && page.contains("Use it all the same");
        ensure!(may != dsn.ends_with("another"), "for {expected:?} it can be used: {may}");
    }
    // The last one cannot be taken by those who make their own requests, either.
    let answer = owner.post("/setup/bitcoin/use", &[])?;
    ensure!(answer.location() == "/setup/bitcoin/test", "a foreign wallet is taken: {:?}", answer.location());
    let answer =
        owner.post("/setup/bitcoin", &[("backend", "neutrino"), ("database", "postgres"), ("dsn", "mysql://x")])?;
    ensure!(answer.status == 422, "another kind of address is answered by {}", answer.status);
    Ok(())
}

/// A server with own data on loopback. Ends with this value.
struct Postgres {
    child: Child,
    port: u16,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Postgres {
    fn start(logs: &Path) -> Outcome<Self> {
        let program = POSTGRES.prepare()?;
        let folder = tempfile::Builder::new().prefix("homebolt-postgres-").tempdir()?;
        let (data, port) = (folder.path().join("data"), free_port()?);
        let word = folder.path().join("word");
        fs::write(&word, PASSWORD)?;
        let log = File::create(logs.join("postgres.log"))?;
        let mut make = unprivileged(&program.with_file_name("initdb"));
        make.arg("--pgdata").arg(&data).args(["--username", USER, "--auth", "scram-sha-256"]);
        make.arg("--pwfile").arg(&word).args(["--no-sync", "--locale", "C.UTF-8"]);
        let made = make.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).status()?;
        ensure!(made.success(), "initdb ended with {made}: see postgres.log");
        let mut serve = unprivileged(&program);
        serve.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        serve.arg("-c").arg(format!("unix_socket_directories={}", folder.path().display()));
        let child = serve.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let postgres = Self { child, port, runtime, _folder: folder };
        until(Duration::from_secs(60), || postgres.ask("postgres", "SELECT 1").map(drop))?;
        for database in ["lnd", "another"] {
            postgres.ask("postgres", &format!("CREATE DATABASE {database}"))?;
        }
        postgres.ask("another", "CREATE TABLE channeldb_kv (key bytea)")?;
        Ok(postgres)
    }

    fn dsn(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The rows of what is asked, first columns as text.
    fn ask(&self, database: &str, question: &str) -> Outcome<Vec<String>> {
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.dsn(database), NoTls).await?;
            tokio::spawn(connection);
            let rows = client.simple_query(question).await?;
            Ok(rows
                .iter()
                .filter_map(|row| match row {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                })
                .collect())
        })
    }

    fn tables(&self, database: &str) -> Outcome<usize> {
        let question = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
        Ok(self.ask(database, question)?.len())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast end: SIGINT, see postgres(1).
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Postgres refuses to run as root: in a name space of its own it is somebody else, with the same rights to files.
fn unprivileged(program: &Path) -> Command {
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-user=1000", "--map-group=1000"]).arg(program);
    command
}
