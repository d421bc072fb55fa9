//! Reads configuration files, lays them over each other, and knows where each key stands.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// The largest configuration file read.
const MOST_BYTES: u64 = 4 << 20;
/// Environment variables that override keys: `EXPLAIND__GATEWAY__ID` is `gateway.id`.
const PREFIX: &str = "EXPLAIND__";

/// What is wrong with a configuration, where, and what to do about it, in one sentence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfigError {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line, where one can be named.
    pub(crate) line: Option<usize>,
    /// The key, like `source[1].interval`; empty for the whole file.
    pub(crate) key: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ", {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Files laid over each other: tables merge, arrays of tables append, and the environment has the last word.
pub(crate) struct Layers {
    files: Vec<(PathBuf, String)>,
    /// Keys set by the environment, each with its variable.
    overridden: Vec<(String, String)>,
    merged: Table,
}

impl Layers {
    /// Reads a file, the `*.toml` in the folder `<name>.d` beside it in name order, and the overrides in `environment`.
    pub(crate) fn read(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut layers = Self { files: Vec::new(), overridden: Vec::new(), merged: Table::new() };
        layers.add(path)?;
        for fragment in fragments(&path.with_extension("d"))? {
            layers.add(&fragment)?;
        }
        let mut overrides: Vec<_> = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        overrides.sort();
        for (name, text) in overrides {
            let key = set(&mut layers.merged, &name, &text).map_err(|message| layers.problem("", message))?;
            layers.overridden.push((key, name));
        }
        Ok(layers)
    }

    /// The whole configuration.
    pub(crate) fn merged(&self) -> &Table {
        &self.merged
    }

    /// An error about a key, with the place where it stands.
    pub(crate) fn problem(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let variable =
            self.overridden.iter().find(|(set, _)| key.strip_prefix(set.as_str()).is_some_and(is_end_of_key));
        let (file, line) = match variable {
            Some((_, name)) => (PathBuf::from(format!("the environment variable {name}")), None),
            None => self.locate(key),
        };
        ConfigError { file, line, key: key.to_owned(), message: message.into() }
    }

    /// Reads a value below `key` as a `T`; what does not fit is named to the exact key.
    pub(crate) fn parse<T: DeserializeOwned>(&self, key: &str, value: Value) -> Result<T, ConfigError> {
        let given = value.clone();
        parse_value(value).map_err(|(path, message)| {
            let message = match shown(&given, &path) {
                Some(text) if !message.contains(&text) => format!("{text}: {message}"),
                _ => message,
            };
            self.problem(&join(key, &path), message)
        })
    }

    fn add(&mut self, path: &Path) -> Result<(), ConfigError> {
        let whole = |message: String| ConfigError { file: path.to_owned(), line: None, key: String::new(), message };
        let size = std::fs::metadata(path).map_err(|error| whole(cannot_read(&error)))?.len();
        if size > MOST_BYTES {
            return Err(whole(format!("the file has {size} bytes; a configuration has at most {MOST_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| whole(cannot_read(&error)))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError {
            file: path.to_owned(),
            line: error.span().map(|span| line_of(&text, span.start)),
            key: String::new(),
            message: format!("not valid TOML: {}", one_line(error.message())),
        })?;
        merge(&mut self.merged, table);
        self.files.push((path.to_owned(), text));
        Ok(())
    }

    /// The file and line where a key stands; for a missing one, where its nearest parent does.
    fn locate(&self, key: &str) -> (PathBuf, Option<usize>) {
        let segments = segments(key);
        let mut best: (usize, Option<(&PathBuf, usize)>) = (0, None);
        let mut before = std::collections::HashMap::new();
        for (file, text) in &self.files {
            let Ok(table) = DeTable::parse(text) else { continue };
            let (depth, offset) = walk(table.get_ref(), &segments, &mut before);
            // A later file overrides an earlier one, so at equal depth the later is where the value comes from.
            if depth > 0 && depth >= best.0 {
                best = (depth, Some((file, line_of(text, offset))));
            }
        }
        match best.1 {
            Some((file, line)) => (file.clone(), Some(line)),
            None => (self.files.first().map(|(file, _)| file.clone()).unwrap_or_default(), None),
        }
    }
}

/// Reads a value as a `T`; an error names the key path inside the value.
pub(crate) fn parse_value<T: DeserializeOwned>(value: Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = one_line(error.inner().message());
        (if path == "." { String::new() } else { path }, message)
    })
}

