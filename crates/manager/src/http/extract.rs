//! What handlers take out of a request.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::fail::Fail;
use crate::session::Current;

/// Who is at the other end. Put into every request by the accept loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Fail> {
        // Without a connection (in a test) all requests share the limits of one address.
        Ok(parts.extensions.get().copied().unwrap_or(Self(Ipv4Addr::UNSPECIFIED.into())))
    }
}

/// The session the guard let through. In a handler of a public route there is none, so one that is declared public by
/// mistake answers nobody.
impl<S: Sync> FromRequestParts<S> for Current {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Fail> {
        parts.extensions.get().cloned().ok_or(Fail::SignedOut)
    }
}

/// A form's fields.
pub(crate) struct Form<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Form<T> {
    type Rejection = Fail;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fail> {
        match axum::Form::<T>::from_request(request, state).await {
            Ok(axum::Form(form)) => Ok(Self(form)),
            Err(rejection) => Err(Fail::Form(rejection.status())),
        }
    }
}
