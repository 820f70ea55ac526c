//! Those who stand where bitcoind should, or in between. Fakes, for faults that a sound bitcoind does not have.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
};
use tokio_rustls::TlsAcceptor;

use crate::report::Outcome;

/// A real TLS server that hands what it gets to `behind`. Gives its port; serves to the end of the program.
pub(super) async fn tls_terminator(behind: u16) -> Outcome<u16> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(std::io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], der)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut tls = acceptor.accept(stream).await?;
            let mut behind = TcpStream::connect(("127.0.0.1", behind)).await?;
            copy_bidirectional(&mut tls, &mut behind).await.map(|_| ())
        }
    })
    .await
}

/// Answers whatever comes with these bytes and hangs up.
pub(super) async fn fake_that_says(words: String) -> Outcome<u16> {
    serve(move |mut stream| {
        let words = words.clone();
        async move {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await?;
            stream.write_all(words.as_bytes()).await
        }
    })
    .await
}

/// A fake that accepts and never says a word; counts who is connected.
pub(super) async fn fake_silent() -> Outcome<(u16, Arc<AtomicUsize>)> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let port = serve(move |mut stream| {
        let counted = counted.clone();
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut ignored = [0; 4096];
            while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
            counted.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    })
    .await?;
    Ok((port, count))
}

async fn serve<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> Outcome<u16>
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(port)
}

/// What a [`Relay`] does with messages: so many are dropped, and `MUTE` is all of them.
const MUTE: u32 = u32::MAX;

/// A line that loses what a real publisher sends: whole messages of ZMQ, never parts of one.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    pub(super) at: SocketAddr,
    drop: Arc<AtomicU32>,
}

impl Relay {
    /// Listens on `at` for one that wants to hear the publisher on `behind`.
    pub(super) async fn start(at: (&str, u16), behind: u16) -> Outcome<Self> {
        let listener = TcpListener::bind(at).await?;
        let relay = Self { at: listener.local_addr()?, drop: Arc::default() };
        let drop = relay.drop.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let drop = drop.clone();
                tokio::spawn(async move {
                    let publisher = TcpStream::connect(("127.0.0.1", behind)).await?;
                    let (from_client, mut to_client) = client.into_split();
                    let (from_publisher, mut to_publisher) = publisher.into_split();
                    let mut from_client = from_client;
                    tokio::select! {
                        done = tokio::io::copy(&mut from_client, &mut to_publisher) => done.map(|_| ()),
                        done = messages(from_publisher, &mut to_client, &drop) => done,
                    }
                });
            }
        });
        Ok(relay)
    }

    pub(super) fn lose(&self, messages: u32) {
        self.drop.store(messages, Ordering::SeqCst);
    }

    pub(super) fn mute(&self) {
        self.lose(MUTE);
    }

    pub(super) fn lost_all(&self) -> bool {
        self.drop.load(Ordering::SeqCst) == 0
    }
}

/// Hands on the greeting and all commands, and of the messages those that are not to be lost.
async fn messages(
    mut from: OwnedReadHalf,
    to: &mut (impl AsyncWriteExt + Unpin),
    drop: &AtomicU32,
) -> std::io::Result<()> {
    let mut greeting = [0; 64];
    from.read_exact(&mut greeting).await?;
    to.write_all(&greeting).await?;
    let mut message = Vec::new();
    loop {
        let flags = from.read_u8().await?;
        let long = flags & 2 != 0;
        let length = if long { from.read_u64().await? } else { from.read_u8().await?.into() };
        let mut body = vec![0; length as usize];
        from.read_exact(&mut body).await?;
        message.push(flags);
        message.extend(if long { length.to_be_bytes().to_vec() } else { vec![length as u8] });
        message.extend(body);
        let (more, command) = (flags & 1 != 0, flags & 4 != 0);
        if more {
            continue;
        }
        let take = |left: u32| match left {
            0 => None,
            MUTE => Some(MUTE),
            left => Some(left - 1),
        };
        if command || drop.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            to.write_all(&message).await?;
        }
        message.clear();
    }
}
