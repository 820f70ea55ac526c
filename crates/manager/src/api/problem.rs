//! Errors of the API: problem+json (RFC 9457) with a code that stays.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::fail::{Fail, wait_seconds};

/// Why something was not done. The names are part of the API: never changed, only added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    Unauthorized,
    ScopeMissing,
    ProofWrong,
    ForeignOrigin,
    NotFound,
    MethodNotAllowed,
    BadRequest,
    BodyTooLarge,
    NotJson,
    InvalidValue,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    TicketUsed,
    TicketExpired,
    PaymentLimit,
    DayLimit,
    AlreadyPaid,
    PaymentOnItsWay,
    InvoiceExpired,
    InsufficientBalance,
    PeerOffline,
    NodeRefused,
    Refused,
    NothingDone,
    OutcomeUnknown,
    NodeAway,
    NotKnownYet,
    RateLimited,
    Busy,
    DiskFull,
    Internal,
}

impl Code {
    pub(crate) const ALL: [Self; 31] = [
        Self::Unauthorized,
        Self::ScopeMissing,
        Self::ProofWrong,
        Self::ForeignOrigin,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BadRequest,
        Self::BodyTooLarge,
        Self::NotJson,
        Self::InvalidValue,
        Self::IdempotencyKeyMissing,
        Self::IdempotencyKeyReused,
        Self::TicketUsed,
        Self::TicketExpired,
        Self::PaymentLimit,
        Self::DayLimit,
        Self::AlreadyPaid,
        Self::PaymentOnItsWay,
        Self::InvoiceExpired,
        Self::InsufficientBalance,
        Self::PeerOffline,
        Self::NodeRefused,
        Self::Refused,
        Self::NothingDone,
        Self::OutcomeUnknown,
        Self::NodeAway,
        Self::NotKnownYet,
        Self::RateLimited,
        Self::Busy,
        Self::DiskFull,
        Self::Internal,
    ];

    /// Its name in the JSON, its status, and a few words that are the same each time.
    pub(crate) fn about(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "No valid key"),
            Self::ScopeMissing => ("scope_missing", S::FORBIDDEN, "The key may not do this"),
            Self::ProofWrong => ("proof_wrong", S::FORBIDDEN, "It is not proven that the owner asks"),
            Self::ForeignOrigin => ("foreign_origin", S::FORBIDDEN, "The request came from a foreign page"),
            Self::NotFound => ("not_found", S::NOT_FOUND, "There is no such thing"),
            Self::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED, "This cannot be done here"),
            Self::BadRequest => ("bad_request", S::BAD_REQUEST, "The request cannot be read"),
            Self::BodyTooLarge => ("body_too_large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::NotJson => ("not_json", S::UNSUPPORTED_MEDIA_TYPE, "The body is not JSON"),
            Self::InvalidValue => ("invalid_value", S::UNPROCESSABLE_ENTITY, "A value is not right"),
            Self::IdempotencyKeyMissing => {
                ("idempotency_key_missing", S::BAD_REQUEST, "The header Idempotency-Key is missing")
            }
            Self::IdempotencyKeyReused => {
                ("idempotency_key_reused", S::UNPROCESSABLE_ENTITY, "The Idempotency-Key was used for something else")
            }
            Self::TicketUsed => ("ticket_used", S::CONFLICT, "The ticket is used"),
            Self::TicketExpired => ("ticket_expired", S::CONFLICT, "The ticket is too old"),
            Self::PaymentLimit => ("payment_limit", S::FORBIDDEN, "More than the key may pay at once"),
            Self::DayLimit => ("day_limit", S::FORBIDDEN, "More than the key may pay in 24 hours"),
            Self::AlreadyPaid => ("already_paid", S::CONFLICT, "This is paid already"),
            Self::PaymentOnItsWay => ("payment_on_its_way", S::CONFLICT, "This payment is on its way"),
            Self::InvoiceExpired => ("invoice_expired", S::CONFLICT, "The invoice has expired"),
            Self::InsufficientBalance => ("insufficient_balance", S::CONFLICT, "There is not enough money"),
            Self::PeerOffline => ("peer_offline", S::CONFLICT, "The peer is not connected"),
            Self::NodeRefused => ("node_refused", S::CONFLICT, "The node refused"),
            Self::Refused => ("refused", S::CONFLICT, "The box refused"),
            Self::NothingDone => ("nothing_done", S::CONFLICT, "It failed, and nothing was done"),
            Self::OutcomeUnknown => ("outcome_unknown", S::CONFLICT, "It may have been done"),
            Self::NodeAway => ("node_away", S::SERVICE_UNAVAILABLE, "Lightning is not ready"),
            Self::NotKnownYet => ("not_known_yet", S::SERVICE_UNAVAILABLE, "The node was not read yet"),
            Self::RateLimited => ("rate_limited", S::TOO_MANY_REQUESTS, "Too many requests"),
            Self::Busy => ("busy", S::SERVICE_UNAVAILABLE, "The box is busy"),
            Self::DiskFull => ("disk_full", S::SERVICE_UNAVAILABLE, "The data disk is full"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Something went wrong in the box"),
        }
    }
}

