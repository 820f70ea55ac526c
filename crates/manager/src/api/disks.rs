//! The disks: what there is, moving the data to another one, and using another one's data, as their page does it.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::disks::{DataPart, Disk, Obstacle, Standing};

use super::{
    caller::Caller,
    describe::{Body, Json},
    problem::{Code, Problem},
    system::Restarting,
    types::{Short, Time},
};
use crate::{
    pages::{
        setup::disk::{self, parts::is_adoptable},
        words::sentence,
    },
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
    /// Data of this or another box that is on it.
    data: Vec<DataOut>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DataPartition")]
pub(crate) struct DataOut {
    /// GUID of the partition.
    partition: String,
    /// `live`, `moved`: an old copy; `arriving`: a copy that was not finished; `unknown`.
    standing: &'static str,
    /// It was made by this box.
    own: bool,
    /// Host name of its box; may be empty.
    host: String,
    /// A wallet was made or restored in it.
    wallet: bool,
    /// It may be used instead of the data of this box, where that has no wallet.
    adoptable: bool,
}

fn data_out(data: &DataPart) -> DataOut {
    DataOut {
        partition: data.partition.clone(),
        standing: match data.standing {
            Standing::Live => "live",
            Standing::Moved => "moved",
            Standing::Arriving => "arriving",
            Standing::Unknown => "unknown",
        },
        own: data.own,
        host: data.host.clone(),
        wallet: data.wallet,
        adoptable: is_adoptable(data),
    }
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
        data: disk.parts.iter().filter_map(|part| part.data.as_ref()).map(data_out).collect(),
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

/// The data of another disk.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AdoptData")]
pub(crate) struct Adopt {
    /// The disk's name and serial number as in the list.
    disk: Short<64>,
    serial: Short<128>,
    /// One of its `data` that is adoptable.
    partition: Short<64>,
    /// The box that made it is switched off and will never be used again with this data. Two nodes of one wallet lose money.
    other_box_is_off: bool,
}

/// `POST /disks/adopt`: the box restarts with that data.
pub(crate) async fn adopt(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Adopt>,
) -> Result<Json<Restarting, 202>, Problem> {
    let off = if ask.other_box_is_off { "yes" } else { "" }.into();
    let (disk, serial, partition) = (ask.disk.0, ask.serial.0, ask.partition.0);
    let typed = disk::Typed { disk, serial, partition, off, ..disk::Typed::default() };
    match disk::begin_adopt(&house, &typed, |detail| caller.audit("disk-adopt", detail)).await? {
        Ok(()) => Ok(Json(Restarting::new("The box restarts with that data, its owner and its password."))),
        Err(text) => Err(Problem::new(Code::Refused, sentence(&text))),
    }
}

/// `POST /disks/cancel`: ends a move that is not done.
pub(crate) async fn cancel(state: Home, caller: Caller) -> Result<Json<Disks>, Problem> {
    state.store.audit(caller.audit("disk-move-cancelled", "")).await?;
    setup::disk::cancel(&state).await.map_err(|refused| root(&refused))?;
    get(state).await
}
