//! The API's own description, for tools that make clients from one: `GET /api/v1/openapi.json` (OpenAPI 3.1).
//!
//! One table says what there is; a test holds it to the routes. Answers are described by what they are, not member by
//! member: members are only ever added.

use axum::Json;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::web::access::{COOKIE, Viewer};

/// One address with one method.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// The least role; empty where nobody needs to be signed in.
    role: &'static str,
    /// Parameters of the query, with their types.
    query: &'static [(&'static str, &'static str)],
    /// Members of the body, if it takes one, and whether all may be left out.
    body: Option<(&'static [&'static str], bool)>,
    /// What a good answer is, and its type.
    answer: (&'static str, &'static str, &'static str),
    /// Errors beyond 400, 401, 403 and 503.
    errors: &'static [u16],
}

const JSON: &str = "application/json";
const PAGING: [(&str, &str); 2] = [("limit", "integer"), ("before", "string")];
const COMMENT: Option<(&[&str], bool)> = Some((&["comment"], true));
const REASON: Option<(&[&str], bool)> = Some((&["reason"], true));
const FEEDBACK: [&str; 14] = [
    "prediction_id",
    "alert_id",
    "explanation_id",
    "verdict",
    "corrected",
    "explanation_verdict",
    "relevant",
    "irrelevant",
    "cause",
    "comment",
    "asset",
    "event_from",
    "event_to",
    "revises",
];

impl Operation {
    const fn get(path: &'static str, summary: &'static str) -> Self {
        let answer = ("200", "The object, or an array of them.", JSON);
        Self { method: "get", path, summary, role: "viewer", query: &[], body: None, answer, errors: &[] }
    }

    const fn post(path: &'static str, summary: &'static str) -> Self {
        Self { method: "post", role: "engineer", ..Self::get(path, summary) }
    }
}

const OPERATIONS: [Operation; 30] = [
    Operation {
        role: "",
        answer: ("200", "The process lives.", "text/plain"),
        ..Operation::get("/healthz", "Whether it lives")
    },
    Operation {
        role: "",
        answer: ("200", "It does its work.", "text/plain"),
        ..Operation::get("/readyz", "Whether it works")
    },
    Operation {
        role: "",
        answer: ("200", "OpenMetrics text.", "application/openmetrics-text"),
        ..Operation::get("/metrics", "Figures")
    },
    Operation::get("/api/v1/openapi.json", "This description"),
    Operation::get("/api/v1/status", "The gateway, its sources, models, buffer, sync and assets"),
    Operation {
        query: &[PAGING[0], PAGING[1], ("state", "string"), ("asset", "string")],
        errors: &[422],
        ..Operation::get("/api/v1/alerts", "Open and lately closed alerts, the newest first")
    },
    Operation { errors: &[404], ..Operation::get("/api/v1/alerts/{id}", "One alert with its reasons") },
    Operation {
        role: "technician",
        body: COMMENT,
        errors: &[404, 422],
        ..Operation::post("/api/v1/alerts/{id}/acknowledge", "\"I have seen it\"; never a label")
    },
    Operation {
        role: "technician",
        body: COMMENT,
        errors: &[404, 409, 422],
        ..Operation::post("/api/v1/alerts/{id}/reset", "Lets go an alert that is latched, once it is acknowledged")
    },
    Operation {
        role: "technician",
        body: Some((&["for", "reason"], false)),
        errors: &[404, 409, 422],
        ..Operation::post("/api/v1/alerts/{id}/shelve", "Puts the alert's alarm aside for at most 7 days")
    },
    Operation {
        role: "technician",
        body: COMMENT,
        errors: &[404, 409, 422],
        ..Operation::post("/api/v1/alerts/{id}/unshelve", "Takes it back from there")
    },
    Operation {
        body: Some((&["reason"], false)),
        errors: &[404, 409, 422],
        ..Operation::post("/api/v1/alerts/{id}/out-of-service", "Takes the alert's alarm out of service")
    },
    Operation {
        body: COMMENT,
        errors: &[404, 409, 422],
        ..Operation::post("/api/v1/alerts/{id}/in-service", "Puts it back in service")
    },
    Operation::get("/api/v1/models", "Which models run, and why"),
    Operation {
        body: REASON,
        errors: &[404, 409, 422],
        ..Operation::post("/api/v1/models/{name}/rollback", "Back to the version before")
    },
    Operation {
        body: REASON,
        errors: &[404, 422],
        ..Operation::post("/api/v1/models/{name}/stop", "No more predictions with this model")
    },
    Operation {
        body: REASON,
        errors: &[404, 409, 422],
        ..Operation::post("/api/v1/models/{name}/release", "Predictions with this model again")
    },
    Operation {
        body: REASON,
        errors: &[422],
        ..Operation::post("/api/v1/gateway/stop", "No more predictions on this gateway")
    },
    Operation {
        body: REASON,
        errors: &[409, 422],
        ..Operation::post("/api/v1/gateway/release", "Predictions on this gateway again")
    },
    Operation {
        query: &[PAGING[0], PAGING[1], ("asset", "string"), ("model", "string")],
        ..Operation::get("/api/v1/predictions", "Predictions, the newest first")
    },
    Operation {
        query: &[("space", "string")],
        errors: &[404, 409, 410, 422],
        ..Operation::get("/api/v1/predictions/{id}", "One prediction with its explanation, also in another space")
    },
    Operation {
        errors: &[404, 409, 410],
        ..Operation::get("/api/v1/predictions/{id}/counterfactuals", "What would clear the alert")
    },
    Operation {
        query: &[PAGING[0], PAGING[1], ("prediction_id", "string"), ("alert_id", "string"), ("asset", "string")],
        ..Operation::get("/api/v1/feedback", "What people said, the newest first")
    },
    Operation {
        role: "technician",
        body: Some((&FEEDBACK, false)),
        answer: ("201", "What was said; it is on disk.", JSON),
        errors: &[404, 410, 422],
        ..Operation::post("/api/v1/feedback", "A verdict on a prediction, an explanation, or a missed event")
    },
    Operation {
        role: "collector",
        query: &[("after", "integer"), ("limit", "integer")],
        answer: ("200", "Records, as NDJSON or Parquet; Explaind-Next is the next cursor.", "application/x-ndjson"),
        errors: &[404, 410],
        ..Operation::get("/api/v1/batches/{stream}", "Records from a cursor on")
    },
    Operation {
        role: "engineer",
        query: &[("part", "string"), ("after", "integer")],
        errors: &[404],
        ..Operation::get("/api/v1/buffer/check", "One piece of a check of the buffer")
    },
    Operation {
        body: Some((&[], false)),
        errors: &[409],
        ..Operation::post("/api/v1/buffer/export/begin", "For `explaind buffer export`: a medium is there")
    },
    Operation {
        body: Some((&[], false)),
        answer: ("200", "A batch; 204 after the last one.", "application/vnd.apache.parquet"),
        errors: &[409],
        ..Operation::post("/api/v1/buffer/export/next", "For `explaind buffer export`: the next batch")
    },
    Operation {
        body: Some((&[], false)),
        answer: ("204", "Noted.", JSON),
        errors: &[409],
        ..Operation::post("/api/v1/buffer/export/sent", "For `explaind buffer export`: a batch is safe")
    },
    Operation {
        answer: ("200", "Server-sent events: what changed.", "text/event-stream"),
        ..Operation::get("/api/v1/events", "Live news")
    },
];

