//! One connection to a publisher.
//!
//! ```text
//!  ─► greeting   ◄─ greeting   ─► READY   ◄─ READY   ─► subscriptions, PING   ◄─ PONG: they are in force
//!  ◄─ messages ...            ─► PING after a quiet half minute, ◄─ PONG within ten seconds or it is dead
//! ```

use std::{collections::VecDeque, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::frame::{self, Greeting};
use crate::{Endpoint, Error, error::cleaned, rpc};

/// After so much silence the publisher is asked whether it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long its answer may take.
pub const PONG_LIMIT: Duration = Duration::from_secs(10);
/// More parts than any message of bitcoind's: topic, body, number.
const PARTS: usize = 3;
/// Room for what comes, bytes; it grows for a block.
const BUFFER: usize = 1 << 16;
/// Name, how long we may be silent (0: as long as we like), and nothing to be repeated to us.
const PING: &[u8] = b"\x04PING\0\0";

/// A subscription that is in force.
#[derive(Debug)]
pub struct Connection {
    at: Endpoint,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// When anything came last.
    heard: Instant,
    parts: Vec<Vec<u8>>,
    /// Messages that came before the answer to the first PING.
    early: VecDeque<Vec<Vec<u8>>>,
}

enum Heard {
    Message(Vec<Vec<u8>>),
    Pong,
    Ready(Vec<u8>),
}

impl Connection {
    /// Connects and subscribes to all topics that begin with one of `topics`; `limit` for the connection, again for the
    /// first byte, and again for all that follows up to the proof that the subscription is in force.
    pub async fn open(at: &Endpoint, topics: &[&str], limit: Duration) -> Result<Self, Error> {
        let stream = rpc::connect(at, limit).await?;
        let mut connection = Self {
            at: at.clone(),
            stream,
            buffer: Vec::with_capacity(BUFFER),
            heard: Instant::now(),
            parts: Vec::new(),
            early: VecDeque::new(),
        };
        let late =
            |_| Error::Timeout { at: at.clone(), action: "finish the greetings of ZMQ", seconds: limit.as_secs() };
        connection.write(&frame::greeting()).await?;
        // Who does not speak ZMQ shows it with the first byte, or by waiting for more than a greeting.
        let first = match timeout(limit, connection.stream.read_u8()).await {
            Ok(Ok(first @ 0xff)) => first,
            Ok(Ok(_)) => return Err(connection.strange("it greets otherwise")),
            Ok(Err(_)) => return Err(connection.strange("it hangs up on the greeting")),
            Err(_) => return Err(connection.strange("it takes the connection and does not greet")),
        };
        timeout(limit, connection.greet(first, topics)).await.map_err(late)??;
        Ok(connection)
    }

    async fn greet(&mut self, first: u8, topics: &[&str]) -> Result<(), Error> {
        let mut greeting = [first; frame::GREETING];
        self.stream.read_exact(&mut greeting[1..]).await.map_err(|_| self.strange("it greets otherwise"))?;
        match frame::read_greeting(&greeting) {
            Greeting::Welcome => {}
            Greeting::Locked(mechanism) => return Err(Error::Locked { at: self.at.clone(), mechanism }),
            Greeting::Strange(what) => return Err(self.strange(what)),
        }
        self.write(&frame::ready()).await?;
        let Heard::Ready(properties) = self.hear().await? else {
            return Err(self.strange("it does not introduce itself"));
        };
        let kind = frame::socket_type(&properties).unwrap_or_default();
        if !matches!(kind.as_str(), "PUB" | "XPUB") {
            return Err(Error::NotPublisher { at: self.at.clone(), kind });
        }
        for topic in topics {
            self.write(&frame::write(false, &[b"\x01", topic.as_bytes()].concat())).await?;
        }
        // Commands and subscriptions are taken in their order.
        self.write(&frame::write(true, PING)).await?;
        loop {
            match self.hear().await? {
                Heard::Message(message) => self.early.push_back(message),
                Heard::Pong => return Ok(()),
                Heard::Ready(_) => return Err(self.strange("it introduces itself twice")),
            }
        }
    }

    /// The next message, in its parts. Waits for as long as the publisher shows that it lives. A call that was cancelled
    /// loses nothing but perhaps a PING.
    pub async fn next(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        if let Some(message) = self.early.pop_front() {
            return Ok(message);
        }
        let mut asked: Option<Instant> = None;
        loop {
            let deadline = asked.map_or(self.heard + HEARTBEAT, |asked| asked + PONG_LIMIT);
            match timeout_at(deadline, self.hear()).await {
                Ok(Ok(Heard::Message(message))) => return Ok(message),
                Ok(Ok(Heard::Pong)) => asked = None,
                Ok(Ok(Heard::Ready(_))) => return Err(self.strange("it introduces itself twice")),
                Ok(Err(error)) => return Err(error),
                // Bytes of a long message are a sign of life, too.
                Err(_) => match asked {
                    Some(asked) if self.heard <= asked => {
                        let seconds = (HEARTBEAT + PONG_LIMIT).as_secs();
                        return Err(Error::Dead { at: self.at.clone(), seconds });
                    }
                    Some(_) => asked = None,
                    None if self.heard.elapsed() < HEARTBEAT => {}
                    None => {
                        self.write(&frame::write(true, PING)).await?;
                        asked = Some(Instant::now());
                    }
                },
            }
        }
    }

    /// Reads until something is whole. Cancelling it loses nothing: what has come is in the buffer.
    async fn hear(&mut self) -> Result<Heard, Error> {
        loop {
            let taken = frame::take(&mut self.buffer);
            let taken = taken.map_err(|what| Error::MalformedMessage { at: self.at.clone(), what })?;
            let Some(frame) = taken else {
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return Err(Error::Ended { at: self.at.clone() }),
                    Ok(_) => {
                        self.heard = Instant::now();
                        continue;
                    }
                }
            };
            if frame.body.len() > BUFFER {
                // A block comes every ten minutes: its room is given back.
                self.buffer.shrink_to(BUFFER);
            }
            if frame.command {
                if let Some(heard) = self.obey(&frame.body).await? {
                    return Ok(heard);
                }
                continue;
            }
            self.parts.push(frame.body);
            if self.parts.len() > PARTS {
                return Err(Error::MalformedMessage { at: self.at.clone(), what: "a message of too many parts" });
            }
            if !frame.more {
                return Ok(Heard::Message(std::mem::take(&mut self.parts)));
            }
        }
    }

    async fn obey(&mut self, body: &[u8]) -> Result<Option<Heard>, Error> {
        match frame::read_command(body) {
            Some((b"READY", properties)) => Ok(Some(Heard::Ready(properties.to_vec()))),
            Some((b"PONG", _)) => Ok(Some(Heard::Pong)),
            Some((b"PING", rest)) => {
                // Behind how long it will wait stands what it wants to hear again, at most 16 bytes.
                let context = rest.get(2..).unwrap_or_default();
                let pong = [b"\x04PONG", &context[..context.len().min(16)]].concat();
                self.write(&frame::write(true, &pong)).await.map(|()| None)
            }
            // One length byte, then its reason.
            Some((b"ERROR", reason)) => {
                let reason = cleaned(&String::from_utf8_lossy(reason.get(1..).unwrap_or_default()));
                tracing::debug!("{} refuses ZMQ: {reason}", self.at);
                Err(self.strange("it refuses a subscriber"))
            }
            Some(_) => Ok(None),
            None => Err(Error::MalformedMessage { at: self.at.clone(), what: "a command without a name" }),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await.map_err(|_| Error::Ended { at: self.at.clone() })
    }

    fn strange(&self, what: &'static str) -> Error {
        Error::NotZmq { at: self.at.clone(), what }
    }
}
