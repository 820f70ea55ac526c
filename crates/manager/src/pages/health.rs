//! `GET /healthz`, for the health gate and for whoever waits for the box.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

/// Answers as long as the program serves; what else makes a box healthy is the gate's matter.
pub(crate) async fn get() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"status":"ok","ready":true}"#).into_response()
}
