//! The store of a daemon that runs, over its socket.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::buffer::{Part, Piece};
use crate::cli::client::{Client, escaped};
use crate::cli::failure::{Failure, UNAVAILABLE};
use crate::sync::{Batch, Begun, Origin, Place, Sent};
use explaind_core::domain::record::Stream;

/// A daemon.
pub(super) struct Remote {
    pub(super) client: Client,
}

impl Remote {
    /// The store in figures.
    pub(super) fn stat(&self) -> Result<Value, Failure> {
        Ok(self.client.get("/api/v1/status")?["buffer"].take())
    }

    /// A piece of the check.
    pub(super) fn piece(&self, part: Part, after: u64) -> Result<Piece, Failure> {
        let path = format!("/api/v1/buffer/check?part={}&after={after}", escaped(part.as_str()));
        self.read(self.client.get(&path)?)
    }

    fn read<T: DeserializeOwned>(&self, value: Value) -> Result<T, Failure> {
        serde_json::from_value(value)
            .map_err(|error| self.client.unavailable(&format!("its answer makes no sense: {error}")))
    }
}

impl Origin for Remote {
    type Error = Failure;

    fn gateway(&self) -> Result<String, Failure> {
        let status = self.client.get("/api/v1/status")?;
        let gateway = status["gateway"]["id"].as_str().map(str::to_owned);
        gateway.ok_or_else(|| Failure::new(UNAVAILABLE, "the daemon does not say which gateway it is; see its version"))
    }

    fn begin(&self, place: &Place) -> Result<Begun, Failure> {
        self.read(self.client.post("/api/v1/buffer/export/begin", &json!(place))?)
    }

    fn next(&self, begun: &Begun) -> Result<Option<Batch>, Failure> {
        let answer = self.client.post_for("/api/v1/buffer/export/next", &json!(begun))?;
        if answer.body.is_empty() {
            return Ok(None);
        }
        let numbers = answer.header("explaind-numbers").split_once('-');
        let numbers = numbers.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        let stream = Stream::named(answer.header("explaind-stream"));
        let path = answer.header("explaind-path").to_owned();
        let (Some(numbers), Some(stream), false) = (numbers, stream, path.is_empty()) else {
            return Err(self.client.unavailable("its answer does not say which batch it is"));
        };
        Ok(Some(Batch { stream, numbers, path, content: answer.body.to_vec() }))
    }

    fn sent(&self, sent: &Sent) -> Result<(), Failure> {
        self.client.post("/api/v1/buffer/export/sent", &json!(sent)).map(drop)
    }
}
