//! The router as a browser meets it.

use std::{fs, path::Path, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use store::Store;
use tempfile::TempDir;
use tower::ServiceExt;
use twin::Twin;

use super::routes::{self, Access};
use crate::{
    access::{factor::Factor, phones::Phones, reset::Reset},
    api::Api,
    claim::Claim,
    copies::Copies,
    fault::Fault,
    limits::Limits,
    node::Node,
    request::Desk,
    session::Sessions,
    setup::{Setup, headers::Shipped},
    shared::{House, Shared},
    sse::Hub,
    tls::{Authority, tests::BUILT},
    updates::{self, Updates},
    wizard::Wizard,
};

pub(crate) const PASSWORD: &str = "correct horse battery";

fn release() -> release::Release {
    release::Release {
        version: "0.1.0".into(),
        board: "x86-64".into(),
        base: "debian".into(),
        built: BUILT,
        lnd_version: "v0.21.2-beta".into(),
        development_keys: true,
        eeprom: None,
    }
}

/// What every page needs, in a folder of its own. The twin is empty and takes no updates.
pub(crate) async fn shared(fault: Option<Fault>) -> (TempDir, Arc<Shared>) {
    let (folder, shared, _) = with_twin(fault).await;
    (folder, shared)
}

async fn with_twin(fault: Option<Fault>) -> (TempDir, Arc<Shared>, twin::Sender) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("manager/request")).unwrap();
    let authority = Authority::open(&folder.path().join("tls"), "attic", BUILT, fault.is_some()).unwrap();
    let claim = Claim::open(&folder.path().join("manager/claim.json")).unwrap();
    let (twin, sender, reader) = Twin::new();
    tokio::spawn(twin.run());
    let run_dir = folder.path().to_owned();
    let shared = Shared {
        release: release(),
        twin: reader,
        claim,
        authority: Arc::new(authority),
        run_dir,
        fault,
        asked: Default::default(),
        again: Default::default(),
        place: Default::default(),
    };
    (folder, Arc::new(shared), sender)
}

/// A box in order, and a browser before it.
pub(crate) struct Visit {
    pub(crate) folder: TempDir,
    pub(crate) house: Arc<House>,
    pub(crate) router: Router,
    pub(crate) twin: twin::Sender,
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn location(&self) -> &str {
        self.headers.get(header::LOCATION).map_or("", |location| location.to_str().unwrap())
    }
}

/// That trust the keys in `keyring.pem`, and know no channel.
pub(crate) async fn updates(store: Store, folder: &Path) -> Updates {
    let [keyring, channel] = ["keyring.pem", "channel.json"].map(|name| folder.join(name));
    Updates::open(store, updates::Places { state_dir: folder.to_owned(), keyring, channel }).await.unwrap()
}

pub(crate) async fn visit() -> Visit {
    visit_with(None).await
}

