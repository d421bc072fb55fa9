//! Plays a recorded CSV file, row by row, as if it happened now.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csv::{ByteRecord, Reader, ReaderBuilder, Trim};
use explaind_core::domain::sample::{Sample, SignalId, Value};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use toml::Table;
use tracing::info;

use super::keys::{self, Name};
use super::link::{Ending, Link};
use super::{ConfigError, bad_sample, check_names, sample, status};
use crate::clock;

/// Rows that are read ahead, off the async threads, since a file on a worn card can be slow.
const AHEAD: usize = 256;

/// Settings of a `type = "replay"` source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    path: PathBuf,
    #[serde(default = "keys::second", deserialize_with = "keys::interval")]
    interval: Duration,
    /// Begin anew after the last row.
    #[serde(default, rename = "loop")]
    repeat: bool,
    /// None listed: every column is a signal.
    #[serde(default, rename = "signal")]
    signals: Vec<Signal>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    name: Name,
    /// The column's header; the signal's name where it is not given.
    column: Option<String>,
    unit: Option<String>,
}

impl Signal {
    fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }
}

impl Config {
    pub(super) fn parse(table: Table, base: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = super::read(table)?;
        if !config.signals.is_empty() {
            check_names(config.signals.iter().map(|signal| &signal.name))?;
        }
        keys::anchor(&mut config.path, base);
        Ok(config)
    }

    /// The file is there, has the columns, and at least one row.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut rows = Rows::open(self)?;
        if rows.read(1).map_err(|message| ConfigError::at("path", message))?.is_empty() {
            return Err(ConfigError::at("path", format!("{} has a header but no rows", self.path.display())));
        }
        Ok(())
    }

    pub(super) fn signals(&self) -> Vec<(String, Option<String>)> {
        if self.signals.is_empty() {
            let columns = Rows::open(self).map(|rows| rows.signals).unwrap_or_default();
            return columns.into_iter().map(|(name, _)| (name, None)).collect();
        }
        self.signals.iter().map(|signal| (signal.name.to_string(), signal.unit.clone())).collect()
    }
}

/// The open file: which column belongs to which signal, and the rows to come.
struct Rows {
    path: PathBuf,
    reader: Reader<File>,
    signals: Vec<(String, usize)>,
}

/// One cell per signal; `None` where the file has nothing.
type Row = Vec<Option<Value>>;

impl Rows {
    fn open(config: &Config) -> Result<Self, ConfigError> {
        let path = config.path.clone();
        let at_path = |fault: String| ConfigError::at("path", format!("{} {fault}", path.display()));
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => at_path("does not exist; give the path of a CSV file".to_owned()),
            _ => at_path(format!("cannot be opened: {error}")),
        })?;
        // Short rows are accepted: what is missing in them is bad quality for its signals only.
        let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(file);
        let header: Vec<String> = reader
            .byte_headers()
            .map_err(|error| at_path(format!("cannot be read: {error}")))?
            .iter()
            .map(|cell| String::from_utf8_lossy(cell).into_owned())
            .collect();
        let signals = assign(config, &header)?;
        Ok(Self { path, reader, signals })
    }

    /// The next rows, at most `most`; none at the end of the file.
    fn read(&mut self, most: usize) -> Result<Vec<Row>, String> {
        let mut rows = Vec::new();
        let mut record = ByteRecord::new();
        while rows.len() < most {
            match self.reader.read_byte_record(&mut record) {
                Ok(true) => rows.push(self.signals.iter().map(|(_, column)| cell(record.get(*column))).collect()),
                Ok(false) => break,
                Err(error) => return Err(format!("{} cannot be read: {error}", self.path.display())),
            }
        }
        Ok(rows)
    }
}

/// Finds each signal's column.
fn assign(config: &Config, header: &[String]) -> Result<Vec<(String, usize)>, ConfigError> {
    let path = config.path.display();
    if header.is_empty() {
        return Err(ConfigError::at("path", format!("{path} is empty; its first row must name the columns")));
    }
    let mut known = BTreeSet::new();
    if let Some(twice) = header.iter().find(|column| !known.insert(column.as_str())) {
        return Err(ConfigError::at("path", format!("{path} has two columns \"{twice}\"")));
    }
    if config.signals.is_empty() {
        return header
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let name = Name::try_from(column.clone()).map_err(|fault| {
                    let advice = "list the wanted columns as [[source.signal]] with name and column";
                    ConfigError::at("path", format!("column {} of {path}: {fault}, or {advice}", index + 1))
                })?;
                Ok((name.to_string(), index))
            })
            .collect();
    }
    let find = |(index, signal): (usize, &Signal)| {
        let column = header.iter().position(|column| column == signal.column()).ok_or_else(|| {
            let message = format!("{path} has no column \"{}\"; it has: {}", signal.column(), header.join(", "));
            ConfigError::at(format!("signal[{index}].column"), message)
        })?;
        Ok((signal.name.to_string(), column))
    };
    config.signals.iter().enumerate().map(find).collect()
}

fn cell(bytes: Option<&[u8]>) -> Option<Value> {
    let text = std::str::from_utf8(bytes?).ok()?;
    if text.is_empty() {
        return None;
    }
    Some(text.parse().map_or_else(|_| Value::Text(text.into()), Value::Number))
}

