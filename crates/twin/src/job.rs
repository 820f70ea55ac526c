//! Long work of the box itself, for those who wait for it.

use serde::{Deserialize, Serialize};

use crate::UnixSeconds;

/// Work in named steps. What the steps are called is the views' matter: they come in a fixed order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub steps: Vec<JobStep>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStep {
    pub progress: Progress,
    /// When it came to be so; 0 while it waits.
    pub since: UnixSeconds,
    /// A sentence: what it waits for, or why it failed.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    #[default]
    Waiting,
    Running,
    Done,
    Failed,
}

impl Progress {
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
