//! The disks: what there is, and moving the data to another one, as their page does it.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::disks::{Disk, Obstacle};

use super::{
    caller::Caller,
    describe::{Body, Json},
    problem::{Code, Problem},
    system::Restarting,
    types::{Short, Time},
};
use crate::{
    pages::{setup::disk, words::sentence},
    request::Refused,
    setup,
    shared::House,
};

type Home = State<Arc<House>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Disks")]
pub(crate) struct Disks {
    /// When the disks were looked at; null before the first look.
    as_of: Option<Time>,
    /// What the data takes, bytes.
    used: u64,
    disks: Vec<DiskOut>,
    /// The move that goes on, or the last one since the start.
    moving: Moving,
}

/// Sizes in bytes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Disk")]
pub(crate) struct DiskOut {
    /// The kernel's name; may be another disk's after a restart.
    name: String,
    model: String,
    /// Empty where the disk reports none.
    serial: String,
    size: u64,
    /// The system was started from it.
    booted: bool,
    /// The data in use lies on it.
    live: bool,
    /// Nothing known was found on it.
    empty: bool,
    /// What must be sent before it is overwritten: its serial number, or `ERASE`.
    erase_word: String,
    /// Why the data cannot be moved to it: `busy`, `read_only`, `small` or `unreadable`.
    obstacle: Option<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DataMove")]
pub(crate) struct Moving {
    /// `none`, `stop`, `prepare`, `copy`, `check`, `switch`, `restart`, `failed` or `cancelled`.
    phase: &'static str,
    /// Bytes done and to do in this phase; both 0 where nothing is counted.
    done: u64,
    total: u64,
    /// A sentence, when it failed.
    error: String,
    /// Model and serial number of the disk that the data goes to.
    disk: String,
}

fn disk_out(disk: &Disk) -> DiskOut {
    DiskOut {
        name: disk.name.clone(),
        model: disk.model.clone(),
        serial: disk.serial.clone(),
        size: disk.size,
        booted: disk.booted,
        live: disk.live,
        empty: disk.empty,
        erase_word: disk.erase_word().to_owned(),
        obstacle: disk.obstacle.map(|obstacle| match obstacle {
            Obstacle::Busy => "busy",
            Obstacle::ReadOnly => "read_only",
            Obstacle::Small(_) => "small",
            Obstacle::Unreadable => "unreadable",
        }),
    }
}

/// `GET /disks`.
pub(crate) async fn get(State(house): Home) -> Result<Json<Disks>, Problem> {
    let state = house.shared.twin.state();
    let moving = &state.moving;
    Ok(Json(Disks {
        as_of: Time::unless_never(state.disks.at),
        used: state.disks.used,
        disks: state.disks.disks.iter().map(disk_out).collect(),
        moving: Moving {
            phase: moving.phase.name(),
            done: moving.done,
            total: moving.total,
            error: moving.error.clone(),
            disk: moving.disk.clone(),
        },
    }))
}

fn root(refused: &Refused) -> Problem {
    Problem::new(Code::Refused, sentence(&refused.0))
}

/// `POST /disks/scan`: looks at the disks again.
pub(crate) async fn scan(state: Home, caller: Caller) -> Result<Json<Disks>, Problem> {
    state.store.audit(caller.audit("disks-looked-at", "")).await?;
    setup::disk::scan(&state).await.map_err(|refused| root(&refused))?;
    get(state).await
}

/// The disk that the data is to go to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MoveData")]
pub(crate) struct Move {
    /// Its name and serial number as in the list: names change hands.
    disk: Short<64>,
    serial: Short<128>,
    /// Its `erase_word`, where it is not empty: all that is on it is lost.
    #[serde(default)]
    confirm: Short<128>,
}

/// `POST /disks/move`: LND stops, the data is copied and compared, the box restarts.
pub(crate) async fn relocate(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Move>,
) -> Result<Json<Restarting, 202>, Problem> {
    let typed =
        disk::Typed { disk: ask.disk.0, serial: ask.serial.0, confirm: ask.confirm.0, ..disk::Typed::default() };
    match disk::begin_move(&house, &typed, &caller.actor()).await? {
        Ok(()) => Ok(Json(Restarting::new("The data is being moved: see /api/v1/disks. Then the box restarts."))),
        Err(text) => Err(Problem::new(Code::Refused, sentence(&text))),
    }
}

/// `POST /disks/cancel`: ends a move that is not done.
pub(crate) async fn cancel(state: Home, caller: Caller) -> Result<Json<Disks>, Problem> {
    state.store.audit(caller.audit("disk-move-cancelled", "")).await?;
    setup::disk::cancel(&state).await.map_err(|refused| root(&refused))?;
    get(state).await
}
