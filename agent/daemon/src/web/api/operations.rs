//! All that the API can do: one table, which both the routes and the description are made from. What is not here does not
//! exist, and what is here is described.

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use serde_json::{Value, json};

use super::describe::{Draft, Signature, header};
use super::{alerts, batches, buffer, feedback, models, openapi, predictions};
use crate::web::{Shared, events};

/// One address with one method.
pub(super) struct Operation {
    /// In small letters.
    pub(super) method: &'static str,
    /// With its parameters in braces.
    pub(super) path: &'static str,
    /// How programs call it.
    pub(super) id: &'static str,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    /// What serves it.
    pub(super) route: MethodRouter<Shared>,
    signature: fn(&mut Draft<'_>),
    /// Statuses of errors that the signature does not tell.
    errors: &'static [u16],
    /// Answers that are no JSON, and errors that carry more than a problem document.
    more: fn(&mut Draft<'_>),
}

impl Operation {
    fn new<H: Signature<T>, T>(method: &'static str, (path, id, summary): Named, route: MethodRouter<Shared>) -> Self {
        Self { method, path, id, summary, route, signature: H::describe, errors: &[], more: |_| {} }
    }

    /// Says all that there is to say of it.
    pub(super) fn describe(&self, draft: &mut Draft<'_>) {
        (self.signature)(draft);
        draft.errors(self.errors);
        (self.more)(draft);
    }

    fn or(mut self, errors: &'static [u16]) -> Self {
        self.errors = errors;
        self
    }

    fn and(mut self, more: fn(&mut Draft<'_>)) -> Self {
        self.more = more;
        self
    }
}

/// Path, id and summary.
type Named = (&'static str, &'static str, &'static str);

fn get<H, M, T>(path: &'static str, id: &'static str, summary: &'static str, handler: H) -> Operation
where
    H: Handler<M, Shared> + Signature<T>,
    M: 'static,
{
    Operation::new::<H, T>("get", (path, id, summary), routing::get(handler))
}

fn post<H, M, T>(path: &'static str, id: &'static str, summary: &'static str, handler: H) -> Operation
where
    H: Handler<M, Shared> + Signature<T>,
    M: 'static,
{
    Operation::new::<H, T>("post", (path, id, summary), routing::post(handler))
}

/// The table.
pub(super) fn all() -> Vec<Operation> {
    let mut all = about_the_gateway();
    all.extend(about_alerts());
    all.extend(about_models());
    all.extend(about_records());
    all
}

fn about_the_gateway() -> Vec<Operation> {
    vec![
        get("/healthz", "health", "Whether the process lives", super::healthy),
        get("/readyz", "readiness", "Whether it does its work", super::ready),
        get("/metrics", "metrics", "Figures, as OpenMetrics text", super::metrics).and(|draft| {
            draft.answer(200, "Figures.", &["application/openmetrics-text"], &json!({ "type": "string" }), Value::Null);
        }),
        get("/api/v1/openapi.json", "description", "This description", openapi::show),
        get("/api/v1/status", "status", "The gateway, its sources, models, buffer, sync and assets", super::status),
        get("/api/v1/events", "events", "Live news, as server-sent events", events::stream).and(|draft| {
            draft.answer(200, events::WHAT, &["text/event-stream"], &json!({ "type": "string" }), Value::Null);
            draft.events(200);
        }),
    ]
}

fn about_alerts() -> Vec<Operation> {
    vec![
        get("/api/v1/alerts", "list_alerts", "Alerts, open or over, those raised last first", alerts::list).or(&[422]),
        get("/api/v1/alerts/{id}", "alert", "One alert with its reasons", alerts::show),
        post(
            "/api/v1/alerts/{id}/acknowledge",
            "acknowledge",
            "\"I have seen it\"; never a label",
            alerts::acknowledge,
        )
        .or(&[422]),
        post(
            "/api/v1/alerts/{id}/reset",
            "reset",
            "Lets go an alert that is latched, once it is acknowledged",
            alerts::reset,
        )
        .or(&[409, 422]),
        post("/api/v1/alerts/{id}/shelve", "shelve", "Puts the alert's alarm aside for at most 7 days", alerts::shelve)
            .or(&[409, 422]),
        post("/api/v1/alerts/{id}/unshelve", "unshelve", "Takes it back from there", alerts::unshelve).or(&[409, 422]),
        post(
            "/api/v1/alerts/{id}/out-of-service",
            "out_of_service",
            "Takes the alert's alarm out of service",
            alerts::out_of_service,
        )
        .or(&[409, 422]),
        post("/api/v1/alerts/{id}/in-service", "in_service", "Puts it back in service", alerts::in_service)
            .or(&[409, 422]),
    ]
}

fn about_models() -> Vec<Operation> {
    vec![
        get("/api/v1/models", "list_models", "Which models run, and why", models::list),
        post("/api/v1/models/{name}/rollback", "rollback", "Back to the version before", models::rollback)
            .or(&[409, 422]),
        post("/api/v1/models/{name}/stop", "stop_model", "No more predictions with this model", models::stop)
            .or(&[422]),
        post("/api/v1/models/{name}/release", "release_model", "Predictions with this model again", models::release)
            .or(&[409, 422]),
        post("/api/v1/gateway/stop", "stop_gateway", "No more predictions on this gateway", models::stop_all)
            .or(&[422]),
        post("/api/v1/gateway/release", "release_gateway", "Predictions on this gateway again", models::release_all)
            .or(&[409, 422]),
    ]
}

fn about_records() -> Vec<Operation> {
    vec![
        get("/api/v1/predictions", "list_predictions", "Predictions, the newest first", predictions::list),
        get(
            "/api/v1/predictions/{id}",
            "prediction",
            "One prediction with its explanation, also in another space",
            predictions::show,
        )
        .or(&[409, 410, 422]),
        get(
            "/api/v1/predictions/{id}/counterfactuals",
            "counterfactuals",
            "What would clear the alert",
            predictions::counterfactuals,
        )
        .or(&[409, 410]),
        get("/api/v1/feedback", "list_feedback", "What people said, the newest first", feedback::list),
        post(
            "/api/v1/feedback",
            "give_feedback",
            "A verdict on a prediction, an explanation, or a missed event",
            feedback::give,
        )
        .or(&[404, 410, 422]),
        get("/api/v1/batches/{stream}", "pull", "Records from a cursor on, as NDJSON or as Parquet", batches::pull)
            .or(&[410])
            .and(records),
        get(
            "/api/v1/buffer/check",
            "check_buffer",
            "For `explaind buffer verify`: one piece of a check",
            buffer::check,
        )
        .or(&[404]),
        post(
            "/api/v1/buffer/export/begin",
            "begin_export",
            "For `explaind buffer export`: a medium is there",
            buffer::begin,
        )
        .or(&[409]),
        post("/api/v1/buffer/export/next", "next_batch", "For `explaind buffer export`: the next batch", buffer::next)
            .or(&[409])
            .and(a_batch),
        post(
            "/api/v1/buffer/export/sent",
            "batch_is_safe",
            "For `explaind buffer export`: a batch is safe",
            buffer::sent,
        )
        .or(&[409]),
    ]
}

/// What a pull is answered with.
fn records(draft: &mut Draft<'_>) {
    let accept = json!({ "type": "string", "examples": [batches::PARQUET] });
    draft.in_headers("Accept", "Parquet for who asks for it by name, NDJSON for everybody else.", &accept);
    let mut headers = header("Explaind-Next", "The cursor to come back with, for `after`.", "integer", true);
    headers["Link"] =
        header("Link", "The address of what comes next, as `rel=\"next\"`.", "string", false)["Link"].clone();
    let kinds = [batches::NDJSON, batches::PARQUET];
    draft.answer(200, "Records, with the columns of the Parquet files.", &kinds, &json!({ "type": "string" }), headers);
}

/// What is answered where the next batch is asked for.
fn a_batch(draft: &mut Draft<'_>) {
    let mut headers = json!({});
    for (name, what) in [
        (buffer::PATH, "The batch's name."),
        (buffer::NUMBERS, "Its first and its last number: `1-40`."),
        (buffer::STREAM, "Its stream."),
    ] {
        headers[name.as_str()] = header(name.as_str(), what, "string", true)[name.as_str()].clone();
    }
    draft.answer(200, "A batch.", &[batches::PARQUET], &json!({ "type": "string" }), headers);
    draft.answer(204, "There is no further one.", &[], &Value::Null, Value::Null);
}
