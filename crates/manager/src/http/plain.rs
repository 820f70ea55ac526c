//! Port 80: how to trust the box, its certificate, and the way to HTTPS. Nothing else.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rust_i18n::t;
use sha2::{Digest, Sha256};

use super::{assets::STYLE, headers, host::address_for};
use crate::{language::speak, pages, shared::Shared};

/// Here the style sheet is in the page, so that port 80 serves nothing more than a page; the policy names its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE.content));
    let text = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(trust))
        .route("/trust", get(trust))
        .route("/ca.crt", get(pages::trust::certificate))
        .fallback(redirect)
        .with_state(shared.clone())
        .layer(from_fn_with_state(shared, speak))
        .layer(from_fn(headers::secure))
}

async fn trust(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let https = address_for(&headers, &shared.twin.state().network);
    let page = pages::plain_with_style(&t!("trust.short"), pages::trust::body(&shared, &https));
    ([(header::CONTENT_SECURITY_POLICY, POLICY.clone())], page).into_response()
}

/// 308: the method stays, and a form that somebody sent here by mistake is not turned into something else.
async fn redirect(State(shared): State<Arc<Shared>>, headers: HeaderMap, uri: Uri) -> Response {
    let https = address_for(&headers, &shared.twin.state().network);
    // As parsed, so it begins with one '/' after the host and holds no line ends.
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    match HeaderValue::from_str(&format!("{https}/{}", path.trim_start_matches('/'))) {
        Ok(location) => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};

    use super::*;
    use crate::http::tests::{send, shared};

    #[tokio::test]
    async fn port_80_serves_trust_and_certificate_and_sends_everything_else_to_https() {
        let (_folder, shared) = shared(None).await;
        let router = router(shared.clone());
        let ask = async |path: &str, host: &str| {
            send(&router, Request::builder().uri(path).header(header::HOST, host).body(Body::empty()).unwrap()).await
        };
        let trust = ask("/", "homelab.local").await;
        for word in shared.authority.words() {
            assert!(trust.text.contains(word));
        }
        assert!(trust.text.contains("href=\"https://homelab.local/\""));
        assert!(trust.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("style-src 'sha256-"));
        assert_eq!(ask("/ca.crt", "homelab.local").await.text, shared.authority.pem());
        for (path, host, location) in [
            ("/home", "homelab.local", "https://homelab.local/home"),
            ("/claim?a=b", "127.0.0.1:8080", "https://127.0.0.1:8443/claim?a=b"),
            ("/x", "evil.example", "https://homelab.local/x"),
            ("//evil.example/x", "homelab.local", "https://homelab.local/evil.example/x"),
            ("/healthz", "homelab.local", "https://homelab.local/healthz"),
            (STYLE.path.as_str(), "homelab.local", &format!("https://homelab.local{}", STYLE.path)),
        ] {
            let answer = ask(path, host).await;
            assert_eq!((answer.status, answer.location()), (StatusCode::PERMANENT_REDIRECT, location));
        }
    }
}
