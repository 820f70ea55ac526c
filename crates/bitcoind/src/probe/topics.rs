//! What became of the subscriptions, held against what bitcoind says and what happened meanwhile.
//!
//! That nothing comes proves nothing by itself: on a quiet chain there is nothing to tell. So silence counts as a fault
//! only where something is known to have happened, or where bitcoind itself says that it publishes elsewhere.

use std::collections::BTreeSet;

use super::finding::{Finding, What};
use crate::{Endpoint, Error, config::Zmq, rpc::ZmqNotification};

/// What a subscription to everything at one address showed.
#[derive(Debug, Default)]
pub(super) enum Wire {
    #[default]
    Connecting,
    /// In force; the topics of the messages so far.
    Subscribed(BTreeSet<String>),
    Failed(Error),
}

impl Wire {
    pub(super) fn heard(&self, what: What) -> bool {
        matches!(self, Self::Subscribed(topics) if topics.contains(what.topic().name()))
    }
}

/// What bitcoind says that it publishes.
#[derive(Debug)]
pub(super) enum Listing {
    Said(Vec<ZmqNotification>),
    /// It does not know the question: it was built without ZMQ.
    NoZmq,
    /// It refuses the question to us.
    Forbidden(String),
    /// It could not be asked at all.
    Unknown,
}

impl Listing {
    fn of(&self, what: What) -> impl Iterator<Item = &ZmqNotification> {
        let said: &[ZmqNotification] = if let Self::Said(said) = self { said } else { &[] };
        said.iter().filter(move |entry| entry.kind == what.listed())
    }

    /// LND compares ports only, too: behind `0.0.0.0` or a forwarded address stands the same publisher.
    fn has(&self, what: What, port: u16) -> bool {
        self.of(what).any(|entry| port_of(&entry.address) == Some(port))
    }

    fn names_port(&self, port: u16) -> bool {
        matches!(self, Self::Said(said) if said.iter().any(|entry| port_of(&entry.address) == Some(port)))
    }

    /// Where it publishes, as it says it.
    fn place(&self, what: What) -> Option<String> {
        self.of(what).next().map(|entry| entry.address.clone())
    }
}

fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

/// What is known when the time for listening is over.
pub(super) struct Evidence<'a> {
    pub(super) config: &'a Zmq,
    pub(super) listing: &'a Listing,
    /// There were new blocks, new transactions, of which there should have been a message.
    pub(super) happened: (bool, bool),
    pub(super) seconds: u64,
}

