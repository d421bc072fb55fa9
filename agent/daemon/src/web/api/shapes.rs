//! What other parts tell as JSON, for the description: the status, and which models run where.
//!
//! Members are only ever added there; the tests of the whole daemon hold these shapes to what it really says.

#![expect(dead_code, reason = "they are read as schemas only")]

use schemars::JsonSchema;
use uuid::Uuid;

use super::words::Roles;
use crate::buffer::Stat;
use crate::web::time::Iso;

/// What runs where, on one page.
#[derive(JsonSchema)]
pub(crate) struct Status {
    gateway: Gateway,
    sources: Vec<Source>,
    models: Vec<Model>,
    buffer: Stat,
    sync: Sync,
    publish: Publish,
    assets: Vec<Asset>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    page: Option<Page>,
}

/// Where the page is served.
#[derive(JsonSchema)]
struct Page {
    listen: String,
    url: String,
    /// The page's certificate; `null` without TLS.
    tls: Option<Tls>,
}

/// A certificate.
#[derive(JsonSchema)]
struct Tls {
    certificate: String,
    made_here: bool,
    /// Its fingerprint.
    sha256: String,
    not_before: Iso,
    not_after: Iso,
    names: Vec<String>,
    ends_soon: bool,
    error: Option<String>,
}

/// The gateway itself.
#[derive(JsonSchema)]
struct Gateway {
    id: String,
    version: String,
    config_digest: String,
    started_at: Iso,
    now: Iso,
    clock_synchronised: bool,
    /// Who stopped all predictions; `null` when nobody did.
    stopped: Option<Stop>,
    /// Why it is not known whether the registry stops the gateway.
    stop_error: Option<String>,
    alarm_flood: bool,
}

/// Who stopped something, and why.
#[derive(JsonSchema)]
struct Stop {
    by: String,
    reason: Option<String>,
    at: Iso,
    in_registry: bool,
}

/// One connection.
#[derive(JsonSchema)]
struct Source {
    name: String,
    up: bool,
    finished: bool,
    last_sample_at: Option<Iso>,
    error: Option<String>,
}

/// One model of the configuration, and which of its bundles runs.
#[derive(JsonSchema)]
pub(crate) struct Model {
    name: String,
    version: Option<String>,
    registry_version: Option<u64>,
    /// `active`, `trial`, `stopped` or `no_model`.
    state: String,
    /// What it answers; `null` while none is known.
    #[schemars(skip_serializing_if = "Option::is_none")]
    output: Option<ModelOutput>,
    digest: Option<String>,
    background_digest: Option<String>,
    bundle_digest: Option<String>,
    signed: bool,
    since: Option<Iso>,
    assets: Vec<String>,
    previous: Option<Bundle>,
    challenger: Option<Challenger>,
    /// The newest first.
    refused: Option<Vec<Refused>>,
    stopped: Option<Stop>,
    stop_error: Option<String>,
    following: Option<Following>,
    error: Option<String>,
}

/// What a model answers.
#[derive(JsonSchema)]
struct ModelOutput {
    kind: String,
    labels: Vec<String>,
    unit: String,
}

/// A bundle that is on the gateway.
#[derive(JsonSchema)]
struct Bundle {
    version: String,
    registry_version: u64,
    digest: String,
    bundle_digest: String,
    signed: bool,
    since: Iso,
}

/// One that runs beside.
#[derive(JsonSchema)]
struct Challenger {
    version: String,
    registry_version: u64,
    digest: String,
    bundle_digest: String,
    signed: bool,
    since: Iso,
    /// The assets on which it decides.
    canary: Vec<String>,
    predictions: u64,
    agreement: Option<f64>,
}

/// A bundle that was not let in.
#[derive(JsonSchema)]
struct Refused {
    version: Option<String>,
    registry_version: u64,
    digest: Option<String>,
    check: String,
    reason: String,
    at: Iso,
}

/// What is looked for in the registry.
#[derive(JsonSchema)]
struct Following {
    registered_as: String,
    alias: String,
    challenger: Option<String>,
    checked_at: Option<Iso>,
    error: Option<String>,
    challenger_error: Option<String>,
}

/// How sending records home fares.
#[derive(JsonSchema)]
struct Sync {
    /// `off`, `offline`, `catching_up`, `online` or `stopped`; only with `off` nothing else is said.
    state: String,
    #[schemars(skip_serializing_if = "Option::is_none")]
    registry: Option<String>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    last_upload: Option<Iso>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    conflicts: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    streams: Option<Vec<Lag>>,
}

/// What of a stream waits.
#[derive(JsonSchema)]
struct Lag {
    stream: String,
    waiting: u64,
    lag_seconds: Option<f64>,
}

/// How results fare that go to a broker.
#[derive(JsonSchema)]
struct Publish {
    /// `off`, `connected` or `disconnected`; only with `off` nothing else is said.
    state: String,
    #[schemars(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    connected_since: Option<Iso>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    published: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
    /// `on`, `off`, or why not at present.
    #[schemars(skip_serializing_if = "Option::is_none")]
    acknowledge: Option<String>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    commands_done: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    commands_refused: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    last_refused: Option<String>,
}

/// One machine.
#[derive(JsonSchema)]
struct Asset {
    id: String,
    model: Option<String>,
    predicts: String,
    /// Whether it runs; `null` while the signal that tells is missing or old, or none is bound.
    running: Option<bool>,
    /// What the model in charge is given, in its order.
    inputs: Vec<Input>,
    last_prediction_id: Option<Uuid>,
    last_prediction_at: Option<Iso>,
    #[schemars(with = "Option<Roles>")]
    role: Option<String>,
    withheld: Option<String>,
    open_alerts: u64,
    alarms_last_hour: u64,
    chattering: u64,
    stale: u64,
    /// Alerts that people judged.
    judged: u64,
    /// Which part of these was false.
    nuisance_share: Option<f64>,
}

/// What one of a machine's inputs stands at.
#[derive(JsonSchema)]
#[schemars(rename = "AssetInput")]
struct Input {
    feature: String,
    signal: String,
    unit: Option<String>,
    /// The newest value; `null` when none has come, or its quality is bad.
    value: Option<Reading>,
    quality: Option<String>,
    /// The status code that came with it.
    status: u32,
    /// How long ago the source last stood by it.
    age_seconds: Option<f64>,
    /// Why the model would not be given it now, if so.
    refused: Option<String>,
}

/// A value of a signal.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Reading {
    Number(f64),
    Text(String),
}

/// What a change of models came to.
#[derive(JsonSchema)]
#[schemars(rename = "ModelChange")]
pub(crate) struct Change {
    /// `rolled_back`, `stopped` or `released`.
    done: String,
    /// That which runs again.
    version: Option<String>,
    /// The model as it is now; `null` where all were meant.
    model: Option<Model>,
    gateway_stopped: Option<Stop>,
}
