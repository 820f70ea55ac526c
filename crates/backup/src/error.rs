//! What can go wrong with a target. Each is a sentence for the owner that says what to do where that is known.

use std::{io, path::PathBuf};

use crate::{HostKey, scb::Name};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The way to the server, TLS included.
    #[error(transparent)]
    Server(#[from] fetch::Error),
    #[error("the host key of {host} is not confirmed yet: it is {}", key.fingerprint())]
    HostKeyUnconfirmed { host: String, key: HostKey },
    #[error(
        "the host key of {host} changed: it is {} now and was {} when you confirmed it. Either the server was set up \
         anew, or someone stands in between. Nothing was sent",
        seen.fingerprint(), confirmed.fingerprint()
    )]
    HostKeyChanged { host: String, confirmed: HostKey, seen: HostKey },
    #[error("{host} does not accept the user {user} with this {what}")]
    Login { host: String, user: String, what: &'static str },
    #[error("{host} has no {place}")]
    NoPlace { host: String, place: String },
    #[error("no disk is mounted at {mount}: is it plugged in?")]
    NotMounted { mount: PathBuf },
    #[error("no permission to {action} in {place}")]
    Denied { action: &'static str, place: String },
    #[error("{place} is read-only")]
    ReadOnly { place: String },
    #[error("{place} is full, or its quota is used up")]
    Full { place: String },
    #[error("what was read back from {name} in {place} differs from what was written: do not trust this target")]
    Differs { name: String, place: String },
    #[error("the copy {name} in {place} is damaged: its hash is not the one in its name")]
    Damaged { name: Name, place: String },
    #[error("{place} already holds {name}, with other content")]
    Exists { name: String, place: String },
    #[error("{host} refuses because the clocks differ: here it is {ours}, there {theirs}. Check this box's time")]
    ClockSkew { host: String, ours: String, theirs: String },
    #[error("the bucket {bucket} is in the region {region}: enter that")]
    WrongRegion { bucket: String, region: String },
    #[error("{host} sends elsewhere, to {to}: enter that address")]
    Moved { host: String, to: String },
    #[error("{what} is not a usable setting: {why}")]
    Setting { what: &'static str, why: String },
    #[error("{host} could not {action}: {what}")]
    Answer { host: String, action: &'static str, what: String },
    #[error("failed to {action} {path}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("a copy sent by e-mail cannot be read back from here: look into the mailbox")]
    NotReadable,
    #[error("there is no copy of the channels at {place} yet")]
    Nothing { place: String },
    #[error("LND does not accept the copy {name}: {why}")]
    Refuted { name: Name, why: String },
    #[error("no random bytes from the kernel")]
    Random,
}
