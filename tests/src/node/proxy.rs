//! A fake for faults: a TCP proxy that delays what passes, or holds it up altogether.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::report::Outcome;

/// Nothing passes.
const HELD: u64 = u64::MAX;

pub(super) struct SlowProxy {
    pub(super) address: SocketAddr,
    delay: Arc<AtomicU64>,
    task: tokio::task::AbortHandle,
}

impl SlowProxy {
    /// Each piece waits for `delay` in each direction.
    pub(super) async fn start(to: SocketAddr, delay: Duration) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let delay = Arc::new(AtomicU64::new(u64::try_from(delay.as_millis())?));
        let of_task = delay.clone();
        let task = tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let Ok(there) = TcpStream::connect(to).await else { continue };
                let (from_here, to_here) = here.into_split();
                let (from_there, to_there) = there.into_split();
                tokio::spawn(pass(from_here, to_there, of_task.clone()));
                tokio::spawn(pass(from_there, to_here, of_task.clone()));
            }
        });
        Ok(Self { address, delay, task: task.abort_handle() })
    }

    /// From now on nothing passes.
    pub(super) fn hold(&self) {
        self.delay.store(HELD, Ordering::Relaxed);
    }

    /// From now on everything passes at once.
    pub(super) fn release(&self) {
        self.delay.store(0, Ordering::Relaxed);
    }
}

impl Drop for SlowProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        sleep(Duration::from_millis(match delay.load(Ordering::Relaxed) {
            HELD => 0,
            delay => delay,
        }))
        .await;
        while delay.load(Ordering::Relaxed) == HELD {
            sleep(Duration::from_millis(20)).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
