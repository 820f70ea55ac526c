//! What an operation takes and gives, read off the handler's own signature: the OpenAPI document cannot differ from what
//! the program does.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State, rejection::BytesRejection},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    caller::Caller,
    problem::{Code, Problem},
};
use crate::{http::BODY_LIMIT, shared::House};

/// One operation of the document.
#[derive(Debug, Default)]
pub(crate) struct Operation {
    pub(crate) parameters: Vec<Value>,
    pub(crate) body: Option<Value>,
    pub(crate) responses: Map<String, Value>,
}

/// The types of the document. What is read and what is written differ: an absent field may be left out of the one, and
/// is always there in the other.
pub(crate) struct Schemas {
    pub(crate) read: SchemaGenerator,
    pub(crate) written: SchemaGenerator,
}

/// Something a handler takes.
pub(crate) trait Input {
    fn describe(_operation: &mut Operation, _schemas: &mut Schemas) {}
}

impl Input for State<Arc<House>> {}
impl Input for Caller {}

/// A body of JSON, of at most so many bytes. Fields that are not known are refused: a mistyped limit must not be no limit.
pub(crate) struct Body<T, const MOST: usize = BODY_LIMIT>(pub(crate) T);

impl<T: JsonSchema, const MOST: usize> Input for Body<T, MOST> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.read.subschema_for::<T>();
        operation.body = Some(json!({ "required": true, "content": { "application/json": { "schema": schema } } }));
    }
}

impl<S: Send + Sync, T: DeserializeOwned, const MOST: usize> FromRequest<S> for Body<T, MOST> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(Code::NotJson, "Send JSON with the header 'Content-Type: application/json'."));
        }
        DefaultBodyLimit::max(MOST).apply(&mut request);
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| unread(&rejection, MOST))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Problem::invalid(error.to_string()),
            _ => Problem::new(Code::BadRequest, format!("The body is no JSON: {error}.")),
        })
    }
}

fn unread(rejection: &BytesRejection, most: usize) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Code::BodyTooLarge, format!("Send less than {} kB.", most / 1024))
        }
        _ => Problem::new(Code::BadRequest, "The body did not arrive whole. Send it again."),
    }
}

/// What stands behind the question mark.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: JsonSchema> Input for Query<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.parameters.extend(parameters("query", T::json_schema(&mut schemas.read)));
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|rejection| Problem::invalid(rejection.body_text()))
    }
}

/// The gaps of the path, as a struct.
pub(crate) struct Gap<T>(pub(crate) T);

impl<T: JsonSchema> Input for Gap<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.parameters.extend(parameters("path", T::json_schema(&mut schemas.read)));
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Gap<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|rejection| Problem::new(Code::BadRequest, rejection.body_text()))
    }
}

/// Each field of a struct as a parameter.
fn parameters(place: &str, schema: Schema) -> Vec<Value> {
    let schema = Value::from(schema);
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        // In a query there is no null: what is not there is left out.
        if let Some(kinds) = schema["type"].as_array() {
            let kind = kinds.iter().find(|kind| *kind != "null").cloned();
            schema["type"] = kind.unwrap_or_default();
        }
        json!({
            "name": name, "in": place, "required": place == "path" || required.contains(&name.as_str()),
            "description": description.unwrap_or_default(), "schema": schema,
        })
    };
    fields.map(parameter).collect()
}

/// The header that makes a request one that is done once.
pub(crate) struct Idempotency(pub(crate) String);

const IDEMPOTENCY: &str = "idempotency-key";
const IDEMPOTENCY_PATTERN: &str = "^[A-Za-z0-9_-]{8,64}$";

impl Input for Idempotency {
    fn describe(operation: &mut Operation, _schemas: &mut Schemas) {
        operation.parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": true,
            "description": "Chosen by you, another one for each thing that is to be done: 8 to 64 letters, digits, '-', '_'. \
                            However often a request with the same one comes, it is carried out once, over power cuts, too.",
            "schema": { "type": "string", "pattern": IDEMPOTENCY_PATTERN },
        }));
    }
}

impl<S: Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let missing = || {
            let detail = "Send the header Idempotency-Key with 8 to 64 letters, digits, '-' or '_': a new one for each \
                          payment or channel, the same one when you try it again.";
            Problem::new(Code::IdempotencyKeyMissing, detail)
        };
        let mut values = parts.headers.get_all(IDEMPOTENCY).into_iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(missing()) };
        let name = value.to_str().map_err(|_| missing())?;
        if is_idempotency_key(name) { Ok(Self(name.to_owned())) } else { Err(missing()) }
    }
}

pub(crate) fn is_idempotency_key(name: &str) -> bool {
    (8..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Something a handler gives.
pub(crate) trait Output: IntoResponse {
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

/// JSON with a status.
pub(crate) struct Json<T, const STATUS: u16 = 200>(pub(crate) T);

impl<T: Serialize + JsonSchema, const STATUS: u16> Output for Json<T, STATUS> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.written.subschema_for::<T>();
        let about = StatusCode::from_u16(STATUS).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
        let answer = json!({ "description": about, "content": { "application/json": { "schema": schema } } });
        operation.responses.insert(STATUS.to_string(), answer);
    }
}

impl<T: Serialize, const STATUS: u16> IntoResponse for Json<T, STATUS> {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(STATUS).unwrap_or_default();
        match serde_json::to_vec(&self.0) {
            Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                Problem::new(Code::Internal, "Try again. If it stays so, restart the box.").into_response()
            }
        }
    }
}

/// Done, and nothing to say.
pub(crate) struct Nothing;

impl Output for Nothing {
    fn describe(operation: &mut Operation, _schemas: &mut Schemas) {
        operation.responses.insert("204".into(), json!({ "description": "Done" }));
    }
}

impl IntoResponse for Nothing {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// Text of another kind than JSON.
pub(crate) struct Text<const KIND: usize>(pub(crate) Response);

/// What [`Text`] can be.
pub(crate) const KINDS: [&str; 3] = ["text/event-stream", "application/openmetrics-text", "application/json"];

impl<const KIND: usize> Output for Text<KIND> {
    fn describe(operation: &mut Operation, _schemas: &mut Schemas) {
        let schema = if KIND == 2 { json!({ "type": "object" }) } else { json!({ "type": "string" }) };
        let content = json!({ KINDS[KIND]: { "schema": schema } });
        operation.responses.insert("200".into(), json!({ "description": "OK", "content": content }));
    }
}

impl<const KIND: usize> IntoResponse for Text<KIND> {
    fn into_response(self) -> Response {
        self.0
    }
}

/// A handler that can be described. `M` tells the implementations apart, as axum's own trait does it.
pub(crate) trait Described<M> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

macro_rules! described {
    ($($input:ident)*) => {
        impl<F, Fut, R, $($input,)*> Described<($($input,)*)> for F
        where
            F: FnOnce($($input),*) -> Fut,
            Fut: Future<Output = Result<R, Problem>>,
            R: Output,
            $($input: Input,)*
        {
            fn describe(operation: &mut Operation, schemas: &mut Schemas) {
                $($input::describe(operation, schemas);)*
                R::describe(operation, schemas);
                let _ = &schemas;
            }
        }
    };
}

described!();
described!(A);
described!(A B);
described!(A B C);
described!(A B C D);
described!(A B C D E);