/// `GET /api/v1/openapi.json`.
pub(crate) async fn show(_: Viewer) -> Json<Value> {
    Json(document())
}

fn document() -> Value {
    let mut paths = Map::new();
    for operation in &OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.describe();
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "explaind", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT OR Apache-2.0" } },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": COOKIE },
                "machine": { "type": "http", "scheme": "bearer" },
            },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "description": "RFC 9457",
                    "properties": {
                        "type": { "type": "string" },
                        "title": { "type": "string" },
                        "status": { "type": "integer" },
                        "detail": { "type": "string" },
                    },
                },
            },
        },
    })
}

impl Operation {
    fn describe(&self) -> Value {
        let (code, what, kind) = self.answer;
        let schema = if kind == JSON { json!({}) } else { json!({ "type": "string" }) };
        let mut answers = Map::new();
        answers.insert(code.to_owned(), json!({ "description": what, "content": { kind: { "schema": schema } } }));
        if code == "204" {
            answers.insert(code.to_owned(), json!({ "description": what }));
        }
        let usual: &[u16] = if self.role.is_empty() { &[] } else { &[400, 401, 403, 503] };
        for error in usual.iter().chain(self.errors) {
            let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
            let title = StatusCode::from_u16(*error).ok().and_then(|status| status.canonical_reason());
            let answer = json!({
                "description": title.unwrap_or("Error"),
                "content": { "application/problem+json": problem },
            });
            answers.insert(error.to_string(), answer);
        }
        let mut operation = json!({
            "summary": self.summary,
            "parameters": self.parameters(),
            "responses": answers,
            "security": [],
        });
        if !self.role.is_empty() {
            operation["description"] = match self.role {
                "collector" => "For the roles collector and engineer.".into(),
                role => format!("For the role {role} and up.").into(),
            };
            operation["security"] = json!([{ "session": [] }, { "machine": [] }]);
        }
        if let Some((members, optional)) = self.body {
            let members: Map<String, Value> = members.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
            let schema = json!({ "schema": { "type": "object", "properties": members } });
            operation["requestBody"] = json!({ "required": !optional, "content": { JSON: schema } });
        }
        operation
    }

    /// Those of the path, then those of the query.
    fn parameters(&self) -> Value {
        let in_path = self
            .path
            .split(['{', '}'])
            .skip(1)
            .step_by(2)
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        let in_query =
            self.query.iter().map(|(name, kind)| json!({ "name": name, "in": "query", "schema": { "type": kind } }));
        in_path.chain(in_query).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_every_route_and_no_other() {
        let lines = include_str!("mod.rs").lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
        let mut routes: Vec<String> = Vec::new();
        for (path, handler) in lines.filter_map(|line| line.split_once('"')) {
            let verbs: &[&str] = match path {
                "/api/v1/models/{name}/{verb}" => &["rollback", "stop", "release"],
                "/api/v1/gateway/{verb}" => &["stop", "release"],
                _ => &[""],
            };
            for method in ["get", "post"].into_iter().filter(|method| handler.contains(&format!("{method}("))) {
                routes.extend(verbs.iter().map(|verb| format!("{method} {}", path.replace("{verb}", verb))));
            }
        }
        let mut named: Vec<String> = OPERATIONS.iter().map(|of| format!("{} {}", of.method, of.path)).collect();
        routes.sort();
        named.sort();
        assert_eq!(named, routes);
    }

    #[test]
    fn parameters_of_the_path_come_from_the_path() {
        let document = document();
        let named = &document["paths"]["/api/v1/models/{name}/stop"]["post"];
        assert_eq!(
            named["parameters"][0],
            json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}})
        );
        assert_eq!(named["requestBody"]["required"], false);
        assert!(named["responses"]["409"].is_null() && named["responses"]["404"].is_object());
        assert_eq!(document["paths"]["/healthz"]["get"]["security"], json!([]));
    }
}
