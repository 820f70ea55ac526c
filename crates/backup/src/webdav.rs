//! WebDAV with Basic auth over TLS.

use base64::Engine;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, body::Bytes};
use url::Url;

use crate::{
    Error,
    config::Webdav,
    http::{Client, Reply, reason},
    scb::MAX_BYTES,
    store::{Answer, Store, TestFile, part},
    xml,
};

/// Limit for the list of a folder: ten thousand copies.
const LIST_BYTES: usize = 16 << 20;
const ASK_FOR_KIND: &[u8] =
    br#"<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>"#;

/// A folder on a WebDAV server.
#[derive(Debug)]
pub(crate) struct WebdavStore {
    config: Webdav,
    client: Client,
    authority: String,
    /// Path of the folder, with a slash at its end.
    base: String,
}

impl WebdavStore {
    pub(crate) fn open(config: &Webdav) -> Result<Self, Error> {
        let setting = |why: &str| Error::Setting { what: "the address", why: why.to_owned() };
        let url = Url::parse(config.url.trim()).map_err(|error| setting(&error.to_string()))?;
        if url.scheme() != "https" {
            return Err(setting("it must begin with https://, as the password travels with each request"));
        }
        let client = Client::new(&url, config.ca.clone())?;
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", client.host()),
            None => client.host().to_owned(),
        };
        let base = format!("{}/", url.path().trim_end_matches('/'));
        Ok(Self { config: config.clone(), client, authority, base })
    }

    fn place(&self) -> String {
        format!("the folder {} on {}", self.base, self.client.host())
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        extra: &[(&'static str, &str)],
        body: &[u8],
    ) -> Result<Reply, Error> {
        let setting = |error: &dyn std::error::Error| Error::Setting { what: "the address", why: error.to_string() };
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| setting(&error))?;
        let mut request = Request::builder().method(method).uri(path).header("host", &self.authority);
        let authorization = basic(&self.config.user, self.config.password.expose());
        request = request.header("authorization", authorization);
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).map_err(|error| setting(&error))?;
        self.client.send(request, LIST_BYTES.max(MAX_BYTES)).await
    }

    /// The reply, if it is a success.
    fn check(&self, reply: Reply, action: &'static str) -> Result<Reply, Error> {
        let host = self.client.host().to_owned();
        Err(match reply.status {
            status if status.is_success() => return Ok(reply),
            StatusCode::UNAUTHORIZED => {
                let schemes = reply.headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
                let schemes: Vec<&str> = schemes.filter_map(|value| value.split(' ').next()).collect();
                match schemes.first() {
                    Some(other) if !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) => {
                        let what = format!("it wants the login by {other}, which is not supported here");
                        Error::Answer { host, action, what }
                    }
                    _ => Error::Login { host, user: self.config.user.clone(), what: "password" },
                }
            }
            StatusCode::FORBIDDEN | StatusCode::LOCKED => Error::Denied { action, place: self.place() },
            StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::GONE => {
                Error::NoPlace { host, place: format!("folder {}", self.base) }
            }
            StatusCode::INSUFFICIENT_STORAGE => Error::Full { place: self.place() },
            StatusCode::METHOD_NOT_ALLOWED => {
                let what = format!("there is no WebDAV at {}", self.base);
                Error::Answer { host, action, what }
            }
            status if status.is_redirection() => {
                Error::Moved { host, to: reply.header("location").unwrap_or("another address").to_owned() }
            }
            _ => Error::Answer { host, action, what: reason(&reply) },
        })
    }

    async fn list(&mut self, depth: &str) -> Result<Reply, Error> {
        let headers = [("depth", depth), ("content-type", "application/xml; charset=utf-8")];
        let base = self.base.clone();
        let reply = self.send("PROPFIND", &base, &headers, ASK_FOR_KIND).await?;
        self.check(reply, "list the files")
    }

    async fn make_folder(&mut self) -> Result<(), Error> {
        match self.list("0").await {
            Err(Error::NoPlace { .. }) => {}
            known => return known.map(drop),
        }
        // From the top down: what exists already answers 405, what may not be touched says so at the last one.
        let base = self.base.clone();
        let ends = base.match_indices('/').skip(1).map(|(at, _)| at + 1).collect::<Vec<_>>();
        for end in ends {
            let reply = self.send("MKCOL", base.get(..end).unwrap_or(&base), &[], b"").await?;
            if end == base.len() && reply.status != StatusCode::METHOD_NOT_ALLOWED {
                self.check(reply, "make a folder")?;
            }
        }
        self.list("0").await.map(drop)
    }

    async fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (temporary, path) = (format!("{}{}", self.base, part(name)?), format!("{}{name}", self.base));
        let kind = ("content-type", "application/octet-stream");
        let reply = self.send("PUT", &temporary, &[kind], bytes).await?;
        self.check(reply, "write")?;
        let destination = format!("https://{}{path}", self.authority);
        let mut reply =
            self.send("MOVE", &temporary, &[("destination", &destination), ("overwrite", "F")], b"").await?;
        // Servers behind a proxy may not know themselves by this address, and some cannot rename at all.
        let cannot = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED, StatusCode::BAD_GATEWAY];
        if cannot.contains(&reply.status) {
            reply = self.send("PUT", &path, &[kind, ("if-none-match", "*")], bytes).await?;
            self.send("DELETE", &temporary, &[], b"").await?;
        }
        let is_there = reply.status == StatusCode::PRECONDITION_FAILED;
        let done = self.check(reply, "put a file in place").map(drop);
        if done.is_err() {
            // Our own part of a file, of use to nobody; the first error is the one to tell.
            let _ = self.send("DELETE", &temporary, &[], b"").await;
        }
        if is_there { Err(Error::Exists { name: name.to_owned(), place: self.place() }) } else { done }
    }
}

/// Basic auth.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

impl Store for WebdavStore {
    fn prepare(&mut self) -> Answer<'_, ()> {
        Box::pin(self.make_folder())
    }

    fn names(&mut self) -> Answer<'_, Vec<String>> {
        Box::pin(async {
            let reply = self.list("1").await?;
            xml::multistatus(&reply.body).map_err(|error| Error::Answer {
                host: self.client.host().to_owned(),
                action: "list the files",
                what: error.to_string(),
            })
        })
    }

    fn read<'a>(&'a mut self, name: &'a str) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let path = format!("{}{name}", self.base);
            // A cache in between must not answer for the disk.
            let reply = self.send("GET", &path, &[("cache-control", "no-cache")], b"").await?;
            self.check(reply, "read").map(|reply| reply.body.into())
        })
    }

    fn create<'a>(&'a mut self, name: &'a str, bytes: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(self.put(name, bytes))
    }

    fn remove<'a>(&'a mut self, test: &'a TestFile) -> Answer<'a, ()> {
        Box::pin(async move {
            let path = format!("{}{}", self.base, test.name());
            let reply = self.send("DELETE", &path, &[], b"").await?;
            self.check(reply, "remove").map(drop)
        })
    }
}
