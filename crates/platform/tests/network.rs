//! The watcher of the network against the kernel itself, in network and host name spaces of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use twin::{Interface, Network, Reader, Twin};

/// Set in the child that runs within the new namespaces.
const INSIDE: &str = "HOMEBOLT_TEST_INSIDE_NAMESPACES";
const NAME: &str = "changes_of_links_addresses_and_host_name_reach_the_twin";

/// Arguments for `unshare` that work for this user; an ordinary user becomes root of a namespace first.
fn namespaces() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["--net", "--uts"], &["--user", "--map-root-user", "--net", "--uts"]];
    let link = ["ip", "link", "add", "name", "try0", "type", "veth", "peer", "name", "try1"];
    WAYS.into_iter().find(|way| {
        let tried = Command::new("unshare").args(*way).args(link).stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

#[test]
fn changes_of_links_addresses_and_host_name_reach_the_twin() {
    if std::env::var_os(INSIDE).is_some() {
        return tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(inside());
    }
    let Some(way) = namespaces() else {
        println!(
            "SKIP {NAME}: neither root nor an unprivileged user may make a network namespace with a veth pair here"
        );
        return;
    };
    let mut child = Command::new("unshare");
    child.args(way).arg(std::env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1");
    let output = child.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn inside() {
    nix::unistd::sethostname("before").unwrap();
    let (twin, sender, reader) = Twin::new();
    tokio::spawn(twin.run());
    tokio::spawn(platform::network::run(sender));
    until(&reader, "the host name of the first read", |network| network.host_name == "before").await;
    assert!(reader.state().sources["network"].connected);
    assert!(reader.state().network.interfaces.iter().all(|interface| interface.name != "lo"));

    ip("link set lo up");
    ip("link add veth0 address 02:00:00:00:00:07 type veth peer name veth1");
    until(&reader, "a new interface", |network| veth(network).is_some_and(|veth| !veth.up)).await;
    assert_eq!(veth(&reader.state().network).unwrap().mac, "02:00:00:00:00:07");

    ip("addr add 192.0.2.7/24 dev veth0");
    ip("-6 addr add 2001:db8::7/64 dev veth0");
    // On its way out from the start: not an address to show to anyone.
    ip("-6 addr add 2001:db8::9/64 dev veth0 preferred_lft 0");
    ip("link set veth1 up");
    ip("link set veth0 up");
    // The kernel looks for duplicates of the IPv6 addresses for a while.
    let addresses = |network: &Network| {
        let found = veth(network).map(|veth| veth.addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        found.unwrap_or_default()
    };
    until(&reader, "both addresses", |network| {
        veth(network).is_some_and(|veth| veth.up)
            && ["192.0.2.7", "2001:db8::7", "fe80::ff:fe00:7"]
                .iter()
                .all(|&one| addresses(network).contains(&one.into()))
    })
    .await;
    assert_eq!(addresses(&reader.state().network).len(), 3, "the deprecated address is not among them");
    let usable: Vec<_> = reader.state().network.addresses().map(|address| address.to_string()).collect();
    assert_eq!(usable, ["192.0.2.7", "2001:db8::7"]);

    ip("addr del 192.0.2.7/24 dev veth0");
    until(&reader, "the address gone", |network| !addresses(network).contains(&"192.0.2.7".into())).await;

    nix::unistd::sethostname("after").unwrap();
    until(&reader, "the new host name", |network| network.host_name == "after").await;

    // More changes at once than the socket's queue holds must not end the watch.
    let batch: String = (0..5000).map(|at| format!("addr add 10.{}.{}.1/32 dev veth0\n", at / 250, at % 250)).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), batch).unwrap();
    ip(&format!("-batch {}", file.path().display()));
    until(&reader, "a flood of changes", |network| addresses(network).len() >= 5000).await;
    sleep(Duration::from_millis(500)).await;
    ip("link del veth0");
    until(&reader, "the interface gone", |network| veth(network).is_none()).await;
    assert!(reader.state().sources["network"].connected);
}

fn veth(network: &Network) -> Option<&Interface> {
    network.interfaces.iter().find(|interface| interface.name == "veth0")
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}: {status}");
}

/// Waits far shorter than the resync takes: only a change that was told is seen in time.
async fn until(reader: &Reader, what: &str, wanted: impl Fn(&Network) -> bool) {
    let waiting = async {
        while !wanted(&reader.state().network) {
            let lost = reader.state().sources.get("network").and_then(|health| health.error.clone());
            assert_eq!(lost, None, "the watch ended, before: {what}");
            sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = timeout(Duration::from_secs(15), waiting).await.is_ok();
    assert!(seen, "not seen: {what}; the twin has {:?}", reader.state().network);
}
