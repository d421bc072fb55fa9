//! An MLflow tracking server as the registry: what central teams already run.
//!
//! Each gateway has one run in the experiment `explaind`, found by its tag `explaind.gateway`: making a run twice makes
//! two, so it is looked for first, and of two the older counts. Batches are that run's artifacts, sent through the
//! server's artifact proxy. Whose run it is stands in the tag `explaind.store`. Figures about the gateway are logged as
//! the run's metrics, so that a fleet is seen on MLflow's own page.

mod models;
mod sent;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use explaind_core::domain::record::Stream;
use explaind_core::domain::units;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

use super::http::{Access, Http, Look, Route};
use super::upload::Pace;
use super::{Batches, Figure, Put, RegistryError, StoreMark, numbers_in};
use crate::clock;
use crate::secret::Secret;

/// The experiment that holds one run per gateway.
const EXPERIMENT: &str = "explaind";
/// Tags of a run.
const GATEWAY: &str = "explaind.gateway";
const STORE: &str = "explaind.store";
const PREDECESSORS: &str = "explaind.predecessors";
/// Where the server takes and gives artifacts.
const ARTIFACTS: &str = "api/2.0/mlflow-artifacts/artifacts";

/// `type = "mlflow"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The server's address: `https://mlflow.example.com`.
    #[serde(deserialize_with = "address")]
    url: Url,
    /// Who we are to it.
    username: Option<String>,
    password_file: Option<PathBuf>,
    password_credential: Option<String>,
    /// A bearer token in place of user and password.
    token_file: Option<PathBuf>,
    token_credential: Option<String>,
    /// Who vouches for the server, in place of the system's certificates.
    ca_file: Option<PathBuf>,
    /// A proxy, in place of the one that the environment names.
    #[serde(default, deserialize_with = "proxy")]
    proxy: Option<Url>,
    /// Most bytes sent per second, on average.
    #[serde(default, deserialize_with = "rate")]
    max_rate: Option<u64>,
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match units::parse_bytes(&text).map_err(D::Error::custom)? {
        0 => Err(D::Error::custom("nothing could be sent; write bytes per second, like \"256KiB\"")),
        rate => Ok(Some(rate)),
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    let url = Url::parse(&text).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    url.ok_or_else(|| D::Error::custom("this is no address of a server; write one like \"https://mlflow.example.com\""))
}

fn proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    address(deserializer).map(Some)
}

impl Config {
    pub(super) fn resolve(&mut self, base: &Path) {
        for path in [&mut self.password_file, &mut self.token_file, &mut self.ca_file].into_iter().flatten() {
            *path = base.join(&*path);
        }
    }

    /// Says what makes no sense, as key and sentence.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, sentence: &str| Err((key, sentence.to_owned()));
        if !self.url.username().is_empty() || self.url.password().is_some() {
            return wrong("url", "contains a user; write username, and password_file or password_credential");
        }
        if self.proxy.as_ref().is_some_and(|proxy| !proxy.username().is_empty() || proxy.password().is_some()) {
            return wrong(
                "proxy",
                "contains a user, and a configuration holds no secrets; use a proxy that needs none",
            );
        }
        if self.password_file.is_some() && self.password_credential.is_some() {
            return wrong("password_credential", "give it or password_file, not both");
        }
        if self.token_file.is_some() && self.token_credential.is_some() {
            return wrong("token_credential", "give it or token_file, not both");
        }
        match (self.username.is_some(), self.password().is_some(), self.token().is_some()) {
            (true, true, false) | (false, false, _) => {}
            (true, false, _) => {
                return wrong("username", "needs a password; write password_file or password_credential");
            }
            (false, true, _) => return wrong("password_file", "is of no use without username"),
            (true, true, true) => return wrong("token_file", "give a token, or username and password, not both"),
        }
        if self.url.scheme() == "http" && !self.is_local() && !matches!(self.access(), Access::Open) {
            return wrong("url", "would send a secret without TLS; write https://");
        }
        for (key, secret) in [("password_file", self.password()), ("token_file", self.token())] {
            if let Some(Err(message)) = secret.as_ref().filter(|s| matches!(s, Secret::File(_))).map(Secret::read) {
                return Err((key, message));
            }
        }
        if let Some(path) = &self.ca_file {
            crate::tls::roots(path).map_err(|message| ("ca_file", message))?;
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        match self.url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    fn password(&self) -> Option<Secret> {
        secret(self.password_file.as_ref(), self.password_credential.as_ref())
    }

    fn token(&self) -> Option<Secret> {
        secret(self.token_file.as_ref(), self.token_credential.as_ref())
    }

    fn access(&self) -> Access {
        match (self.token(), self.username.clone().zip(self.password())) {
            (Some(token), _) => Access::Token(token),
            (None, Some((user, password))) => Access::Password(user, password),
            (None, None) => Access::Open,
        }
    }
}

fn secret(file: Option<&PathBuf>, credential: Option<&String>) -> Option<Secret> {
    file.cloned().map(Secret::File).or_else(|| credential.cloned().map(Secret::Credential))
}

/// The server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Mlflow {
    http: Http,
    known: Arc<Mutex<Known>>,
}

