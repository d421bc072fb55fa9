//! What is asked of a server, against a small one in this process.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::TcpListener;

use super::*;
use crate::registry::models::Wanted;
use crate::registry::{Config as RegistryConfig, Registry};

#[derive(Default)]
struct Content {
    /// The tags of gateway line-3's run; `None`: it has none.
    run: Option<Value>,
    deleted: bool,
    /// Of model press.
    model: Value,
    ill: bool,
    asked: Vec<&'static str>,
}

type Shared = Arc<Mutex<Content>>;
type Asked = Query<std::collections::BTreeMap<String, String>>;

fn run(content: &Content) -> Option<Value> {
    let stage = if content.deleted { "deleted" } else { "active" };
    let info = json!({"run_id": "r", "artifact_uri": "mlflow-artifacts:/1/r/artifacts", "lifecycle_stage": stage});
    Some(json!({"info": info, "data": {"tags": content.run.clone()?}}))
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error_code": "RESOURCE_DOES_NOT_EXIST"}))).into_response()
}

async fn search(State(shared): State<Shared>) -> Json<Value> {
    let mut content = shared.lock().unwrap();
    content.asked.push("search");
    let found = if content.deleted { None } else { run(&content) };
    Json(json!({"runs": found.into_iter().collect::<Vec<_>>()}))
}

async fn get_run(State(shared): State<Shared>, Query(query): Asked) -> Json<Value> {
    assert_eq!(query["run_id"], "r");
    let mut content = shared.lock().unwrap();
    content.asked.push("run");
    Json(json!({"run": run(&content)}))
}

async fn model(State(shared): State<Shared>, Query(query): Asked) -> Response {
    let mut content = shared.lock().unwrap();
    content.asked.push("model");
    match query["name"].as_str() {
        _ if content.ill => (StatusCode::INTERNAL_SERVER_ERROR, "<html>").into_response(),
        "press" => Json(json!({"registered_model": {"name": "press", "tags": content.model}})).into_response(),
        _ => missing(),
    }
}

async fn alias(State(shared): State<Shared>, Query(query): Asked) -> Response {
    shared.lock().unwrap().asked.push("alias");
    let source = "mlflow-artifacts:/1/a/artifacts/bundle";
    let tags = json!([{"key": "explaind.digest", "value": "abc"}]);
    let version = json!({"name": "press", "version": "7", "source": source, "tags": tags});
    match (query["name"].as_str(), query["alias"].as_str()) {
        ("press", "champion") => Json(json!({"model_version": version})).into_response(),
        ("press", _) => {
            let refusal =
                json!({"error_code": "INVALID_PARAMETER_VALUE", "message": "Registered model alias not found."});
            (StatusCode::BAD_REQUEST, Json(refusal)).into_response()
        }
        _ => missing(),
    }
}

async fn serve() -> (Registry, Shared) {
    const API: &str = "/api/2.0/mlflow";
    let shared = Shared::default();
    let app = Router::new()
        .route(
            &format!("{API}/experiments/get-by-name"),
            get(|| async { Json(json!({"experiment": {"experiment_id": "1"}})) }),
        )
        .route(&format!("{API}/runs/search"), post(search))
        .route(&format!("{API}/runs/get"), get(get_run))
        .route(&format!("{API}/registered-models/get"), get(model))
        .route(&format!("{API}/registered-models/alias"), get(alias))
        .with_state(Arc::clone(&shared));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = at(&listener);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (registry, shared)
}

fn at(listener: &TcpListener) -> Registry {
    let text = format!("url = \"http://{}\"", listener.local_addr().unwrap());
    Registry::new(&RegistryConfig::Mlflow(Box::new(toml::from_str(&text).unwrap())))
}

fn tag(value: &str) -> Value {
    json!([{"key": "other", "value": "x"}, {"key": "explaind.stop", "value": value}])
}

