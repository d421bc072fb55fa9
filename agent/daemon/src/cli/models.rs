//! `explaind models`: which models run where, and the kill switch.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::client::{Client, Peer, escaped};
use super::failure::Failure;
use super::print;

/// List models, stop them, release them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    peer: Peer,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Every model: what runs, in which state, and why
    List {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Let a model, or all of them, predict no more
    ///
    /// It takes effect at once and lasts until somebody releases it, also over a restart. Where the configuration has a simple
    /// rule for a machine, that goes on when a model is stopped; when the gateway is stopped nothing does. Alerts that are open
    /// stay open.
    Stop(Change),
    /// Let a model, or all of them, predict again
    ///
    /// What the registry stops is released here once its tag explaind.stop is gone there.
    Release(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    #[command(flatten)]
    what: What,
    /// Why; it goes on record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print what follows as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// This model, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The whole gateway
    #[arg(long)]
    gateway: bool,
}

/// Runs the verb. `by_config` finds the socket that a configuration names.
pub(crate) fn run(
    args: &Args,
    by_config: impl FnOnce(Option<&Path>) -> Result<PathBuf, Failure>,
) -> Result<(), Failure> {
    let client = args.peer.client(by_config)?;
    match &args.verb {
        Verb::List { json: true } => print::json(&client.get("/api/v1/models")?),
        Verb::List { json: false } => list(&client.get("/api/v1/status")?),
        Verb::Stop(change) => carry_out(&client, "stop", change),
        Verb::Release(change) => carry_out(&client, "release", change),
    }
}

fn list(status: &Value) -> Result<(), Failure> {
    if let Some(stop) = stopped(&status["gateway"]["stopped"]) {
        print::line(&format!("the whole gateway is {stop}"))?;
    }
    if let Some(why) = unheard(&status["gateway"]) {
        print::line(&format!("the whole gateway: {why}"))?;
    }
    let rows: Vec<[String; 6]> = status["models"].as_array().into_iter().flatten().map(row).collect();
    print::table(["NAME", "VERSION", "IN REGISTRY", "STATE", "SINCE", "WHY"], &rows, "no models")
}

fn row(model: &Value) -> [String; 6] {
    let [name, version, registered, state, since] =
        ["name", "version", "registry_version", "state", "since"].map(|key| print::text(model, key));
    [name, version, registered, state, since, why(model)]
}

/// What there is to know of a model that does not simply run.
fn why(model: &Value) -> String {
    let said = |key: &str| Some(print::text(model, key)).filter(|text| !text.is_empty());
    let refused = model["refused"].get(0).map(|refused| {
        let [version, reason] = ["version", "reason"].map(|key| print::text(refused, key));
        format!("refused {version}: {reason}")
    });
    let away = Some(print::text(&model["following"], "error")).filter(|text| !text.is_empty());
    let all = [stopped(&model["stopped"]), said("error"), refused, away, unheard(model)];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// That it is not known whether the registry stops it.
fn unheard(what: &Value) -> Option<String> {
    let why = Some(print::text(what, "stop_error")).filter(|text| !text.is_empty())?;
    Some(format!("whether the registry stops it is not known: {why}"))
}

/// `stopped by anna: sensor replaced`
fn stopped(stop: &Value) -> Option<String> {
    stop.is_object().then(|| {
        let [by, reason] = ["by", "reason"].map(|key| print::text(stop, key));
        if reason.is_empty() { format!("stopped by {by}") } else { format!("stopped by {by}: {reason}") }
    })
}

fn carry_out(client: &Client, verb: &str, change: &Change) -> Result<(), Failure> {
    let path = match &change.what.model {
        Some(name) => format!("/api/v1/models/{}/{verb}", escaped(name)),
        None => format!("/api/v1/gateway/{verb}"),
    };
    let answer = client.post(&path, &json!({ "reason": change.reason }))?;
    if change.json {
        return print::json(&answer);
    }
    print::line(&told(change.what.model.as_deref(), &answer))
}

/// One line on what was done, and on what stands in the way all the same.
fn told(name: Option<&str>, answer: &Value) -> String {
    let whole = name.is_none();
    let name = name.unwrap_or("the whole gateway");
    let mut line = format!("{name} is {}", print::text(answer, "done"));
    let still = if whole { None } else { stopped(&answer["gateway_stopped"]) };
    if let Some(stop) = still.filter(|_| answer["done"] == "released") {
        line.push_str(&format!(", and predicts nothing yet: the whole gateway is {stop}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_says_in_one_line_why_it_does_not_simply_run() {
        let mut model = json!({
            "name": "press-failure", "version": "1.4.0", "registry_version": 7, "state": "active",
            "since": "2026-11-27T10:00:00Z", "stopped": null, "refused": null, "following": null,
        });
        let shown = ["press-failure", "1.4.0", "7", "active", "2026-11-27T10:00:00Z", ""];
        assert_eq!(row(&model), shown);
        model["stopped"] = json!({ "by": "anna", "reason": "sensor replaced" });
        model["refused"] = json!([{ "version": "1.5.0", "reason": "its card has expired" }]);
        model["following"] = json!({ "alias": "champion", "error": "the registry does not answer" });
        model["stop_error"] = json!("403 Forbidden");
        assert_eq!(
            why(&model),
            "stopped by anna: sensor replaced; refused 1.5.0: its card has expired; the registry does not answer; \
             whether the registry stops it is not known: 403 Forbidden"
        );
    }

    #[test]
    fn a_release_that_changes_nothing_yet_says_so() {
        let stop = json!({ "by": "anna", "reason": null });
        let mut answer = json!({ "done": "stopped", "gateway_stopped": null });
        assert_eq!(told(Some("press-failure"), &answer), "press-failure is stopped");
        answer["gateway_stopped"] = stop;
        assert_eq!(told(None, &answer), "the whole gateway is stopped");
        answer["done"] = json!("released");
        let line = "press-failure is released, and predicts nothing yet: the whole gateway is stopped by anna";
        assert_eq!(told(Some("press-failure"), &answer), line);
    }
}
