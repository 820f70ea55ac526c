//! Server-sent events: one task renders what changed, all open pages get the same text.
//!
//! A topic is rendered at most once a second however often it changes, and only while somebody looks. A page that
//! connects gets every fragment once, so nothing falls between the page and its stream.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{self, Instant},
};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use twin::Topic;

use crate::{
    language::{self, Manner},
    pages::home::Fragment,
    session::Current,
    shared::{House, Shared},
};

/// Each topic at most once in this time.
const PACE: Duration = Duration::from_secs(1);
/// A comment keeps the connection open through routers that forget idle ones.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A rendered fragment. Cheap to clone.
type Message = (Fragment, Arc<str>);

pub(crate) struct Hub {
    messages: broadcast::Sender<Message>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { messages: broadcast::Sender::new(32) }
    }

    /// Renders changes until the twin is gone.
    pub(crate) async fn run(&self, shared: Arc<Shared>) {
        let mut changes = shared.twin.changes();
        let mut due: BTreeSet<Topic> = BTreeSet::new();
        let mut last: [Option<Arc<str>>; Fragment::ALL.len()] = Default::default();
        let mut next = Instant::now();
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(topic) => { due.insert(topic); }
                    Err(RecvError::Lagged(_)) => due.extend(Fragment::ALL.iter().flat_map(|fragment| fragment.topics())),
                    Err(RecvError::Closed) => return,
                },
                () = time::sleep_until(next), if !due.is_empty() => {
                    next = Instant::now() + PACE;
                    let topics = std::mem::take(&mut due);
                    if self.messages.receiver_count() == 0 {
                        // Who comes later gets everything anyway.
                        last = Default::default();
                        continue;
                    }
                    let state = shared.twin.state();
                    for (fragment, last) in Fragment::ALL.into_iter().zip(&mut last) {
                        if fragment.topics().iter().any(|topic| topics.contains(topic)) {
                            let html: Arc<str> = text(fragment, &state, &shared).into();
                            if last.as_ref() != Some(&html) {
                                *last = Some(html.clone());
                                let _ = self.messages.send((fragment, html));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The stream of one page. It ends with the session, whether that is ended or runs out.
pub(crate) fn stream(house: Arc<House>, current: Current) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let messages = BroadcastStream::new(house.hub.messages.subscribe());
    let all = {
        let shared = house.shared.clone();
        move || {
            let state = shared.twin.state();
            stream::iter(Fragment::ALL.map(|fragment| event(fragment, &text(fragment, &state, &shared))))
        }
    };
    let first = all();
    let changes = messages.flat_map(move |message| match message {
        Ok((fragment, html)) => stream::iter(vec![event(fragment, &html)]).left_stream(),
        Err(BroadcastStreamRecvError::Lagged(_)) => all().right_stream(),
    });
    let events = first.chain(changes).take_until(end(house, current)).chain(stream::iter([bye()])).map(Ok);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Resolves when the session is ended, or has run out.
pub(crate) async fn end(house: Arc<House>, current: Current) {
    let Some(mut ended) = house.sessions.watch(&current.id) else { return };
    while house.sessions.is_live(&current.id) {
        // `changed` fails when the session is dropped; time running out has to be asked for.
        if matches!(time::timeout(KEEP_ALIVE, ended.changed()).await, Ok(Err(_))) {
            return;
        }
    }
}

/// A fragment in the language of the box: all open pages get the same text.
fn text(fragment: Fragment, state: &twin::State, shared: &Shared) -> String {
    language::writing(Manner::of_box(shared), || fragment.render(state, &shared.release).into_string())
}

fn event(fragment: Fragment, html: &str) -> Event {
    Event::default().event(fragment.id()).data(html)
}

/// Tells the page that it is signed out.
fn bye() -> Event {
    Event::default().event("bye").data("")
}