/// Plays the file, once or for ever.
pub(super) async fn run(config: &Config, link: &Link) -> Result<(), Ending> {
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent: u64 = 0;
    loop {
        let before = sent;
        let opened = config.clone();
        let mut rows = off_thread(move || Rows::open(&opened).map_err(|error| error.message)).await??;
        let ids: Vec<_> = rows.signals.iter().map(|(name, _)| SignalId::new(link.name(), name)).collect();
        loop {
            let batch;
            (rows, batch) = off_thread(move || {
                let batch = rows.read(AHEAD);
                (rows, batch)
            })
            .await?;
            let batch = batch.map_err(Ending::Lost)?;
            if batch.is_empty() {
                break;
            }
            for row in batch {
                tokio::select! {
                    () = link.stopped() => return Err(Ending::Stopped),
                    _ = ticks.tick() => {}
                }
                link.samples(samples(&ids, row)).await?;
                link.up();
                sent += 1;
            }
        }
        if sent == before {
            return Err(Ending::Lost(format!("{} has a header but no rows", config.path.display())));
        }
        if !config.repeat {
            info!(source = link.name(), rows = sent, "replay finished");
            return Ok(());
        }
    }
}

fn samples(ids: &[SignalId], row: Row) -> Vec<Sample> {
    let arrival = clock::now();
    ids.iter()
        .zip(row)
        .map(|(id, cell)| match cell {
            Some(value) => sample(id, value, status::GOOD, Some(arrival.utc), arrival),
            None => bad_sample(id, status::BAD_NO_DATA, Some(arrival.utc), arrival),
        })
        .collect()
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Ending> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Ending::Lost(format!("reading failed from within: {error}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use explaind_core::domain::sample::{Quality, SourceEvent};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::telemetry::Metrics;

    fn parse(folder: &Path, toml: &str) -> Result<Config, ConfigError> {
        Config::parse(toml.parse().unwrap(), folder)
    }

    fn file(content: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create(folder.path().join("a.csv")).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        folder
    }

    #[test]
    fn the_file_and_its_columns_are_checked_before_anything_runs() {
        let folder = file("\u{feff}torque, wear\n1,2\n");
        assert_eq!(parse(folder.path(), "path='a.csv'").unwrap().check(), Ok(()));
        let signals = "[[signal]]\nname='t'\ncolumn='torque'\nunit='Nm'\n[[signal]]\nname='wear'";
        let config = parse(folder.path(), &format!("path='a.csv'\n{signals}")).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.signals(), [("t".to_owned(), Some("Nm".to_owned())), ("wear".to_owned(), None)]);
        for (toml, path, part) in [
            ("path='b.csv'", "path", "does not exist"),
            ("path='a.csv'\n[[signal]]\nname='speed'", "signal[0].column", "no column \"speed\"; it has: torque, wear"),
        ] {
            let error = parse(folder.path(), toml).unwrap().check().unwrap_err();
            assert_eq!(error.path, path);
            assert!(error.message.contains(part), "{error}");
        }
        for (content, part) in [
            ("", "is empty"),
            ("a,b\n", "no rows"),
            ("a,a\n1,2\n", "two columns \"a\""),
            ("speed [m/s]\n1\n", "contains \"/\""),
            ("a,,b\n1,2,3\n", "is empty"),
        ] {
            let folder = file(content);
            let error = parse(folder.path(), "path='a.csv'").unwrap().check().unwrap_err();
            assert!(error.message.contains(part), "{content:?}: {error}");
        }
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        for (toml, path, part) in [
            ("path='a'\ninterval='0s'", "interval", "between 1ms and 1d"),
            ("path='a'\nintervall='1s'", "intervall", "unknown field"),
            ("interval='1s'", "", "missing field `path`"),
            ("path='a'\n[[signal]]\nname='x'\n[[signal]]\nname='x'", "signal[1].name", "names two signals"),
        ] {
            let error = parse(Path::new("/"), toml).unwrap_err();
            assert_eq!(error.path, path, "{error}");
            assert!(error.message.contains(part), "{error}");
        }
    }

    async fn play(content: &str, toml: &str, rows: usize) -> (Vec<Vec<Sample>>, Option<bool>) {
        let folder = file(content);
        let config = parse(folder.path(), toml).unwrap();
        let (events, mut arrived) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let link = Link::new("recorded", events, Metrics::new(), stop.clone());
        let player = tokio::spawn(async move { run(&config, &link).await });
        let mut seen = Vec::new();
        while seen.len() < rows {
            match arrived.recv().await {
                Some(SourceEvent::Samples(samples)) => seen.push(samples),
                _ => break,
            }
        }
        let over = player.is_finished();
        stop.cancel();
        drop(arrived);
        (seen, over.then_some(player.await.unwrap().is_ok()))
    }

    #[tokio::test]
    async fn a_row_arrives_whole_and_numbers_words_and_gaps_are_told_apart() {
        let content = "\u{feff}Torque [Nm],Type,wear\n42.8,M,\n 7 ,L\n";
        let (rows, over) = play(content, "path='a.csv'\ninterval='1ms'", 3).await;
        assert_eq!(over, Some(true));
        assert_eq!(rows.len(), 2);
        let [torque, kind, wear] = &rows[0][..] else { panic!("three signals") };
        assert_eq!(torque.signal.as_str(), "recorded/Torque [Nm]");
        assert_eq!((&torque.value, torque.quality), (&Value::Number(42.8), Quality::Good));
        assert_eq!(torque.source_time, Some(torque.arrival.utc));
        assert_eq!(kind.value, Value::Text("M".into()));
        assert_eq!(wear.quality, Quality::Bad);
        assert_eq!((&rows[1][0].value, rows[1][2].quality), (&Value::Number(7.0), Quality::Bad));
    }

    #[tokio::test]
    async fn a_looped_file_begins_anew_until_it_is_stopped() {
        let (rows, over) = play("a\n1\n2\n", "path='a.csv'\ninterval='1ms'\nloop=true", 5).await;
        assert_eq!(over, None);
        let values: Vec<_> = rows.iter().map(|row| row[0].value.clone()).collect();
        assert_eq!(values, [1.0, 2.0, 1.0, 2.0, 1.0].map(Value::Number));
    }
}
