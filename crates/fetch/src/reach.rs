//! Which servers may be asked.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use crate::Error;

/// What the owner allows besides all of the public Internet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Servers of the owner, which may have private addresses.
    pub own: Vec<Server>,
    /// Their authority or certificate, PEM; trusted for them alone.
    pub ca: Option<String>,
}

/// A host and, where it is not 443, a port: `nas.local`, `nas.local:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    /// It is asked without TLS, too.
    plain: bool,
}

/// What is no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no server: write its host name, and its port if that is not 443, like nas.local:8443")]
pub struct NotAServer(String);

impl FromStr for Server {
    type Err = NotAServer;

    fn from_str(text: &str) -> Result<Self, NotAServer> {
        let wrong = || NotAServer(text.chars().take(100).collect());
        let url = url::Url::parse(&format!("https://{}/", text.trim())).map_err(|_| wrong())?;
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let (host, port) = (url.host_str().filter(|_| is_bare).ok_or_else(wrong)?, url.port_or_known_default());
        Ok(Self { host: host.to_lowercase(), port: port.ok_or_else(wrong)?, plain: false })
    }
}

impl Server {
    /// The server of an address that the owner typed. One with `http://` is asked without TLS: for what is signed itself.
    pub fn of(url: &url::Url) -> Option<Self> {
        let (host, port) = (url.host_str()?.to_lowercase(), url.port_or_known_default()?);
        matches!(url.scheme(), "https" | "http").then(|| Self { host, port, plain: url.scheme() == "http" })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => formatter.write_str(&self.host),
            port => write!(formatter, "{}:{port}", self.host),
        }
    }
}

impl Reach {
    pub(crate) fn is_own(&self, host: &str, port: u16) -> bool {
        self.own(host, port).is_some()
    }

    /// Whether that server may be asked without TLS.
    pub(crate) fn is_plain(&self, host: &str, port: u16) -> bool {
        self.own(host, port).is_some_and(|server| server.plain)
    }

    fn own(&self, host: &str, port: u16) -> Option<&Server> {
        self.own.iter().find(|server| server.host.eq_ignore_ascii_case(host) && server.port == port)
    }

    /// Whether all addresses of a host may be connected to. One private address among public ones is one too many.
    pub(crate) fn judge(&self, host: &str, port: u16, found: &[SocketAddr]) -> Result<(), Error> {
        if self.is_own(host, port) {
            return Ok(());
        }
        match found.iter().find(|address| !is_public(address.ip())) {
            Some(address) => Err(Error::Private { host: host.to_owned(), address: address.ip() }),
            None => Ok(()),
        }
    }
}

/// Whether an address belongs to the public Internet: not to this box, a home network, a test or a tunnel into one.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// IANA's registry of special addresses, RFC 6890.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Carriers' own, protocol assignments, 6to4 relays, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

/// Only 2000::/3 is given out, and parts of it lead elsewhere.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // NAT64: the address of an IPv4 host.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // Documentation; Teredo and other protocol assignments; 6to4, which holds an IPv4 address.
        [0x2001, 0xdb8, ..] => false,
        [0x2001, second, ..] if second < 0x200 => false,
        [0x2002, high, low, ..] => embedded(high, low),
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_inside_a_home_is_not_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.251",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::fb",
            "::ffff:192.168.1.1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:c0a8:101::1",
            "2001::1",
            "2001:db8::1",
            "::7f00:1",
            "fec0::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn a_server_of_the_owner_is_allowed_by_host_and_port() {
        let reach = Reach { own: vec!["Nas.local:8443".parse().unwrap()], ca: None };
        let inside = ["192.168.1.5:8443".parse().unwrap()];
        reach.judge("nas.local", 8443, &inside).unwrap();
        assert!(matches!(reach.judge("nas.local", 443, &inside), Err(Error::Private { .. })), "another port");
        assert!(matches!(reach.judge("evil.example", 8443, &inside), Err(Error::Private { .. })), "another name");
    }

    #[test]
    fn one_private_address_among_public_ones_is_one_too_many() {
        let found = ["8.8.8.8:443".parse().unwrap(), "10.0.0.1:443".parse().unwrap()];
        assert!(matches!(Reach::default().judge("evil.example", 443, &found), Err(Error::Private { .. })));
    }

    #[test]
    fn servers_are_read_as_hosts_with_ports() {
        for (text, shown) in [("nas.local", "nas.local"), (" a.b:443 ", "a.b"), ("[::1]:8443", "[::1]:8443")] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), shown);
        }
        for wrong in ["", "a b", "https://x", "x/y", "u@x", "x:99999", "x?y", "x#y"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn an_address_within_another_is_judged_as_itself(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            prop_assert_eq!(is_public(v4.to_ipv6_mapped().into()), is_public(v4.into()));
        }

        #[test]
        fn no_text_makes_it_fall_over_and_what_is_taken_is_read_alike(text in "\\PC{0,40}|[a-z.]{1,10}:[0-9]{1,6}") {
            if let Ok(server) = text.parse::<Server>() {
                prop_assert_eq!(server.to_string().parse::<Server>(), Ok(server));
            }
        }
    }
}
