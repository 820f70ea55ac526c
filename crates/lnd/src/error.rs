//! What can go wrong, and LND's refusals in words for the owner.
//!
//! LND answers most refusals with the code `Unknown` and a Go error's text, so the text is what tells them apart. Each
//! text below stands in LND's sources (v0.21.2-beta) and is met by a test against the real program or quoted from them.

use std::{error::Error as _, net::SocketAddr, path::PathBuf};

use tonic::{Code, Status};
use twin::source::TwinGone;

/// Why LND did not do what it was asked. Each is a sentence for the owner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The connection.
    #[error("LND has not written its certificate {path} yet")]
    NoCertificate { path: PathBuf },
    #[error("failed to read LND's certificate {path}")]
    ReadCertificate { path: PathBuf, source: std::io::Error },
    #[error("{path} is no PEM certificate: {what}")]
    BadCertificate { path: PathBuf, what: String },
    #[error("LND does not answer on {address}: {what}")]
    Unreachable { address: SocketAddr, what: String },
    #[error("who answers on {address} has another certificate than the one in {path}: LND's certificate changed")]
    CertificateChanged { address: SocketAddr, path: PathBuf },
    #[error("no TLS connection to LND on {address}")]
    Tls { address: SocketAddr, source: std::io::Error },
    /// Whether LND did it nevertheless is not known.
    #[error("LND on {address} did not {action} within {seconds} seconds")]
    Timeout { address: SocketAddr, action: &'static str, seconds: u64 },
    /// Whether LND did it nevertheless is not known.
    #[error("LND on {address} ended the connection")]
    Ended { address: SocketAddr },

    // The macaroon.
    #[error("there is no macaroon {path} yet")]
    NoMacaroon { path: PathBuf },
    #[error("failed to read the macaroon {path}")]
    ReadMacaroon { path: PathBuf, source: std::io::Error },
    #[error("failed to write the macaroon {path}")]
    WriteMacaroon { path: PathBuf, source: std::io::Error },
    #[error("LND does not accept the macaroon: {what}")]
    MacaroonRejected { what: String },
    #[error("the macaroon does not permit to {action}")]
    NotPermitted { action: &'static str },
    #[error("the macaroon key {0} is LND's or this program's own: it cannot be given away or revoked")]
    ReservedKey(u64),

    // The wallet.
    #[error("there is no wallet yet")]
    NoWallet,
    #[error("there is a wallet already")]
    WalletExists,
    #[error("the wallet is locked")]
    Locked,
    #[error("the wallet is open already")]
    NotLocked,
    #[error("LND is still starting")]
    Starting,
    /// Before anything about the wallet is known. Changing an older database takes its time here, too.
    #[error("LND has not started yet: it opens its database, or waits for its turn in a cluster")]
    Waiting,
    #[error("this is not the wallet's password")]
    WrongPassword,
    #[error("the wallet's password must have at least 8 characters")]
    ShortPassword,
    #[error("these words are no seed: {0}")]
    BadSeed(SeedFault),

    // Money.
    #[error("this is paid already")]
    AlreadyPaid,
    #[error("this payment is already on its way")]
    InTransition,
    #[error("the invoice has expired")]
    Expired,
    #[error("there is not enough money for that: {what}")]
    InsufficientBalance { what: String },
    #[error("this is no payment request: {what}")]
    BadRequest { what: String },

    // Peers, channels, backups.
    #[error("the peer is not connected")]
    PeerOffline,
    #[error("the peer is connected already")]
    PeerConnected,
    #[error("LND does not know this {0}")]
    NotFound(&'static str),
    #[error("this channel backup does not belong to this wallet, or it is damaged")]
    BadBackup,

    /// Any other refusal, with LND's own words.
    #[error("LND on {address} failed to {action}: {what}")]
    Call { address: SocketAddr, action: &'static str, what: String },
    #[error("LND's answer when asked to {action} makes no sense: {what}")]
    Answer { action: &'static str, what: String },
    /// What a person or another program gave is not what it should be.
    #[error("{text:?} is no {kind}")]
    Malformed { kind: &'static str, text: String },
    #[error("LND on {address} reports the state {number}, which this version does not know")]
    UnknownState { address: SocketAddr, number: i32 },
    #[error("the twin is gone")]
    TwinGone,
}

/// What is wrong with seed words, without repeating any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeedFault {
    /// Counted from 1.
    #[error("word {0} is not in the list of words")]
    Word(u8),
    #[error("their checksum does not match; a word is wrong or they are not in order")]
    Checksum,
    #[error("their passphrase is another one")]
    Passphrase,
    #[error("they are of a version that this LND does not know")]
    Version,
    #[error("there must be 24")]
    Count,
}

impl From<TwinGone> for Error {
    fn from(_: TwinGone) -> Self {
        Self::TwinGone
    }
}

impl Error {
    /// The connection is of no use any more.
    pub(crate) fn is_of_the_connection(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::MacaroonRejected { .. })
    }

    /// What a failed call says.
    pub(crate) fn of_status(address: SocketAddr, action: &'static str, status: &Status) -> Self {
        // Only what did not come from LND itself has a cause.
        if status.source().is_some() || is_closing(status) {
            return Self::Ended { address };
        }
        match known(action, status.code(), status.message()) {
            Some(error) => error,
            None => {
                let what = if status.message().is_empty() { status.code().description() } else { status.message() };
                Self::Call { address, action, what: what.to_owned() }
            }
        }
    }
}

fn is_closing(status: &Status) -> bool {
    let message = status.message();
    matches!(status.code(), Code::Unavailable | Code::Cancelled)
        && ["transport is closing", "operation was canceled", "h2 protocol error", "stream closed"]
            .iter()
            .any(|words| message.contains(words))
        || ["server exiting", "server shutting down", "context canceled"].iter().any(|words| message.ends_with(words))
}

/// The refusals that have a meaning of their own.
fn known(action: &'static str, code: Code, message: &str) -> Option<Error> {
    let says = |words: &str| message.contains(words);
    Some(match () {
        () if says("wallet already unlocked") => Error::NotLocked,
        () if says("wallet locked, unlock it") => Error::Locked,
        () if says("wallet not created") || says("wallet not found") => Error::NoWallet,
        () if says("wallet already exists") => Error::WalletExists,
        () if says("in the process of starting") => Error::Starting,
        () if says("waiting to start, RPC services not available") => Error::Waiting,
        () if says("invalid passphrase for master") => Error::WrongPassword,
        () if says("password must have at least 8 characters") => Error::ShortPassword,
        () if says("invalid passphrase") => Error::BadSeed(SeedFault::Passphrase),
        () if says("wrong seed version") => Error::BadSeed(SeedFault::Version),
        () if says("mnemonic phrase checksum doesn't match") => Error::BadSeed(SeedFault::Checksum),
        () if says("isn't a part of default word list") => Error::BadSeed(unknown_word(message)),

        () if says("permission denied") => Error::NotPermitted { action },
        () if [
            "verification failed",
            "cannot get macaroon",
            "expected 1 macaroon",
            "cannot determine data format of binary",
        ]
        .iter()
        .any(|words| says(words)) =>
        {
            Error::MacaroonRejected { what: message.to_owned() }
        }

        () if says("invoice is already paid") => Error::AlreadyPaid,
        () if says("payment is in transition") || says("payment already exists") => Error::InTransition,
        () if says("invoice expired. Valid until") => Error::Expired,
        () if ["insufficient funds available", "not enough witness outputs", "insufficient local balance"]
            .iter()
            .any(|words| says(words)) =>
        {
            Error::InsufficientBalance { what: message.to_owned() }
        }
        () if [
            "checksum failed",
            "invalid bech32 string",
            "failed converting data to bytes",
            "unknown network",
            "invoice not for current active network",
        ]
        .iter()
        .any(|words| says(words)) =>
        {
            Error::BadRequest { what: message.to_owned() }
        }

        () if says("already connected to peer") => Error::PeerConnected,
        () if says("is not online") || says("is not connected") => Error::PeerOffline,
        () if says("invalid multi channel backup") || says("unable to unpack chan backup") => Error::BadBackup,
        () if code == Code::NotFound && says("invoice") => Error::NotFound("invoice"),
        () if code == Code::NotFound && says("payment") => Error::NotFound("payment"),
        () if code == Code::NotFound && says("channel") => Error::NotFound("channel"),
        () => return None,
    })
}

/// LND names the word, which is a part of a secret; its place is enough.
fn unknown_word(message: &str) -> SeedFault {
    let index = message.rsplit_once("(index=").and_then(|(_, rest)| rest.strip_suffix(')'));
    index.and_then(|index| index.parse::<u8>().ok()).map_or(SeedFault::Checksum, |index| SeedFault::Word(index + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10009);

    fn told(message: &str) -> String {
        Error::of_status(ADDRESS, "do it", &Status::unknown(message)).to_string()
    }

    #[test]
    fn refusals_of_the_wallet_are_told_apart() {
        assert_eq!(
            told("wallet already unlocked, WalletUnlocker service is no longer available"),
            "the wallet is open already"
        );
        assert_eq!(told("wallet locked, unlock it to enable full RPC access"), "the wallet is locked");
        assert_eq!(told("invalid passphrase for master public key"), "this is not the wallet's password");
        assert_eq!(told("invalid passphrase"), "these words are no seed: their passphrase is another one");
        assert_eq!(told("wallet already exists"), "there is a wallet already");
    }

    #[test]
    fn an_unknown_word_of_a_seed_is_named_by_its_place_alone() {
        let text = told("word zebrra isn't a part of default word list (index=4)");
        assert_eq!(text, "these words are no seed: word 5 is not in the list of words");
        assert!(!told("word zebrra isn't a part of default word list (index=999)").contains("zebrra"));
    }

    #[test]
    fn a_second_payment_of_the_same_hash_is_told_as_such() {
        assert_eq!(told("invoice is already paid"), "this is paid already");
        assert_eq!(told("payment is in transition"), "this payment is already on its way");
        assert_eq!(told("payment already exists"), "this payment is already on its way");
    }

    #[test]
    fn other_refusals_keep_the_words_of_lnd_or_the_meaning_of_their_code() {
        assert_eq!(told("chain is on fire"), "LND on 127.0.0.1:10009 failed to do it: chain is on fire");
        let silent = Error::of_status(ADDRESS, "do it", &Status::new(Code::Internal, "")).to_string();
        assert_eq!(silent, "LND on 127.0.0.1:10009 failed to do it: Internal error");
    }

    proptest! {
        #[test]
        fn no_words_of_lnd_make_it_fall_over(message in ".*|word .* isn't a part of default word list \\(index=[0-9]*\\)") {
            prop_assert!(!told(&message).is_empty());
        }
    }
}
