//! Sync against a small MLflow in this process, over an uplink that takes requests and loses answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path as Named, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the server holds: the tags of its runs, and files.
#[derive(Default)]
struct Content {
    runs: Vec<BTreeMap<String, String>>,
    deleted: Vec<usize>,
    files: BTreeMap<String, Vec<u8>>,
    /// Of the next upload only so many bytes arrive, and are kept.
    cut: Option<usize>,
    /// The tags of a run that another makes just before the next is made.
    rival: Option<BTreeMap<String, String>>,
}

type Shared = Arc<Mutex<Content>>;

fn run(id: usize, tags: &BTreeMap<String, String>) -> Value {
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let uri = format!("mlflow-artifacts:/1/{id}/artifacts");
    json!({"info": {"run_id": id.to_string(), "artifact_uri": uri}, "data": {"tags": tags}})
}

async fn search(State(shared): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let content = shared.lock().unwrap();
    let filter = body["filter"].as_str().unwrap();
    let named = |tags: &BTreeMap<String, String>| {
        tags.get("explaind.gateway").is_some_and(|name| filter == format!("tags.`explaind.gateway` = '{name}'"))
    };
    let found = content.runs.iter().enumerate().filter(|(id, tags)| !content.deleted.contains(id) && named(tags));
    Json(json!({"runs": found.map(|(id, tags)| run(id, tags)).collect::<Vec<_>>()}))
}

async fn create(State(shared): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let mut content = shared.lock().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tags = body["tags"].as_array().unwrap().iter().map(|tag| (text(&tag["key"]), text(&tag["value"]))).collect();
    let rival = content.rival.take();
    content.runs.extend(rival);
    content.runs.push(tags);
    let id = content.runs.len() - 1;
    Json(json!({"run": run(id, &content.runs[id])}))
}

async fn set_tag(State(shared): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let id: usize = body["run_id"].as_str().unwrap().parse().unwrap();
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    shared.lock().unwrap().runs[id].insert(text("key"), text("value"));
    Json(json!({}))
}

async fn list(State(shared): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Json<Value> {
    let folder = format!("{}/", query["path"]);
    let mut found = BTreeMap::new();
    for (path, bytes) in &shared.lock().unwrap().files {
        let Some(rest) = path.strip_prefix(&folder) else { continue };
        match rest.split_once('/') {
            Some((name, _)) => found.insert(name.to_owned(), json!({"path": name, "is_dir": true})),
            None => found.insert(rest.to_owned(), json!({"path": rest, "is_dir": false, "file_size": bytes.len()})),
        };
    }
    Json(json!({"files": found.into_values().collect::<Vec<_>>()}))
}

async fn read(State(shared): State<Shared>, Named(path): Named<String>) -> Response {
    match shared.lock().unwrap().files.get(&path) {
        Some(bytes) => bytes.clone().into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({"error_code": "RESOURCE_DOES_NOT_EXIST"}))).into_response(),
    }
}

async fn write(State(shared): State<Shared>, Named(path): Named<String>, bytes: Bytes) -> Response {
    let mut content = shared.lock().unwrap();
    let cut = content.cut.take();
    content.files.insert(path, bytes[..cut.unwrap_or(bytes.len())].to_vec());
    if cut.is_some() { StatusCode::BAD_GATEWAY.into_response() } else { Json(json!({})).into_response() }
}

