//! `explaind bundle push`

use std::collections::BTreeMap;
use std::path::PathBuf;

use explaind_core::model::{Model, OutputKind, bundle};
use serde_json::json;

use super::{Place, files, refused, runtime};
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::registry::models::Offer;

/// What to push, and where.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    #[command(flatten)]
    place: Place,
    /// The model to make it a version of; absent: the manifest's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// An alias to point at it, like champion; gateways that follow it take it from then on
    #[arg(long, value_name = "ALIAS")]
    alias: Option<String>,
    /// Say what was done as a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let registry = args.place.registry()?;
    let files = files(&args.bundle)?;
    let model = Model::load(&files).map_err(|error| refused(&args.bundle, &error))?;
    // Gateways that follow it would refuse it.
    model.verify_fully().map_err(|error| refused(&args.bundle, &error))?;
    let digest = bundle::identity(&files).map_err(|error| refused(&args.bundle, &error))?;
    let manifest = model.manifest();
    let name = args.name.as_deref().unwrap_or(&manifest.name);
    let kind = match manifest.output.kind {
        OutputKind::Classification => "classification",
        OutputKind::Regression => "regression",
        OutputKind::Anomaly => "anomaly",
        OutputKind::Reconstruction => "reconstruction",
    };
    let card = &manifest.card;
    let mut tags = BTreeMap::from([
        ("explaind.digest", digest.to_string()),
        ("explaind.version", manifest.version.to_string()),
        ("explaind.kind", kind.to_owned()),
        ("explaind.model_digest", model.model_digest().to_string()),
        ("explaind.background_digest", model.background_digest().to_string()),
        ("explaind.signed", files.contains_key(bundle::SIGNATURE).to_string()),
    ]);
    tags.extend(card.expires.as_ref().map(|date| ("explaind.expires", date.clone())));
    tags.extend(Some(("explaind.approved_by", card.approved_by.clone())).filter(|(_, by)| !by.is_empty()));
    let offer = Offer {
        name: name.to_owned(),
        digest: digest.to_string(),
        signature: bundle::SIGNATURE,
        // MLflow takes tags of up to 5,000 bytes.
        tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value.chars().take(1_000).collect())).collect(),
        description: card.purpose.clone(),
        files,
    };
    let pushed = runtime()?.block_on(registry.push(&offer, args.alias.as_deref()))?;
    if args.json {
        let told = json!({
            "name": name,
            "version": pushed.version,
            "alias": args.alias,
            "digest": offer.digest,
            "already_there": pushed.already_there,
        });
        return print::json(&told);
    }
    let done = if pushed.already_there { "was there already" } else { "is there now" };
    let alias = args.alias.as_ref().map_or_else(String::new, |alias| format!("; {alias} points at it"));
    print::line(&format!("{}: {name} version {} {done}{alias}", registry.describe(), pushed.version))
}
