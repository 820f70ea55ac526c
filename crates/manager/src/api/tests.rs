//! The API as a program meets it, without a node behind.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::Value;

use super::{
    keys::{Scope, Wish},
    route::table,
};
use crate::{
    error::now,
    http::{
        routes::{self, Access},
        tests::{Answer, Visit, send, visit},
    },
};

pub(super) async fn key(visit: &Visit, scopes: &[Scope]) -> String {
    let limits = scopes.contains(&Scope::Pay).then_some((1_000_000, 2_000_000));
    let name = format!("test-{}", visit.house.api.keys.list().len());
    let wish = Wish { name, scopes: scopes.to_vec(), expires: None, limits };
    let entry = store::Audit { at: now(), actor: "owner@::1".into(), action: "key-made", detail: String::new() };
    visit.house.api.keys.make(wish, entry).await.unwrap().expose().clone()
}

pub(super) async fn call(visit: &Visit, method: Method, path: &str, token: Option<&str>, body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "homelab.local");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request = request.header("idempotency-key", "test-key-1");
    send(&visit.router, request.body(Body::from(body.to_owned())).unwrap()).await
}

pub(super) fn code(answer: &Answer) -> String {
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{}", answer.text);
    let problem: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(problem["status"], answer.status.as_u16());
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.ends_with('.') || detail.ends_with('\'')),
        "{problem}"
    );
    problem["code"].as_str().unwrap().to_owned()
}

fn path_of(path: &str) -> String {
    path.replace("{key}", "test-key-1")
        .replace("{point}", &format!("{}:0", "ab".repeat(32)))
        .replace("{node}", &"02".repeat(33))
        .replace("{hash}", &"ab".repeat(32))
        .replace("{name}", &"ab".repeat(8))
        .replace("{phone}", "7")
        .replace("{unit}", "lnd.service")
        .replace("{id}", &"ab".repeat(8))
        .replace("{step}", "network")
}

