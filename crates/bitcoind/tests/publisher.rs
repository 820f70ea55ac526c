//! The subscriber against a fake publisher that does what no sound one does. Real ones are met in the test group
//! `bitcoind`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy takes only marked functions for tests")]

use std::time::Duration;

use bitcoind::{
    Endpoint, Error,
    zmq::{Connection, Event, News, Topic, follow},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const LIMIT: Duration = Duration::from_secs(5);

fn greeting(mechanism: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    (bytes[0], bytes[9], bytes[10]) = (0xff, 0x7f, 3);
    bytes[12..12 + mechanism.len()].copy_from_slice(mechanism);
    bytes
}

fn ready(kind: &[u8]) -> Vec<u8> {
    let body = [b"\x05READY\x0bSocket-Type\0\0\0", &[kind.len() as u8][..], kind].concat();
    [&[4, body.len() as u8][..], &body].concat()
}

fn message(parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    let frame = |(at, part): (usize, &&[u8])| [&[u8::from(at < last), part.len() as u8][..], part].concat();
    parts.iter().enumerate().flat_map(frame).collect()
}

fn block(number: u32) -> Vec<u8> {
    message(&[b"rawblock", &[0; 90], &number.to_le_bytes()])
}

const PONG: &[u8] = b"\x04\x05\x04PONG";

/// Serves each connection with these bytes, once the subscriber has said all of its own, and keeps it open.
async fn fake_publisher(words: Vec<u8>) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, words.clone()));
        }
    });
    at
}

async fn serve(mut stream: TcpStream, words: Vec<u8>) {
    stream.write_all(&words).await.unwrap();
    let mut ignored = [0; 1024];
    while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
}

fn well_met() -> Vec<u8> {
    [greeting(b"NULL"), ready(b"PUB"), PONG.to_vec()].concat()
}

async fn refused(words: Vec<u8>) -> Error {
    let at = fake_publisher(words).await;
    Connection::open(&at, &["rawblock"], LIMIT).await.unwrap_err()
}

#[tokio::test]
async fn who_is_no_publisher_is_told_by_its_greeting() {
    assert!(matches!(refused(b"HTTP/1.1 400 Bad Request\r\n".to_vec()).await, Error::NotZmq { .. }));
    let locked = refused(greeting(b"CURVE")).await;
    assert!(matches!(locked, Error::Locked { mechanism, .. } if mechanism == "CURVE"));
    let reply = refused([greeting(b"NULL"), ready(b"REP")].concat()).await;
    assert!(matches!(reply, Error::NotPublisher { kind, .. } if kind == "REP"));
    let refusing = [greeting(b"NULL"), b"\x04\x0a\x05ERROR\x03no!".to_vec()].concat();
    assert!(matches!(refused(refusing).await, Error::NotZmq { .. }));
}

#[tokio::test]
async fn malformed_frames_end_the_connection_and_not_the_program() {
    let huge = b"\x02\x40\0\0\0\0\0\0\0".to_vec();
    let parts = message(&[b"a", b"b", b"c", b"d"]);
    for wrong in [huge, parts, b"\x08\x00".to_vec(), b"\x04\x01\x09".to_vec()] {
        let at = fake_publisher([well_met(), wrong].concat()).await;
        let mut connection = Connection::open(&at, &["rawblock"], LIMIT).await.unwrap();
        let error = connection.next().await.unwrap_err();
        assert!(matches!(error, Error::MalformedMessage { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn gaps_are_told_across_the_wrap_and_a_malformed_message_leads_to_a_new_connection() {
    let numbers = [u32::MAX - 1, u32::MAX, 0, 3, 1];
    let blocks: Vec<u8> = numbers.into_iter().flat_map(block).collect();
    let at = fake_publisher([well_met(), blocks, message(&[b"rawblock", b"short", &[0; 4]])].concat()).await;
    let (sender, mut events) = mpsc::channel(64);
    let task = tokio::spawn(follow(at, vec![Topic::RawBlock], sender));
    for round in 0..2 {
        let mut seen = Vec::new();
        loop {
            match events.recv().await.unwrap() {
                Event::Subscribed(topics) => assert_eq!(topics, [Topic::RawBlock]),
                Event::News(news) => assert_eq!(news, News::Block),
                Event::Gap { missed, .. } => seen.push(missed),
                Event::Lost(_, error) => {
                    assert!(matches!(error, Error::MalformedMessage { .. }), "{error:?}");
                    break;
                }
            }
        }
        assert_eq!(seen, [Some(2), None], "round {round}: two were lost, then the count went back");
    }
    drop(events);
    tokio::time::timeout(LIMIT, task).await.expect("it goes on for nobody").unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_answers_no_heartbeat_is_given_up() {
    let at = fake_publisher(well_met()).await;
    let mut connection = Connection::open(&at, &["rawblock"], LIMIT).await.unwrap();
    let error = connection.next().await.unwrap_err();
    assert!(matches!(error, Error::Dead { seconds: 40, .. }), "{error:?}");
}
