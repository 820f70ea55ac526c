//! LNURL-pay as plain data, without I/O: what was typed, what the service says, what its invoice must hold.
//!
//! ```text
//!  ann@example.com ─┐
//!  LNURL1…          ├─► Target ─ url ─► Offer (amounts, text, comment) ─ callback ─► Answer (invoice, success action)
//!  lnurlp://…      ─┘                     └── Offer::check(amount, invoice) ◄──────────┘
//! ```
//!
//! By the documents of the LNURL project: LUD-01 (bech32), 06 (pay), 09 (success actions), 12 (comments), 16 (Lightning
//! addresses), 17 (schemes). All of it is told by strangers: texts are cleaned, numbers are checked, and the invoice is
//! paid only if it asks for the amount that was chosen and commits to the text that was shown.

mod answer;
mod offer;
mod target;
mod text;

pub use answer::{Answer, Success};
pub use offer::{MAX_METADATA, Mismatch, Offer};
pub use target::{Address, NoTarget, Target};

/// Why an answer of a service cannot be used. A sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// In the service's own words, cleaned.
    #[error("the service says: {0}")]
    Refused(String),
    #[error("the service answers with something else than LNURL: {0}")]
    Malformed(String),
    /// Of another kind of LNURL: `withdrawRequest`, `login`, `channelRequest`.
    #[error("this code is not for paying; it is a {0}")]
    OtherKind(String),
    #[error("the service takes no payment without knowing the payer's {0}, which this box does not tell")]
    WantsPayer(String),
}
