//! One question, GET, and its answer.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::handshake,
    header::{self, HeaderMap},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::{Host, Url};

use crate::{
    Error, Reach,
    net::{self, within},
    tls::Trust,
};

/// For all of it: names, handshakes, redirects, the answer.
const LIMIT: Duration = Duration::from_secs(15);
/// So often we let ourselves be sent on.
const REDIRECTS: usize = 3;

/// A whole answer, whatever its status: services say what is wrong in the body.
#[derive(Debug)]
pub struct Reply {
    /// Who answered in the end.
    pub url: Url,
    pub status: StatusCode,
    pub body: Bytes,
}

/// Asks `url` and reads at most `limit` bytes of the answer. It says no more of this box than that it asks.
pub async fn ask(url: &Url, reach: &Reach, limit: usize) -> Result<Reply, Error> {
    let host = url.host_str().unwrap_or_default().to_owned();
    within(LIMIT, &host, "answer", follow(url, reach, limit)).await?
}

async fn follow(url: &Url, reach: &Reach, limit: usize) -> Result<Reply, Error> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS {
        let (reply, headers) = once(&url, reach, limit).await?;
        if !reply.status.is_redirection() {
            return Ok(reply);
        }
        let next = headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
        let next = next.and_then(|place| url.join(place).ok());
        url = next.ok_or_else(|| answer(&url, "say where to ask", reply.status.to_string()))?;
    }
    Err(Error::Redirects { host: host(&url), limit: REDIRECTS })
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn answer(url: &Url, action: &'static str, what: String) -> Error {
    Error::Answer { host: host(url), action, what }
}

async fn once(url: &Url, reach: &Reach, limit: usize) -> Result<(Reply, HeaderMap), Error> {
    let bad = || Error::BadUrl { url: url.as_str().chars().take(120).collect() };
    let port = url.port_or_known_default().ok_or_else(bad)?;
    let is_plain = url.scheme() == "http" && reach.is_plain(&host(url), port);
    if !(is_plain || url.scheme() == "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(bad());
    }
    let name = match url.host().ok_or_else(bad)? {
        Host::Domain(name) if name.trim_end_matches('.').ends_with(".onion") => {
            return Err(Error::Onion { host: name.to_owned() });
        }
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => format!("[{address}]"),
    };
    let found = net::find(&name, port).await?;
    reach.judge(&name, port, &found)?;
    let tcp = net::connect_to(&name, port, &found).await?;
    if is_plain {
        return exchange(url, Box::new(tcp), limit).await;
    }
    let ca = reach.ca.as_deref().filter(|_| reach.is_own(&name, port));
    let tls = Trust::new(ca)?.connect(&name, tcp).await?;
    exchange(url, Box::new(tls), limit).await
}

/// A connection, with TLS or without. Behind a pointer, so that HTTP is in the program once.
trait Line: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Line for S {}

async fn exchange(url: &Url, stream: Box<dyn Line>, limit: usize) -> Result<(Reply, HeaderMap), Error> {
    let failed = |action| move |error: hyper::Error| answer(url, action, twin::source::sentence(&error));
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed("begin HTTP"))?;
    // Ends when the sender is dropped.
    let connection = tokio::spawn(connection);
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", host(url)),
        None => host(url),
    };
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "homebolt")
        .body(Empty::<Bytes>::new())
        .map_err(|error| answer(url, "be asked", error.to_string()))?;
    let (head, body) = sender.send_request(request).await.map_err(failed("answer"))?.into_parts();
    let body = Limited::new(body, limit).collect().await;
    connection.abort();
    let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(_) => Error::TooLong { host: host(url), limit },
        Err(error) => answer(url, "finish the answer", error.to_string()),
    })?;
    Ok((Reply { url: url.clone(), status: head.status, body: body.to_bytes() }, head.headers))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::Server;

    /// A server without TLS that answers one question with `answer`.
    async fn plain(answer: &'static str) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url =
            Url::parse(&format!("http://127.0.0.1:{}/stable.json", listener.local_addr().unwrap().port())).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        url
    }

    #[tokio::test]
    async fn only_a_server_that_the_owner_typed_with_http_is_asked_without_tls() {
        let url = plain("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        let own = |server: Server| Reach { own: vec![server], ca: None };
        let by_name = own(url[url::Position::BeforeHost..url::Position::AfterPort].parse().unwrap());
        assert!(matches!(ask(&url, &Reach::default(), 100).await, Err(Error::BadUrl { .. })));
        assert!(matches!(ask(&url, &by_name, 100).await, Err(Error::BadUrl { .. })));
        let reply = ask(&url, &own(Server::of(&url).unwrap()), 100).await.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, &b"hi"[..]));
    }

    #[tokio::test]
    async fn a_server_without_tls_cannot_send_on_to_another_one() {
        let url = plain("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n").await;
        let reach = Reach { own: vec![Server::of(&url).unwrap()], ca: None };
        assert!(matches!(ask(&url, &reach, 100).await, Err(Error::BadUrl { .. })));
    }
}
