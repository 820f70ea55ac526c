//! HTTP: sockets, connections, the table of routes and what stands before them.

pub(crate) mod assets;
mod connection;
pub(crate) mod extract;
pub(crate) mod fail;
mod guard;
mod headers;
mod host;
mod listen;
mod plain;
#[cfg(test)]
mod recovery_tests;
pub(crate) mod routes;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod upload;
#[cfg(test)]
mod wire_tests;

pub(crate) use connection::serve;
pub(crate) use guard::{UPLOAD, clear_cookie, current, drain, is_plain, peer, session_cookie};
pub(crate) use host::came_by;
pub(crate) use listen::{Listeners, Wanted};
pub(crate) use plain::router as plain_router;

/// Bodies are forms of a few fields.
pub(crate) const BODY_LIMIT: usize = 32 * 1024;
