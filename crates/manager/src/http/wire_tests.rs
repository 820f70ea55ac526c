//! What only shows on a real connection or in an open stream: TLS, both HTTP versions, shutdown, events.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::ServiceExt;
use twin::{Lnd, LndState, Resources, Update};

use super::tests::{Visit, visit};
use crate::{
    pages::home::Fragment,
    tls::{self, Keeper, Names, tests::BUILT},
};

struct Server {
    visit: Visit,
    keeper: Arc<Keeper>,
    address: SocketAddr,
    stop: watch::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), crate::error::Error>>,
}

async fn server() -> Server {
    let visit = visit().await;
    let shared = visit.house.shared.clone();
    let names = Names::of_box(&shared.authority, &shared.twin.state().network);
    let folder = visit.folder.path().join("tls");
    let keeper = Arc::new(Keeper::open(&folder, shared.authority.clone(), &names, BUILT).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(());
    let config = tls::server_config(&keeper).unwrap();
    let task = tokio::spawn(super::serve(listener, Some(config), visit.router.clone(), stopped));
    Server { visit, keeper, address, stop, task }
}

impl Server {
    /// Connects as a browser that trusts the box's authority, calling it `name`.
    async fn connect(&self, name: &str, protocol: &str) -> Result<TlsStream<TcpStream>, std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.visit.house.shared.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn get(&self, protocol: &str, path: &str) -> (StatusCode, String) {
        let stream = TokioIo::new(self.connect("homelab.local", protocol).await.unwrap());
        let request = Request::get(format!("https://homelab.local{path}")).header(header::HOST, "homelab.local");
        let request = request.body(Body::empty()).unwrap();
        let response = if protocol == "h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn both_http_versions_answer_over_tls() {
    let server = server().await;
    for protocol in ["h2", "http/1.1"] {
        let (status, text) = server.get(protocol, "/healthz").await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, r#"{"status":"ok","ready":true}"#), "{protocol}");
        let (_, claim) = server.get(protocol, "/claim").await;
        assert!(claim.contains("Make this box yours"), "{protocol}");
    }
    drop(server.stop);
    timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_new_address_is_in_the_next_handshake_without_a_restart() {
    let server = server().await;
    assert!(server.connect("192.168.7.9", "h2").await.is_err());
    let keeper = server.keeper.clone();
    let twin = server.visit.house.shared.twin.clone();
    tokio::spawn(keeper.run(twin));
    let interface = twin::Interface { addresses: vec!["192.168.7.9".parse().unwrap()], ..Default::default() };
    let network = twin::Network { host_name: "attic".into(), interfaces: vec![interface], ..Default::default() };
    server.visit.twin.send(Update::Network(network)).await.unwrap();
    let begun = Instant::now();
    while server.connect("192.168.7.9", "h2").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the certificate does not follow the address");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.connect("homelab.local", "h2").await.unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections() {
    let server = server().await;
    let _idle = server.connect("homelab.local", "http/1.1").await.unwrap();
    let Server { stop, task, .. } = server;
    drop(stop);
    timeout(Duration::from_secs(6), task).await.unwrap().unwrap().unwrap();
}

struct Events {
    body: Body,
}

impl Events {
    async fn open(visit: &Visit) -> Self {
        let request = Request::get("/events").header(header::COOKIE, visit.cookie.as_deref().unwrap());
        let request = request.body(Body::empty()).unwrap();
        let response = visit.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body() }
    }

    /// The next event's name and its text, or `None` at the end of the stream.
    async fn next(&mut self, limit: Duration) -> Option<(String, String)> {
        let frame = timeout(limit, self.body.frame()).await.expect("no event in time")?;
        let text = String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap();
        let name = text.lines().find_map(|line| line.strip_prefix("event: ")).unwrap_or_default().to_owned();
        Some((name, text))
    }
}

async fn streaming() -> (Visit, Events) {
    let mut visit = visit().await;
    visit.own().await;
    let (hub, shared) = (visit.house.hub.clone(), visit.house.shared.clone());
    tokio::spawn(async move { hub.run(shared).await });
    let mut events = Events::open(&visit).await;
    let mut first = Vec::new();
    for _ in Fragment::ALL {
        first.push(events.next(Duration::from_secs(5)).await.unwrap().0);
    }
    assert_eq!(first, Fragment::ALL.map(Fragment::id), "everything comes once at first");
    (visit, events)
}

#[tokio::test]
async fn a_change_reaches_the_page_and_many_changes_reach_it_once_a_second() {
    let (visit, mut events) = streaming().await;
    visit.twin.send(Update::Lnd(Lnd { state: LndState::Locked, since: 7 })).await.unwrap();
    // The alert above the cards and all cards that say since when they are old come with it.
    let text = loop {
        let (name, text) = events.next(Duration::from_secs(5)).await.unwrap();
        if name == "lnd" {
            break text;
        }
    };
    assert!(text.contains("Wallet locked"), "{text}");

    let begun = Instant::now();
    let mut seen = 0;
    for uptime_seconds in (60..).step_by(60).take(30) {
        visit.twin.send(Update::Resources(Resources { uptime_seconds, ..Default::default() })).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        while let Ok(Some((name, _))) = timeout(Duration::from_millis(1), events.next(Duration::from_secs(1))).await {
            seen += usize::from(name == "resources");
        }
    }
    let seconds = begun.elapsed().as_secs() as usize + 1;
    assert!(seen >= 1 && seen <= seconds, "{seen} messages in {seconds} s");
}

#[tokio::test]
async fn the_stream_says_good_bye_and_ends_with_the_session() {
    let (mut visit, mut events) = streaming().await;
    visit.post("/sign-out", "").await;
    let (name, _) = events.next(Duration::from_secs(5)).await.unwrap();
    assert_eq!(name, "bye");
    assert!(events.next(Duration::from_secs(5)).await.is_none());
}
