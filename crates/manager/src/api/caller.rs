//! Who calls the API: a program with a key, or the owner's own session. The guard's part for programs.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{
    DefaultKeyedRateLimiter,
    clock::{Clock, DefaultClock},
};
use store::{Audit, Kind, TokenHash};

use super::{
    keys::{Key, Scope},
    problem::{Code, Problem},
};
use crate::{
    error::now,
    http::{current, drain},
    limits::quota,
    session::Current,
    shared::House,
};

/// Requests of one key or session: this many at once, then one in 20 ms.
const CALLS: (u32, Duration) = (200, Duration::from_millis(20));
/// Wrong keys from one address: a key cannot be guessed, this only saves work.
const WRONG: (u32, Duration) = (30, Duration::from_secs(1));
/// More callers than this are not remembered.
const REMEMBERED: usize = 4096;

/// Who was let through.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    Owner(Current),
    Key { key: Key, address: IpAddr },
}

impl Caller {
    /// How the audit log calls them.
    pub(crate) fn actor(&self) -> String {
        match self {
            Self::Owner(session) => session.actor(),
            Self::Key { key, address } => format!("key:{}@{address}", key.kept.name),
        }
    }

    /// From where the request came.
    pub(crate) fn address(&self) -> IpAddr {
        match self {
            Self::Owner(session) => session.address,
            Self::Key { address, .. } => *address,
        }
    }

    /// Hash of what let them in, a session's token or a key.
    pub(crate) fn token(&self) -> TokenHash {
        match self {
            Self::Owner(session) => session.id,
            Self::Key { key, .. } => key.kept.token_hash,
        }
    }

    /// Refuses a key without the scope; a session has all.
    pub(crate) fn need(&self, scope: Scope) -> Result<(), Problem> {
        match self {
            Self::Key { key, .. } if !key.may(scope) => Err(Problem::scope(scope.name())),
            _ => Ok(()),
        }
    }

    /// The number by which their requests are told apart.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Owner(_) => 0,
            Self::Key { key, .. } => key.kept.id,
        }
    }

    /// What one payment and a day's payments may cost, millisatoshis; `None`: what the owner does has no limit.
    pub(crate) fn limits(&self) -> Option<(u64, u64)> {
        match self {
            Self::Owner(_) => None,
            // A key without limits may not pay at all.
            Self::Key { key, .. } => {
                Some((key.kept.payment_max.unwrap_or_default(), key.kept.day_max.unwrap_or_default()))
            }
        }
    }

    pub(crate) fn audit(&self, action: &'static str, detail: impl Into<String>) -> Audit {
        Audit { at: now(), actor: self.actor(), action, detail: detail.into() }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(unauthorized)
    }
}

/// How often each caller may ask.
pub(crate) struct Pace {
    calls: DefaultKeyedRateLimiter<TokenHash>,
    wrong: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            calls: DefaultKeyedRateLimiter::keyed(quota(CALLS)),
            wrong: DefaultKeyedRateLimiter::keyed(quota(WRONG)),
            clock: DefaultClock::default(),
        }
    }

    fn call(&self, caller: &TokenHash) -> Result<(), Problem> {
        self.calls.check_key(caller).map_err(|until| Problem::wait(until.wait_time_from(self.clock.now())))
    }

    fn wrong(&self, address: IpAddr) -> Problem {
        if self.wrong.len() >= REMEMBERED {
            return unauthorized();
        }
        match self.wrong.check_key(&address) {
            Ok(()) => unauthorized(),
            Err(until) => Problem::wait(until.wait_time_from(self.clock.now())),
        }
    }

    /// Forgets who has been quiet.
    pub(crate) fn sweep(&self) {
        self.calls.retain_recent();
        self.calls.shrink_to_fit();
        self.wrong.retain_recent();
        self.wrong.shrink_to_fit();
    }
}

fn unauthorized() -> Problem {
    let detail = "Send a key: 'Authorization: Bearer hbk_...'. Keys are made on the page /settings/keys.";
    Problem::new(Code::Unauthorized, detail)
}

/// Lets a request pass that has a key with the scope, or the owner's session. `needed` is `None` where any key will do.
pub(crate) async fn pass(house: &Arc<House>, needed: Option<Scope>, mut request: Request, next: Next) -> Response {
    let address = crate::http::peer(&request);
    match admit(house, needed, &request, address) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            drain(request).await;
            problem.into_response()
        }
    }
}

fn admit(house: &House, needed: Option<Scope>, request: &Request, address: IpAddr) -> Result<Caller, Problem> {
    let headers = request.headers();
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let token = authorization.to_str().ok().and_then(bearer);
        let key = token.and_then(|token| house.api.keys.find(token)).ok_or_else(|| house.api.pace.wrong(address))?;
        house.api.pace.call(&key.kept.token_hash)?;
        return match needed {
            Some(scope) if !key.may(scope) => Err(Problem::scope(scope.name())),
            _ => Ok(Caller::Key { key, address }),
        };
    }
    let session = current(house, headers, address).filter(|session| session.kind == Kind::Owner);
    let session = session.ok_or_else(unauthorized)?;
    house.api.pace.call(&session.id)?;
    if !request.method().is_safe() && !is_our_own_page(headers, &session) {
        return Err((&crate::http::fail::Fail::Foreign).into());
    }
    Ok(Caller::Owner(session))
}

/// `Bearer <token>`; the word's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (word, token) = value.split_once(' ')?;
    word.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// As with forms: browsers say where a request comes from, and the layer before this one has compared it. Who says
/// nothing must know the session's token.
fn is_our_own_page(headers: &HeaderMap, session: &Current) -> bool {
    headers.contains_key("sec-fetch-site")
        || headers.contains_key(header::ORIGIN)
        || headers
            .get("x-csrf-token")
            .and_then(|token| token.to_str().ok())
            .is_some_and(|token| session.csrf_matches(token))
}
