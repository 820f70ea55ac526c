//! The operating system below: what systemd, the kernel, the boot loader and RAUC say, sent to the twin.
//!
//! Each source is a task that never ends by itself: it reads everything on start, follows changes, reads everything
//! again at intervals, and when what it reads is gone it says so in its [`twin::SourceHealth`] and tries again with
//! growing waits. A source returns only when the twin is gone.

pub mod avahi;
pub mod boot;
pub mod bus;
pub mod disks;
pub mod links;
pub mod netconf;
pub mod network;
pub mod outside;
pub mod rauc;
pub mod resources;
pub mod systemd;
pub mod updates;
pub mod wifi;

use std::path::PathBuf;

use twin::source::TwinGone;

/// Why the operating system could not be read or told something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the system bus does not answer")]
    Bus(#[source] zbus::Error),
    #[error("the system bus did not answer within {0} seconds")]
    BusTimeout(u64),
    #[error("systemd refused or misread the request to {action}")]
    Systemd { action: &'static str, source: zbus::Error },
    #[error("systemd did not {action} within {seconds} seconds")]
    SystemdTimeout { action: &'static str, seconds: u64 },
    #[error("the connection to the system bus ended")]
    Disconnected,
    #[error("systemd-networkd failed to {action}")]
    Networkd { action: &'static str, source: zbus::Error },
    #[error("systemd-networkd did not {action} within {seconds} seconds")]
    NetworkdTimeout { action: &'static str, seconds: u64 },
    #[error("systemd-networkd's description of the network is not what it should be: {0}")]
    Description(String),
    #[error("iwd failed to {action}")]
    Iwd { action: &'static str, source: zbus::Error },
    #[error("iwd did not {action} within {seconds} seconds")]
    IwdTimeout { action: &'static str, seconds: u64 },
    #[error("avahi does not run")]
    NoAvahi,
    #[error("avahi failed to {action}")]
    Avahi { action: &'static str, source: zbus::Error },
    #[error("RAUC failed to {action}")]
    Rauc { action: &'static str, source: zbus::Error },
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not what it should be: {what}")]
    Malformed { path: PathBuf, what: String },
    #[error("failed to {action}")]
    Kernel { action: &'static str, source: std::io::Error },
    #[error("the twin is gone")]
    TwinGone,
}

impl From<TwinGone> for Error {
    fn from(_: TwinGone) -> Self {
        Self::TwinGone
    }
}

impl Error {
    fn kernel(action: &'static str) -> impl Fn(nix::errno::Errno) -> Self {
        move |errno| Self::Kernel { action, source: errno.into() }
    }
}
