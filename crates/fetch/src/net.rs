//! TCP connections whose faults have names.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::Error;

/// Limit for finding the name, again for the TCP connection, and again for what is shaken above it.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Limit for one answer.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Connects to the first address of the host that answers.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, Error> {
    let found = find(host, port).await?;
    connect_to(host, port, &found).await
}

/// The addresses of a host; at least one.
pub async fn find(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let found = within(CONNECT_LIMIT, host, "be found", lookup_host((plain, port))).await?;
    let addresses: Vec<_> = found.map_err(|_| Error::NameNotFound { host: host.to_owned() })?.collect();
    if addresses.is_empty() {
        return Err(Error::NameNotFound { host: host.to_owned() });
    }
    Ok(addresses)
}

/// Connects to the first of these addresses that answers, and to no other.
pub async fn connect_to(host: &str, port: u16, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let connected = within(CONNECT_LIMIT, host, "answer", TcpStream::connect(addresses)).await?;
    let stream = connected.map_err(|error| fault(host, port, &error))?;
    // Small questions, each waiting for its answer.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn fault(host: &str, port: u16, error: &io::Error) -> Error {
    let host = host.to_owned();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::Refused { host, port },
        // The kind alone: the owner needs no error number.
        kind => Error::Unreachable { host, port, what: kind.to_string() },
    }
}

/// Waits no longer than `limit` for what `host` does.
pub async fn within<T>(
    limit: Duration,
    host: &str,
    action: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let late = |_| Error::Timeout { host: host.to_owned(), action, seconds: limit.as_secs() };
    timeout(limit, work).await.map_err(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_name_and_a_closed_port_are_told_apart() {
        let unknown = connect("no-such-host.invalid", 22).await.unwrap_err();
        assert!(matches!(unknown, Error::NameNotFound { .. }), "{unknown}");
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let closed = connect("127.0.0.1", free).await.unwrap_err();
        assert!(matches!(closed, Error::Refused { port, .. } if port == free), "{closed}");
    }
}
