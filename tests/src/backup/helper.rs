//! Hidden commands of this program: a process of its own whose end or clock can be tampered with.

use std::{path::PathBuf, time::Duration};

use ::backup::{Pusher, Scb, Spool, Target};
use tokio::sync::watch;

use super::Lab;
use crate::report::{Outcome, fails};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The target, JSON
    #[arg(long)]
    target: PathBuf,
    /// Keep this target up to date from this spool, until it has a copy and nothing is pending; without it: test the
    /// target
    #[arg(long)]
    spool: Option<PathBuf>,
    /// A backup to begin with
    #[arg(long)]
    blob: Option<String>,
}

/// Says on standard output what comes of it.
pub(crate) fn run(args: &Args) -> Outcome {
    let lab = Lab::new()?;
    let target: Target = serde_json::from_slice(&std::fs::read(&args.target)?)?;
    let Some(spool) = &args.spool else {
        match lab.probe(&target) {
            Ok(probe) => println!("{probe:?}"),
            Err(error) => println!("{error}"),
        }
        return Ok(());
    };
    let scb = args.blob.as_ref().map(|text| Scb::new(text.clone().into_bytes(), 7, None));
    let (scbs, targets) = (watch::Sender::new(scb), watch::Sender::new(Some(target)));
    lab.wait(async {
        let (pusher, handle) = Pusher::new(Spool::open(spool)?, scbs.subscribe(), targets.subscribe());
        tokio::spawn(pusher.run());
        let mut status = handle.status();
        let follow = async {
            while status.changed().await.is_ok() {
                let now = status.borrow_and_update().clone();
                println!("{}", serde_json::to_string(&now)?);
                if now.saved.is_some() && now.pending.is_none() {
                    return Ok(());
                }
            }
            fails("the pusher ended")
        };
        tokio::time::timeout(Duration::from_secs(30), follow).await?
    })
}
