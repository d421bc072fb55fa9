//! Sync against a folder: once, in order, the same bytes.

mod carry;
mod mlflow;
mod names;
mod order;
mod outbox;
mod owner;
mod wear;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, MapArray, RecordBatch};
use explaind_core::domain::alert::AlarmState::{Normal, Unacknowledged};
use uuid::Uuid;

use super::outgoing::encode;
use super::*;
use crate::buffer::samples::{at, audit, explained, extra, feedback, health, open, prediction, transition, withheld};
use crate::registry::{self, batch_path};
use explaind_core::domain::explanation::{Faithfulness, IntervalShare, Settlement};

fn registry(folder: &Path) -> Registry {
    Registry::new(&registry::Config::Directory(registry::DirectoryConfig { path: folder.join("registry") }))
}

fn sync(buffer: &Buffer, registry: Registry, batch_records: u64) -> Sync {
    let config = Config { batch_records, batch_age: Duration::MAX, ..Config::default() };
    Sync::new(buffer.clone(), registry, config, Metrics::new(), Status::default())
}

/// All files below a folder, by relative name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, all);
            } else {
                all.insert(path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(folder, folder, &mut all);
    all
}

fn rows(path: PathBuf) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    batches.into_iter().next().unwrap()
}

/// The numbers of a stream's records in the registry below a folder, each as often as it is there.
fn sequences(folder: &Path, gateway: &str, stream: Stream) -> Vec<i64> {
    let root = folder.join("registry").join(gateway).join(stream.as_str());
    let mut sent = Vec::new();
    for name in files(&root).into_keys() {
        let rows = rows(root.join(name));
        sent.extend(rows.column_by_name("sequence").unwrap().as_primitive::<Int64Type>().values().to_vec());
    }
    sent.sort_unstable();
    sent
}

fn text<'a>(rows: &'a RecordBatch, column: &str, row: usize) -> Option<&'a str> {
    let column = rows.column_by_name(column).unwrap_or_else(|| panic!("no column {column}")).as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}

fn number(rows: &RecordBatch, column: &str, row: usize) -> Option<f64> {
    let column = rows.column_by_name(column).unwrap().as_primitive::<Float64Type>();
    column.is_valid(row).then(|| column.value(row))
}

fn map(rows: &RecordBatch, column: &str, row: usize) -> Vec<(String, Option<f64>)> {
    let column: &MapArray = rows.column_by_name(column).unwrap().as_map();
    let entries = column.value(row);
    let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_primitive::<Float64Type>());
    (0..entries.len()).map(|n| (keys.value(n).to_owned(), values.is_valid(n).then(|| values.value(n)))).collect()
}

/// An explanation that says more than shares: how the first feature's spreads over time, and its part of a score.
fn explained_further(torque: f64) -> Settlement {
    let mut settlement = explained(torque);
    if let Settlement::Explained { explanation, .. } = &mut settlement {
        let stretch = |from, to, value| IntervalShare { from, to, value, standard_error: 0.25 };
        let torque = &mut explanation.attributions[0];
        torque.intervals = vec![stretch(0, 15, 4.5), stretch(15, 30, 2.0)];
        torque.error = Some(0.5);
        explanation.faithfulness = Some(Faithfulness { deletion: 0.75, random: 0.5 });
    }
    settlement
}

#[tokio::test]
async fn how_shares_spread_over_time_and_parts_of_a_score_arrive_as_columns() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let stored = buffer.append((0..3).map(|n| prediction(n, 65.0)).collect()).unwrap();
    let settled = [explained(65.0), explained_further(65.0), Settlement::Skipped { reason: "none".to_owned() }];
    buffer.settle(stored.iter().map(|record| record.id).zip(settled).collect()).unwrap();
    sync(&buffer, registry(folder.path()), 5000).round(true, &EVER()).await.unwrap();
    let date = status::date(clock::now().utc);
    let rows = rows(folder.path().join(format!("registry/line-3/predictions/date={date}/1-3.parquet")));
    let versions = rows.column_by_name("schema_version").unwrap().as_primitive::<Int32Type>();
    assert_eq!(versions.values(), &[5, 5, 5]);

    let (intervals, errors) =
        (rows.column_by_name("intervals").unwrap().as_map(), rows.column_by_name("errors").unwrap());
    assert_eq!(
        [0, 1, 2].map(|row| (intervals.is_null(row), errors.is_null(row))),
        [(true, true), (false, false), (true, true)]
    );
    assert_eq!(map(&rows, "errors", 1), [("Torque [Nm]".to_owned(), Some(0.5))]);
    let faithfulness = rows.column_by_name("faithfulness").unwrap();
    assert_eq!([0, 1, 2].map(|row| faithfulness.is_null(row)), [true, false, true]);
    let scores = [("deletion".to_owned(), Some(0.75)), ("random".to_owned(), Some(0.5))];
    assert_eq!(map(&rows, "faithfulness", 1), scores);
    let entries = intervals.value(1);
    assert_eq!(entries.column(0).as_string::<i32>().value(0), "Torque [Nm]");
    let stretches = entries.column(1).as_list::<i32>().value(0);
    let stretches = stretches.as_struct();
    let steps = |name: &str| stretches.column_by_name(name).unwrap().as_primitive::<Int32Type>().values().to_vec();
    let figures = |name: &str| stretches.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec();
    assert_eq!((steps("from"), steps("to")), (vec![0, 15], vec![15, 30]));
    assert_eq!((figures("value"), figures("standard_error")), (vec![4.5, 2.0], vec![0.25, 0.25]));
    let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        names[names.len() - 4..],
        ["alert_id", "intervals", "errors", "faithfulness"],
        "added behind what there was"
    );
}

