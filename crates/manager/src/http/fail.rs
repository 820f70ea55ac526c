//! Errors as pages: what the owner is told here, what the log is told there.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::html;
use rust_i18n::t;

use crate::{api::problem::Problem, error::Error, pages};

/// Why a request gets no other answer.
#[derive(Debug)]
pub(crate) enum Fail {
    NotFound,
    Method,
    /// The request came from a page that is not ours.
    Foreign,
    SignedOut,
    /// The form did not have the expected fields.
    Form(StatusCode),
    Wait(Duration),
    /// It took too long.
    Slow,
    /// No room on the data disk.
    Full,
    /// Ours to mend; the log says more.
    Broken,
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        if let Error::Store(store::Error::Full) = error {
            tracing::warn!("a request was refused: the data disk is full");
            return Self::Full;
        }
        tracing::error!(%error, "a request failed");
        Self::Broken
    }
}

impl From<store::Error> for Fail {
    fn from(error: store::Error) -> Self {
        Error::Store(error).into()
    }
}

impl Fail {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::Form(status) => *status,
            Self::Wait(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Slow | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A heading, and what to do.
    fn words(&self) -> (Cow<'static, str>, Cow<'static, str>) {
        match self {
            Self::NotFound => (t!("fail.not_found"), t!("fail.not_found_what")),
            Self::Method => (t!("fail.method"), t!("fail.method_what")),
            Self::Foreign => (t!("fail.foreign"), t!("fail.foreign_what")),
            Self::SignedOut => (t!("fail.signed_out"), t!("fail.signed_out_what")),
            Self::Form(_) => (t!("fail.form"), t!("fail.form_what")),
            Self::Wait(time) => (t!("fail.wait"), t!("fail.wait_what", time = wait_words(*time))),
            Self::Slow => (t!("fail.slow"), t!("fail.slow_what")),
            Self::Full => (t!("fail.full"), t!("fail.full_what")),
            Self::Broken => (t!("fail.broken"), t!("fail.broken_what")),
        }
    }
}

/// Whole seconds, rounded up: to come back at the second named must not be too early.
pub(crate) fn wait_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

pub(crate) fn wait_words(time: Duration) -> String {
    match wait_seconds(time) {
        1 => t!("fail.second").into(),
        seconds => t!("fail.seconds", count = seconds).into(),
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let problem = Problem::from(&self);
        let (heading, advice) = self.words();
        let body = html! {
            h1 { (heading) }
            p.lead { (advice) }
            p { a.button href="/" { (t!("fail.start")) } }
        };
        let mut response = (self.status(), pages::plain(&heading, body)).into_response();
        if let Self::Wait(time) = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_seconds(time)));
        }
        // For programs, which get it instead of the page.
        response.extensions_mut().insert(problem);
        response
    }
}