/// What was found out, so that it is not asked again for each batch.
#[derive(Debug, Default)]
struct Known {
    run: Option<Run>,
}

/// A gateway's run.
#[derive(Debug, Clone, PartialEq)]
struct Run {
    gateway: String,
    id: String,
    /// Where its artifacts lie below the server's.
    artifacts: String,
}

impl Mlflow {
    pub(super) fn new(config: &Config) -> Self {
        let route = Route {
            url: config.url.clone(),
            access: config.access(),
            ca_file: config.ca_file.clone(),
            proxy: config.proxy.clone(),
            pace: Pace::new(config.max_rate),
        };
        Self { http: Http::new(route), known: Arc::default() }
    }

    pub(super) fn describe(&self) -> String {
        self.http.address().to_owned()
    }

    pub(super) fn place(&self, gateway: &str) -> String {
        format!("the run of gateway \"{gateway}\" in experiment \"{EXPERIMENT}\" at {}", self.http.address())
    }

    /// How a person says that the run is this store's from now on.
    pub(super) fn adopt(store_id: Uuid) -> String {
        format!("give that run the tag {STORE} = {store_id}")
    }

    /// How a person brings back a run that is gone.
    pub(super) fn restore(gateway: &str) -> String {
        format!("restore the run that was deleted, or make one with the tag {GATEWAY} = {gateway}")
    }

    pub(super) async fn probe(&self) -> Result<String, RegistryError> {
        let query = [("experiment_name", EXPERIMENT)];
        let found = self.http.get("api/2.0/mlflow/experiments/get-by-name", &query).await?;
        // Users may look below what is theirs, and mostly not at everybody's.
        let location = found.as_ref().and_then(|found| proxied(found["experiment"]["artifact_location"].as_str()?));
        let below: Vec<(&str, &str)> = location.as_deref().map(|path| ("path", path)).into_iter().collect();
        match self.http.get(ARTIFACTS, &below).await {
            Ok(_) => {}
            Err(RegistryError::Forbidden { .. }) if location.is_none() => {}
            Err(error) => return Err(error),
        }
        let experiment = if found.is_some() { "is there" } else { "will be made" };
        Ok(format!("the MLflow server answers; experiment \"{EXPERIMENT}\" {experiment}"))
    }

    pub(super) async fn put(&self, path: &str, content: Vec<u8>) -> Result<Put, RegistryError> {
        let run = self.run_of(path).await?;
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        // The artifact store replaces what is there, so this look is what keeps central's data.
        match self.look(&run, path, size).await? {
            Look::Content(found) if found == content => return Ok(Put::AlreadyThere),
            // Some servers keep what came of an upload that was cut off, under the name of the whole.
            Look::Content(found) if content.starts_with(&found) => {
                tracing::warn!(path, there = found.len(), size, "an upload that was cut off is done again");
            }
            Look::Missing => {}
            _ => return Err(RegistryError::Conflict { path: path.to_owned() }),
        }
        self.http.put(&format!("{ARTIFACTS}/{}/{path}", run.artifacts), content).await?;
        Ok(Put::Stored)
    }

