//! A press with six signals, models that watch it, and a pipeline that hands out the ids 1, 2, 3, …

use std::sync::Arc;
use std::time::Duration;

use explaind_core::domain::alert::AlertTransition;
use explaind_core::domain::prediction::{Outcome, Prediction};
use explaind_core::domain::record::{Body, NewRecord};
use explaind_core::domain::sample::{Quality, Sample, SignalId, Value};
use explaind_core::domain::time::{Now, Timestamp};
use explaind_core::model::Model;
use explaind_core::model::pack::{self, PackInputs};
use explaind_core::pipeline::alarm::Remembered;
use explaind_core::pipeline::{AssetPlan, Follows, Made, Pipeline, Trigger};
use uuid::Uuid;

pub(crate) const FEATURES: [&str; 6] =
    ["type", "air_temperature_k", "process_temperature_k", "rotational_speed_rpm", "torque_nm", "tool_wear_min"];
/// A row of the data set on which a milling machine failed, and one on which it did not.
pub(crate) const FAILING: [f64; 6] = [0.0, 298.4, 308.2, 1282.0, 60.7, 216.0];
pub(crate) const HEALTHY: [f64; 6] = [1.0, 299.6, 311.1, 1649.0, 33.8, 133.0];
/// Raises at once, and clears after two seconds.
pub(crate) const DECISION: &str =
    "[decision]\nraise_above = 0.5\nclear_below = 0.4\noff_delay = \"2s\"\npriority = \"high\"\n";

/// A model of this version, which says more of each feature.
pub(crate) fn model(version: &str, decision: &str, more: impl Fn(&str) -> &'static str) -> Arc<Model> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/ai4i-gbt");
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).unwrap();
    let features: String = FEATURES
        .map(|name| {
            let more = more(name);
            format!(
                "[[feature]]\nname = \"{name}\"\nmax_age = \"5s\"\nrange = [0.0, 4000.0]\nmax_rate = 1000.0\n{more}"
            )
        })
        .concat();
    let manifest = format!(
        "schema = 1\nname = \"press-failure\"\nversion = \"{version}\"\n{features}\
         [output]\nkind = \"classification\"\ntensor = \"probabilities\"\nlabels = [\"healthy\", \"failure\"]\n{decision}"
    );
    packed(read("model.onnx"), manifest, read("background.csv"))
}

pub(crate) fn packed(model: Vec<u8>, manifest: String, reference: Vec<u8>) -> Arc<Model> {
    let inputs = PackInputs { model, manifest, reference, golden: None, calibration: None };
    Arc::new(Model::load(&pack::create(inputs).unwrap()).unwrap())
}

pub(crate) fn at(seconds: u64) -> Now {
    Now { utc: Timestamp::from_micros(1_700_000_000_000_000), monotonic: Duration::from_secs(1_000 + seconds) }
}

pub(crate) fn signal(name: &str) -> SignalId {
    SignalId::new("plc", name)
}

pub(crate) fn sample(name: &str, value: f64, now: Now) -> Sample {
    Sample {
        signal: signal(name),
        value: Value::Number(value),
        quality: Quality::Good,
        status: 0,
        source_time: None,
        arrival: now,
    }
}

pub(crate) fn samples(row: [f64; 6], now: Now) -> Vec<Sample> {
    FEATURES.into_iter().zip(row).map(|(name, value)| sample(name, value, now)).collect()
}

/// The press, predicted whenever its torque arrives.
pub(crate) fn press() -> AssetPlan {
    AssetPlan {
        id: "press-7".into(),
        model: Some("press-failure".into()),
        trigger: Trigger::On(signal("torque_nm")),
        active_when: None,
        inputs: FEATURES.map(|name| (name.into(), signal(name))).into(),
        fallback: None,
    }
}

/// A pipeline of one asset, and the ids that it hands out.
pub(crate) struct Bench {
    pub(crate) pipeline: Pipeline,
    ids: u128,
    /// What became of the predictions of the last call.
    pub(crate) made: Vec<Made>,
}

impl Bench {
    pub(crate) fn start(plan: AssetPlan, model: Option<Arc<Model>>, open: Vec<Remembered>) -> (Self, Follows) {
        let mut ids = 0;
        let mut mint = || {
            ids += 1;
            Uuid::from_u128(ids)
        };
        let (pipeline, follows) = Pipeline::new(vec![(plan, model)], open, at(0), &mut mint);
        (Self { pipeline, ids, made: Vec::new() }, follows)
    }

    /// Asks the pipeline for something.
    pub(crate) fn ask(
        &mut self,
        ask: impl FnOnce(&mut Pipeline, &mut dyn FnMut() -> Uuid) -> Follows,
    ) -> Vec<NewRecord> {
        let ids = &mut self.ids;
        let mut mint = || {
            *ids += 1;
            Uuid::from_u128(*ids)
        };
        let follows = ask(&mut self.pipeline, &mut mint);
        self.made = follows.made;
        follows.records
    }

    pub(crate) fn take(&mut self, samples: &[Sample], now: Now) -> Vec<NewRecord> {
        self.ask(|pipeline, mint| pipeline.samples(samples, now, mint))
    }
}

pub(crate) fn predictions(records: &[NewRecord]) -> Vec<&Prediction> {
    records
        .iter()
        .filter_map(|record| if let Body::Prediction(made) = &record.body { Some(made) } else { None })
        .collect()
}

pub(crate) fn transitions(records: &[NewRecord]) -> Vec<&AlertTransition> {
    records
        .iter()
        .filter_map(|record| if let Body::Alert(change) = &record.body { Some(change) } else { None })
        .collect()
}

/// The reason of the first prediction, or that there is one.
pub(crate) fn withheld(records: &[NewRecord]) -> String {
    match &predictions(records)[0].outcome {
        Outcome::Withheld(reason) => reason.code().to_owned(),
        Outcome::Predicted(output) => format!("predicted {}", output.value),
    }
}
