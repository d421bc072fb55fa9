//! Output for people (tables) and for scripts (JSON).

use std::io::{self, Write};

use serde_json::Value;

use super::failure::Failure;

/// One JSON value, indented, and a line's end.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// One line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", harmless(text))?;
    Ok(out.flush()?)
}

/// Columns under headings; the last column is as wide as it likes. Says `nothing` when there are no rows.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]], nothing: &str) -> Result<(), Failure> {
    if rows.is_empty() {
        return line(nothing);
    }
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.clone().map(|cell| harmless(&cell))).collect();
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = io::stdout().lock();
    let headings = headings.map(str::to_owned);
    for row in std::iter::once(&headings).chain(&rows) {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(out.flush()?)
}

/// A member of an object as text; empty when it is null or not there.
pub(crate) fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Stored text may hold what a terminal would obey.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_text_gives_the_terminal_no_orders() {
        assert_eq!(harmless("a\u{1b}[31mb\nc"), "a [31mb c");
    }

    #[test]
    fn members_read_as_text() {
        let value = serde_json::json!({ "a": "x", "b": null, "c": 1.5 });
        assert_eq!(
            (text(&value, "a"), text(&value, "b"), text(&value, "c"), text(&value, "d")),
            ("x".into(), String::new(), "1.5".into(), String::new())
        );
    }
}
