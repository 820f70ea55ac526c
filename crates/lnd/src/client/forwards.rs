//! Payments of others that went through this node.

use twin::{MilliSat, UnixSeconds};

use super::{Client, READ, ask, channels::short_id};
use crate::{
    Error,
    proto::lnrpc::{ForwardingEvent, ForwardingHistoryRequest},
};

/// A payment that was passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    pub at: UnixSeconds,
    /// Short ids of the channels by which it came and went.
    pub from: String,
    pub to: String,
    pub came: MilliSat,
    pub went: MilliSat,
    /// What this node earned.
    pub fee: MilliSat,
}

/// A page of forwards, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwards {
    pub items: Vec<Forward>,
    /// How many to skip for the next page.
    pub next: u32,
}

impl Client {
    /// At most `count` forwards, oldest first, after skipping `skip` of them.
    pub async fn forwards(&self, skip: u32, count: u32) -> Result<Forwards, Error> {
        let request =
            ForwardingHistoryRequest { start_time: 0, end_time: 0, index_offset: skip, num_max_events: count };
        let answer = ask!(self, READ, "list what it passed on", lightning.forwarding_history(request))?;
        let items = answer.forwarding_events.iter().map(forward).collect();
        Ok(Forwards { items, next: answer.last_offset_index })
    }
}

fn forward(wire: &ForwardingEvent) -> Forward {
    Forward {
        at: wire.timestamp_ns / 1_000_000_000,
        from: short_id(wire.chan_id_in),
        to: short_id(wire.chan_id_out),
        came: MilliSat::new(wire.amt_in_msat),
        went: MilliSat::new(wire.amt_out_msat),
        fee: MilliSat::new(wire.fee_msat),
    }
}
