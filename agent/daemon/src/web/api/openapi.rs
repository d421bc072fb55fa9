//! The API's own description, for tools that make clients from one: `GET /api/v1/openapi.json` (OpenAPI 3.1).
//!
//! It is made of the table of operations and of the types that their handlers take and give. Members are only ever added,
//! so objects in answers may have more than is said here.

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::describe::{Draft, JSON};
use super::operations::{self, Operation};
use crate::web::access::{COOKIE, COOKIE_BY_TLS, Viewer};

/// It does not change while the daemon runs.
static DOCUMENT: OnceLock<Bytes> = OnceLock::new();

/// `GET /api/v1/openapi.json`.
pub(crate) async fn show(_: Viewer) -> Written {
    Written(DOCUMENT.get_or_init(|| document().to_string().into()).clone())
}

/// A document that is JSON already.
pub(crate) struct Written(Bytes);

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, HeaderValue::from_static(JSON))], self.0).into_response()
    }
}

impl super::describe::Gives for Written {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer(200, "OpenAPI 3.1.", &[JSON], &json!({ "type": "object" }), Value::Null);
    }
}

/// All of it.
fn document() -> Value {
    let answers = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = answers.into_generator();
    let mut paths = Map::new();
    for operation in operations::all() {
        let mut draft = Draft::new(&mut schemas);
        operation.describe(&mut draft);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = written(&operation, draft);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "explaind",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
            "description": "A gateway that watches machines and explains what it says. Errors are problem documents \
                (RFC 9457). People sign in at /sign-in and send the header X-CSRF-Token with every change; machines carry \
                a token. Objects may come with members that are not described here yet.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "session": {
                    "type": "apiKey", "in": "cookie", "name": COOKIE,
                    "description": format!("What a person gets who signs in. With TLS it is called {COOKIE_BY_TLS}."),
                },
                "machine": {
                    "type": "http", "scheme": "bearer", "description": "What `explaind users add --token` prints.",
                },
            },
        },
    })
}

fn written(operation: &Operation, draft: Draft<'_>) -> Value {
    let answers: Map<String, Value> = draft.answers.into_iter().map(|(code, of)| (code.to_string(), of)).collect();
    let tag = operation.path.trim_start_matches("/api/v1/").split('/').find(|part| !part.is_empty());
    let mut object = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [tag],
        "parameters": draft.parameters,
        "responses": answers,
        "security": [],
    });
    if let Some(role) = draft.role {
        object["description"] = match role {
            "collector" => "For the roles collector and engineer.".into(),
            role => format!("For the role {role} and up.").into(),
        };
        object["x-explaind-role"] = role.into();
        object["security"] = json!([{ "session": [] }, { "machine": [] }]);
    }
    if let Some(body) = draft.body {
        object["requestBody"] = body;
    }
    object
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, of)| (format!("{method} {path}"), of))
        });
        all.collect()
    }

    /// Every `$ref` in a document.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_operation_is_described_and_named_once() {
        let document = document();
        let described = operations(&document);
        assert_eq!(described.len(), operations::all().len(), "no two are at the same address");
        let ids: BTreeSet<&str> = described.iter().map(|(_, of)| of["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), described.len());
        for (name, of) in described {
            let answers = of["responses"].as_object().unwrap();
            assert!(answers.keys().any(|code| code.starts_with('2')), "{name}");
            for (code, answer) in answers {
                assert!(!answer["description"].as_str().unwrap().is_empty(), "{name} {code}");
                let kinds = answer["content"].as_object();
                assert_eq!(kinds.is_none(), code == "204", "{name} {code}");
                let problem = answer["content"]["application/problem+json"]["schema"]["$ref"].as_str();
                assert_eq!(problem == Some("#/components/schemas/Problem"), !code.starts_with('2'), "{name} {code}");
            }
            assert!(["401", "403", "421", "503"].iter().all(|code| answers.contains_key(*code)), "{name}");
            assert_eq!(of["security"] == json!([]), of["x-explaind-role"].is_null(), "{name}");
            assert_eq!(of["requestBody"].is_object(), answers.contains_key("415"), "{name}");
            // The path and the parameters that are said to be in it are the same.
            let in_path: Vec<&str> = name.split(['{', '}']).skip(1).step_by(2).collect();
            let said = of["parameters"].as_array().unwrap().iter().filter(|of| of["in"] == "path");
            assert_eq!(said.map(|of| of["name"].as_str().unwrap()).collect::<Vec<_>>(), in_path, "{name}");
        }
    }

    #[test]
    fn it_is_whole_every_reference_leads_somewhere_and_nothing_is_left_over() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference}");
        }
        let used: BTreeSet<&str> = found.iter().filter_map(|name| name.rsplit('/').next()).collect();
        let known = document["components"]["schemas"].as_object().unwrap();
        assert_eq!(known.keys().map(String::as_str).collect::<BTreeSet<_>>(), used);
        assert!(
            known.keys().all(|name| !name.ends_with(char::is_numeric)),
            "two types of one name: {:?}",
            known.keys()
        );
        // Only what OpenAPI 3.1 knows stands at its top.
        let top: BTreeSet<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(top, BTreeSet::from(["components", "info", "openapi", "paths", "servers"]));
    }

    #[test]
    fn types_say_what_is_taken_and_given() {
        let document = document();
        let alert = &document["components"]["schemas"]["Alert"];
        assert_eq!(alert["properties"]["raised_at"], json!({ "type": "string", "format": "date-time" }));
        assert!(alert["properties"]["state"]["enum"].as_array().unwrap().contains(&json!("latched_unacknowledged")));
        assert!(alert["required"].as_array().unwrap().contains(&json!("cleared_at")), "present, though null");
        let listing = &document["paths"]["/api/v1/alerts"]["get"];
        let named = |name: &str| {
            let parameters = listing["parameters"].as_array().unwrap();
            parameters.iter().find(|parameter| parameter["name"] == name).unwrap().clone()
        };
        assert_eq!(
            (&named("limit")["schema"]["maximum"], &named("limit")["schema"]["type"]),
            (&json!(1000), &json!("integer"))
        );
        assert_eq!(
            (named("from")["required"].clone(), named("from")["schema"]["format"].clone()),
            (json!(false), json!("date-time"))
        );
        assert!(listing["responses"]["200"]["headers"]["Explaind-Next"].is_object());
        let feedback = &document["paths"]["/api/v1/feedback"]["post"]["requestBody"]["content"][JSON]["schema"];
        assert_eq!(feedback["additionalProperties"], false);
        assert!(feedback["properties"]["verdict"].to_string().contains("missed"));
        let name = &document["paths"]["/api/v1/models/{name}/stop"]["post"];
        assert_eq!(
            name["parameters"][0],
            json!({ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } })
        );
        assert_eq!(name["requestBody"]["required"], false);
        assert!(name["responses"]["409"].is_null() && name["responses"]["404"].is_object());
        assert_eq!(document["paths"]["/healthz"]["get"]["security"], json!([]));
        let events = &document["paths"]["/api/v1/events"]["get"]["responses"]["200"]["x-explaind-events"];
        assert_eq!(events["alert"], json!({ "$ref": "#/components/schemas/AlertNews" }));
    }
}
