//! `explaind feedback`: what people say of predictions, from a terminal.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::{Peer, escaped};
use super::failure::Failure;
use super::print;

/// Say whether a prediction was right, or read what was said.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    peer: Peer,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Give feedback on a prediction, an alert, or an event that no alert was raised for
    Add(Box<Add>),
    /// The newest feedback
    List {
        /// Only on this prediction
        #[arg(long)]
        prediction: Option<Uuid>,
        /// Only on this alert
        #[arg(long)]
        alert: Option<Uuid>,
        /// Only on this asset
        #[arg(long)]
        asset: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("judged").args(["prediction", "alert", "asset"]).required(true).multiple(true)))]
struct Add {
    /// The prediction judged
    #[arg(long, value_name = "ID")]
    prediction: Option<Uuid>,
    /// The alert judged
    #[arg(long, value_name = "ID")]
    alert: Option<Uuid>,
    /// On the prediction
    #[arg(long, value_parser = ["confirm", "reject", "correct", "unsure", "missed"])]
    verdict: Option<String>,
    /// With the verdict correct: what it should have been
    #[arg(long, value_name = "CLASS|VALUE")]
    corrected: Option<String>,
    /// On the explanation
    #[arg(long, value_parser = ["agree", "disagree"])]
    explanation_verdict: Option<String>,
    /// A feature that really mattered; may be repeated
    #[arg(long, value_name = "FEATURE")]
    relevant: Vec<String>,
    /// A feature that did not matter; may be repeated
    #[arg(long, value_name = "FEATURE")]
    irrelevant: Vec<String>,
    /// What it really was
    #[arg(long)]
    cause: Option<String>,
    /// What you want to add
    #[arg(long)]
    comment: Option<String>,
    /// With the verdict missed: the machine
    #[arg(long)]
    asset: Option<String>,
    /// With the verdict missed: when it began, RFC 3339
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// With the verdict missed: when it ended, RFC 3339
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The feedback that this one replaces
    #[arg(long, value_name = "ID")]
    revises: Option<Uuid>,
    /// Print the feedback as a JSON object
    #[arg(long)]
    json: bool,
}

impl Add {
    fn body(&self) -> Value {
        let body = json!({
            "prediction_id": self.prediction,
            "alert_id": self.alert,
            "verdict": self.verdict,
            "corrected": self.corrected,
            "explanation_verdict": self.explanation_verdict,
            "relevant": self.relevant,
            "irrelevant": self.irrelevant,
            "cause": self.cause,
            "comment": self.comment,
            "asset": self.asset,
            "event_from": self.from,
            "event_to": self.to,
            "revises": self.revises,
        });
        let members = body.as_object().cloned().unwrap_or_default();
        Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
    }
}

/// Runs the verb. `by_config` finds the socket that a configuration names.
pub(crate) fn run(
    args: &Args,
    by_config: impl FnOnce(Option<&Path>) -> Result<PathBuf, Failure>,
) -> Result<(), Failure> {
    let client = args.peer.client(by_config)?;
    match &args.verb {
        Verb::Add(add) => {
            let said = client.post("/api/v1/feedback", &add.body())?;
            if add.json { print::json(&said) } else { print::line(&format!("noted as {}", print::text(&said, "id"))) }
        }
        Verb::List { prediction, alert, asset, limit, json } => {
            let mut path = format!("/api/v1/feedback?limit={limit}");
            for (key, id) in [("prediction_id", prediction), ("alert_id", alert)] {
                if let Some(id) = id {
                    path.push_str(&format!("&{key}={id}"));
                }
            }
            if let Some(asset) = asset {
                path.push_str(&format!("&asset={}", escaped(asset)));
            }
            let said = client.get(&path)?;
            if *json {
                return print::json(&said);
            }
            let rows: Vec<[String; 6]> = said.as_array().into_iter().flatten().map(row).collect();
            print::table(["ID", "RECORDED", "ASSET", "AUTHOR", "VERDICT", "COMMENT"], &rows, "no feedback")
        }
    }
}

fn row(said: &Value) -> [String; 6] {
    ["id", "recorded_at", "asset", "author", "verdict", "comment"].map(|key| print::text(said, key))
}
