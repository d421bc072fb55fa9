//! What a gateway says of itself, for tests: one machine, two sources, and stored text that must stay text.

use serde_json::{Value, json};

use super::rig::NASTY;

/// The status, as the daemon makes it.
pub(super) fn status() -> Value {
    json!({
        "gateway": {
            "id": "line-3", "version": "0.9.0", "config_digest": "f".repeat(64), "started_at": "2026-11-28T06:00:00Z",
            "now": "2026-11-28T08:00:00Z", "clock_synchronised": false, "stopped": null, "stop_error": null,
            "alarm_flood": true,
        },
        "sources": [
            { "name": "press-plc", "up": true, "finished": false, "last_sample_at": "2026-11-28T07:59:59Z", "error": null },
            { "name": "floor", "up": false, "finished": false, "last_sample_at": null, "error": format!("refused {NASTY}") },
        ],
        "models": [{
            "name": "press-failure", "version": "1.4.0", "registry_version": 7, "state": "active", "digest": "a".repeat(64),
        }],
        "buffer": {
            "store_id": "x", "bytes": 1_048_576, "max_bytes": 4_194_304, "bound": 2_097_152, "disk_bytes": 3_000_000,
            "full": false, "degraded": null, "journal_bytes": 2048, "journal_reserve": 4096,
            "streams": [{ "stream": "predictions", "first": 1, "last": 4711, "records": 4242, "uploaded": 4000 }],
            "wear": { "store_bytes": 1024, "journal_bytes": 512, "outbox_bytes": 256, "side_bytes": 256 },
        },
        "sync": {
            "state": "catching_up", "registry": "http://registry", "last_upload": "2026-11-28T07:00:00Z",
            "error": format!("it answers 500 {NASTY}"), "conflicts": 1,
            "streams": [{ "stream": "predictions", "waiting": 711, "lag_seconds": 600.0 }],
        },
        "publish": {
            "state": "connected", "broker": "mqtt://broker", "error": null, "published": 12, "waiting": 1, "dropped": 2,
        },
        "assets": [{
            "id": "press-7", "model": "press-failure", "predicts": "every 1s", "running": true, "role": "champion",
            "last_prediction_id": null, "last_prediction_at": "2026-11-28T07:59:59Z", "withheld": "missing: Torque [Nm]",
            "open_alerts": 1, "alarms_last_hour": 3, "chattering": 1, "stale": 0,
            "inputs": [{
                "feature": "Torque [Nm]", "signal": "press-plc/torque", "unit": "Nm", "value": 41.25, "quality": "good",
                "status": 0, "age_seconds": 0.5, "refused": null,
            }, {
                "feature": NASTY, "signal": "press-plc/x", "unit": NASTY, "value": NASTY, "quality": "uncertain",
                "status": 1_073_741_824_u32, "age_seconds": 90.0, "refused": format!("not_a_number: {NASTY}"),
            }],
        }],
    })
}