const EVER: fn() -> CancellationToken = CancellationToken::new;

#[tokio::test]
async fn every_stream_arrives_with_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let one = prediction(1, 65.0);
    let id = one.id;
    let raise = transition(1, None, (Normal, Unacknowledged), Some(id), None);
    let alert_id = raise.id;
    let stored = buffer
        .append(vec![
            one,
            raise,
            withheld(2),
            feedback(3, id),
            audit(4, "ada"),
            health(5),
            prediction(6, 1.0),
            extra(7, id),
        ])
        .unwrap();
    let skipped = Settlement::Skipped { reason: "withheld".to_owned() };
    buffer.settle(vec![(id, explained(65.0)), (stored[2].id, skipped)]).unwrap();
    let mut sync = sync(&buffer, registry(folder.path()), 5000);
    sync.round(true, &EVER()).await.unwrap();

    let root = folder.path().join("registry");
    let names: Vec<String> =
        files(&root).into_keys().map(|name| name.replace(&status::date(clock::now().utc), "D")).collect();
    let expected = [
        "line-3/alerts/date=D/1-1.parquet",
        "line-3/audit/date=D/1-1.parquet",
        "line-3/explanations/date=D/1-1.parquet",
        "line-3/feedback/date=D/1-1.parquet",
        "line-3/health/date=D/1-1.parquet",
        "line-3/predictions/date=D/1-2.parquet",
        "line-3/store.json",
    ];
    assert_eq!(names, expected);
    let file = |stream: &str, name: &str| {
        root.join(format!("line-3/{stream}/date={}/{name}.parquet", status::date(clock::now().utc)))
    };
    let predictions = rows(file("predictions", "1-2"));
    assert_eq!(text(&predictions, "record_id", 0), Some(id.to_string().as_str()));
    assert_eq!(predictions.column_by_name("sequence").unwrap().as_primitive::<Int64Type>().values(), &[1, 2]);
    let recorded = predictions.column_by_name("recorded_at").unwrap();
    assert_eq!(recorded.as_primitive::<TimestampMicrosecondType>().value(0), at(1).utc.as_micros());
    assert_eq!(recorded.data_type().to_string(), "Timestamp(µs, \"UTC\")");
    assert_eq!(map(&predictions, "inputs", 1)[0], ("Torque [Nm]".to_owned(), None));
    let shares = map(&predictions, "attributions", 0);
    let sum: f64 = shares.iter().map(|(_, value)| value.unwrap()).sum();
    let (base, output) = (number(&predictions, "base_value", 0).unwrap(), number(&predictions, "output", 0).unwrap());
    assert!((base + sum - output).abs() < 1e-9);
    assert_eq!((text(&predictions, "space", 0), number(&predictions, "probability", 0)), (Some("margin"), Some(0.93)));
    assert_eq!(text(&predictions, "explanation_status", 0), Some("exact"));
    assert_eq!(text(&predictions, "outcome", 1), Some("withheld"));
    assert_eq!(text(&predictions, "withheld_reason", 1), Some("stale: Torque [Nm], 7.2 s old"));
    assert_eq!(text(&predictions, "explanation_reason", 1), Some("withheld"));
    assert!(predictions.column_by_name("attributions").unwrap().is_null(1));
    assert_eq!(text(&predictions, "model_digest", 0).unwrap().len(), 64);

    let alerts = rows(file("alerts", "1-1"));
    assert_eq!(text(&alerts, "alert_id", 0), Some(alert_id.to_string().as_str()));
    assert_eq!(
        (text(&alerts, "from_state", 0), text(&alerts, "to_state", 0)),
        (Some("normal"), Some("unacknowledged"))
    );
    let feedback = rows(file("feedback", "1-1"));
    assert_eq!((text(&feedback, "verdict", 0), text(&feedback, "revises", 0)), (Some("reject"), None));
    let relevant = feedback.column_by_name("relevant").unwrap().as_list::<i32>().value(0);
    assert_eq!(relevant.as_string::<i32>().value(0), "Torque [Nm]");
    let audit = rows(file("audit", "1-1"));
    assert_eq!(text(&audit, "previous_hash", 0), Some("0".repeat(64).as_str()));
    let extras = rows(file("explanations", "1-1"));
    assert_eq!(text(&extras, "explanation_id", 0), text(&extras, "record_id", 0));
    assert_eq!(text(&extras, "prediction_id", 0), Some(id.to_string().as_str()));
    assert_eq!(text(&extras, "kind", 0), Some("counterfactuals"));
    assert_eq!(text(&extras, "content", 0), Some("{\"outcome\":\"no_rule\"}"));
    let health = rows(file("health", "1-1"));
    assert_eq!(health.column_by_name("evidence").unwrap().as_map().value(0).len(), 2);

    let snapshot = sync.status.snapshot();
    assert_eq!((snapshot.state, snapshot.error, snapshot.conflicts), (State::Online, None, 0));
    assert_eq!(snapshot.streams.iter().map(|lag| lag.waiting).sum::<u64>(), 1, "one explanation is not settled");
}

