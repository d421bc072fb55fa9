//! Models in MLflow's own registry, through REST: no Python is needed to push one, and Python opens what was pushed.
//!
//! The files of a version are the artifacts of a run of their own, in the experiment `explaind-models`, found again by the
//! bundle's digest in its tag: so a push that was cut off goes on where it was.

use std::path::Path;

use serde_json::{Value, json};
use tokio::fs;

use super::{ARTIFACTS, File, Mlflow, proxied};
use crate::clock;
use crate::registry::RegistryError;
use crate::registry::http::Look;
use crate::registry::models::{Entry, Offer, Pushed, Version, Wanted};
use crate::registry::stops;

/// The experiment that holds one run per bundle.
const EXPERIMENT: &str = "explaind-models";
/// The tag, of runs and of versions, that says which bundle it is.
const DIGEST: &str = "explaind.digest";
/// The tag, of a registered model or of a gateway's run, that stops it.
const STOP: &str = "explaind.stop";
/// The folder among the run's artifacts.
const FOLDER: &str = "bundle";
/// How the registry calls a version that can be used.
const READY: &str = "READY";

/// A run that takes a bundle's files.
struct Place {
    run: String,
    /// As MLflow calls it.
    source: String,
    /// Below the server's artifacts.
    path: String,
}

impl Mlflow {
    pub(in crate::registry) async fn push(&self, offer: &Offer, alias: Option<&str>) -> Result<Pushed, RegistryError> {
        self.make_model(offer).await?;
        let known = self.find_version(offer).await?;
        let pushed = match &known {
            Some(version) => {
                self.put_files(&version.place, offer, |name| name == offer.signature).await?;
                Pushed { version: version.number, already_there: true }
            }
            None => Pushed { version: self.make_version(offer).await?, already_there: false },
        };
        for (key, value) in known.iter().flat_map(|_| &offer.tags) {
            let body = json!({"name": offer.name, "version": pushed.version.to_string(), "key": key, "value": value});
            self.must("api/2.0/mlflow/model-versions/set-tag", &body).await?;
        }
        if let Some(alias) = alias {
            let body = json!({"name": offer.name, "alias": alias, "version": pushed.version.to_string()});
            self.must("api/2.0/mlflow/registered-models/alias", &body).await?;
        }
        Ok(pushed)
    }

    pub(in crate::registry) async fn version(&self, name: &str, wanted: &Wanted) -> Result<Version, RegistryError> {
        let place = self.describe();
        let (found, missing) = match wanted {
            Wanted::Version(number) => {
                let shown = number.to_string();
                let query = [("name", name), ("version", shown.as_str())];
                let found = self.http.get("api/2.0/mlflow/model-versions/get", &query).await?;
                (found, RegistryError::Missing { what: format!("version {number} of model \"{name}\""), place })
            }
            // The one question that a gateway asks again and again.
            Wanted::Alias(alias) => {
                let query = [("name", name), ("alias", alias.as_str())];
                let found = self.http.get_named("api/2.0/mlflow/registered-models/alias", &query).await?;
                (found, RegistryError::NoAlias { alias: alias.clone(), model: name.to_owned(), place })
            }
        };
        let found = found.ok_or(missing)?;
        self.read_version(&found["model_version"])
    }

