//! bitcoind's JSON-RPC over plain HTTP, one connection for a few calls in a row.
//!
//! There is no TLS: bitcoind serves none since 0.12, and LND, for whom all this is, speaks none to it
//! (`DisableTLS` in btcwallet). That somebody answers with TLS is found out and said.

mod answer;
mod calls;
mod tls;

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, SERVER, WWW_AUTHENTICATE},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    net::{TcpStream, lookup_host},
    task::AbortHandle,
    time::timeout,
};

use crate::{Auth, Config, Endpoint, Error, error::cleaned};

pub use calls::*;

/// The longest answer that is read, bytes: `getpeerinfo` with a thousand peers is about 2 MB.
pub const BODY_LIMIT: usize = 8 << 20;

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the name, and again for the connection.
    pub connect: Duration,
    /// For each call.
    pub call: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), call: Duration::from_secs(10) }
    }
}

/// Knows the way to one bitcoind. Cheap; holds no connection.
#[derive(Debug, Clone)]
pub struct Client {
    at: Endpoint,
    auth: Auth,
    limits: Limits,
}

impl Client {
    pub fn new(config: &Config, limits: Limits) -> Self {
        Self { at: config.rpc.clone(), auth: config.auth.clone(), limits }
    }

    /// Connects, for a few calls in a row. A cookie is read now. After an error that is not bitcoind's own answer
    /// ([`Error::Call`]) a new session is needed.
    pub async fn session(&self) -> Result<Session, Error> {
        let credentials = BASE64_STANDARD.encode(self.auth.credentials().await?);
        let header = HeaderValue::from_str(&format!("Basic {credentials}"));
        let mut authorization = header.map_err(|_| Error::WrongPassword { at: self.at.clone() })?;
        authorization.set_sensitive(true);
        self.open(Some(authorization)).await
    }

    async fn open(&self, authorization: Option<HeaderValue>) -> Result<Session, Error> {
        let stream = connect(&self.at, self.limits.connect).await?;
        // HTTP/1 needs no word of the other side to begin with.
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| not_http(&self.at, &error))?;
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Session { client: self.clone(), sender, driver, authorization, next: AtomicU64::new(1) })
    }
}

/// Resolves and connects; `limit` for each of the two.
pub(crate) async fn connect(at: &Endpoint, limit: Duration) -> Result<TcpStream, Error> {
    let late = |action| Error::Timeout { at: at.clone(), action, seconds: limit.as_secs() };
    let unknown = |what: String| Error::Name { host: at.host().to_owned(), what };
    let found = timeout(limit, lookup_host((at.host(), at.port()))).await;
    let found = found.map_err(|_| unknown("no name server answered".into()))?;
    let addresses: Vec<_> = found.map_err(|_| unknown("no name server knows it".into()))?.collect();
    if addresses.is_empty() {
        return Err(unknown("it has no address".into()));
    }
    // tokio tries one address after the other; the error is the last one's.
    let stream = timeout(limit, TcpStream::connect(&addresses[..])).await.map_err(|_| late("accept the connection"))?;
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::Refused { at: at.clone() },
        kind => Error::Unreachable { at: at.clone(), what: kind.to_string() },
    })?;
    // Requests are small and waited for.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// One connection to bitcoind.
#[derive(Debug)]
pub struct Session {
    client: Client,
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    authorization: Option<HeaderValue>,
    next: AtomicU64,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Status, the two headers that tell who answers, and the body.
struct Raw {
    status: StatusCode,
    /// `Server`, which bitcoind does not send.
    server: String,
    /// `WWW-Authenticate`; bitcoind's realm is `jsonrpc`.
    realm: String,
    body: Bytes,
}

impl Session {
    /// Any call. `method` must be one that changes nothing and may be asked twice.
    pub async fn call<T: DeserializeOwned>(&mut self, method: &'static str, params: Value) -> Result<T, Error> {
        let at = self.client.at.clone();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let raw = self.ask(method, &json!({ "jsonrpc": "1.0", "id": id, "method": method, "params": params })).await?;
        match answer::parse(&raw.body, id) {
            Ok(result) => serde_json::from_value(result).map_err(|error| Error::Malformed {
                at,
                method,
                what: cleaned(&error.to_string()),
            }),
            Err(answer::Fault::Refused { code: answer::WARMING_UP, message }) => {
                Err(Error::Starting { at, what: cleaned(&message) })
            }
            Err(answer::Fault::Refused { code, message }) => {
                Err(Error::Call { at, method, code, what: cleaned(&message) })
            }
            Err(answer::Fault::NotJsonRpc) => Err(self.stranger(method, &raw).await),
            Err(answer::Fault::Other(what)) => Err(Error::Malformed { at, method, what: what.to_owned() }),
        }
    }

