//! Errors as pages: what the owner is told here, what the log is told there.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::html;

use crate::{error::Error, pages};

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
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::NotFound => ("There is no such page", "The address may be mistyped, or the page has moved.".into()),
            Self::Method => ("This cannot be done here", "Go back and use the buttons of the page.".into()),
            Self::Foreign => (
                "This request did not come from your box's own page",
                "Nothing was done. Open the box in a new tab and try there.".into(),
            ),
            Self::SignedOut => ("You are signed out", "Nothing was done. Sign in and try again.".into()),
            Self::Form(_) => ("The form did not arrive whole", "Go back, reload the page and send it again.".into()),
            Self::Wait(time) => ("Too many tries", format!("Please wait {} and try again.", wait_words(*time))),
            Self::Slow => ("The box is busy", "It took too long to answer. Try again in a moment.".into()),
            Self::Full => (
                "The data disk is full",
                "Nothing was saved. Make room on the disk, or use a bigger one, then try again.".into(),
            ),
            Self::Broken => (
                "Something went wrong in the box",
                "It is not your fault. Try again; if it stays so, restart the box. Its journal says more.".into(),
            ),
        }
    }
}

/// Whole seconds, rounded up: to come back at the second named must not be too early.
pub(crate) fn wait_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

pub(crate) fn wait_words(time: Duration) -> String {
    match wait_seconds(time) {
        1 => "1 second".into(),
        seconds => format!("{seconds} seconds"),
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let (heading, advice) = self.words();
        let body = html! {
            h1 { (heading) }
            p.lead { (advice) }
            p { a.button href="/" { "To the start page" } }
        };
        let mut response = (self.status(), pages::plain(heading, body)).into_response();
        if let Self::Wait(time) = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_seconds(time)));
        }
        response
    }
}
