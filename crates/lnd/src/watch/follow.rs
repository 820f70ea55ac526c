//! What all watchers but that of the state have in common.

use std::{collections::BTreeMap, convert::Infallible, future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};
use tonic::Streaming;
use twin::{
    LndState, Sender, Update,
    source::{Backoff, Health, TwinGone, sentence},
};

use crate::{Client, Error};

/// How long a burst of hints may gather before it is answered with one read.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// The least time from one read to the next: a busy node must not be read without a pause.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a stream is asked for, and the part read without it, while LND is starting.
const STARTING: Duration = Duration::from_secs(3);
/// From the request for a stream to the first read: the stream should stand by then, though LND says nothing until
/// something changes.
const SETTLE: Duration = Duration::from_millis(100);
/// Waits between attempts: from, to.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// One part of the node: how it is heard of and how it is read.
pub(super) trait Part: Send + 'static {
    /// In logs.
    const NAME: &'static str;
    /// It is read this often even when nothing was told.
    const INTERVAL: Duration;
    /// It may be another with each block.
    const BY_BLOCK: bool = false;
    /// It may be another whenever money moved.
    const BY_MONEY: bool = false;
    /// Its hints mean that money moved.
    const MOVES_MONEY: bool = false;
    type Hint: Send + 'static;

    /// Opens the stream of hints. LND answers this only with the first of them.
    fn listen(client: Client) -> impl Future<Output = Result<Streaming<Self::Hint>, Error>> + Send;

    /// Takes what a hint says about what to read.
    fn take(&mut self, _hint: Self::Hint) {}

    /// Something may have been missed: the next read must be of everything.
    fn gap(&mut self) {}

    /// How soon to read again when nothing is told, after what was read last.
    fn interval(&self) -> Duration {
        Self::INTERVAL
    }

    /// Reads the part as it is now.
    fn read(&mut self, context: &Context) -> impl Future<Output = Result<Update, Error>> + Send;
}

/// For parts that no stream tells of.
pub(super) async fn no_stream() -> Result<Streaming<()>, Error> {
    std::future::pending().await
}

/// What the watchers share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) client: Client,
    twin: Sender,
    state: watch::Receiver<LndState>,
    height: watch::Sender<u32>,
    money: watch::Sender<()>,
    /// LND accepts this program's macaroon.
    known: watch::Sender<bool>,
    pub(super) fares: Arc<Mutex<Fares>>,
}

impl Context {
    pub(super) fn new(client: Client, twin: Sender, state: watch::Receiver<LndState>) -> Self {
        let fares = Fares { health: Health::new("node", twin.clone()), failing: BTreeMap::new() };
        Self {
            client,
            twin,
            state,
            height: watch::Sender::new(0),
            money: watch::Sender::new(()),
            known: watch::Sender::new(false),
            fares: Arc::new(Mutex::new(fares)),
        }
    }

    /// Block height as LND last told it.
    pub(super) fn height(&self) -> u32 {
        *self.height.borrow()
    }

    pub(super) fn set_height(&self, height: u32) {
        self.height.send_if_modified(|old| std::mem::replace(old, height) != height);
    }

    /// Waits until LND answers calls. Fails when the watcher of the state is gone, and with it the twin.
    pub(super) async fn answers(&mut self) -> Result<(), TwinGone> {
        self.state.wait_for(|state| answers(*state)).await.map(drop).map_err(|_| TwinGone)
    }

    /// Waits until LND answers calls of this program.
    async fn ready(&mut self) -> Result<(), TwinGone> {
        let mut known = self.known.subscribe();
        loop {
            self.answers().await?;
            let mut state = self.state.clone();
            tokio::select! {
                known = known.wait_for(|known| *known) => return known.map(drop).map_err(|_| TwinGone),
                gone = state.wait_for(|state| !answers(*state)) => drop(gone.map_err(|_| TwinGone)?),
            }
        }
    }

    pub(super) fn set_known(&self, is_known: bool) {
        self.known.send_replace(is_known);
    }

    /// Waits until LND is away or refuses the macaroon.
    pub(super) async fn unknown(&mut self) -> Result<(), TwinGone> {
        let mut known = self.known.subscribe();
        tokio::select! {
            known = known.wait_for(|known| !*known) => known.map(drop).map_err(|_| TwinGone),
            gone = self.state.wait_for(|state| !answers(*state)) => gone.map(drop).map_err(|_| TwinGone),
        }
    }

    /// Why LND does not answer in its present state; `None` if it does.
    fn silent(&self) -> Option<Error> {
        let state = *self.state.borrow();
        match state {
            _ if answers(state) => None,
            LndState::NonExisting => Some(Error::NoWallet),
            LndState::Locked => Some(Error::Locked),
            LndState::Unlocked => Some(Error::Starting),
            LndState::WaitingToStart => Some(Error::Waiting),
            _ => Some(self.client.ended()),
        }
    }
}

fn answers(state: LndState) -> bool {
    matches!(state, LndState::RpcActive | LndState::ServerActive)
}

/// How all parts fare, as one source: they share one connection and mostly fail together.
pub(super) struct Fares {
    health: Health,
    failing: BTreeMap<&'static str, Arc<Error>>,
}

