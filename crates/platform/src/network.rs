//! Interfaces, addresses and host name, from the kernel.
//!
//! A netlink socket tells that something changed; what is there is then read whole with `getifaddrs`, which knows all
//! but the state of an IPv6 address, and `/proc/net/if_inet6`, which knows that. The host name's file in `/proc` wakes
//! whoever polls it.

use std::{
    collections::HashMap,
    fs::File,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    libc,
    net::if_::InterfaceFlags,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv, socket,
    },
    unistd::gethostname,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};
use twin::{
    Interface, Network, Sender, Update,
    source::{Backoff, Health, TwinGone, sentence},
};

use crate::Error;

/// How long a burst of changes may gather before it is answered with one read.
pub const DEBOUNCE: Duration = Duration::from_millis(200);
/// Everything is read this often even when no change was told.
pub const RESYNC: Duration = Duration::from_secs(60);
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Follows the network, for as long as the twin lives.
pub async fn run(twin: Sender) {
    let mut health = Health::new("network", twin);
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let Err(error) = follow(&mut health, &mut backoff).await;
        match health.lost(&error).await {
            Err(TwinGone) => return,
            Ok(true) => tracing::warn!("the network is not followed: {}", sentence(&error)),
            Ok(false) => {}
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

async fn follow(health: &mut Health, backoff: &mut Backoff) -> Result<std::convert::Infallible, Error> {
    let changes = Changes::open()?;
    loop {
        health.send(Update::Network(read()?)).await?;
        health.connected().await?;
        backoff.reset();
        if let Ok(told) = timeout(RESYNC, changes.wait()).await {
            told?;
            tokio::time::sleep(DEBOUNCE).await;
        }
    }
}

/// The two descriptors that wake when something changes.
pub(crate) struct Changes {
    netlink: AsyncFd<OwnedFd>,
    host_name: AsyncFd<File>,
}

impl Changes {
    pub(crate) fn open() -> Result<Self, Error> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .map_err(Error::kernel("open a netlink socket"))?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))
            .map_err(Error::kernel("subscribe to changes of the network"))?;
        let path = Path::new("/proc/sys/kernel/hostname");
        let host_name = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Ok(Self { netlink: watched(netlink, Interest::READABLE)?, host_name: watched(host_name, Interest::PRIORITY)? })
    }

    pub(crate) async fn wait(&self) -> Result<(), Error> {
        tokio::select! {
            ready = self.netlink.readable() => {
                let mut ready = ready.map_err(waiting)?;
                drain(self.netlink.get_ref())?;
                ready.clear_ready();
            }
            ready = self.host_name.ready(Interest::PRIORITY) => ready.map_err(waiting)?.clear_ready(),
        }
        Ok(())
    }
}

fn waiting(source: std::io::Error) -> Error {
    Error::Kernel { action: "wait for changes of the network", source }
}

#[expect(deprecated, reason = "its successor is unsafe, for types that may close the descriptor early: ours own it")]
fn watched<T: AsRawFd>(descriptor: T, interest: Interest) -> Result<AsyncFd<T>, Error> {
    AsyncFd::with_interest(descriptor, interest).map_err(waiting)
}

/// Throws away what is queued: that it came is all it says.
fn drain(netlink: &OwnedFd) -> Result<(), Error> {
    let mut buffer = [0; 8192];
    loop {
        match recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => return Ok(()),
            // More changes than the queue held: some are lost, but not that there were any.
            Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
            Err(errno) => return Err(Error::kernel("read from the netlink socket")(errno)),
        }
    }
}