#[tokio::test]
async fn a_retry_sends_the_same_bytes_under_the_same_name_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..25).map(health).collect()).unwrap();
    let mut one = sync(&buffer, registry(folder.path()), 10);
    // The answer to the first batch is lost with the process: it was put, and never noted.
    let (stream, bounds) = one.next(false).await.unwrap().unwrap();
    assert_eq!((stream, bounds.first, bounds.last), (Stream::Health, 1, 10));
    let content = encode(&buffer, stream, bounds, Names::plain()).unwrap().unwrap();
    let path = batch_path("line-3", stream, &status::date(bounds.closed_at), 1, 10);
    one.put(&path, content.clone()).await.unwrap();
    buffer.append((30..40).map(health).collect()).unwrap();
    drop((one, buffer));

    let buffer = open(folder.path());
    let mut again = sync(&buffer, registry(folder.path()), 7);
    assert_eq!(encode(&buffer, stream, bounds, Names::plain()).unwrap().unwrap(), content);
    again.registry.set_store(&claim_of(&buffer)).await.unwrap();
    again.round(true, &EVER()).await.unwrap();
    assert_eq!(sequences(folder.path(), "line-3", Stream::Health), (1..=35).collect::<Vec<i64>>());
    assert_eq!(again.status.snapshot().conflicts, 0);
    assert_eq!(buffer.uploaded(Stream::Health), 35);
}

fn claim_of(buffer: &Buffer) -> registry::StoreMark {
    let (gateway, store_id) = (buffer.gateway().to_owned(), buffer.store_id());
    registry::StoreMark { gateway, store_id, predecessors: Vec::new(), records_of: Vec::new() }
}

#[tokio::test]
async fn batches_close_by_size_and_predictions_wait_for_their_explanations() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let stored = buffer.append((0..9).map(|n| prediction(n, 1.0)).collect()).unwrap();
    buffer.append((0..3).map(|n| feedback(n, Uuid::from_u128(1))).collect()).unwrap();
    let mut sync = sync(&buffer, registry(folder.path()), 3);
    let settle = |n: usize| buffer.settle(vec![(stored[n].id, explained(1.0))]).unwrap();
    [0, 1, 3, 4, 5].into_iter().for_each(settle);
    let (stream, bounds) = sync.next(false).await.unwrap().unwrap();
    assert_eq!((stream, bounds.first, bounds.last), (Stream::Feedback, 1, 3), "feedback goes first");
    sync.round(false, &EVER()).await.unwrap();
    assert_eq!((buffer.uploaded(Stream::Feedback), buffer.uploaded(Stream::Predictions)), (3, 0));
    settle(2);
    sync.round(false, &EVER()).await.unwrap();
    assert_eq!(buffer.uploaded(Stream::Predictions), 6);
    settle(6);
    sync.round(false, &EVER()).await.unwrap();
    assert_eq!(buffer.uploaded(Stream::Predictions), 6, "neither full nor old");
    sync.round(true, &EVER()).await.unwrap();
    assert_eq!(buffer.uploaded(Stream::Predictions), 7);
}