/// The value at a path, where it is short enough for a sentence. No key holds a secret: those are in files.
fn shown(value: &Value, path: &str) -> Option<String> {
    let found = segments(path).iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.get(key.as_str()),
        Segment::Index(index) => value.get(*index),
    })?;
    let text = found.to_string();
    (!(found.is_table() || found.is_array()) && text.len() <= 60).then_some(text)
}

fn cannot_read(error: &std::io::Error) -> String {
    format!("cannot be read ({error}); name an existing file with --config")
}

fn fragments(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |error: std::io::Error| ConfigError {
        file: folder.to_owned(),
        line: None,
        key: String::new(),
        message: format!("cannot be read ({error}); let the user that runs explaind read it, or remove it"),
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        if entry.path().extension().is_some_and(|extension| extension == "toml") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(from)) if from.iter().all(Value::is_table) => into.extend(from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Whether a key ends here, or goes on with a part of its value.
fn is_end_of_key(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['.', '['])
}

/// Sets one overridden key, and returns it. The text is read as TOML where it is some, else taken as a string; so a text
/// that looks like a number is written with its quotes.
fn set(table: &mut Table, name: &str, text: &str) -> Result<String, String> {
    let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
    let value = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let refuse = || format!("the environment variable {name} names no key; write {PREFIX}TABLE__KEY");
    let (last, parents) = path.split_last().ok_or_else(refuse)?;
    if path.iter().any(String::is_empty) {
        return Err(refuse());
    }
    let mut place = table;
    for parent in parents {
        let next = place.entry(parent.clone()).or_insert_with(|| Value::Table(Table::new()));
        place = next.as_table_mut().ok_or_else(refuse)?;
    }
    place.insert(last.clone(), value);
    Ok(path.join("."))
}

/// One step of a key path: `source[1].signal` is Key(source), Index(1), Key(signal).
#[derive(Debug, PartialEq)]
enum Segment {
    Key(String),
    Index(usize),
}

fn segments(path: &str) -> Vec<Segment> {
    let mut found = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.trim_start_matches('.');
        if let Some(quoted) = rest.strip_prefix('"') {
            let (key, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            found.push(Segment::Key(key.to_owned()));
            rest = after;
        } else if let Some(index) = rest.strip_prefix('[') {
            let (number, after) = index.split_once(']').unwrap_or((index, ""));
            if let Ok(number) = number.parse() {
                found.push(Segment::Index(number));
            }
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            if !key.is_empty() {
                found.push(Segment::Key(key.to_owned()));
            }
            rest = after;
        }
    }
    found
}

/// Joins a parent key and a path below it.
pub(crate) fn join(parent: &str, path: &str) -> String {
    match (parent.is_empty(), path.is_empty()) {
        (true, _) => path.to_owned(),
        (_, true) => parent.to_owned(),
        _ if path.starts_with('[') => format!("{parent}{path}"),
        _ => format!("{parent}.{path}"),
    }
}

/// How many segments of a path stand in this file, and where the last of them begins. `before` remembers how many
/// entries of each array earlier files had, since arrays of tables append.
fn walk<'a>(
    table: &'a DeTable<'a>,
    segments: &[Segment],
    before: &mut std::collections::HashMap<String, usize>,
) -> (usize, usize) {
    let mut depth = 0;
    let mut offset = 0;
    let mut here: Option<&DeTable<'_>> = Some(table);
    let mut array: Option<(String, &[Spanned<DeValue<'_>>])> = None;
    for segment in segments {
        let value = match (segment, &array) {
            (Segment::Key(name), _) => {
                let entry = here.and_then(|table| table.iter().find(|(key, _)| *key.get_ref() == name.as_str()));
                let Some((key, value)) = entry else { break };
                offset = key.span().start;
                if let DeValue::Array(items) = value.get_ref() {
                    array = Some((name.clone(), items));
                }
                value
            }
            (Segment::Index(index), Some((name, items))) => {
                let seen = before.get(name).copied().unwrap_or(0);
                before.insert(name.clone(), seen + items.len());
                let Some(value) = index.checked_sub(seen).and_then(|index| items.get(index)) else {
                    // The parent array is in this file, the entry in another.
                    return (0, 0);
                };
                offset = value.span().start;
                array = None;
                value
            }
            (Segment::Index(_), None) => break,
        };
        here = if let DeValue::Table(table) = value.get_ref() { Some(table) } else { None };
        depth += 1;
    }
    (depth, offset)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(texts: &[&str]) -> Layers {
        let mut layers = Layers { files: Vec::new(), overridden: Vec::new(), merged: Table::new() };
        for (index, text) in texts.iter().enumerate() {
            merge(&mut layers.merged, text.parse().unwrap());
            layers.files.push((PathBuf::from(format!("{index}.toml")), (*text).to_owned()));
        }
        layers
    }

    fn place(layers: &Layers, key: &str) -> (String, Option<usize>) {
        let (file, line) = layers.locate(key);
        (file.display().to_string(), line)
    }

    #[test]
    fn a_key_is_found_in_the_file_that_gave_it() {
        let layers = layers(&[
            "[gateway]\nid = \"a\"\n\n[[source]]\nname = \"one\"\n",
            "[gateway]\nsocket = \"b\"\n[[source]]\nname = \"two\"\n  [[source.signal]]\n  name = \"x\"\n",
        ]);
        assert_eq!(place(&layers, "gateway.id"), ("0.toml".to_owned(), Some(2)));
        assert_eq!(place(&layers, "gateway.socket"), ("1.toml".to_owned(), Some(2)));
        assert_eq!(place(&layers, "source[0].name"), ("0.toml".to_owned(), Some(5)));
        assert_eq!(place(&layers, "source[1].name"), ("1.toml".to_owned(), Some(4)));
        assert_eq!(place(&layers, "source[1].signal[0].name"), ("1.toml".to_owned(), Some(6)));
        assert_eq!(place(&layers, "source[1].absent"), ("1.toml".to_owned(), Some(3)));
    }

    #[test]
    fn the_environment_has_the_last_word() {
        let mut table: Table = "[gateway]\nid = \"a\"\n".parse().unwrap();
        set(&mut table, "EXPLAIND__GATEWAY__ID", "b").unwrap();
        set(&mut table, "EXPLAIND__SYNC__BATCH_RECORDS", "7").unwrap();
        assert_eq!(table["gateway"]["id"].as_str(), Some("b"));
        assert_eq!(table["sync"]["batch_records"].as_integer(), Some(7));
        set(&mut table, "EXPLAIND__GATEWAY__ID", "\"7\"").unwrap();
        assert_eq!(table["gateway"]["id"].as_str(), Some("7"));
        assert!(set(&mut table, "EXPLAIND__", "b").is_err());
        assert!(set(&mut table, "EXPLAIND__GATEWAY__ID__X", "b").is_err());
    }

    #[test]
    fn what_the_environment_set_wrongly_is_blamed_on_its_variable() {
        let mut layers = layers(&["[sync]\nbatch_records = 5\n"]);
        let key = set(&mut layers.merged, "EXPLAIND__SYNC__BATCH_RECORDS", "many").unwrap();
        layers.overridden.push((key, "EXPLAIND__SYNC__BATCH_RECORDS".to_owned()));
        let blamed = layers.problem("sync.batch_records", "no number").to_string();
        assert_eq!(blamed, "the environment variable EXPLAIND__SYNC__BATCH_RECORDS, sync.batch_records: no number");
        assert!(layers.problem("sync.batch_age", "no duration").to_string().starts_with("0.toml, line 1"));
    }

    #[test]
    fn paths_with_quotes_dots_and_indexes_come_apart() {
        let expected = [Segment::Key("asset".into()), Segment::Index(0), Segment::Key("inputs".into())];
        assert_eq!(segments("asset[0].inputs"), expected);
        assert_eq!(segments("inputs.\"a.b [K]\"")[1], Segment::Key("a.b [K]".into()));
    }
}