/// The whole network as it is now.
pub fn read() -> Result<Network, Error> {
    let path = PathBuf::from("/proc/net/if_inet6");
    let settled = match std::fs::read_to_string(&path) {
        Ok(text) => parse_if_inet6(&text),
        // A kernel without IPv6 has no such file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => HashMap::new(),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let entries = getifaddrs().map_err(Error::kernel("list the network interfaces"))?;
    let entries = entries.map(|entry| (entry.interface_name, entry.flags, entry.address.as_ref().and_then(said)));
    let host_name = gethostname().map_err(Error::kernel("read the host name"))?;
    Ok(Network {
        host_name: host_name.to_string_lossy().into_owned(),
        interfaces: gather(entries, &settled),
        announced: None,
    })
}

/// What one entry of `getifaddrs` says about its interface.
enum Said {
    Mac([u8; 6]),
    Address(IpAddr),
}

fn said(address: &SockaddrStorage) -> Option<Said> {
    let link = address.as_link_addr().and_then(|link| link.addr()).map(Said::Mac);
    let v4 = address.as_sockaddr_in().map(|v4| Said::Address(v4.ip().into()));
    link.or(v4).or_else(|| address.as_sockaddr_in6().map(|v6| Said::Address(v6.ip().into())))
}

/// Sorts entries by interface, in the order in which they first appear; without loopback and without IPv6 addresses
/// that `settled` does not know as usable.
fn gather(
    entries: impl Iterator<Item = (String, InterfaceFlags, Option<Said>)>,
    settled: &HashMap<(String, Ipv6Addr), bool>,
) -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for (name, flags, said) in entries.filter(|(_, flags, _)| !flags.contains(InterfaceFlags::IFF_LOOPBACK)) {
        let at = interfaces.iter().position(|interface| interface.name == name).unwrap_or_else(|| {
            let up = flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
            interfaces.push(Interface { name: name.clone(), up, ..Interface::default() });
            interfaces.len() - 1
        });
        match said {
            Some(Said::Mac(mac)) => interfaces[at].mac = mac.map(|byte| format!("{byte:02x}")).join(":"),
            Some(Said::Address(IpAddr::V6(v6))) if settled.get(&(name, v6)) != Some(&true) => {}
            Some(Said::Address(address)) => interfaces[at].addresses.push(address),
            None => {}
        }
    }
    interfaces
}

/// Whether each IPv6 address of each interface is usable, from `/proc/net/if_inet6`: address, interface's number,
/// length of the prefix, scope, flags (all hexadecimal), interface's name.
fn parse_if_inet6(text: &str) -> HashMap<(String, Ipv6Addr), bool> {
    // Not yet checked for duplicates, found to be one, or on its way out.
    const UNUSABLE: u32 = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED | libc::IFA_F_DEPRECATED;
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let address = fields.next().filter(|hex| hex.len() == 32)?;
        let address = Ipv6Addr::from_bits(u128::from_str_radix(address, 16).ok()?);
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        Some(((fields.next()?.to_owned(), address), flags & UNUSABLE == 0))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IF_INET6: &str = "20010db8000000000000000000000007 03 40 00 80     eth0\n\
                            20010db8000000000000000000000008 03 40 00 60     eth0\n\
                            fe8000000000000084f55dfffedc5a6e 03 40 20 c0     eth0\n\
                            00000000000000000000000000000001 01 80 10 80       lo\n";

    #[test]
    fn tentative_and_deprecated_addresses_are_not_usable() {
        let settled = parse_if_inet6(IF_INET6);
        let usable = |address: &str| settled[&("eth0".to_owned(), address.parse().unwrap())];
        assert!(usable("2001:db8::7"));
        assert!(!usable("2001:db8::8"), "deprecated and tentative");
        assert!(!usable("fe80::84f5:5dff:fedc:5a6e"), "tentative");
        assert_eq!(settled.len(), 4);
    }

    #[test]
    fn entries_gather_by_interface_without_loopback_and_unusable_addresses() {
        let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        let address = |text: &str| Some(Said::Address(text.parse().unwrap()));
        let entries = [
            ("lo", up | InterfaceFlags::IFF_LOOPBACK, address("127.0.0.1")),
            ("eth0", up, Some(Said::Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]))),
            ("wlan0", InterfaceFlags::IFF_UP, None),
            ("eth0", up, address("192.0.2.7")),
            ("eth0", up, address("2001:db8::7")),
            ("eth0", up, address("2001:db8::8")),
        ];
        let entries = entries.into_iter().map(|(name, flags, said)| (name.to_owned(), flags, said));
        let interfaces = gather(entries, &parse_if_inet6(IF_INET6));
        let names: Vec<_> = interfaces.iter().map(|interface| (interface.name.as_str(), interface.up)).collect();
        assert_eq!(names, [("eth0", true), ("wlan0", false)], "without a carrier an interface is not up");
        assert_eq!(interfaces[0].mac, "52:54:00:12:34:56");
        let addresses: Vec<_> = interfaces[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.7", "2001:db8::7"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fall_over(text in "\\PC*|([0-9a-f]{32}( [0-9a-z]{0,9}){0,6}\n)*") {
            let _ = parse_if_inet6(&text);
        }
    }
}