/// Serves it on a port of its own.
async fn serve(shared: Shared) -> SocketAddr {
    const API: &str = "/api/2.0/mlflow";
    let files = format!("{API}-artifacts/artifacts");
    let experiment = || async { Json(json!({"experiment": {"experiment_id": "1"}})) };
    let app = Router::new()
        .route(&format!("{API}/experiments/get-by-name"), get(experiment))
        .route(&format!("{API}/runs/search"), post(search))
        .route(&format!("{API}/runs/create"), post(create))
        .route(&format!("{API}/runs/set-tag"), post(set_tag))
        .route(&format!("{API}/runs/log-batch"), post(|| async { Json(json!({})) }))
        .route(&files, get(list))
        .route(&format!("{files}/{{*path}}"), get(read).put(write))
        .with_state(shared);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A way to a server on which requests arrive and about every fourth answer does not; counts those.
async fn lossy(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answers) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let lost = Arc::new(AtomicUsize::new(0));
    let counted = lost.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (answers, counted) = (answers.clone(), counted.clone());
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = TcpStream::connect(to).await.unwrap().into_split();
                let there = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
                let mut piece = vec![0; 1 << 20];
                while let Ok(read @ 1..) = from_server.read(&mut piece).await {
                    // By a digest, so that it is not the same step of each try that fails.
                    let number = answers.fetch_add(1, Ordering::Relaxed);
                    if Sha256::digest(number.to_le_bytes())[0] < 64 {
                        counted.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    if to_client.write_all(&piece[..read]).await.is_err() {
                        break;
                    }
                }
                there.abort();
            });
        }
    });
    (address, lost)
}

fn mlflow(address: SocketAddr) -> Registry {
    let config = toml::from_str(&format!("url = \"http://{address}\"")).unwrap();
    Registry::new(&registry::Config::Mlflow(Box::new(config)))
}

/// First and last of each batch of a stream that a run has.
fn batches(shared: &Shared, run: usize, stream: &str) -> Vec<(u64, u64)> {
    let content = shared.lock().unwrap();
    let under = format!("1/{run}/artifacts/line-3/{stream}/");
    let names = content.files.keys().filter_map(|path| path.strip_prefix(&under));
    let numbers = names.map(|name| {
        let (_, name) = name.split_once('/').unwrap();
        let (first, last) = name.strip_suffix(".parquet").unwrap().split_once('-').unwrap();
        (first.parse().unwrap(), last.parse().unwrap())
    });
    let mut all: Vec<(u64, u64)> = numbers.collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn answers_that_get_lost_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared::default();
    let (uplink, lost) = lossy(serve(shared.clone()).await).await;
    let mut buffer = open(folder.path());
    buffer.append((0..60).map(health).collect()).unwrap();
    buffer.append((0..10).map(|n| feedback(n, Uuid::from_u128(1))).collect()).unwrap();
    let mut tries = 0;
    while Stream::ALL.into_iter().any(|stream| buffer.waiting(stream) > 0) {
        let mut sync = sync(&buffer, mlflow(uplink), 7);
        let _ = sync.round(true, &EVER()).await;
        assert_eq!(sync.status.snapshot().conflicts, 0);
        drop((sync, buffer));
        tries += 1;
        assert!(tries < 500, "it does not get on");
        buffer = open(folder.path());
    }
    assert!(tries > 10 && lost.load(Ordering::Relaxed) > 10, "{tries} tries");
    let expected = |count: u64| (0..count.div_ceil(7)).map(|n| (n * 7 + 1, (n * 7 + 7).min(count))).collect::<Vec<_>>();
    assert_eq!(batches(&shared, 0, "health"), expected(60));
    assert_eq!(batches(&shared, 0, "feedback"), expected(10));
    assert_eq!(shared.lock().unwrap().runs.len(), 1, "one run, although making it was tried again");
}

