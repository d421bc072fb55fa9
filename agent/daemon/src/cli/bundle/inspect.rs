//! `explaind bundle inspect`

use std::path::PathBuf;

use explaind_core::model::{Files, InputSpec, Model, OutputKind, bundle};
use minisign::SignatureBox;
use serde_json::{Value, json};

use super::{files, refused};
use crate::cli::failure::Failure;
use crate::cli::{print, status};

/// What to look at.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let files = files(&args.bundle)?;
    let model = Model::load(&files).map_err(|error| refused(&args.bundle, &error))?;
    let digest = bundle::identity(&files).map_err(|error| refused(&args.bundle, &error))?;
    let told = object(&model, &files, &digest.to_string());
    if args.json {
        return print::json(&told);
    }
    let mut lines = Vec::new();
    status::outline(&told, 0, &mut lines);
    lines.iter().try_for_each(|line| print::line(line))
}

fn object(model: &Model, files: &Files, digest: &str) -> Value {
    let manifest = model.manifest();
    let input = match manifest.input {
        InputSpec::Row => json!({"kind": "row"}),
        InputSpec::Window { steps, period } => {
            json!({"kind": "window", "steps": steps, "period_seconds": period.map(|period| period.as_secs_f64())})
        }
    };
    let kind = match manifest.output.kind {
        OutputKind::Classification => "classification",
        OutputKind::Regression => "regression",
        OutputKind::Anomaly => "anomaly",
        OutputKind::Reconstruction => "reconstruction",
    };
    let features: Vec<Value> = manifest
        .features
        .iter()
        .map(|feature| {
            json!({
                "name": &*feature.name,
                "unit": &*feature.unit,
                "range": feature.range.map(|(low, high)| [low, high]),
                "adjustable": feature.adjustable.map(|limits| [limits.low, limits.high]),
            })
        })
        .collect();
    let card = &manifest.card;
    let monitoring = model.monitoring();
    json!({
        "name": &*manifest.name,
        "version": &*manifest.version,
        "digest": digest,
        "model_digest": model.model_digest().to_string(),
        "background_digest": model.background_digest().to_string(),
        "input": input,
        "output": {
            "kind": kind,
            "tensor": manifest.output.tensor,
            "index": model.column(),
            "labels": manifest.output.labels,
            "space": model.space().as_str(),
            "target": manifest.output.target,
        },
        "decision": manifest.decision.as_ref().map(|decision| {
            json!({"raise": decision.raise.to_string(), "clear": decision.clear.to_string(), "priority": decision.priority})
        }),
        "features": features,
        "background_rows": model.background().len(),
        "golden": {"rows": model.golden_rows(), "origin": model.golden_origin()},
        "certainty": monitoring.and_then(|told| told.certainty.as_ref()).map(|certainty| {
            json!({"score": certainty.score, "origin": certainty.origin, "rows": certainty.scores.len()})
        }),
        "quality": monitoring.and_then(|told| told.quality.as_ref()),
        "signature": signature(files),
        "card": {
            "purpose": card.purpose,
            "data": card.data,
            "limits": card.limits,
            "owner": card.owner,
            "approved_by": card.approved_by,
            "approved_on": card.approved_on,
            "expires": card.expires,
            "hardware": card.hardware,
            "assets": card.assets,
        },
        "files": files.iter().map(|(name, bytes)| {
            json!({"name": name, "bytes": bytes.len(), "sha256": bundle::digest(bytes).to_string()})
        }).collect::<Vec<_>>(),
    })
}

/// What a signature says of itself: whether that is so is `verify`'s question.
fn signature(files: &Files) -> Value {
    let Some(bytes) = files.get(bundle::SIGNATURE) else { return Value::Null };
    let read = std::str::from_utf8(bytes).ok().and_then(|text| SignatureBox::from_string(text).ok());
    let Some(read) = read else { return json!({"key": null, "comment": null, "checked": false}) };
    let key: String = read.keynum().iter().rev().map(|byte| format!("{byte:02X}")).collect();
    json!({"key": key, "comment": read.trusted_comment().ok(), "checked": false})
}
