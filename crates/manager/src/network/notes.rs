//! A line in the audit log for each trial that ended without anybody's doing.

use std::sync::Arc;

use netconf::{Ending, Last};
use store::Audit;
use tokio::sync::broadcast::error::RecvError;
use twin::Topic;

use crate::{error::now, shared::House};

/// Follows the endings, for as long as the twin lives. One that was told before this start is no news.
pub(crate) async fn follow(house: Arc<House>) {
    let mut changes = house.shared.twin.changes();
    // What the root program reported before is in the file from the start of the machine on.
    let mut seen = platform::netconf::read(&house.shared.run_dir).ok().and_then(|report| report.last);
    loop {
        match changes.recv().await {
            Ok(Topic::Network) | Err(RecvError::Lagged(_)) => {}
            Ok(_) => continue,
            Err(RecvError::Closed) => return,
        }
        let last = house.shared.twin.state().netconf.last.clone();
        if last == seen {
            continue;
        }
        if let Some(entry) = last.as_ref().and_then(entry)
            && let Err(error) = house.store.audit(entry).await
        {
            tracing::warn!(%error, "the end of a change of the network is not in the audit log");
        }
        seen = last;
    }
}

/// What was confirmed or withdrawn has its line from who did it.
fn entry(last: &Last) -> Option<Audit> {
    let (action, detail) = match last.ending {
        Ending::Expired => ("network-expired", "Nobody confirmed the change: it was taken back."),
        Ending::Failed => ("network-failed", "The change could not be made: it was taken back."),
        Ending::Confirmed | Ending::Withdrawn => return None,
    };
    Some(Audit { at: now(), actor: "box".into(), action, detail: format!("{} {detail}", last.plan.mac) })
}
