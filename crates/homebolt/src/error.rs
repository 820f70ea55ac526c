//! Why a command failed. Each module has its own enum; here they become one, with the exit code of the program.

use std::io;
use std::path::{Path, PathBuf};

/// A failure as the person at the terminal reads it: `homebolt: <this>: <its cause>`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `action` completes 'failed to', for example 'read the manifest'.
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Bmap(#[from] crate::bmap::Error),
    #[error(transparent)]
    Build(#[from] crate::build::Error),
    #[error(transparent)]
    Bundle(#[from] crate::bundle::Error),
    #[error(transparent)]
    Channel(#[from] crate::channel::Error),
    #[error(transparent)]
    Flash(#[from] crate::flash::Error),
    #[error(transparent)]
    Keys(#[from] crate::keys::Error),
    #[error(transparent)]
    Rework(#[from] crate::rework::Error),
    #[error(transparent)]
    Run(#[from] crate::run::Error),
    #[error(transparent)]
    Sbom(#[from] crate::sbom::Error),
    #[error(transparent)]
    Verify(#[from] crate::verify::Error),
}

impl Error {
    /// For `map_err`: `fs::read(&path).map_err(Error::io("read the manifest", &path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// What the program ends with: 1 for a failure, 2 (by clap) for a wrong command line, 130 after Ctrl-C.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Flash(crate::flash::Error::Interrupted { .. }) => 130,
            _ => 1,
        }
    }
}

/// An error and its causes in one line. A cause that its effect already quotes is not said twice.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_action_path_and_cause_in_one_line() {
        let error = Error::io("read the manifest", "/no/such")(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(sentence(&error), "failed to read the manifest /no/such: entity not found");
        assert_eq!(error.exit_code(), 1);
    }
}
