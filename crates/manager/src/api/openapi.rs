//! The OpenAPI 3.1 document, made from the route table and the handlers' types.

use std::sync::Arc;

use axum::{extract::State, http::header, response::IntoResponse};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{
    caller::Caller,
    describe::{Operation, Schemas, Text},
    problem::{Problem, Wire},
    route::{Documented, table},
};
use crate::shared::House;

const ABOUT: &str = "What the pages of the box can do, for programs. Amounts are exact whole numbers as strings of digits; \
                     the name of the field says the unit (`_msat`, `_sat`). Times are RFC 3339 in UTC. `as_of` is when \
                     something was last read from the node. Lists come in pages: give `next` back as `cursor`. Fields that \
                     are not known are refused. Errors are problem+json (RFC 9457) and have a `code` that stays. With a \
                     session's cookie instead of a key, what changes something needs the header `X-CSRF-Token`. \
                     Amounts are in bitcoin alone; `/api/v1/rate` says what one costs, where the owner chose somebody to \
                     ask. What widens anybody's rights (password, second factor, keys of programs, a phone \
                     that may do everything) needs the owner's password beside a key. Some things are done on the pages \
                     alone: claiming the box, a new password for who forgot it, a bundle of an update that is uploaded or on \
                     a stick, and going back to a new box.";

/// `GET /openapi.json`.
pub(crate) async fn get(State(house): State<Arc<House>>, _caller: Caller) -> Result<Text<2>, Problem> {
    let body = document(&house.shared.release.version).to_string();
    Ok(Text(([(header::CONTENT_TYPE, "application/json")], body).into_response()))
}

/// The whole document.
pub(crate) fn document(version: &str) -> Value {
    let mut schemas =
        Schemas { read: settings().into_generator(), written: settings().for_serialize().into_generator() };
    let problem = schemas.written.subschema_for::<Wire>();
    let mut paths = Map::new();
    for route in table() {
        let operation = operation(&route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation;
    }
    let mut definitions = schemas.written.take_definitions(true);
    definitions.extend(schemas.read.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Homebolt", "version": version, "description": ABOUT },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": {
                "Problem": {
                    "description": "It was not done, and why",
                    "headers": { "Retry-After": { "schema": { "type": "integer" }, "description": "With 429: seconds" } },
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "A key of the page /settings/keys" },
                "session": { "type": "apiKey", "in": "cookie", "name": "__Host-homebolt" },
            },
        },
    })
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    })
}

fn operation(route: &Documented, schemas: &mut Schemas) -> Value {
    let mut operation = Operation::default();
    (route.describe)(&mut operation, schemas);
    let mut responses = operation.responses;
    responses.insert("default".into(), json!({ "$ref": "#/components/responses/Problem" }));
    let mut value = json!({
        "operationId": id(route),
        "summary": route.summary,
        "tags": [tag(route.path)],
        "responses": responses,
    });
    if let Some(scope) = route.scope() {
        value["x-scope"] = scope.name().into();
        value["description"] = format!("A key needs the scope `{}`.", scope.name()).into();
    }
    if !operation.parameters.is_empty() {
        value["parameters"] = operation.parameters.into();
    }
    if let Some(body) = operation.body {
        value["requestBody"] = body;
    }
    value
}

/// `get_system_info`.
fn id(route: &Documented) -> String {
    let path = route.path.trim_start_matches("/api/v1").replace(['{', '}'], "").replace(['/', '.'], "_");
    format!("{}{path}", route.method.as_str().to_lowercase())
}

fn tag(path: &str) -> &str {
    let part = path.trim_start_matches("/api/v1").trim_start_matches('/').split('/').next().unwrap_or_default();
    if matches!(part, "node" | "system") { part } else { "other" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_with_its_scope_and_its_types() {
        let document = document("0.1.0");
        let mut count = 0;
        for route in table() {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            assert!(operation["summary"].is_string(), "{} {}", route.method, route.path);
            assert_eq!(operation["x-scope"].as_str(), route.scope().map(|scope| scope.name()));
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with('2')), "{} has no good answer", route.path);
            for gap in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(parameters.iter().any(|one| one["name"] == gap && one["in"] == "path"), "{}", route.path);
            }
            count += 1;
        }
        assert!(count > 30);
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
    }

    #[test]
    fn what_is_read_refuses_fields_it_does_not_know() {
        let document = document("0.1.0");
        for route in table() {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            let reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let Some(reference) = reference else { continue };
            let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
            assert_eq!(schema["additionalProperties"], false, "{reference}");
        }
    }
}
