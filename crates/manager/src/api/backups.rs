//! The channel backup (SCB), as the node has it.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::{describe::Json, node::since, problem::Problem, types::Time};
use crate::shared::House;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Backup")]
pub(crate) struct Backup {
    as_of: Time,
    /// How many channels are in it.
    channels: usize,
    /// SHA-256 of the newest blob.
    sha256: String,
    /// When the set of channels last changed, or was first read.
    changed_at: Option<Time>,
}

pub(crate) async fn get(State(house): State<Arc<House>>) -> Result<Json<Backup>, Problem> {
    let state = house.shared.twin.state();
    let backup = &state.node.backup;
    Ok(Json(Backup {
        as_of: Time(since(backup)?),
        channels: backup.channels,
        sha256: backup.hash.clone(),
        changed_at: Time::unless_never(backup.changed),
    }))
}
