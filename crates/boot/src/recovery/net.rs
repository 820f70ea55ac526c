//! The network of the recovery: every card that has a link asks the router for an address.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv6Addr},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::ifaddrs::getifaddrs;

use crate::{console::note, files, program};

const IP: &str = "/bin/ip";
const UDHCPC: &str = "/bin/udhcpc";
/// Lays down what the router gives.
const SCRIPT: &str = "/usr/share/udhcpc/script";
const CARDS: &str = "/sys/class/net";

/// The kernel's number for cards that are, or pass for, Ethernet.
const ETHERNET: &str = "1";

/// The cards that have been set up, each with the program that keeps its address.
#[derive(Debug, Default)]
pub struct Cards {
    asking: BTreeMap<String, Option<Child>>,
}

impl Cards {
    /// Looks for new cards and new links. To be called again and again.
    pub fn look(&mut self, name: &str) {
        for card in cards(Path::new(CARDS)) {
            let asking = self.asking.entry(card.clone()).or_insert_with(|| {
                // Without it there is no telling whether a cable is plugged in.
                let up = program::must(IP, &["link", "set", "dev", &card, "up"]);
                note(&up.map_or_else(|error| error.to_string(), |_| format!("network card {card}")));
                None
            });
            // One that ended, for whatever reason, is started again.
            if asking.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
                *asking = None;
            }
            if asking.is_none() && has_link(Path::new(CARDS), &card) {
                *asking = ask(&card, name);
            }
        }
    }
}

/// Cards by wire: radios need a password that is not read here.
fn cards(folder: &Path) -> Vec<String> {
    let names =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| {
            let card = folder.join(name);
            files::text(card.join("type")).as_deref() == Some(ETHERNET)
                && card.join("device").exists()
                && !card.join("phy80211").exists()
                && !card.join("wireless").exists()
        })
        .collect()
}

fn has_link(folder: &Path, card: &str) -> bool {
    files::text(folder.join(card).join("carrier")).as_deref() == Some("1")
}

fn ask(card: &str, name: &str) -> Option<Child> {
    let mut command = Command::new(UDHCPC);
    let hostname = format!("hostname:{name}");
    command.args(["-f", "-i", card, "-s", SCRIPT, "-x", &hostname, "-A", "5"]);
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().map_err(|error| note(&format!("no address for {card}: {error}"))).ok()
}

/// The addresses under which a browser reaches the box.
pub fn addresses() -> Vec<IpAddr> {
    let found = getifaddrs().into_iter().flatten().filter_map(|one| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    let mut addresses: Vec<IpAddr> = found.filter(is_reachable).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// An address of one link only, or of this machine only, cannot be typed into a browser.
fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_unspecified(),
        IpAddr::V6(address) => !address.is_loopback() && !is_link_local(address),
    }
}

fn is_link_local(address: &Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cards_by_wire_are_taken_and_their_links_seen() {
        let folder = tempfile::tempdir().unwrap();
        let card = |name: &str, kind: &str, parts: &[&str]| {
            let card = folder.path().join(name);
            fs::create_dir(&card).unwrap();
            fs::write(card.join("type"), format!("{kind}\n")).unwrap();
            parts.iter().for_each(|part| fs::create_dir(card.join(part)).unwrap());
        };
        card("eth0", "1", &["device"]);
        card("wlan0", "1", &["device", "phy80211"]);
        card("lo", "772", &[]);
        card("dummy0", "1", &[]);
        assert_eq!(cards(folder.path()), ["eth0"]);
        assert!(!has_link(folder.path(), "eth0"));
        fs::write(folder.path().join("eth0/carrier"), "1\n").unwrap();
        assert!(has_link(folder.path(), "eth0"));
    }

    #[test]
    fn only_addresses_that_can_be_typed_are_shown() {
        let reachable = |text: &str| is_reachable(&text.parse().unwrap());
        assert!(reachable("192.168.1.7") && reachable("2001:db8::7") && reachable("fd00::7"));
        assert!(!reachable("127.0.0.1") && !reachable("::1") && !reachable("fe80::7") && !reachable("0.0.0.0"));
    }
}
