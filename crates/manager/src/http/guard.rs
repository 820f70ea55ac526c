//! Who may pass: the layer before every route.
//!
//! It knows the routes that are public or for a claimer; for all else, a path that does not exist included, one must be
//! signed in. A route forgotten here is closed.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use store::Kind;

use super::{
    BODY_LIMIT,
    extract::Peer,
    fail::Fail,
    routes::{Access, Route},
};
use crate::{
    api::{self, problem::is_for_programs},
    secret::Secret,
    session::Current,
    shared::House,
    wizard::Step,
};

/// `__Host-`: browsers take it only over HTTPS, for this host and the whole of it.
const COOKIE: &str = "__Host-homebolt";
/// No answer of ours takes longer, streams of events aside (their head is quick).
const LIMIT: Duration = Duration::from_secs(30);
/// But here, where hundreds of megabytes come first. It sees itself that the sender is still there.
pub(crate) const UPLOAD: &str = "/settings/updates/upload";

#[derive(Clone)]
pub(crate) struct Guard {
    house: Arc<House>,
    /// Method and path of what one may do without being the owner.
    open: Arc<[(Method, &'static str, Access)]>,
}

impl Guard {
    pub(crate) fn new<S>(house: Arc<House>, table: &[Route<S>]) -> Self {
        let open = table.iter().filter(|route| route.access != Access::Owner);
        Self { house, open: open.map(|route| (route.method.clone(), route.path, route.access)).collect() }
    }

    fn access(&self, request: &Request) -> Access {
        let Some(path) = request.extensions().get::<MatchedPath>() else { return Access::Owner };
        // The router answers HEAD with the handler of GET.
        let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
        let found = self.open.iter().find(|(known, at, _)| *known == method && *at == path.as_str());
        found.map_or(Access::Owner, |(_, _, access)| *access)
    }
}

pub(crate) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let kind = match guard.access(&request) {
        Access::Public => return next.run(request).await,
        Access::Claimer => Kind::Claim,
        Access::Key(scope) => return api::pass(&guard.house, Some(scope), request, next).await,
        Access::AnyKey => return api::pass(&guard.house, None, request, next).await,
        // What does not exist there is told as a problem, and only to who has a key.
        Access::Owner if is_for_programs(request.uri().path()) => {
            return api::pass(&guard.house, None, request, next).await;
        }
        Access::Owner => Kind::Owner,
    };
    let session = current(&guard.house, request.headers(), peer(&request)).filter(|session| session.kind == kind);
    let Some(session) = session else {
        let answer = refuse(&guard.house, &request);
        drain(request).await;
        return answer;
    };
    if !request.method().is_safe() {
        request = match token_checked(request, &session).await {
            Ok(request) => request,
            Err(fail) => return fail.into_response(),
        };
    }
    request.extensions_mut().insert(session);
    next.run(request).await
}

/// The session of a request, if it has one; using it keeps it alive.
pub(crate) fn current(house: &House, headers: &HeaderMap, address: IpAddr) -> Option<Current> {
    house.sessions.find(cookie(headers)?, address)
}

pub(crate) fn peer(request: &Request) -> IpAddr {
    request.extensions().get::<Peer>().map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0)
}

/// HTTP/2 may split cookies over several headers.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// To where one can get in; who did not ask for a page gets a plain refusal.
fn refuse(house: &House, request: &Request) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_page = request.method().is_safe() && !accept.contains("event-stream") && !accept.contains("json");
    if !is_page {
        return Fail::SignedOut.into_response();
    }
    match house.wizard.step(None) {
        // From a page one wanted to see, back to it after the sign-in.
        Step::Done if request.uri().path() != "/home" => {
            let path: String = request.uri().path().chars().filter(|letter| is_plain(*letter)).collect();
            Redirect::to(&format!("/sign-in?next={path}")).into_response()
        }
        step => Redirect::to(step.path()).into_response(),
    }
}

/// A letter that needs no quoting in a query; our paths have no others.
pub(crate) fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '/' | '-' | '_' | '.')
}

/// An early answer before a body is read resets an HTTP/2 stream, and the browser shows an error instead of our page.
pub(crate) async fn drain(request: Request) {
    let _ = tokio::time::timeout(Duration::from_secs(5), to_bytes(request.into_body(), BODY_LIMIT)).await;
}

/// The layer against foreign pages lets requests pass that name no origin at all, as programs and very old browsers
/// send them. Those must bring the token of the session with the form.
async fn token_checked(request: Request, session: &Current) -> Result<Request, Fail> {
    let headers = request.headers();
    if headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, BODY_LIMIT).await.map_err(|_| Fail::Form(hyper::StatusCode::PAYLOAD_TOO_LARGE))?;
    let sent = bytes.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"csrf="));
    let matches = sent.and_then(|sent| std::str::from_utf8(sent).ok()).is_some_and(|sent| session.csrf_matches(sent));
    if matches { Ok(Request::from_parts(parts, Body::from(bytes))) } else { Err(Fail::Foreign) }
}

/// Bounds every answer in time.
pub(crate) async fn limit_time(request: Request, next: Next) -> Response {
    if request.uri().path() == UPLOAD {
        return next.run(request).await;
    }
    match tokio::time::timeout(LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Fail::Slow.into_response(),
    }
}

/// The cookie of a session. `Lax`: the trust page on port 80 counts as another site, and its link to the box must not
/// look as if one were signed out; a GET changes nothing here, and forms of other sites come without the cookie.
pub(crate) fn session_cookie(token: &Secret<String>) -> HeaderValue {
    cookie_header(&format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax", token.expose()))
}

pub(crate) fn clear_cookie() -> HeaderValue {
    cookie_header(&format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"))
}

fn cookie_header(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