    pub(super) async fn holds(&self, path: &str, size: u64, sha256: [u8; 32]) -> Result<bool, RegistryError> {
        let run = self.run_of(path).await?;
        let Look::Content(found) = self.look(&run, path, size).await? else { return Ok(false) };
        Ok(<[u8; 32]>::from(Sha256::digest(&found)) == sha256)
    }

    /// What is under a name that should have so many bytes. The one file is asked for: a list of its folder grows all day.
    async fn look(&self, run: &Run, path: &str, size: u64) -> Result<Look, RegistryError> {
        let address = format!("{ARTIFACTS}/{}/{path}", run.artifacts);
        match self.http.look(&address, size).await? {
            // Earlier versions, and some stores behind the server, fail when there is nothing: then the folder tells.
            Look::Unclear => {
                let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
                let same = |file: &File| file.name == name && !file.is_folder;
                let Some(found) = self.list(run, folder).await?.into_iter().find(same) else {
                    return Ok(Look::Missing);
                };
                if found.size.is_some_and(|found| found > size) {
                    return Ok(Look::Other);
                }
                let reason = "the server has this file and does not give it".to_owned();
                Err(RegistryError::Server { address: self.describe(), path: format!("/{address}"), reason })
            }
            look => Ok(look),
        }
    }

    pub(super) async fn batches(&self, gateway: &str) -> Result<Batches, RegistryError> {
        let run = self.run_of(gateway).await?;
        let mut found = Batches::new();
        // A new run is answered for by one question: each may get lost on a bad uplink.
        for stream in self.list(&run, gateway).await? {
            let Some(known) = Stream::named(&stream.name) else { continue };
            let folder = format!("{gateway}/{}", stream.name);
            for day in self.list(&run, &folder).await? {
                let files = self.list(&run, &format!("{folder}/{}", day.name)).await?;
                found.entry(known).or_default().extend(files.iter().filter_map(|file| numbers_in(&file.name)));
            }
        }
        Ok(found)
    }

    pub(super) async fn knows(&self, gateway: &str) -> Result<bool, RegistryError> {
        Ok(self.noted(gateway).is_some() || self.find(gateway).await?.is_some())
    }

    pub(super) async fn store(&self, gateway: &str) -> Result<Option<StoreMark>, RegistryError> {
        let Some((_, tags)) = self.find(gateway).await? else { return Ok(None) };
        let tag = |key: &str| tags.iter().find(|tag| tag["key"] == key).and_then(|tag| tag["value"].as_str());
        let Some(store) = tag(STORE) else { return Ok(None) };
        let id = |text: &str| {
            Uuid::parse_str(text.trim()).map_err(|_| RegistryError::Content {
                path: self.place(gateway),
                reason: format!("\"{text}\" in its tags is no id of a store"),
            })
        };
        let predecessors = tag(PREDECESSORS).unwrap_or_default().split(',').filter(|text| !text.trim().is_empty());
        Ok(Some(StoreMark {
            gateway: gateway.to_owned(),
            store_id: id(store)?,
            predecessors: predecessors.map(id).collect::<Result<_, _>>()?,
            records_of: Vec::new(),
        }))
    }

