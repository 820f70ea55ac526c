//! A small HTTP/1.1 client that shows what browsers hide: status, headers, the certificate.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use crate::report::{Fault, Outcome, ensure, fails};

/// Under emulation a page with a password check takes seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// Name of the session's cookie.
const COOKIE: &str = "__Host-homebolt";

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Where a redirect leads.
    pub(crate) fn location(&self) -> &str {
        self.header("location").unwrap_or_default()
    }

    /// The session that the answer begins.
    pub(crate) fn session(&self) -> Option<String> {
        let cookie = self.header("set-cookie")?.strip_prefix(COOKIE)?.strip_prefix('=')?;
        cookie.split(';').next().filter(|token| !token.is_empty()).map(str::to_owned)
    }
}

/// How the server's certificate is looked at.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// No TLS.
    Plain,
    /// Any certificate, as who clicks the warning away.
    Any,
    /// Only what this authority vouches for under this name.
    Authority { pem: Vec<u8>, name: String },
}

/// One server as seen by one visitor.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    port: u16,
    trust: Trust,
    patience: Duration,
    /// Session token to send along.
    pub(crate) session: Option<String>,
}

/// A request beyond method and path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra<'a> {
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) form: &'a [(&'a str, &'a str)],
}

impl Client {
    pub(crate) fn plain(port: u16) -> Self {
        Self { port, trust: Trust::Plain, patience: PATIENCE, session: None }
    }

    pub(crate) fn tls(port: u16) -> Self {
        Self { port, trust: Trust::Any, patience: PATIENCE, session: None }
    }

    pub(crate) fn trusting(port: u16, pem: &[u8], name: &str) -> Self {
        let trust = Trust::Authority { pem: pem.to_vec(), name: name.to_owned() };
        Self { port, trust, patience: PATIENCE, session: None }
    }

    /// The same visitor with this session.
    pub(crate) fn with_session(&self, token: &str) -> Self {
        Self { session: Some(token.to_owned()), ..self.clone() }
    }

    /// The same visitor with less time, or more.
    pub(crate) fn within(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// What the address bar of a browser shows.
    pub(crate) fn origin(&self) -> String {
        let scheme = if matches!(self.trust, Trust::Plain) { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub(crate) fn get(&self, path: &str) -> Outcome<Answer> {
        self.send("GET", path, &Extra::default())
    }

    /// Sends a form as a browser does from the box's own page.
    pub(crate) fn post(&self, path: &str, form: &[(&str, &str)]) -> Outcome<Answer> {
        let origin = self.origin();
        self.send("POST", path, &Extra { headers: &[("Origin", &origin)], form })
    }

    /// Sends JSON, as programs do.
    pub(crate) fn post_json(&self, path: &str, headers: &[(&str, &str)], json: &str) -> Outcome<Answer> {
        self.send_json("POST", path, headers, json)
    }

    pub(crate) fn send_json(&self, method: &str, path: &str, headers: &[(&str, &str)], json: &str) -> Outcome<Answer> {
        self.connect()?.exchange(method, path, headers, ("application/json", json), false)
    }

    pub(crate) fn send(&self, method: &str, path: &str, extra: &Extra) -> Outcome<Answer> {
        let mut connection = self.connect()?;
        connection.send(method, path, extra, false)
    }

    /// Opens a connection and shakes hands.
    pub(crate) fn connect(&self) -> Outcome<Connection> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let tcp = TcpStream::connect_timeout(&address, self.patience)?;
        tcp.set_read_timeout(Some(self.patience))?;
        tcp.set_write_timeout(Some(self.patience))?;
        tcp.set_nodelay(true)?;
        let stream = match &self.trust {
            Trust::Plain => Stream::Plain(tcp),
            trust => {
                let (config, name) = config(trust)?;
                let mut tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, tcp);
                while tls.conn.is_handshaking() {
                    tls.conn.complete_io(&mut tls.sock)?;
                }
                Stream::Tls(Box::new(tls))
            }
        };
        let host = match &self.trust {
            Trust::Authority { name, .. } => format!("{name}:{}", self.port),
            _ => format!("127.0.0.1:{}", self.port),
        };
        Ok(Connection { stream: BufReader::new(stream), host, session: self.session.clone() })
    }

    /// The certificates the server shows, its own first.
    pub(crate) fn certificates(&self) -> Outcome<Vec<CertificateDer<'static>>> {
        match self.connect()?.stream.into_inner() {
            Stream::Plain(_) => fails("a plain connection has no certificate"),
            Stream::Tls(tls) => Ok(tls.conn.peer_certificates().unwrap_or_default().to_vec()),
        }
    }
}