/// An error of the API.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    /// A sentence: what to do.
    pub(crate) detail: String,
    /// The scope that the key lacks.
    scope: Option<&'static str>,
    wait: Option<Duration>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), scope: None, wait: None }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidValue, crate::pages::words::sentence(&detail.into()))
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}. Look at the list it should be in."))
    }

    pub(crate) fn scope(scope: &'static str) -> Self {
        let detail = format!("This key lacks the scope '{scope}'. Make a key with it on the page /settings/keys.");
        Self { scope: Some(scope), ..Self::new(Code::ScopeMissing, detail) }
    }

    pub(crate) fn wait(time: Duration) -> Self {
        let detail = format!("Wait {} s, then try again.", wait_seconds(time));
        Self { wait: Some(time), ..Self::new(Code::RateLimited, detail) }
    }
}

/// The error as it is sent.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Wire {
    /// Where the code is explained.
    r#type: String,
    /// A few words for a person, the same for each error of this code.
    title: &'static str,
    /// The HTTP status once more.
    status: u16,
    /// A sentence for a person: what is wrong and what to do.
    detail: String,
    /// What programs tell errors apart by.
    code: Code,
    /// With `scope_missing`: the scope that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (name, status, title) = self.code.about();
        let wire = Wire {
            r#type: format!("/api#{name}"),
            title,
            status: status.as_u16(),
            detail: self.detail,
            code: self.code,
            scope: self.scope,
        };
        let body = serde_json::to_vec(&wire).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"homebolt\""));
        }
        if let Some(wait) = self.wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_seconds(wait)));
        }
        response
    }
}

impl From<&Fail> for Problem {
    fn from(fail: &Fail) -> Self {
        let say = |code, detail: &str| Self::new(code, detail);
        match fail {
            Fail::NotFound => say(Code::NotFound, "There is no such address. All of them are listed on the page /api."),
            Fail::Method => say(Code::MethodNotAllowed, "This address knows other methods: see the header Allow."),
            Fail::Foreign => {
                say(Code::ForeignOrigin, "Nothing was done. With a session, send the header X-CSRF-Token or use a key.")
            }
            Fail::SignedOut => say(Code::Unauthorized, "Send a key: 'Authorization: Bearer ...'."),
            Fail::Form(StatusCode::PAYLOAD_TOO_LARGE) => say(Code::BodyTooLarge, "Send less than 32 kB."),
            Fail::Form(_) => say(Code::BadRequest, "The body did not arrive whole. Send it again."),
            Fail::Wait(time) => Self::wait(*time),
            Fail::Slow => say(Code::Busy, "It took too long to answer. Look whether it was done before trying again."),
            Fail::Full => say(Code::DiskFull, "Nothing was done. Make room on the data disk, then try again."),
            _ => say(Code::Internal, "Try again. If it stays so, restart the box; its journal says more."),
        }
    }
}

impl From<Fail> for Problem {
    fn from(fail: Fail) -> Self {
        (&fail).into()
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        Fail::from(error).into()
    }
}

impl From<crate::error::Error> for Problem {
    fn from(error: crate::error::Error) -> Self {
        Fail::from(error).into()
    }
}

/// LND's refusals: what a program must tell apart has a code, the rest has LND's words.
impl From<lnd::Error> for Problem {
    fn from(error: lnd::Error) -> Self {
        use lnd::Error as E;
        let code = match &error {
            E::AlreadyPaid => Code::AlreadyPaid,
            E::InTransition => Code::PaymentOnItsWay,
            E::Expired => Code::InvoiceExpired,
            E::InsufficientBalance { .. } => Code::InsufficientBalance,
            E::PeerOffline => Code::PeerOffline,
            E::BadRequest { .. } | E::Malformed { .. } => Code::InvalidValue,
            E::NotFound(_) => Code::NotFound,
            E::Timeout { .. } | E::Ended { .. } => Code::OutcomeUnknown,
            E::PeerConnected | E::Call { .. } | E::NotPermitted { .. } | E::Answer { .. } => Code::NodeRefused,
            _ => Code::NodeAway,
        };
        Self::new(code, crate::pages::node::refusal(&error))
    }
}

/// Whether an address belongs to programs and not to people.
pub(crate) fn is_for_programs(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics"
}

/// The layer that gives programs a problem where people get a page.
pub(crate) async fn instead_of_page(request: Request, next: Next) -> Response {
    let is_program = is_for_programs(request.uri().path());
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) if is_program => {
            let allow = response.headers_mut().remove(header::ALLOW);
            let mut response = problem.into_response();
            allow.map(|allow| response.headers_mut().insert(header::ALLOW, allow));
            response
        }
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_name_which_is_the_one_in_the_json() {
        for code in Code::ALL {
            let (name, status, title) = code.about();
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{name}\""));
            assert!(status.is_client_error() || status.is_server_error());
            assert!(!title.is_empty());
            assert_eq!(Code::ALL.iter().filter(|other| other.about().0 == name).count(), 1);
        }
    }
}
