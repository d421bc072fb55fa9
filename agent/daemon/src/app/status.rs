//! One page of what runs where: the answer of `explaind status` and of `/api/v1/status`.

use explaind_core::pipeline::Trigger;
use serde_json::{Value, json};

use crate::buffer::Buffer;
use crate::config::{Asset, Settings};
use crate::driver::LastPredictions;
use crate::rates::AlarmRates;
use crate::rollout::Rollout;
use crate::source::Sources;
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
        (last, rates): (LastPredictions, AlarmRates),
        (sync, publish): (sync::Status, Option<publish::Status>),
    ) -> Self {
        let gateway = json!({
            "id": settings.gateway.id,
            "version": env!("CARGO_PKG_VERSION"),
            "config_digest": settings.digest,
            "started_at": clock::rfc3339(clock::now().utc),
        });
        Self {
            gateway,
            rollout,
            assets: settings.assets.clone(),
            registry: settings.registry.is_some(),
            sources,
            buffer,
            last,
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
        let assets = self.assets.iter().map(|asset| {
            let rates = self.rates.of(&asset.id, now);
            let last = self.last.of(&asset.id);
            json!({
                "id": &*asset.id,
                "model": asset.model.as_deref(),
                "predicts": match &asset.trigger {
                    Trigger::Every(interval) => format!("every {interval:?}"),
                    Trigger::On(signal) => format!("on {signal}"),
                },
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
}
