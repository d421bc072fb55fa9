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

/// Objects as indented keys, arrays of objects as tables: whatever the daemon has to say is shown.
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
                lines.extend(table(items).into_iter().map(|line| format!("{indent}  {line}")));
            }
            _ => lines.push(format!("{indent}{key}: {}", short(value))),
        }
    }
}

/// Columns under the members' names: what an item is called first, what consists of more last, what nobody has not at all.
fn table(items: &[Value]) -> Vec<String> {
    let mut keys: Vec<&str> = Vec::new();
    for (key, value) in items.iter().filter_map(Value::as_object).flatten() {
        if !value.is_null() && !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let is_compound = |key: &str| items.iter().any(|item| item[key].is_object() || item[key].is_array());
    keys.sort_by_key(|key| match *key {
        "name" | "id" | "stream" => 0,
        key if is_compound(key) => 2,
        _ => 1,
    });
    let cell = |item: &Value, key: &str| item.get(key).map_or_else(|| "-".to_owned(), |value| cut(short(value)));
    let mut rows: Vec<Vec<String>> = vec![keys.iter().map(|&key| key.to_owned()).collect()];
    rows.extend(items.iter().map(|item| keys.iter().map(|key| cell(item, key)).collect()));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..keys.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A digest by its beginning, as people tell them apart; `--json` has the whole.
fn cut(text: String) -> String {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest { format!("{}…", &text[..12]) } else { text }
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(short).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_daemon_says_is_shown() {
        let status = serde_json::json!({
            "buffer": { "bytes": 5, "streams": [{ "records": 2, "stream": "alerts" }] },
            "gateway": { "id": "line-3" },
            "sources": [
                { "error": null, "faults": { "torque": "gone" }, "name": "plc", "up": false, "key": "ab".repeat(32) },
                { "error": null, "name": "floor", "rate": 12, "signals": ["a", "b"], "up": true },
            ],
        });
        let mut lines = Vec::new();
        outline(&status, 0, &mut lines);
        assert_eq!(
            lines,
            [
                "buffer",
                "  bytes: 5",
                "  streams",
                "    stream  records",
                "    alerts  2",
                "gateway",
                "  id: line-3",
                "sources",
                "  name   key            up   rate  faults             signals",
                "  plc    abababababab…  no   -     {\"torque\":\"gone\"}  -",
                "  floor  -              yes  12    -                  a, b",
            ]
        );
    }
}
