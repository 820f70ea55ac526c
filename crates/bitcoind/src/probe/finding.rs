//! What a check can find, with a sentence and an advice for each.

use serde::Serialize;
use twin::UnixSeconds;

use super::State;
use crate::{Error, Network, zmq::Topic};

/// A finding with what its sentence needs, so that a page in another language can say it, too. Addresses are `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    // connection
    Answers {
        at: String,
    },
    NameUnknown {
        host: String,
    },
    Refused {
        at: String,
    },
    Unreachable {
        at: String,
        what: String,
    },
    TimedOut {
        at: String,
        action: String,
        seconds: u64,
    },
    Tls {
        at: String,
    },
    NotHttp {
        at: String,
    },
    WebServer {
        at: String,
        status: u16,
        server: String,
    },
    NotBitcoind {
        at: String,
        what: String,
    },
    HangsUp {
        at: String,
    },
    Busy {
        at: String,
    },
    /// bitcoind's own words.
    Starting {
        at: String,
        what: String,
    },

    // access
    LetIn,
    WrongPassword,
    WrongCookie {
        path: String,
    },
    NoCookie {
        path: String,
    },
    CookieUnreadable {
        path: String,
        what: String,
    },
    CookieMalformed {
        path: String,
        what: String,
    },
    AddressForbidden,
    CallForbidden {
        method: String,
    },

    // network
    RightNetwork {
        network: Network,
    },
    WrongNetwork {
        expected: Network,
        found: String,
        genesis: String,
    },
    /// The chain has the right name and another beginning.
    WrongGenesis {
        expected: Network,
        genesis: String,
    },

    // version
    Version {
        name: String,
    },
    OldVersion {
        name: String,
    },
    TooOld {
        name: String,
    },
    OtherSoftware {
        name: String,
    },

    // synchronization
    Synchronized {
        blocks: u64,
        tip_minutes: u64,
    },
    Synchronizing {
        permyriad: u16,
        blocks: u64,
        headers: u64,
    },
    Behind {
        blocks: u64,
        headers: u64,
    },
    OldTip {
        blocks: u64,
        tip_minutes: u64,
    },
    /// A local chain on which nobody mined lately.
    Idle {
        blocks: u64,
    },

    // pruning
    AllBlocks,
    Pruned {
        height: u64,
    },
    /// Blocks since the wallet's birthday are gone; `since` is the time of the oldest that is there.
    PrunedTooFar {
        height: u64,
        since: UnixSeconds,
        helpers: u32,
    },

    // peers
    Peers {
        outbound: u32,
    },
    NoPeers,
    LocalChain,

    // blocks and transactions
    Polling,
    Listening {
        at: String,
        what: What,
    },
    /// One came.
    Heard {
        at: String,
        what: What,
    },
    /// None came in so many seconds and none had to; bitcoind says that it publishes there.
    Quiet {
        at: String,
        what: What,
        seconds: u64,
    },
    /// Something happened, and no message told.
    Silent {
        at: String,
        what: What,
    },
    PortsSwapped {
        blocks: String,
        transactions: String,
    },
    SameAddress {
        at: String,
    },
    /// bitcoind publishes other things there, and these `elsewhere`.
    Elsewhere {
        at: String,
        what: What,
        elsewhere: String,
    },
    /// A publisher that bitcoind does not name; bitcoind names `elsewhere`.
    PerhapsForwarded {
        at: String,
        what: What,
        elsewhere: String,
    },
    NotPublished {
        what: What,
    },
    /// bitcoind was built without ZMQ.
    NoZmq,
    /// What bitcoind publishes cannot be asked, which LND does.
    ListForbidden {
        what: String,
    },
    /// The subscription is in force; without JSON-RPC nobody can tell what to expect.
    Unproven {
        at: String,
        what: What,
    },
    /// No subscription; where bitcoind says it publishes, if it says so.
    ZmqUnreachable {
        at: String,
        problem: String,
        elsewhere: Option<String>,
    },
    NotZmq {
        at: String,
        problem: String,
    },

    // any
    /// bitcoind refused or misread a call.
    CallFailed {
        what: String,
    },
    /// The time for the whole test was over.
    OutOfTime {
        seconds: u64,
    },
}

/// What a subscription is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Blocks,
    Transactions,
}

impl What {
    pub(super) fn topic(self) -> Topic {
        match self {
            Self::Blocks => Topic::RawBlock,
            Self::Transactions => Topic::RawTx,
        }
    }