    pub(in crate::registry) async fn entries(&self, version: &Version) -> Result<Vec<Entry>, RegistryError> {
        // The source is asked for anew: the server may have moved what it was made from.
        let number = version.number.to_string();
        let query = [("name", version.name.as_str()), ("version", number.as_str())];
        let found = self.http.get("api/2.0/mlflow/model-versions/get-download-uri", &query).await?;
        let uri = found.as_ref().and_then(|found| found["artifact_uri"].as_str()).unwrap_or_default();
        if proxied(uri).as_deref() != Some(version.place.as_str()) {
            return Err(version.wrong(format!("its files are at {}, not where it was made from", uri.escape_debug())));
        }
        let found = self.http.get(ARTIFACTS, &[("path", version.place.as_str())]).await?;
        let files = found.map(|found| found["files"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
        let entry = |value: &Value| {
            let File { is_folder, size, .. } = File::read(value)?;
            let path = value["path"].as_str()?;
            // Whole paths are shortened to what is below our folder; whatever is left is judged as it is.
            let name = path.strip_prefix(&format!("{}/", version.place)).unwrap_or(path);
            Some(Entry { name: name.to_owned(), is_folder, size })
        };
        Ok(files.iter().filter_map(entry).collect())
    }

    /// Fetches a file, of which some is there, and says how much it has.
    pub(in crate::registry) async fn fetch(
        &self,
        version: &Version,
        name: &str,
        there: u64,
        most: u64,
        path: &Path,
    ) -> Result<u64, RegistryError> {
        let failed = |doing, source| RegistryError::Io { doing, path: path.to_owned(), source };
        let file = fs::File::options().write(true).create(true).truncate(false).open(path).await;
        let mut file = file.map_err(|error| failed("write", error))?;
        let address = format!("{ARTIFACTS}/{}/{name}", version.place);
        let got = self.http.fetch(&address, there, most, &mut file).await?;
        file.sync_all().await.map_err(|error| failed("sync", error))?;
        got.ok_or_else(|| RegistryError::Server {
            address: self.describe(),
            path: format!(" {}", version.describe()),
            reason: format!("{name} is listed and not there"),
        })
    }

    pub(in crate::registry) async fn stop(
        &self,
        gateway: &str,
        model: Option<&str>,
    ) -> Result<Option<String>, RegistryError> {
        let set = |tags: &Value| {
            let tags = tags.as_array().map(Vec::as_slice).unwrap_or_default();
            let tag = tags.iter().find(|tag| tag["key"] == STOP)?;
            stops::reason(tag["value"].as_str().unwrap_or_default())
        };
        let Some(model) = model else {
            return Ok(self.look_at_run(gateway).await?.and_then(|run| set(&run["data"]["tags"])));
        };
        let asked = self.http.get("api/2.0/mlflow/registered-models/get", &[("name", model)]).await?;
        // What is not about that model, as from a page that answers for the server, does not say that nothing is set.
        if asked.as_ref().is_some_and(|asked| asked["registered_model"]["name"] != model) {
            return Err(self.nonsense("registered-models/get"));
        }
        Ok(asked.and_then(|asked| set(&asked["registered_model"]["tags"])))
    }

    async fn make_model(&self, offer: &Offer) -> Result<(), RegistryError> {
        let query = [("name", offer.name.as_str())];
        let get = "api/2.0/mlflow/registered-models/get";
        if self.http.get(get, &query).await?.is_some() {
            return Ok(());
        }
        let made = self.http.post("api/2.0/mlflow/registered-models/create", &json!({"name": offer.name})).await;
        match (made, self.http.get(get, &query).await?) {
            // Somebody else may have been quicker.
            (_, Some(_)) => Ok(()),
            (Err(error), None) => Err(error),
            (Ok(_), None) => Err(self.nonsense("registered-models/create")),
        }
    }

    /// The version that is this bundle, the first of them.
    async fn find_version(&self, offer: &Offer) -> Result<Option<Version>, RegistryError> {
        let filter = format!("name = '{}' and tags.`{DIGEST}` = '{}'", quoted(&offer.name)?, quoted(&offer.digest)?);
        let query = [("filter", filter.as_str()), ("max_results", "100"), ("order_by", "version_number ASC")];
        let found = self.http.get("api/2.0/mlflow/model-versions/search", &query).await?;
        let versions = found.map(|found| found["model_versions"].as_array().cloned().unwrap_or_default());
        let versions = versions.unwrap_or_default();
        let ready = versions.iter().filter(|version| version["status"].as_str().is_none_or(|status| status == READY));
        ready.map(|version| self.read_version(version)).next().transpose()
    }

    async fn make_version(&self, offer: &Offer) -> Result<u64, RegistryError> {
        let place = self.place_for(offer).await?;
        self.put_files(&place.path, offer, |_| true).await?;
        let tags: Vec<Value> = offer.tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let body = json!({
            "name": offer.name,
            "source": place.source,
            "run_id": place.run,
            "description": offer.description,
            "tags": tags,
        });
        let made = self.must("api/2.0/mlflow/model-versions/create", &body).await?;
        let version =
            number(&made["model_version"]["version"]).ok_or_else(|| self.nonsense("model-versions/create"))?;
        let body = json!({
            "run_id": place.run,
            "status": "FINISHED",
            "end_time": clock::now().utc.as_micros() / 1000,
        });
        self.must("api/2.0/mlflow/runs/update", &body).await?;
        Ok(version)
    }

    /// The run for a bundle's files: the one that an earlier push began, or a new one.
    async fn place_for(&self, offer: &Offer) -> Result<Place, RegistryError> {
        let experiment = self.experiment_named(EXPERIMENT).await?;
        let body = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.`{DIGEST}` = '{}'", quoted(&offer.digest)?),
            "run_view_type": "ACTIVE_ONLY",
            "order_by": ["attributes.start_time ASC"],
            "max_results": 1,
        });
        let found = self.must("api/2.0/mlflow/runs/search", &body).await?;
        let run = match found["runs"].get(0) {
            Some(run) => run.clone(),
            None => {
                let body = json!({
                    "experiment_id": experiment,
                    "run_name": offer.name,
                    "start_time": clock::now().utc.as_micros() / 1000,
                    "tags": [{"key": DIGEST, "value": offer.digest}],
                });
                self.must("api/2.0/mlflow/runs/create", &body).await?["run"].clone()
            }
        };
        let info = &run["info"];
        let (Some(run), Some(uri)) = (info["run_id"].as_str(), info["artifact_uri"].as_str()) else {
            return Err(self.nonsense("runs"));
        };
        let source = format!("{uri}/{FOLDER}");
        let path = self.behind(&source, &offer.name)?;
        Ok(Place { run: run.to_owned(), source, path })
    }