#[tokio::test]
async fn other_content_under_the_name_is_left_ours_goes_aside_and_it_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append(vec![audit(1, "ada")]).unwrap();
    buffer.set_claimed().unwrap();
    let mut sync = sync(&buffer, registry(folder.path()), 5000);
    sync.registry.set_store(&claim_of(&buffer)).await.unwrap();
    let path = batch_path("line-3", Stream::Audit, &status::date(clock::now().utc), 1, 1);
    sync.registry.put(&path, b"somebody else's".to_vec()).await.unwrap();
    sync.round(true, &EVER()).await.unwrap();
    let files = files(&folder.path().join("registry"));
    assert_eq!(files[&path], b"somebody else's");
    assert_eq!(files.keys().filter(|name| name.starts_with("line-3/conflicts/audit/")).count(), 1);
    assert_eq!(sync.status.snapshot().conflicts, 1);
    assert_eq!(buffer.uploaded(Stream::Audit), 1);
    assert_eq!(buffer.read(Stream::Health, 0, 9).unwrap().len(), 1);
}

#[tokio::test]
async fn another_store_under_the_same_name_is_stopped_before_it_sends() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(mine.path());
    first.append(vec![health(1)]).unwrap();
    sync(&first, registry(mine.path()), 1).round(false, &EVER()).await.unwrap();
    let before = files(&mine.path().join("registry"));

    let second = open(theirs.path());
    second.append(vec![health(1), health(2)]).unwrap();
    let mut other = sync(&second, registry(mine.path()), 1);
    let error = other.round(false, &EVER()).await.unwrap_err();
    other.failed(&error);
    assert!(error.to_string().contains("belongs to another store"), "{error}");
    assert_eq!(other.status.snapshot().state, State::Stopped);
    assert_eq!(files(&mine.path().join("registry")), before);

    // The mark taken away alone does not let it in; nor does an empty folder fool the first one.
    fs::remove_file(mine.path().join("registry/line-3/store.json")).unwrap();
    assert!(matches!(other.round(false, &EVER()).await, Err(SyncError::Foreign(_))));
    fs::remove_dir_all(mine.path().join("registry")).unwrap();
    let unmounted = sync(&first, registry(mine.path()), 1).round(false, &EVER()).await;
    assert!(matches!(unmounted, Err(SyncError::Foreign(_))), "{unmounted:?}");
}

#[tokio::test]
async fn a_store_that_took_over_on_the_same_machine_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let lost = open(folder.path());
    lost.append((0..5).map(health).collect()).unwrap();
    sync(&lost, registry(folder.path()), 1).round(false, &EVER()).await.unwrap();
    let lost_id = lost.store_id();
    drop(lost);
    fs::remove_dir_all(folder.path().join("buffer")).unwrap();
    let buffer = open(folder.path());
    let mut sync = sync(&buffer, registry(folder.path()), 100);
    sync.round(true, &EVER()).await.unwrap();
    let mark = sync.registry.store("line-3").await.unwrap().unwrap();
    assert_eq!((mark.store_id, mark.predecessors), (buffer.store_id(), vec![lost_id]));
    assert!(sync.registry.batches("line-3").await.unwrap()[&Stream::Health].last().unwrap().0 > 5);
}

#[tokio::test]
async fn while_the_registry_is_away_it_is_said_and_it_goes_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append(vec![health(1)]).unwrap();
    let share = folder.path().join("share");
    let status = Status::default();
    let stop = CancellationToken::new();
    let config = Config { batch_records: 1, batch_age: Duration::from_millis(50), ..Config::default() };
    let task = run(buffer.clone(), registry(&share), config, Metrics::new(), status.clone(), stop.clone());
    let task = tokio::spawn(task);
    while status.snapshot().error.is_none() {
        sleep(Duration::from_millis(5)).await;
    }
    let away = status.snapshot();
    assert_eq!(away.state, State::Offline);
    assert!(away.error.unwrap().contains("registry"), "it says where");
    fs::create_dir(&share).unwrap();
    while status.snapshot().state != State::Online {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(buffer.uploaded(Stream::Health), 1);
    let stored = buffer.append(vec![prediction(2, 1.0), audit(3, "ada")]).unwrap();
    buffer.settle(vec![(stored[0].id, explained(1.0))]).unwrap();
    stop.cancel();
    task.await.unwrap();
    assert_eq!((buffer.uploaded(Stream::Predictions), buffer.uploaded(Stream::Audit)), (1, 1), "sent on leaving");
}