#[tokio::test]
async fn a_tag_stops_a_model_or_a_gateway() {
    let (registry, shared) = serve().await;
    let line = async || registry.stop("line-3", None).await;
    let model = async |name: &str| registry.stop("line-3", Some(name)).await;
    assert_eq!((line().await.unwrap(), model("press").await.unwrap()), (None, None));
    shared.lock().unwrap().model = tag("bearings replaced");
    shared.lock().unwrap().run = Some(tag("false"));
    assert_eq!((line().await.unwrap(), model("unknown").await.unwrap()), (None, None));
    assert_eq!(model("press").await.unwrap().as_deref(), Some("bearings replaced"));
    // Once the run is known, it is asked for by its id; and looking changes nothing of what is known.
    assert_eq!(registry.store("line-3").await.unwrap(), None);
    shared.lock().unwrap().run = Some(tag("audit"));
    shared.lock().unwrap().asked.clear();
    assert_eq!(line().await.unwrap().as_deref(), Some("audit"));
    assert_eq!(shared.lock().unwrap().asked, ["run"]);
    shared.lock().unwrap().deleted = true;
    assert_eq!(line().await.unwrap(), None, "the tags of a deleted run count no more");
    assert_eq!(shared.lock().unwrap().asked[1..], ["run", "search"]);
    shared.lock().unwrap().ill = true;
    assert!(matches!(model("press").await, Err(RegistryError::Server { .. })), "that is not no stop");
    assert_eq!(line().await.unwrap(), None, "and says nothing of another");
    // Nor is a page that answers everything.
    let portal = Router::new().fallback(|| async { "{}" });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = at(&listener);
    tokio::spawn(async move { axum::serve(listener, portal).await });
    for model in [Some("press"), None] {
        assert!(matches!(registry.stop("line-3", model).await, Err(RegistryError::Server { .. })));
    }
    assert!(registry.version("press", &Wanted::Alias("champion".to_owned())).await.is_err());
}

#[tokio::test]
async fn an_alias_is_one_question() {
    let (registry, shared) = serve().await;
    let version = async |name: &str, alias: &str| registry.version(name, &Wanted::Alias(alias.to_owned())).await;
    let found = version("press", "champion").await.unwrap();
    assert_eq!((found.name.as_str(), found.number, found.digest.as_deref()), ("press", 7, Some("abc")));
    assert_eq!(shared.lock().unwrap().asked, ["alias"]);
    for (name, alias) in [("press", "challenger"), ("other", "champion")] {
        let error = version(name, alias).await.unwrap_err();
        assert!(matches!(&error, RegistryError::NoAlias { .. }), "{error}");
        assert!(error.to_string().contains(&format!("model \"{name}\" with the alias \"{alias}\"")), "{error}");
    }
}

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

#[test]
fn secrets_go_only_where_they_are_safe() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "x\n").unwrap();
    let secret = format!("password_file = {file:?}\n");
    let cases = [
        ("url = \"https://me:pw@x\"".to_owned(), "url"),
        ("url = \"https://x\"\nproxy = \"http://me:pw@y\"".to_owned(), "proxy"),
        (format!("url = \"https://x\"\n{secret}"), "password_file"),
        ("url = \"https://x\"\nusername = \"me\"".to_owned(), "username"),
        (format!("url = \"http://central\"\nusername = \"me\"\n{secret}"), "url"),
        (format!("url = \"https://x\"\nusername = \"me\"\n{secret}token_credential = \"t\""), "token_file"),
        ("url = \"https://x\"\ntoken_file = \"/does/not/exist\"".to_owned(), "token_file"),
        ("url = \"https://x\"\nca_file = \"/does/not/exist\"".to_owned(), "ca_file"),
    ];
    for (text, key) in cases {
        assert_eq!(config(&text).check().map_err(|(key, _)| key), Err(key), "{text}");
    }
    for text in [
        "url = \"http://127.0.0.1:5000\"".to_owned(),
        format!("url = \"http://127.0.0.1:5000\"\nusername = \"me\"\n{secret}"),
        format!("url = \"https://x/mlflow\"\nusername = \"me\"\n{secret}max_rate = \"256KiB\""),
    ] {
        config(&text).check().unwrap();
    }
    for text in ["url = \"ftp://x\"", "url = \"mlflow\"", "url = \"http://x\"\nmax_rate = \"0B\""] {
        assert!(toml::from_str::<Config>(text).is_err(), "{text}");
    }
}

#[test]
fn artifacts_are_found_behind_the_server_only() {
    assert_eq!(proxied("mlflow-artifacts:/1/abc/artifacts").as_deref(), Some("1/abc/artifacts"));
    assert_eq!(proxied("mlflow-artifacts://host:5000/1/abc/artifacts").as_deref(), Some("1/abc/artifacts"));
    assert_eq!(proxied("s3://bucket/1/abc/artifacts"), None);
}

#[test]
fn entries_of_a_folder_are_read_in_either_form() {
    let file = File::read(&json!({"path": "1-4.parquet", "is_dir": false, "file_size": 12}));
    assert_eq!(file, Some(File { name: "1-4.parquet".to_owned(), is_folder: false, size: Some(12) }));
    let file = File::read(&json!({"path": "1/r/artifacts/g/alerts", "is_dir": true}));
    assert_eq!(file.map(|file| (file.name, file.is_folder)), Some(("alerts".to_owned(), true)));
}