    /// Puts the files that are not there yet. They stay what they are by their digest, so what differs is a cut upload.
    async fn put_files(&self, path: &str, offer: &Offer, which: impl Fn(&str) -> bool) -> Result<(), RegistryError> {
        for (name, bytes) in offer.files.iter().filter(|(name, _)| which(name)) {
            let address = format!("{ARTIFACTS}/{path}/{name}");
            let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if self.http.look(&address, size).await? != Look::Content(bytes.clone()) {
                self.http.put(&address, bytes.clone()).await?;
            }
        }
        Ok(())
    }

    fn read_version(&self, value: &Value) -> Result<Version, RegistryError> {
        let (Some(name), Some(number)) = (value["name"].as_str(), number(&value["version"])) else {
            return Err(self.nonsense("model-versions"));
        };
        let tags = value["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
        let digest = tags.iter().find(|tag| tag["key"] == DIGEST).and_then(|tag| tag["value"].as_str());
        let place = self.behind(value["source"].as_str().unwrap_or_default(), name)?;
        Ok(Version { name: name.to_owned(), number, digest: digest.map(str::to_owned), place })
    }

    /// Where artifacts of a model lie below the server's.
    fn behind(&self, uri: &str, name: &str) -> Result<String, RegistryError> {
        let path = proxied(uri).filter(|path| path.split('/').all(|part| !part.is_empty() && part != ".."));
        path.ok_or_else(|| RegistryError::Content {
            path: format!("model \"{name}\""),
            reason: format!(
                "its files are at \"{}\", not behind the server; start it with --serve-artifacts, and push with explaind",
                uri.escape_debug()
            ),
        })
    }
}

/// A number that MLflow writes as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Text inside of a filter: MLflow's has no way to write a quote of the same kind.
fn quoted(text: &str) -> Result<&str, RegistryError> {
    if text.contains(['\'', '`']) { Err(RegistryError::Name { path: text.to_owned() }) } else { Ok(text) }
}