/// An open connection.
pub(crate) struct Connection {
    stream: BufReader<Stream>,
    host: String,
    session: Option<String>,
}

impl Connection {
    /// Sends a request and reads the whole answer. `keep`: the connection is to stay open.
    pub(crate) fn send(&mut self, method: &str, path: &str, extra: &Extra, keep: bool) -> Outcome<Answer> {
        let form = encode(extra.form);
        self.exchange(method, path, extra.headers, ("application/x-www-form-urlencoded", &form), keep)
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        (kind, body): (&str, &str),
        keep: bool,
    ) -> Outcome<Answer> {
        let connection = if keep { "keep-alive" } else { "close" };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n", self.host);
        if let Some(session) = &self.session {
            head += &format!("Cookie: {COOKIE}={session}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if method != "GET" && method != "HEAD" {
            head += &format!("Content-Type: {kind}\r\n");
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let request = [head.as_bytes(), b"\r\n", body.as_bytes()].concat();
        self.stream.get_mut().write_all(&request)?;
        self.stream.get_mut().flush()?;
        read(&mut self.stream, method == "HEAD")
    }
}

impl Connection {
    /// Sends a file as a browser does from a form with a field for it, piece by piece.
    pub(crate) fn upload(mut self, path: &str, field: &str, file: &Path) -> Outcome<Answer> {
        let boundary = "----homebolt-tests";
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let begin = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let end = format!("\r\n--{boundary}--\r\n");
        let mut file = File::open(file)?;
        let length = begin.len() as u64 + file.metadata()?.len() + end.len() as u64;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {length}\r\n\r\n",
            host = self.host
        );
        let stream = self.stream.get_mut();
        stream.write_all((head + &begin).as_bytes())?;
        std::io::copy(&mut file, stream)?;
        stream.write_all(end.as_bytes())?;
        stream.flush()?;
        read(&mut self.stream, false)
    }
}

/// A WebSocket: text both ways, as much as LND's REST needs.
pub(crate) struct Socket(BufReader<Stream>);

impl Connection {
    /// Asks for a WebSocket; an error unless it is granted.
    pub(crate) fn socket(mut self, path: &str, headers: &[(&str, &str)]) -> Outcome<Socket> {
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            self.host
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.stream.get_mut().write_all((head + "\r\n").as_bytes())?;
        self.stream.get_mut().flush()?;
        let first = line(&mut self.stream)?;
        if !first.contains(" 101 ") {
            return fails(format!("no WebSocket but {first:?}"));
        }
        while !line(&mut self.stream)?.is_empty() {}
        Ok(Socket(self.stream))
    }
}

impl Socket {
    /// A short text.
    pub(crate) fn say(&mut self, text: &str) -> Outcome {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126);
        let Some(length) = length else { return fails("the text is too long") };
        // What a client says is masked; by zeros it stays as it is.
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
        self.0.get_mut().write_all(&frame)?;
        Ok(self.0.get_mut().flush()?)
    }