    /// In `getzmqnotifications`.
    pub(super) fn listed(self) -> String {
        format!("pub{}", self.topic().name())
    }

    fn option(self) -> String {
        format!("zmqpub{}", self.topic().name())
    }

    fn words(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Transactions => "transactions",
        }
    }
}

impl Finding {
    pub fn state(&self) -> State {
        match self {
            Self::Answers { .. }
            | Self::LetIn
            | Self::RightNetwork { .. }
            | Self::Version { .. }
            | Self::Synchronized { .. }
            | Self::AllBlocks
            | Self::Peers { .. }
            | Self::LocalChain
            | Self::Polling
            | Self::Heard { .. }
            | Self::Quiet { .. } => State::Ok,
            Self::Starting { .. } | Self::Listening { .. } => State::Pending,
            Self::OldVersion { .. }
            | Self::OtherSoftware { .. }
            | Self::Synchronizing { .. }
            | Self::Behind { .. }
            | Self::OldTip { .. }
            | Self::Idle { .. }
            | Self::Pruned { .. }
            | Self::PerhapsForwarded { .. }
            | Self::Unproven { .. } => State::Warn,
            // LND fetches what is missing from bitcoind's peers, if there are any that have it.
            Self::PrunedTooFar { helpers, .. } if *helpers > 0 => State::Warn,
            _ => State::Fail,
        }
    }

