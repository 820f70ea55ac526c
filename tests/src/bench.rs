//! `homebolt-tests bench`: how fast the home page is, and how much memory the manager takes. A measurement, not a test:
//! it needs a quiet computer.

mod fake_lnd;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    http::{Client, Extra},
    manager::{Manager, sound},
    report::{Fault, Outcome, ensure, fails, until},
    visitor,
};

use fake_lnd::{FakeLnd, Size};

/// Measure the home page: time to answer at a steady rate, and memory
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    homebolt-tests bench --program target/release/homebolt-manager\n  \
    homebolt-tests bench --url https://127.0.0.1:8443 --password '...'      a box that runs\n\n\
    The time of a request counts from the moment at which it was due, so a server that stalls cannot hide it.")]
pub(crate) struct Args {
    /// Start this manager and measure it
    #[arg(long, conflicts_with = "url", required_unless_present = "url")]
    program: Option<PathBuf>,
    /// Measure what answers here
    #[arg(long, requires = "password")]
    url: Option<url::Url>,
    /// The owner's password, with --url
    #[arg(long)]
    password: Option<String>,
    /// Requests a second
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Length, seconds
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Connections, kept open
    #[arg(long, default_value_t = 8)]
    connections: u32,
    /// Measure with a large node behind it, a FakeLnd: 100 channels, 10,000 payments; and hold it to the bars
    #[arg(long, requires = "program")]
    node: bool,
    /// The page
    #[arg(long, default_value = "/home")]
    path: String,
}

/// Measures and prints.
pub(crate) fn run(args: &Args) -> Outcome {
    ensure!(args.rate > 0 && args.seconds > 0 && args.connections > 0, "a measurement of nothing");
    let log = std::env::temp_dir().join("homebolt-bench.log");
    let manager = args.program.as_deref().map(|program| Manager::start(program, &log, &sound())).transpose()?;
    let client = match (&manager, &args.url) {
        (Some(manager), _) => {
            let client = manager.tls();
            let claim = visitor::claim(&client, &manager.code()?)?;
            client.with_session(&visitor::set_password(&client, &claim)?)
        }
        (None, Some(url)) => {
            ensure!(url.host_str() == Some("127.0.0.1"), "only what is forwarded to 127.0.0.1 is measured");
            let client = Client::tls(url.port_or_known_default().unwrap_or(443));
            let password = args.password.as_deref().unwrap_or_default();
            let answer = client.post("/sign-in", &[("password", password)])?;
            let token = answer.session();
            client.with_session(&token.ok_or_else(|| Fault::Fails("the password is not the box's".into()))?)
        }
        (None, None) => return fails("neither --program nor --url"),
    };
    let rss = |when: &str| -> Outcome {
        if let Some(pid) = manager.as_ref().and_then(Manager::pid) {
            println!(
                "{when:>14}: {} kB resident, of these {} kB its own",
                memory(pid, "VmRSS")?,
                memory(pid, "RssAnon")?
            );
        }
        Ok(())
    };
    let node = manager.as_ref().filter(|_| args.node).map(large_node).transpose()?;
    thread::sleep(Duration::from_secs(2));
    rss("idle")?;
    let times = measure(&client, args)?;
    rss("after the load")?;
    let share = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("{:>14}: {} in {} s over {} connections", "requests", times.len(), args.seconds, args.connections);
    for (name, part) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("slowest", 1.0)] {
        println!("{name:>14}: {:.2} ms", share(part));
    }
    let wire = weight(&client, &args.path)?;
    println!("{:>14}: {wire} bytes with all it needs", "page");
    let Some((manager, _node)) = manager.as_ref().zip(node) else { return Ok(()) };
    let resident = memory(manager.pid().unwrap_or_default(), "VmRSS")?;
    ensure!(resident <= 32_000, "the manager takes {resident} kB, and 32,000 are its bar");
    let slow = share(0.99) > 5.0;
    ensure!(!slow, "the page takes {:.2} ms at p99, and 5 are its bar", share(0.99));
    ensure!(wire <= 60_000, "the page is {wire} bytes, and 60,000 are its bar");
    Ok(())
}

/// A large node, read by the manager.
fn large_node(manager: &Manager) -> Outcome<FakeLnd> {
    let size = Size { channels: 100, payments: 10_000, invoices: 2_000 };
    let node = FakeLnd::start(manager.lnd().port(), &manager.folder().join("lnd"), size)?;
    until(Duration::from_secs(120), || node.was_read())?;
    println!("{:>14}: {size:?}", "node");
    Ok(node)
}

/// Bytes of a page and of all files it names.
fn weight(client: &Client, path: &str) -> Outcome<usize> {
    let page = client.get(path)?;
    let text = page.text();
    let files: BTreeSet<&str> = text.split('"').filter(|part| part.starts_with("/static/")).collect();
    files.iter().try_fold(page.body.len(), |sum, file| Ok(sum + client.get(file)?.body.len()))
}

/// Sends at a steady rate; gives the times from due to answered, sorted.
fn measure(client: &Client, args: &Args) -> Outcome<Vec<Duration>> {
    let barrier = Arc::new(Barrier::new(args.connections as usize));
    let all = Arc::new(Mutex::new(Vec::new()));
    let mut workers = Vec::new();
    for worker in 0..args.connections {
        let (barrier, all, path) = (barrier.clone(), all.clone(), args.path.clone());
        let mut connection = client.connect()?;
        let (rate, connections, total) = (args.rate, args.connections, args.rate * args.seconds);
        workers.push(thread::spawn(move || -> Outcome {
            barrier.wait();
            let start = Instant::now();
            let mut times = Vec::new();
            let mut request = worker;
            while request < total {
                let due = start + Duration::from_secs_f64(f64::from(request) / f64::from(rate));
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let answer = connection.send("GET", &path, &Extra::default(), true)?;
                ensure!(answer.status == 200, "{path} answers {}", answer.status);
                times.push(due.elapsed());
                request += connections;
            }
            all.lock().unwrap_or_else(PoisonError::into_inner).extend(times);
            Ok(())
        }));
    }
    for worker in workers {
        worker.join().map_err(|_| Fault::Fails("a worker ended early".into()))??;
    }
    let mut times = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort_unstable();
    ensure!(!times.is_empty(), "nothing was measured");
    Ok(times)
}

/// A line of `/proc/<pid>/status`, kB.
pub(crate) fn memory(pid: u32, name: &str) -> Outcome<u64> {
    field(&fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?, name)
}

/// The number of a line `Name:   123 kB`.
pub(crate) fn field(status: &str, name: &str) -> Outcome<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| Fault::Fails(format!("no {name} in {status:?}")))
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn memory_is_read_from_the_kernels_status() {
        let status = "Name:\tx\nVmRSS:\t   10240 kB\nRssAnon:\t 864 kB\n";
        assert_eq!(field(status, "VmRSS").unwrap(), 10_240);
        assert_eq!(field(status, "RssAnon").unwrap(), 864);
        assert!(field(status, "Rss").is_err());
    }
}
