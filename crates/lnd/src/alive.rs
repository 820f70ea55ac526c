//! A stream that tells when it is gone.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether the connection still has an owner. HTTP/2 drops its stream as soon as the peer, the keep-alive or a fault
/// ends it, so who looks here before a call need not find out by a failed one.
#[derive(Debug, Clone)]
pub(crate) struct Alive(Arc<AtomicBool>);

impl Alive {
    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream and its mark of life.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    alive: Alive,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> (Self, Alive) {
        let alive = Alive(Arc::new(AtomicBool::new(true)));
        (Self { stream, alive: alive.clone() }, alive)
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        self.alive.0.store(false, Ordering::Release);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