    /// What was found, in one plain sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Answers { at } => format!("bitcoind answers on {at}."),
            Self::NameUnknown { host } => format!("The name {host} is not known in this network."),
            Self::Refused { at } => format!("Nothing listens on {at}: the connection is refused."),
            Self::Unreachable { at, what } => format!("{at} cannot be reached: {what}."),
            Self::TimedOut { at, action, seconds } => format!("{at} did not {action} within {seconds} seconds."),
            Self::Tls { at } => format!("Who answers on {at} speaks TLS. Neither bitcoind nor LND does that here."),
            Self::NotHttp { at } => format!("Something answers on {at}, but it does not speak HTTP: it is not bitcoind."),
            Self::WebServer { at, status, server } if server.is_empty() => {
                format!("A web server or proxy answers on {at} (HTTP {status}), not bitcoind.")
            }
            Self::WebServer { at, status, server } => {
                format!("A web server or proxy ({server}) answers on {at} (HTTP {status}), not bitcoind.")
            }
            Self::NotBitcoind { at, what } => format!("{at} speaks JSON-RPC, but not as bitcoind does: {what}."),
            Self::HangsUp { at } => format!("{at} takes the connection and ends it without an answer."),
            Self::Busy { at } => format!("bitcoind on {at} has more requests than it can take at present."),
            Self::Starting { at, what } => format!("bitcoind on {at} is still starting: {what}"),
            Self::LetIn => "bitcoind accepts the user and password.".into(),
            Self::WrongPassword => "bitcoind does not accept this user and password.".into(),
            Self::WrongCookie { path } => format!("bitcoind does not accept the cookie in {path}."),
            Self::NoCookie { path } => format!("There is no cookie file {path}."),
            Self::CookieUnreadable { path, what } => format!("The cookie file {path} cannot be read: {what}."),
            Self::CookieMalformed { path, what } => format!("{path} is not a cookie file of bitcoind: {what}."),
            Self::AddressForbidden => "bitcoind does not allow this box's address to ask it anything.".into(),
            Self::CallForbidden { method } => format!("bitcoind does not let this user call {method}."),
            Self::RightNetwork { network } => format!("bitcoind is on {network}."),
            Self::WrongNetwork { expected, found, genesis } => {
                format!("bitcoind is on {found}, and {expected} is wanted. Its first block is {genesis}.")
            }
            Self::WrongGenesis { expected, genesis } => {
                format!("bitcoind calls its chain {expected}, but the first block is {genesis}: it is another chain.")
            }
            Self::Version { name } => format!("It is {name}."),
            Self::OldVersion { name } => format!("It is {name}, which LND can use with more effort."),
            Self::TooOld { name } => format!("It is {name}, which does not know Taproot: LND refuses it."),
            Self::OtherSoftware { name } => format!("It calls itself {name}, not bitcoind."),
            Self::Synchronized { blocks, tip_minutes } => {
                format!("It is up to date: block {blocks}, {} old.", minutes(*tip_minutes))
            }
            Self::Synchronizing { permyriad, blocks, headers } => {
                let (whole, part) = (permyriad / 100, permyriad % 100);
                format!("It is still downloading the chain: {whole}.{part:02} %, block {blocks} of {headers}.")
            }
            Self::Behind { blocks, headers } => {
                format!("It is {} blocks behind: at {blocks} of {headers}.", headers.saturating_sub(*blocks))
            }
            Self::OldTip { blocks, tip_minutes } => {
                format!("Its newest block, {blocks}, is {} old.", minutes(*tip_minutes))
            }
            Self::Idle { blocks } => format!("Nobody mined on this local chain lately; it is at block {blocks}."),
            Self::AllBlocks => "It keeps all blocks.".into(),
            Self::Pruned { height } => format!("It deletes old blocks and has those since {height}, which is enough."),
            Self::PrunedTooFar { height, helpers: 0, .. } => format!(
                "It has deleted blocks that the wallet needs and has only those since {height}; and it knows no peer that has them."
            ),
            Self::PrunedTooFar { height, .. } => format!(
                "It has deleted blocks that the wallet needs and has only those since {height}: LND will fetch them from bitcoind's peers, which takes long."
            ),
            Self::Peers { outbound } => format!("It has {outbound} connections outwards."),
            Self::NoPeers => "It has no connection outwards: it learns of no new block, and LND stops without one.".into(),
            Self::LocalChain => "A local chain needs no peers.".into(),
            Self::Polling => {
                "There is no ZMQ: LND will ask bitcoind every 10 seconds for blocks and every minute for transactions (bitcoind.rpcpolling).".into()
            }
            Self::Listening { at, what } => format!("Listening for {} on {at}.", what.words()),
            Self::Heard { at, what } => format!("News of {} come from {at}.", what.words()),
            Self::Quiet { at, what, seconds } => format!(
                "The subscription to {} on {at} is in force, and bitcoind says that it publishes them there. None came in the {seconds} seconds of this test, and there was none to come.",
                what.words()
            ),
            Self::Silent { at, what } => {
                format!("There were new {} during this test, and {at} told nothing of them.", what.words())
            }
            Self::PortsSwapped { blocks, transactions } => format!(
                "The two addresses are swapped: {blocks} publishes transactions, and {transactions} publishes blocks."
            ),
            Self::SameAddress { at } => {
                format!("Blocks and transactions have the same address, {at}. LND refuses that.")
            }
            Self::Elsewhere { at, what, elsewhere } => format!(
                "{at} publishes something else. bitcoind says that it publishes {} on {elsewhere}.",
                what.words()
            ),
            Self::PerhapsForwarded { at, what, elsewhere } => format!(
                "Somebody publishes on {at}, but sent no {} during this test, and bitcoind says that it publishes them on {elsewhere}.",
                what.words()
            ),
            Self::NotPublished { what } => format!("bitcoind does not publish {}.", what.words()),
            Self::NoZmq => "This bitcoind was built without ZMQ.".into(),
            Self::ListForbidden { what } => format!("bitcoind does not tell what it publishes: {what}."),
            Self::Unproven { at, what } => format!(
                "The subscription to {} on {at} is in force, but nothing came, and bitcoind cannot be asked whether it should have.",
                what.words()
            ),
            Self::ZmqUnreachable { problem, elsewhere: None, .. } | Self::NotZmq { problem, .. } => capital(problem),
            Self::ZmqUnreachable { problem, elsewhere: Some(elsewhere), .. } => {
                format!("{} bitcoind says that it publishes on {elsewhere}.", capital(problem))
            }
            Self::CallFailed { what } => capital(what),
            Self::OutOfTime { seconds } => format!("No answer came in the {seconds} seconds of this test."),
        }
    }

    /// What to do about it, where there is something to do.
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::NameUnknown { .. } => "Check the spelling, or use the address of that computer.".into(),
            Self::Refused { .. } => {
                "Check that bitcoind runs with server=1, the port, and that rpcbind and rpcallowip let \
                                     this box in."
                    .into()
            }
            Self::Unreachable { .. } => "Check the address, and that both are in the same network.".into(),
            Self::TimedOut { .. } => "Check the address and port, and whether a firewall stands in between.".into(),
            Self::Tls { .. } => {
                "Use bitcoind's own port (8332 on mainnet) instead of the proxy's, or turn TLS off there.".into()
            }
            Self::NotHttp { .. } | Self::NotBitcoind { .. } => {
                "Check the port: bitcoind's JSON-RPC is 8332 on mainnet, 8333 is another one.".into()
            }
            Self::WebServer { .. } => "Use bitcoind's own address and port instead of the proxy's.".into(),
            Self::HangsUp { .. } => "Check the port, and bitcoind's log at this moment.".into(),
            Self::Busy { .. } => "Try again; if it stays so, raise rpcworkqueue in bitcoin.conf.".into(),
            Self::Starting { .. } => "Wait until it has started; this can take some minutes.".into(),
            Self::WrongPassword => {
                "Check rpcuser and rpcpassword (or rpcauth) in bitcoin.conf, and restart bitcoind after \
                                    a change."
                    .into()
            }
            Self::WrongCookie { .. } => {
                "The cookie is of another or an earlier bitcoind: check the path, or use a user \
                                         and password."
                    .into()
            }
            Self::NoCookie { .. } => {
                "Check the path: it is .cookie in bitcoind's data folder while bitcoind runs, and not \
                                      there if rpcpassword is set."
                    .into()
            }
            Self::CookieUnreadable { .. } => {
                "Let this box's programs read it (rpccookieperms=group), or use a user and \
                                              password."
                    .into()
            }
            Self::CookieMalformed { .. } => "Check the path: it is .cookie in bitcoind's data folder.".into(),
            Self::AddressForbidden => {
                "Put rpcallowip= with this box's address into bitcoin.conf and restart bitcoind.".into()
            }
            Self::CallForbidden { method } => {
                format!("Add {method} to rpcwhitelist of this user, or remove rpcwhitelist.")
            }
            Self::WrongNetwork { .. } | Self::WrongGenesis { .. } => {
                "Choose the other network here, or the address of a bitcoind on the right one.".into()
            }
            Self::OldVersion { .. } => "Update it to 24 or newer when you can.".into(),
            Self::TooOld { .. } => "Update it to 24 or newer; 0.21.1 is the least.".into(),
            Self::OtherSoftware { .. } => "If LND has trouble with it, use Bitcoin Core.".into(),
            Self::Synchronizing { .. } => "You can go on: LND waits until it is done. Or use neutrino for now.".into(),
            Self::Behind { .. } => "It should catch up by itself; LND waits for it.".into(),
            Self::OldTip { .. } => "Check that computer's clock and connection to the Internet.".into(),
            Self::Idle { .. } => "Mine a block: LND waits for one that is at most two hours old.".into(),
            Self::Pruned { .. } => "A later restore of this wallet may need older blocks.".into(),
            Self::PrunedTooFar { helpers: 0, .. } => {
                "Use a bitcoind that keeps all blocks, or connect this one to peers \
                                                      that do."
                    .into()
            }
            Self::PrunedTooFar { .. } => "A bitcoind that keeps all blocks finishes the restore much sooner.".into(),
            Self::NoPeers => "Check that computer's connection to the Internet, and maxconnections and connect in \
                              bitcoin.conf."
                .into(),
            Self::Silent { what, .. } => {
                format!("Check that {} in bitcoin.conf is this very address, or use polling.", what.option())
            }
            Self::PortsSwapped { .. } => "Exchange the two.".into(),
            Self::SameAddress { .. } => {
                "Give zmqpubrawblock and zmqpubrawtx two ports in bitcoin.conf, and here.".into()
            }
            Self::Elsewhere { elsewhere, .. } => format!("Enter the port of {elsewhere}."),
            Self::PerhapsForwarded { .. } => {
                "Right if you forward the port. Otherwise enter the one that bitcoind names.".into()
            }
            Self::NotPublished { what } => {
                let port = if *what == What::Blocks { 28332 } else { 28333 };
                format!(
                    "Put {}=tcp://<its address>:{port} into bitcoin.conf and restart bitcoind, or use polling.",
                    what.option()
                )
            }
            Self::NoZmq => "Use polling, or a bitcoind with ZMQ.".into(),
            Self::ListForbidden { .. } => {
                "LND asks the same and stops without an answer: allow getzmqnotifications, or use \
                                           polling."
                    .into()
            }
            Self::Unproven { .. } => "Put JSON-RPC right first.".into(),
            Self::ZmqUnreachable { elsewhere: Some(elsewhere), .. } if is_loopback(elsewhere) => {
                "bitcoind publishes for its own computer only: put an address in bitcoin.conf that this box can reach."
                    .into()
            }
            Self::ZmqUnreachable { .. } => {
                "Check the address and port, and zmqpubrawblock and zmqpubrawtx in bitcoin.conf.".into()
            }
            Self::NotZmq { .. } => {
                "Check the port: it is the one of zmqpubrawblock or zmqpubrawtx, not of JSON-RPC.".into()
            }
            Self::CallFailed { .. } => "Look into bitcoind's log, and try again.".into(),
            Self::OutOfTime { .. } => "Try again; if it stays so, look into bitcoind's log.".into(),
            _ => return None,
        })
    }
}

