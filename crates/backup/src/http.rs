//! HTTP/1.1 over one connection that is made when needed.

use fetch::{
    net::{self, ANSWER_LIMIT, CONNECT_LIMIT, within},
    tls::Trust,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use url::Url;

use crate::Error;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One server.
#[derive(Debug)]
pub(crate) struct Client {
    host: String,
    port: u16,
    tls: bool,
    ca: Option<String>,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(url: &Url, ca: Option<String>) -> Result<Self, Error> {
        let setting = |why: &str| Error::Setting { what: "the address", why: why.to_owned() };
        let host = url.host_str().ok_or_else(|| setting("there is no host in it"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| setting("there is no port in it"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(setting("it must have no user, password, '?' or '#' in it"));
        }
        Ok(Self { host, port, tls: url.scheme() == "https", ca, open: None })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Sends a request, whose URI is a path, and reads its answer up to `limit` bytes.
    pub(crate) async fn send(&mut self, mut request: Request<Full<Bytes>>, limit: usize) -> Result<Reply, Error> {
        request.headers_mut().entry("user-agent").or_insert(hyper::header::HeaderValue::from_static("homebolt"));
        // Servers end a connection after an answer or after a while: then the question was not sent, and is asked anew.
        if let Some(connection) = self.open.take() {
            match self.exchange(connection, request, limit).await? {
                Ok(reply) => return Ok(reply),
                Err(unsent) => request = unsent,
            }
        }
        let connection = self.connect().await?;
        let outcome = self.exchange(connection, request, limit).await?;
        outcome.map_err(|_| self.failed("the connection was closed at once".to_owned()))
    }

    /// Asks over this connection and keeps it. Gives the request back when it could not be sent.
    async fn exchange(
        &mut self,
        mut connection: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Result<Reply, Request<Full<Bytes>>>, Error> {
        let exchange = async {
            if connection.ready().await.is_err() {
                return Ok(Err(request));
            }
            let answer = match connection.try_send_request(request).await {
                Ok(answer) => answer,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => return Ok(Err(unsent)),
                    None => return Err(error.into_error().to_string()),
                },
            };
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| error.to_string())?;
            Ok(Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() }))
        };
        let outcome = within(ANSWER_LIMIT, &self.host, "answer", exchange).await?;
        let outcome = outcome.map_err(|what| self.failed(what))?;
        self.open = Some(connection);
        Ok(outcome)
    }

    fn failed(&self, what: String) -> Error {
        Error::Answer { host: self.host.clone(), action: "finish the answer", what }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let tcp = net::connect(&self.host, self.port).await?;
        if self.tls {
            let tls = Trust::new(self.ca.as_deref())?.connect(&self.host, tcp).await?;
            self.begin(tls).await
        } else {
            self.begin(tcp).await
        }
    }

    async fn begin<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let begun = within(CONNECT_LIMIT, &self.host, "begin HTTP", handshake(TokioIo::new(stream))).await?;
        let (sender, connection) = begun.map_err(|error| Error::Answer {
            host: self.host.clone(),
            action: "begin HTTP",
            what: error.to_string(),
        })?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// What the server says besides its status, for a sentence: one short line of plain text.
pub(crate) fn reason(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    let plain: String = if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() };
    let line: String = plain.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(120).collect();
    if line.is_empty() { reply.status.to_string() } else { format!("{}: {line}", reply.status) }
}
