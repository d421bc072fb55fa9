//! What an operation takes and gives, read off the signature of its handler: the description is made of the very types
//! that serve it, so one cannot say what the other does not do.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::body::{Body, OptionalBody};
use super::{Page, Told};
use crate::web::Shared;
use crate::web::access::{Collector, Engineer, Technician, Viewer};
use crate::web::events::{self, Last};
use crate::web::language::Reads;
use crate::web::problem::{Document, Problem};

/// The type of most answers.
pub(super) const JSON: &str = "application/json";
/// Errors that any request may be answered with, also where nobody needs to be signed in: one that makes no sense, comes too
/// slowly or is too long, a token that nobody has, a proxy or a page of another site, a foreign host name, and a gateway
/// that is too busy.
const ANYWHERE: [u16; 9] = [400, 401, 403, 408, 411, 413, 414, 421, 503];
/// The type of errors.
const PROBLEM: &str = "application/problem+json";

/// The description of one operation while it is made.
pub(super) struct Draft<'a> {
    answers_of: &'a mut SchemaGenerator,
    bodies_of: SchemaGenerator,
    /// The least role; `None` where nobody needs to be signed in.
    pub(super) role: Option<&'static str>,
    /// Of the path, the query and the headers, in the order of the handler.
    pub(super) parameters: Vec<Value>,
    /// The body, where one is taken.
    pub(super) body: Option<Value>,
    /// By status.
    pub(super) answers: BTreeMap<u16, Value>,
}

impl<'a> Draft<'a> {
    /// Only what holds everywhere is said yet. Types of answers are collected in `schemas`.
    pub(super) fn new(schemas: &'a mut SchemaGenerator) -> Self {
        let bodies = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let mut draft = Self {
            answers_of: schemas,
            bodies_of: bodies.into_generator(),
            role: None,
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
        };
        draft.errors(&ANYWHERE);
        draft
    }

    /// Statuses that are answered with a problem document.
    pub(super) fn errors(&mut self, statuses: &[u16]) {
        for status in statuses {
            let title = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
            let schema = self.answers_of.subschema_for::<Document>();
            let mut answer = json!({
                "description": title.unwrap_or("Error"),
                "content": { PROBLEM: { "schema": schema } },
            });
            match status {
                401 => answer["headers"] = header("WWW-Authenticate", "How to say who one is.", "string", true),
                503 => {
                    answer["headers"] = header("Retry-After", "Seconds to wait before another try.", "integer", false)
                }
                _ => {}
            }
            self.answers.insert(*status, answer);
        }
    }

    /// A good answer of these types, all of the same schema; without types it has no content.
    pub(super) fn answer(&mut self, status: u16, what: &str, kinds: &[&str], schema: &Value, headers: Value) {
        let content: serde_json::Map<String, Value> =
            kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": schema }))).collect();
        let mut answer = json!({ "description": what });
        if !content.is_empty() {
            answer["content"] = content.into();
        }
        if !headers.is_null() {
            answer["headers"] = headers;
        }
        self.answers.insert(status, answer);
    }

    fn answer_of<T: JsonSchema>(&mut self, status: u16, what: &str, headers: Value) {
        let schema = self.answers_of.subschema_for::<T>();
        self.answer(status, what, &[JSON], &json!(schema), headers);
    }

    /// What the events of the stream say, beside the answer, since OpenAPI 3.1 has no words for that.
    pub(super) fn events(&mut self, status: u16) {
        let schemas = events::schemas(self.answers_of);
        if let Some(answer) = self.answers.get_mut(&status) {
            answer["x-explaind-events"] = schemas;
        }
    }

    /// A parameter of the path, which is always required.
    pub(super) fn in_path<T: JsonSchema>(&mut self, name: &str) {
        let schema = self.bodies_of.subschema_for::<T>();
        self.parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }

    /// A header that may be sent.
    pub(super) fn in_headers(&mut self, name: &str, what: &str, schema: &Value) {
        let parameter =
            json!({ "name": name, "in": "header", "required": false, "description": what, "schema": schema });
        self.parameters.push(parameter);
    }

    fn in_query<T: JsonSchema>(&mut self) {
        let schema = json!(T::json_schema(&mut self.bodies_of));
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let mut member = without_null(member.clone());
            let what = member.as_object_mut().and_then(|member| member.remove("description"));
            let mut parameter =
                json!({ "name": name, "in": "query", "required": required.contains(&name.as_str()), "schema": member });
            if let Some(what) = what {
                parameter["description"] = what;
            }
            self.parameters.push(parameter);
        }
    }

    fn takes_body<T: JsonSchema>(&mut self, required: bool) {
        let schema: Schema = self.bodies_of.subschema_for::<T>();
        self.body = Some(json!({ "required": required, "content": { JSON: { "schema": schema } } }));
        self.errors(&[400, 413, 415]);
    }
}