/// The same with a system that brings headers of a chain.
pub(crate) async fn visit_with(headers: Option<Shipped>) -> Visit {
    let (folder, shared, twin) = with_twin(None).await;
    let store = Store::open(&folder.path().join("manager.db")).unwrap();
    // Nobody listens there.
    let lnd = ([127, 0, 0, 1], 1).into();
    let setup = Setup::open(store.clone(), folder.path().to_owned(), headers).await.unwrap();
    let latest = tokio::sync::watch::Sender::new(None).subscribe();
    let copies = Copies::open(store.clone(), folder.path(), folder.path(), &setup.choices(), latest).await.unwrap();
    let house = Arc::new(House {
        shared,
        sessions: Sessions::load(store.clone()).await.unwrap(),
        limits: Limits::new(),
        wizard: Wizard::open(store.clone()).await.unwrap(),
        hub: Arc::new(Hub::new()),
        setup,
        copies,
        node: Node::new(lnd, lnd, folder.path().to_owned(), folder.path().join("lnd.macaroon")),
        tickets: Default::default(),
        payments: crate::payments::Payments::open(store.clone()).await.unwrap(),
        desk: Desk::default(),
        sender: twin.clone(),
        api: Api::open(store.clone()).await.unwrap(),
        factor: Factor::open(store.clone()).await.unwrap(),
        reset: Arc::new(Reset::open(store.clone(), folder.path()).await.unwrap()),
        phones: Phones::open(store.clone()).await.unwrap(),
        support: Default::default(),
        updates: updates(store.clone(), folder.path()).await,
        store,
    });
    let router = routes::router(house.clone());
    Visit { folder, house, router, twin, cookie: None }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    // A stream of events has no end: what comes at once is enough.
    let is_stream = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let bytes = if is_stream { Default::default() } else { to_bytes(body, 1 << 20).await.unwrap() };
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

impl Visit {
    /// Sends a request as a browser does, and keeps the cookie of the answer.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "homelab.local");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = send(&self.router, request.body(Body::from(form.to_owned())).unwrap()).await;
        if let Some(set) = answer.headers.get(header::SET_COOKIE) {
            self.cookie = Some(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        answer
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, "", &[]).await
    }

    pub(crate) async fn post(&mut self, path: &str, form: &str) -> Answer {
        self.ask(Method::POST, path, form, &[("sec-fetch-site", "same-origin")]).await
    }

    pub(crate) async fn claim(&mut self) {
        let code = self.house.shared.claim.shown();
        assert_eq!(self.post("/claim", &format!("code={code}")).await.location(), "/password");
    }

    /// Claims the box and is signed in.
    pub(crate) async fn own(&mut self) {
        self.claim().await;
        assert_eq!(self.set_password().await.location(), "/setup");
    }

    async fn set_password(&mut self) -> Answer {
        let password = PASSWORD.replace(' ', "+");
        self.post("/password", &format!("password={password}&again={password}")).await
    }

    pub(crate) async fn csrf(&mut self) -> String {
        let page = self.get("/settings").await.text;
        page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }
}

/// Every route with a path one can ask for.
fn walk() -> Vec<(Method, String, Access)> {
    let style = super::assets::STYLE.path.strip_prefix("/static/").unwrap();
    let table = routes::table();
    table.iter().map(|route| (route.method.clone(), route.path.replace("{name}", style), route.access)).collect()
}

#[tokio::test]
async fn without_a_session_every_route_but_the_public_ones_is_closed() {
    for owned in [false, true] {
        let mut visit = visit().await;
        if owned {
            visit.own().await;
            visit.cookie = None;
        }
        let door = if owned { "/sign-in" } else { "/claim" };
        let mut closed = 0;
        for (method, path, access) in walk() {
            let answer = visit.ask(method.clone(), &path, "", &[("sec-fetch-site", "same-origin")]).await;
            if access == Access::Public {
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                continue;
            }
            closed += 1;
            if method == Method::GET && !matches!(access, Access::Key(_) | Access::AnyKey) {
                assert_eq!(answer.status, StatusCode::SEE_OTHER, "{method} {path}");
                assert!(answer.location().starts_with(door), "{method} {path} leads to {}", answer.location());
            } else {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            }
        }
        assert!(closed >= 10, "the table lost its closed routes");
        // What does not exist looks the same from outside, whatever the method.
        assert_eq!(visit.get("/api/v1/nothing").await.status, StatusCode::UNAUTHORIZED);
        for path in ["/nothing", "/home/", "/settings/x", "/static/../settings", "//home"] {
            let answer = visit.get(path).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        }
        for (method, path) in [(Method::DELETE, "/settings"), (Method::PUT, "/claim"), (Method::POST, "/home")] {
            let answer = visit.ask(method.clone(), path, "", &[]).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_made_up_cookie_opens_nothing() {
    let mut visit = visit().await;
    visit.own().await;
    for cookie in ["__Host-homebolt=", "__Host-homebolt=AAAA", "homebolt=AAAA", "__Host-homebolt"] {
        visit.cookie = Some(cookie.into());
        assert_eq!(visit.get("/home").await.location(), "/sign-in", "{cookie}");
    }
}

#[tokio::test]
async fn the_way_from_a_new_box_to_the_home_page_and_out_again() {
    let mut visit = visit().await;
    assert_eq!(visit.get("/").await.location(), "/claim");
    assert_eq!(visit.get("/sign-in").await.location(), "/");
    let wrong = visit.post("/claim", "code=WRONG").await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    assert!(wrong.text.contains("4 tries left"));
    visit.claim().await;
    assert_eq!(visit.get("/claim").await.location(), "/password", "the step is not asked for twice");
    assert_eq!(visit.get("/home").await.location(), "/claim", "the claim session may set the password, nothing else");
    let weak = visit.post("/password", "password=Password1234&again=Password1234").await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!weak.text.contains("Password1234"), "a password never comes back in a page");
    assert!(visit.post("/password", "password=one+two+three+four&again=other").await.text.contains("not the same"));
    assert_eq!(visit.set_password().await.location(), "/setup");
    let home = visit.get("/home").await;
    assert!(home.text.contains("Lightning") && home.text.len() < 12_000, "{} bytes", home.text.len());
    assert_eq!(visit.get("/").await.location(), "/home");
    assert!(visit.get("/audit").await.text.contains("The first password was set"));

    let out = visit.post("/sign-out", "").await;
    assert_eq!(out.location(), "/sign-in");
    assert_eq!(visit.get("/home").await.location(), "/sign-in");
    assert_eq!(
        visit.post("/claim", &format!("code={}", visit.house.shared.claim.shown())).await.location(),
        "/sign-in"
    );
    assert_eq!(visit.get("/audit").await.location(), "/sign-in?next=/audit");
    let wrong = visit.post("/sign-in", "password=wrong").await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let form = format!("password={}&next=/audit", PASSWORD.replace(' ', "+"));
    assert_eq!(visit.post("/sign-in", &form).await.location(), "/audit");
    assert!(visit.get("/audit").await.text.contains("Sign-in refused."));
}

#[tokio::test]
async fn the_session_cookie_is_only_for_this_host_over_https() {
    let mut visit = visit().await;
    let code = visit.house.shared.claim.shown();
    let answer = visit.post("/claim", &format!("code={code}")).await;
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    for part in ["__Host-", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"));
}

#[tokio::test]
async fn five_wrong_codes_close_the_door_for_a_minute() {
    let mut visit = visit().await;
    for _ in 0..4 {
        assert_eq!(visit.post("/claim", "code=WRONG").await.status, StatusCode::FORBIDDEN);
    }
    let code = visit.house.shared.claim.shown();
    for form in ["code=WRONG".to_owned(), format!("code={code}")] {
        let answer = visit.post("/claim", &form).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = answer.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((55..=60).contains(&wait), "{wait}");
        assert!(answer.text.contains("Please wait"));
    }
}

#[tokio::test]
async fn the_sixth_sign_in_in_a_row_waits() {
    let mut visit = visit().await;
    visit.own().await;
    visit.cookie = None;
    for _ in 0..5 {
        assert_eq!(visit.post("/sign-in", "password=wrong").await.status, StatusCode::FORBIDDEN);
    }
    let answer = visit.post("/sign-in", &format!("password={}", PASSWORD.replace(' ', "+"))).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn forms_of_foreign_pages_are_refused() {
    let mut visit = visit().await;
    visit.own().await;
    let csrf = visit.csrf().await;
    let form = format!("csrf={csrf}");
    for headers in [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![("origin", "http://homelab.local:8080")],
    ] {
        let answer = visit.ask(Method::POST, "/settings/sessions", &form, &headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    // No header tells where it comes from: the token must.
    for form in ["", "csrf=", "csrf=AAAA", "other=1"] {
        let answer = visit.ask(Method::POST, "/settings/sessions", form, &[]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{form}");
    }
    let answer = visit.ask(Method::POST, "/settings/sessions", &form, &[]).await;
    assert_eq!(answer.location(), "/settings");
    let answer = visit.ask(Method::POST, "/settings/sessions", "", &[("origin", "https://homelab.local")]).await;
    assert_eq!(answer.location(), "/settings");
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_and_needs_the_old_one() {
    let mut visit = visit().await;
    visit.own().await;
    let first = visit.cookie.clone();
    visit.cookie = None;
    visit.post("/sign-in", &format!("password={}", PASSWORD.replace(' ', "+"))).await;
    let wrong = visit.post("/settings/password", "old=wrong&password=tiny+otter+drums&again=tiny+otter+drums").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let form = format!("old={}&password=tiny+otter+drums&again=tiny+otter+drums", PASSWORD.replace(' ', "+"));
    assert!(visit.post("/settings/password", &form).await.text.contains("The password is changed"));
    assert_eq!(visit.get("/home").await.status, StatusCode::OK);
    visit.cookie = first;
    assert_eq!(visit.get("/home").await.location(), "/sign-in");
    assert_eq!(visit.post("/sign-in", "password=tiny+otter+drums").await.location(), "/home");
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let mut visit = visit().await;
    visit.own().await;
    let mut paths: Vec<String> = walk().into_iter().map(|(_, path, _)| path).collect();
    paths.extend(["/nothing".into(), "/static/nothing.css".into()]);
    for path in paths {
        let answer = visit.get(&path).await;
        let policy = answer.headers.get(header::CONTENT_SECURITY_POLICY).map(|policy| policy.to_str().unwrap());
        assert!(
            policy.is_some_and(|policy| policy.contains("default-src 'none'") && !policy.contains("unsafe")),
            "{path}"
        );
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert!(!answer.headers.contains_key(header::STRICT_TRANSPORT_SECURITY), "{path}");
        let cache = answer.headers[header::CACHE_CONTROL].to_str().unwrap();
        let is_static = answer.status == StatusCode::OK && path.starts_with("/static/");
        assert_eq!(cache, if is_static { "public, max-age=31536000, immutable" } else { "no-store" }, "{path}");
        for inline in [" style=\"", " onclick", " onload", "<style", "<script>"] {
            assert!(!answer.text.contains(inline), "{path} has {inline}");
        }
    }
    assert!(super::assets::SCRIPT.content.len() < 3000, "the script is to be tiny");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let mut visit = visit().await;
    let form = format!("code={}", "A".repeat(super::BODY_LIMIT));
    assert_eq!(visit.post("/claim", &form).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}