#[tokio::test]
async fn a_run_that_is_gone_stops_it_and_one_made_again_is_found_by_its_tags() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared::default();
    let address = serve(shared.clone()).await;
    let buffer = open(folder.path());
    buffer.append((0..5).map(health).collect()).unwrap();
    let mut sync = sync(&buffer, mlflow(address), 5);
    sync.round(true, &EVER()).await.unwrap();
    buffer.append((5..10).map(health).collect()).unwrap();
    let before = shared.lock().unwrap().files.clone();
    let mut refused = async || {
        sync.claimed = None;
        sync.round(true, &EVER()).await.unwrap_err().to_string()
    };

    let taken = shared.lock().unwrap().runs[0].remove("explaind.store").unwrap();
    let said = refused().await;
    assert!(said.contains("names no store") && said.contains(&format!("explaind.store = {taken}")), "{said}");
    shared.lock().unwrap().runs[0].insert("explaind.store".to_owned(), taken.clone());

    shared.lock().unwrap().deleted.push(0);
    let said = refused().await;
    assert!(said.contains("is gone") && said.contains("restore the run") && said.contains(&taken), "{said}");
    assert_eq!(shared.lock().unwrap().files, before, "nothing was sent meanwhile");

    let tags = [("explaind.gateway", "line-3"), ("explaind.store", taken.as_str())];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    shared.lock().unwrap().runs.push(tags.into());
    sync.claimed = None;
    sync.round(true, &EVER()).await.unwrap();
    assert_eq!((batches(&shared, 0, "health"), batches(&shared, 1, "health")), (vec![(1, 5)], vec![(6, 10)]));
    assert_eq!(shared.lock().unwrap().runs.len(), 2, "none was made besides");
}

#[tokio::test]
async fn an_upload_that_was_cut_off_and_kept_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared::default();
    let address = serve(shared.clone()).await;
    let buffer = open(folder.path());
    let mut sync = sync(&buffer, mlflow(address), 5);
    for (round, cut) in [0, 1, 100].into_iter().enumerate() {
        buffer.append((0..5).map(health).collect()).unwrap();
        shared.lock().unwrap().cut = Some(cut);
        sync.round(true, &EVER()).await.unwrap_err();
        sync.round(true, &EVER()).await.unwrap();
        assert_eq!((sync.status.snapshot().conflicts, buffer.waiting(Stream::Health)), (0, 0));
        assert_eq!(batches(&shared, 0, "health").len(), round + 1);
        assert!(shared.lock().unwrap().files.values().all(|file| file.ends_with(b"PAR1")), "whole");
    }
    // What is no part of ours is somebody's.
    buffer.append((0..5).map(health).collect()).unwrap();
    shared.lock().unwrap().cut = Some(50);
    sync.round(true, &EVER()).await.unwrap_err();
    let torn = |content: &mut Content| content.files.values_mut().find(|file| file.len() == 50).unwrap().clone();
    shared.lock().unwrap().files.values_mut().filter(|file| file.len() == 50).for_each(|file| file[49] ^= 1);
    let before = torn(&mut shared.lock().unwrap());
    sync.round(true, &EVER()).await.unwrap();
    assert_eq!((sync.status.snapshot().conflicts, torn(&mut shared.lock().unwrap())), (1, before));
}

#[tokio::test]
async fn of_two_runs_made_at_once_the_older_counts_and_another_stores_is_left_alone() {
    let tags = |tags: &[(&str, &str)]| tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..5).map(health).collect()).unwrap();
    let shared = Shared::default();
    let address = serve(shared.clone()).await;
    let theirs = [("explaind.gateway", "line-3"), ("explaind.store", "00000000-0000-0000-0000-000000000001")];
    shared.lock().unwrap().rival = Some(tags(&theirs));
    let said = sync(&buffer, mlflow(address), 5).round(true, &EVER()).await.unwrap_err().to_string();
    assert!(said.contains("a name of its own"), "{said}");
    assert_eq!(shared.lock().unwrap().runs[0], tags(&theirs));
    assert!(shared.lock().unwrap().files.is_empty());

    *shared.lock().unwrap() = Content { rival: Some(tags(&theirs[..1])), ..Content::default() };
    sync(&buffer, mlflow(address), 5).round(true, &EVER()).await.unwrap();
    assert_eq!((batches(&shared, 0, "health"), batches(&shared, 1, "health")), (vec![(1, 5)], Vec::new()));
    assert!(shared.lock().unwrap().runs[0].contains_key("explaind.store"));
}
