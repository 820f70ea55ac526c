//! E-mail: copies go out as attachments and cannot be read back from here.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use fetch::{
    net::{self, ANSWER_LIMIT, CONNECT_LIMIT, within},
    tls::Trust,
};
use lettre::{
    Address, Message,
    message::{Attachment, MultiPart, SinglePart, header::ContentType},
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, AsyncTokioStream},
        extension::ClientId,
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{
    Error, Name, Probe, Saved, Scb,
    config::{Mail, MailTls},
    store::random,
};

/// Limit for a line of a server.
const LINE: u64 = 2_000;

/// Sends a code that the owner types back: proof that mail arrives where it is read.
pub(crate) async fn probe(config: &Mail) -> Result<Probe, Error> {
    let code = code(random()?);
    let text = format!(
        "This is a test of your node's backup by e-mail.\n\nEnter this code on the page that sent it:  {code}\n\n\
         From now on each change of your channels comes to this mailbox as a small encrypted file. Keep these mails: \
         the newest one brings your funds back if the node is lost.\n"
    );
    send(config, &format!("Test of the backup: {code}"), SinglePart::plain(text), None).await?;
    Ok(Probe::Mailed { code })
}

/// Sends a copy. It counts as saved when the server has taken it.
pub(crate) async fn push(config: &Mail, scb: &Scb) -> Result<Saved, Error> {
    let (name, hash) = (Name::of(scb), scb.hash());
    let text = format!(
        "The attached file is the newest backup of your node's {} channels. Together with the seed words it brings \
         their funds back.\n\nSHA-256: {hash}\n",
        scb.channels
    );
    let octets = ContentType::parse("application/octet-stream").map_err(|error| unsendable(&error))?;
    let attachment = Attachment::new(name.to_string()).body(scb.bytes.clone(), octets);
    let subject = format!("Channel backup, {} channels", scb.channels);
    send(config, &subject, SinglePart::plain(text), Some(attachment)).await?;
    Ok(Saved { name, hash, at: twin::source::now() })
}