    /// Sends one request and reads the whole answer.
    async fn ask(&mut self, method: &'static str, body: &Value) -> Result<Raw, Error> {
        let (at, limit) = (self.client.at.clone(), self.client.limits.call);
        let mut request = Request::new(Full::from(body.to_string()));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(&at.to_string());
        headers.insert(HOST, host.map_err(|_| Error::Name { host: at.to_string(), what: "it is no name".into() })?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let late = || Error::Timeout { at: at.clone(), action: "answer", seconds: limit.as_secs() };
        let response = match timeout(limit, self.sender.send_request(request)).await.map_err(|_| late())? {
            Ok(response) => response,
            Err(error) => return Err(self.no_http(&error).await),
        };
        timeout(limit, read(response, &at, method)).await.map_err(|_| late())?
    }

    /// Nothing that is HTTP came: perhaps TLS?
    async fn no_http(&self, error: &hyper::Error) -> Error {
        let at = &self.client.at;
        if tls::speaks(at, self.client.limits.connect).await {
            Error::Tls { at: at.clone() }
        } else if error.is_parse() {
            not_http(at, error)
        } else {
            Error::Ended { at: at.clone() }
        }
    }

    /// What an answer means that is not JSON-RPC.
    async fn stranger(&self, method: &'static str, raw: &Raw) -> Error {
        let at = self.client.at.clone();
        let bare = raw.server.is_empty();
        match raw.status {
            StatusCode::UNAUTHORIZED if raw.realm.contains("\"jsonrpc\"") => match &self.client.auth {
                Auth::Cookie(path) => Error::WrongCookie { at, path: path.clone() },
                Auth::Password { .. } => Error::WrongPassword { at },
            },
            // An address that is not allowed is refused before the password is looked at, a call that is not after it.
            StatusCode::FORBIDDEN if bare && self.authorization.is_some() => match self.unnamed(method).await {
                Some(StatusCode::FORBIDDEN) => Error::Forbidden { at },
                Some(StatusCode::UNAUTHORIZED) => Error::ForbiddenCall { at, method },
                _ => not_json_rpc(at, raw),
            },
            StatusCode::SERVICE_UNAVAILABLE if bare && raw.body.starts_with(b"Work queue depth exceeded") => {
                Error::Busy { at }
            }
            // How web servers answer plain HTTP on their TLS port.
            StatusCode::BAD_REQUEST if tls::speaks(&at, self.client.limits.connect).await => Error::Tls { at },
            _ => not_json_rpc(at, raw),
        }
    }

    /// The status of the same question without a password.
    async fn unnamed(&self, method: &'static str) -> Option<StatusCode> {
        let mut session = self.client.open(None).await.ok()?;
        session.ask(method, &json!({ "method": method, "params": [], "id": 0 })).await.ok().map(|raw| raw.status)
    }
}

fn not_json_rpc(at: Endpoint, raw: &Raw) -> Error {
    Error::NotJsonRpc { at, status: raw.status.as_u16(), server: raw.server.clone() }
}

fn not_http(at: &Endpoint, error: &hyper::Error) -> Error {
    Error::NotHttp { at: at.clone(), what: cleaned(&error.to_string()) }
}

async fn read(response: Response<Incoming>, at: &Endpoint, method: &'static str) -> Result<Raw, Error> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Error::TooLong { at: at.clone(), method, limit: BODY_LIMIT }
        } else {
            Error::Ended { at: at.clone() }
        }
    })?;
    let text = |headers: &HeaderMap, name: HeaderName| {
        headers.get(name).map(|value| cleaned(&String::from_utf8_lossy(value.as_bytes()))).unwrap_or_default()
    };
    let (server, realm) = (text(&head.headers, SERVER), text(&head.headers, WWW_AUTHENTICATE));
    Ok(Raw { status: head.status, server, realm, body: body.to_bytes() })
}