    pub(super) async fn set_store(&self, mark: &StoreMark) -> Result<(), RegistryError> {
        let run = match self.noted(&mark.gateway) {
            Some(run) => run,
            None => match self.find(&mark.gateway).await? {
                Some((run, _)) => run,
                None => self.made(mark).await?,
            },
        };
        let predecessors: Vec<String> = mark.predecessors.iter().map(Uuid::to_string).collect();
        // The store last: while it is missing, the next try begins again.
        for (key, value) in [(PREDECESSORS, predecessors.join(",")), (STORE, mark.store_id.to_string())] {
            let body = json!({"run_id": run.id, "key": key, "value": value});
            self.must("api/2.0/mlflow/runs/set-tag", &body).await?;
        }
        Ok(())
    }

    /// Logs figures about a gateway as its run's metrics.
    pub(super) async fn log(&self, gateway: &str, figures: &[Figure]) -> Result<(), RegistryError> {
        let run = self.run_of(gateway).await?;
        let millis = clock::now().utc.as_micros() / 1000;
        let metrics = figures
            .iter()
            .map(|figure| json!({"key": figure.name, "value": figure.value, "timestamp": millis, "step": 0}));
        let body = json!({"run_id": run.id, "metrics": metrics.collect::<Value>()});
        self.must("api/2.0/mlflow/runs/log-batch", &body).await.map(drop)
    }

    /// The run that a path belongs to: its first part is the gateway.
    async fn run_of(&self, path: &str) -> Result<Run, RegistryError> {
        let gateway = path.split('/').next().unwrap_or(path);
        if let Some(run) = self.noted(gateway) {
            return Ok(run);
        }
        let found = self.find(gateway).await?;
        let gone = || RegistryError::Content { path: self.place(gateway), reason: "it is not there".to_owned() };
        found.map(|(run, _)| run).ok_or_else(gone)
    }

    /// A gateway's run, as it was last found.
    fn noted(&self, gateway: &str) -> Option<Run> {
        self.known().run.clone().filter(|run| run.gateway == gateway)
    }

    /// A gateway's run and its tags, asked anew.
    async fn find(&self, gateway: &str) -> Result<Option<(Run, Vec<Value>)>, RegistryError> {
        self.known().run = None;
        let Some(run) = self.search(gateway).await? else { return Ok(None) };
        let tags = run["data"]["tags"].as_array().cloned().unwrap_or_default();
        Ok(Some((self.note(gateway, &run)?, tags)))
    }

    /// A gateway's run as it is now, for who only looks: what was found out about it stays.
    async fn look_at_run(&self, gateway: &str) -> Result<Option<Value>, RegistryError> {
        if let Some(run) = self.noted(gateway) {
            let found = self.http.get("api/2.0/mlflow/runs/get", &[("run_id", run.id.as_str())]).await?;
            let found =
                found.map(|found| found["run"].clone()).filter(|run| run["info"]["lifecycle_stage"] == "active");
            if found.is_some() {
                return Ok(found);
            }
        }
        self.search(gateway).await
    }

