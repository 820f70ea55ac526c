//! The recovery pages: what is shown, and what it takes to have something done.

use std::fs;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{
    routes,
    tests::{send, shared},
};
use crate::fault::{Fault, FaultKind};

fn fault(kind: FaultKind, serial: &str) -> Fault {
    Fault {
        kind,
        detail: "an NTFS file system named Holidays".into(),
        serial: serial.into(),
        model: "Stick".into(),
        aside: None,
    }
}

#[tokio::test]
async fn with_unusable_data_every_page_is_the_recovery_page() {
    let (_folder, shared) = shared(Some(fault(FaultKind::Foreign, "S1"))).await;
    let router = routes::recovery_router(shared.clone());
    for path in ["/", "/claim", "/sign-in", "/home", "/password", "/nothing"] {
        let answer = send(&router, Request::builder().uri(path).body(Body::empty()).unwrap()).await;
        assert!(answer.text.contains("NTFS") && answer.text.contains("Erase and start empty"), "{path}");
        assert!(!answer.text.contains("Check and repair"), "a foreign partition is not repaired");
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
        assert_eq!(answer.status.is_success(), path == "/", "{path}");
    }
    let health = send(&router, Request::builder().uri("/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!((health.status, health.text.as_str()), (StatusCode::OK, r#"{"status":"ok","ready":true}"#));
}

#[tokio::test]
async fn nothing_is_erased_without_code_and_serial_number() {
    let (folder, shared) = shared(Some(fault(FaultKind::Foreign, "S1"))).await;
    let router = routes::recovery_router(shared.clone());
    let post = async |form: String| {
        let request = Request::post("/recovery")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(Body::from(form));
        send(&router, request.unwrap()).await
    };
    let requests = || -> Vec<String> {
        let entries = fs::read_dir(folder.path().join("manager/request")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let code = shared.claim.shown();
    for (form, status) in [
        (format!("action=data-format&code={code}&confirm=ERASE"), StatusCode::UNPROCESSABLE_ENTITY),
        ("action=data-format&code=WRONG&confirm=S1".into(), StatusCode::FORBIDDEN),
        (format!("action=data-repair&code={code}"), StatusCode::BAD_REQUEST),
        (format!("action=rm&code={code}"), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(post(form.clone()).await.status, status, "{form}");
        assert_eq!(requests(), Vec::<String>::new(), "{form}");
    }
    assert_eq!(post(format!("action=data-format&code={code}&confirm=S1")).await.location(), "/");
    assert_eq!(requests(), ["data-format"]);
    // As homebolt-boot compares it once more: the plain serial number.
    assert_eq!(fs::read_to_string(folder.path().join("manager/request/data-format")).unwrap(), "S1");

    // The page waits until the answer to this request is there, and shows it.
    let page = async || send(&router, Request::get("/").body(Body::empty()).unwrap()).await.text;
    let result = folder.path().join("request-result.json");
    fs::write(&result, r#"{"name":"data-format","ok":false,"message":"an old answer","at":7,"done":true}"#).unwrap();
    assert!(page().await.contains("http-equiv=\"refresh\""));
    let answer = |ok: bool, message: &str, done: bool| {
        let at = crate::error::now();
        let text = format!(r#"{{"name":"data-format","ok":{ok},"message":"{message}","at":{at},"done":{done}}}"#);
        fs::write(&result, text).unwrap();
    };
    answer(true, "it has begun", false);
    assert!(page().await.contains("http-equiv=\"refresh\""), "it is not done yet");
    answer(false, "the disk is read-only", true);
    assert!(page().await.contains("The disk is read-only."));
}
