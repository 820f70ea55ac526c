//! The gate's part for phones that speak LND's REST: `/v1/...` and `/v2/...` with the macaroon in a header.
//!
//! ```text
//!  phone ─ HTTPS ─► paired? path for phones? ─ a connection of its own, HTTP/1.1 ─► LND's REST on loopback
//!                       └ no: 401 or 403, and LND hears nothing       └ may become a WebSocket, which ends with its phone
//! ```

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use http_body_util::Limited;
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::gate::{Guarded, root_key};
use crate::{http::drain, shared::House};

/// The header with the macaroon, in hexadecimal.
const MACAROON: &str = "grpc-metadata-macaroon";
/// Where browsers, which cannot set headers on a WebSocket, put it.
const PROTOCOL: &str = "Grpc-Metadata-Macaroon+";
/// Headers that go on to LND; the others are about the connection to here, or would make another call of it.
const PASSED: [HeaderName; 3] = [header::CONTENT_TYPE, header::ACCEPT, HeaderName::from_static(MACAROON)];
/// The same for a WebSocket.
const SOCKET: [HeaderName; 6] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];
/// Headers of LND's answer that go back.
const ANSWERED: [HeaderName; 2] = [header::CONTENT_TYPE, header::CONTENT_LENGTH];
/// And of one that becomes a WebSocket.
const SWITCHED: [HeaderName; 5] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];
/// What a phone may call below `/v1/`: the rest needs no macaroon at all, or makes other macaroons.
const CLOSED: [&str; 5] = ["genseed", "initwallet", "unlockwallet", "changepassword", "macaroon"];
/// Below `/v2/`: the services that phones may call over gRPC.
const OPEN: [&str; 5] = ["router", "invoices", "wallet", "chainnotifier", "signer"];
/// Bytes of a path with its query: an invoice may stand in it.
const LONGEST: usize = 8 * 1024;
/// Bytes of a body: a transaction to be signed is the largest.
const BODY: usize = 1024 * 1024;
/// WebSockets at once; each is a connection of its own to LND.
static SOCKETS: Semaphore = Semaphore::const_new(16);

/// Why a call does not pass, as LND itself would say it.
struct Refusal(StatusCode, u8, &'static str);

const UNPAIRED: Refusal = Refusal(StatusCode::UNAUTHORIZED, 16, "this phone is not paired with the box");
const CLOSED_PATH: Refusal = Refusal(StatusCode::FORBIDDEN, 7, "this address is not for phones");
const AWAY: Refusal = Refusal(StatusCode::SERVICE_UNAVAILABLE, 14, "LND does not answer at the moment");
const BUSY: Refusal = Refusal(StatusCode::SERVICE_UNAVAILABLE, 8, "there are too many open sockets: close one");
const LONG: Refusal = Refusal(StatusCode::URI_TOO_LONG, 3, "this address is too long");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let body = json!({ "code": code, "message": message, "details": [] }).to_string();
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (status, headers, body).into_response()
    }
}

/// Whether an address is one of LND's, and of none of our pages.
pub(super) fn is_for(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/v2/")
}

pub(super) async fn answer(house: &House, request: Request) -> Response {
    let key = key_of(request.headers()).filter(|key| house.phones.admits(*key));
    let refused = match key {
        None => Some(UNPAIRED),
        Some(_) if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > LONGEST) => Some(LONG),
        Some(_) if !is_for_phones(request.method(), request.uri().path()) => Some(CLOSED_PATH),
        Some(_) => None,
    };
    match (key, refused) {
        (Some(key), None) => pass(house, key, request).await.unwrap_or_else(Refusal::into_response),
        (_, refused) => {
            drain(request).await;
            refused.unwrap_or(UNPAIRED).into_response()
        }
    }
}

/// The root key that the call's macaroon names.
fn key_of(headers: &HeaderMap) -> Option<u64> {
    if let Some(value) = headers.get(MACAROON) {
        return root_key(value.as_bytes());
    }
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    root_key(offered.split(',').find_map(|one| one.trim().strip_prefix(PROTOCOL))?.as_bytes())
}

/// LND decodes a path before it looks where it leads; so what is encoded, or climbs, is no path to a decision here.
fn is_for_phones(method: &Method, path: &str) -> bool {
    let mut parts = path.strip_prefix('/').unwrap_or_default().split('/');
    let (version, first) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_word = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_open = match version {
        "v1" => is_word && !CLOSED.contains(&first.to_ascii_lowercase().as_str()),
        "v2" => is_word && OPEN.contains(&first),
        _ => false,
    };
    let climbs = |part: &str| {
        let part = part.to_ascii_lowercase();
        part.is_empty() || part.starts_with('.') || part.contains("%2e") || part.contains("%2f")
    };
    let is_method = matches!(*method, Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    is_method && is_open && !parts.any(climbs)
}

async fn pass(house: &House, key: u64, mut request: Request) -> Result<Response, Refusal> {
    let socket = is_socket(request.headers()).then(|| SOCKETS.try_acquire().map_err(|_| BUSY)).transpose()?;
    let upgrade = request.extensions_mut().remove::<upgrade::OnUpgrade>();
    let call = onward(house, request, socket.is_some())?;
    let ended = Box::pin(house.phones.ended(key));
    let answer = tokio::select! {
        answer = send(house, call) => answer?,
        () = ended => return Err(UNPAIRED),
    };
    let ended = house.phones.ended(key);
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(socket), Some(upgrade)) = (socket, upgrade) else { return Err(AWAY) };
        return Ok(switch(answer, upgrade, socket, ended));
    }
    let (parts, body) = answer.into_parts();
    let body = Body::new(Guarded { body: Body::new(body), ended: Box::pin(ended) });
    Ok(back(parts.status, &parts.headers, body))
}

