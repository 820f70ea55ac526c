//! The channel backup (SCB), as the node has it.

use std::sync::Arc;

use axum::extract::State;
use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    describe::Json,
    node::since,
    problem::{Code, Problem},
    types::Time,
};
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

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BackupFile")]
pub(crate) struct File {
    /// `channel.backup` as base64. It is encrypted with a key of the seed.
    backup: String,
    channels: usize,
}

/// `GET /backups/current`.
pub(crate) async fn current(State(house): State<Arc<House>>) -> Result<Json<File>, Problem> {
    let latest = house.copies.latest.borrow();
    let latest =
        latest.as_ref().ok_or_else(|| Problem::new(Code::NotKnownYet, "The node has not told its backup yet."))?;
    Ok(Json(File { backup: STANDARD.encode(&latest.blob.bytes), channels: latest.blob.channels.len() }))
}
