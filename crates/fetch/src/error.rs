use std::{net::IpAddr, path::PathBuf};

/// Why somebody else's server could not be asked. Each is a sentence for the owner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no computer named {host} is found: check the spelling and the network's DNS")]
    NameNotFound { host: String },
    #[error("{host} refuses connections on port {port}: is the service running there, and is the port right?")]
    Refused { host: String, port: u16 },
    #[error("{host} cannot be reached on port {port}: {what}")]
    Unreachable { host: String, port: u16, what: String },
    #[error("{host} did not {action} within {seconds} seconds")]
    Timeout { host: String, action: &'static str, seconds: u64 },
    #[error(
        "the certificate of {host} is not trusted: it was issued by {issuer}, which this box does not know. If it is \
         your own server, give its CA certificate (PEM)"
    )]
    Untrusted { host: String, issuer: String },
    #[error("the certificate of {host} is made for other names: {names}")]
    WrongName { host: String, names: String },
    #[error("the certificate of {host} ended on {until}")]
    Expired { host: String, until: String },
    #[error("the certificate of {host} begins on {from} only: is this box's clock right?")]
    NotYetValid { host: String, from: String },
    #[error("no TLS connection to {host}: {what}")]
    Tls { host: String, what: String },
    #[error("this box has no list of certificate authorities ({path}) and no own CA certificate was given")]
    NoAuthorities { path: PathBuf },
    #[error("the CA certificate given is no PEM certificate: {what}")]
    BadCa { what: String },
    #[error("{host} is no host name")]
    BadHost { host: String },
    #[error("{url} is not asked: only addresses that begin with https:// are, and they hold no user and no password")]
    BadUrl { url: String },
    #[error("{host} is reached through Tor, which this box does not have")]
    Onion { host: String },
    #[error(
        "{host} leads to {address}, a private address in your network or in this box, and is not asked. If it is your \
         own server, name it on the page Settings, Payments"
    )]
    Private { host: String, address: IpAddr },
    #[error("{host} sent us on more than {limit} times")]
    Redirects { host: String, limit: usize },
    #[error("{host} sent more than {limit} bytes")]
    TooLong { host: String, limit: usize },
    #[error("{host} could not {action}: {what}")]
    Answer { host: String, action: &'static str, what: String },
}