#[tokio::test]
async fn without_a_key_every_route_is_closed_and_says_so_as_a_problem() {
    let mut visit = visit().await;
    visit.own().await;
    let over = Wish { name: "over".into(), scopes: Scope::ALL.to_vec(), expires: Some(now()), limits: None };
    let entry = store::Audit { at: now(), actor: "owner".into(), action: "key-made", detail: String::new() };
    let over = visit.house.api.keys.make(over, entry).await.unwrap().expose().clone();
    for route in table() {
        let path = path_of(route.path);
        for token in [None, Some("hbk_AAAA"), Some(""), Some(over.as_str())] {
            let answer = call(&visit, route.method.clone(), &path, token, "").await;
            let code = code(&answer);
            // Who tries many wrong keys is told to wait.
            assert!(matches!(code.as_str(), "unauthorized" | "rate_limited"), "{} {path}: {code}", route.method);
        }
    }
    // What does not exist is told to nobody without a key.
    for path in ["/api/v1/nothing", "/api/v2/node", "/api/"] {
        assert_eq!(call(&visit, Method::GET, path, None, "").await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

/// A fake root program that says no at once, for as long as the test goes on.
fn refusing_root(run_dir: std::path::PathBuf) {
    tokio::spawn(async move {
        for number in 1_u64.. {
            for request in std::fs::read_dir(run_dir.join("manager/request")).into_iter().flatten().flatten() {
                let _ = std::fs::remove_file(request.path());
                let name = request.file_name().to_string_lossy().into_owned();
                let answer = serde_json::json!({
                    "name": name, "ok": false, "message": "no", "at": 0, "done": true, "number": number,
                });
                let _ = std::fs::write(run_dir.join("request-result.json"), answer.to_string());
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
}

#[tokio::test]
async fn a_key_opens_what_its_scope_says_and_the_missing_scope_is_named() {
    let visit = visit().await;
    refusing_root(visit.folder.path().to_owned());
    for has in Scope::ALL {
        let token = key(&visit, &[has]).await;
        for route in table() {
            let answer = call(&visit, route.method.clone(), &path_of(route.path), Some(&token), "{}").await;
            let is_closed = route.scope().is_some_and(|needed| needed != has);
            assert_eq!(
                answer.status == StatusCode::FORBIDDEN,
                is_closed,
                "{} {}: {}",
                route.method,
                route.path,
                answer.text
            );
            if is_closed {
                assert_eq!(code(&answer), "scope_missing");
                let problem: Value = serde_json::from_str(&answer.text).unwrap();
                assert_eq!(problem["scope"].as_str(), route.scope().map(Scope::name));
            }
            assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn every_route_below_api_is_in_the_table_and_none_is_public() {
    let of_programs =
        routes::table().into_iter().filter(|route| route.path.starts_with("/api/") || route.path == "/metrics");
    let of_programs: Vec<_> = of_programs.collect();
    assert_eq!(of_programs.len(), table().len());
    assert!(of_programs.iter().all(|route| matches!(route.access, Access::Key(_) | Access::AnyKey)));
    // A key is never a way to the pages.
    let visit = visit().await;
    let token = key(&visit, &Scope::ALL).await;
    for path in ["/home", "/settings/keys", "/api"] {
        assert_eq!(call(&visit, Method::GET, path, Some(&token), "").await.status, StatusCode::SEE_OTHER, "{path}");
    }
    let answer = call(&visit, Method::POST, "/settings/keys", Some(&token), "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_reads_and_changes_something_only_from_its_own_page() {
    let mut visit = visit().await;
    visit.own().await;
    let answer = visit.get("/api/v1/key").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(serde_json::from_str::<Value>(&answer.text).unwrap()["kind"], "session");
    for headers in [
        vec![],
        vec![("origin", "https://evil.example")],
        vec![("sec-fetch-site", "cross-site")],
        vec![("x-csrf-token", "AAAA")],
    ] {
        let answer = visit.ask(Method::POST, "/api/v1/system/restart", "", &headers).await;
        assert_eq!((answer.status, code(&answer).as_str()), (StatusCode::FORBIDDEN, "foreign_origin"), "{headers:?}");
    }
    let page = visit.get("/settings").await.text;
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let answer = visit.ask(Method::POST, "/api/v1/system/restart", "", &[("x-csrf-token", &csrf)]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(visit.folder.path().join("manager/request/reboot").exists());
}

#[tokio::test]
async fn bad_input_is_a_problem_with_a_sentence() {
    let visit = visit().await;
    let token = key(&visit, &Scope::ALL).await;
    let post = async |path: &str, body: &str| call(&visit, Method::POST, path, Some(&token), body).await;
    for (path, body, expected) in [
        ("/api/v1/node/invoices", "", "not_json"),
        ("/api/v1/node/invoices", "{", "bad_request"),
        ("/api/v1/node/invoices", "[]", "invalid_value"),
        ("/api/v1/node/invoices", r#"{"amount_msat":1000}"#, "invalid_value"),
        ("/api/v1/node/invoices", r#"{"amount_msat":"0"}"#, "invalid_value"),
        ("/api/v1/node/invoices", r#"{"amonut_msat":"1000"}"#, "invalid_value"),
        ("/api/v1/node/invoices", r#"{"expiry_seconds":5}"#, "invalid_value"),
        ("/api/v1/node/channels", r#"{"peer":"x","amount_sat":"100"}"#, "invalid_value"),
        (
            "/api/v1/node/channels",
            r#"{"peer":"x","amount_sat":"30000","fee":{"blocks":1,"sat_per_vbyte":1}}"#,
            "invalid_value",
        ),
        ("/api/v1/node/peers", r#"{"address":"x"}"#, "invalid_value"),
        ("/api/v1/node/payments/previews", r#"{"to":" "}"#, "invalid_value"),
        ("/api/v1/node/payments/previews", r#"{"to":"x","amount_msat":"1500"}"#, "invalid_value"),
        ("/api/v1/node/payments", r#"{"ticket":"x","amount_msat":"1000"}"#, "not_found"),
        ("/api/v1/node/invoices", "{}", "node_away"),
        ("/api/v1/updates/install", r#"{"from":"stick","version":"0.2.0"}"#, "invalid_value"),
        ("/api/v1/updates/install", r#"{"from":"channel","version":"0.2.0"}"#, "refused"),
        ("/api/v1/updates/restart", "", "refused"),
        ("/api/v1/updates/switch", r#"{"version":"0.0.9"}"#, "refused"),
    ] {
        let answer = post(path, body).await;
        assert_eq!(code(&answer), expected, "{path} {body}: {}", answer.text);
    }
    let get = async |path: &str| call(&visit, Method::GET, path, Some(&token), "").await;
    for (path, expected) in [
        ("/api/v1/audit?limit=0", "invalid_value"),
        ("/api/v1/audit?limit=101", "invalid_value"),
        ("/api/v1/audit?limit=x", "invalid_value"),
        ("/api/v1/audit?limits=3", "invalid_value"),
        ("/api/v1/audit?cursor=x", "invalid_value"),
        ("/api/v1/node/invoices/xyz", "invalid_value"),
        ("/api/v1/requests/never-asked", "not_found"),
        ("/api/v1/nothing", "not_found"),
        ("/api/v1/node/balances", "not_known_yet"),
        ("/api/v1/system/restart", "method_not_allowed"),
    ] {
        let answer = get(path).await;
        assert_eq!(code(&answer), expected, "{path}: {}", answer.text);
    }
    assert_eq!(get("/api/v1/system/restart").await.headers[header::ALLOW], "POST");
    let large = format!(r#"{{"to":"{}"}}"#, "x".repeat(crate::http::BODY_LIMIT));
    assert_eq!(code(&post("/api/v1/node/payments/previews", &large).await), "body_too_large");
    // The largest channel backup fits, and no more than it.
    let restore = |bytes: usize| {
        let backup = "ab".repeat(bytes);
        format!(r#"{{"words":"zoo","backup":"{backup}","old_box_is_off":true}}"#)
    };
    let longest = crate::copies::restore::LONGEST;
    for (bytes, expected) in [(longest, "refused"), (longest + 32 * 1024, "body_too_large")] {
        assert_eq!(code(&post("/api/v1/setup/wallet/restore", &restore(bytes)).await), expected);
    }
    let missing = Request::builder().method(Method::POST).uri("/api/v1/node/payments");
    let missing = missing.header(header::AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).unwrap();
    assert_eq!(code(&send(&visit.router, missing).await), "idempotency_key_missing");
}

#[tokio::test]
async fn the_box_is_told_of_in_json_and_in_figures() {
    let visit = visit().await;
    let token = key(&visit, &[Scope::Read]).await;
    let mut answers = Vec::new();
    for path in [
        "system/health",
        "system/info",
        "system/resources",
        "system/units",
        "system/slots",
        "setup",
        "settings",
        "audit",
        "node/alerts",
        "updates",
        "updates/news",
        "updates/settings",
        "updates/history",
    ] {
        let answer = call(&visit, Method::GET, &format!("/api/v1/{path}"), Some(&token), "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answers.push(serde_json::from_str::<Value>(&answer.text).unwrap());
    }
    assert_eq!(answers[1]["version"], "0.1.0");
    assert_eq!(answers[7]["items"][0]["action"], "key-made");
    let answer = call(&visit, Method::GET, "/metrics", Some(&token), "").await;
    assert!(answer.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "homebolt_lnd_state{state=\"unreachable\"} 1.0",
        "homebolt_http_answer_seconds_count{route=\"/api/v1/system/health\",status=\"2xx\"} 1",
        "# EOF",
    ] {
        assert!(answer.text.contains(line), "{line} is not in\n{}", answer.text);
    }
    assert!(!answer.text.contains("balance"), "what was never read is no zero");
}

#[tokio::test]
async fn updates_are_told_of_set_and_asked_for_as_on_their_page() {
    use crate::updates::tests::{agreeing_root, tell};
    let visit = visit().await;
    let token = key(&visit, &[Scope::Read, Scope::Settings]).await;
    let asked = agreeing_root(visit.folder.path());
    let job =
        twin::updates::Job { version: "0.2.0".into(), stage: twin::updates::Stage::Installed, ..Default::default() };
    let attempt =
        twin::updates::Attempt { version: "0.1.9".into(), evidence: Some("B-1".into()), ..Default::default() };
    let report = twin::updates::Report { job: Some(job), history: vec![attempt], ..Default::default() };
    tell(&visit, twin::Update::Updates(report.into()), |state| state.updates.job.is_some()).await;
    let offer = twin::updates::Offered { version: "0.3.0".into(), ..Default::default() };
    let news = twin::updates::News { answered: 7, offer: Some(offer), ..Default::default() };
    tell(&visit, twin::Update::News(news.into()), |state| state.news.answered == 7).await;
    let ask = async |method, path: &str, body: &str| {
        let answer = call(&visit, method, &format!("/api/v1/updates{path}"), Some(&token), body).await;
        (answer.status, serde_json::from_str::<Value>(&answer.text).unwrap())
    };
    let (_, now) = ask(Method::GET, "", "").await;
    assert_eq!((&now["version"], &now["job"]["stage"]), (&"0.1.0".into(), &"installed".into()));
    let (_, history) = ask(Method::GET, "/history", "").await;
    assert_eq!(history["items"][0]["page"], "/settings/updates/failed/B-1");
    let (_, news) = ask(Method::GET, "/news", "").await;
    assert_eq!(news["answered_at"], "1970-01-01T00:00:07Z");
    let wrong = r#"{"automatic":"install","window_start_hour":24,"window_hours":2}"#;
    assert_eq!(ask(Method::PUT, "/settings", wrong).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let right = r#"{"channel_url":"https://a.example/x","automatic":"install","window_start_hour":4,"window_hours":2}"#;
    let (_, set) = ask(Method::PUT, "/settings", right).await;
    assert_eq!((&set["channel_name"], &set["window_start_hour"]), (&"stable".into(), &4.into()));
    assert_eq!(ask(Method::GET, "/settings", "").await.1, set);
    assert_eq!(ask(Method::POST, "/restart", "").await.0, StatusCode::ACCEPTED);
    assert_eq!(asked.lock().unwrap()[0].0, "update-restart");
    let figures = call(&visit, Method::GET, "/metrics", Some(&token), "").await.text;
    for line in [
        "homebolt_update_stage{stage=\"installed\",version=\"0.2.0\"} 1.0",
        "homebolt_update_offered{version=\"0.3.0\"} 1.0",
        "homebolt_channel_answered_time_seconds 7.0",
    ] {
        assert!(figures.contains(line), "{line} is not in {figures}");
    }
}

#[tokio::test]
async fn the_api_and_the_home_page_tell_of_the_same_alerts() {
    let mut visit = visit().await;
    visit.own().await;
    let resources = twin::Resources {
        data_total: 1_000,
        data_available: 9,
        clock_set: Some(false),
        uptime_seconds: 9_999,
        ..Default::default()
    };
    let copies = twin::copies::Copies {
        target: Some("a place".into()),
        pending: Some(twin::copies::Pending { since: 7, channels: 1, attempts: 3, next_try: None }),
        error: Some("the <server> says no".into()),
        ..Default::default()
    };
    visit.twin.send(twin::Update::Resources(resources)).await.unwrap();
    visit.twin.send(twin::Update::Lnd(twin::Lnd { state: twin::LndState::Locked, since: 7 })).await.unwrap();
    visit.twin.send(twin::Update::Copies(copies)).await.unwrap();
    while visit.house.shared.twin.state().copies.target.is_none() {
        tokio::task::yield_now().await;
    }
    let page = visit.get("/home").await.text;
    let told: Value = serde_json::from_str(&visit.get("/api/v1/node/alerts").await.text).unwrap();
    let told = told["items"].as_array().unwrap();
    let names: Vec<&str> = told.iter().map(|alert| alert["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["clock", "backup-late", "locked", "disk"]);
    let shown: Vec<&str> = page.split("id=\"alert-").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(shown, names, "the page shows others");
    for alert in told {
        assert!(page.contains(&*maud::html! { (alert["title"].as_str().unwrap()) }.into_string()), "{alert}");
        assert!(alert["severity"] == "failing" && !alert["detail"].as_str().unwrap().is_empty(), "{alert}");
    }
    let figures = visit.get("/metrics").await.text;
    assert!(figures.contains("homebolt_alerts{severity=\"failing\"} 4.0"), "{figures}");
    assert!(figures.contains("homebolt_backup_pending 1.0") && !figures.contains("homebolt_backup_saved_age"));
}

#[tokio::test]
async fn page_restart_health_and_figures_tell_the_same_reasons_against_a_restart() {
    let mut visit = visit().await;
    visit.own().await;
    let channels = twin::node::Channels { closing: vec![twin::node::Closing::default()], ..Default::default() };
    for update in [
        twin::Update::Lnd(twin::Lnd { state: twin::LndState::ServerActive, since: 7 }),
        twin::Update::Info(twin::node::Info::default()),
        twin::Update::Htlcs(vec![twin::node::Htlc { blocks_left: 9, ..Default::default() }]),
        twin::Update::Channels(channels),
    ] {
        visit.twin.send(update).await.unwrap();
    }
    while visit.house.shared.twin.state().node.channels.since.is_none() {
        tokio::task::yield_now().await;
    }
    let health: Value = serde_json::from_str(&visit.get("/api/v1/system/health").await.text).unwrap();
    let restart = &health["restart"];
    assert_eq!((&restart["light"], &restart["reasons"][0]["name"]), (&"risk".into(), &"htlcs".into()));
    assert_eq!((&restart["reasons"][0]["blocks_left"], &restart["reasons"][1]["name"]), (&9.into(), &"closing".into()));
    for path in ["/home", "/restart"] {
        let page = visit.get(path).await.text;
        assert!(page.contains("Do not restart now"), "{page}");
        for reason in restart["reasons"].as_array().unwrap() {
            assert!(page.contains(reason["detail"].as_str().unwrap()), "{reason} is not in\n{page}");
        }
    }
    let figures = visit.get("/metrics").await.text;
    for line in [
        "homebolt_restart_light 2.0",
        "homebolt_restart_reason{reason=\"htlcs\"} 2.0",
        "homebolt_restart_reason{reason=\"closing\"} 1.0",
        "homebolt_restart_reason{reason=\"backup_late\"} 0.0",
    ] {
        assert!(figures.contains(line), "{line} is not in\n{figures}");
    }
}

#[tokio::test]
async fn a_key_is_made_on_the_page_shown_once_and_revoked() {
    let mut visit = visit().await;
    visit.own().await;
    let refused = visit.post("/settings/keys", "name=shop&pay=yes").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("value=\"shop\"") && refused.text.contains("both limits"), "{}", refused.text);
    let made = visit.post("/settings/keys", "name=shop&pay=yes&payment=1000&day=5000&days=30").await.text;
    let token =
        made.split("id=\"made-key\"").nth(1).unwrap().split('>').nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(token.starts_with("hbk_"));
    let page = visit.get("/settings/keys").await.text;
    assert!(page.contains("shop") && !page.contains("hbk_"), "it is shown once");
    let answer = call(&visit, Method::GET, "/api/v1/key", Some(&token), "").await;
    let key: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!((&key["payment_max_msat"], &key["day_max_msat"]), (&"1000000".into(), &"5000000".into()));
    assert!(visit.get("/api").await.text.contains("/api/v1/node/payments"));
    visit.post("/settings/keys/revoke", "id=1").await;
    assert_eq!(call(&visit, Method::GET, "/api/v1/key", Some(&token), "").await.status, StatusCode::UNAUTHORIZED);
    let audit = visit.get("/audit").await.text;
    assert!(audit.contains("Key for a program made.") && audit.contains("Key of a program withdrawn."), "{audit}");
}

#[tokio::test]
async fn a_caller_without_pause_is_told_to_wait() {
    let visit = visit().await;
    let token = key(&visit, &[Scope::Read]).await;
    let mut waits = 0;
    for _ in 0..400 {
        let answer = call(&visit, Method::GET, "/api/v1/setup", Some(&token), "").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.headers.contains_key(header::RETRY_AFTER));
            waits += 1;
        }
    }
    assert!(waits > 0);
    let other = key(&visit, &[Scope::Read]).await;
    assert_eq!(call(&visit, Method::GET, "/api/v1/setup", Some(&other), "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_rate_is_told_with_its_age_and_where_there_is_none_that_is_told() {
    let visit = visit().await;
    let token = key(&visit, &[Scope::Read]).await;
    let get = async || call(&visit, Method::GET, "/api/v1/rate", Some(&token), "").await;
    assert_eq!(code(&get().await), "not_found");
    let tell = async |at: u64| {
        let rate = twin::fiat::Rate { currency: "EUR".into(), hundredths: 8_012_345, source: "kraken".into(), at };
        let money = twin::Money { rate: Some(rate), ..twin::Money::default() };
        visit.twin.send(twin::Update::Money(money)).await.unwrap();
        let told = |state: &twin::State| state.money.rate.as_ref().is_some_and(|rate| rate.at == at);
        while !told(&visit.house.shared.twin.state()) {
            tokio::task::yield_now().await;
        }
        serde_json::from_str::<Value>(&get().await.text).unwrap()
    };
    let fresh = tell(now()).await;
    assert_eq!((&fresh["currency"], &fresh["bitcoin_hundredths"]), (&"EUR".into(), &"8012345".into()));
    assert_eq!(fresh["stale"], false);
    assert_eq!(tell(now() - 3_600).await["stale"], true);
}