    /// The next text; `None` at the end. Pings are not answered.
    pub(crate) fn hear(&mut self) -> Outcome<Option<String>> {
        loop {
            let mut head = [0; 2];
            if self.0.read_exact(&mut head).is_err() {
                return Ok(None);
            }
            let mut length = u64::from(head[1] & 0x7f);
            if length == 126 {
                let mut long = [0; 2];
                self.0.read_exact(&mut long)?;
                length = u16::from_be_bytes(long).into();
            } else if length == 127 {
                let mut long = [0; 8];
                self.0.read_exact(&mut long)?;
                length = u64::from_be_bytes(long);
            }
            let mut text = vec![0; usize::try_from(length)?];
            self.0.read_exact(&mut text)?;
            match head[0] & 0x0f {
                1 => return Ok(Some(String::from_utf8_lossy(&text).into_owned())),
                8 => return Ok(None),
                _ => {}
            }
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                // A server that hangs up without TLS's good-bye: how long the answer is, its head has said.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn read(stream: &mut impl BufRead, head_only: bool) -> Outcome<Answer> {
    let first = line(stream)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let Some(status) = status else { return fails(format!("not an HTTP answer: {first:?}")) };
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if head_only || matches!(status, 204 | 304) {
        return Ok(answer);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = line(stream)?;
            let Ok(size) = u64::from_str_radix(size.trim(), 16) else { return fails(format!("a chunk of {size:?}")) };
            stream.take(size).read_to_end(&mut answer.body)?;
            line(stream)?;
            if size == 0 {
                return Ok(answer);
            }
        }
    }
    match answer.header("content-length").map(str::parse::<u64>) {
        Some(Ok(length)) => {
            stream.take(length).read_to_end(&mut answer.body)?;
            ensure!(
                answer.body.len() as u64 == length,
                "the answer ended after {} of {length} bytes",
                answer.body.len()
            );
        }
        _ => {
            stream.read_to_end(&mut answer.body)?;
        }
    }
    Ok(answer)
}

fn line(stream: &mut impl BufRead) -> Outcome<String> {
    let mut line = String::new();
    let length = stream.take(64 * 1024).read_line(&mut line)?;
    ensure!(length > 0, "the server hung up");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A form as `application/x-www-form-urlencoded`.
pub(crate) fn encode(form: &[(&str, &str)]) -> String {
    let word = |text: &str| {
        text.bytes().fold(String::new(), |done, byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => done + &char::from(byte).to_string(),
            byte => done + &format!("%{byte:02X}"),
        })
    };
    form.iter().map(|(name, value)| format!("{}={}", word(name), word(value))).collect::<Vec<_>>().join("&")
}

fn config(trust: &Trust) -> Outcome<(ClientConfig, ServerName<'static>)> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    match trust {
        Trust::Authority { pem, name } => {
            let mut roots = RootCertStore::empty();
            let certificate =
                CertificateDer::from_pem_slice(pem).map_err(|error| Fault::Fails(format!("the authority: {error}")))?;
            roots.add(certificate)?;
            Ok((builder.with_root_certificates(roots).with_no_client_auth(), ServerName::try_from(name.clone())?))
        }
        _ => {
            let verifier = Arc::new(Anything(ring::default_provider()));
            let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
            Ok((config, ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST))))
        }
    }
}

/// Accepts every certificate, but not a wrong signature with it.
#[derive(Debug)]
struct Anything(rustls::crypto::CryptoProvider);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_a_length_in_pieces_and_until_the_end_are_read() {
        let body = |text: &str| read(&mut text.as_bytes(), false).unwrap();
        let answer = body("HTTP/1.1 303 See Other\r\nLocation: /sign-in\r\nContent-Length: 2\r\n\r\nhixx");
        assert_eq!((answer.status, answer.location(), answer.text().as_str()), (303, "/sign-in", "hi"));
        let pieces = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(body(pieces).text(), "abc0123456789");
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nall of it").text(), "all of it");
        assert!(read(&mut "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".as_bytes(), false).is_err());
        assert!(read(&mut "nonsense\r\n\r\n".as_bytes(), false).is_err());
    }

    #[test]
    fn a_session_is_taken_from_its_cookie() {
        let answer =
            |value: &str| Answer { status: 303, headers: vec![("set-cookie".into(), value.into())], body: Vec::new() };
        let cookie = format!("{COOKIE}=abc; Path=/; Secure");
        assert_eq!(answer(&cookie).session().as_deref(), Some("abc"));
        assert_eq!(answer(&format!("{COOKIE}=; Max-Age=0")).session(), None);
        assert_eq!(answer("other=abc").session(), None);
    }

    #[test]
    fn a_form_is_quoted() {
        assert_eq!(encode(&[("a", "x y&z"), ("b", "\u{e4}")]), "a=x%20y%26z&b=%C3%A4");
    }
}
