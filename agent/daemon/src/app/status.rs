//! One page of what runs where: the answer of `explaind status` and of `/api/v1/status`.

use std::collections::HashMap;
use std::time::Duration;

use explaind_core::domain::live::LiveInput;
use explaind_core::domain::sample::{Quality, SignalId, Value as Sampled};
use explaind_core::pipeline::Trigger;
use serde_json::{Value, json};

use crate::buffer::Buffer;
use crate::config::{Asset, Settings};
use crate::driver::LastPredictions;
use crate::live::Live;
use crate::rates::AlarmRates;
use crate::rollout::Rollout;
use crate::source::{self, Sources};
use crate::{clock, publish, sync};

/// Everything that the status is made of.
pub(super) struct Report {
    gateway: Value,
    rollout: Rollout,
    assets: Vec<Asset>,
    registry: bool,
    sources: Sources,
    buffer: Buffer,
    last: LastPredictions,
    live: Live,
    /// The units of signals that state one.
    units: HashMap<SignalId, String>,
    rates: AlarmRates,
    sync: sync::Status,
    publish: Option<publish::Status>,
}

impl Report {
    /// Takes what does not change from the settings, and handles for what does.
    pub(super) fn new(
        settings: &Settings,
        rollout: Rollout,
        sources: Sources,
        buffer: Buffer,
        (last, live, rates): (LastPredictions, Live, AlarmRates),
        (sync, publish): (sync::Status, Option<publish::Status>),
    ) -> Self {
        let gateway = json!({
            "id": settings.gateway.id,
            "version": env!("CARGO_PKG_VERSION"),
            "config_digest": settings.digest,
            "started_at": clock::rfc3339(clock::now().utc),
        });
        let signals = settings.sources.iter().flat_map(source::Config::signals);
        let units = signals.filter_map(|signal| Some((signal.id, signal.unit?))).collect();
        Self {
            gateway,
            rollout,
            assets: settings.assets.clone(),
            registry: settings.registry.is_some(),
            sources,
            buffer,
            last,
            live,
            units,
            rates,
            sync,
            publish,
        }
    }

    /// Which models run where, without what else the status says.
    pub(super) fn models(&self) -> Value {
        json!({ "models": self.rollout.models(), "stopped": self.rollout.stopped() })
    }

    /// The status as of now.
    pub(super) fn json(&self) -> Value {
        let sources = self.sources.statuses().into_iter().map(|source| {
            json!({
                "name": &*source.name,
                "up": source.up,
                "finished": source.finished,
                "last_sample_at": source.last_sample_at.map(clock::rfc3339),
                "error": source.error,
            })
        });
        let mut gateway = self.gateway.clone();
        gateway["clock_synchronised"] = clock::synchronised().into();
        gateway["stopped"] = self.rollout.stopped();
        gateway["alarm_flood"] = self.rates.is_flood(clock::now()).into();
        gateway["stop_error"] = self.rollout.unheard();
        gateway["now"] = clock::rfc3339(clock::now().utc).into();
        json!({
            "gateway": gateway,
            "sources": sources.collect::<Value>(),
            "models": self.rollout.models(),
            "buffer": self.buffer.stat(),
            "sync": if self.registry { json!(self.sync.snapshot()) } else { json!({"state": "off"}) },
            "publish": self.publish.as_ref().map_or_else(|| json!({"state": "off"}), publish::Status::json),
            "assets": self.assets(),
        })
    }

    fn assets(&self) -> Value {
        let open: Vec<_> = self.buffer.alerts().into_iter().filter(|alert| alert.state.is_open()).collect();
        let now = clock::now();
        let (live, seen) = self.live.all(now);
        let assets = self.assets.iter().map(|asset| {
            let rates = self.rates.of(&asset.id, now);
            let last = self.last.of(&asset.id);
            let live = live.iter().find(|live| live.id == asset.id);
            let inputs = live.map(|live| &live.inputs[..]).unwrap_or_default();
            json!({
                "id": &*asset.id,
                "model": asset.model.as_deref(),
                "predicts": match &asset.trigger {
                    Trigger::Every(interval) => format!("every {interval:?}"),
                    Trigger::On(signal) => format!("on {signal}"),
                },
                "running": live.and_then(|live| live.running),
                "inputs": inputs.iter().map(|input| self.input(input, seen)).collect::<Value>(),
                "last_prediction_id": last.as_ref().map(|last| last.id),
                "last_prediction_at": last.as_ref().map(|last| clock::rfc3339(last.at)),
                "role": last.as_ref().map(|last| last.role.as_str()),
                "withheld": last.and_then(|last| last.withheld),
                "open_alerts": open.iter().filter(|alert| alert.asset == asset.id).count(),
                "alarms_last_hour": rates.last_hour,
                "chattering": rates.chattering,
                "stale": rates.stale,
            })
        });
        assets.collect()
    }

    /// What one input stands at, `seen` so long ago.
    fn input(&self, input: &LiveInput, seen: Duration) -> Value {
        let by_signal = || self.units.get(&input.signal).map_or("", String::as_str);
        let unit = if input.unit.is_empty() { by_signal() } else { &*input.unit };
        json!({
            "feature": &*input.feature,
            "signal": input.signal.as_str(),
            "unit": Some(unit).filter(|unit| !unit.is_empty()),
            "value": input.value.as_ref().map(|value| match value {
                Sampled::Number(number) => json!(number),
                Sampled::Text(text) => json!(&**text),
            }),
            "quality": input.quality.map(Quality::as_str),
            "status": input.status,
            "age_seconds": input.age.map(|age| age.saturating_add(seen).as_secs_f64()),
            "refused": input.refused.as_ref().map(ToString::to_string),
        })
    }
}