    async fn search(&self, gateway: &str) -> Result<Option<Value>, RegistryError> {
        let Some(experiment) = self.experiment(EXPERIMENT).await? else { return Ok(None) };
        let name = gateway.replace('\\', "\\\\").replace('\'', "\\'");
        let body = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.`{GATEWAY}` = '{name}'"),
            "run_view_type": "ACTIVE_ONLY",
            "order_by": ["attributes.start_time ASC"],
            "max_results": 1,
        });
        Ok(self.must("api/2.0/mlflow/runs/search", &body).await?["runs"].get(0).cloned())
    }

    /// The run of a gateway that has none. Another of its name may make one at the same moment, and so may a request of ours that
    /// was given up: the oldest counts, for all.
    async fn made(&self, mark: &StoreMark) -> Result<Run, RegistryError> {
        self.create(&mark.gateway).await?;
        let found = self.find(&mark.gateway).await?;
        let other = |tag: &Value| tag["key"] == STORE && tag["value"] != mark.store_id.to_string();
        match found {
            Some((run, tags)) if !tags.iter().any(other) => Ok(run),
            _ => Err(RegistryError::Content {
                path: self.place(&mark.gateway),
                reason: "another gateway of this name was made at the same time; give each a name of its own"
                    .to_owned(),
            }),
        }
    }

    async fn create(&self, gateway: &str) -> Result<(), RegistryError> {
        let experiment = self.experiment_named(EXPERIMENT).await?;
        let body = json!({
            "experiment_id": experiment,
            "run_name": gateway,
            "start_time": clock::now().utc.as_micros() / 1000,
            "tags": [{"key": GATEWAY, "value": gateway}],
        });
        self.must("api/2.0/mlflow/runs/create", &body).await.map(drop)
    }

    /// An experiment's id; it is made where it is not there.
    async fn experiment_named(&self, name: &str) -> Result<String, RegistryError> {
        if let Some(experiment) = self.experiment(name).await? {
            return Ok(experiment);
        }
        let made = self.must("api/2.0/mlflow/experiments/create", &json!({"name": name})).await;
        match (made, self.experiment(name).await?) {
            // Somebody else may have been quicker.
            (_, Some(experiment)) => Ok(experiment),
            (Err(error), None) => Err(error),
            (Ok(_), None) => Err(self.nonsense("experiments/create")),
        }
    }

    async fn experiment(&self, name: &str) -> Result<Option<String>, RegistryError> {
        let query = [("experiment_name", name)];
        let found = self.http.get("api/2.0/mlflow/experiments/get-by-name", &query).await?;
        let id = |found: Value| found["experiment"]["experiment_id"].as_str().map(str::to_owned);
        found.map(|found| id(found).ok_or_else(|| self.nonsense("experiments/get-by-name"))).transpose()
    }

    /// Remembers a run as the server describes it.
    fn note(&self, gateway: &str, run: &Value) -> Result<Run, RegistryError> {
        let info = &run["info"];
        let id = info["run_id"].as_str().ok_or_else(|| self.nonsense("runs"))?.to_owned();
        let uri = info["artifact_uri"].as_str().ok_or_else(|| self.nonsense("runs"))?;
        let artifacts = proxied(uri).ok_or_else(|| RegistryError::Content {
            path: self.place(gateway),
            reason: format!("its artifacts are at {uri}, not behind the server; start it with --serve-artifacts"),
        })?;
        let run = Run { gateway: gateway.to_owned(), id, artifacts };
        self.known().run = Some(run.clone());
        Ok(run)
    }

    async fn list(&self, run: &Run, folder: &str) -> Result<Vec<File>, RegistryError> {
        let path = format!("{}/{folder}", run.artifacts);
        let found = self.http.get(ARTIFACTS, &[("path", path.trim_end_matches('/'))]).await?;
        let files = found.map(|found| found["files"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
        Ok(files.iter().filter_map(File::read).collect())
    }

    /// Posts, where an answer that nothing is there makes no sense.
    async fn must(&self, path: &str, body: &Value) -> Result<Value, RegistryError> {
        self.http.post(path, body).await?.ok_or_else(|| self.nonsense(path))
    }

    fn nonsense(&self, path: &str) -> RegistryError {
        let reason = "the answer makes no sense; is url that of an MLflow server?".to_owned();
        RegistryError::Server { address: self.describe(), path: path.to_owned(), reason }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One entry of an artifact folder.
#[derive(Debug, PartialEq)]
struct File {
    name: String,
    is_folder: bool,
    size: Option<u64>,
}

impl File {
    /// The server answers with names relative to the folder, older ones with whole paths.
    fn read(value: &Value) -> Option<Self> {
        let path = value["path"].as_str()?;
        Some(Self {
            name: path.rsplit('/').next().unwrap_or(path).to_owned(),
            is_folder: value["is_dir"].as_bool().unwrap_or(false),
            size: value["file_size"].as_u64().or_else(|| value["file_size"].as_str()?.parse().ok()),
        })
    }
}

/// Where artifacts lie below the server's artifact proxy; `None` when they are not behind it.
fn proxied(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("mlflow-artifacts:")?;
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    Some(path.trim_matches('/').to_owned())
}