/// One header of an answer, for [`Draft::answer`].
pub(super) fn header(name: &str, what: &str, kind: &str, required: bool) -> Value {
    json!({ name: { "description": what, "required": required, "schema": { "type": kind } } })
}

/// What is left out of an address is left out: there is no `null` in one.
fn without_null(mut schema: Value) -> Value {
    let kinds = schema["type"].as_array();
    let kept = kinds.and_then(|kinds| kinds.iter().find(|kind| **kind != "null").cloned());
    if let Some(members) = schema.as_object_mut() {
        members.extend(kept.map(|kind| ("type".to_owned(), kind)));
        members.retain(|_, value| !value.is_null());
        if let Some(words) = members.get_mut("enum").and_then(Value::as_array_mut) {
            words.retain(|word| !word.is_null());
        }
    }
    schema
}

/// A handler, by the types of its arguments and of its answer.
pub(super) trait Signature<T> {
    /// Says what they are.
    fn describe(draft: &mut Draft<'_>);
}

/// An argument of a handler.
pub(super) trait Takes {
    /// What a client sees of it.
    fn describe(draft: &mut Draft<'_>);
}

/// What a handler returns.
pub(super) trait Gives {
    /// What a client gets.
    fn describe(draft: &mut Draft<'_>);
}

macro_rules! signature {
    ($($argument:ident)*) => {
        impl<F, R, A, $($argument,)*> Signature<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R,
            R: Future<Output = A>,
            A: Gives,
            $($argument: Takes,)*
        {
            fn describe(draft: &mut Draft<'_>) {
                $($argument::describe(draft);)*
                A::describe(draft);
            }
        }
    };
}

signature!();
signature!(B);
signature!(B C);
signature!(B C D);
signature!(B C D E);
signature!(B C D E G);
signature!(B C D E G H);

macro_rules! takes_nothing {
    ($($kind:ty),*) => { $(impl Takes for $kind { fn describe(_: &mut Draft<'_>) {} })* };
}

takes_nothing!(State<Shared>, Uri, HeaderMap);

macro_rules! takes_role {
    ($($kind:ty: $name:literal)*) => {
        $(impl Takes for $kind { fn describe(draft: &mut Draft<'_>) { draft.role = Some($name); } })*
    };
}

takes_role!(Viewer: "viewer" Technician: "technician" Engineer: "engineer" Collector: "collector");

impl Takes for Reads {
    fn describe(draft: &mut Draft<'_>) {
        let what = "Sentences come in English or in German, unless the configuration says which.";
        draft.in_headers("Accept-Language", what, &json!({ "type": "string", "examples": ["de"] }));
    }
}

impl Takes for Last {
    fn describe(draft: &mut Draft<'_>) {
        let what = "The id of the event that was heard last: what came since follows.";
        draft.in_headers("Last-Event-ID", what, &json!({ "type": "string" }));
    }
}

impl<T: JsonSchema> Takes for Query<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.in_query::<T>();
        draft.errors(&[400]);
    }
}

impl<T: JsonSchema> Takes for Body<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.takes_body::<T>(true);
    }
}

impl<T: JsonSchema> Takes for OptionalBody<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.takes_body::<T>(false);
    }
}

impl<T: JsonSchema> Gives for Json<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer_of::<T>(200, "As asked for.", Value::Null);
    }
}

impl<T: JsonSchema> Gives for Told<T> {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer_of::<T>(200, "As asked for.", Value::Null);
    }
}

impl<T: JsonSchema> Gives for (StatusCode, Json<T>) {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer_of::<T>(201, "It is on disk.", Value::Null);
    }
}

impl<T: JsonSchema> Gives for Page<T> {
    fn describe(draft: &mut Draft<'_>) {
        let headers = json!({
            "Explaind-Next": {
                "description": "The cursor of the next page, for `before`; absent on the last page.",
                "required": false,
                "schema": { "type": "string" },
            },
            "Link": {
                "description": "The address of the next page, as `rel=\"next\"`.",
                "required": false,
                "schema": { "type": "string" },
            },
        });
        draft.answer_of::<Vec<T>>(200, "One page.", headers);
    }
}

impl Gives for &'static str {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer(200, "So it is.", &["text/plain"], &json!({ "type": "string" }), Value::Null);
    }
}

/// What only the table of operations says, for answers that are no JSON.
impl Gives for axum::response::Response {
    fn describe(_: &mut Draft<'_>) {}
}

impl Gives for axum::response::NoContent {
    fn describe(draft: &mut Draft<'_>) {
        draft.answer(204, "Done.", &[], &Value::Null, Value::Null);
    }
}

impl<T: Gives> Gives for Result<T, Problem> {
    fn describe(draft: &mut Draft<'_>) {
        T::describe(draft);
    }
}
