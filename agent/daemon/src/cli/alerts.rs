//! `explaind alerts`: the technician's work, from a terminal.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Client, Peer, escaped};
use super::failure::Failure;
use super::print;

/// List alerts, show one, acknowledge, reset or shelve one, take one out of service.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    peer: Peer,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// The newest alerts, open ones first
    List {
        /// Only those that are open
        #[arg(long)]
        open: bool,
        /// Only those of this asset
        #[arg(long)]
        asset: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// One alert, with its reasons and what was said of it
    Show {
        /// The alert's id
        id: Uuid,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say that you have seen it; this is no verdict
    Ack {
        /// The alert's id
        id: Uuid,
        /// What you want to add
        #[arg(long)]
        comment: Option<String>,
        /// Print the alert afterwards, as a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let go an alert that is latched: its condition is gone, and it was acknowledged
    Reset(Noted),
    /// Put an alert aside for a time; it also stays aside when it is raised again
    Shelve {
        /// The alert's id
        id: Uuid,
        /// For how long, at most 7d
        #[arg(long = "for", value_name = "TIME")]
        length: String,
        /// Why: those who will miss the alert read it
        #[arg(long)]
        reason: String,
        /// Print the alert afterwards, as a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take an alert back from there
    Unshelve(Noted),
    /// Take an alert out of service until it is put back; for engineers
    OutOfService {
        /// The alert's id
        id: Uuid,
        /// Why: those who will miss the alert read it
        #[arg(long)]
        reason: String,
        /// Print the alert afterwards, as a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Put it back in service; for engineers
    InService(Noted),
}

/// An alert, and what is said with what is done to it.
#[derive(Debug, clap::Args)]
struct Noted {
    /// The alert's id
    id: Uuid,
    /// What you want to add
    #[arg(long)]
    comment: Option<String>,
    /// Print the alert afterwards, as a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb. `by_config` finds the socket that a configuration names.
pub(crate) fn run(
    args: &Args,
    by_config: impl FnOnce(Option<&Path>) -> Result<PathBuf, Failure>,
) -> Result<(), Failure> {
    let client = args.peer.client(by_config)?;
    match &args.verb {
        Verb::List { open, asset, limit, json } => list(&client, *open, asset.as_deref(), *limit, *json),
        Verb::Show { id, json } => show(&client.get(&format!("/api/v1/alerts/{id}"))?, *json),
        Verb::Ack { id, comment, json } => change(&client, id, "acknowledge", &json!({ "comment": comment }), *json),
        Verb::Reset(noted) => noted.change(&client, "reset"),
        Verb::Shelve { id, length, reason, json } => {
            change(&client, id, "shelve", &json!({ "for": length, "reason": reason }), *json)
        }
        Verb::Unshelve(noted) => noted.change(&client, "unshelve"),
        Verb::OutOfService { id, reason, json } => {
            change(&client, id, "out-of-service", &json!({ "reason": reason }), *json)
        }
        Verb::InService(noted) => noted.change(&client, "in-service"),
    }
}

impl Noted {
    fn change(&self, client: &Client, verb: &str) -> Result<(), Failure> {
        change(client, &self.id, verb, &json!({ "comment": self.comment }), self.json)
    }
}

/// Does it, and says what the alert is then.
fn change(client: &Client, id: &Uuid, verb: &str, body: &Value, json: bool) -> Result<(), Failure> {
    let alert = client.post(&format!("/api/v1/alerts/{id}/{verb}"), body)?;
    if json { print::json(&alert) } else { print::line(&format!("{id} is {}", standing(&alert))) }
}

/// The state, and what lies over it.
fn standing(alert: &Value) -> String {
    let [state, over, until] = ["state", "suppression", "shelved_until"].map(|key| print::text(alert, key));
    match over.as_str() {
        "" | "none" => state,
        "shelved" => format!("{state}, shelved until {until}"),
        _ => format!("{state}, {over}"),
    }
}

fn list(client: &Client, open: bool, asset: Option<&str>, limit: u16, json: bool) -> Result<(), Failure> {
    let asset = asset.map(|asset| format!("&asset={}", escaped(asset))).unwrap_or_default();
    let of = |state: &str| client.get(&format!("/api/v1/alerts?limit={limit}&state={state}{asset}"));
    // Asked for apart, so that no number of closed alerts hides one that is open.
    let mut alerts = of("open")?.as_array().cloned().unwrap_or_default();
    if !open {
        alerts.extend(of("closed")?.as_array().into_iter().flatten().cloned());
        alerts.truncate(usize::from(limit));
    }
    if json {
        return print::json(&Value::Array(alerts));
    }
    let rows: Vec<[String; 6]> = alerts.iter().map(row).collect();
    print::table(["ID", "ASSET", "STATE", "PRIORITY", "RAISED", "WHY"], &rows, "no alerts")
}

fn row(alert: &Value) -> [String; 6] {
    let [id, asset, priority, raised, sentence] =
        ["id", "asset", "priority", "raised_at", "sentence"].map(|key| print::text(alert, key));
    [id, asset, standing(alert), priority, raised, sentence]
}

fn show(alert: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return print::json(alert);
    }
    for key in [
        "id",
        "asset",
        "model",
        "state",
        "suppression",
        "shelved_until",
        "suppressed_by",
        "suppressed_because",
        "priority",
        "consequence",
        "response",
        "raised_at",
        "cleared_at",
        "acknowledged_by",
        "comment",
        "reason",
        "sentence",
        "would_clear",
        "similar",
        "prediction_id",
    ] {
        let text = print::text(alert, key);
        if !text.is_empty() {
            print::line(&format!("{key:<16} {text}"))?;
        }
    }
    let reasons: Vec<[String; 5]> =
        alert["explanation"]["features"].as_array().into_iter().flatten().map(reason).collect();
    print::line("")?;
    let nothing = format!("no reasons: {}", print::text(alert, "explanation_status"));
    print::table(["FEATURE", "VALUE", "UNIT", "USUALLY", "SHARE"], &reasons, &nothing)?;
    for said in alert["feedback"].as_array().into_iter().flatten() {
        let [verdict, author, at, comment] =
            ["verdict", "author", "recorded_at", "comment"].map(|key| print::text(said, key));
        print::line(&format!("{verdict}, says {author} at {at} {comment}"))?;
    }
    Ok(())
}

fn reason(feature: &Value) -> [String; 5] {
    // Models take float32: more digits than that has were never measured.
    let number = |value: &Value| value.as_f64().map_or_else(String::new, |number| (number as f32).to_string());
    let usual = &feature["usual"];
    let (value, usual) = match feature["category"].as_str() {
        Some(category) => (category.to_owned(), String::new()),
        None if usual[0].is_number() => {
            (number(&feature["value"]), format!("{} to {}", number(&usual[0]), number(&usual[1])))
        }
        None => (number(&feature["value"]), String::new()),
    };
    [
        print::text(feature, "feature"),
        value,
        print::text(feature, "unit"),
        usual,
        feature["attribution"].as_f64().map_or_else(String::new, |share| format!("{share:+.4}")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{reason, standing};

    #[test]
    fn what_lies_over_an_alert_is_said_with_its_state() {
        let mut alert = json!({ "state": "acknowledged", "suppression": "none", "shelved_until": null });
        assert_eq!(standing(&alert), "acknowledged");
        alert["suppression"] = json!("out_of_service");
        assert_eq!(standing(&alert), "acknowledged, out_of_service");
        alert["suppression"] = json!("shelved");
        alert["shelved_until"] = json!("2026-11-28T08:00:00Z");
        assert_eq!(standing(&alert), "acknowledged, shelved until 2026-11-28T08:00:00Z");
    }

    #[test]
    fn reasons_have_the_digits_that_were_measured() {
        let mut feature = json!({
            "feature": "Air temperature [K]", "unit": "K", "value": 298.8999938964844,
            "usual": [297.5, 303.3099884033203], "attribution": -0.14794,
        });
        assert_eq!(reason(&feature), ["Air temperature [K]", "298.9", "K", "297.5 to 303.31", "-0.1479"]);
        feature["usual"] = json!([null, null]);
        assert_eq!(reason(&feature)[3], "");
        feature["category"] = json!("L");
        assert_eq!(reason(&feature)[1..4], ["L", "K", ""]);
    }
}