/// Eight letters and digits that are not mistaken for each other.
fn code(random: [u8; 8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let letters: String = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    format!("{}-{}", &letters[..4], &letters[4..])
}

fn unsendable(error: &dyn std::error::Error) -> Error {
    Error::Setting { what: "the mail", why: error.to_string() }
}

fn address(what: &'static str, text: &str) -> Result<Address, Error> {
    text.trim().parse().map_err(|_| Error::Setting { what, why: format!("{text} is no e-mail address") })
}

async fn send(config: &Mail, subject: &str, text: SinglePart, attachment: Option<SinglePart>) -> Result<(), Error> {
    let (from, to) = (address("the sender", &config.from)?, address("the recipient", &config.to)?);
    let mut parts = MultiPart::mixed().singlepart(text);
    if let Some(attachment) = attachment {
        parts = parts.singlepart(attachment);
    }
    let message = Message::builder().from(from.into()).to(to.into()).subject(subject).multipart(parts);
    let message = message.map_err(|error| unsendable(&error))?;
    let mut connection = connect(config).await?;
    let credentials = Credentials::new(config.user.clone(), config.password.expose().to_owned());
    let mechanisms = [Mechanism::Plain, Mechanism::Login];
    let login = within(ANSWER_LIMIT, &config.host, "check the login", connection.auth(&mechanisms, &credentials));
    login.await?.map_err(|error| match code_of(&error) {
        Some(530..=535) => Error::Login { host: config.host.clone(), user: config.user.clone(), what: "password" },
        _ => failed(config, "check the login", &error),
    })?;
    let bytes = message.formatted();
    let sent = within(ANSWER_LIMIT, &config.host, "take the mail", connection.send(message.envelope(), &bytes)).await?;
    sent.map_err(|error| match code_of(&error) {
        Some(552 | 452 | 422) => Error::Full { place: format!("the mailbox of {}", config.to) },
        _ => failed(config, "take the mail", &error),
    })?;
    // The mail is taken; a server that does not say goodbye changes nothing.
    let _ = within(ANSWER_LIMIT, &config.host, "say goodbye", connection.quit()).await;
    Ok(())
}

fn code_of(error: &lettre::transport::smtp::Error) -> Option<u16> {
    error.status().map(u16::from)
}

fn failed(config: &Mail, action: &'static str, error: &dyn std::error::Error) -> Error {
    let what = twin::source::sentence(error).chars().filter(|letter| !letter.is_control()).take(200).collect();
    Error::Answer { host: config.host.clone(), action, what }
}

async fn connect(config: &Mail) -> Result<AsyncSmtpConnection, Error> {
    let mut tcp = net::connect(&config.host, config.port).await?;
    let trust = Trust::new(config.ca.as_deref())?;
    let mut greeting: &[u8] = b"";
    if config.tls == MailTls::StartTls {
        let begin = start_tls(&mut tcp);
        // A server that wants TLS from the first byte says nothing at all.
        let start = within(CONNECT_LIMIT, &config.host, "begin SMTP (is it the right port?)", begin).await?;
        start.map_err(|what| fetch::Error::Tls { host: config.host.clone(), what })?;
        // The library waits for a greeting, which the server gave before TLS began.
        greeting = b"220 ready\r\n";
    }
    let tls = trust.connect(&config.host, tcp).await?;
    let (wire, hello) = (Box::new(Wire { greeting, tls }), ClientId::default());
    let begin = AsyncSmtpConnection::connect_with_transport(wire, &hello);
    let begun = within(ANSWER_LIMIT, &config.host, "begin SMTP", begin).await?;
    begun.map_err(|error| failed(config, "begin SMTP", &error))
}

/// The dialogue up to TLS.
async fn start_tls(tcp: &mut TcpStream) -> Result<(), String> {
    let mut stream = BufReader::new(tcp);
    expect(&mut stream, "220").await?;
    stream.write_all(b"EHLO homebolt\r\n").await.map_err(|error| error.kind().to_string())?;
    let offers = expect(&mut stream, "250").await?;
    if !offers.iter().any(|offer| offer.eq_ignore_ascii_case("STARTTLS")) {
        return Err("it does not offer STARTTLS: is it the right port?".to_owned());
    }
    stream.write_all(b"STARTTLS\r\n").await.map_err(|error| error.kind().to_string())?;
    expect(&mut stream, "220").await?;
    // What someone put in before TLS must not count as said within it.
    if stream.buffer().is_empty() { Ok(()) } else { Err("it spoke before TLS began".to_owned()) }
}

/// The lines of a reply with this code, without it.
async fn expect(stream: &mut (impl AsyncBufReadExt + Unpin), code: &str) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    while lines.len() < 100 {
        let mut line = String::new();
        let read = (&mut *stream).take(LINE).read_line(&mut line).await;
        read.map_err(|error| format!("it does not speak SMTP ({})", error.kind()))?;
        let line = line.trim_end();
        let Some(rest) = line.strip_prefix(code) else {
            let said: String = line.chars().filter(|letter| !letter.is_control()).take(80).collect();
            return Err(if said.is_empty() {
                "it says nothing".to_owned()
            } else {
                format!("it says \u{201c}{said}\u{201d}")
            });
        };
        lines.push(rest.get(1..).unwrap_or_default().to_owned());
        if !rest.starts_with('-') {
            return Ok(lines);
        }
    }
    Err("it does not stop talking".to_owned())
}

/// The connection for the library, which reads `greeting` first.
#[derive(Debug)]
struct Wire {
    greeting: &'static [u8],
    tls: TlsStream<TcpStream>,
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tls.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.tls).poll_read(context, into);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(into.remaining()));
        into.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn said(bytes: &[u8]) -> Result<Vec<String>, String> {
        expect(&mut BufReader::new(bytes), "250").await
    }

    #[tokio::test]
    async fn a_reply_of_many_lines_ends_at_its_last() {
        let lines = said(b"250-mail.example\r\n250-SIZE 10\r\n250 STARTTLS\r\n220 later\r\n").await;
        assert_eq!(lines.unwrap(), ["mail.example", "SIZE 10", "STARTTLS"]);
        assert_eq!(said(b"554 go away\r\n").await.unwrap_err(), "it says \u{201c}554 go away\u{201d}");
        assert_eq!(said(b"").await.unwrap_err(), "it says nothing");
        assert_eq!(said("250-x\r\n".repeat(200).as_bytes()).await.unwrap_err(), "it does not stop talking");
    }

    #[test]
    fn a_code_has_no_letters_that_look_alike() {
        assert_eq!(code([0, 1, 31, 32, 255, 9, 14, 22]), "AB9A-9KQY");
    }

    proptest! {
        #[test]
        fn a_servers_bytes_break_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..300), code in "(250[- ])?") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(said(&[code.as_bytes(), &bytes].concat()));
        }
    }
}
