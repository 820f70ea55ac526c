//! Connections: accepted, counted, encrypted, served and, when they do nothing, closed.

use std::{
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{
    Request,
    body::{Frame, Incoming, SizeHint},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::extract::Peer;
use crate::error::Error;

/// Connections at once on one listener: enough for a household's tabs, little enough for a small box.
const CONNECTIONS: usize = 192;
/// For a handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection on which nothing is asked or answered for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How long a shutdown waits for answers under way.
const GRACE: Duration = Duration::from_secs(3);

/// Accepts on `listener` until `stop` is dropped or changes, then lets answers under way finish.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    mut stop: watch::Receiver<()>,
) -> Result<(), Error> {
    let listener = TcpListener::from_std(listener).map_err(Error::system("use a socket"))?;
    let acceptor = tls.map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Waiting for room before accepting leaves newcomers in the kernel's queue instead of turning them away.
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            _ = stop.changed() => break,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            match acceptor {
                None => converse(stream, peer, router, watcher).await,
                Some(acceptor) => match time::timeout(PATIENCE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, peer, router, watcher).await,
                    // Port scans, browsers that do not trust the certificate yet: daily business.
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
                    Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
                },
            }
        });
    }
    drop(listener);
    let _ = time::timeout(GRACE, graceful.shutdown()).await;
    Ok(())
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Pages are small: they should leave at once.
            let _ = stream.set_nodelay(true);
            Some((stream, peer.ip().to_canonical(), permit))
        }
        Err(error) => {
            // Mostly: no file descriptors left. Trying at once again would only burn the processor.
            tracing::warn!(%error, "a connection could not be accepted");
            time::sleep(Duration::from_millis(200)).await;
            None
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: IpAddr,
    router: Router,
    watcher: Watcher,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(32)
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let busy = Arc::new(Busy::default());
    let service = {
        let busy = busy.clone();
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let guard = BusyGuard::new(busy.clone());
            request.extensions_mut().insert(Peer(peer));
            let router = router.clone();
            async move {
                let response = router.oneshot(request.map(Body::new)).await?;
                Ok::<_, std::convert::Infallible>(response.map(|body| Answer { body, _guard: guard }))
            }
        })
    };
    let connection = watcher.watch(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection => outcome,
        () = idle(&busy) => return,
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// What happens on one connection.
#[derive(Default)]
struct Busy {
    /// Requests whose answer has not been sent whole.
    open: AtomicUsize,
    /// Requests ever begun.
    begun: AtomicUsize,
}

/// Resolves once nothing was open and nothing was begun for [`IDLE`].
async fn idle(busy: &Busy) {
    let mut seen = busy.begun.load(Ordering::Relaxed);
    loop {
        time::sleep(IDLE).await;
        let begun = busy.begun.load(Ordering::Relaxed);
        if busy.open.load(Ordering::Relaxed) == 0 && begun == seen {
            return;
        }
        seen = begun;
    }
}

struct BusyGuard(Arc<Busy>);

impl BusyGuard {
    fn new(busy: Arc<Busy>) -> Self {
        busy.open.fetch_add(1, Ordering::Relaxed);
        busy.begun.fetch_add(1, Ordering::Relaxed);
        Self(busy)
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body; the request counts as open until it is gone, which for a stream of events is long after the head.
struct Answer {
    body: Body,
    _guard: BusyGuard,
}

impl hyper::body::Body for Answer {
    type Data = hyper::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        pin!(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
