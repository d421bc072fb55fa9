//! Results to a broker: joins publishing to the rest, and adds to its status what is stopped, and where no data comes from.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::buffer::Buffer;
use crate::config::Settings;
use crate::mailbox::Mailbox;
use crate::publish;
use crate::rollout::Rollout;
use crate::source::Sources;
use crate::telemetry::Metrics;

/// Starts publishing, where a broker is configured.
pub(super) fn spawn(
    settings: &Settings,
    buffer: &Buffer,
    metrics: &Metrics,
    (mailbox, rollout, sources): (Mailbox, Rollout, Sources),
    stop: &CancellationToken,
) -> Option<(JoinHandle<()>, publish::Status)> {
    let config = settings.publish.clone()?;
    let about = move || {
        let down = sources.statuses().into_iter().filter(|source| !source.up && !source.finished);
        json!({
            "stopped": rollout.stopped(),
            "sources_down": down.map(|source| source.name.to_string()).collect::<Vec<_>>(),
        })
    };
    let ways = publish::Ways {
        gateway: settings.gateway.id.as_str().into(),
        assets: settings.assets.iter().map(|asset| Arc::clone(&asset.id)).collect(),
        buffer: buffer.clone(),
        mailbox,
        metrics: metrics.clone(),
        about: Box::new(about),
        stop: stop.clone(),
    };
    Some(publish::spawn(config, ways))
}
