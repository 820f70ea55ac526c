//! The sockets: passed by systemd, or opened here.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use crate::error::Error;

/// What the command line asks for, for runs without systemd.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
}

/// Listening, non-blocking sockets.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) http: Vec<TcpListener>,
    pub(crate) https: Vec<TcpListener>,
}

impl Listeners {
    /// Takes over the sockets of systemd by their names, or opens those that are wanted when there are none.
    pub(crate) fn open(wanted: &Wanted) -> Result<Self, Error> {
        // Read before listenfd takes the variables away.
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut listeners = Self::default();
        if passed.len() > 0 {
            for (index, name) in names.split(':').enumerate().take(passed.len()) {
                let failed = |source| Error::Socket { name: name.to_owned(), source };
                let Some(listener) = passed.take_tcp_listener(index).map_err(failed)? else { continue };
                listener.set_nonblocking(true).map_err(failed)?;
                match name {
                    "http" => listeners.http.push(listener),
                    "https" => listeners.https.push(listener),
                    _ => tracing::warn!(name, "systemd passed a socket of unknown name; it is not used"),
                }
            }
        } else {
            listeners.http = wanted.http.iter().copied().map(bind).collect::<Result<_, _>>()?;
            listeners.https = wanted.https.iter().copied().map(bind).collect::<Result<_, _>>()?;
        }
        if listeners.https.is_empty() { Err(Error::NoSocket) } else { Ok(listeners) }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| Error::Listen { address, source })
}
