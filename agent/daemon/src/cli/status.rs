//! `explaind status`: the gateway on one page.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::client::Peer;
use super::failure::Failure;
use super::print;

/// Show sources, assets, models, buffer and sync.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    peer: Peer,
}

/// Runs the verb. `by_config` finds the socket that a configuration names.
pub(crate) fn run(
    args: &Args,
    by_config: impl FnOnce(Option<&Path>) -> Result<PathBuf, Failure>,
) -> Result<(), Failure> {
    let status = args.peer.client(by_config)?.get("/api/v1/status")?;
    if args.json {
        return print::json(&status);
    }
    let mut lines = Vec::new();
    outline(&status, 0, &mut lines);
    lines.iter().try_for_each(|line| print::line(line))
}

/// Objects as indented keys, arrays of objects as one line each: whatever the daemon has to say is shown.
pub(super) fn outline(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let Value::Object(members) = value else {
        lines.push(format!("{indent}{}", short(value)));
        return;
    };
    for (key, value) in members {
        match value {
            Value::Object(members) if !members.is_empty() => {
                lines.push(format!("{indent}{key}"));
                outline(value, depth + 1, lines);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                lines.push(format!("{indent}{key}"));
                lines.extend(items.iter().map(|item| format!("{indent}  {}", item_line(item))));
            }
            _ => lines.push(format!("{indent}{key}: {}", short(value))),
        }
    }
}

fn item_line(item: &Value) -> String {
    let Value::Object(members) = item else { return short(item) };
    let name = ["name", "id", "stream"].into_iter().find(|key| members.contains_key(*key));
    let rest = members.iter().filter(|(key, value)| Some(key.as_str()) != name && !value.is_null());
    let mut text = name.map(|key| short(&members[key])).unwrap_or_default();
    for (key, value) in rest {
        text.push_str(&format!("  {key} {}", short(value)));
    }
    text.trim_start().to_owned()
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_daemon_says_is_shown() {
        let status = serde_json::json!({
            "buffer": { "bytes": 5, "streams": [{ "stream": "alerts", "records": 2 }] },
            "gateway": { "id": "line-3" },
            "sources": [{ "name": "plc", "up": true, "error": null }],
        });
        let mut lines = Vec::new();
        outline(&status, 0, &mut lines);
        assert_eq!(
            lines,
            [
                "buffer",
                "  bytes: 5",
                "  streams",
                "    alerts  records 2",
                "gateway",
                "  id: line-3",
                "sources",
                "  plc  up yes",
            ]
        );
    }
}
