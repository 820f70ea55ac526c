//! What changes, as a stream: topics, not their content. A program reads again what it cares for.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use twin::Topic;

use super::{caller::Caller, describe::Text, problem::Problem};
use crate::{shared::House, sse};

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A topic's name and where its content is.
fn about(topic: Topic) -> (&'static str, &'static str) {
    match topic {
        Topic::Boot => ("slots", "/api/v1/system/slots"),
        Topic::Units => ("units", "/api/v1/system/units"),
        Topic::Resources => ("resources", "/api/v1/system/resources"),
        Topic::Network => ("info", "/api/v1/system/info"),
        Topic::Lnd | Topic::Info | Topic::Graph => ("node", "/api/v1/node"),
        Topic::Jobs => ("setup", "/api/v1/setup"),
        Topic::Balances => ("balances", "/api/v1/node/balances"),
        Topic::Channels => ("channels", "/api/v1/node/channels"),
        Topic::Peers => ("peers", "/api/v1/node/peers"),
        Topic::Htlcs => ("htlcs", "/api/v1/node/htlcs"),
        Topic::Invoices => ("invoices", "/api/v1/node/invoices"),
        Topic::Payments => ("payments", "/api/v1/node/payments"),
        Topic::Transactions => ("transactions", "/api/v1/node/transactions"),
        Topic::Backup => ("backups", "/api/v1/backups"),
        Topic::Copies => ("copies", "/api/v1/backups/copies"),
        Topic::Disks => ("disks", "/api/v1/disks"),
        Topic::Updates => ("updates", "/api/v1/updates"),
        _ => ("health", "/api/v1/system/health"),
    }
}

pub(crate) async fn get(State(house): State<Arc<House>>, caller: Caller) -> Result<Text<0>, Problem> {
    let changes = BroadcastStream::new(house.shared.twin.changes()).map(|change| match change {
        Ok(topic) => {
            let (name, path) = about(topic);
            event(name, path)
        }
        // Too many at once for this reader: it should read everything again.
        Err(BroadcastStreamRecvError::Lagged(_)) => event("all", "/api/v1/"),
    });
    let first = stream::iter([event("all", "/api/v1/")]);
    let events = first.chain(changes).take_until(end(house, caller)).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Text(response))
}

fn event(name: &str, path: &str) -> Event {
    Event::default().event("changed").data(json!({ "topic": name, "path": path }).to_string())
}

/// Resolves when whoever listens may listen no longer.
async fn end(house: Arc<House>, caller: Caller) {
    match caller {
        Caller::Owner(session) => sse::end(house, session).await,
        Caller::Key { key, .. } => house.api.keys.end(key).await,
    }
}