impl Fares {
    pub(super) async fn well(&mut self, name: &'static str) -> Result<(), TwinGone> {
        self.failing.remove(name);
        self.report().await.map(drop)
    }

    pub(super) async fn ill(&mut self, name: &'static str, error: Error) -> Result<bool, TwinGone> {
        self.failing.insert(name, Arc::new(error));
        self.report().await
    }

    async fn report(&mut self) -> Result<bool, TwinGone> {
        match self.failing.values().next().cloned() {
            None => self.health.connected().await.map(|()| false),
            Some(error) => self.health.lost(&*error).await,
        }
    }
}

/// Follows a part, for as long as the twin lives.
pub(super) async fn follow<P: Part>(mut part: P, mut context: Context) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        if context.ready().await.is_err() {
            return;
        }
        let Err(error) = attend(&mut part, &mut context, &mut backoff).await;
        let words = sentence(&error);
        match error {
            Error::TwinGone => return,
            Error::NoMacaroon { .. } | Error::MacaroonRejected { .. } | Error::NotPermitted { .. } => {
                context.set_known(false);
            }
            _ => {}
        }
        match context.fares.lock().await.ill(P::NAME, error).await {
            Err(TwinGone) => return,
            Ok(true) => tracing::info!("the node's {} are not followed: {words}", P::NAME),
            Ok(false) => {}
        }
        sleep(backoff.wait()).await;
    }
}

/// Reads and listens until something fails.
async fn attend<P: Part>(part: &mut P, context: &mut Context, backoff: &mut Backoff) -> Result<Infallible, Error> {
    let mut blocks = context.height.subscribe();
    let mut money = context.money.subscribe();
    let mut state = context.state.clone();
    let mut hints = Hints::listen::<P>(&context.client);
    part.gap();
    sleep(SETTLE).await;
    loop {
        blocks.mark_unchanged();
        money.mark_unchanged();
        state.mark_unchanged();
        if let Some(error) = context.silent() {
            return Err(error);
        }
        let begun = Instant::now();
        let update = part.read(context).await?;
        context.twin.send(update).await.map_err(|_| TwinGone)?;
        context.fares.lock().await.well(P::NAME).await?;
        backoff.reset();
        tokio::select! {
            hint = hints.next() => match hint {
                Ok(hint) => heed(part, hint, context),
                // Much can be read before streams are to be had.
                Err(Error::Starting) => {
                    sleep(STARTING).await;
                    hints = Hints::listen::<P>(&context.client);
                }
                Err(error) => return Err(error),
            },
            _ = blocks.changed(), if P::BY_BLOCK => {}
            _ = money.changed(), if P::BY_MONEY => {}
            _ = state.changed() => {}
            () = sleep(part.interval()) => {}
        }
        sleep_until((begun + PAUSE).max(Instant::now() + DEBOUNCE)).await;
        while let Some(hint) = hints.waiting() {
            heed(part, hint?, context);
        }
    }
}

fn heed<P: Part>(part: &mut P, hint: P::Hint, context: &Context) {
    part.take(hint);
    if P::MOVES_MONEY {
        context.money.send_replace(());
    }
}

/// A stream that is read by a task of its own, so that what waits in it holds up nothing else.
struct Hints<T> {
    receiver: mpsc::Receiver<Result<T, Error>>,
    task: AbortHandle,
}

impl<T: Send + 'static> Hints<T> {
    fn listen<P: Part<Hint = T>>(client: &Client) -> Self {
        let (sender, receiver) = mpsc::channel(64);
        let client = client.clone();
        let task = tokio::spawn(async move {
            let mut stream = match P::listen(client.clone()).await {
                Ok(stream) => stream,
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            loop {
                let hint = client.next("tell what changes", &mut stream).await;
                let hint = hint.and_then(|hint| hint.ok_or_else(|| client.ended()));
                let is_last = hint.is_err();
                if sender.send(hint).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self { receiver, task: task.abort_handle() }
    }

    async fn next(&mut self) -> Result<T, Error> {
        // The task says why it ends before it does.
        self.receiver.recv().await.unwrap_or(Err(Error::Starting))
    }

    fn waiting(&mut self) -> Option<Result<T, Error>> {
        self.receiver.try_recv().ok().filter(|hint| !matches!(hint, Err(Error::Starting)))
    }
}

impl<T> Drop for Hints<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use twin::Twin;

    use super::*;

    #[tokio::test]
    async fn the_source_is_well_only_when_all_parts_are() {
        let (twin, sender, reader) = Twin::new();
        tokio::spawn(twin.run());
        let mut fares = Fares { health: Health::new("node", sender), failing: BTreeMap::new() };
        fares.ill("peers", Error::Starting).await.unwrap();
        fares.ill("channels", Error::Locked).await.unwrap();
        fares.well("channels").await.unwrap();
        let seen = async |connected| {
            let mut changes = reader.changes();
            loop {
                let state = reader.state();
                let source = state.sources.get("node");
                if let Some(source) = source.filter(|source| source.connected == connected) {
                    return source.error.clone();
                }
                changes.recv().await.unwrap();
            }
        };
        assert_eq!(seen(false).await.unwrap(), "LND is still starting");
        fares.well("peers").await.unwrap();
        assert_eq!(seen(true).await, None);
    }
}