impl Evidence<'_> {
    pub(super) fn judge(&self, what: What, wire: &Wire) -> Finding {
        let Zmq { blocks, transactions, .. } = self.config;
        let (at, other, happened) = match what {
            What::Blocks => (blocks, transactions, self.happened.0),
            What::Transactions => (transactions, blocks, self.happened.1),
        };
        if blocks == transactions {
            return Finding::SameAddress { at: at.to_string() };
        }
        let text = at.to_string();
        match wire {
            Wire::Connecting => Finding::OutOfTime { seconds: self.seconds },
            Wire::Failed(error) => self.failed(what, text, error),
            Wire::Subscribed(_) if wire.heard(what) => Finding::Heard { at: text, what },
            Wire::Subscribed(_) => self.unheard(what, at, other, happened),
        }
    }

    fn failed(&self, what: What, at: String, error: &Error) -> Finding {
        if matches!(self.listing, Listing::NoZmq) {
            return Finding::NoZmq;
        }
        let problem = error.to_string();
        match error {
            Error::NotZmq { .. }
            | Error::Locked { .. }
            | Error::NotPublisher { .. }
            | Error::MalformedMessage { .. } => Finding::NotZmq { at, problem },
            // Nobody there, and bitcoind says that nobody should be.
            _ if matches!(self.listing, Listing::Said(_)) && self.listing.place(what).is_none() => {
                Finding::NotPublished { what }
            }
            _ => Finding::ZmqUnreachable { at, problem, elsewhere: self.listing.place(what) },
        }
    }

    /// Subscribed, and no message of the kind.
    fn unheard(&self, what: What, at: &Endpoint, other: &Endpoint, happened: bool) -> Finding {
        let text = at.to_string();
        match self.listing {
            Listing::NoZmq => return Finding::NoZmq,
            Listing::Forbidden(said) => return Finding::ListForbidden { what: said.clone() },
            Listing::Unknown => return Finding::Unproven { at: text, what },
            Listing::Said(_) => {}
        }
        if self.listing.has(what, at.port()) {
            return match happened {
                true => Finding::Silent { at: text, what },
                false => Finding::Quiet { at: text, what, seconds: self.seconds },
            };
        }
        let Some(elsewhere) = self.listing.place(what) else { return Finding::NotPublished { what } };
        let Zmq { blocks, transactions, .. } = self.config;
        let swapped = self.listing.has(what, other.port())
            && self.listing.has(if what == What::Blocks { What::Transactions } else { What::Blocks }, at.port());
        if swapped {
            Finding::PortsSwapped { blocks: blocks.to_string(), transactions: transactions.to_string() }
        } else if happened {
            Finding::Silent { at: text, what }
        } else if self.listing.names_port(at.port()) {
            Finding::Elsewhere { at: text, what, elsewhere }
        } else {
            Finding::PerhapsForwarded { at: text, what, elsewhere }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::State;

    fn said(entries: &[(&str, u16)]) -> Listing {
        let entry = |(kind, port): &(&str, u16)| ZmqNotification {
            kind: (*kind).to_owned(),
            address: format!("tcp://0.0.0.0:{port}"),
        };
        Listing::Said(entries.iter().map(entry).collect())
    }

    fn judged(listing: &Listing, wire: &Wire, happened: bool) -> (Finding, Finding) {
        let endpoint = |port| Endpoint::new("node", port).unwrap();
        let config = Zmq { blocks: endpoint(1), transactions: endpoint(2), sequence: None };
        let evidence = Evidence { config: &config, listing, happened: (happened, happened), seconds: 8 };
        (evidence.judge(What::Blocks, wire), evidence.judge(What::Transactions, wire))
    }

    fn heard(topics: &[&str]) -> Wire {
        Wire::Subscribed(topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    #[test]
    fn a_message_is_proof_whatever_bitcoind_says() {
        for listing in [said(&[("pubrawblock", 9)]), Listing::Unknown, Listing::Forbidden(String::new())] {
            let (blocks, transactions) = judged(&listing, &heard(&["rawblock", "rawtx"]), true);
            assert_eq!((blocks.state(), transactions.state()), (State::Ok, State::Ok));
        }
    }

    #[test]
    fn silence_is_a_fault_only_when_something_happened() {
        let listing = said(&[("pubrawblock", 1), ("pubrawtx", 2)]);
        assert!(matches!(judged(&listing, &heard(&[]), false), (Finding::Quiet { .. }, Finding::Quiet { .. })));
        assert!(matches!(judged(&listing, &heard(&[]), true), (Finding::Silent { .. }, Finding::Silent { .. })));
        // What is published beside it is no excuse.
        assert!(matches!(judged(&listing, &heard(&["rawtx"]), true), (Finding::Silent { .. }, Finding::Heard { .. })));
    }

    #[test]
    fn where_bitcoind_publishes_instead_is_named() {
        let swapped = said(&[("pubrawblock", 2), ("pubrawtx", 1)]);
        assert!(matches!(judged(&swapped, &heard(&[]), false).0, Finding::PortsSwapped { .. }));
        assert!(matches!(judged(&swapped, &heard(&[]), true).1, Finding::PortsSwapped { .. }));
        let elsewhere = said(&[("pubrawblock", 3), ("pubhashblock", 1), ("pubrawtx", 2)]);
        let named = |finding| matches!(finding, Finding::Elsewhere { elsewhere, .. } if elsewhere.ends_with(":3"));
        assert!(named(judged(&elsewhere, &heard(&["hashblock"]), false).0));
        let forwarded = said(&[("pubrawblock", 3), ("pubrawtx", 4)]);
        assert!(matches!(judged(&forwarded, &heard(&[]), false).0, Finding::PerhapsForwarded { .. }));
        let half = said(&[("pubrawtx", 2)]);
        assert_eq!(judged(&half, &heard(&[]), false).0, Finding::NotPublished { what: What::Blocks });
    }

    #[test]
    fn a_refused_connection_tells_where_bitcoind_is_to_be_found() {
        let refused = || Wire::Failed(Error::Refused { at: Endpoint::new("node", 1).unwrap() });
        let found = judged(&said(&[("pubrawblock", 3), ("pubrawtx", 4)]), &refused(), false).0;
        let Finding::ZmqUnreachable { elsewhere, .. } = found else { panic!("{found:?}") };
        assert_eq!(elsewhere.as_deref(), Some("tcp://0.0.0.0:3"));
        assert_eq!(judged(&said(&[]), &refused(), false).0, Finding::NotPublished { what: What::Blocks });
        assert_eq!(judged(&Listing::NoZmq, &refused(), false).0, Finding::NoZmq);
    }
}
