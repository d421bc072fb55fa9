//! What a machine's inputs stand at right now: for people to look at, never stored.

use std::sync::Arc;
use std::time::Duration;

use super::prediction::Withheld;
use super::sample::{Quality, SignalId, Value};

/// A machine's inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveAsset {
    /// The machine.
    pub id: Arc<str>,
    /// Whether it runs; `None` while the signal that tells is missing or old.
    pub running: Option<bool>,
    /// In the order of the model in charge.
    pub inputs: Vec<LiveInput>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveInput {
    /// The model's feature.
    pub feature: Arc<str>,
    /// Its unit by the manifest, empty where that has none.
    pub unit: Arc<str>,
    /// The signal that it is bound to.
    pub signal: SignalId,
    /// The newest value; absent when none has come, or its quality is bad.
    pub value: Option<Value>,
    /// How far that can be trusted; absent when none has come.
    pub quality: Option<Quality>,
    /// The status code that came with it.
    pub status: u32,
    /// How long ago the source last stood by it.
    pub age: Option<Duration>,
    /// Why the model would not be given it now, if so.
    pub refused: Option<Withheld>,
}
