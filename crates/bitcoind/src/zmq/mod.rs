//! What bitcoind publishes over ZMQ: blocks, transactions and the order of both.
//!
//! ZMTP is spoken here and not by the crate `zeromq`: its 0.7 allocates whatever length a peer announces, so nine bytes
//! of a stranger end the whole program, and it hangs up on a heartbeat. A subscriber needs little of the protocol.

mod frame;
mod message;
mod zmtp;

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use twin::source::Backoff;

use crate::{Endpoint, Error};

pub use message::{Message, News, Sequence, Step, Topic};
pub use zmtp::{Connection, HEARTBEAT, PONG_LIMIT};

/// Limit for the connection, and again for the greetings.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Waits between attempts: from, to.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What happens to a subscription.
#[derive(Debug)]
pub enum Event {
    /// The publisher is there and has our subscription. Whatever happened before went unseen.
    Subscribed(Vec<Topic>),
    News(News),
    /// Messages were sent that did not come: how many, where that can be told.
    Gap {
        topic: Topic,
        missed: Option<u32>,
    },
    /// The connection is gone, a new one will be tried.
    Lost(Vec<Topic>, Error),
}

/// Subscribes to `topics` and follows them through every disconnection, until nobody takes the events any more.
pub async fn follow(at: Endpoint, topics: Vec<Topic>, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    while !events.is_closed() {
        let begun = Instant::now();
        let Err(error) = subscription(&at, &topics, &events, &mut backoff).await;
        if begun.elapsed() > HEARTBEAT {
            backoff.reset();
        }
        if matches!(error, Error::TwinGone) || events.send(Event::Lost(topics.clone(), error)).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(backoff.wait()) => {}
            () = events.closed() => return,
        }
    }
}

/// One connection, until it ends.
async fn subscription(
    at: &Endpoint,
    topics: &[Topic],
    events: &mpsc::Sender<Event>,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, Error> {
    let tell = async |event| events.send(event).await.map_err(|_| Error::TwinGone);
    let names: Vec<&str> = topics.iter().map(|topic| topic.name()).collect();
    let mut connection = Connection::open(at, &names, CONNECT_LIMIT).await?;
    tell(Event::Subscribed(topics.to_vec())).await?;
    let mut numbers = [Sequence::default(); 3];
    loop {
        let message = tokio::select! {
            message = connection.next() => message?,
            () = events.closed() => return Err(Error::TwinGone),
        };
        let message = Message::parse(&message).map_err(|what| Error::MalformedMessage { at: at.clone(), what })?;
        // Only a publisher that makes sense is worth hurrying back to.
        backoff.reset();
        let Some(topic) = message.news.topic() else { continue };
        match numbers[topic as usize].see(message.number) {
            Step::First | Step::Next => {}
            Step::Gap(missed) => tell(Event::Gap { topic, missed: Some(missed) }).await?,
            Step::Back => tell(Event::Gap { topic, missed: None }).await?,
        }
        tell(Event::News(message.news)).await?;
    }
}
