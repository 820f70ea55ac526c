//! A value that must not reach a log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Keeps a password or key out of every `Debug` output; there is no `Display`.
///
/// It serialises in clear, because the configuration must come back after a restart: write it only to a file that
/// nobody else reads. Pages show [`crate::Target::describe`].
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Every use of this is a place to look at.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}
