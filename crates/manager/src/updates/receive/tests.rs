use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use futures_util::{FutureExt, StreamExt, stream};
use release::Purpose;

use super::*;
use crate::{
    http::tests::{Answer, Visit, send},
    updates::tests::{Publisher, described, described_as, room, trusting},
};

const BOUNDARY: &str = "----homebolt";

fn head(name: &str) -> Vec<u8> {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n").into_bytes()
}

fn form(description: &[u8], bundle: &[u8]) -> Vec<u8> {
    let end = format!("\r\n--{BOUNDARY}--\r\n").into_bytes();
    [head("description"), description.to_vec(), b"\r\n".to_vec(), head("bundle"), bundle.to_vec(), end].concat()
}

fn request(visit: &Visit, body: Body) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(crate::http::UPLOAD);
    let request = request
        .header(header::HOST, "homelab.local")
        .header("sec-fetch-site", "same-origin")
        .header(header::COOKIE, visit.cookie.as_deref().unwrap())
        .header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"));
    request.body(body).unwrap()
}

async fn upload(visit: &Visit, body: Body) -> Answer {
    send(&visit.router, request(visit, body)).await
}

/// What is in the folder of updates.
fn there(visit: &Visit) -> Vec<String> {
    let entries = fs::read_dir(visit.folder.path().join("update")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn failed(visit: &Visit) -> String {
    match visit.house.updates.upload() {
        Upload::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bundle_that_is_what_its_description_says_is_kept_and_offered_also_after_a_restart() {
    let publisher = Publisher::new();
    let mut visit = trusting(&publisher).await;
    let bundle = vec![7; 700_000];
    let description = publisher.sign(Purpose::Update, &described("0.2.0", &bundle));
    let answer = upload(&visit, Body::from(form(&description, &bundle))).await;
    assert_eq!(answer.location(), "/settings/updates", "{}", answer.text);
    assert_eq!(there(&visit), [WHOLE, DESCRIBED]);
    assert_eq!(fs::read(visit.folder.path().join("update").join(WHOLE)).unwrap(), bundle);
    assert!(visit.get("/settings/updates").await.text.contains("Install 0.2.0"));
    let again = crate::http::tests::updates(visit.house.store.clone(), visit.folder.path()).await;
    assert!(matches!(again.upload(), Upload::Ready(update) if update.release.version == "0.2.0"));
    visit.post("/settings/updates/discard", "").await;
    assert!(there(&visit).is_empty() && !visit.get("/settings/updates").await.text.contains("Install 0.2.0"));
}

#[tokio::test]
async fn no_more_than_a_piece_or_two_of_a_large_bundle_is_ever_on_its_way() {
    let publisher = Publisher::new();
    let visit = trusting(&publisher).await;
    let (piece, pieces) = (vec![1_u8; 64 * 1024], 512_u64);
    let mut hash = Sha256::new();
    (0..pieces).for_each(|_| hash.update(&piece));
    let size = pieces * piece.len() as u64;
    let update = described_as("0.2.0", size, &hex::encode(hash.finalize()));
    let description = publisher.sign(Purpose::Update, &update);
    let whole = form(&description, b"");
    let (begin, end) = whole.split_at(whole.len() - BOUNDARY.len() - 8);
    // A sender that always has the next piece ready; it notes how far it was ever ahead of the disk.
    let (given, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let part = visit.folder.path().join("update").join(PART);
    let body = {
        let (given, most, piece) = (given.clone(), most.clone(), Bytes::from(piece));
        stream::iter(0..pieces).map(move |_| {
            let written = fs::metadata(&part).map_or(0, |about| about.len());
            let ahead = given.fetch_add(piece.len() as u64, Ordering::Relaxed).saturating_sub(written);
            most.fetch_max(ahead, Ordering::Relaxed);
            Ok::<_, std::io::Error>(piece.clone())
        })
    };
    let one = |bytes: &[u8]| stream::iter([Ok(Bytes::copy_from_slice(bytes))]);
    let body = one(begin).chain(body).chain(one(end));
    let answer = upload(&visit, Body::from_stream(body)).await;
    assert_eq!(answer.location(), "/settings/updates", "{}", answer.text);
    assert_eq!(given.load(Ordering::Relaxed), size);
    let most = most.load(Ordering::Relaxed);
    assert!(most > 0 && most <= 2 * PIECE as u64, "{most} bytes were in memory");
}

#[tokio::test]
async fn a_line_that_is_cut_leaves_no_part_behind_and_a_sentence() {
    let publisher = Publisher::new();
    let mut visit = trusting(&publisher).await;
    let bundle = vec![7; 600_000];
    let whole = form(&publisher.sign(Purpose::Update, &described("0.2.0", &bundle)), &bundle);
    let begin = Bytes::copy_from_slice(&whole[..400_000]);
    // As the server sees it: an error in the body, or its end before that of the form.
    let broken = std::io::Error::from(io::ErrorKind::ConnectionReset);
    for end in [Some(broken), None] {
        let body = stream::iter([Ok(begin.clone())].into_iter().chain(end.map(Err)));
        let answer = upload(&visit, Body::from_stream(body)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(there(&visit).is_empty() && failed(&visit).contains("cut"));
    }
    // Or nobody is there any more who could be answered.
    let body = stream::iter([Ok::<_, io::Error>(begin)]).chain(stream::pending());
    let (router, asked) = (visit.router.clone(), request(&visit, Body::from_stream(body)));
    let task = tokio::spawn(async move { send(&router, asked).await.status });
    while !visit.folder.path().join("update").join(PART).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    task.abort();
    assert!(task.await.is_err());
    assert!(there(&visit).is_empty() && failed(&visit).contains("cut"));
    assert!(visit.get("/settings/updates").await.text.contains("The line was cut"));
}

#[tokio::test]
async fn only_one_bundle_comes_at_a_time() {
    let publisher = Publisher::new();
    let visit = trusting(&publisher).await;
    let coming = Coming::begin(&visit.house).unwrap();
    let bundle = b"bundle";
    let whole = form(&publisher.sign(Purpose::Update, &described("0.2.0", bundle)), bundle);
    let answer = upload(&visit, Body::from(whole.clone())).await;
    assert!(answer.status == StatusCode::UNPROCESSABLE_ENTITY && answer.text.contains("Another upload"));
    drop(coming);
    assert_eq!(upload(&visit, Body::from(whole)).await.location(), "/settings/updates");
}

#[tokio::test]
async fn what_may_not_be_installed_is_refused_before_anything_is_written() {
    let publisher = Publisher::new();
    let visit = trusting(&publisher).await;
    let bundle = vec![7; 300_000];
    let good = described("0.2.0", &bundle);
    let wrong_board = {
        let mut update = good.clone();
        update.release.board = "rpi".into();
        update
    };
    for (description, why) in [
        (Publisher::new().sign(Purpose::Update, &good), "does not trust"),
        (publisher.sign(Purpose::Channel, &good), "does not fit"),
        (publisher.sign(Purpose::Update, &wrong_board), "this box is x86-64"),
        (b"{}".to_vec(), "not a signed document"),
        (vec![b' '; DESCRIPTION + 1], "Choose both files"),
        (vec![], "Choose both files"),
    ] {
        let answer = upload(&visit, Body::from(form(&description, &bundle))).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text.contains(why), "{why} is not in {}", answer.text);
        assert!(there(&visit).is_empty());
    }
    let reversed = [head("bundle"), bundle, format!("\r\n--{BOUNDARY}--\r\n").into_bytes()].concat();
    assert!(upload(&visit, Body::from(reversed)).await.text.contains("Choose both files"));
}

#[tokio::test]
async fn another_bundle_than_the_one_described_is_not_kept() {
    let publisher = Publisher::new();
    let visit = trusting(&publisher).await;
    let bundle = vec![7; 300_000];
    let description = publisher.sign(Purpose::Update, &described("0.2.0", &bundle));
    let mut changed = bundle.clone();
    changed[250_000] ^= 1;
    for wrong in [changed, bundle[1..].to_vec(), [bundle.clone(), vec![0]].concat(), vec![]] {
        let answer = upload(&visit, Body::from(form(&description, &wrong))).await;
        assert!(answer.status == StatusCode::UNPROCESSABLE_ENTITY && there(&visit).is_empty());
        assert!(failed(&visit).contains("not the one that the description means"));
    }
}

#[tokio::test]
async fn a_bundle_for_which_there_is_no_room_is_refused_at_once() {
    let publisher = Publisher::new();
    let visit = trusting(&publisher).await;
    let bundle = vec![7; 300_000];
    let description = publisher.sign(Purpose::Update, &described("0.2.0", &bundle));
    room(&visit, RESERVE + 299_999).await;
    let answer = upload(&visit, Body::from(form(&description, &bundle))).await;
    assert!(answer.status == StatusCode::UNPROCESSABLE_ENTITY && there(&visit).is_empty());
    assert!(failed(&visit).contains("Make room"), "{}", failed(&visit));
    room(&visit, RESERVE + 300_000).await;
    assert_eq!(upload(&visit, Body::from(form(&description, &bundle))).await.location(), "/settings/updates");
}

#[test]
fn a_disk_that_becomes_full_meanwhile_is_told_as_such() {
    let mut sink = Sink::open(Path::new("/dev/full"), 10).unwrap();
    assert!(sink.write(b"12345").unwrap_err().words().contains("became full"));
}

#[test]
fn a_stream_rests_after_each_piece() {
    let mut sips = Sips { stream: stream::iter([1, 2]), rest: false };
    let polls: Vec<_> = (0..4).map(|_| sips.next().now_or_never()).collect();
    assert_eq!(polls, [Some(Some(1)), None, Some(Some(2)), None]);
}
