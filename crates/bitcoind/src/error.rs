use std::path::PathBuf;

use twin::source::TwinGone;

use crate::Endpoint;

/// Why bitcoind cannot be asked. Each is a sentence for the owner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the name {host} is not known: {what}")]
    Name { host: String, what: String },
    #[error("nothing listens on {at}: the connection is refused")]
    Refused { at: Endpoint },
    #[error("{at} cannot be reached: {what}")]
    Unreachable { at: Endpoint, what: String },
    #[error("{at} did not {action} within {seconds} seconds")]
    Timeout { at: Endpoint, action: &'static str, seconds: u64 },
    #[error("{at} speaks TLS, and bitcoind's JSON-RPC does not")]
    Tls { at: Endpoint },
    #[error("{at} does not speak HTTP: {what}")]
    NotHttp { at: Endpoint, what: String },
    /// `server` is its `Server` header, cleaned; empty where it has none.
    #[error("{at} answers with HTTP status {status} and no JSON-RPC: {}", web_server(.server))]
    NotJsonRpc { at: Endpoint, status: u16, server: String },
    #[error("{at} ended the connection")]
    Ended { at: Endpoint },
    #[error("bitcoind has not written the cookie {path}")]
    NoCookie { path: PathBuf },
    #[error("the cookie {path} cannot be read: {what}")]
    ReadCookie { path: PathBuf, what: String },
    #[error("{path} is not a cookie of bitcoind: {what}")]
    BadCookie { path: PathBuf, what: &'static str },
    #[error("bitcoind on {at} does not know this user and password")]
    WrongPassword { at: Endpoint },
    #[error("bitcoind on {at} does not take the cookie {path}")]
    WrongCookie { at: Endpoint, path: PathBuf },
    #[error("bitcoind on {at} allows nobody from this box's address to ask it (rpcallowip)")]
    Forbidden { at: Endpoint },
    #[error("bitcoind on {at} does not let this user call {method} (rpcwhitelist)")]
    ForbiddenCall { at: Endpoint, method: &'static str },
    /// `what` is bitcoind's own text: `Loading block index…`.
    #[error("bitcoind on {at} is still starting: {what}")]
    Starting { at: Endpoint, what: String },
    #[error("bitcoind on {at} has more requests than it can take at present")]
    Busy { at: Endpoint },
    #[error("bitcoind on {at} refused {method}: {what} ({code})")]
    Call { at: Endpoint, method: &'static str, code: i64, what: String },
    #[error("{at} answered {method} with something else than bitcoind would: {what}")]
    Malformed { at: Endpoint, method: &'static str, what: String },
    #[error("{at} answered {method} with more than {limit} bytes")]
    TooLong { at: Endpoint, method: &'static str, limit: usize },
    #[error("bitcoind on {at} is on the chain {found:?}, and {expected:?} is wanted")]
    WrongChain { at: Endpoint, expected: &'static str, found: String },
    #[error("{at} does not speak ZMQ: {what}")]
    NotZmq { at: Endpoint, what: &'static str },
    #[error("{at} speaks ZMQ with the lock {mechanism}, and bitcoind's has none")]
    Locked { at: Endpoint, mechanism: String },
    /// `kind` is the socket type of ZMQ: `REP`, `PUSH`, ...
    #[error("{at} speaks ZMQ and publishes nothing: it is of the kind {kind}")]
    NotPublisher { at: Endpoint, kind: String },
    #[error("{at} sent over ZMQ what bitcoind would not: {what}")]
    MalformedMessage { at: Endpoint, what: &'static str },
    #[error("{at} gave no sign of life over ZMQ for {seconds} seconds")]
    Dead { at: Endpoint, seconds: u64 },
    #[error("the twin is gone")]
    TwinGone,
}

impl From<TwinGone> for Error {
    fn from(_: TwinGone) -> Self {
        Self::TwinGone
    }
}

fn web_server(server: &str) -> String {
    if server.is_empty() { "a web server or a proxy".into() } else { format!("a web server or a proxy ({server})") }
}

/// A stranger's words, fit for a sentence: one line of printable characters, not too long.
pub(crate) fn cleaned(words: &str) -> String {
    const LONGEST: usize = 200;
    let words: String = words.chars().map(|char| if char.is_control() { ' ' } else { char }).take(LONGEST).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
