//! Asking servers of others over HTTPS: one question, one bounded answer.
//!
//! ```text
//!  url ─► may it be asked? ─► net  TCP whose faults have names ─► tls  whom it trusts, and why not ─► answer, bounded
//!            ▲ https, no user, and no address in the owner's network (unless the owner named the server)  │
//!            └──────────────────────────── a redirect is looked at just as closely ◄──────────────────────┘
//! ```
//!
//! Addresses that come from strangers, as in a Lightning address, must not make the box knock at doors inside the home:
//! names are looked up once, the addresses found are judged, and the connection goes to those very addresses.

mod ask;
mod error;
pub mod net;
mod reach;
pub mod tls;

pub use ask::{Reply, ask};
pub use error::Error;
pub use reach::{NotAServer, Reach, Server, is_public};
