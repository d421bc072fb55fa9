//! `[publish]`, which may have the broker of an MQTT source.

use toml::{Table, Value};

use super::read::join;
use super::{ConfigError, Reader};
use crate::publish::Config;

impl Reader {
    /// Reads the table, where there is one. The sources must have been read before.
    pub(super) fn publish(&self) -> Result<Option<Config>, ConfigError> {
        let Some(value) = self.layers.merged().get("publish") else { return Ok(None) };
        let wrong = |key: &str, message: String| self.layers.problem(&join("publish", key), message);
        let mut table = value.as_table().cloned().ok_or_else(|| wrong("", "must be a table".to_owned()))?;
        let sources: Vec<Table> = self.entries("source")?.into_iter().map(|(_, source)| source).collect();
        if let Some(name) = table.remove("source") {
            let source = sources.iter().find(|source| source.get("name") == Some(&name) && is_mqtt(source));
            let source = source.ok_or_else(|| wrong("source", format!("there is no MQTT source named {name}")))?;
            for key in Config::OF_BROKER {
                if table.contains_key(key) {
                    let message = "is the source's; give either source, or a broker of its own".to_owned();
                    return Err(wrong(key, message));
                }
                table.extend(source.get(key).map(|value| (key.to_owned(), value.clone())));
            }
        }
        let config = Config::parse(table, &self.base).map_err(|(key, message)| wrong(&key, message))?;
        config.check().map_err(|(key, message)| wrong(&key, message))?;
        let id = config.client_id().map(Value::from);
        if id.is_some() && sources.iter().any(|source| is_mqtt(source) && source.get("client_id") == id.as_ref()) {
            let message = "a source has the same; the broker would throw one of the two out, again and again";
            return Err(wrong("client_id", message.to_owned()));
        }
        Ok(Some(config))
    }
}

fn is_mqtt(source: &Table) -> bool {
    source.get("type").and_then(Value::as_str) == Some("mqtt")
}
