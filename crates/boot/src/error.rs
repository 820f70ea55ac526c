//! What can go wrong, with the action and the path or program it happened to.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}: {source}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{program} failed ({code}): {output}")]
    Program { program: String, code: String, output: String },
    #[error("the kernel command line has no usable {key}: {reason}")]
    CommandLine { key: &'static str, reason: String },
    #[error("{path} is not what it should be: {reason}")]
    Content { path: PathBuf, reason: String },
    #[error(
        "no disk with the EFI partition {esp} appeared within {seconds} s: the disk this system was started from cannot be read"
    )]
    NoDisk { esp: String, seconds: u64 },
    #[error("partition {label} of {disk} is missing")]
    NoPartition { disk: PathBuf, label: &'static str },
    #[error("{0}")]
    Refused(String),
}

/// Says what was being done to which path when an operation failed.
pub trait At<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|error| Error::File { action, path: path.into(), source: error.into() })
    }
}
