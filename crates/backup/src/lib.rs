//! Copies of LND's static channel backup (SCB) at a place of the owner's choice: versioned, append-only, read back.
//!
//! * [`Target`] says where: a folder on a disk, SFTP, S3, WebDAV or e-mail. Its operations connect, act and close.
//! * [`Pusher`] keeps a target up to date: every change is saved within seconds, or pending in a [`Spool`] on disk.
//!
//! Nothing here removes or replaces a copy: a node restored from an old one asks its peers to close the channels it
//! knows, and a channel missing in it is money missing. Only a test removes the one file it wrote itself.

pub mod config;
mod error;
mod folder;
mod http;
mod mail;
pub mod pusher;
mod s3;
mod scb;
mod secret;
pub mod sftp;
mod spool;
mod store;
mod target;
mod webdav;
mod xml;

pub use config::{HostKey, Target};
pub use error::Error;
pub use pusher::{Pusher, Status};
pub use scb::{BadName, Hash, MAX_BYTES, Name, Scb};
pub use secret::Secret;
pub use spool::{Spool, SpoolError};
pub use target::{DEADLINE, Probe, Saved};
