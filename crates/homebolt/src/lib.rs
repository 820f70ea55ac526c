//! The host tool: makes, tries, verifies and flashes images. One module per subcommand, each with its `Args` and a
//! `run(args)`; what several of them need stands in modules of its own.

pub mod atomic;
pub mod bmap;
pub mod build;
pub mod bundle;
pub mod channel;
pub mod cli;
pub mod disks;
pub mod error;
pub mod flash;
pub mod image;
pub mod keys;
pub mod progress;
pub mod qemu;
pub mod rework;
pub mod run;
pub mod sbom;
pub mod verify;
pub mod verity;

pub use error::Error;