fn is_socket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The call as LND gets it.
fn onward(house: &House, request: Request, is_socket: bool) -> Result<hyper::Request<Limited<Body>>, Refusal> {
    let (parts, body) = request.into_parts();
    let mut call = hyper::Request::new(Limited::new(body, BODY));
    *call.method_mut() = parts.method;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    *call.uri_mut() = path.parse::<Uri>().map_err(|_| CLOSED_PATH)?;
    let host = HeaderValue::from_str(&house.node.rest.address.to_string()).map_err(|_| AWAY)?;
    call.headers_mut().insert(header::HOST, host);
    for name in PASSED.iter().chain(SOCKET.iter().filter(|_| is_socket)) {
        if let Some(value) = parts.headers.get(name) {
            call.headers_mut().insert(name.clone(), value.clone());
        }
    }
    Ok(call)
}

/// Each call has a connection of its own: a guest never waits for another one.
async fn send(house: &House, call: hyper::Request<Limited<Body>>) -> Result<hyper::Response<Incoming>, Refusal> {
    let away = |what: &dyn std::fmt::Display| {
        tracing::debug!(%what, "a phone's call did not reach LND's REST");
        AWAY
    };
    let stream = lnd::connect::connect_rest(&house.node.rest).await.map_err(|error| away(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| away(&error))?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(call).await.map_err(|error| away(&error))
}

fn back(status: StatusCode, headers: &HeaderMap, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let is_switched = status == StatusCode::SWITCHING_PROTOCOLS;
    for name in if is_switched { SWITCHED.as_slice() } else { ANSWERED.as_slice() } {
        if let Some(value) = headers.get(name) {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Ties both sides of a WebSocket together until one of them, or the phone's pairing, ends.
fn switch(
    mut answer: hyper::Response<Incoming>,
    upgrade: upgrade::OnUpgrade,
    socket: SemaphorePermit<'static>,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let theirs = upgrade::on(&mut answer);
    tokio::spawn(async move {
        let _socket = socket;
        let (Ok(phone), Ok(lnd)) = tokio::join!(upgrade, theirs) else { return };
        let (mut phone, mut lnd) = (TokioIo::new(phone), TokioIo::new(lnd));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut phone, &mut lnd) => {}
            () = ended => {}
        }
    });
    back(StatusCode::SWITCHING_PROTOCOLS, answer.headers(), Body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::{send, visit};

    #[test]
    fn phones_reach_the_node_and_never_the_unlocker_however_it_is_written() {
        let is_open = |path: &str| is_for_phones(&Method::GET, path);
        for path in ["/v1/getinfo", "/v1/balance/channels", "/v2/router/send", "/v1/payreq/lnbc1", "/v1/invoice/ab%3D"]
        {
            assert!(is_open(path), "{path}");
        }
        for path in [
            "/v1/genseed",
            "/v1/initwallet",
            "/v1/unlockwallet",
            "/v1/UnlockWallet",
            "/v1/%75nlockwallet",
            "/v1/unlockwallet/",
            "/v1/getinfo/../unlockwallet",
            "/v1/getinfo/%2e%2e/unlockwallet",
            "/v1/getinfo/..%2funlockwallet",
            "/v1//unlockwallet",
            "/v1/macaroon",
            "/v1/",
            "/v2/watchtower/client",
            "/v2/router/",
            "/v3/getinfo",
            "v1/getinfo",
        ] {
            assert!(!is_open(path), "{path}");
        }
        assert!(!is_for_phones(&Method::CONNECT, "/v1/getinfo") && !is_for_phones(&Method::OPTIONS, "/v1/getinfo"));
    }

    #[tokio::test]
    async fn without_a_paired_phone_no_rest_call_passes() {
        let mut visit = visit().await;
        visit.own().await;
        for (name, value) in [
            ("x-other", ""),
            (MACAROON, ""),
            (MACAROON, "zz"),
            (MACAROON, "0201"),
            ("sec-websocket-protocol", "Grpc-Metadata-Macaroon+0201"),
        ] {
            for path in ["/v1/getinfo", "/v1/unlockwallet", "/v2/router/send"] {
                let request = axum::http::Request::builder().method(Method::POST).uri(path).header(name, value);
                let answer = send(&visit.router, request.body(Body::from("{}")).unwrap()).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name} {value:?} {path}");
                assert!(answer.text.contains("not paired"), "{}", answer.text);
            }
        }
        // Not even the owner's session opens it.
        assert_eq!(visit.get("/v1/getinfo").await.status, StatusCode::UNAUTHORIZED);
    }
}
