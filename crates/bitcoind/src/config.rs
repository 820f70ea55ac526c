//! Where a bitcoind is, how to get in, and which chain it should be on.

use std::{fmt, io::ErrorKind, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// Everything needed to reach one bitcoind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its JSON-RPC.
    pub rpc: Endpoint,
    pub auth: Auth,
    pub network: Network,
    /// `None` where there is no ZMQ: LND then polls (`bitcoind.rpcpolling`).
    pub zmq: Option<Zmq>,
}

/// Where bitcoind publishes. LND refuses one address for both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zmq {
    /// `zmqpubrawblock`
    pub blocks: Endpoint,
    /// `zmqpubrawtx`
    pub transactions: Endpoint,
    /// `zmqpubsequence`, which LND does not need.
    #[serde(default)]
    pub sequence: Option<Endpoint>,
}

/// A host, by name or address, and a port. Its text is `host:port`, with brackets around an IPv6 address; `tcp://` in
/// front, as in `bitcoin.conf`, is understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// `None` for what cannot be a host.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"/@?#[]\\".contains(&byte);
        // A colon is part of an IPv6 address only.
        let numeric = host.parse::<std::net::Ipv6Addr>().is_ok() || !host.contains(':');
        let fits = !host.is_empty() && host.len() <= 253 && host.bytes().all(plain) && numeric && port != 0;
        fits.then(|| Self { host: host.to_owned(), port })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// What is no host with a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host and a port, like 192.168.1.5:8332")]
pub struct NotAnEndpoint(String);

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let parts = text.strip_prefix("tcp://").unwrap_or(text).trim_end_matches('/').rsplit_once(':');
        let found = parts.and_then(|(host, port)| {
            let bare = host.contains(':') && !host.starts_with('[');
            (!bare && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
            Self::new(host, port.parse().ok()?)
        });
        found.ok_or_else(|| NotAnEndpoint(text.chars().take(100).collect()))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = NotAnEndpoint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

/// How bitcoind lets us in. Never shows a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// The file that bitcoind writes anew at each start; read again for each connection.
    Cookie(PathBuf),
    Password {
        user: String,
        password: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie(path) => formatter.debug_tuple("Cookie").field(path).finish(),
            Self::Password { user, .. } => {
                formatter.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
        }
    }
}

/// A cookie is some 75 bytes; whatever is much longer is another file.
const COOKIE_LIMIT: usize = 1024;

impl Auth {
    /// `user:password`, for the Authorization header.
    pub(crate) async fn credentials(&self) -> Result<String, Error> {
        match self {
            Self::Password { user, password } => Ok(format!("{user}:{password}")),
            Self::Cookie(path) => {
                let bytes = tokio::fs::read(path).await.map_err(|source| match source.kind() {
                    ErrorKind::NotFound => Error::NoCookie { path: path.clone() },
                    _ => Error::ReadCookie { path: path.clone(), what: source.kind().to_string() },
                })?;
                parse_cookie(&bytes).map(str::to_owned).map_err(|what| Error::BadCookie { path: path.clone(), what })
            }
        }
    }
}

/// `user:password`. LND refuses a second colon, so it is refused here, too.
pub(crate) fn parse_cookie(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.len() > COOKIE_LIMIT {
        return Err("it is far too long");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err("it is empty");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it is not one line of plain characters");
    }
    match text.split_once(':') {
        Some((user, password)) if !user.is_empty() && !password.is_empty() && !password.contains(':') => Ok(text),
        _ => Err("it is not a user, a colon and a password"),
    }
}

/// The chains that bitcoind and LND both know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    Mainnet,
    Testnet3,
    Testnet4,
    Signet,
    Regtest,
}

impl Network {
    pub const ALL: [Self; 5] = [Self::Mainnet, Self::Testnet3, Self::Testnet4, Self::Signet, Self::Regtest];

    /// bitcoind's word for it, in `-chain=` and `getblockchaininfo`.
    pub fn chain(self) -> &'static str {
        match self {
            Self::Mainnet => "main",
            Self::Testnet3 => "test",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// From bitcoind's word.
    pub fn of_chain(chain: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.chain() == chain)
    }

    /// Hash of block 0, by which LND tells chains apart. Every signet has the same.
    pub fn genesis(self) -> &'static str {
        match self {
            Self::Mainnet => "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
            Self::Testnet3 => "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
            Self::Testnet4 => "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
            Self::Signet => "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
            Self::Regtest => "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
        }
    }

    pub fn default_rpc_port(self) -> u16 {
        match self {
            Self::Mainnet => 8332,
            Self::Testnet3 => 18332,
            Self::Testnet4 => 48332,
            Self::Signet => 38332,
            Self::Regtest => 18443,
        }
    }

    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet3 => "testnet3",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// Only what its owner does happens there: no peers to expect and no block every ten minutes.
    pub fn is_local(self) -> bool {
        self == Self::Regtest
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn endpoints_are_read_as_people_and_bitcoin_conf_write_them() {
        let shown = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()).ok();
        assert_eq!(shown("tcp://127.0.0.1:28332").as_deref(), Some("127.0.0.1:28332"));
        assert_eq!(shown(" node.local:8332/ ").as_deref(), Some("node.local:8332"));
        assert_eq!(shown("[2001:db8::7]:8332").as_deref(), Some("[2001:db8::7]:8332"));
        for wrong in ["", "8332", "host", "host:", "host:0", "host:65536", "host:+1", "2001:db8::7:1", "a b:1", "u@h:1"]
        {
            assert_eq!(shown(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_password_is_in_no_debug_output() {
        let auth = Auth::Password { user: "alice".into(), password: "hunter2".into() };
        let shown = format!("{auth:?}");
        assert!(shown.contains("alice") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_cookie_is_one_user_and_one_password() {
        assert_eq!(parse_cookie(b"__cookie__:00ff"), Ok("__cookie__:00ff"));
        assert_eq!(parse_cookie(b"__cookie__:00ff\n"), Ok("__cookie__:00ff"));
        for wrong in [&b""[..], b"\n", b"abc", b":x", b"x:", b"a:b:c", b"a:b\nc:d", b"\xff:\xff", &[b':'; 2000]] {
            assert!(parse_cookie(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_network_is_found_by_its_own_word() {
        for network in Network::ALL {
            assert_eq!(Network::of_chain(network.chain()), Some(network));
            assert_eq!(network.genesis().len(), 64);
        }
        assert_eq!(Network::of_chain("mainnet"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_cookie_parser_fall_over(bytes: Vec<u8>) {
            if let Ok(text) = parse_cookie(&bytes) {
                prop_assert_eq!(text.matches(':').count(), 1);
            }
        }

        #[test]
        fn what_is_shown_of_an_endpoint_is_read_as_the_same(text in "\\PC{0,40}|(tcp://)?[a-z0-9.:\\[\\]]{1,20}:[0-9]{1,5}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }
    }
}
