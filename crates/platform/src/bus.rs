//! The system's message bus.

use std::time::Duration;

use tokio::time::timeout;
use zbus::{Connection, connection::Builder};

use crate::Error;

/// One call to a service of the system takes at most so long.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A connection of its own, within [`ANSWER_LIMIT`].
///
/// # Errors
/// [`Error::Bus`] and [`Error::BusTimeout`].
pub async fn connect() -> Result<Connection, Error> {
    let connection = timeout(ANSWER_LIMIT, async { Builder::system().build().await }).await;
    connection.map_err(|_| Error::BusTimeout(ANSWER_LIMIT.as_secs()))?.map_err(Error::Bus)
}