/// For a person: minutes up to two hours, then hours, then days.
fn minutes(minutes: u64) -> String {
    match minutes {
        1 => "1 minute".into(),
        0 | 2..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// An error as a sentence of its own. Not before bitcoind's name, which begins small.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let whole = match chars.next() {
        Some(first) if !text.starts_with("bitcoind") => format!("{}{}", first.to_uppercase(), chars.as_str()),
        _ => text.to_owned(),
    };
    if whole.ends_with('.') { whole } else { whole + "." }
}

fn is_loopback(address: &str) -> bool {
    ["//127.", "//localhost", "//[::1]"].iter().any(|part| address.contains(part))
}

/// Of what an error of JSON-RPC speaks.
pub(super) enum About {
    Connection,
    Access,
    /// One call.
    Call,
}

/// The finding in an error of JSON-RPC.
pub(super) fn of_error(error: &Error) -> (About, Finding) {
    let (path, text) = (|path: &std::path::Path| path.display().to_string(), |at: &crate::Endpoint| at.to_string());
    let connection = |finding| (About::Connection, finding);
    let access = |finding| (About::Access, finding);
    match error {
        Error::Name { host, .. } => connection(Finding::NameUnknown { host: host.clone() }),
        Error::Refused { at } => connection(Finding::Refused { at: text(at) }),
        Error::Unreachable { at, what } => connection(Finding::Unreachable { at: text(at), what: what.clone() }),
        Error::Timeout { at, action, seconds } => {
            connection(Finding::TimedOut { at: text(at), action: (*action).into(), seconds: *seconds })
        }
        Error::Tls { at } => connection(Finding::Tls { at: text(at) }),
        Error::NotHttp { at, .. } => connection(Finding::NotHttp { at: text(at) }),
        Error::NotJsonRpc { at, status, server } => {
            connection(Finding::WebServer { at: text(at), status: *status, server: server.clone() })
        }
        Error::Ended { at } => connection(Finding::HangsUp { at: text(at) }),
        Error::Busy { at } => connection(Finding::Busy { at: text(at) }),
        Error::Starting { at, what } => connection(Finding::Starting { at: text(at), what: what.clone() }),
        Error::Malformed { at, what, .. } => connection(Finding::NotBitcoind { at: text(at), what: what.clone() }),
        Error::WrongPassword { .. } => access(Finding::WrongPassword),
        Error::WrongCookie { path: cookie, .. } => access(Finding::WrongCookie { path: path(cookie) }),
        Error::NoCookie { path: cookie } => access(Finding::NoCookie { path: path(cookie) }),
        Error::ReadCookie { path: cookie, what } => {
            access(Finding::CookieUnreadable { path: path(cookie), what: what.clone() })
        }
        Error::BadCookie { path: cookie, what } => {
            access(Finding::CookieMalformed { path: path(cookie), what: (*what).into() })
        }
        Error::Forbidden { .. } => access(Finding::AddressForbidden),
        Error::ForbiddenCall { method, .. } => access(Finding::CallForbidden { method: (*method).into() }),
        error => (About::Call, Finding::CallFailed { what: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_pruning_depends_on_who_can_help() {
        let pruned = |helpers| Finding::PrunedTooFar { height: 9, since: 0, helpers };
        assert_eq!((pruned(0).state(), pruned(3).state()), (State::Fail, State::Warn));
        assert_ne!(pruned(0).sentence(), pruned(3).sentence());
    }

    #[test]
    fn numbers_are_written_for_people() {
        let finding = Finding::Synchronizing { permyriad: 4205, blocks: 3, headers: 9 };
        assert_eq!(finding.sentence(), "It is still downloading the chain: 42.05 %, block 3 of 9.");
        assert_eq!([1, 119, 120, 4000].map(minutes), ["1 minute", "119 minutes", "2 hours", "2 days"]);
    }

    #[test]
    fn a_finding_is_data_for_other_languages() {
        let json = serde_json::to_value(Finding::Silent { at: "a:1".into(), what: What::Blocks }).unwrap();
        assert_eq!(json, serde_json::json!({ "kind": "silent", "at": "a:1", "what": "blocks" }));
    }
}
